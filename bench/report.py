"""Run ``python -m bench.report``: say which backend is fastest, and whether to trust it.

Files that can be read are shown even if others cannot. Each unreadable file gives one line, and the
exit code is then 2.
"""

import argparse
import functools
import gc
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench.cli import arguments, command_line, filters, output
from bench.cli.command_line import UsageError
from bench.cli.progress import Progress, find_result_paths, is_reference
from bench.machine.fields import printable, require
from bench.machine.reading import default_folder, is_study, is_url
from bench.records.maps import find_newest, list_unreported, split_paths
from bench.render import along, data, page
from bench.render import report as shown
from bench.render.data import SAMPLE_COLUMNS, csv_lines, sample_rows
from bench.verdicts.along import AXES, series
from bench.verdicts.sections import KINDS, Report, build

SAMPLES = ("samples.csv", "samples.parquet")
TOOLS = ("hyperfine", "github-action", "tensorboard")
"""The formats that other tools read."""
FORMATS = ("terminal", "markdown", "csv", "json", "parquet", "html", "svg", *SAMPLES, *TOOLS)
BRIEF = ("terminal", "markdown", "svg")
LISTING = ("terminal", "markdown")

NEEDED = {"parquet": "pyarrow", "html": "jinja2", "tensorboard": "tensorboard"}
"""The package that a format needs, by the name of its extra."""

ALONG = ("terminal", "markdown", "csv", "json")
"""The formats in which ``--along`` can be shown."""

MEASURE = {
    "window": "python -m bench.run truncation",
    "timesteps": "python -m bench.run sizes --processes 6",
    "batch": "python -m bench.run sizes",
}

Texts = Mapping[str, Callable[[], output.Answer]]


def write_report(options: argparse.Namespace) -> int:
    """Report on results and return the exit code.

    Raises UsageError, and the errors of ``filters.read_selected`` and ``build``.
    """
    for path in options.paths:
        if not is_url(path) and is_study(Path(path)):
            how = f"in a clone of the project, python -m tools.study {path} shows it"
            raise UsageError(f"{path} holds a study of an earlier version; {how}")
    _check(options)
    if options.along is not None:
        return _show_along(options)
    (results,) = filters.read_selected(options, find_result_paths(options.paths))
    if not results.measurements and not results.outcomes:
        # The notes say why there is nothing to report, as far as that is known.
        for note in results.notes:
            print(f"note: {note}", file=sys.stderr)
    if options.format in SAMPLES:
        samples: Texts = {
            "samples.csv": lambda: csv_lines(SAMPLE_COLUMNS, sample_rows(results)),
            "samples.parquet": lambda: data.as_parquet(SAMPLE_COLUMNS, sample_rows(results)),
        }
        output.deliver(options, lambda console: None, samples)
    else:
        with Progress("judging results"):
            made = build(results, baseline=options.baseline, kind=options.kind)
        made = replace(made, is_reference=is_reference(options.paths, results))
        (_write_decisions if options.teach else _show)(made, options)
    return command_line.BAD_INPUT if results.errors else 0


def _check(options: argparse.Namespace) -> None:
    """Raise UsageError for options that exclude each other, before anything is read."""
    form, brief, axis = options.format, options.brief, options.along
    listed, other = ", ".join(LISTING), brief or form not in LISTING
    refused = {
        f"--format {form} is not text; name a file to write it to: --output report.parquet": (
            form.endswith("parquet") and options.output is None
        ),
        f"--along can be shown as {', '.join(ALONG)}; python -m bench.plot --along {axis} "
        "draws it": axis and form not in ALONG,
        "--along --brief needs --format markdown": axis and brief and form != "markdown",
        **{
            f"--{name} cannot be combined with --along": axis and getattr(options, name)
            for name in ("teach", "why", "unmeasured")
        },
        f"--brief can be shown as {', '.join(BRIEF)}": brief and form not in BRIEF,
        **{
            f"--{name} needs --format {listed.replace(', ', ' or ')} and no --brief; csv and json "
            "have it for every case": getattr(options, name) and other
            for name in ("why", "unmeasured")
        },
    }
    for message, wrong in refused.items():
        if wrong:
            raise UsageError(message)
    if (extra := form.rpartition(".")[2]) in NEEDED:
        require(NEEDED[extra], f"--format {form}", extra)
    if form == "tensorboard":
        data.check_tensorboard(options.output)


