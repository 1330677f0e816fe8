"""Test which prebuilt liblstm and binding are loaded, and why others are refused."""

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import lstm_impl.backends.fused_cpu.library as library
import lstm_impl.backends.fused_cpu.prebuilt as prebuilt
from lstm_impl.availability import Availability, UnavailableError
from tests.hanging import require_end_within

BINDING = library.TENSORFLOW.digest()
V3, V4 = (" ".join(prebuilt.KINDS[name].features) for name in ("x86-64-v3", "x86-64-v4"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return an empty folder of libraries; TensorFlow is 2.21.0, the CPU x86-64-v4, without a
    compiler."""
    (tmp_path / "made").mkdir()
    monkeypatch.setenv(prebuilt.FOLDER, str(tmp_path / "made"))
    monkeypatch.setenv(library.COMPILER, "no-such-compiler")
    monkeypatch.setattr(prebuilt, "installed_version", lambda: "2.21.0")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(prebuilt, "CPUINFO", tmp_path / "cpuinfo")
    of_cpu(tmp_path, V4)
    library.find_compiler.cache_clear()
    monkeypatch.setattr(library, "_loaded", {})
    yield tmp_path / "made"
    library.find_compiler.cache_clear()
    library._unloadable.clear()


def of_cpu(place: Path, flags: str) -> None:
    (place / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\n\nprocessor\t: 1\n")


def put(folder: Path, cpu: str = "x86-64-v3", **changed: str) -> Path:
    """Write a liblstm for a kind of CPU. With ``changed``, write a binding of TensorFlow 2.21.0."""
    product = replace(library.product(library.C), **changed)
    path = folder / product.file_name(cpu)
    path.write_bytes(b"no library")
    prebuilt.digest_file(path).write_text(prebuilt.described(path))
    return path


def put_binding(folder: Path, version: str = "2.21.0", sources: str = BINDING) -> Path:
    name = library.TENSORFLOW.product
    return put(folder, "any_x86_64", name=name, version=version, sources=sources)


def availability() -> Availability:
    return library.available_to(library.TENSORFLOW)


def fitting(binding: library.Binding = library.C) -> tuple[Path, ...]:
    return library._prebuilt(binding).fitting


# -- which one is taken


def test_look_prefers_the_fastest_library_for_this_cpu(folder: Path) -> None:
    v3, v4, _ = (put(folder, cpu=cpu) for cpu in ("x86-64-v3", "x86-64-v4", "aarch64"))
    binding = put_binding(folder)
    assert fitting() == (v4, v3)
    assert fitting(library.TENSORFLOW) == (binding,)
    library._unloadable[v4] = "broken"
    assert fitting() == (v3,)
    of_cpu(folder.parent, V3)
    assert fitting() == (v3,)
    found = availability()
    assert found
    assert found.reason == "it runs from a prebuilt library, for x86-64-v3"


def test_binding_without_a_prebuilt_liblstm_needs_a_compiler(folder: Path) -> None:
    put_binding(folder)
    assert not availability()
    put(folder)
    assert availability()
    assert library.available_to(library.C)
    assert not library.available_to(library.JAX)


@pytest.mark.parametrize(
    ("cpu", "how", "message"),
    [
        ("", {"version": "2.20.0"}, "it needs TensorFlow 2.20.0, and here is 2.21.0"),
        ("", {"sources": "0" * 16}, "it was compiled from other sources"),
        ("x86-64-v4", {}, "this CPU has no avx512f"),
        ("aarch64", {}, "this CPU is of another kind (x86_64)"),
        ("x86-64-v5", {}, "its name does not have the form that tools.native gives"),
    ],
)
def test_look_refuses_what_does_not_fit_with_the_reason(
    folder: Path, cpu: str, how: dict[str, str], message: str
) -> None:
    of_cpu(folder.parent, V3)
    path = put(folder, cpu or "x86-64-v3")
    path = path if cpu else put_binding(folder, **how)
    found = availability()
    assert not found
    assert f"{path.name}: {message}" in found.reason
    assert "the compiler no-such-compiler is not installed" in found.reason
    assert found.install == "apt-get install g++"
    with pytest.raises(UnavailableError, match=re.escape(message)):
        library._opened(library.TENSORFLOW)


@pytest.mark.parametrize("left", [9, 0, None], ids=["cut short", "empty", "no digest"])
def test_damaged_library_is_not_loaded(folder: Path, left: int | None) -> None:
    path = put(folder)
    if left is None:
        prebuilt.digest_file(path).unlink()
    else:
        os.truncate(path, left)
    expected = "the file with its size" if left is None else "its size or digest differs"
    assert f"{path.name}: {expected}" in availability().reason


@pytest.mark.parametrize("packaged", [False, True])
@pytest.mark.parametrize("replaced", ["library", "digest"])
def test_pipe_in_place_of_a_prebuilt_library_is_never_read(
    folder: Path, replaced: str, packaged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(folder)
    if packaged:
        monkeypatch.delenv(prebuilt.FOLDER)
        monkeypatch.setattr(prebuilt, "PACKAGED", folder)
    place = path if replaced == "library" else prebuilt.digest_file(path)
    place.unlink()
    os.mkfifo(place)
    with require_end_within():
        reason = availability().reason
    assert f"{path.name}: " in reason
    assert "is not a regular file" in reason


@pytest.mark.parametrize("which", ["folder", "library"])
def test_library_writable_by_others_is_refused(folder: Path, which: str) -> None:
    path = put(folder)
    (folder if which == "folder" else path).chmod(0o777)
    assert "can be written by others" in availability().reason


def test_missing_folder_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(prebuilt.FOLDER, str(folder / "nowhere"))
    assert f"{folder / 'nowhere'}: this folder does not exist" in availability().reason


def test_library_that_cannot_be_loaded_is_replaced_by_the_next(folder: Path) -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow loads it: pip install '.[cpu]'")
    put(folder, cpu="x86-64-v3")
    put(folder, cpu="x86-64-v4")
    put_binding(folder)
    assert availability()
    with pytest.raises(
        UnavailableError, match=r"no-such-compiler.*v3.*cannot be loaded.*v4.*cannot be"
    ):
        library._opened(library.TENSORFLOW)
    assert not availability()
