"""Files to bytes and JSON: whatever stands under a path, an answer or one line that says why not.

A path may lead to a pipe that never ends, a device, a folder or a terabyte of zeros. This room
knows files and how an error names them; what the bytes mean is for others to say.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from bench.machine.fields import Field, ResultError, error_at, printable, shown

LARGEST_FILE = 2**30
"""Bytes. A result file of 10,000 cases is a twentieth of it, and JSON takes ten times as much
memory."""


def regular_bytes(path: Path, largest: int = LARGEST_FILE) -> bytes:
    """All that a regular file holds.

    Raises ResultError for what is not there, cannot be read, is no regular file (a pipe or a device
    may never end) or is larger than ``largest`` bytes.
    """
    try:
        # Opening a pipe would wait for its writer; and what was asked for its kind by its name may
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


def journal_lines(path: Path, data: bytes, first: str, told: str) -> tuple[list[Field], list[str]]:
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
        raise error_at(path, f"is no journal of {told}: its first line holds no run")
    return lines, notes
