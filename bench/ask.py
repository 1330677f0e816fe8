"""``python -m bench.ask``: say which backend is fastest here for a shape, and by how much.

``session.query`` looks for results or measures them; ``render.messages`` writes the answer.
"""

import argparse
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.case.cases import Case
from bench.cli import arguments, command_line, output
from bench.cli.command_line import UsageError
from bench.machine import devices
from bench.machine.lock import HeldError, LockError, MachineLock, check_system
from bench.machine.reading import DEFAULT_FOLDER, RESULTS_VARIABLE
from bench.machine.writing import ResultWriteError
from bench.render import report as shown
from bench.render.escape import clean
from bench.render.messages import ASK_OPTIONS, answer, reason_line
from bench.render.table import Document
from bench.session import query
from bench.session.query import Surroundings
from bench.verdicts.sections import Section
from lstm_impl.cell import DEFAULT as DEFAULT_CELL
from lstm_impl.cell import list_cells
from lstm_impl.spec import PRECISIONS, UnsupportedError
from lstm_impl.workload import OPTIMIZERS, SEQUENCE_MODES

ANSWERED, NOT_ANSWERED = 0, 1
BUDGET = 120.0
"""Seconds of the whole command."""

HELD = 4
"""Exit code while another run measures here, of this command and of ``bench.run``."""

MEASURED_NOTHING = 3, HELD
"""Exit codes of ``bench.run`` after which its results are not new: it could not write, or HELD."""

LEAST = 20.0
"""Seconds in which each backend of a shape can be measured in one process on two cores."""

ANSWERING = 4.0
"""Seconds of it for starting to measure and for answering."""

