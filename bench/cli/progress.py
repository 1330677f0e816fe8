"""Read results, and meanwhile show the progress in one line on standard error.

If reading takes longer than a second, a thread draws the line on a terminal and removes it at the
end. The thread must not run while times are measured.
"""

import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.live import Live
from rich.text import Text

from bench.cli.command_line import UsageError, format_command, print_errors
from bench.machine import environment
from bench.machine.fields import printable
from bench.machine.reading import REFERENCE, default_folder
from bench.machine.writing import Closing, running_writer
from bench.records.files import collect, default_results
from bench.records.schema import Results
from bench.render.escape import clean, text_console
from bench.render.messages import empty_session, foreign_session

AFTER = 1.0
"""The delay before the line appears, in seconds."""


class Progress(Closing):
    """Shows a line of progress during its block.

    what: what happens, such as ``reading results``. stream: standard error by default. after: the
    delay before the line appears, in seconds.
    """

    def __init__(self, what: str, stream: TextIO | None = None, after: float = AFTER) -> None:
        self._what, self._part = what, " ..."
        stream = sys.stderr if stream is None else stream
        shown = stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
        self._live = Live(
            console=text_console(file=stream, quiet=not shown),
            get_renderable=lambda: Text(clean(self._what + self._part), no_wrap=True),
            refresh_per_second=5,
            redirect_stdout=False,
            redirect_stderr=False,
            transient=True,
        )
        self._start = threading.Timer(after, self._live.start)
        self._start.daemon = True
        if shown:
            self._start.start()

    def over(self, items: Sequence[Path]) -> Iterator[Path]:
        """Yield the files, and show the number of the current one."""
        for number, item in enumerate(items, start=1):
            self._part = f": {number:,} of {len(items):,}"
            yield item

    def close(self) -> None:
        """Remove the line."""
        self._start.cancel()
        if self._start.is_alive():
            self._start.join()
        self._live.stop()


def read_results(paths: Iterable[str | os.PathLike[str] | Path], *, tell: bool = True) -> Results:
    """Read results while showing progress, and print warnings to standard error.

    tell: also print an error for each file that cannot be read.
    """
    with Progress("reading results") as progress:
        results = collect(paths, progress.over)
    for note in results.warnings:
        print(f"warning: {note}", file=sys.stderr)
    if tell:
        print_errors(results.errors)
    return results


def find_result_paths(
    paths: Sequence[Any], made_by: str = "pytest --benchmark-only"
) -> Sequence[Any]:
    """Return the paths of a command, or the default ones if it has none.

    A line on standard error names each newer session that the default leaves out, and says why.

    Raises UsageError if there are no results; the message suggests the command ``made_by``.
    """
    if paths:
        return paths
    folder = default_folder()
    found = default_results(folder, environment.read().machine_id)
    if not found.paths:
        raise UsageError(
            f"there are no results in {printable(folder)}/; measure some with `{made_by}`, or name "
            "result files or folders"
        )
    notes = []
    if empty := collect(found.empty).files:
        writer = next(filter(None, (running_writer(each.path) for each in empty)), "")
        show = f"{format_command('report', str(empty[0].path))} --unmeasured"
        notes.append(
            empty_session(empty, writer, show, goes_on=found.paths[-1:] != found.empty[-1:])
        )
    if foreign := collect(found.foreign).files:
        notes.append(foreign_session(foreign))
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    return list(found.paths)


def is_reference(paths: Sequence[str], results: Results) -> bool:
    """Return whether these are the project's results, of other machines, and the user named none.

    Someone who names the folder of reference results knows what they are.
    """
    if any(REFERENCE in Path(path).parts for path in paths):
        return False
    if any(file.path.parent.name != REFERENCE for file in results.files):
        return False
    here = environment.read().machine_id
    return all(file.run.machine_id != here for file in results.files)
