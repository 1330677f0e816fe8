"""Test maps of what windows learn: cells, workers, file and tables."""

import math
import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import BrokenExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.echo import __main__ as echo
from bench.echo import windows
from bench.echo.task import COIN_TOSS
from bench.echo.windows import MapPlan, train_cell, train_cells
from bench.records import maps
from bench.records.maps import LearningMap, MapCell
from tests.bench.echo.made_models import Failing
from tests.bench.records.test_maps import a_map, cell
from tests.places import REFERENCE, ROOT

SMALL = MapPlan(distances=(1,), windows=(3, 6), seeds=1, timesteps=60)
OPTIONS = ("--distances", "1", "--windows", "3,6", "--seeds", "2", "--timesteps", "60")


pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


def run(*options: str) -> int:
    try:
        return echo.main(["windows", *options])
    except SystemExit as ended:
        return int(ended.code or 0)


# -- the plan


@settings(deadline=None)
@given(
    distances=st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True).map(tuple),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True).map(tuple),
    seeds=st.integers(1, 3),
)
def test_plan_items_name_each_learnable_place_once(
    distances: tuple[int, ...], lengths: tuple[int, ...], seeds: int
) -> None:
    items = MapPlan(distances, lengths, seeds, 18).items()
    assert len(set(items)) == len(items)
    assert set(items) == {
        (d, k, carried, seed)
        for d in distances
        for k in lengths
        for carried in (True, False)
        for seed in range(seeds)
        if carried or k > d
    }
    assert [item[3] for item in items] == sorted(item[3] for item in items)


# -- one cell


def test_train_cell_learns_only_with_a_window_over_the_distance() -> None:
    plan = MapPlan(distances=(3,), windows=(3, 5), seeds=1, timesteps=2500)
    short, long = (train_cell(plan, (3, window, True, 0)) for window in (3, 5))
    assert long.learned
    assert long.accuracy == 1.0
    assert (long.updates, long.timesteps) == (500, 2500)
    assert (long.best, long.memoryless) == (0.0, COIN_TOSS)
    assert short.learned_share is not None
    assert short.learned_share < 0.3
    assert len(long.curve) == 20
    assert long.curve[0] > 0.3
    assert long.loss == pytest.approx(np.mean(long.curve[-2:]), rel=0.05)


def test_train_cell_with_reset_state_reaches_the_best_loss() -> None:
    found = train_cell(MapPlan((1,), (4,), 1, 2000), (1, 4, False, 0))
    assert found.best == pytest.approx(math.log(2) / 4, rel=1e-3)
    assert found.loss == pytest.approx(found.best, rel=0.05)
    assert found.learned
    assert found.accuracy == pytest.approx(1 - 0.5 / 4, abs=0.03)  # a quarter is guessed


def test_train_cell_equals_the_reference_map() -> None:
    """Compare with the version that trained the project's map."""
    (reference,) = maps.collect([REFERENCE]).maps
    (known,) = (each for each in reference.seeds("echo", 3, 15, True) if each.seed == 0)
    found = train_cell(MapPlan(), (3, 15, True, 0))
    assert found.loss == pytest.approx(known.loss, rel=1e-4)
    assert (found.best, found.updates, found.stride) == (known.best, known.updates, known.stride)


def test_train_cell_diverging_has_a_problem_and_no_loss() -> None:
    item = (1, 3, True, 0)
    failing: Any = Failing(SMALL.settings(item).spec, good=4)
    found = train_cell(SMALL, item, failing)
    assert "diverged at window 5" in found.problem
    assert (found.loss, found.accuracy, found.learned) == (None, None, False)
    assert len(found.curve) == 4


# -- workers


def test_train_cells_with_any_number_of_workers_are_equal() -> None:
    def trained(jobs: int) -> list[MapCell]:
        cells: list[MapCell] = []
        train_cells(SMALL, jobs, cells.append, lambda: False)
        return sorted(cells, key=lambda each: each.key)

    before = {name: os.environ.get(name) for name in windows.THREADS}
    one = trained(1)
    assert [each.loss for each in one] == [train_cell(SMALL, _item(each)).loss for each in one]
    assert trained(2) == one
    assert {name: os.environ.get(name) for name in windows.THREADS} == before


def _item(cell: MapCell) -> windows.Item:
    return cell.distance, cell.window, cell.carried, cell.seed


