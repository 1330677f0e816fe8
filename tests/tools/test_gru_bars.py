"""Test how the bars of the kernels' GRU are judged."""

from pathlib import Path
from typing import Any

import pandas
import pytest

from bench.case import load
from tools import gru_bars
from tools.bars import Bar, Times
from tools.gru_bars import list_bars, main


def row(backend: str, time_s: float, bar: Bar) -> dict[str, object]:
    case = {"dtype": bar.dtype, "mode": bar.mode, "shape": bar.shape}
    return {**case, "backend": backend, "time_s": time_s, "outcome": "measured"}


def measured(slow: int) -> Any:
    """Return results that meet all bars but ``slow`` of fused_cpu's in training."""
    rows: dict[tuple[str, str], dict[str, object]] = {}
    left = slow
    for bar in list_bars():
        is_slow = bar.backend == "fused_cpu" and left > 0
        left -= is_slow
        ours = 0.009 if bar.most_s is not None else 1.0
        pairs = [(bar.backend, 3.0 if is_slow else ours), *((peer, 2.0) for peer in bar.peers)]
        rows |= {(name, bar.shape): row(name, time, bar) for name, time in pairs}
    return pandas.DataFrame(list(rows.values()))


def test_suite_has_the_cases_of_every_bar() -> None:
    ids = {case.id for case in load(str(gru_bars.SUITE)).cases}
    for bar in list_bars():
        for backend in (bar.backend, *bar.peers):
            assert f"{backend}/{bar.shape}/{bar.dtype}/{bar.mode}/cpu" in ids


@pytest.mark.parametrize(("slow", "code"), [(0, 0), (1, 0), (2, 1)])
def test_one_shape_of_fused_cpu_may_miss_its_bar(
    slow: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gru_bars, "load_or_measure", lambda options, _: measured(slow))
    assert main([]) == code
    printed = capsys.readouterr().out
    assert printed.count("| missed |") == slow
    assert printed.count("| met |") == 22 - slow


def test_time_is_judged_where_a_bar_has_no_peer() -> None:
    *_, agent = list_bars()
    for ours, verdict in ((0.009, "met"), (0.010, "missed"), (None, "no result")):
        columns, found = Times(ours, None).describe(agent)
        assert found == verdict
        assert columns[-1] == "< 10.0 ms"


def test_results_without_a_case_of_a_bar_miss_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    frame = measured(0)
    without = frame[frame.backend != "torch_fused_cpu"]
    monkeypatch.setattr(gru_bars, "load_or_measure", lambda options, _: without)
    assert main([]) == 1
    assert capsys.readouterr().out.count("| no result |") == 8
