"""Test how the bars for CPUs with AMX are measured and judged."""

import pandas
import pytest

from bench.case import load
from tests.places import ROOT
from tools import amx_bars
from tools.amx_bars import list_bars, main
from tools.bars import Bar, Times, judge

AMX = sorted(map(str, (ROOT / "results" / "reference_amx").glob("*.json")))


def row(backend: str, time_s: float, bar: Bar) -> dict[str, object]:
    case = {"dtype": bar.dtype, "mode": bar.mode, "shape": bar.shape}
    return {**case, "backend": backend, "time_s": time_s, "outcome": "measured"}


def test_measurement_on_a_cpu_without_amx_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(amx_bars, "cpu_flags", lambda: frozenset(["avx512_bf16"]))
    assert main([]) == 2
    assert "this CPU has no AMX" in capsys.readouterr().err


def test_suite_has_the_cases_of_every_bar() -> None:
    cases = load(str(amx_bars.SUITE)).cases
    ids = {case.id for case in cases}
    for bar in list_bars():
        for backend in (bar.backend, *bar.peers):
            assert f"{backend}/{bar.shape}/{bar.dtype}/{bar.mode}/cpu" in ids


def test_bar_is_judged_against_the_fastest_peer() -> None:
    *_, widest = list_bars()
    rows = [row(name, 3.0 + at, widest) for at, name in enumerate(widest.peers)]
    frame = pandas.DataFrame([row(widest.backend, 2.0, widest), *rows])
    found = dict(judge(frame, list_bars()))
    assert found[widest] == Times(2.0, 3.0)
    assert sum(times == Times(None, None) for times in found.values()) == len(found) - 1


def test_reference_results_with_amx_miss_the_bar_of_int8(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(AMX) == 1
    lines = capsys.readouterr().out.splitlines()
    (int8,) = (each for each in lines if "int8" in each and "b64-" in each)
    assert int8.endswith("1.5× | missed |")
    training = [each for each in lines if "-dw |" in each]
    assert [each.split(" | ")[-1] for each in training].count("met |") == 3
