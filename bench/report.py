"""``python -m bench.report``: which backend wins, by how much, and is that to be trusted?

Reads results, pools replicates, and writes the report in one of the formats. This room knows which
room does what, and what the command promises: the good files are shown beside bad ones, which give
one line each and exit code 2. No framework, and nothing slow to import.
"""

from __future__ import annotations

import argparse
import gc
import io
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.disk.fields import printable
from bench.disk.folder import default_folder
from bench.disk.writing import ResultWriteError, write_bytes
from bench.judging.ranking import build
from bench.judging.rows import KINDS, NothingToReportError, Report
from bench.judging.table import load_frame
from bench.results.files import collect, latest
from bench.results.only import NothingThereError
from bench.results.schema import Results
from bench.telling import arguments, command_line, filters

if TYPE_CHECKING:
    from bench.reporting.terminal import Draw

__all__ = ["load_frame", "main"]

SAMPLES = ("samples.csv", "samples.parquet")
FORMATS = ("terminal", "markdown", "csv", "json", "parquet", "html", "svg", *SAMPLES)
BRIEF = ("terminal", "markdown", "svg")

EPILOG = """\
exit codes:
  0  the report was written
  2  bad input: an option, a file that cannot be read (the good files beside it are still
     shown), or nothing to report

`python -m bench.plot` draws pictures for slides and papers.
docs/columns.md has the columns of csv, json and parquet, docs/sql.md asks them in SQL. In Python,
bench.load_frame(paths) gives them as a pandas frame, bench.load_samples(paths) every sample.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    options = _parser().parse_args(arguments)
    command_line.write_any_letter()
    # A report is millions of small objects that all live to its end: looking among them for cycles
    # that could be freed takes a third of the time and finds none.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _report(options)
    except (NothingToReportError, NothingThereError, ResultWriteError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        if collecting:
            gc.enable()


def _report(options: argparse.Namespace) -> int:
    if options.format.endswith("parquet"):
        # Before a large folder is read for nothing.
        from bench.reporting.parquet import check

        check()
        if options.output is None:
            raise NothingToReportError(
                f"--format {options.format} is no text; name a file for it: --output report.parquet"
            )
    folder = default_folder()
    paths = options.paths or latest(folder)
    if not paths:
        raise NothingToReportError(
            f"there are no results in {printable(folder)}/; make some with "
            "`pytest --benchmark-only`, or name result files or folders"
        )
    results = collect(paths)
    for error in results.errors:
        print(f"error: {error}", file=sys.stderr)
    if not results.files:
        return 2
    results = filters.chosen(results, options)
    if not results.measurements and not results.outcomes:
        for note in results.notes:  # why there is nothing, as far as that is known
            print(f"note: {note}", file=sys.stderr)
    if options.brief and options.format not in BRIEF:
        raise NothingToReportError(f"--brief goes with --format {', '.join(BRIEF)}")
    if options.format in SAMPLES:
        _write_samples(results, options)
        return 2 if results.errors else 0
    report = build(results, baseline=options.baseline, kind=options.kind)
    kind = options.format
    if options.output is None and kind == "terminal":
        from bench.reporting.terminal import WIDTH, show
        from bench.telling.terminal import text_console

        known = command_line.width_is_known()
        console = text_console(width=None if known else WIDTH)
        show(report, console, _draw(options.brief))
        if options.brief:
            paths = "".join(f" {shlex.quote(str(path))}" for path in options.paths)
            command = f"{command_line.python()} -m bench.report{paths}"
            told = f"all of it: {command_line.told(command)}"
            console.print(told, style="bold", soft_wrap=True)
    elif options.output is None and kind == "csv":
        from bench.reporting.data import write_comma_separated

        write_comma_separated(report, sys.stdout)
    elif options.output is None:
        sys.stdout.write(_text(report, kind, options.brief))
    else:
        write_bytes(options.output, _bytes(report, kind, options.brief))
        print(f"written: {printable(str(options.output))}", file=sys.stderr)
    sys.stdout.flush()
    return 2 if results.errors else 0


def _write_samples(results: Results, options: argparse.Namespace) -> None:
    """Every sample, a row each."""
    from bench.judging.samples import SAMPLE_COLUMNS, sample_rows

    if options.format == "samples.parquet":
        from bench.reporting.parquet import written

        data = written(SAMPLE_COLUMNS, sample_rows(results))
    else:
        from bench.reporting.data import write_table

        text = io.StringIO(newline="")
        write_table(SAMPLE_COLUMNS, sample_rows(results), text)
        data = text.getvalue().encode("utf-8", "replace")
    if options.output is None:
        sys.stdout.write(data.decode())
    else:
        write_bytes(options.output, data)
        print(f"written: {printable(str(options.output))}", file=sys.stderr)
    sys.stdout.flush()


def _bytes(report: Report, kind: str, brief: bool) -> bytes:
    """The report as a file holds it."""
    if kind == "parquet":
        from bench.reporting.parquet import parquet

        return parquet(report)
    if kind == "csv":
        from bench.reporting.data import write_comma_separated

        # Line by line: as one text, a large report would be in memory several times.
        out = io.BytesIO()
        text = io.TextIOWrapper(out, encoding="utf-8", errors="replace", newline="")
        write_comma_separated(report, text)
        text.flush()
        return out.getvalue()
    return _text(report, kind, brief).encode("utf-8", "replace")


def _draw(brief: bool) -> Draw | None:
    """What draws a section in a terminal, if not the whole report does."""
    if not brief:
        return None
    from bench.reporting.terminal_brief import draw

    return draw


def _text(report: Report, kind: str, short: bool) -> str:
    """The report in one of the formats; each is imported only when it is asked for."""
    if kind == "markdown" and short:
        from bench.reporting.brief import brief

        return brief(report)
    if kind == "markdown":
        from bench.reporting.markdown import markdown

        return markdown(report)
    if kind == "html":
        from bench.reporting.page.explorer import page

        return page(report)
    if kind in ("csv", "json"):
        from bench.reporting import data

        return data.comma_separated(report) if kind == "csv" else data.as_json(report)
    from bench.reporting.terminal import as_picture, as_text

    return (as_picture if kind == "svg" else as_text)(report, draw=_draw(short))


def _parser() -> argparse.ArgumentParser:
    parser = arguments.Parser(
        prog="python -m bench.report",
        description="Which LSTM backend is fastest, by how much, and can that be trusted?",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command_line.add_result_paths(parser)
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default=FORMATS[0],
        help="what is written (default: %(default)s)",
    )
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help="write there, not to the terminal"
    )
    parser.add_argument(
        "--baseline",
        metavar="BACKEND",
        help="the backend that ratios refer to (default: keras or else while_loop, if measured)",
    )
    parser.add_argument(
        "--brief",
        action="store_true",
        help="a screenful: of each shape who is fastest, by how much; with --format "
        "markdown one table, of each shape the fastest backend",
    )
    parser.add_argument(
        "--kind",
        choices=(*KINDS, "all"),
        default="all",
        help="only the plain shapes, or only those cut into windows (default: %(default)s)",
    )
    filters.add(parser)
    return parser


if __name__ == "__main__":
    command_line.end(main)
