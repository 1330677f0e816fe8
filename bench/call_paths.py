"""``python -m bench.call_paths``: what a call costs, by how the model is called, from results.

Reads results of cases that differ in their number of timesteps, and says for each backend what a
call costs whatever its length and what each timestep adds. This room knows the command; the line
is ``reporting.call_cost``'s. No framework.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.console import Console

from bench.cli import arguments, command_line, filters, output
from bench.cli.progress import asked_for
from bench.render import along
from bench.render.along import Calls
from bench.render.escape import prose
from bench.render.labels import heading, name
from bench.render.quantities import shape_words
from bench.render.table import records
from bench.stats.ranking import build
from bench.stats.rows import NothingToReportError

FORMATS = ("terminal", "markdown", "csv")
MEASURE = "python -m bench.run call-paths --processes 6"

EPILOG = f"""\
exit codes:
  0  what calls cost was written
  2  bad input: an option, a file that cannot be read (the good files beside it are still
     shown), or no case measured at three lengths or more

A line, fixed + per timestep * T, is fitted to each process's times, in relative errors; its
intervals are over the processes. Measured by
{MEASURE}
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _call_paths, words)


def _call_paths(options: argparse.Namespace) -> int:
    (results,) = filters.read(options, asked_for(options.paths, MEASURE))
    sections = build(results).sections
    found = along.calls(sections, options.baseline)
    if not found:
        raise NothingToReportError(
            f"no case was measured at three lengths or more; measure some with `{MEASURE}`"
        )
    output.as_asked(
        options,
        lambda console: _terminal(found, console),
        {
            "markdown": lambda: _markdown(found),
            "csv": lambda: records(along.RECORD, along.call_records(found)),
        },
    )
    return command_line.BAD_INPUT if results.errors else 0


def _title(found: Calls) -> str:
    case = found.row.case
    lengths = sorted({each for cost in found.costs for each in cost.timesteps})
    batch, sizes, *rest = shape_words(case)
    words = [
        f"{name(case.device)}, {case.workload.mode}: {batch.partition(' × ')[0]}",
        sizes,
        *rest,
        f"{', '.join(map(str, lengths))} steps",
    ]
    return ", ".join(words)


def _terminal(found: Sequence[Calls], console: Console) -> None:
    for each in found:
        console.print(f"{heading(each.section)}\n{_title(each)}", markup=False, highlight=False)
        console.print(along.call_table(each).grid(heading=16))
        console.print()
    for line in along.call_notes(found):
        console.print(line, markup=False, highlight=False)


def _markdown(found: Sequence[Calls]) -> str:
    parts = []
    for each in found:
        parts += [f"{prose(_title(each))}:", along.call_table(each).markdown()]
    # What is alike below all tables, once.
    told = (heading(found[0].section), *along.call_notes(found))
    parts += [f"{prose(line)}." for line in told]
    return "\n\n".join(parts) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "call_paths", "What a call costs: so much each, so much a timestep; from results.", EPILOG
    )
    command_line.add_result_paths(parser, "the newest run")
    baseline = "the backend that ratios refer to (default: model(x))"
    arguments.add_values(parser, ("baseline", "NAME", str, baseline))
    arguments.add_output(parser, FORMATS, by_name=True)
    filters.add(parser)
    return parser


if __name__ == "__main__":
    command_line.end(main)
