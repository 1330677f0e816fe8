"""The map of batch × hidden size: what is on it, where its line runs, and what it never says."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bench import compare, suites
from bench.comparing import crossover_picture, devices, environments, output
from bench.comparing.crossover import Map
from bench.results.schema import Measurement, Results, Run
from bench.suites.cases import Case
from bench.telling import deliver
from bench.telling.command_line import UsageError
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload
from tests.bench.made_results import BUSY, gather, measured, run, save

Times = Mapping[tuple[int, int], tuple[float, float]]
"""Seconds on the CPU and on the GPU, by batch and hidden size."""

STEPS: Times = {
    (1, 32): (1.0, 3.0),
    (1, 128): (2.0, 3.0),
    (1, 512): (9.0, 3.0),
    (8, 32): (2.0, 3.0),
    (8, 128): (9.0, 3.0),
    (64, 32): (9.0, 3.0),
}


def case(
    device: str, batch: int, hidden: int, *, backend: str = "keras", features: int = 4
) -> Case:
    return Case(backend, LSTMSpec(features, hidden), Workload(batch, 10), device)


def grid(times: Times, *, backend: str = "keras", processes: int = 6) -> list[Measurement]:
    return [
        measured(case(device, *place, backend=backend), seconds, run(f"r{process}"))
        for process in range(processes)
        for place, both in times.items()
        for device, seconds in zip(("cpu", "gpu:0"), both, strict=True)
    ]


def maps(*items: Measurement) -> tuple[Map, ...]:
    return devices.compare_devices(gather(*items)).maps


def test_a_map_has_the_ratio_of_every_shape_that_both_devices_measured() -> None:
    lonely = measured(case("cpu", 64, 128), 1.0, run("r0"))
    (found,) = maps(*grid(STEPS), lonely)
    assert (found.base_label, found.new_label, found.backend) == ("cpu", "gpu:0", "keras")
    assert found.work == "inference, float32, 10 steps, 4 in"
    assert found.batches == (1, 8, 64)
    assert found.hidden_sizes == (32, 128, 512)
    assert set(found.by_place) == set(STEPS)
    ratio = found.by_place[1, 512].comparison.ratio.mid
    assert ratio == pytest.approx(1 / 3)
    assert found.by_place[1, 32].state == "SLOWER"


def test_the_line_runs_where_the_new_device_begins_to_win() -> None:
    (found,) = maps(*grid(STEPS))
    starts = {place for place, cell in found.by_place.items() if found.starts(cell)}
    assert starts == {(1, 512), (8, 128)}
    assert found.wins_from(1) == "512 (128: SLOWER)"
    assert found.wins_from(8) == "128 (32: SLOWER)"
    assert found.wins_from(64) == "32, the narrowest measured"


def test_a_row_without_one_line_is_told_as_it_is() -> None:
    (found,) = maps(
        *grid(
            {(1, 32): (3, 1), (1, 64): (1, 3), (1, 128): (3, 1), (2, 32): (3, 1), (2, 64): (1, 1)}
        )
    )
    assert found.wins_from(1) == "only at 32, 128"
    assert found.wins_from(2) == "only at 32"
    (lost,) = maps(*grid({(1, 32): (1, 3), (1, 64): (1, 3)}))
    assert lost.wins_from(1) == "nowhere measured (64: SLOWER)"


def test_what_is_unclear_or_invalid_is_not_won() -> None:
    """One process leaves 20% UNCLEAR, since devices are measured one after the other."""
    unclear = grid({(1, 32): (1.2, 1.0), (1, 64): (9.0, 1.0)}, processes=1)
    spoilt = measured(case("gpu:0", 1, 128), 1.0, run("r0"), [BUSY])
    (found,) = maps(*unclear, spoilt, measured(case("cpu", 1, 128), 9.0, run("r0")))
    assert [cell.state for cell in found.cells] == ["UNCLEAR", "FASTER", "INVALID"]
    assert found.wins_from(1) == "only at 64"


@pytest.mark.parametrize(("disturbed", "state"), [(1, "FASTER"), (2, "INVALID")])
def test_of_six_processes_one_that_was_disturbed_takes_no_cell_from_the_map(
    disturbed: int, state: str
) -> None:
    items = [
        replace(item, valid=False, reasons=(BUSY,))
        if item.case.device == "gpu:0" and item.run.id in [f"r{n}" for n in range(disturbed)]
        else item
        for item in grid({(1, 32): (9.0, 1.0), (1, 64): (9.0, 1.0)})
    ]
    (found,) = maps(*items)
    assert [cell.state for cell in found.cells] == [state, state]


def test_the_best_of_each_device_may_be_of_different_backends() -> None:
    times: Times = {(1, 32): (1.0, 3.0), (1, 64): (1.0, 3.0)}
    items = grid(times)
    for place in times:
        items.append(measured(case("gpu:0", *place, backend="cudnn"), 0.5, run("r0")))
        items.append(measured(case("gpu:0", *place, backend="broken"), 0.1, run("r0"), [BUSY]))
    best, alike = maps(*items)
    assert (best.backend, alike.backend) == ("", "keras")
    assert [(cell.base_case.backend, cell.case.backend) for cell in best.cells] == [
        ("keras", "cudnn"),
        ("keras", "cudnn"),
    ]
    assert best.cells[0].comparison.ratio.mid == pytest.approx(0.5)
    assert alike.cells[0].comparison.ratio.mid == pytest.approx(3.0)


def test_one_backend_in_all_has_no_best_beside_it() -> None:
    assert [found.backend for found in maps(*grid(STEPS))] == ["keras"]


def test_shapes_that_differ_in_more_are_on_maps_of_their_own() -> None:
    items = []
    for mode, steps in (("inference", 10), ("training", 10), ("training", 20)):
        for hidden in (8, 16):
            for device in ("cpu", "gpu:0"):
                of = Case("keras", LSTMSpec(4, hidden), Workload(2, steps, mode), device)
                items.append(measured(of, 1.0, run("r0")))
    assert [found.work for found in maps(*items)] == [
        "inference, float32, 10 steps, 4 in",
        "training, float32, 10 steps, 4 in, gradients of weights, input, state",
        "training, float32, 20 steps, 4 in, gradients of weights, input, state",
    ]


def test_square_layers_are_one_map_though_their_inputs_differ() -> None:
    """And a shape that is square by chance is on the map of its input's width alone."""
    square, wide = [], []
    for device in ("cpu", "gpu:0"):
        for hidden in (8, 16):
            square.append(measured(case(device, 2, hidden, features=hidden), 1.0, run("r0")))
            wide.append(measured(case(device, 2, hidden, features=8), 1.0, run("r0")))
    (found,) = maps(*square)
    assert found.work == "inference, float32, 10 steps, input as wide as the layer"
    (found,) = maps(*wide)
    assert found.work == "inference, float32, 10 steps, 8 in"
    assert len(found.cells) == 2


