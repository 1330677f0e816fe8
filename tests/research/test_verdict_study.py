"""The command that simulates how often the verdicts are right: what it prints and writes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench.render import plot
from bench.render.plot import Figure, empty_figure
from bench.render.table import Sheet
from research import bridges, changes, nodes, percentiles, rules, verdict_study, verdicts
from research.rates import table

STUDIES = (verdicts, bridges, percentiles, nodes, changes)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What is asked of the studies and the pictures, which answer at once with their names."""
    found: list[tuple[str, int]] = []

    def tables(name: str, trials: int) -> dict[str, Sheet]:
        found.append((name, trials))
        return {f"Of {name}": table([name], [])}

    def drawn(trials: int) -> dict[str, Callable[[], Figure]]:
        found.append(("pictures", trials))
        return {"a.png": lambda: empty_figure(1, 1)}

    for study in STUDIES:
        name = study.__name__.rpartition(".")[2]
        monkeypatch.setattr(study, "tables", functools.partial(tables, name))
    monkeypatch.setattr(verdict_study, "pictures", drawn)
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
def test_it_prints_the_tables_that_were_asked_for(
    words: list[str],
    studies: Sequence[str],
    trials: int,
    asked: list[tuple[str, int]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert verdict_study.main(words) == 0
    assert asked == [(name, trials) for name in studies]
    tables = [f"Of {name}\n\n| {name} |\n| {'-' * len(name)} |\n\n" for name in studies]
    assert capsys.readouterr().out == "".join(tables)


@pytest.mark.parametrize("trials", [rules.TRIALS, 7])
def test_with_a_folder_it_draws_the_pictures_there(
    trials: int, tmp_path: Path, asked: list[tuple[str, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "pictures"
    more = [] if trials == rules.TRIALS else ["--trials", str(trials)]
    assert verdict_study.main(["--output", str(folder), *more]) == 0
    assert asked == [(name, trials) for name in (*USUAL, "pictures")]
    assert "Of verdicts" in capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == ["a.png"]
    assert (folder / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--changes", "--output", "x"], "--changes has no pictures"),
        (["--nodes", "--output", "x"], "--nodes has no pictures"),
        (["--nodes", "--changes"], "are two studies: give one"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_simulated(
    words: list[str], told: str, asked: list[tuple[str, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert verdict_study.main(words) == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1
    assert asked == []


def test_a_folder_that_cannot_be_made_is_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: list[tuple[str, int]]
) -> None:
    (tmp_path / "file").write_text("")
    assert verdict_study.main(["--trials", "5", "--output", str(tmp_path / "file" / "sub")]) == 2
    err = capsys.readouterr().err
    assert "cannot be written" in err
    assert err.count("\n") == 1


def test_without_matplotlib_the_pictures_are_refused_before_anything_is_simulated(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    asked: list[tuple[str, int]],
) -> None:
    monkeypatch.setattr(plot, "available", lambda: False)
    assert verdict_study.main(["--output", str(tmp_path)]) == 2
    assert "a picture needs matplotlib" in capsys.readouterr().err
    assert asked == []


@pytest.mark.parametrize("trials", ["0", "-1", "many"])
def test_trials_that_are_no_number_are_refused(
    trials: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        verdict_study.main([f"--trials={trials}"])
    assert caught.value.code == 2
    assert "is not a whole number of at least 1" in capsys.readouterr().err
