"""Which rows of a session a picture is of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.machine.fields import InputError
from bench.records.files import collect
from bench.render.plot import choose
from bench.stats.rows import Section, build
from tests.places import ROOT


@pytest.fixture(scope="module")
def found() -> Section:
    (section,) = build(collect([ROOT / "docs/examples/quick.json"])).sections
    return section


def test_rows_are_chosen_by_name_and_stand_in_the_report_s_order(found: Section) -> None:
    for what in ("throughput", "setup"):
        rows = choose(found, what, pattern="keras/b32-*/training/*")
        assert {row.case.workload.mode for row in rows} == {"training"}
        assert {row.case.backend for row in rows} == {"keras"}
    rows = choose(found, "throughput")
    assert list(rows) == [row for row in found.rows if row.measured]


def test_a_row_without_the_figure_comes_with_its_group_and_goes_with_it(found: Section) -> None:
    """Its place is left blank, so that nobody wonders where it is."""
    first, *others = choose(found, "setup")
    group = [row for row in others if row.case.group == first.case.group]
    assert group
    bare = replace(first, setup=None)
    assert bare in choose(replace(found, rows=(bare, *others)), "setup")
    without = [replace(row, setup=None) if row in group else row for row in others]
    left = choose(replace(found, rows=(bare, *without)), "setup")
    assert list(left) == [row for row in others if row not in group]


def test_what_fits_nothing_and_figures_that_are_nowhere_are_told(found: Section) -> None:
    with pytest.raises(InputError, match="no measured case fits what was chosen"):
        choose(found, "throughput", pattern="nothing")
    with pytest.raises(InputError, match="--what roofline: no case has figures"):
        choose(replace(found, rows=tuple(replace(row, roofs={}) for row in found.rows)), "roofline")
    with pytest.raises(InputError, match="no case was measured"):
        choose(replace(found, rows=()), "throughput")
