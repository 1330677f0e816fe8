"""``python -m bench.learning``: what can be learned through a truncation window, as a map d x k.

The command: options and exit codes. What they ask for, trainings, processes, tables and pictures
are in ``windows.learning``, the files in ``results.maps``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import lstm_impl
from bench.cli import arguments, command_line
from bench.echo import asked, words
from bench.echo.plan import BATCH, HIDDEN, LEARNING_RATE, Plan
from bench.echo.settings import STRIDE
from bench.machine.crew import CrewError

FORMATS = ("terminal", "markdown", "csv", "json", *asked.PICTURES)

DESCRIPTION = """\
Train LSTMs on tasks that need an input d timesteps later, through truncation windows of k
timesteps, and map which are learned: near k = d it stops. Two tasks with a known optimum: the
echo of a stream of bits, and copy memory (a symbol now and then, asked for d steps later).
"""

EPILOG = """\
Every cell sees the same number of timesteps, so a smaller window makes more updates; the
tables say how many. No input is seen twice, so the loss in training is the loss on new data.

Ctrl-C stops within a moment and loses at most the cells in flight; --resume goes on.

exit codes:
  0    done, or out of its --budget
  1    a training failed, or --agree found a backend that does not train the same
  2    an option or a file that makes no sense; one line says which
  130  stopped by Ctrl-C
"""


def _listed(values: Sequence[object]) -> str:
    return ",".join(map(str, values))


def _each(values: dict[str, int] | dict[str, float]) -> str:
    return ", ".join(f"{task}: {value}" for task, value in values.items())


def _parser() -> arguments.Parser:
    parser = arguments.parser(
        "learning", DESCRIPTION, EPILOG, allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    _add_plan(parser.add_argument_group("what is trained"), Plan())
    how = parser.add_argument_group("how")
    arguments.add_values(
        how,
        ("results", "DIR", Path, "where the map goes (results)"),
        ("jobs", "N", int, "trainings side by side (the cores)"),
    )
    arguments.add_flags(how, resume="go on with the newest unfinished map")
    budget = "start no cell after this: 90s, 10m, 1h"
    arguments.add_values(how, ("budget", "TIME", arguments.seconds, budget))
    _add_shown(parser.add_argument_group("what is shown instead"))
    return parser


def _add_plan(plan: argparse._ArgumentGroup, usual: Plan) -> None:
    add, flag = arguments.add_values, arguments.add_flags
    add(
        plan,
        ("tasks", "LIST", arguments.names, f"of the tasks ({_listed(usual.tasks)})"),
        ("distances", "LIST", arguments.wholes, f"d ({_listed(usual.distances)})"),
        ("windows", "LIST", arguments.wholes, f"k ({_listed(usual.windows)})"),
    )
    flag(
        plan.add_mutually_exclusive_group(),
        carried="only with the state carried from window to window",
        reset="only with the state reset at each window",
        both="one beside the other (the default)",
    )
    add(
        plan,
        ("seeds", "N", int, f"trainings of each cell ({usual.seeds})"),
        ("timesteps", "N", int, f"of each series, seen once ({usual.timesteps})"),
        ("batch", "N", int, f"series side by side ({_each(BATCH)})"),
        ("hidden", "N", int, f"units of the LSTM ({_each(HIDDEN)})"),
        ("learning-rate", "RATE", float, f"of Adam ({_each(LEARNING_RATE)})"),
        ("stride", "N", int, STRIDE),
    )
    flag(plan, blanks="copy memory asks for a blank wherever no symbol is wanted (for nothing)")
    add(
        plan,
        ("backend", "ID", str, f"how the LSTMs are computed ({usual.backend})"),
        ("device", "NAME", str, f"cpu, gpu:0, ... ({usual.device})"),
    )


def _add_shown(shown: argparse._ArgumentGroup) -> None:
    shown.add_argument(
        "--show",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="the newest map in these files and folders (the results folder); of it only the "
        "--tasks, --distances, --windows and states that are named",
    )
    arguments.add_output(shown, FORMATS, by_name=True)
    shown.add_argument(
        "--values",
        choices=words.VALUES,
        help="closed: per cent of the way from the memoryless loss to the best possible; loss: "
        "beside the best possible; accuracy (closed)",
    )
    add = arguments.add_values
    add(shown, ("picture", "FILE", Path, "draw the map, a .svg, .png or .pdf"))
    arguments.add_flags(
        shown,
        agree="train the echo task with every backend that is available and compare their curves",
    )
    add(shown, ("backends", "LIST", arguments.names, "with --agree: these backends"))


def main(given: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    unable = lstm_impl.UnsupportedError, CrewError, OSError
    told = "stopped at once; finished cells are in the journal"
    return command_line.run(_parser(), _learning, given, *unable, interrupted=told)


def _learning(options: argparse.Namespace) -> int:
    asked.check(options)
    if "show" in options:
        return asked.show_newest(options)
    if "agree" in options:
        from bench.echo import rounding

        return rounding.command(getattr(options, "backends", None))
    return asked.train(options)


if __name__ == "__main__":
    command_line.end(main)
