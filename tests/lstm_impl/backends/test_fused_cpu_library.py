"""Test how liblstm and its bindings are compiled and kept, and the errors if it cannot be."""

import contextlib
import os
import shutil
import signal
import socket
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

import lstm_impl.backends.fused_cpu.library as library
import lstm_impl.backends.fused_cpu.prebuilt as prebuilt
from lstm_impl.availability import AVAILABLE, Availability, UnavailableError
from lstm_impl.backends.fused_cpu import c_interface
from lstm_impl.build import must_compile, uses_kernels
from lstm_impl.build.__main__ import main as build_command
from tests.hanging import require_end_within
from tests.lstm_impl.backends.built import needs
from tests.lstm_impl.fake_compiler import MakeCompiler


@pytest.fixture(autouse=True)
def _ask_again(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what compilers reported and which libraries were loaded in this process."""
    nothing_loaded(monkeypatch)
    library.find_compiler.cache_clear()
    yield
    library.find_compiler.cache_clear()
    library._failed.clear()


def built() -> Path:
    return library._built(library.C, announce=True)


def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_background", "_failed", "_loaded"):
        monkeypatch.setattr(library, name, {})


CALLS = "once\n" * (len(library.C.compiled()) + 1)
"""Compilations and a link."""


# -- where it cannot be compiled


def test_compiler_with_another_abi_is_refused(make_compiler: MakeCompiler) -> None:
    make_compiler(_GLIBCXX_USE_CXX11_ABI="0")
    found = library.available_to(library.C)
    assert not found
    assert "another C++ ABI" in found.reason
    assert "c++-of-a-test 12.4.0" in found.reason


# -- compiling, once

pytest_tensorflow = pytest.mark.skipif(
    not pytest.importorskip("importlib.util").find_spec("tensorflow"),
    reason="the library is for TensorFlow: pip install '.[cpu]'",
)


def test_compiled_library_is_kept(
    make_compiler: MakeCompiler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_compiler()
    first = built()
    said = capsys.readouterr().err
    assert said.startswith("lstm_impl: compiling liblstm with c++-of-a-test 12.4.0")
    assert said.count("\n") == 1
    assert built() == first
    assert capsys.readouterr().err == ""
    assert (tmp_path / "calls").read_text() == CALLS
    digest = prebuilt.digest_file(first).name
    assert sorted(path.name for path in first.parent.iterdir()) == [library.C.file, digest, "lock"]


def test_library_is_at_hand_where_it_is_compiled_and_whole(
    make_compiler: MakeCompiler, tmp_path: Path
) -> None:
    make_compiler()
    assert library.find_compiled(library.C) is None
    assert not (tmp_path / "calls").exists()
    path = built()
    assert library.find_compiled(library.C) == path
    assert c_interface.get_available_kernels() is None  # it is no library
    path.chmod(0o777)
    assert library.find_compiled(library.C) is None
    path.chmod(0o755)
    path.write_bytes(b"damaged")
    assert library.find_compiled(library.C) is None
    assert (tmp_path / "calls").read_text() == CALLS


@needs("numpy_fused")
def test_loaded_library_is_available_without_another_look(monkeypatch: pytest.MonkeyPatch) -> None:
    library.load(library.C)
    available = library.available_to(library.C)
    assert available
    monkeypatch.setattr(library.Binding, "digest", None)
    assert library.available_to(library.C) is available


@pytest.mark.parametrize("damage", ["cut short", "empty", "garbage", "no digest", "a link"])
def test_damaged_library_is_compiled_again_with_a_warning(
    make_compiler: MakeCompiler, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    make_compiler('echo "a library" > "$out"')
    path = built()
    whole = path.read_bytes()
    if damage == "no digest":
        prebuilt.digest_file(path).unlink()
    elif damage == "a link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.write_bytes({"cut short": whole[:-1], "empty": b"", "garbage": b"?" * 9}[damage])
    assert built().read_bytes() == whole
    assert "is deleted and compiled again" in caplog.text
    assert (tmp_path / "calls").read_text() == CALLS * 2
    assert not path.is_symlink()


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
@pytest.mark.parametrize("replaced", ["library", "digest", "both"])
def test_special_file_in_place_of_a_library_is_never_read(
    make_compiler: MakeCompiler, caplog: pytest.LogCaptureFixture, kind: str, replaced: str
) -> None:
    make_compiler('echo "a library" > "$out"')
    path = built()
    whole = path.read_bytes()
    for each in {"library": [path], "digest": [prebuilt.digest_file(path)]}.get(
        replaced, [path, prebuilt.digest_file(path)]
    ):
        each.unlink()
        make_special(each, kind)
    with require_end_within():
        assert library.find_compiled(library.C) is None
        assert library.available_to(library.C)
        assert built().read_bytes() == whole
    # The system itself refuses to open a socket.
    assert "is not a regular file" in caplog.text or (replaced, kind) == ("digest", "socket")
    assert "is deleted and compiled again" in caplog.text


def make_special(path: Path, kind: str) -> None:
    """Make a special file, such as a pipe, whose reading never ends or fails."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)  # a longer path is refused
    else:
        try:
            os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero
        except PermissionError:
            pytest.skip("only root can make a device")


def test_folder_in_place_of_a_library_is_named(make_compiler: MakeCompiler) -> None:
    make_compiler()
    path = built()
    path.unlink()
    path.mkdir()
    assert library.find_compiled(library.C) is None
    with pytest.raises(UnavailableError, match=r"Is a directory.*liblstm\.so"):
        library.build(library.C)


def test_pipe_in_place_of_the_lock_is_refused(make_compiler: MakeCompiler) -> None:
    make_compiler()
    path = built()
    lock = path.with_name("lock")
    lock.unlink()
    os.mkfifo(lock)
    with require_end_within(), pytest.raises(UnavailableError, match="lock is not a regular file"):
        built()


@pytest.mark.parametrize("mode", [0o777, 0o775])
@pytest.mark.parametrize("inner", [False, True])
def test_cache_writable_by_others_is_refused(
    make_compiler: MakeCompiler, mode: int, inner: bool
) -> None:
    make_compiler()
    path = built()
    folder = path.parent if inner else path.parent.parent
    folder.chmod(mode)
    with pytest.raises(UnavailableError, match="can be written by others; run chmod go-w"):
        built()
    folder.chmod(0o755)
    assert built() == path


def test_lock_that_is_a_link_is_not_followed_or_emptied(
    make_compiler: MakeCompiler, tmp_path: Path
) -> None:
    make_compiler()
    lock = built().parent / "lock"
    lock.write_text("kept")
    built()
    assert lock.read_text() == "kept"
    (tmp_path / "precious").write_text("kept")
    lock.unlink()
    lock.symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic link"):
        built()
    assert (tmp_path / "precious").read_text() == "kept"


def test_concurrent_processes_compile_once(make_compiler: MakeCompiler, tmp_path: Path) -> None:
    make_compiler('sleep 0.2; touch "$out"')
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(built())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 4
    assert (tmp_path / "calls").read_text() == CALLS


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork.. was called:RuntimeWarning")  # JAX's, once imported
def test_lock_with_a_child_forked_meanwhile_is_free_after_release(tmp_path: Path) -> None:
    """Data loaders fork while the library is compiled in the background, and stay alive."""
    import fcntl

    with library._locked(tmp_path / "lock"):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
    try:
        with (tmp_path / "lock").open() as file:
            deadline = time.monotonic() + 20
            while True:  # the child closes its copy when it first runs
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest_tensorflow
def test_being_compiled_without_library_compiles_once_in_the_background(
    make_compiler: MakeCompiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_compiler(f'until [ -e {tmp_path}/go ]; do sleep 0.01; done; touch "$out"')
    assert library.being_compiled()
    assert library.being_compiled()
    (tmp_path / "go").touch()
    library._background[library.TENSORFLOW].join(30)
    assert not library.being_compiled()
    assert library.build() == library._place(library.TENSORFLOW)
    binding = "once\n" * (len(library.TENSORFLOW.compiled()) + 1)
    assert (tmp_path / "calls").read_text() == CALLS + binding
    nothing_loaded(monkeypatch)
    assert not library.being_compiled()  # it is there
    assert not library._background


@pytest.mark.parametrize(
    ("folder", "reason"),
    [("file/native", "file is not a folder"), ("x" * 300, "File name too long")],
    ids=["in a file", "too long"],
)
def test_cache_that_cannot_be_written_is_replaced_by_a_temporary_folder(
    folder: str,
    reason: str,
    make_compiler: MakeCompiler,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    make_compiler()
    library._temporary_folder.cache_clear()
    (tmp_path / "file").touch()
    monkeypatch.setenv(library.CACHE, str(tmp_path / folder))
    made = built()
    assert made.is_relative_to(library._temporary_folder())
    assert built() == made
    assert (tmp_path / "calls").read_text() == CALLS
    assert caplog.text.count(reason) == 1
    assert f"Set {library.CACHE} to a folder that you can write" in caplog.text


def test_library_in_a_folder_that_cannot_be_written_is_used(
    make_compiler: MakeCompiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_compiler()
    path = built()
    monkeypatch.setattr(library, "_unwritable", lambda folder: f"{folder} is read-only")
    assert built() == path
    assert (tmp_path / "calls").read_text() == CALLS
    path.write_text("damaged")
    with pytest.raises(UnavailableError, match=f"is read-only; set {library.CACHE} to another"):
        built()


@pytest_tensorflow
def test_stop_while_compiling_kills_the_compiler_and_leaves_nothing(
    make_compiler: MakeCompiler, tmp_path: Path
) -> None:
    make_compiler("exec sleep 600")
    assert library.being_compiled()
    thread = library._background[library.TENSORFLOW]
    library._stop(thread)
    assert not thread.is_alive()
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == ["lock"]


def test_build_command_prints_the_library_or_the_reason(
    make_compiler: MakeCompiler, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(library.COMPILER, "no-such-compiler")
    assert build_command([]) == 1
    assert "the compiler no-such-compiler is not installed" in capsys.readouterr().err
    only_c = {library.C: AVAILABLE}
    missing = Availability(False, "of a test")
    monkeypatch.setattr(library, "available_to", lambda binding: only_c.get(binding, missing))
    make_compiler()
    assert build_command([]) == 0
    name, path = capsys.readouterr().out.strip().split(": ")
    assert name == "numpy_fused"
    assert Path(path).name == library.C.file


def test_build_command_compiles_what_the_named_backends_need(
    make_compiler: MakeCompiler, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_compiler()
    wanted: list[library.Binding] = []

    def build_nothing(binding: library.Binding) -> Path:
        wanted.append(binding)
        return Path(binding.file)

    monkeypatch.setattr(library, "build", build_nothing)
    assert build_command(["torch_fused_cpu", "numpy_fused", "numpy"]) == 0
    assert wanted == [library.C]
    assert build_command(["numpy"]) == 0
    assert wanted == [library.C]
    assert build_command(["fused_cpuu"]) == 2
    assert "fused_cpu" in capsys.readouterr().err


def test_kernels_must_be_compiled_where_they_are_missing_and_can_be(
    make_compiler: MakeCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_compiler()
    assert must_compile()
    built()
    assert not must_compile()
    monkeypatch.setenv(library.COMPILER, "no-such-compiler")
    assert not must_compile()


def test_backends_that_use_the_kernels_are_those_with_a_binding() -> None:
    assert [*filter(uses_kernels, ["numpy", "torch_fused_cpu", "while_loop", "fused_cpu"])] == [
        "torch_fused_cpu",
        "fused_cpu",
    ]


@pytest.mark.parametrize("error", [ImportError("no jaxlib"), OSError("disk full")])
def test_build_command_with_a_damaged_framework_prints_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fail(*_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(library, "available_to", lambda binding: AVAILABLE)
    monkeypatch.setattr(library, "_flags", fail)
    assert build_command([]) == 1
    assert f"numpy_fused: its library cannot be made: {error}" in capsys.readouterr().err


def test_failed_compilation_is_remembered_and_leaves_no_file(
    make_compiler: MakeCompiler, tmp_path: Path
) -> None:
    make_compiler("echo 'a note'; echo 'ops.cc:1: error: no such thing' >&2; exit 1")
    assert library.available_to(library.C)
    with pytest.raises(UnavailableError, match=r"ops.cc:1: error: no such thing"):
        library._opened(library.C)
    assert "error: no such thing" in library.available_to(library.C).reason
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == ["lock"]


def test_compilers_run_at_most_one_for_each_processor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(library, "count_usable_cpus", lambda: 1)
    busy = tmp_path / "busy"
    alone = ["sh", "-c", f"mkdir {busy} && sleep 0.02 && rmdir {busy}"]
    library._run(alone, alone, alone)
    monkeypatch.setattr(library, "count_usable_cpus", lambda: 2)
    first, second = tmp_path / "first", tmp_path / "second"
    os.mkfifo(first)
    os.mkfifo(second)
    # Each of the two waits for the other.
    library._run(
        ["sh", "-c", f"echo > {first}; read line < {second}"],
        ["sh", "-c", f"read line < {first}; echo > {second}"],
    )


def test_after_a_failure_no_other_compiler_starts_or_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(library, "count_usable_cpus", lambda: 2)
    with pytest.raises(UnavailableError, match="no such thing"):
        library._run(
            ["sh", "-c", "echo 'error: no such thing' >&2; exit 1"],
            ["sleep", "600"],
            ["touch", str(tmp_path / "started")],
        )
    assert not (tmp_path / "started").exists()
    assert not library._compiling


def test_key_changes_with_all_that_the_library_depends_on(
    make_compiler: MakeCompiler, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_compiler()
    made = library._compiler()

    def key(flag: str, version: str, **macros: str) -> str:
        changed = replace(made, macros={**made.macros, **macros})
        return library.key(changed, [flag], version, library.C)

    keys = [key("-Ia", "2"), key("-Ia", "3"), key("-Ib", "2"), key("-Ia", "2", __AVX512F__="1")]
    binding = library.TENSORFLOW.digest()
    sources = tmp_path / "native"
    shutil.copytree(library.SOURCES, sources)
    monkeypatch.setattr(library, "SOURCES", sources)
    assert key("-Ia", "2") == keys[0]
    (sources / "vector.h").write_text("// changed\n")
    keys.append(key("-Ia", "2"))
    assert len(set(keys)) == len(keys)
    assert library.TENSORFLOW.digest() == binding  # it is linked to the C interface alone
    (sources / "c_api.h").write_text("// changed\n")
    assert library.TENSORFLOW.digest() != binding
