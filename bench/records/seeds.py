"""Read the list of seeds that the project's maintainers publish.

No file that is older than the publication of a seed can have been measured with it. Shared results
need a recently published seed. Every run therefore uses the newest one, unless the user names
another.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from bench.machine.fields import InputError, file_error, printable
from bench.machine.reading import SHARED, regular_bytes

PUBLISHED = SHARED / "results" / "seeds.csv"
"""The list of this clone, or of the installed package."""


def parse_seeds(path: Path, text: str) -> Mapping[int, datetime]:
    """Return the seeds of a list with the times of their publication. Raise ResultError.

    path: the file of the list, for the error.
    """
    try:
        pairs = [line.split(",") for line in text.splitlines()[1:]]
        return {int(seed): datetime.fromisoformat(at).astimezone(UTC) for at, seed in pairs}
    except ValueError as error:
        text = f"needs a time and a seed in each line: {printable(str(error))}"
        raise file_error(path, text) from None


def read_seeds(path: Path) -> Mapping[int, datetime]:
    """Return the seeds in a file with the times of their publication. Raise ResultError."""
    try:
        text = regular_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise file_error(path, f"is not UTF-8 text (byte {error.start})") from None
    return parse_seeds(path, text)


def newest_seed(path: Path = PUBLISHED) -> int:
    """Return the seed that was published last, or 0 if no list can be read."""
    try:
        seeds = read_seeds(path)
    except (InputError, OSError):
        return 0
    return max(seeds, key=lambda seed: seeds[seed], default=0)
