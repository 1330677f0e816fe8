"""Results elsewhere: paths with URLs among them, as files and folders of this machine.

What a URL leads to is copied first (``disk.copying``) and then read as any other file; what is
said of a copy is told with the URL of what it is a copy of.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import replace

from bench.machine.fields import ResultError
from bench.machine.reading import REFERENCE, is_url
from bench.machine.remote import Fetched, PlaceError, Wanted, fetched, named
from bench.records.schema import Results


def brought(
    paths: Iterable[str | os.PathLike[str]], wanted: Wanted, errors: list[ResultError]
) -> tuple[list[str | os.PathLike[str]], list[str]]:
    """The paths, those elsewhere as the paths of their copies; and notes on these.

    wanted: which files of a folder are results. errors: gets one for each that there is no copy of.
    """
    here: list[str | os.PathLike[str]] = []
    notes: list[str] = []
    for path in paths:
        if not is_url(path):
            here.append(path)
            continue
        try:
            found = _fetched(str(path), wanted)
        except PlaceError as error:
            errors.append(error)
            continue
        errors += found.errors
        notes += found.notes
        # Of one all of whose files are missing the errors have said so.
        if _holds(found, wanted) or not found.errors:
            here.append(found.path)
    return here, notes


def as_named(results: Results) -> Results:
    """The results, with what is said of copies said of what they are copies of."""
    return replace(
        results,
        errors=tuple(ResultError(named(str(error))) for error in results.errors),
        notes=tuple(map(named, results.notes)),
        warnings=tuple(map(named, results.warnings)),
    )


def _fetched(url: str, wanted: Wanted) -> Fetched:
    """As everywhere, a folder without results stands for its folder ``reference``."""
    found = fetched(url, wanted)
    if found.errors or _holds(found, wanted):
        return found
    with contextlib.suppress(PlaceError):
        instead = fetched(f"{url.rstrip('/')}/{REFERENCE}", wanted)
        if instead.errors or _holds(instead, wanted):
            return instead
    return found


def _holds(found: Fetched, wanted: Wanted) -> bool:
    if not found.path.is_dir():
        return True
    return any(wanted(path.name for path in found.path.iterdir()))
