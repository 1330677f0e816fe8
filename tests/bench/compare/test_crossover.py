"""Maps of two devices: their cells, where one begins to win, as text and as a picture."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace

import pytest

from bench import case as suites
from bench.case.cases import Case
from bench.cli.output import plain_text
from bench.records.schema import Measurement
from bench.render import compare as crossover_picture
from bench.render import compare as output
from bench.render import plot
from bench.render.compare import map_legend, map_work, markdown_maps, terminal_maps, wins_from
from bench.stats.comparison import Pairing
from bench.stats.crossover import Map
from bench.stats.pairs import ComparisonReport, compare_devices
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload
from tests.bench.made_grids import STEPS, Times, a_case, grid, maps
from tests.bench.made_results import BUSY, LAPTOP, SERVER, gather, measured, run


def test_a_map_has_the_ratio_of_every_shape_that_both_devices_measured() -> None:
    lonely = measured(a_case("cpu", 64, 128), 1.0, run("r0"))
    (found,) = maps(*grid(STEPS), lonely)
    assert (found.base_label, found.new_label, found.backend) == ("cpu", "gpu:0", "keras")
    assert map_work(found) == "inference, float32, 10 steps, 4 in"
    assert found.batches == (1, 8, 64)
    assert found.hidden_sizes == (32, 128, 512)
    assert set(found.by_place) == set(STEPS)
    ratio = found.by_place[1, 512].comparison.ratio.mid
    assert ratio == pytest.approx(1 / 3)
    assert found.by_place[1, 32].state == "SLOWER"
    assert found.by_place[1, 32].comparison.pairing is Pairing.SEQUENTIAL


def test_the_line_runs_where_the_new_device_begins_to_win() -> None:
    (found,) = maps(*grid(STEPS))
    starts = {place for place, cell in found.by_place.items() if found.starts(cell)}
    assert starts == {(1, 512), (8, 128)}
    assert wins_from(found, 1) == "512 (128: SLOWER)"
    assert wins_from(found, 8) == "128 (32: SLOWER)"
    assert wins_from(found, 64) == "32, the narrowest measured"


def test_a_row_without_one_line_is_told_as_it_is() -> None:
    (found,) = maps(
        *grid(
            {(1, 32): (3, 1), (1, 64): (1, 3), (1, 128): (3, 1), (2, 32): (3, 1), (2, 64): (1, 1)}
        )
    )
    assert wins_from(found, 1) == "only at 32, 128"
    assert wins_from(found, 2) == "only at 32"
    (lost,) = maps(*grid({(1, 32): (1, 3), (1, 64): (1, 3)}))
    assert wins_from(lost, 1) == "nowhere measured (64: SLOWER)"


def test_a_base_that_is_not_to_be_trusted_makes_its_cells_invalid() -> None:
    items = grid({(1, 32): (9.0, 1.0), (1, 64): (9.0, 1.0)}, processes=1)
    items[0] = replace(items[0], valid=False, reasons=(BUSY,))
    (found,) = maps(*items)
    assert [cell.state for cell in found.cells] == ["INVALID", "FASTER"]


def test_what_is_unclear_or_invalid_is_not_won() -> None:
    """One process leaves 20% UNCLEAR, since devices are measured one after the other."""
    unclear = grid({(1, 32): (1.2, 1.0), (1, 64): (9.0, 1.0)}, processes=1)
    spoilt = measured(a_case("gpu:0", 1, 128), 1.0, run("r0"), [BUSY])
    (found,) = maps(*unclear, spoilt, measured(a_case("cpu", 1, 128), 9.0, run("r0")))
    assert [cell.state for cell in found.cells] == ["UNCLEAR", "FASTER", "INVALID"]
    assert wins_from(found, 1) == "only at 64"


def test_the_best_of_each_device_may_be_of_different_backends() -> None:
    times: Times = {(1, 32): (1.0, 3.0), (1, 64): (1.0, 3.0)}
    items = grid(times)
    for place in times:
        items.append(measured(a_case("gpu:0", *place, backend="cudnn"), 0.5, run("r0")))
        items.append(measured(a_case("gpu:0", *place, backend="broken"), 0.1, run("r0"), [BUSY]))
    best, alike = maps(*items)
    assert (best.backend, alike.backend) == ("", "keras")
    assert [(cell.base_case.backend, cell.case.backend) for cell in best.cells] == [
        ("keras", "cudnn"),
        ("keras", "cudnn"),
    ]
    assert best.cells[0].comparison.ratio.mid == pytest.approx(0.5)
    assert alike.cells[0].comparison.ratio.mid == pytest.approx(3.0)


def test_shapes_that_differ_in_more_are_on_maps_of_their_own() -> None:
    items = []
    for mode, steps in (("inference", 10), ("training", 10), ("training", 20)):
        for hidden in (8, 16):
            for device in ("cpu", "gpu:0"):
                of = Case("keras", LSTMSpec(4, hidden), Workload(2, steps, mode), device)
                items.append(measured(of, 1.0, run("r0")))
    assert [map_work(found) for found in maps(*items)] == [
        "inference, float32, 10 steps, 4 in",
        "training, float32, 10 steps, 4 in, gradients of weights, input, state",
        "training, float32, 20 steps, 4 in, gradients of weights, input, state",
    ]


def test_square_layers_are_one_map_though_their_inputs_differ() -> None:
    """And a shape that is square by chance is on the map of its input's width alone."""
    square, wide = [], []
    for device in ("cpu", "gpu:0"):
        for hidden in (8, 16):
            square.append(measured(a_case(device, 2, hidden, features=hidden), 1.0, run("r0")))
            wide.append(measured(a_case(device, 2, hidden, features=8), 1.0, run("r0")))
    (found,) = maps(*square)
    assert map_work(found) == "inference, float32, 10 steps, input as wide as the layer"
    (found,) = maps(*wide)
    assert map_work(found) == "inference, float32, 10 steps, 8 in"
    assert len(found.cells) == 2


