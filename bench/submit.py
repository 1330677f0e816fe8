"""Check result files, make them anonymous, and share them: ``python -m bench.submit``.

The command first writes the files on this machine and lists all the texts in them. It sends nothing
without the user's consent.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.cli import arguments, command_line
from bench.machine.fields import InputError, ResultError, printable
from bench.machine.reading import expand_path, is_url
from bench.machine.remote import safe_url
from bench.machine.upload import check, upload
from bench.machine.writing import ResultWriteError
from bench.records.files import latest, read
from bench.render.quantities import count
from bench.sharing.anonymous import texts
from bench.sharing.submission import FOLDER, submit
from bench.sharing.submission import check as check_shared

REFUSED = 1

UNWRITABLE = 3
"""The exit code for files that cannot be copied to a URL. ``bench.run`` uses the same code."""

EPILOG = """\
A file must be complete, unchanged and consistent:
- Each case passed its gate, and the file holds evidence of what ran.
- The statistics and the validity follow from the samples.
- No rate is above the device's roof, no time lies outside the run, and no samples occur twice.
- The seed is one that seeds.csv, next to the folder, lists as recently published.

The files in a folder are ready for a pull request. For a URL such as s3://team/lstm, the files are
written on this machine first, and sent after you confirm, or at once with --yes. An existing file
is never replaced.

exit codes:
  0  all files are written, or existed already
  1  a file is inconsistent; every reason is printed, and nothing is written
  2  bad input: a file that cannot be read, a folder that cannot be written to, or no confirmation
  3  a file could not be copied to the URL
"""


def main(
    argv: Sequence[str] | None = None, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> int:
    """Run the command and return its exit code (see ``EPILOG``).

    clock: returns the current date and time.
    """
    return command_line.run(
        _parser(), lambda options: _submit(options, clock()), argv, ResultWriteError
    )


def _submit(options: argparse.Namespace, now: datetime) -> int:
    if options.accepted is not None and not options.check:
        raise InputError("--accepted says which files were accepted before; add --check")
    if options.check:
        checked = [check_shared(folder, now, options.accepted) for folder in options.paths]
        for note in (text for each in checked for text in each.notes):
            print(f"note: {printable(note, 600)}", file=sys.stderr)
        if _refuse([text for each in checked for text in each.problems]):
            return REFUSED
        for path in (path for each in checked for path in each.there):
            print(f"{printable(str(path))}: {read(path).run.tier}")
        return 0
    paths = [path for each in options.paths for path in (latest(each) if each.is_dir() else [each])]
    if not paths:
        raise ResultError("there are no result files")
    url = options.to if is_url(options.to) else None
    if options.unchanged and url is None:
        raise ResultError("--unchanged sends files as they are; name a URL with --to")
    if url is not None:
        check(url)
    if options.unchanged:
        for path in paths:
            read(path)  # Files that cannot be read must not be sent.
    else:
        folder = Path(FOLDER) if url is not None else expand_path(options.to)
        found = submit(paths, folder, now)
        if _refuse(found.problems):
            return REFUSED
        for path in found.written:
            print(printable(str(path)))
        for path in found.there:
            print(f"exists already: {printable(str(path))}")
        if url is None and found.written:
            _show_contents(found.written, options.texts)
            print("To share them, commit the files on a branch and open a pull request.")
        paths = [*found.written, *found.there]
    if url is None:
        return 0
    return _send(paths, url, agreed=options.yes, every_text=options.texts)


def _refuse(problems: Sequence[str]) -> int:
    for described in problems:
        print(f"refused: {printable(described, 600)}", file=sys.stderr)
    return REFUSED if problems else 0


def _send(paths: Sequence[Path], url: str, *, agreed: bool, every_text: bool) -> int:
    _show_contents(paths, every_text)
    if not agreed:
        if not (sys.stdin is not None and sys.stdin.isatty()):
            raise ResultError("nothing was sent; look through the files, then add --yes")
        question = f"send {count(len(paths), 'file')} to {safe_url(url)}? [y/N] "
        print(question, end="", flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise ResultError("nothing was sent")
    there, errors = upload(paths, url)
    for name in there:
        print(name)
    command_line.print_errors(errors)
    return UNWRITABLE if errors else 0


_FREE = re.compile(r"remarks|\.reason$|\.kernels|variables")
"""The places of texts that the user's machine, backend or driver may have written."""


