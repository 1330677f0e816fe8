"""The command that compiles fused_cpu ahead, and a machine without a compiler that uses it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import lstm_impl.backends.fused_cpu.library as library
import lstm_impl.backends.fused_cpu.prebuilt as prebuilt
from tools import native

# TensorFlow takes seconds to import, and not every process that collects these tests runs them.
pytestmark = pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="it is made for a TensorFlow: pip install '.[cpu]'"
)


def test_what_cannot_be_made_is_a_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, nowhere = str(tmp_path / "made"), str(tmp_path / "nowhere")
    for words, told in (
        (["--cpu", "i386"], "no kind of CPU is called 'i386'; expected one of x86-64-v4"),
        (["--tensorflow", nowhere], f"{nowhere}: there is no TensorFlow for Linux unpacked"),
    ):
        assert native.main([made, *words]) == 2
        line = capsys.readouterr().err
        assert line.startswith(f"error: {told}")
        assert line.count("\n") == 1
        assert not list(tmp_path.iterdir())


def installed() -> Path:
    """The folder with TensorFlow and what pip knows of it, as its wheel would be unpacked."""
    found = importlib.util.find_spec("tensorflow")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent.parent


RUN = """
import numpy as np
from lstm_impl import LSTMSpec, LSTMWeights, Workload, get_backend
import lstm_impl.backends.fused_cpu.library as library
from lstm_impl.proof import gate
backend = get_backend("fused_cpu")
print(backend.availability("cpu").reason)
for dtype in ("float32", "bfloat16"):
    spec = LSTMSpec(3, 33, dtype=dtype)
    found = gate(backend.build(spec, LSTMWeights.random(spec)), Workload(13, 5, "training"))
    assert found.passed, found.describe()
assert not library._unloadable, library._unloadable
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++: apt-get install g++")
@pytest.mark.parametrize("unpacked", [False, True], ids=["installed", "unpacked"])
def test_a_machine_without_a_compiler_computes_with_each(tmp_path: Path, unpacked: bool) -> None:
    kinds = [name for name, kind in prebuilt.KINDS.items() if kind.machine == platform.machine()]
    where = ["--tensorflow", str(installed())] if unpacked else []
    assert native.main([str(tmp_path / "all"), *where]) == 0
    able = [name for name in kinds if not prebuilt.KINDS[name].problem()]
    assert able, "this CPU is of no kind that libraries are made for"
    for cpu in able:
        made = tmp_path / cpu
        made.mkdir()
        for path in (tmp_path / "all").glob(f"*-{cpu}-*.so"):
            shutil.copy(path, made)
        variables = {library.COMPILER: "none", library.CACHE: str(tmp_path / "cache")}
        done = subprocess.run(
            [sys.executable, "-c", RUN],
            env={**os.environ, **variables, prebuilt.FOLDER: str(made)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"fused_cpu runs from a prebuilt library, for {cpu}\n")
    assert not (tmp_path / "cache").exists()
