"""Files to bytes and JSON: whatever stands under a path, an answer or one line that says why not.

A path may lead to a pipe that never ends, a device, a folder or a terabyte of zeros. This module
knows files and how an error names them; what the bytes mean is for others to say.
"""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path

from bench.machine.fields import Field, InputError, ResultError, error_at, printable, shown

LARGEST_FILE = 2**30
"""Bytes. A result file of 10,000 cases is a twentieth of it, and JSON takes ten times as much
memory."""


def regular_bytes(path: Path, largest: int = LARGEST_FILE) -> bytes:
    """All that a regular file holds.

    Raises ResultError for what is not there, cannot be read, is no regular file (a pipe or a device
    may never end) or is larger than ``largest`` bytes.
    """
    try:
        # Opening a pipe would wait for its writer; and what was requested its kind by its name may
        # be another thing when it is opened.
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(file, "rb") as stream:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise error_at(path, "is not a regular file")
            # Some say that they are empty and are not (/proc); others grow meanwhile.
            data = stream.read(largest + 1) if status.st_size <= largest else None
    except ResultError:
        raise
    except FileNotFoundError:
        raise error_at(path, "does not exist") from None
    except IsADirectoryError:
        raise error_at(path, "is a folder; expected a file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise error_at(path, f"cannot be read: {printable(reason)}") from None
    except MemoryError:
        raise error_at(path, "does not fit into memory") from None
    if data is None or len(data) > largest:
        raise error_at(path, f"is larger than {largest:,} bytes, the most that is read")
    return data


def parse_json(path: Path, data: bytes, where: str = "") -> object:
    """Return the JSON value of ``data``, which stands at ``where`` in the file.

    Raises ResultError, naming the place, also for an object that has a key twice: readers differ in
    which of the two values they take. Raises RecursionError for what is nested too deeply.
    """
    try:
        parsed: object = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_object)
    except _RepeatedKeyError as error:
        raise error_at(path, f"has the key {error} twice in one object", where) from None
    except UnicodeDecodeError as error:
        raise error_at(path, f"is not UTF-8 text (byte {error.start})", where) from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise error_at(path, f"is cut off or not JSON ({error.msg} at {place})", where) from None
    except ValueError:
        raise error_at(path, "holds a number of too many digits", where) from None
    except MemoryError:
        raise error_at(path, "does not fit into memory", where) from None
    return parsed


class _RepeatedKeyError(Exception):
    """An object of JSON has a key twice; the message is the key."""


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise _RepeatedKeyError(shown(next(name for name in names if names.count(name) > 1)))
    return found


def journal_lines(
    path: Path, data: bytes, first: str, message: str
) -> tuple[list[Field], list[str]]:
    """The lines of a journal that are whole, and a note if the last is not.

    first: the key that its first line has; told: what a file without it is no journal of. Raises
    ResultError.
    """
    raw = data.split(b"\n")
    notes = []
    # The writer ends a line with its newline: what stands after the last one was being written
    # when the process died.
    if raw.pop().strip():
        notes.append(f"{printable(str(path))}: the last line is cut off and was dropped")
    lines = []
    for number, text in enumerate(raw, start=1):
        if text.strip():
            where = f"line {number}:"
            lines.append(Field(path, where, parse_json(path, text, where)))
    if not lines:
        raise error_at(path, "holds no whole line")
    if not isinstance(lines[0].value, dict) or first not in lines[0].value:
        raise error_at(path, f"is no journal of {message}: its first line holds no run")
    return lines, notes


DEFAULT_FOLDER = "results"

REFERENCE = "reference"
"""The folder next to a person's own results that holds the committed ones."""

RESULTS_VARIABLE = "LSTM_RESULTS"
"""The environment variable that names another folder, or a URL."""

LEARNING_PREFIX = "learning-"
"""The prefix of files of ``bench.echo windows``. They lie in the same folder and hold no times;
which they are stands in them (``meant_for_learning``): a suite may be called so, too."""

_FIRST_KEY = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"(\w+)"\s*:')


def default_folder() -> str:
    """The folder, if nobody names one."""
    return os.environ.get(RESULTS_VARIABLE) or DEFAULT_FOLDER


def holds_study(path: Path) -> bool:
    """Whether a file is a study's (``results.study``), by how it begins."""
    return _first_key(path) == "study"


def holds_no_cases(path: Path) -> bool:
    """Whether a file lies among results and holds none of cases."""
    return _first_key(path) in ("learning", "study")


def meant_for_learning(path: Path) -> bool:
    """Whether it is one of these, or is named so and it is unknown: then its reader says why."""
    key = _first_key(path)
    return key == "learning" or (not key and path.name.startswith(LEARNING_PREFIX))


def _first_key(path: Path) -> str:
    try:
        if not path.is_file():
            return ""  # a pipe may never end
        with path.open("rb") as file:
            found = _FIRST_KEY.match(file.read(256))
    except (OSError, ValueError):
        return ""
    return "" if found is None else found[1].decode()


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]+://")


def is_url(path: object) -> bool:
    """Whether a path of a command line is a URL, which ``Path`` cannot hold: it halves the ``//``.

    ``machine.remote`` knows such places.
    """
    return isinstance(path, str) and _URL.match(path) is not None


class FolderError(InputError):
    """A path cannot be made out; one line."""


def expanded(text: str) -> Path:
    """A path, with ``~`` at its beginning as the home that it stands for.

    Raises FolderError where nobody knows that home, and for a URL.
    """
    if is_url(text):
        raise FolderError(
            f"{printable(text)}: here a folder of this machine is needed; what reads results, and "
            "`python -m bench.run --results`, take a URL"
        )
    try:
        return Path(text).expanduser()
    except RuntimeError:
        home = text.partition("/")[0]
        raise FolderError(
            f"{printable(text)}: it is not known where {home} is; write the path in full"
        ) from None
