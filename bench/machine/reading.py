"""Read files and their JSON safely, or raise one line that says why that failed.

A path may lead to a pipe that never ends, a device, a folder or a terabyte of zeros.
"""

import json
import os
import re
import stat
import sysconfig
from pathlib import Path

import msgspec

from bench.machine.fields import Field, InputError, ResultError, file_error, format_value, printable

LARGEST_FILE = 2**30
"""The most bytes of a file. 10,000 cases take a twentieth of this, and JSON takes ten times as much
memory as its file.
"""


def open_flags(*names: str) -> int:
    """Return those of these ``os.open`` flags that this system has. On Windows, add binary mode."""
    return sum(getattr(os, name, 0) for name in ("O_BINARY", *names))


def regular_bytes(path: Path, largest: int = LARGEST_FILE) -> bytes:
    """Return the contents of a regular file.

    Raises ResultError for a file that is missing, unreadable, larger than ``largest`` bytes, or not
    regular (a pipe or a device may never end).
    """
    try:
        # Opening a pipe would wait for its writer. The kind is checked on the open file, because
        # the name may belong to another file by now.
        file = os.open(path, os.O_RDONLY | open_flags("O_NONBLOCK"))
        with os.fdopen(file, "rb") as stream:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise file_error(path, "is not a regular file")
            # The stated size may be wrong (/proc), and a file may grow in the meantime.
            data = stream.read(largest + 1) if status.st_size <= largest else None
    except ResultError:
        raise
    except FileNotFoundError:
        raise file_error(path, "does not exist") from None
    except IsADirectoryError:
        raise file_error(path, "is a folder; expected a file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise file_error(path, f"cannot be read: {printable(reason)}") from None
    except MemoryError:
        raise file_error(path, "does not fit into memory") from None
    if data is None or len(data) > largest:
        raise file_error(path, f"is larger than {largest:,} bytes, the limit for reading")
    return data


def parse_json(path: Path, data: bytes, where: str = "") -> object:
    """Return the JSON value of ``data``, which is at ``where`` in the file.

    Raises a ResultError that names the place. A key that an object has twice is an error, because
    readers differ in which value they take. Raises RecursionError for data that are nested too
    deeply.
    """
    try:
        found = msgspec.json.decode(data)
        if _has_no_key_twice(data, found):
            return found
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        # The other parser names the place, and accepts what Python's own writer produces (NaN).
        pass

    def checked(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            twice = format_value(next(name for name in names if names.count(name) > 1))
            raise file_error(path, f"has the key {twice} twice in one object", where)
        return found

    try:
        parsed: object = json.loads(data.decode("utf-8-sig"), object_pairs_hook=checked)
    except ResultError:
        raise
    except UnicodeDecodeError as error:
        raise file_error(path, f"is not UTF-8 text (byte {error.start})", where) from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise file_error(path, f"is cut off or not JSON ({error.msg} at {place})", where) from None
    except ValueError:
        raise file_error(path, "holds a number of too many digits", where) from None
    except MemoryError:
        raise file_error(path, "does not fit into memory", where) from None
    return parsed


def _has_no_key_twice(data: bytes, found: object) -> bool:
    """Return whether every key of the data is in the value that was made from it.

    The data contain a colon for each key, and the colons in texts. The value contains the same
    ones, unless the last of two equal keys has replaced the first. A character that is written as
    its number may be a colon, so such data count as unknown.
    """
    return b"\\u003" not in data and data.count(b":") == msgspec.json.encode(found).count(b":")


def journal_lines(path: Path, data: bytes) -> tuple[list[Field], list[str]]:
    """Return the complete lines of a journal, and a note if the last one is cut off.

    Raises ResultError.
    """
    raw = data.split(b"\n")
    notes = []
    # The process ended while it wrote what follows the last newline.
    if raw.pop().strip():
        notes.append(f"{printable(str(path))}: the last line is cut off and was ignored")
    lines = []
    for number, text in enumerate(raw, start=1):
        if text.strip():
            where = f"line {number}:"
            lines.append(Field(path, where, parse_json(path, text, where)))
    if not lines:
        raise file_error(path, "has no complete line")
    if not isinstance(lines[0].value, dict) or "run" not in lines[0].value:
        raise file_error(path, "is not a journal of this suite: its first line has no run")
    return lines, notes


DEFAULT_FOLDER = "results"

REFERENCE = "reference"
"""The folder of the committed results, inside the user's folder of results."""

_CLONE = Path(__file__).resolve().parents[2]

SHARED = (
    _CLONE
    if (_CLONE / "docs/running.md").is_file()
    else Path(sysconfig.get_path("data")) / "share/lstm-benchmark-suite"
)
"""The folder with docs/ and results/reference/: the clone, or what a wheel contains of it."""

RESULTS_VARIABLE = "LSTM_RESULTS"
"""The environment variable that names another folder, or a URL."""

LEARNING_PREFIX = "learning-"
"""The prefix of files that ``bench.echo windows`` writes.

They are in the same folder and hold no times.
"""


def default_folder() -> str:
    """Return the folder of results that is used if the user names none."""
    return os.environ.get(RESULTS_VARIABLE) or DEFAULT_FOLDER


def is_study(path: Path) -> bool:
    """Return whether a file holds a study of an earlier version (``tools.study``)."""
    return _first_key(path) == "study"


def has_no_cases(path: Path) -> bool:
    """Return whether a file in the results folder has no cases."""
    return _first_key(path) in ("learning", "study")


def is_learning_map(path: Path) -> bool:
    """Return whether a file holds a learning map, or is named like one and cannot be read."""
    key = _first_key(path)
    return key == "learning" or (not key and path.name.startswith(LEARNING_PREFIX))


def _first_key(path: Path) -> str:
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            found = re.match(rb'(?:\xef\xbb\xbf)?\s*\{\s*"(\w+)"\s*:', file.read(256))
    except (OSError, ValueError):
        return ""
    return "" if found is None else found[1].decode()


def is_url(path: object) -> bool:
    """Return whether a path is a URL, whose ``//`` a ``Path`` would halve."""
    return isinstance(path, str) and re.match(r"[A-Za-z][A-Za-z0-9+.:-]+://", path) is not None


class FolderError(InputError):
    """A path cannot be resolved."""


def expand_path(text: str) -> Path:
    """Return a path with ``~`` expanded. Raise FolderError for an unknown home folder or a URL."""
    if is_url(text):
        raise FolderError(
            f"{printable(text)}: expected a folder of this machine; only commands that read "
            "results, and `python -m bench.run --results`, accept a URL"
        )
    try:
        return Path(text).expanduser()
    except RuntimeError:
        home = text.partition("/")[0]
        raise FolderError(f"{printable(text)}: {home} is unknown; write the full path") from None