def _show_along(options: argparse.Namespace) -> int:
    """Write the fixed cost and the slope along an axis, and return the exit code."""
    times, maps = split_paths(options.paths or [default_folder()])
    (results,) = filters.read_selected(options, find_result_paths(times if options.paths else ()))
    learned, bad = find_newest(maps) if options.along == "window" else (None, ())
    command_line.print_errors(list_unreported(bad, results.errors))
    with Progress("judging results"):
        sections = build(results, baseline=options.baseline).sections
    found = series(sections, options.along, learned)
    if not any(each.values for each in found):
        why = "; ".join(dict.fromkeys(note for each in found for note in along.notes(each)))
        raise UsageError(
            f"no case has a time along {options.along}{why and f': {why}'}; "
            f"`{MEASURE[options.along]}` measures some"
        )
    document = along.brief(found) if options.brief else along.document(found)
    texts: Texts = {
        "markdown": document.markdown,
        "csv": lambda: along.as_csv(found),
        "json": lambda: along.as_json(found),
    }
    output.deliver(options, document.terminal, texts)
    return command_line.BAD_INPUT if results.errors or bad else 0


def _write_decisions(report: Report, options: argparse.Namespace) -> None:
    """Write the decisions of the report for ``backend="auto"``, and print them."""
    place, found = data.write(report)
    for each in found:
        print(printable(each.headline, 200))
    print(f"{len(found)} decisions for backend='auto' written to {printable(str(place))}")


def _show(report: Report, options: argparse.Namespace) -> None:
    """Write the report in its format. After a brief report, print the command for the full one."""
    draw: shown.Draw = functools.partial(shown.full, listed=options.unmeasured)
    if options.brief:
        draw = shown.brief
    elif options.why:
        draw = shown.whys
    texts: Texts = {
        "markdown": lambda: shown.markdown(report, shown.fastest if options.brief else draw),
        "html": lambda: page.page(report),
        "csv": lambda: data.as_csv(report),
        "json": lambda: data.as_json(report),
        "parquet": lambda: data.as_parquet(data.COLUMNS, data.cells(report)),
        "svg": lambda: shown.as_picture(report, draw=draw),
        "hyperfine": lambda: data.hyperfine(report),
        "github-action": lambda: data.github_action(report),
    }
    if options.format == "tensorboard":
        data.write_tensorboard(report, options.output)
        return
    output.deliver(options, lambda console: shown.show(report, console, draw), texts)
    if options.brief and options.format == "terminal" and options.output is None:
        message = f"full report: {command_line.format_command('report', *map(str, options.paths))}"
        output.make_console().print(message, style="bold", soft_wrap=True)


EPILOG = """\
exit codes:
  0  the report was written
  2  bad input: a wrong option, a file that cannot be read (the other files are still shown), or
     nothing to report

`python -m bench.plot` draws pictures for slides and papers.
docs/columns.md describes the columns of csv, json and parquet, and docs/sql.md has queries in SQL.
In Python, bench.load_frame(paths) returns these columns as a pandas frame, and
bench.load_samples(paths) returns every sample.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    # A report consists of millions of small objects that live until its end. Collecting cycles
    # among them would take a third of the time and free nothing.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return command_line.run(_parser(), write_report, argv)
    finally:
        if collecting:
            gc.enable()


def _parser() -> argparse.ArgumentParser:
    parser = arguments.make_parser(
        "report", "Say which LSTM backend is fastest, by how much, and whether to trust it.", EPILOG
    )
    command_line.add_result_paths(parser)
    arguments.add_output(parser, FORMATS)
    baseline = "the backend that ratios refer to (default: keras or else while_loop, if measured)"
    arguments.add_values(parser, ("baseline", "BACKEND", str, baseline))
    arguments.add_flags(
        parser,
        brief="show one screenful: the fastest backend of each shape and what to use; with "
        "--format markdown, one table of the fastest backends",
    )
    kind = "show only the plain shapes, only those cut into windows, or only streams"
    arguments.add_choice(parser, "kind", (*KINDS, "all"), kind, "all")
    arguments.add_flags(
        parser,
        teach="instead of a report, write which backend is fastest for each shape to the folder "
        "LSTM_DECISIONS, where lstm_impl.keras.LSTM(backend='auto') looks for it",
        why="explain each case in a sentence: what limits it, and what would help (docs/why.md)",
    )
    axis = "show the fixed cost of a step and the cost of each further unit, instead of the report"
    arguments.add_choice(parser, "along", AXES, axis)
    arguments.add_unmeasured(parser)
    filters.add_filters(parser)
    return parser


if __name__ == "__main__":
    command_line.run_and_exit(main)