def square(*, batches: tuple[int, ...], sizes: tuple[int, ...]) -> list[Measurement]:
    return [
        measured(a_case(device, batch, hidden, features=8), 1.0, run("r0"))
        for device in ("cpu", "gpu:0")
        for batch in batches
        for hidden in sizes
    ]


@pytest.mark.parametrize("sizes", [(8, 16), (8,)])
def test_layers_that_are_square_as_part_of_a_map_are_no_map_of_their_own(
    sizes: tuple[int, ...],
) -> None:
    (found,) = maps(*square(batches=(1, 2), sizes=sizes))
    assert map_work(found) == "inference, float32, 10 steps, 8 in"


def test_windows_are_told_and_cells_stand_in_the_order_of_batch_and_size() -> None:
    items = [
        measured(
            Case("keras", LSTMSpec(4, hidden), Workload(batch, 10, "training", window=5), device),
            1.0,
            run("r0"),
        )
        for batch, hidden in ((2, 64), (1, 64), (2, 32), (1, 32))
        for device in ("cpu", "gpu:0")
    ]
    (found,) = maps(*items)
    assert map_work(found).endswith(", windows of 5")
    places = [(cell.batch, cell.hidden_size) for cell in found.cells]
    assert places == sorted(places)


def test_after_the_best_the_maps_of_backends_stand_by_name() -> None:
    times: Times = {(1, 32): (1.0, 3.0), (1, 64): (1.0, 3.0)}
    items = [item for name in ("torch", "keras") for item in grid(times, backend=name)]
    assert [found.backend for found in maps(*items)] == ["", "keras", "torch"]


def test_without_two_shapes_that_differ_in_these_alone_a_suite_is_named_that_has_them() -> None:
    report = compare_devices(gather(*grid({(1, 32): (1.0, 3.0)})))
    assert report.maps == ()
    assert "pytest --benchmark-only --lstm-suite crossover" in output.markdown(report)
    made = suites.load(
        "crossover", suites.SuiteChoice(backends=["numpy"], devices=["cpu", "gpu:0"])
    )
    items = [measured(of, 1.0, run("r0")) for of in made.cases]
    for found in maps(*items):
        assert len(found.cells) == len(found.batches) * len(found.hidden_sizes) == 12


def test_across_machines_each_pair_of_devices_has_its_map() -> None:
    items = grid(STEPS)
    for place in STEPS:
        items.append(measured(a_case("gpu:0", *place), 0.1, run("x", host="server")))
    labels = {(found.base_label, found.new_label) for found in maps(*items)}
    assert labels == {
        (f"cpu on {LAPTOP}", f"gpu:0 on {LAPTOP}"),
        (f"gpu:0 on {LAPTOP}", f"gpu:0 on {SERVER}"),
    }


@pytest.fixture(scope="module")
def steps() -> ComparisonReport:
    return compare_devices(gather(*grid(STEPS)))


