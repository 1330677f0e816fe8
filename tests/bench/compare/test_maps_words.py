"""The maps as text: what stands in a tile, where the line is drawn, and how it is to be read."""

from __future__ import annotations

import pytest

from bench.cli.output import plain_text
from bench.render.compare import map_legend, markdown_maps, terminal_maps
from bench.stats.pairs import Report, compare_devices
from tests.bench.made_grids import STEPS, a_case, grid, maps
from tests.bench.made_results import BUSY, gather, measured, run


@pytest.fixture(scope="module")
def steps() -> Report:
    return compare_devices(gather(*grid(STEPS)))


def test_the_terminal_draws_the_line_and_leaves_blanks(steps: Report) -> None:
    lines = plain_text(lambda console: terminal_maps(steps, console)).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("gpu:0 over cpu, keras"))
    rows = [line.split() for line in lines[start + 3 : start + 6]]
    assert rows[0][:7] == ["1", "0.333", "S", "0.667", "S", "┃3.000", "F"]
    assert rows[1][:5] == ["8", "0.667", "S", "┃3.000", "F"]
    assert rows[2][:3] == ["64", "3.000", "F"]
    assert "32, the narrowest measured" in lines[start + 5]
    assert max(map(len, lines)) <= 100


def test_markdown_has_the_map_with_the_cells_that_are_won_in_bold(steps: Report) -> None:
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
