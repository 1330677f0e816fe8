"""What is at hand to answer a question: one's own results, the reference's, and the newest map.

This room knows the folders of results, and reads what is in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.disk.fields import ResultError
from bench.disk.folder import (
    DEFAULT_FOLDER,
    REFERENCE,
    default_folder,
    holds_no_cases,
    is_url,
)
from bench.results.maps import TASKS, LearningMap
from bench.results.schema import Results
from bench.telling.command_line import tell_errors
from bench.telling.progress import read_results
from bench.windows.learned import newest, parted

CLONE = Path(__file__).resolve().parents[2]
"""Where the reference results are, if this is a clone and not an installed copy."""


@dataclass(frozen=True)
class AtHand:
    """reference: the ids of the reference's runs. learned: the newest map. errors: of files."""

    results: Results
    reference: Sequence[str]
    learned: LearningMap | None
    errors: Sequence[ResultError]


def at_hand(paths: Sequence[str]) -> AtHand:
    """All results: of these files and folders, or of every session here and the reference.

    What cannot be read is told on standard error, too.
    """
    paths = paths or ([default_folder()] if is_url(default_folder()) else [])
    if paths:
        times, maps = parted(paths)
        results = read_results(times)
        learned, bad = newest(maps, TASKS)
        tell_errors(bad)
        return AtHand(results, [], learned, [*results.errors, *bad])
    own = Path(default_folder())
    references = list(dict.fromkeys((own / REFERENCE, CLONE / DEFAULT_FOLDER / REFERENCE)))
    # A folder without files of its own stands for its reference folder, and one without any is an
    # error of who named it: here nobody has.
    there = [each for each in (own, *references) if _holds_results(each)]
    results = read_results(there)
    reference = [
        file.run.id for file in results.files if file.path.resolve().parent.name == REFERENCE
    ]
    learned, bad = None, ()
    for place in filter(Path.is_dir, (own, *references)):
        learned, bad = newest([place], TASKS)
        if learned is not None or bad:
            break
    tell_errors(bad)
    return AtHand(results, reference, learned, [*results.errors, *bad])


def _holds_results(folder: Path) -> bool:
    return any(
        each.name.endswith((".json", ".jsonl"))
        and not each.name.startswith(".")
        and not holds_no_cases(each)
        for each in (folder.iterdir() if folder.is_dir() else ())
    )
