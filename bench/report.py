"""``python -m bench.report``: which backend wins, by how much, and is that to be trusted?

Reads results, pools replicates, and writes the report in one of the formats. This room knows which
room does what, and what the command promises: the good files are shown beside bad ones, which give
one line each and exit code 2. No framework, and nothing slow to import.
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bench.disk.fields import printable
from bench.judging.ranking import build
from bench.judging.rows import KINDS, NothingToReportError, Report
from bench.judging.table import load_frame
from bench.results.schema import Results
from bench.telling import arguments, command_line, deliver, filters, unmeasured
from bench.telling.progress import Progress, asked_for, read_results
from bench.telling.sheet import comma_separated

if TYPE_CHECKING:
    from rich.console import Console

    from bench.reporting.terminal import Draw

__all__ = ["load_frame", "main"]

SAMPLES = ("samples.csv", "samples.parquet")
FORMATS = ("terminal", "markdown", "csv", "json", "parquet", "html", "svg", *SAMPLES)
BRIEF = ("terminal", "markdown", "svg")
LISTING = ("terminal", "markdown")

EPILOG = """\
exit codes:
  0  the report was written
  2  bad input: an option, a file that cannot be read (the good files beside it are still
     shown), or nothing to report

`python -m bench.plot` draws pictures for slides and papers.
docs/columns.md has the columns of csv, json and parquet, docs/sql.md asks them in SQL. In Python,
bench.load_frame(paths) gives them as a pandas frame, bench.load_samples(paths) every sample.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    # A report is millions of small objects that all live to its end: looking among them for cycles
    # that could be freed takes a third of the time and finds none.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return command_line.run(_parser(), _report, words)
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
    results = read_results(asked_for(options.paths))
    code = command_line.BAD_INPUT if results.errors else 0
    if not results.files:
        return command_line.BAD_INPUT
    results = filters.chosen(results, options)
    if not results.measurements and not results.outcomes:
        for note in results.notes:  # why there is nothing, as far as that is known
            print(f"note: {note}", file=sys.stderr)
    _check_forms(options)
    target = deliver.Target(options.output)
    if options.format in SAMPLES:
        deliver.deliver(options.format, target, _nothing, _samples(results))
        return code
    with Progress("judging results"):
        report = build(results, baseline=options.baseline, kind=options.kind)
    if options.teach:
        _teach(report)
        return code
    draw = _draw(options)

    def terminal(console: Console) -> None:
        from bench.reporting.terminal import show

        show(report, console, draw)

    deliver.deliver(options.format, target, terminal, _texts(report, options, draw))
    if options.brief and options.format == "terminal" and options.output is None:
        paths = "".join(f" {shlex.quote(str(path))}" for path in options.paths)
        command = f"{command_line.python()} -m bench.report{paths}"
        told = f"all of it: {command_line.told(command)}"
        deliver.show(lambda console: console.print(told, style="bold", soft_wrap=True))
    return code


def _check_forms(options: argparse.Namespace) -> None:
    """Whether what is asked for has the form that is asked for; raises NothingToReportError."""
    if options.brief and options.format not in BRIEF:
        raise NothingToReportError(f"--brief goes with --format {', '.join(BRIEF)}")
    if options.why and (options.brief or options.format not in LISTING):
        raise NothingToReportError(
            f"--why goes with --format {', '.join(LISTING)} and without --brief; csv and json have "
            "it of every case"
        )
    if options.unmeasured and (options.brief or options.format not in LISTING):
        raise NothingToReportError(
            f"--unmeasured goes with --format {', '.join(LISTING)} and without --brief; csv and "
            "json have every case"
        )


def _teach(report: Report) -> None:
    """Write what the report decides to where ``backend="auto"`` looks for it, and say so."""
    from bench.reporting import teaching

    place, found = teaching.write(report)
    for each in found:
        print(printable(each.headline, 200))
    print(f"{len(found)} decisions for backend='auto' written to {printable(str(place))}")


def _nothing(console: Console) -> None:
    """Samples are no news for a terminal."""


def _samples(results: Results) -> dict[str, Callable[[], deliver.Text]]:
    """Every sample, a row each."""
    from bench.judging.samples import SAMPLE_COLUMNS, sample_rows

    def parquet() -> bytes:
        from bench.reporting.parquet import written

        return written(SAMPLE_COLUMNS, sample_rows(results))

    return {
        "samples.csv": lambda: comma_separated(SAMPLE_COLUMNS, sample_rows(results)),
        "samples.parquet": parquet,
    }


def _draw(options: argparse.Namespace) -> Draw | None:
    """What draws a section in a terminal, if not the whole report does."""
    if options.brief:
        from bench.reporting.terminal_brief import draw

        return draw
    if options.why:
        from bench.reporting.whys import draw as draw_whys

        return draw_whys
    if not options.unmeasured:
        return None
    from bench.reporting.terminal import draw_whole

    return functools.partial(draw_whole, unmeasured=options.unmeasured)


def _texts(
    report: Report, options: argparse.Namespace, draw: Draw | None
) -> dict[str, Callable[[], deliver.Text]]:
    """The report in its formats; each is imported only when it is asked for."""

    def of(module: str, name: str, **options: object) -> Callable[[], deliver.Text]:
        def text() -> deliver.Text:
            writer = getattr(importlib.import_module(f"bench.reporting.{module}"), name)
            made: deliver.Text = writer(report, **options)
            return made

        return text

    return {
        "markdown": of("brief", "brief")
        if options.brief
        else of("whys", "as_markdown")
        if options.why
        else of("markdown", "markdown", unmeasured=options.unmeasured),
        "html": of("page.explorer", "page"),
        "csv": of("data", "comma_separated"),
        "json": of("data", "as_json"),
        "parquet": of("parquet", "parquet"),
        "svg": of("terminal", "as_picture", draw=draw),
    }


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "report", "Which LSTM backend is fastest, by how much, and can that be trusted?", EPILOG
    )
    command_line.add_result_paths(parser)
    arguments.add_output(parser, FORMATS)
    baseline = "the backend that ratios refer to (default: keras or else while_loop, if measured)"
    arguments.add_values(parser, ("baseline", "BACKEND", str, baseline))
    arguments.add_flags(
        parser,
        brief="a screenful: of each shape who is fastest, by how much; with --format markdown one "
        "table, of each shape the fastest backend",
    )
    parser.add_argument(
        "--kind",
        choices=(*KINDS, "all"),
        default="all",
        help="only the plain shapes, or only those cut into windows (default: %(default)s)",
    )
    arguments.add_flags(
        parser,
        teach="write no report, but for each shape which backend is fastest to where "
        "lstm_impl.keras.LSTM(backend='auto') looks for it (the folder LSTM_DECISIONS)",
        why="of each case one sentence: what it is bound by, and what would help (docs/why.md)",
    )
    unmeasured.add_option(parser)
    filters.add(parser)
    return parser


if __name__ == "__main__":
    command_line.end(main)
