"""Test maps of two devices: their cells, and where one begins to win."""

import pytest

from bench import case as suites
from bench.case.cases import Case
from bench.render import compare as output
from bench.render.compare import map_work, wins_from
from bench.stats.comparison import Pairing
from bench.verdicts.pairs import Map, compare_devices
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload
from tests.bench.made_grids import STEPS, Times, a_case, grid, maps
from tests.bench.made_results import BUSY, gather, measured, run


def test_map_has_the_ratio_of_each_shape_of_both_devices() -> None:
    lonely = measured(a_case("cpu", 64, 128), 1.0, run("r0"))
    (found,) = maps(*grid(STEPS), lonely)
    assert (found.base_label, found.new_label, found.backend) == ("cpu", "gpu:0", "keras")
    assert map_work(found) == "inference, float32, 10 timesteps, 4 in"
    assert found.batches == (1, 8, 64)
    assert found.hidden_sizes == (32, 128, 512)
    assert set(found.cells) == set(STEPS)
    ratio = found.cells[1, 512].comparison.ratio.mid
    assert ratio == pytest.approx(1 / 3)
    assert found.cells[1, 32].state == "SLOWER"
    assert found.cells[1, 32].comparison.pairing is Pairing.SEQUENTIAL


def test_wins_from_names_the_first_faster_width() -> None:
    (found,) = maps(*grid(STEPS))
    starts = {place for place in found.cells if found.starts(*place)}
    assert starts == {(1, 512), (8, 128)}
    assert wins_from(found, 1) == "512 (128: SLOWER)"
    assert wins_from(found, 8) == "128 (32: SLOWER)"
    assert wins_from(found, 64) == "32, the narrowest measured"


def test_wins_from_several_crossings_lists_the_widths() -> None:
    (found,) = maps(
        *grid(
            {(1, 32): (3, 1), (1, 64): (1, 3), (1, 128): (3, 1), (2, 32): (3, 1), (2, 64): (1, 1)}
        )
    )
    assert wins_from(found, 1) == "only at 32, 128"
    assert wins_from(found, 2) == "only at 32"
    (lost,) = maps(*grid({(1, 32): (1, 3), (1, 64): (1, 3)}))
    assert wins_from(lost, 1) == "nowhere measured (64: SLOWER)"


def test_wins_from_unclear_or_invalid_cells_are_not_won() -> None:
    """One process leaves 20% UNCLEAR: devices are measured one after the other."""
    unclear = grid({(1, 32): (1.2, 1.0), (1, 64): (9.0, 1.0)}, processes=1)
    spoilt = measured(a_case("gpu:0", 1, 128), 1.0, run("r0"), [BUSY])
    (found,) = maps(*unclear, spoilt, measured(a_case("cpu", 1, 128), 9.0, run("r0")))
    assert [cell.state for cell in found.cells.values()] == ["UNCLEAR", "FASTER", "INVALID"]
    assert wins_from(found, 1) == "only at 64"


def test_map_of_the_best_takes_any_backend_of_each_device() -> None:
    times: Times = {(1, 32): (1.0, 3.0), (1, 64): (1.0, 3.0)}
    items = grid(times)
    for place in times:
        items.append(measured(a_case("gpu:0", *place, backend="cudnn"), 0.5, run("r0")))
        items.append(measured(a_case("gpu:0", *place, backend="broken"), 0.1, run("r0"), [BUSY]))
    best, same = maps(*items)
    assert (best.backend, same.backend) == ("", "keras")
    assert [(cell.base.case.backend, cell.case.backend) for cell in best.cells.values()] == [
        ("keras", "cudnn"),
        ("keras", "cudnn"),
    ]
    assert best.cells[1, 32].comparison.ratio.mid == pytest.approx(0.5)
    assert same.cells[1, 32].comparison.ratio.mid == pytest.approx(3.0)


def test_maps_of_other_modes_and_lengths_are_separate() -> None:
    items = []
    for mode, steps in (("inference", 10), ("training", 10), ("training", 20)):
        for hidden in (8, 16):
            for device in ("cpu", "gpu:0"):
                of = Case("keras", LSTMSpec(4, hidden), Workload(2, steps, mode), device)
                items.append(measured(of, 1.0, run("r0")))
    assert [map_work(found) for found in maps(*items)] == [
        "inference, float32, 10 timesteps, 4 in",
        "training, float32, 10 timesteps, 4 in, gradients of weights, input, state",
        "training, float32, 20 timesteps, 4 in, gradients of weights, input, state",
    ]


def test_maps_of_square_layers_are_separate() -> None:
    def make_grid(widths: tuple[int, int]) -> tuple[Map, ...]:
        return maps(
            *(
                measured(a_case(device, 2, hidden, features=width), 1.0, run("r0"))
                for device in ("cpu", "gpu:0")
                for hidden, width in zip((8, 16), widths, strict=True)
            )
        )

    (square,), (wide,) = make_grid((8, 16)), make_grid((8, 8))
    assert map_work(square) == "inference, float32, 10 timesteps, input as wide as the layer"
    assert map_work(wide) == "inference, float32, 10 timesteps, 8 in"
    (single,) = maps(
        *(
            measured(a_case(device, batch, 8, features=8), 1.0, run("r0"))
            for device in ("cpu", "gpu:0")
            for batch in (1, 2)
        )
    )
    assert map_work(single).endswith(", 8 in")


def test_document_without_a_map_names_the_suite_crossover() -> None:
    report = compare_devices(gather(*grid({(1, 32): (1.0, 3.0)})))
    assert report.maps == ()
    assert "pytest --benchmark-only --lstm-suite crossover" in output.document(report).markdown()
    made = suites.load(
        "crossover", suites.SuiteChoice(backends=["numpy"], devices=["cpu", "gpu:0"])
    )
    items = [measured(of, 1.0, run("r0")) for of in made.cases]
    for found in maps(*items):
        assert len(found.cells) == len(found.batches) * len(found.hidden_sizes) == 12
