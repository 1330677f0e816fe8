"""The maps as a picture: a tile a shape that was measured, and where the line runs."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace

from bench.render import compare as crossover_picture
from bench.render import plot
from bench.stats.crossover import Map
from tests.bench.made_grids import STEPS, grid, maps
from tests.bench.made_results import BUSY


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
