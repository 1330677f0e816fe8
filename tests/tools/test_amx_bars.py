"""Test how the bars for CPUs with AMX are measured and judged."""

import subprocess
from pathlib import Path

import pandas
import pytest

from bench.case import load
from tests.places import ROOT
from tools import amx_bars
from tools.amx_bars import advise_default, compare_float32, list_bars, main
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


def test_speedup_has_the_opposite_ends_of_both_intervals() -> None:
    *_, widest = list_bars()
    interval = {"time_low_s": 1.8, "time_high_s": 2.4}
    rows = [row(widest.backend, 2.0, widest) | interval]
    rows.append(row(widest.peers[0], 4.0, widest) | {"time_low_s": 3.6, "time_high_s": 4.5})
    times = dict(judge(pandas.DataFrame(rows), list_bars()))[widest]
    assert times == Times(2.0, 4.0, 1.5, 2.5)
    columns, verdict = times.describe(widest)
    assert columns == ["2.00 s", "4.00 s", "2.00×", "1.50 to 2.50×", "1.5×"]
    assert verdict == "met"


@pytest.mark.parametrize(
    ("tiles", "advice"),
    [(1.0, "make them the default"), (1.9, "not certainly faster at one"), (9.0, "Keep the units")],
)
def test_float32_by_tiles_is_advised_only_if_it_is_certainly_faster(
    tiles: float, advice: str
) -> None:
    *_, widest = list_bars()
    rows = [
        row(widest.backend, time_s, widest)
        | {
            "suite": suite,
            "case_id": "one",
            "time_low_s": 0.9 * time_s,
            "time_high_s": 1.1 * time_s,
        }
        for suite, time_s in ((amx_bars.UNITS, 2.0), (amx_bars.TILES, tiles))
    ]
    found = list(compare_float32(pandas.DataFrame(rows)))
    assert [(times.ours, times.peer) for _, times in found] == [(tiles, 2.0)]
    assert advice in advise_default(found)


def test_float32_that_was_not_measured_both_ways_gives_no_advice() -> None:
    *_, widest = list_bars()
    only = row(widest.backend, 2.0, widest) | {"suite": amx_bars.UNITS, "case_id": "one"}
    assert "was not measured" in advise_default(list(compare_float32(pandas.DataFrame([only]))))


def test_suites_are_measured_with_the_products_that_they_are_about(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runs: list[tuple[str, str]] = []

    def run(
        command: list[str], env: dict[str, str], check: bool
    ) -> subprocess.CompletedProcess[str]:
        runs.append((load(command[3]).name, env["LSTM_NATIVE_FLOAT32"]))
        (tmp_path / f"{runs[-1][0]}-made.json").touch()
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(amx_bars, "cpu_flags", lambda: frozenset(["amx_bf16"]))
    monkeypatch.setattr(subprocess, "run", run)
    found = amx_bars.measure(tmp_path)
    assert runs == [
        ("amx-bars", "tiles"),
        (amx_bars.UNITS, "units"),
        (amx_bars.TILES, "tiles"),
    ]
    assert [Path(each).name for each in found] == [f"{name}-made.json" for name, _ in runs]


def test_reference_results_with_amx_miss_the_bar_of_int8(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(AMX) == 1
    lines = capsys.readouterr().out.splitlines()
    (int8,) = (each for each in lines if "int8" in each and "b64-" in each)
    assert int8.endswith("1.5× | missed |")
    training = [each for each in lines if "-dw |" in each]
    assert [each.split(" | ")[-1] for each in training].count("met |") == 3
