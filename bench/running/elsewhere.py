"""Results that are to lie elsewhere: measured into a folder here, and copied there at the end.

Not before the last process has ended: a copy on its way takes processor time from what is measured.
What was measured is never lost to a bad connection: the files here stay, and the command that
copies them later is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.disk.copying import check, upload
from bench.disk.fields import ResultError
from bench.disk.folder import DEFAULT_FOLDER, default_folder, expanded, is_url
from bench.disk.remote import PlaceError, shown
from bench.telling import command_line
from bench.telling.command_line import UsageError
from bench.telling.inert import clean
from bench.telling.quantities import count


def folder_and_place(results: str | None) -> tuple[Path, str | None]:
    """The folder here, and the URL of the place elsewhere if results are to go to one.

    results: what was asked for, a folder or a URL. Raises FolderError; UsageError for a place that
    cannot be written to, as far as that can be told before anything is measured.
    """
    asked = results or default_folder()
    if not is_url(asked):
        return expanded(asked), None
    try:
        check(asked)
    except PlaceError as error:
        raise UsageError(str(error)) from None
    return usual_folder(), asked


def usual_folder() -> Path:
    """The folder here if nobody names one, also where ``$LSTM_RESULTS`` is a URL."""
    here = default_folder()
    return expanded(DEFAULT_FOLDER if is_url(here) else here)


def copy(paths: Sequence[Path], place: str, console: Console) -> bool:
    """Copy a session's files to their place, and say what became of them; whether all are there."""
    if not paths:
        return True
    there: list[str] = []
    errors: list[ResultError] = []
    try:
        there, errors = upload(paths, place)
    except PlaceError as error:
        errors = [error]
    if there:
        console.print(f"copied: {count(len(there), 'file')} to {clean(shown(place))}", markup=False)
    if not errors:
        return True
    for each in errors:
        console.print(f"error: {clean(str(each), 1000)}", markup=False)
    again = command_line.typed("upload", *map(str, paths), "--to", shown(place))
    console.print(f"the files are here, whole; copy them later: {again}")
    return False