def test_the_terminal_draws_the_line_and_leaves_blanks(steps: ComparisonReport) -> None:
    lines = plain_text(lambda console: terminal_maps(steps, console)).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("gpu:0 over cpu, keras"))
    rows = [line.split() for line in lines[start + 3 : start + 6]]
    assert rows[0][:7] == ["1", "0.333", "S", "0.667", "S", "┃3.000", "F"]
    assert rows[1][:5] == ["8", "0.667", "S", "┃3.000", "F"]
    assert rows[2][:3] == ["64", "3.000", "F"]
    assert "32, the narrowest measured" in lines[start + 5]
    assert max(map(len, lines)) <= 100


def test_markdown_has_the_map_with_the_cells_that_are_won_in_bold(steps: ComparisonReport) -> None:
    text = "\n".join(markdown_maps(steps))
    assert "| batch \\\\ hidden | 32 | 128 | 512 | wins from hidden size |" in text
    assert "| 1 | 0.333 S | 0.667 S | **3.000 F** | 512 (128: SLOWER) |" in text
    assert "| 64 | **3.000 F** |  |  | 32, the narrowest measured |" in text


def test_the_legend_names_the_marks_that_are_there_and_what_makes_a_cell_doubtful() -> None:
    (plain,) = maps(*grid(STEPS))
    (marks,) = map_legend([plain])
    assert "F FASTER" in marks
    assert "S SLOWER" in marks
    assert "UNCLEAR" not in marks
    items = [*grid({(1, 32): (1.0, 3.0), (1, 64): (1.0, 3.0)}, processes=1)]
    items += [measured(a_case("gpu:0", 1, 32, backend="cudnn"), 0.5, run("r0"), [BUSY])]
    items += [measured(a_case("gpu:0", 1, 64, backend="cudnn"), 0.5, run("r0"))]
    _, picked, few = map_legend(maps(*items))
    assert picked.startswith("The fastest backend of each: picked after measuring")
    assert few.startswith("With an allowance")


def test_of_many_maps_the_first_are_shown_and_how_many_more_there_are() -> None:
    items = [
        item
        for number in range(14)
        for item in grid({(1, 32): (1.0, 3.0), (1, 64): (1.0, 3.0)}, backend=f"b{number}")
    ]
    report = compare_devices(gather(*items))
    lines = markdown_maps(report)
    assert len([line for line in lines if line.startswith("### ")]) == 12
    assert any(line.startswith("- 3 more maps: ") for line in lines)


def texts(found: Sequence[Map]) -> list[str]:
    drawn = ET.fromstring(crossover_picture.map_picture(found, "svg"))
    marked = drawn.iter("{http://www.w3.org/2000/svg}text")
    return ["".join(each.itertext()).strip() for each in marked]


def test_the_picture_has_a_tile_for_each_measured_shape_and_no_other() -> None:
    words = texts(maps(*grid(STEPS)))
    assert words.count("3.000 F") == 3
    assert words.count("0.667 S") == 2
    assert sum(word.endswith((" F", " S")) for word in words) == len(STEPS)
    assert "gpu:0 over cpu, keras" in words


def test_the_line_is_between_measured_neighbours_only() -> None:
    (found,) = maps(*grid(STEPS))
    places = {
        (row, column): found.by_place[batch, hidden]
        for row, batch in enumerate(found.batches)
        for column, hidden in enumerate(found.hidden_sizes)
        if (batch, hidden) in found.by_place
    }
    assert sorted(crossover_picture._edges(places)) == [
        ((-0.5, 1.5), (0.5, 1.5)),  # below batch 8, hidden 32
        ((0.5, 0.5), (0.5, 1.5)),  # and right of it
        ((0.5, 0.5), (1.5, 0.5)),  # below batch 1, hidden 128
        ((1.5, -0.5), (1.5, 0.5)),  # and right of it
    ]


def test_a_tile_has_the_colour_of_the_winner_and_none_if_it_cannot_be_trusted() -> None:
    items = grid({(1, 32): (1.0, 9.0), (1, 64): (9.0, 1.0), (1, 128): (9.0, 1.0)}, processes=1)
    items[-1] = replace(items[-1], valid=False, reasons=(BUSY,))
    with plot.style():
        (axes,) = crossover_picture._draw_maps(maps(*items)).axes
        tiles = [(each.get_facecolor()[:3], bool(each.get_hatch())) for each in axes.patches]
    (base, _), (new, _), (grey, hatched) = tiles
    assert base[0] > base[2]  # orange
    assert new[2] > new[0]  # violet
    assert hatched
    assert len(set(grey)) == 1
    bold = [each.get_text() for each in axes.texts if each.get_fontweight() == "bold"]
    assert bold == ["9.000 F"]
