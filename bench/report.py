"""``python -m bench.report``: which backend wins, by how much, and is that to be trusted?

Options to a report in one of its formats. It promises: the good files are shown beside bad ones,
which give one line each and exit code 2. No framework, and nothing slow to import.
"""

from __future__ import annotations

import argparse
import functools
import gc
import sys
from collections.abc import Callable, Mapping, Sequence

from bench.disk.fields import printable
from bench.judging.ranking import build
from bench.judging.rows import KINDS, NothingToReportError, Report
from bench.judging.samples import SAMPLE_COLUMNS, sample_rows
from bench.judging.table import load_frame
from bench.reporting import data, markdown, teaching, terminal, terminal_brief, whys
from bench.reporting.page import explorer
from bench.results.schema import Results
from bench.telling import arguments, command_line, deliver, filters, unmeasured
from bench.telling.progress import Progress, asked_for
from bench.telling.sheet import comma_separated

__all__ = ["load_frame", "main"]

EPILOG = """\
exit codes:
  0  the report was written
  2  bad input: an option, a file that cannot be read (the good files beside it are still
     shown), or nothing to report

`python -m bench.plot` draws pictures for slides and papers.
docs/columns.md has the columns of csv, json and parquet, docs/sql.md asks them in SQL. In Python,
bench.load_frame(paths) gives them as a pandas frame, bench.load_samples(paths) every sample.
"""


SAMPLES = ("samples.csv", "samples.parquet")
FORMATS = ("terminal", "markdown", "csv", "json", "parquet", "html", "svg", *SAMPLES)
BRIEF = ("terminal", "markdown", "svg")
LISTING = ("terminal", "markdown")

Texts = Mapping[str, Callable[[], deliver.Text]]


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
    """Read results and write the report."""
    if options.format.endswith("parquet"):
        # Before a large folder is read for nothing.
        data.check_parquet()
        if options.output is None:
            raise NothingToReportError(
                f"--format {options.format} is no text; name a file for it: --output report.parquet"
            )
    (results,) = filters.read(options, asked_for(options.paths))
    if not results.measurements and not results.outcomes:
        for note in results.notes:  # why there is nothing, as far as that is known
            print(f"note: {note}", file=sys.stderr)
    _check_forms(options)
    if options.format in SAMPLES:
        # Samples are no news for a terminal.
        target = deliver.Target(options.output)
        deliver.deliver(options.format, target, lambda console: None, _samples(results))
    else:
        with Progress("judging results"):
            made = build(results, baseline=options.baseline, kind=options.kind)
        (_teach if options.teach else _show)(made, options)
    return command_line.BAD_INPUT if results.errors else 0


def _check_forms(options: argparse.Namespace) -> None:
    """Whether what is asked for has the form that is asked for; raises NothingToReportError."""
    if options.brief and options.format not in BRIEF:
        raise NothingToReportError(f"--brief goes with --format {', '.join(BRIEF)}")
    for name, elsewhere in (("why", "it of every case"), ("unmeasured", "every case")):
        if getattr(options, name) and (options.brief or options.format not in LISTING):
            raise NothingToReportError(
                f"--{name} goes with --format {', '.join(LISTING)} and without --brief; csv and "
                f"json have {elsewhere}"
            )


def _teach(report: Report, options: argparse.Namespace) -> None:
    """Write what the report decides to where ``backend="auto"`` looks for it, and say so."""
    place, found = teaching.write(report)
    for each in found:
        print(printable(each.headline, 200))
    print(f"{len(found)} decisions for backend='auto' written to {printable(str(place))}")


def _samples(results: Results) -> Texts:
    """Every sample, a row each."""
    return {
        "samples.csv": lambda: comma_separated(SAMPLE_COLUMNS, sample_rows(results)),
        "samples.parquet": lambda: data.as_parquet(SAMPLE_COLUMNS, sample_rows(results)),
    }


def _show(report: Report, options: argparse.Namespace) -> None:
    """Write the report in its format, and of a brief one how to see all of it."""
    # What draws a section in a terminal, if not the whole report does; and what writes Markdown.
    draw: terminal.Draw | None = None
    if options.brief:
        draw, text = terminal_brief.draw, markdown.brief
    elif options.why:
        draw, text = whys.draw, whys.as_markdown
    else:
        text = functools.partial(markdown.markdown, unmeasured=options.unmeasured)
        if options.unmeasured:
            draw = functools.partial(terminal.draw_whole, unmeasured=True)
    texts: Texts = {
        "markdown": lambda: text(report),
        "html": lambda: explorer.page(report),
        "csv": lambda: data.comma_separated(report),
        "json": lambda: data.as_json(report),
        "parquet": lambda: data.parquet(report),
        "svg": lambda: terminal.as_picture(report, draw=draw),
    }
    target = deliver.Target(options.output)
    deliver.deliver(
        options.format, target, lambda console: terminal.show(report, console, draw), texts
    )
    if options.brief and options.format == "terminal" and options.output is None:
        told = f"all of it: {command_line.typed('report', *map(str, options.paths))}"
        deliver.show(lambda console: console.print(told, style="bold", soft_wrap=True))


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
    kind = "only the plain shapes, or only those cut into windows"
    arguments.add_choice(parser, "kind", (*KINDS, "all"), kind, "all")
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
