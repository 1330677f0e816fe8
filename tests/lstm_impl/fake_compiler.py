"""Make a script that stands in for a compiler."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import lstm_impl.backends.fused_cpu.library as library

MACROS = {"__FMA__": "1", "_GLIBCXX_USE_CXX11_ABI": "1", "__VERSION__": '"12.4.0"'}

MakeCompiler = Callable[..., Path]


@pytest.fixture
def make_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeCompiler]:
    """Return a function that makes such a script and sets CXX to it."""

    def make(compiles: str = 'touch "$out"', **macros: str) -> Path:
        path = tmp_path / "c++-of-a-test"
        said = "\n".join(f"#define {name} {value}" for name, value in (MACROS | macros).items())
        path.write_text(
            "#!/bin/sh\n"
            f"case \"$*\" in *-dM*) cat <<'END'\n{said}\nEND\nexit;; esac\n"
            'words="$*"\n'
            'while [ $# -gt 1 ]; do [ "$1" = -o ] && out=$2; shift; done\n'
            f"echo once >> {tmp_path}/calls\n{compiles}\n"
        )
        path.chmod(0o755)
        monkeypatch.setenv(library.COMPILER, str(path))
        monkeypatch.setenv(library.CACHE, str(tmp_path / "cache"))
        return path

    yield make
    library.find_compiler.cache_clear()