EPILOG = f"""\
exit codes:
  0    answered
  1    no answer: fewer than two backends could be measured; the lines say why
  2    bad input
  4    another run measures on this machine (--wait waits for it, --force goes on)
  130  stopped by Ctrl-C

Results of this machine that have the shape answer at once, with their date, unless they lack one
of the backends or one is INVALID; --again measures it again. Else the usual backends are measured,
in fresh processes and alternating blocks, as python -m bench.run does. The results are in
${RESULTS_VARIABLE} or {DEFAULT_FOLDER}/, with the suite in its folder asked/, so that more
processes can be added:
python -m bench.run {DEFAULT_FOLDER}/asked/NAME.toml --processes 10.

A training step is the forward pass and the gradients of the weights; with --optimizer their update
too. With --model every LSTM of a Keras model is queried, with this batch and these steps; none
of its code is run.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    # The library raises a plain ValueError for what no LSTM can be.
    bad = ResultWriteError, LockError, UnsupportedError, ValueError
    return command_line.run(_parser(), _answered, words, *bad, interrupted="")


def _answered(options: argparse.Namespace) -> int:
    console, here = output.console(), Surroundings()
    end = here.now() + options.budget
    queries = query.queries(options)
    sections = {}
    if options.paths or not options.again:
        sections = {case: query.look_up(case, options, sound=not options.paths) for case in queries}
    missing = [case for case in queries if not options.paths and sections.get(case) is None]
    if missing:
        check_system()
        if unavailable := devices.explain_missing(missing[0].device):
            raise UsageError(reason_line(unavailable))
        _check_budget(options.budget, len(missing))
        try:
            _wait_for_lock(options, console)
        except HeldError as error:
            text = f"{error}; --wait waits for it, --force measures anyway"
            return command_line.failed(text, HELD)
    lacking = {each: None for case in missing for each in query.not_installed(case, options)}
    if lacking:
        console.print(
            f"not installed: {', '.join(lacking)}; {command_line.typed('doctor')} says how"
        )
    if missing and not lacking:
        query.wait_until_quiet(query.WAIT_SHARE * options.budget, console, here)
    codes = []
    for case, layers in queries.items():
        if layers:
            console.print(f"{layers}: {query.describe(case)}", style="bold")
        if case in missing and not lacking:
            left = len(missing) - missing.index(case)
            seconds = max(1.0, (end - here.now()) / left - ANSWERING)
            code = query.measure(case, options, console, seconds)
            if code == command_line.BAD_INPUT:
                return code  # bench.run has said what is wrong
            if code in MEASURED_NOTHING:
                codes.append(_explain_failure(case, sections.get(case), code, console))
                continue
            sections[case] = query.look_up(case, options)
        codes.append(_answer(case, sections.get(case), options, console))
        if case not in missing and not options.paths:
            console.print("These results were available; --again measures it again.")
    return max(codes)


def _check_budget(budget: float, count: int) -> None:
    """Raise UsageError if the budget is too short for this number of shapes."""
    needed = math.ceil(count * (LEAST + ANSWERING))
    if count > 1 and budget < needed:
        raise UsageError(
            f"--budget {budget:.0f}s is too short to measure {count} shapes: "
            f"use --budget {needed}s, or more for narrower intervals"
        )


def _wait_for_lock(options: argparse.Namespace, console: Console) -> None:
    """Make sure that no other run measures here. Raises HeldError, LockError.

    The lock is released again: ``bench.run`` takes it.
    """
    if options.force:
        return
    with MachineLock() as lock:
        if options.wait:
            lock.wait("bench.ask", lambda text: console.print(clean(text), markup=False))
        else:
            lock.acquire("bench.ask")


def _explain_failure(case: Case, old: Section | None, code: int, console: Console) -> int:
    """Say that a query was not measured, and return the exit code."""
    why = (
        "another run began to measure on this machine; --wait waits for it"
        if code == HELD
        else "the results could not be written; the lines above say why"
    )
    console.print(f"No new answer for {query.describe(case)}: {why}.")
    if old is not None:
        console.print("Earlier results of this machine have an answer: leave out --again.")
    return HELD if code == HELD else NOT_ANSWERED


def _answer(
    case: Case, section: Section | None, options: argparse.Namespace, console: Console
) -> int:
    if section is None:
        why = (
            "these results have fewer than two backends at this shape; leave the paths out to "
            "measure it here"
            if options.paths
            else "fewer than two backends could be measured; the lines above say why"
        )
        console.print(f"No answer for {query.describe(case)}: {why}.")
        return NOT_ANSWERED
    if not options.brief:
        Document(shown.measurements(section, len(section.rows))).terminal(console)
        console.print()
    for line in answer(section, ASK_OPTIONS):
        console.print(textwrap.fill(line, console.width), style="bold", soft_wrap=True)
    return ANSWERED


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "ask", "Which backend for my shape, on this machine: two minutes, two lines.", EPILOG
    )
    size, add = arguments.SIZE, arguments.add_values
    text = "answer from these result files or folders only, of whatever machine; measure nothing"
    parser.add_argument("paths", nargs="*", metavar="PATH", help=text)
    add(
        parser,
        ("batch", "N", size, "sequences side by side"),
        ("steps", "N", size, "timesteps of each"),
        required=True,
    )
    add(
        parser,
        ("hidden", "N", size, "units of the layer"),
        ("input", "N", size, "features of a timestep (default: as many as units)"),
    )
    arguments.add_with_default(parser, ("layers", "N", size, 1, "stacked"))
    arguments.add_flags(parser, bidirectional="both directions")
    model = "a .keras file: ask about each of its LSTM layers"
    add(parser, ("model", "FILE", Path, model))
    arguments.add_choice(parser, "mode", SEQUENCE_MODES, default="training")
    arguments.add_choice(parser, "optimizer", OPTIMIZERS, "update the weights with it, too")
    add(parser, ("window", "K", size, "cut the steps into windows, the state carried"))
    arguments.add_choice(parser, "dtype", PRECISIONS, default="float32")
    arguments.add_choice(parser, "cell", list_cells(), default=DEFAULT_CELL.name)
    arguments.add_with_default(parser, ("device", "NAME", str, "cpu", "cpu, gpu:0, ..."))
    add(
        parser,
        ("backends", "NAMES", arguments.names, "which to measure (default: the usual ones)"),
        (
            *("variant", "NAMES", arguments.names),
            "also these variants of the backends that have them, such as int8",
        ),
        ("baseline", "NAME", str, "what to compare with (default: keras)"),
        ("processes", "N", arguments.integer(1, 10_000), "of each backend, whatever the intervals"),
        ("seed", "N", arguments.integer(0, 2**53), "as of bench.run (default: newest published)"),
    )
    budget = f"for the whole command (default: {BUDGET:.0f}s)"
    add(parser, ("budget", "TIME", arguments.seconds, budget), default=BUDGET)
    brief = "only the answer, without its table"
    arguments.add_flags(parser, brief=brief, again="measure in any case")
    busy = parser.add_mutually_exclusive_group()
    arguments.add_flags(
        busy, wait="wait while another run measures here", force="measure although another run does"
    )
    return parser


if __name__ == "__main__":
    command_line.end(main)
