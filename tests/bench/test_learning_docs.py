"""The page about what windows learn says what its reference map says."""

import re

import pytest

from bench.echo import map_picture, words
from bench.echo.plan import Plan, missing
from bench.records import maps
from bench.records.maps import LearningMap
from bench.render import drawing
from tests.places import ROOT

PAGE = (ROOT / "docs/learning.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def reference() -> LearningMap:
    """The one map that comes with the project."""
    (found,) = maps.collect([ROOT / "results/reference"]).maps
    return found


def test_the_reference_map_is_that_of_the_command_without_options(reference: LearningMap) -> None:
    assert reference.run.complete
    plan = Plan.from_dict(dict(reference.run.settings))
    assert plan == Plan()
    assert missing(plan, reference) == []


def test_the_tables_of_the_page_are_those_that_are_printed(reference: LearningMap) -> None:
    printed = words.markdown(reference)
    blocks = [block for block in printed.split("\n\n") if block.startswith(("|", "**", "- "))]
    assert len(blocks) == 9  # a title and a table each for two tasks and two states; a summary
    for block in blocks:
        assert block.strip() in PAGE


def test_the_picture_of_the_page_is_that_of_the_map(reference: LearningMap) -> None:
    drawn = (ROOT / "docs/pictures/learning.svg").read_text(encoding="utf-8")
    assert "(pictures/learning.svg)" in PAGE
    if not drawing.available():
        pytest.skip("matplotlib is not installed")
    # Letters are shapes in it, but each has a comment that says what it spells.
    figure = map_picture.draw(reference)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    found = [each.strip() for each in re.findall(r"<!-- (.*?) -->", drawn)]
    assert set(texts) <= set(found)
    for text in set(texts):
        # Ticks and titles spell numbers, too.
        assert found.count(text) >= texts.count(text)


def test_where_no_input_lies_in_the_window_next_to_nothing_is_learned(
    reference: LearningMap,
) -> None:
    shares = [
        cell.closed
        for cell in reference.cells
        if cell.window <= cell.distance and cell.closed is not None
    ]
    assert len(shares) > 50
    found = re.search(r"at most (\d+)% of the way", PAGE)
    assert found is not None
    assert round(100 * max(shares)) == int(found[1])