def _show_contents(paths: Sequence[Path], every_text: bool) -> None:
    """Print what leaves the machine, and print the texts that this project did not write in full.

    every_text: print all texts of the files.
    """
    documents = [json.loads(path.read_bytes()) for path in paths if path.suffix == ".json"]
    found: dict[str, dict[str, None]] = {}
    for document in documents:
        for place, each in texts(document).items():
            found.setdefault(place, {}).update(dict.fromkeys(each))
    for line in _summary(documents):
        print(line)
    free = {place: each for place, each in found.items() if _FREE.search(place)}
    _list_texts(found if every_text else free)
    if not every_text:
        number = len({text for each in found.values() for text in each})
        print(f"--texts lists all {number} texts in the files. Everything else is numbers.")


def _summary(documents: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield lines that say what anonymous result files contain, and what they leave out."""
    runs = [document["lstm"]["run"] for document in documents]
    cases = {each["name"] for document in documents for each in document["benchmarks"]}

    def join(values: Iterable[object]) -> str:
        distinct = dict.fromkeys(printable(str(value), 100) for value in values if value)
        return ", ".join(distinct) or "none"

    machines = [run["environment"]["before"] for run in runs]
    libraries = {name for machine in machines for name in machine.get("libraries") or ()}
    days = join(run["started"][:10] for run in runs)
    yield (
        f"What leaves this machine: {count(len(documents), 'file')} with the times of "
        f"{count(len(cases), 'case')}, suite {join(run['suite'] for run in runs)}, {days}, "
        f"seed {join(str(run['seed']) for run in runs)}."
    )
    yield (
        f"  the machine: {join(machine['cpu'].get('name') for machine in machines)}; "
        f"{join(machine.get('system') for machine in machines)}; "
        f"{join(machine.get('python') for machine in machines)}; "
        f"GPU: {join(gpu.get('name') for machine in machines for gpu in machine['gpus'])}"
    )
    yield f"  the versions of {count(len(libraries), 'package')} that can change a time"
    yield f"  under the name {join(run['host'] for run in runs)}"
    yield (
        "What was left out: names of users and hosts, paths, addresses, serial numbers, other "
        "packages, other environment variables, and the names of other processes."
    )


def _list_texts(found: Mapping[str, Iterable[str]]) -> None:
    """Print each text in full, once, at the first place that holds it."""
    if not found:
        print("Texts that the machine, a backend or a driver may have written: none")
        return
    print("Texts in the files, each listed once:")
    shown: set[str] = set()
    for place, each in found.items():
        if new := [text for text in each if text not in shown]:
            shown.update(new)
            listed = "; ".join(printable(text, len(text)) for text in new)
            print(f"  {printable(place, len(place))}: {listed}")


def _parser() -> argparse.ArgumentParser:
    parser = arguments.make_parser(
        "submit", "Check result files, make them anonymous, and share them.", EPILOG
    )
    text = "result files, or folders whose newest run is taken"
    parser.add_argument("paths", nargs="+", metavar="PATH", type=Path, help=text)
    place = "a folder, which gets a folder for each kind of machine, or a URL"
    arguments.add_with_default(parser, ("to", "PLACE", str, FOLDER, place))
    names = "send the files to the URL without removing names, like `bench.run --results URL`"
    listed = "check shared files in the folders, and list in tiers.csv whose attestations are valid"
    branch = (
        "with --check: the project's own branch, such as origin/main; a file that the branch holds "
        "is judged by the day on which it was added, any other file by today's date"
    )
    arguments.add_values(parser, ("accepted", "BRANCH", str, branch))
    arguments.add_flags(
        parser,
        yes="send the files to the URL without asking",
        unchanged=names,
        check=listed,
        texts="list every text in the files, not only those that this project did not write",
    )
    return parser


if __name__ == "__main__":
    command_line.run_and_exit(main)
