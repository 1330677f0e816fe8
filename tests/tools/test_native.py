"""Test the command that compiles fused_cpu ahead, and its use without a compiler."""

import importlib.util
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import lstm_impl.backends.fused_cpu.library as library
import lstm_impl.backends.fused_cpu.prebuilt as prebuilt
from tests.lstm_impl.fake_compiler import MakeCompiler
from tools import native

# TensorFlow takes seconds to import, and not every process that collects these tests runs them.
pytestmark = pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="it is made for a TensorFlow: pip install '.[cpu]'"
)


def test_native_impossible_target_prints_one_line_and_exits_2(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make_compiler: MakeCompiler,
) -> None:
    make_compiler()
    tmp_path = tmp_path / "empty"
    tmp_path.mkdir()
    made, nowhere = str(tmp_path / "made"), str(tmp_path / "nowhere")
    for words, message in (
        (["--cpu", "i386"], "there is no kind of CPU 'i386'; expected one of x86-64-v4"),
        (
            ["--cpu", "aarch64,x86-64-v3"],
            "aarch64 and x86_64 are compiled one after the other: run this command",
        ),
        (["--tensorflow", nowhere], f"{nowhere} holds no unpacked TensorFlow for Linux"),
    ):
        assert native.main([made, *words]) == 2
        line = capsys.readouterr().err
        assert line.startswith(f"error: {message}")
        assert line.count("\n") == 1
        assert not list(tmp_path.iterdir())


@pytest.fixture
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the parts of a wheel that an x86 machine uses."""
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    folder = tmp_path / "unpacked"
    header = folder / "tensorflow" / library.HEADER
    header.parent.mkdir(parents=True)
    header.touch()
    (folder / "tensorflow" / "libtensorflow_framework.so.2").touch()
    about = folder / "tensorflow-2.99.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tensorflow\nVersion: 2.99.1\n")
    return folder


def test_native_for_another_machine_compiles_against_a_wheel(
    make_compiler: MakeCompiler, unpacked: Path, tmp_path: Path
) -> None:
    make_compiler(f'echo "$words" >> {tmp_path}/words; touch "$out"', __aarch64__="1")
    made = list(native.build(["aarch64"], tmp_path / "made", unpacked))
    assert made[0].name == library.product(library.C).file_name("aarch64")
    wanted = library.product(library.TENSORFLOW, "2.99.1").file_name("any_aarch64")
    assert made[1].name == wanted
    assert {*made, *map(prebuilt.digest_file, made)} == set((tmp_path / "made").iterdir())
    words = (tmp_path / "words").read_text()
    assert "-march=armv8-a" in words
    assert library.NATIVE not in words
    assert f"-isystem {unpacked}/tensorflow/include" in words
    links = f"-L{unpacked}/tensorflow -l:libtensorflow_framework.so.2 -Wl,-z,defs"
    assert f"{made[0]} -Wl,-rpath,$ORIGIN {links}" in words


def test_native_for_another_machine_without_its_tensorflow_compiles_what_needs_none(
    make_compiler: MakeCompiler,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_compiler('touch "$out"', __aarch64__="1")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    made = list(native.build(["aarch64"], tmp_path / "made"))
    expected = {library.product(library.C).file_name("aarch64")}
    if find_spec("jax"):
        expected.add(library.product(library.JAX).file_name("any_aarch64"))
    assert {path.name for path in made} == expected
    line = capsys.readouterr().err
    assert line.startswith(
        "no binding for TensorFlow is compiled, because the installed one is not"
    )
    assert line.endswith("name its folder (--tensorflow)\n")


def installed() -> Path:
    """Return the folder with TensorFlow and its metadata, as an unpacked wheel."""
    found = importlib.util.find_spec("tensorflow")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent.parent


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++: apt-get install g++")
@pytest.mark.parametrize("unpacked", [False, True], ids=["installed", "unpacked"])
def test_native_prebuilt_libraries_compute_without_a_compiler(
    tmp_path: Path, unpacked: bool
) -> None:
    kinds = native._list_own_cpus()
    where = ["--tensorflow", str(installed())] if unpacked else []
    assert native.main([str(tmp_path / "all"), *where]) == 0
    able = [name for name in kinds if not prebuilt.KINDS[name].problem()]
    assert able, "this CPU is of no kind that libraries are made for"
    names = ["numpy_fused", "fused_cpu", *(["jax_fused_cpu"] if find_spec("jax") else [])]
    for cpu in able:
        made = tmp_path / cpu
        made.mkdir()
        for path in (tmp_path / "all").iterdir():
            if f"-{cpu}-" in path.name or "-any_" in path.name:
                shutil.copy(path, made)
        variables = {library.COMPILER: "none", library.CACHE: str(tmp_path / "cache")}
        done = subprocess.run(
            [sys.executable, "-m", "tools.wheel_check", *names],
            env={**os.environ, **variables, prebuilt.FOLDER: str(made)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        line = f"it runs from a prebuilt library, for {cpu}"
        assert done.stdout.splitlines() == [f"{name}: {line}" for name in names]
    assert not (tmp_path / "cache").exists()
