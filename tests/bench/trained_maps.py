"""Maps of bench.learning that are trained in a moment, and what tests ask of them."""

from pathlib import Path

from bench import learning
from bench.records import maps
from bench.records.maps import LearningMap

SMALL = (
    *("--tasks", "echo", "--distances", "1", "--windows", "3,6", "--seeds", "2"),
    *("--timesteps", "60", "--batch", "4", "--jobs", "1"),
)
CELLS = 8  # two windows, two states, two seeds


def run(*options: str) -> int:
    try:
        return learning.main(options)
    except SystemExit as ended:
        return int(ended.code or 0)


def the_map() -> LearningMap:
    (path,) = Path("results").glob("learning-*.json")
    return maps.read(path)


def interrupted(cells: int) -> Path:
    """What there would be after Ctrl-C: of the whole run that is here its journal, cut."""
    (whole,) = Path("results").glob("learning-*.json")
    whole.unlink()
    (journal,) = Path("results").glob("learning-*.journal.jsonl")
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[: 1 + cells]) + lines[1 + cells][:50])
    return journal
