"""Test pictures, and the look of each backend."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from bench.case.cases import Case
from bench.machine.fields import InputError
from bench.records.files import collect
from bench.records.schema import Measurement, Results, Run
from bench.render import plot
from bench.render.palette import COLOURS, DARK, LIGHT, MARKERS
from bench.render.plot import (
    RESERVED,
    Plot,
    _bar,
    bar_colours,
    choose,
    choose_distinct_looks,
    choose_look,
    list_own_looks,
)
from bench.verdicts.ranking import RankedRow
from bench.verdicts.sections import Section, build
from lstm_impl import get_backend
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload
from tests.bench.made_results import BUSY, a_run, gather, measured
from tests.places import ROOT

EXAMPLE = ROOT / "docs/examples/quick.json"


def run(name: str, host: str = "laptop") -> Run:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    environment = {"before": {"cpu": {"name": "Test CPU", "cores": 2}}, "after": {}}
    begun = {"started": moment, "finished": moment}
    return a_run(0, host, "quick", id=name, environment=environment, **begun)


def case(backend: str = "keras", *, batch: int = 8, device: str = "cpu") -> Case:
    return Case(backend, LSTMSpec(4, 8), Workload(batch, 10), device)


def made(
    times: Mapping[Case, float],
    *,
    invalid: Sequence[Case] = (),
    memory: Mapping[str, float] | None = None,
    processes: int = 6,
) -> Results:
    items: list[Measurement] = [
        replace(
            measured(of, seconds, run(f"r{process}"), [BUSY] if of in invalid else []),
            memory=memory,
        )
        for process in range(processes)
        for of, seconds in times.items()
    ]
    return gather(*items)


def section(results: Results) -> Section:
    return build(results).sections[0]


def words(results: Results, what: str, width: float = 7.0) -> list[str]:
    found = section(results)
    data = plot.draw_picture(Plot(what, found, choose(found, what), width), "svg")
    texts = ET.fromstring(data).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(each.itertext()).strip() for each in texts]


PAIR = {case("keras"): 0.02, case("scan"): 0.01, case("keras", batch=16): 0.02}


def test_plot_throughput_has_machine_date_and_rates() -> None:
    found = words(made(PAIR), "throughput")
    assert "Sequences per second" in found
    assert f"quick on {run('a').machine} · 2026-01-01 00:00 UTC · 6 processes" in found
    assert "Test CPU, 2 cores" in found
    assert {"400", "800"} <= set(found)  # 8 sequences in 20 and 10 ms, and 16 in 20 ms
    assert found.count("800") == 2
    assert "★ scan" in found
    assert "batch 8 × 10 timesteps" in found


def test_plot_speedup_is_baseline_time_over_each() -> None:
    found = words(made(PAIR), "speedup")
    assert "Speed-up over keras" in found
    assert "2.00×" in found
    # The second panel has only a baseline: nothing to draw.
    assert "batch 16 × 10 timesteps" not in found
    slower = words(made({case("keras"): 0.01, case("scan"): 0.02}), "speedup")
    assert "0.50× SLOWER" in slower


@pytest.mark.parametrize("what", ["throughput", "speedup", "memory"])
def test_plot_backend_has_the_same_colour_in_any_picture(what: str) -> None:
    seen = []
    for others in (["scan"], ["keras", "while_loop"], ["a_loop", "z_loop", "keras"]):
        times = {case(name): 0.01 * (2 + place) for place, name in enumerate([*others, "torch"])}
        found = section(made(times, memory={"peak_bytes": 1e6}))
        svg = plot.draw_picture(Plot(what, found, choose(found, what), 7.0), "svg").decode().lower()
        seen.append(plot.choose_look("torch").colour.lower() in svg)
        for name in others:
            if name != "scan" or what != "speedup":  # the baseline itself has no bar of speed there
                assert plot.choose_look(name).colour.lower() in svg, name
    assert seen == [True] * 3


def test_plot_invalid_case_is_marked_and_explained() -> None:
    results = made(PAIR, invalid=[case("scan")])
    found = words(results, "throughput")
    assert "800 INVALID" in found
    assert "★ scan" not in found
    assert any("hatched: INVALID, do not rely on it" in each for each in found)
    assert not any("INVALID" in each for each in words(made(PAIR), "throughput"))


@pytest.mark.parametrize("what", ["throughput", "speedup"])
def test_plot_bar_ends_inside_its_whiskers(what: str) -> None:
    plot = Plot(what, found := section(made(PAIR, processes=3)), choose(found, what))
    ends = [(bar.low, bar.value, bar.high) for row in plot.rows if (bar := _bar(plot, row))]
    assert any(low < value < high for low, value, high in ends)
    assert ends == [tuple(sorted(each)) for each in ends]


def test_plot_whiskers_and_devices_are_named_where_ambiguous() -> None:
    both = made(PAIR | {case("scan", device="gpu:0"): 0.01}, processes=1)
    found = " ".join(words(both, "throughput"))
    assert "whiskers: 95% CI within one process" in found
    assert "inference, float32, gpu:0" in found
    found = " ".join(words(made(PAIR), "throughput"))
    assert "whiskers: 95% CI" in found
    assert "within one process" not in found
    assert "float32, cpu" not in found


def test_plot_memory_is_in_mebibytes() -> None:
    assert words(made(PAIR, memory={"peak_bytes": 3.0 * 2**20}), "memory").count("3.00 MiB") == 3


def test_plot_too_many_shapes_are_counted() -> None:
    many = {case("keras", batch=batch): 0.01 for batch in range(1, 27)}
    found = words(made(many), "throughput")
    assert "Sequences per second (of 24 shapes; 2 more not drawn)" in found


def test_plot_text_is_at_least_6_points_and_inside_the_page() -> None:
    """The width is one column of a paper, and names are long."""
    found = section(collect([EXAMPLE]))
    for width in (3.5,):
        plan = Plot("speedup", found, choose(found, "speedup", pattern="*/training/*"), width)
        with plot.apply_style():
            figure = plot._bars(plan)
            figure.canvas.draw()
            page = figure.bbox
            for text in figure.findobj(lambda each: hasattr(each, "get_fontsize")):
                box = text.get_window_extent()
                # A tick beyond the end of its axis is not drawn.
                is_tick = re.fullmatch(r"[\d.]+", text.get_text())
                if text.get_text().strip() and not is_tick:
                    assert text.get_fontsize() >= 6, text.get_text()
                    assert box.x0 >= page.x0 - 2, text.get_text()
                    assert box.x1 <= page.x1 + 2, text.get_text()


def test_plot_hostile_names_are_drawn_as_text() -> None:
    """matplotlib leaves some names out of a legend and interprets TeX."""
    name = "_$\\frac{$ <b>&\x1b[31m\n"
    results = made({case(name): 0.01, case("keras"): 0.01})
    assert any("_$\\frac{$ <b>&" in each for each in words(results, "throughput"))
    assert any("漢字" in each for each in words(made({case("漢字"): 0.01}), "throughput"))


@pytest.fixture(scope="module")
def found() -> Section:
    (section,) = build(collect([EXAMPLE])).sections
    return section


def test_choose_pattern_keeps_the_reports_order(found: Section) -> None:
    rows = choose(found, "throughput", pattern="keras/b32-*/training/*")
    assert {row.case.workload.mode for row in rows} == {"training"}
    rows = choose(found, "throughput")
    assert list(rows) == [row for row in found.rows if row.result.measured]


def test_choose_without_match_or_figure_raises_one_line(found: Section) -> None:
    with pytest.raises(InputError, match="no measured case matches the filters"):
        choose(found, "throughput", pattern="nothing")
    silent = tuple(RankedRow(replace(row.result, memory={})) for row in found.rows)
    with pytest.raises(InputError, match="--what memory: no case has figures"):
        choose(replace(found, rows=silent), "memory")
    with pytest.raises(InputError, match="no case was measured"):
        choose(replace(found, rows=()), "throughput")


# Looks


USUAL = (
    *("keras", "while_loop", "while_loop+hoisted", "while_loop+hoisted+xla"),
    *("cudnn", "torch", "jax_scan", "onnxruntime"),
    *("keras+xla", "while_loop+xla", "while_loop+preproject", "while_loop+preproject+xla"),
    *("jax_cudnn", "torch_compile", "flax", "litert"),
    *("block_lstm", "scan", "numpy", "keras_jax"),
    *("static_unroll", "static_rnn", "dynamic_rnn", "partial_unroll@10"),
)
"""Backends with reserved looks, in the order of these. Pages, slides and papers rely on it."""


def test_reserved_looks_never_change() -> None:
    reserved = {name: look for name, look in list_own_looks().items() if look < RESERVED}
    assert reserved == {name: number for number, name in enumerate(USUAL)}
    assert len(USUAL) == RESERVED


def test_look_of_known_backend_never_changes() -> None:
    # Pages, slides and papers rely on these.
    assert (choose_look("keras").colour, choose_look("keras").marker) == ("#626262", "o")
    assert (choose_look("while_loop+hoisted").colour, choose_look("while_loop+hoisted").marker) == (
        "#0D9370",
        "^",
    )
    assert (choose_look("my_own").colour, choose_look("my_own").marker) == ("#9D6516", "s")


def test_look_of_usual_backends_differ_in_colour_or_marker() -> None:
    first = USUAL[: len(COLOURS)]
    assert len({choose_look(name).colour for name in first}) == len(COLOURS)
    assert len({(choose_look(name).colour, choose_look(name).marker) for name in USUAL}) == len(
        USUAL
    )
    assert len(set(list_own_looks().values())) == len(list_own_looks())


def test_usual_looks_names_are_backends() -> None:
    for name in USUAL:
        assert get_backend(name).name == name


def test_look_of_other_name_is_none_of_the_usual_ones() -> None:
    others = {choose_look(f"plugin_{number}")[:3] for number in range(500)}
    usual = {choose_look(name)[:3] for name in USUAL}
    # All looks are distinct.
    assert not others & usual
    assert len(others | usual) == len(COLOURS) * len(MARKERS)


@pytest.mark.parametrize("text", ["", "\ud800", "<b>", "w" * 100_000])
def test_look_of_any_text_has_a_colour(text: str) -> None:
    assert choose_look(text).colour in COLOURS


def test_bars_of_one_picture_differ_in_colour() -> None:
    names = [*USUAL, "fused_cpu", "my_own", "partial_unroll@5"]
    colours = bar_colours(names)
    assert len(set(colours.values())) == len(names)
    assert colours["keras"] == choose_look("keras").colour


def test_text_of_a_slower_bar_is_beyond_the_line_of_the_baseline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The line would cross the text of a bar that ends before it."""
    from matplotlib.axes import Axes

    places: list[float] = []
    original = Axes.text

    def text(axes: Any, x: float, *given: Any, **more: Any) -> Any:
        places.append(x)
        return original(axes, x, *given, **more)

    monkeypatch.setattr(Axes, "text", text)
    found = section(made(PAIR, processes=3))
    plot.draw_picture(Plot("speedup", found, choose(found, "speedup")), "svg")
    assert places
    assert min(places) >= 1.0


