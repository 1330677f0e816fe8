"""``python -m bench.site FOLDER --output DIR``: a static site of the results of many machines."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.cli import arguments, command_line
from bench.cli.progress import Progress
from bench.machine.copying import named
from bench.machine.fields import ResultError, printable
from bench.machine.writing import ResultWriteError
from bench.records.elsewhere import brought
from bench.records.files import result_names
from bench.render.quantities import count
from bench.sharing import site

EPILOG = """\
The site is a folder of files: any web server shows it, and so does a browser that opens index.html.
Made again into the same folder, only machines whose files have changed are read.

exit codes:
  0  it was made
  2  bad input: files that cannot be read (it is made of the others), nothing to show, a folder
     that cannot be written to, or pyarrow is missing
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _site, words, ResultWriteError)


def _site(options: argparse.Namespace) -> int:
    with Progress("making the site"):
        missing: list[ResultError] = []  # files elsewhere of which there is no copy
        here, _ = brought([options.folder], result_names, missing)
        if not here:
            raise missing[0]
        made = site.make(Path(here[0]), options.output)
    command_line.tell_errors(named(str(problem)) for problem in (*missing, *made.errors))
    print(
        f"{count(made.cases, 'case')} of {count(made.machines, 'machine')} "
        f"({made.judged:,} read anew), {count(made.shapes, 'shape')}: "
        f"{printable(str(options.output / 'index.html'))}"
    )
    return command_line.BAD_INPUT if missing or made.errors else 0


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "site", "A static site of many machines: by device, by shape, and all to explore.", EPILOG
    )
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        help="results, in it and in the folders in it, as results/community; or a URL, of which "
        "only what is directly in it is read",
    )
    parser.add_argument(
        "--output", metavar="DIR", type=Path, required=True, help="the folder of the site"
    )
    return parser


if __name__ == "__main__":
    command_line.end(main)
