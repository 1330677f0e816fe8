"""``python -m bench``: no command is left out of the list."""

from __future__ import annotations

import pytest

from bench.__main__ import COMMANDS, main
from tools.packages import BENCH, modules, room
from tools.packages import COMMANDS as BESIDE

NO_COMMANDS = {
    *("__init__", "__main__", "plugin"),
    *("bench_throughput", "bench_truncation", "bench_streaming"),
}


def test_every_command_stands_under_its_question(capsys: pytest.CaptureFixture[str]) -> None:
    listed = [name for answers in COMMANDS.values() for name in answers]
    there = {path.stem for name, path in modules().items() if room(name) == BESIDE}
    there |= {path.parent.name for path in BENCH.glob("*/__main__.py")}
    assert sorted(listed) == sorted(there - NO_COMMANDS)
    assert main([]) == 0
    out = capsys.readouterr().out
    for name in listed:
        assert f"python -m bench.{name} " in out
        assert (BENCH / f"{name}.py").exists() or (BENCH / name / "__main__.py").exists()