def test_dark_picture_has_no_letter_or_background_of_the_light_one() -> None:
    found = section(made(PAIR, processes=3))
    what = Plot("speedup", found, choose(found, "speedup"))
    light, dark = (plot.draw_picture(what, "svg", theme).decode() for theme in (LIGHT, DARK))
    for theme, other, svg in ((LIGHT, DARK, light), (DARK, LIGHT, dark)):
        assert f"fill: {theme.back}" in svg
        assert f"fill: {theme.text}" in svg
        assert other.back not in svg
        assert other.text not in svg
    # Backends keep their colours.
    assert choose_look("keras").colour.lower() in light
    assert choose_look("keras").colour.lower() in dark


def test_distinct_looks_of_any_64_backends_differ() -> None:
    names = [f"backend_{number}" for number in range(64)]
    assert len({choose_look(name) for name in names}) < 64  # a name by itself may share its look
    found = choose_distinct_looks(names)
    assert len({(look.colour, look.shape) for look in found}) == 64
    assert found[0] == choose_look("backend_0")


def test_distinct_looks_keep_the_looks_that_descriptors_list() -> None:
    listed = list(list_own_looks())
    strangers = [f"backend_{number}" for number in range(64 - len(listed))]
    found = choose_distinct_looks([*strangers, *listed])
    assert found[len(strangers) :] == [choose_look(name) for name in listed]
