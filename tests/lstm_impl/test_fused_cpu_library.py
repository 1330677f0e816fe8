"""How the library of fused_cpu is compiled and kept, and what is said where it cannot be."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lstm_impl.availability import UnavailableError
from lstm_impl.backends import fused_cpu_library as library

HERE = Path(__file__).resolve().parent
GXX = shutil.which("g++")
needs_compiler = pytest.mark.skipif(GXX is None, reason="there is no g++: apt-get install g++")

MACROS = {"__FMA__": "1", "_GLIBCXX_USE_CXX11_ABI": "1", "__VERSION__": '"12.4.0"'}

MakeCompiler = Callable[..., Path]


@pytest.fixture
def make_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeCompiler:
    """Scripts in a compiler's place, which CXX names."""

    def make(compiles: str = 'touch "$out"', **macros: str) -> Path:
        path = tmp_path / "c++-of-a-test"
        said = "\n".join(f"#define {name} {value}" for name, value in (MACROS | macros).items())
        path.write_text(
            "#!/bin/sh\n"
            f"case \"$*\" in *-dM*) cat <<'END'\n{said}\nEND\nexit;; esac\n"
            'while [ $# -gt 1 ]; do [ "$1" = -o ] && out=$2; shift; done\n'
            f"echo once >> {tmp_path}/calls\n{compiles}\n"
        )
        path.chmod(0o755)
        monkeypatch.setenv(library.COMPILER, str(path))
        monkeypatch.setenv(library.CACHE, str(tmp_path / "cache"))
        return path

    return make


@pytest.fixture(autouse=True)
def _ask_again() -> Iterator[None]:
    """What a compiler has said is remembered for a process."""
    library._compiler.cache_clear()
    yield
    library._compiler.cache_clear()
    library._failed.clear()


def compiler(path: Path) -> library.Compiler:
    found = library._compiler(str(path))
    assert isinstance(found, library.Compiler)
    return found


# -- where it cannot be compiled


def test_without_a_compiler_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.COMPILER, "no-such-compiler")
    found = library.availability()
    assert not found
    assert "no compiler no-such-compiler" in found.reason
    assert found.install == "apt-get install g++"


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_cpu_of_intels_kind_needs_fma(
    make_compiler: MakeCompiler, monkeypatch: pytest.MonkeyPatch, machine: str
) -> None:
    made = make_compiler()
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert compiler(made).problem() == ""
    without = replace(compiler(made), macros={k: v for k, v in MACROS.items() if k != "__FMA__"})
    assert ("no FMA" in without.problem()) == (machine == "x86_64")


def test_another_abi_is_refused(make_compiler: MakeCompiler) -> None:
    make_compiler(_GLIBCXX_USE_CXX11_ABI="0")
    found = library.availability()
    assert not found
    assert "another C++ ABI" in found.reason
    assert "c++-of-a-test 12.4.0" in found.reason


def test_a_compiler_that_cannot_compile_for_this_cpu_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c++-of-a-test"
    path.write_text("#!/bin/sh\necho 'cc1plus: error: bad value for -march=' >&2\nexit 1\n")
    path.chmod(0o755)
    found = library._compiler(str(path))
    assert not isinstance(found, library.Compiler)
    assert "bad value for -march=" in found.reason


def test_elsewhere_than_on_linux_it_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "on Linux only" in library.availability().reason


def test_without_its_sources_it_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(library, "SOURCES", tmp_path)
    assert "sources are not installed" in library.availability().reason


# -- compiling, once

pytest_tensorflow = pytest.mark.skipif(
    not pytest.importorskip("importlib.util").find_spec("tensorflow"),
    reason="the library is for TensorFlow: pip install '.[cpu]'",
)


@pytest_tensorflow
def test_what_is_compiled_is_kept(
    make_compiler: MakeCompiler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = compiler(make_compiler())
    first = library._built(made, [], [])
    said = capsys.readouterr().err
    assert said.startswith("lstm_impl: compiling fused_cpu with c++-of-a-test 12.4.0")
    assert said.count("\n") == 1
    assert library._built(made, [], []) == first
    assert capsys.readouterr().err == ""
    # two compilations and a link
    assert (tmp_path / "calls").read_text() == "once\n" * 3
    assert sorted(path.name for path in first.parent.iterdir()) == [library.NAME, "lock"]


@pytest_tensorflow
def test_of_many_at_once_one_compiles(make_compiler: MakeCompiler, tmp_path: Path) -> None:
    made = compiler(make_compiler('sleep 0.2; touch "$out"'))
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(library._built(made, [], [])))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 4
    assert (tmp_path / "calls").read_text() == "once\n" * 3


@pytest_tensorflow
def test_what_fails_says_the_first_error_and_leaves_nothing(
    make_compiler: MakeCompiler, tmp_path: Path
) -> None:
    made = compiler(
        make_compiler("echo 'a note'; echo 'ops.cc:1: error: no such thing' >&2; exit 1")
    )
    with pytest.raises(UnavailableError, match=r"ops.cc:1: error: no such thing"):
        library._built(made, [], [])
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == ["lock"]


@pytest_tensorflow
def test_a_library_that_cannot_be_made_is_unavailable_from_then_on(
    make_compiler: MakeCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_compiler("echo 'error: no' >&2; exit 1")
    assert library.availability()
    with pytest.raises(UnavailableError, match="error: no"):
        library.load.__wrapped__()
    assert "error: no" in library.availability().reason


def test_the_key_is_of_all_that_the_library_depends_on(
    make_compiler: MakeCompiler, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = compiler(make_compiler())
    keys = [library.key(made, ["-Ia"], "2.21.0")]
    assert library.key(made, ["-Ia"], "2.21.0") == keys[0]
    keys.append(library.key(made, ["-Ia"], "2.20.0"))
    keys.append(library.key(made, ["-Ib"], "2.21.0"))
    keys.append(
        library.key(replace(made, macros={**made.macros, "__AVX512F__": "1"}), ["-Ia"], "2.21.0")
    )
    sources = tmp_path / "native"
    shutil.copytree(library.SOURCES, sources)
    monkeypatch.setattr(library, "SOURCES", sources)
    assert library.key(made, ["-Ia"], "2.21.0") == keys[0]
    (sources / "vector.h").write_text("// changed\n")
    keys.append(library.key(made, ["-Ia"], "2.21.0"))
    assert len(set(keys)) == len(keys)


# -- the kernels by themselves


def compiled(tmp_path: Path, *flags: str) -> Path:
    program = tmp_path / "native_kernels"
    sources = [HERE / "native_kernels.cc", library.SOURCES / "kernels.cc"]
    command = [str(GXX), *library.KERNEL_FLAGS, "-I", str(library.SOURCES), "-pthread"]
    command += [*flags, "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror"]
    done = subprocess.run(
        [*command, *map(str, sources), "-o", str(program)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return program


@needs_compiler
@pytest.mark.parametrize(
    "flags",
    [
        pytest.param((), id="as_they_are"),
        pytest.param(("-O1", "-mno-avx512f"), id="avx2", marks=pytest.mark.slow),
        pytest.param(
            ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
            id="address",
            marks=pytest.mark.slow,
        ),
        pytest.param(("-O1", "-g", "-fsanitize=thread"), id="thread", marks=pytest.mark.slow),
    ],
)
def test_kernels_equal_sums_in_double_with_any_number_of_threads(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    program = compiled(tmp_path, *flags)
    # A thread that waits for nobody would wait for ever.
    done = subprocess.run([program], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.endswith(" 0 wrong\n")
