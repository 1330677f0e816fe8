"""The best that was ever seen of a machine's roofs, over the processes that measured there.

What a process reaches depends on the libraries in it: NumPy's BLAS, PyTorch's and ONNX Runtime's
products differ by a factor of two on one processor. So that the same time is the same part of a
roof whatever else is installed, what each library reached is kept in a file in the user's cache
folder, and the best of all counts. Nothing here is a reason to fail: a file that is missing,
damaged or cannot be written is as good as none. This module knows that file, and no library.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, cast

from platformdirs import user_cache_path

from bench.machine.fields import Field, ResultError
from bench.machine.reading import parse_json, regular_bytes
from bench.machine.writing import write

VARIABLE = "LSTM_ROOFS"
"""The environment variable that names the file, or switches it off where it is ``off``."""

SWITCH = "LSTM_CACHE"
"""The environment variable that switches it off, too, where it is ``off``."""

NAME = "roofs.json"

SCHEMA = 1

DAYS = 30
"""After which what was seen no longer counts: a machine gets another firmware, or other clocks."""

ENOUGH = 3
"""Processes that have measured a roof with a library, none of them much better than the first: a
further one takes what they found. One alone may have had a bad moment."""

MUCH = 0.1
"""Part by which a process is much better: a clock changes by less, a busy machine by more."""

LARGEST = 4 * 2**20
"""Bytes. Ten thousand roofs take two; what is larger is no file of ours."""

Key: TypeAlias = tuple[object, ...]


@dataclass(frozen=True)
class Seen:
    """What one library reached of one roof: seconds of a unit (an operation, a byte, a product).

    machine, roof, library: whose it is. by: in words. processes: that have measured it since one
    was last much better than those before. when: seconds since 1970, of the best of them.
    """

    machine: str
    roof: str
    library: str
    seconds: float
    by: str
    processes: int
    when: float


class RoofsSeen:
    """The file, and what this process adds to it.

    path: None keeps nothing. today: seconds since 1970.
    """

    def __init__(self, path: Path | None, today: Callable[[], float] = time.time) -> None:
        self._path = path
        self._today = today
        self._seen = self._read()
        self._new: dict[tuple[str, str, str], Seen] = {}
        self._told: set[tuple[str, str, str]] = set()

    def best(self, machine: str, roof: Key) -> Seen | None:
        """The fastest that any process saw with any library."""
        words = name_of(roof)
        found = [
            each
            for place, each in self._seen.items()
            if place[:2] == (machine, words) and self._counts(each)
        ]
        return min(found, key=lambda each: each.seconds, default=None)

    def settled(self, machine: str, roof: Key, library: str) -> bool:
        """Whether so many processes have measured it with this library that no more need to."""
        found = self._seen.get((machine, name_of(roof), library))
        return found is not None and self._counts(found) and found.processes >= ENOUGH

    def add(self, machine: str, roof: Key, library: str, seconds: float, by: str) -> None:
        """What this process has just measured; ``save`` writes it."""
        if not 0 < seconds < math.inf:
            return
        place = (machine, name_of(roof), library)
        before = self._new.get(place)
        if before is None or seconds < before.seconds:
            self._new[place] = Seen(*place, seconds, by, 1, self._today())

    def save(self) -> None:
        """Write what is new, beside what other processes wrote meanwhile.

        The file is replaced as a whole, so that a reader never sees half of one. Of two processes
        that write in the same instant one's news may be lost: the next to measure brings them.
        """
        if not self._new or self._path is None:
            self._new.clear()
            return
        self._seen = self._read()
        for place, news in self._new.items():
            old = self._seen.get(place)
            if old is not None and self._counts(old):
                best = min(old, news, key=lambda each: each.seconds)
                # A process counts once, however often it measures.
                processes = old.processes + (place not in self._told)
                better = news.seconds < (1 - MUCH) * old.seconds
                news = replace(best, processes=1 if better else processes)
            self._seen[place] = news
        self._told |= self._new.keys()
        self._new.clear()
        kept = [asdict(each) for each in self._seen.values() if self._counts(each)]
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write(self._path, {"schema": SCHEMA, "seen": kept})

    def _counts(self, seen: Seen) -> bool:
        return 0 <= self._today() - seen.when <= DAYS * 86400

    def _read(self) -> dict[tuple[str, str, str], Seen]:
        if self._path is None:
            return {}
        try:
            data = Field(self._path, "", parse_json(self._path, regular_bytes(self._path, LARGEST)))
            if data["schema"].integer(1) != SCHEMA:
                return {}
            found = [each for each in map(_whole, data["seen"].items()) if each is not None]
        except (ResultError, RecursionError):
            return {}
        return {(each.machine, each.roof, each.library): each for each in found}


def default_path(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The user's own, where the environment says or where the system keeps caches.

    None where there is none: switched off, or no home.
    """
    named = environ.get(VARIABLE, "")
    if "off" in (named, environ.get(SWITCH)):
        return None
    try:
        path = Path(named) if named else user_cache_path("lstm-benchmark-suite") / NAME
        # Without a home "~" stays as it is, and would become a folder of that name.
        return path.absolute() if named or path.is_absolute() else None
    except (OSError, RuntimeError):
        return None


def name_of(roof: Key) -> str:
    """A roof's key as it stands in the file."""
    return json.dumps(roof, default=str)


def _whole(entry: Field) -> Seen | None:
    """What an entry says; None for one that is not whole, which is passed over."""
    with contextlib.suppress(ResultError, TypeError):  # TypeError: it has other keys, too
        for name, kind in Seen.__annotations__.items():
            entry[name].annotated(kind)
        found = Seen(**cast("dict[str, Any]", entry.mapping()))
        return found if found.seconds > 0 else None
    return None
