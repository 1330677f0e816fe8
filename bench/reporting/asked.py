"""What ``bench.report`` is asked: options to a report in one of its formats."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Mapping

from bench.cli import command_line, deliver, filters
from bench.cli.progress import Progress, asked_for
from bench.machine.fields import printable
from bench.records.schema import Results
from bench.render.sheet import comma_separated
from bench.reporting import data, markdown, teaching, terminal, terminal_brief, whys
from bench.reporting.page import explorer
from bench.stats.ranking import build
from bench.stats.rows import NothingToReportError, Report
from bench.stats.samples import SAMPLE_COLUMNS, sample_rows

SAMPLES = ("samples.csv", "samples.parquet")
FORMATS = ("terminal", "markdown", "csv", "json", "parquet", "html", "svg", *SAMPLES)
BRIEF = ("terminal", "markdown", "svg")
LISTING = ("terminal", "markdown")

Texts = Mapping[str, Callable[[], deliver.Text]]


def report(options: argparse.Namespace) -> int:
    """Read results and write the report; the exit code of ``bench.report``.

    Raises NothingToReportError, UsageError and what ``filters.read`` raises.
    """
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
