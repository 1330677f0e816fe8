"""Test the command of the studies: its tables, pictures and errors."""

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.render import plot
from bench.render.table import TextTable
from research import bridges, changes, nodes, percentiles, pictures, rules, verdict_study, verdicts
from research.rules import table
from tests.research.documented import text

STUDIES = (verdicts, bridges, percentiles, nodes, changes)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Replace the studies and the pictures, and return their calls."""
    found: list[tuple[str, int]] = []

    def tables(name: str, trials: int) -> dict[str, TextTable]:
        found.append((name, trials))
        return {f"Of {name}": table([name], [])}

    def make_pictures(trials: int) -> dict[str, Callable[[], bytes]]:
        found.append(("pictures", trials))
        return {"a.png": lambda: b"\x89PNG"}

    for study in STUDIES:
        name = study.__name__.rpartition(".")[2]
        monkeypatch.setattr(study, "tables", functools.partial(tables, name))
    monkeypatch.setattr(verdict_study, "pictures", make_pictures)
    return found


USUAL = ("verdicts", "bridges", "percentiles")


@pytest.mark.parametrize(
    ("words", "studies", "trials"),
    [
        ([], USUAL, rules.TRIALS),
        (["--trials", "7"], USUAL, 7),
        (["--changes"], ("changes",), changes.TRIALS),
        (["--changes", "--trials", "7"], ("changes",), 7),
        (["--nodes"], ("nodes",), nodes.TRIALS),
        (["--nodes", "--trials", "7"], ("nodes",), 7),
    ],
)
def test_main_prints_the_requested_tables(
    words: list[str],
    studies: Sequence[str],
    trials: int,
    calls: list[tuple[str, int]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert verdict_study.main(words) == 0
    assert calls == [(name, trials) for name in studies]
    tables = [f"Of {name}\n\n| {name} |\n| {'-' * len(name)} |\n\n" for name in studies]
    assert capsys.readouterr().out == "".join(tables)


@pytest.mark.parametrize("trials", [rules.TRIALS, 7])
def test_main_with_output_draws_the_pictures(
    trials: int, tmp_path: Path, calls: list[tuple[str, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "pictures"
    more = [] if trials == rules.TRIALS else ["--trials", str(trials)]
    assert verdict_study.main(["--output", str(folder), *more]) == 0
    assert calls == [(name, trials) for name in (*USUAL, "pictures")]
    assert "Of verdicts" in capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == ["a.png"]
    assert (folder / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--changes", "--output", "x"], "--changes has no pictures"),
        (["--nodes", "--output", "x"], "--nodes has no pictures"),
        (["--nodes", "--changes"], "are two studies: give one"),
    ],
)
def test_main_conflicting_options_are_refused_first(
    words: list[str], text: str, calls: list[tuple[str, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert verdict_study.main(words) == 2
    err = capsys.readouterr().err
    assert text in err
    assert err.count("\n") == 1
    assert calls == []


@pytest.mark.skipif(not plot.is_available(), reason="there is no matplotlib")
def test_pictures_equal_the_documentation(soon: None) -> None:
    shown = re.findall(r'="\.\./docs/pictures/(verdicts-[\w-]+\.png)"', text())
    assert set(shown) == set(pictures.pictures(1))
    power = pictures.draw_power(300)
    for panel, axis in enumerate(power.axes):
        lines = {line.get_label(): line.get_xydata().T for line in axis.get_lines()}
        for count, (effect, *promised) in pictures.PROMISES.items():
            effects, rates = lines[f"{count} processes"]
            assert np.all(np.diff(rates) >= 0)
            # 300 trials of 85% have a standard error of 2%.
            assert np.interp(100 * effect, effects, rates) >= 100 * promised[panel] - 6
    assert len(pictures.draw_needed().axes[0].get_lines()) > 0