def test_train_cells_with_a_killed_worker_raises() -> None:
    long = replace(SMALL, timesteps=2_000_000, windows=(3,))

    def killed() -> bool:
        for each in multiprocessing.active_children():
            each.kill()
        return False

    with pytest.raises(BrokenExecutor, match="terminated abruptly"):
        train_cells(long, 2, lambda cell: None, killed)


# -- the command


def test_windows_trains_writes_and_shows_a_map(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*OPTIONS, "--jobs", "2") == 0
    out = capsys.readouterr().out
    assert "[8/8] distance 1, window " in out
    assert "**Echo, state carried**" in out
    (path,) = Path("results").glob("learning-*.json")
    assert out.endswith(f"map: {path}\n")
    found = maps.read(path)
    assert found.run.complete
    assert found.notes == ()
    assert len(found.cells) == 8
    assert found.run.settings["windows"] == [3, 6]
    assert found.run.libraries["numpy"]
    assert run("--show") == 0
    assert capsys.readouterr().out.strip() in out


def test_windows_ctrl_c_keeps_the_finished_cells() -> None:
    """Send it as a terminal does: to the command and to its workers."""
    child = subprocess.Popen(
        (
            *(sys.executable, "-m", "bench.echo", "windows", "--jobs", "2", "--distances", "1"),
            *("--windows", "30,3", "--timesteps", "3000", "--seeds", "500"),
        ),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline().startswith("[1/2000]")
    os.killpg(child.pid, signal.SIGINT)
    out, err = child.communicate(timeout=300)
    assert child.returncode == 130, err
    assert err == ""
    (found,) = maps.collect(["results"]).maps
    assert not found.run.complete
    assert 1 <= len(found.cells) < 2000
    assert f"map: {found.path}" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--distances", "one"], "--distances: 'one' is not a list of integers"),
        (["--distances", "0"], "--distances expected one or more different positive integers"),
        (["--windows", "31"], "--timesteps is 60; expected at least 62"),
        (["--seeds", "0"], "--seeds: '0' is not a whole number of at least 1"),
        (["--backend", "nosuch"], "nosuch"),
        (["--backend", "cudnn"], "--backend cudnn on cpu: "),
        (["--show", "none.json"], "none.json does not exist"),
        (["--show", "."], ". contains no map; run python -m bench.echo windows to make one"),
        (["--results", "/dev/null/maps"], "/dev/null/maps"),
    ],
)
def test_windows_bad_input_prints_one_line_and_exits_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*OPTIONS, *arguments) == 2
    out = capsys.readouterr()
    assert message in out.err
    assert len(out.err.splitlines()) == 1
    assert out.err.startswith("error: ")
    assert not list(Path.cwd().iterdir())


def test_windows_unreadable_file_is_reported_and_others_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("learning-bad.json").write_text("{")
    assert run("--show", "learning-bad.json", str(REFERENCE)) == 2
    out = capsys.readouterr()
    assert "learning-bad.json" in out.err
    assert "Echo, state carried" in out.out


# -- how it is shown


def shown() -> LearningMap:
    cells = [
        cell(
            distance=d,
            window=k,
            stride=k,
            carried=carried,
            seed=seed,
            memoryless=0.7,
            best=0.0 if carried else 0.7 * d / k,
            loss=0.0 if k == 8 and (carried or seed == 0) else 0.7,
        )
        for d in (1, 3)
        for k in (3, 8)
        for carried in (True, False)
        for seed in (0, 1)
        if carried or k > d
    ]
    return a_map(*cells)


def test_markdown_has_means_and_learned_seeds_for_each_state() -> None:
    assert windows.markdown(shown()).startswith(
        "**Echo, state carried**\n\n"
        "| d \\\\ k |  3 |     8 |\n"
        "| -----: | -: | ----: |\n"
        "|      1 |  0 | 100 ✓ |\n"
        "|      3 |  0 | 100 ✓ |\n\n"
        "**Echo, state reset at each window**\n\n"
        "| d \\\\ k |  3 |      8 |\n"
        "| -----: | -: | -----: |\n"
        "|      1 |  0 | 57 1/2 |\n"
        "|      3 |  – | 80 1/2 |\n\n"
    )


def test_tables_show_untrained_and_diverged_places() -> None:
    bad = cell(window=6, stride=6, loss=None, accuracy=None, problem="diverged at window 3")
    ((_, table),) = windows.tables(a_map(cell(distance=1), bad))
    texts = [[each.text for each in line] for line in table.lines]
    assert texts == [["1", "86", ""], ["3", "", "diverged"]]
