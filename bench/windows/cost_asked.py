"""What ``bench.truncation`` is asked: options to what windows cost, in tables or pictures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.cli import command_line, filters, output
from bench.cli.progress import read_results
from bench.machine.fields import printable
from bench.machine.folder import REFERENCE, default_folder, is_url
from bench.records.maps import LearningMap
from bench.records.naming import run_of
from bench.records.schema import Measurement, Outcome, Results
from bench.render import along
from bench.render.messages import without_time
from bench.stats.along import Stream, streams
from bench.stats.ranking import build
from bench.stats.rows import KINDS, NothingToReportError
from bench.windows.learned import newest, parted, untold, words
from bench.windows.picture import picture

FORMATS = ("terminal", "markdown", "csv", "json", "svg", "png")
PICTURES = FORMATS[-2:]
BRIEF = "brief"

MEASURE = "python -m bench.run truncation"


def show(options: argparse.Namespace) -> int:
    """Read results and show what windows cost; the exit code of ``bench.truncation``.

    Raises NothingToReportError, UsageError, ToldError.
    """
    kind = options.format or output.kind_of(options.output)
    if options.brief:
        if kind != "markdown":
            raise NothingToReportError("--brief is a table for Markdown: add --format markdown")
        kind = BRIEF
    target = output.Target(options.output)
    output.check(kind, target)
    times, maps = parted(options.paths or [default_folder()])
    named = options.paths or is_url(default_folder())
    results = _windows_of(times if named else [])
    learned, bad = newest(maps)
    command_line.tell_errors(untold(bad, results.errors))
    if not results.files:
        raise command_line.ToldError
    found = _chosen(results, options, learned)
    if kind in PICTURES:
        drawn = [stream for stream in found if stream.windows]
        for path, stream in _named(options.output, drawn):
            output.write_file(path, picture(stream, kind))
    else:
        texts = {
            "markdown": lambda: along.as_markdown(found),
            BRIEF: lambda: along.as_brief(found),
            "csv": lambda: along.as_csv(found),
            "json": lambda: along.as_json(found),
        }
        letters = {**output.ASCII, "·": "*"}  # a product
        output.deliver(
            kind, target, lambda console: along.as_terminal(found, console), texts, letters=letters
        )
    return command_line.BAD_INPUT if results.errors or bad else 0


def _windows_of(paths: Sequence[Path]) -> Results:
    """What these files hold; by default the newest run with windows, or the reference's."""
    if paths:
        return read_results(paths)
    folder = Path(default_folder())
    for place in (folder, folder / REFERENCE):
        results = read_results([place], tell=False)
        ours = [
            file
            for file in results.files
            if any(item.case.kind == KINDS[1] for item in file.measurements)
        ]
        if ours:
            command_line.tell_errors(results.errors)
            newest = run_of(max(ours, key=lambda file: file.run.started).run.session)
            wanted = [file for file in results.files if run_of(file.run.session) == newest]
            return replace(results, files=tuple(wanted))
    raise NothingToReportError(
        f"no stream cut into windows was measured in {printable(str(folder))}/; "
        f"measure one with `{MEASURE}`, or name result files or folders"
    )


def _chosen(
    results: Results, options: argparse.Namespace, learned: LearningMap | None
) -> tuple[Stream, ...]:
    items: list[Measurement | Outcome] = [*results.measurements, *results.outcomes]
    if not any(item.case.kind == KINDS[1] for item in items):
        raise NothingToReportError(
            f"these files hold no stream cut into windows; measure one with `{MEASURE}`"
        )
    sections = build(filters.chosen(results, options), kind=KINDS[1]).sections
    found = streams(sections, learned, "" if learned is None else words(learned))
    if not any(stream.windows for stream in found):
        told = [each for stream in found for each in without_time(stream.backends)]
        raise NothingToReportError(f"no window has a time: {'; '.join(dict.fromkeys(told))}")
    return found


def _named(output: Path, found: Sequence[Stream]) -> list[tuple[Path, Stream]]:
    """A file for each stream: the one asked for, or several, with the shapes in their names."""
    if len(found) == 1:
        return [(output, found[0])]
    named: dict[str, Stream] = {}
    for stream in found:
        case = stream.table.rows[0].case
        shape = f"b{case.workload.batch}-i{case.spec.input_size}-h{case.spec.hidden_size}"
        device = "".join(letter for letter in case.device[:20] if letter.isalnum())
        name = f"{output.stem}-{shape}-{case.workload.mode}-{device}"
        number = 2
        while name in named:
            name = f"{name.removesuffix(f'-{number - 1}')}-{number}"
            number += 1
        named[name] = stream
    return [(output.with_name(f"{name}{output.suffix}"), each) for name, each in named.items()]