def test_without_two_shapes_that_differ_in_these_alone_a_suite_is_named_that_has_them() -> None:
    report = devices.compare_devices(gather(*grid({(1, 32): (1.0, 3.0)})))
    assert report.maps == ()
    assert "pytest --benchmark-only --lstm-suite crossover" in output.markdown(report)
    made = suites.load("crossover", suites.Choice(backends=["numpy"], devices=["cpu", "gpu:0"]))
    items = [measured(of, 1.0, run("r0")) for of in made.cases]
    for found in maps(*items):
        assert len(found.cells) == len(found.batches) * len(found.hidden_sizes) == 12


def test_across_machines_each_pair_of_devices_has_its_map() -> None:
    items = grid(STEPS)
    for place in STEPS:
        items.append(measured(case("gpu:0", *place), 0.1, run("x", host="server")))
    labels = {(found.base_label, found.new_label) for found in maps(*items)}
    assert labels == {("cpu on laptop", "gpu:0 on laptop"), ("gpu:0 on laptop", "gpu:0 on server")}


# How it is shown


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(save(tmp_path / "made", gather(*grid(STEPS))))


def test_the_terminal_draws_the_line_and_leaves_blanks(
    folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare.main(["devices", folder]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("gpu:0 over cpu, keras"))
    rows = [line.split() for line in lines[start + 3 : start + 6]]
    assert rows[0][:7] == ["1", "0.333", "S", "0.667", "S", "┃3.000", "F"]
    assert rows[1][:5] == ["8", "0.667", "S", "┃3.000", "F"]
    assert rows[2][:3] == ["64", "3.000", "F"]
    assert "32, the narrowest measured" in lines[start + 5]
    assert max(map(len, lines)) <= 100


def test_markdown_has_the_map_with_the_cells_that_are_won_in_bold(folder: str) -> None:
    assert compare.main(["devices", folder, "--format", "markdown", "--output", "a.md"]) == 0
    text = Path("a.md").read_text(encoding="utf-8")
    assert "| batch \\ hidden | 32 | 128 | 512 | wins from hidden size |" in text
    assert "| 1 | 0.333 S | 0.667 S | **3.000 F** | 512 (128: SLOWER) |" in text
    assert "| 64 | **3.000 F** |  |  | 32, the narrowest measured |" in text


def test_json_and_csv_have_every_cell(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(["devices", folder, "--format", "json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["crossover"]
    assert len(found["cells"]) == len(STEPS)
    assert found["wins_from"]["8"] == "128 (32: SLOWER)"
    assert found["cells"][0]["ratio"] == pytest.approx(3.0)
    assert compare.main(["devices", folder, "--format", "csv"]) == 0
    assert "fastest of each" not in capsys.readouterr().out  # one backend: the cases say it all


def test_the_picture_has_a_tile_for_each_measured_shape_and_no_other(folder: str) -> None:
    assert compare.main(["devices", folder, "--format", "svg", "--output", "a.svg"]) == 0
    found = ET.parse("a.svg").iter("{http://www.w3.org/2000/svg}text")
    words = ["".join(each.itertext()).strip() for each in found]
    assert words.count("3.000 F") == 3
    assert words.count("0.667 S") == 2
    assert sum(word.endswith((" F", " S")) for word in words) == len(STEPS)
    assert "gpu:0 over cpu, keras" in words


def test_the_line_of_the_picture_is_between_measured_neighbours_only() -> None:
    (found,) = maps(*grid(STEPS))
    places = {
        (row, column): found.by_place[batch, hidden]
        for row, batch in enumerate(found.batches)
        for column, hidden in enumerate(found.hidden_sizes)
        if (batch, hidden) in found.by_place
    }
    assert sorted(crossover_picture._line(places)) == [
        ((-0.5, 1.5), (0.5, 1.5)),  # below batch 8, hidden 32
        ((0.5, 0.5), (0.5, 1.5)),  # and right of it
        ((0.5, 0.5), (1.5, 0.5)),  # below batch 1, hidden 128
        ((1.5, -0.5), (1.5, 0.5)),  # and right of it
    ]


def test_a_picture_without_a_map_or_a_file_is_an_error_that_says_why(
    folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare.main(["devices", folder, "--format", "png"]) == 2
    assert "--format png needs --output FILE.png" in capsys.readouterr().err
    report = devices.compare_devices(gather(*grid({(1, 32): (1.0, 3.0)})))
    with pytest.raises(UsageError, match="No map of batch × hidden size"):
        output.show(report, "png", deliver.Target(Path("a.png"), {}))
    assert not Path("a.png").exists()


def test_a_hostile_name_is_text_in_the_map(tmp_path: Path) -> None:
    name = "[red]$x_$|<b>`"
    times: Times = {(1, 32): (1.0, 3.0), (1, 64): (1.0, 3.0)}
    found: Results = gather(*grid(times, backend=name))
    report = devices.compare_devices(found)
    text = output.markdown(report)
    assert "### gpu:0 over cpu, \\[red\\]\\$x\\_\\$\\|\\<b\\>\\`: inference" in text
    drawn = crossover_picture.picture(report.maps, "svg").decode()
    assert "[red]$x_$|&lt;b&gt;`" in drawn


def test_a_device_that_loses_is_no_alarm_in_ci_unless_a_rule_asks(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    assert compare.main(["devices", folder]) == 0
    assert "::warning" not in capsys.readouterr().out
    assert "wins from hidden size" in Path("summary.md").read_text(encoding="utf-8")
    assert compare.main(["devices", folder, "--fail-on", "slower"]) == 1
    assert capsys.readouterr().out.count("::error title=SLOWER") == 3


# What differs, beside the map


def test_thread_counts_that_only_the_framework_knows_are_named() -> None:
    def with_threads(name: str, threads: int | None) -> Run:
        during = run(name)
        after = {} if threads is None else {"threads": {"tensorflow_intra": threads}}
        return replace(during, environment={**during.environment, "after": after})

    base = [with_threads("a", 2)]
    (found,) = environments.environment_differences(base, [with_threads("b", 8)])
    assert found == ("threads.tensorflow_intra", "2", "8")
    # A run that was cut off does not say: that is no difference.
    assert environments.environment_differences(base, [with_threads("c", None)]) == []
