"""Test ``python -m bench`` and ``lstm-bench``."""

import importlib
import tomllib
from pathlib import Path

import pytest

from bench.__main__ import COMMANDS, console, main
from tests.places import GOLDEN, ROOT
from tools.packages import BENCH, find_package, list_modules
from tools.packages import COMMANDS as BESIDE

NO_COMMANDS = {"__init__", "__main__", "plugin", "bench_cases", "worker"}
"""Modules that users do not run. ``bench.run`` starts ``bench.worker``."""


def test_main_lists_every_command_under_its_question(capsys: pytest.CaptureFixture[str]) -> None:
    listed = [name for answers in COMMANDS.values() for name in answers]
    there = {path.stem for name, path in list_modules().items() if find_package(name) == BESIDE}
    there |= {path.parent.name for path in BENCH.glob("*/__main__.py")}
    assert sorted(listed) == sorted(there - NO_COMMANDS)
    assert main([]) == 0
    out = capsys.readouterr().out
    for name in listed:
        assert f"python -m bench.{name} " in out
        assert (BENCH / f"{name}.py").exists() or (BENCH / name / "__main__.py").exists()


def test_lstm_bench_passes_arguments_and_returns_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path / "nowhere.json")]) == 2
    assert "nowhere.json does not exist" in capsys.readouterr().err
    assert main(["report", str(GOLDEN / "replicate-1.json"), "--format", "csv"]) == 0
    assert capsys.readouterr().out.startswith("session,")


def test_lstm_bench_with_an_unknown_command_names_the_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["reprot"], prog="lstm-bench") == 2
    err = capsys.readouterr().err
    assert err.startswith("error: there is no command 'reprot' (did you mean report or")


def test_lstm_bench_lists_its_own_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], prog="lstm-bench") == 0
    out = capsys.readouterr().out
    assert "  lstm-bench ask " in out
    assert "python -m bench" not in out


def test_lstm_bench_is_the_console_script_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    place, _, function = project["scripts"]["lstm-bench"].partition(":")
    assert getattr(importlib.import_module(place), function) is console
