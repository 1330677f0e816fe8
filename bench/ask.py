"""Say which backend is fastest here for a shape, and by how much: ``python -m bench.ask``.

``session.query`` looks for existing results or measures new ones. ``render.messages`` writes the
answer.
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
from bench.session.exit_codes import HELD, INCOMPLETE, MEASURED, UNWRITABLE
from bench.session.kernels import compile_kernels
from bench.session.query import Surroundings
from bench.verdicts.sections import Section
from lstm_impl.cell import DEFAULT as DEFAULT_CELL
from lstm_impl.cell import list_cells
from lstm_impl.spec import PRECISIONS, UnsupportedError
from lstm_impl.workload import OPTIMIZERS, SEQUENCE_MODES

ANSWERED, NOT_ANSWERED = 0, 1
BUDGET = 120.0
"""The time for waiting for a quiet machine and for measuring all shapes, in seconds. Waiting for
another run and compiling the kernels come before it.
"""

MEASURED_NOTHING = UNWRITABLE, HELD
"""The exit codes of ``bench.run`` after which there are no new results: it could not write them, or
another run held the machine.
"""

LEAST = 20.0
"""The shortest time for one shape, in seconds: each backend can then be measured in one process on
two cores.
"""

ANSWERING = 4.0
"""The part of a shape's time that starting the processes and printing the answer takes, in seconds.
"""

EPILOG = f"""\
exit codes:
  0    the question was answered
  1    there is no answer: fewer than two backends could be measured; the lines say why
  2    bad input
  4    another run measures on this machine (--wait waits for it, --force measures anyway)
  130  stopped by Ctrl-C

If this machine has results for the shape, the command answers at once and gives their date. It
measures if a backend is missing in these results or is INVALID there, or with --again. It then
measures the usual backends in fresh processes and alternating blocks, as python -m bench.run does.
The results go to ${RESULTS_VARIABLE} or {DEFAULT_FOLDER}/. The suite goes to its folder asked/.
To add processes, run
python -m bench.run {DEFAULT_FOLDER}/asked/NAME.toml --processes 10.

A training step computes the forward pass and the gradients of the weights. With --optimizer it
also updates the weights. With --model the command answers for every LSTM layer of a Keras model,
with this batch size and this number of steps. It does not run any code of the model.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    # The library raises a plain ValueError for sizes that no LSTM can have.
    bad = ResultWriteError, LockError, UnsupportedError, ValueError
    return command_line.run(_parser(), _answer_queries, argv, *bad, interrupted="")


def _answer_queries(options: argparse.Namespace) -> int:
    console, here = output.make_console(), Surroundings()
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
            return command_line.report_failure(text, HELD)
    lacking = {each: None for case in missing for each in query.not_installed(case, options)}
    if lacking:
        console.print(
            f"not installed: {', '.join(lacking)}; {command_line.format_command('doctor')} says how"
        )
    if missing and not lacking:
        compile_kernels(
            [name for case in missing for name in query.measured_backends(case, options)],
            lambda text: console.print(text, markup=False),
        )
        # Neither compiling nor waiting for another run takes time from the measurement.
        end = here.now() + options.budget
        query.wait_until_quiet(query.WAIT_SHARE * options.budget, console, here)
    codes = []
    for case, layers in queries.items():
        if layers:
            console.print(f"{layers}: {query.describe(case)}", style="bold")
        code = MEASURED
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
        codes.append(_answer(case, sections.get(case), options, console, code))
        if case not in missing and not options.paths:
            console.print("These results existed already; --again measures the shape again.")
    return max(codes)


def _check_budget(budget: float, count: int) -> None:
    """Raise UsageError if the budget is too short to measure this number of shapes."""
    needed = math.ceil(count * (LEAST + ANSWERING))
    if count > 1 and budget < needed:
        raise UsageError(
            f"--budget {budget:.0f}s is too short to measure {count} shapes: "
            f"use --budget {needed}s, or more for narrower intervals"
        )


def _wait_for_lock(options: argparse.Namespace, console: Console) -> None:
    """Make sure that no other run measures on this machine. Raise HeldError or LockError otherwise.

    The lock is released again, because ``bench.run`` takes it itself.
    """
    if options.force:
        return
    with MachineLock() as lock:
        if options.wait:
            lock.wait("bench.ask", lambda text: console.print(clean(text), markup=False))
        else:
            lock.acquire("bench.ask")


def _explain_failure(case: Case, old: Section | None, code: int, console: Console) -> int:
    """Explain why a shape was not measured, and return the exit code."""
    why = (
        "another run began to measure on this machine; --wait waits for it"
        if code == HELD
        else "the results could not be written; the lines above say why"
    )
    console.print(f"No new answer for {query.describe(case)}: {why}.")
    if old is not None:
        console.print("Earlier results of this machine answer it: run again without --again.")
    return HELD if code == HELD else NOT_ANSWERED


def _answer(
    case: Case, section: Section | None, options: argparse.Namespace, console: Console, code: int
) -> int:
    """Print the answer for a shape, or why there is none, and return the exit code.

    code: the exit code of ``bench.run``, or ``MEASURED`` if the shape was not measured now.
    """
    if section is None:
        if options.paths:
            why = "these results hold fewer than two backends for this shape; run again without "
            why += "paths to measure it here"
        elif code == INCOMPLETE:
            why = f"the budget of {options.budget:.0f} s was spent before two backends were "
            why += f"measured; give more time with --budget {2 * options.budget:.0f}s"
        else:
            why = "fewer than two backends could be measured; the lines above say why"
        console.print(f"No answer for {query.describe(case)}: {why}.")
        return NOT_ANSWERED
    if not options.brief:
        Document(shown.measurements(section, len(section.rows))).terminal(console)
        console.print()
    for line in answer(section, ASK_OPTIONS):
        console.print(textwrap.fill(line, console.width), style="bold", soft_wrap=True)
    return ANSWERED


def _parser() -> argparse.ArgumentParser:
    parser = arguments.make_parser(
        "ask", "Say which backend is fastest for my shape on this machine.", EPILOG
    )
    size, add = arguments.SIZE, arguments.add_values
    text = "answer only from these result files or folders of any machine; measure nothing"
    parser.add_argument("paths", nargs="*", metavar="PATH", help=text)
    add(
        parser,
        ("batch", "N", size, "number of sequences in a batch"),
        ("steps", "N", size, "number of timesteps of each sequence"),
        required=True,
    )
    add(
        parser,
        ("hidden", "N", size, "number of units of the layer"),
        ("input", "N", size, "number of features of a timestep (default: the number of units)"),
    )
    arguments.add_with_default(parser, ("layers", "N", size, 1, "number of stacked layers"))
    arguments.add_flags(parser, bidirectional="process the sequences in both directions")
    model = "a .keras file: answer for each of its LSTM layers"
    add(parser, ("model", "FILE", Path, model))
    arguments.add_choice(parser, "mode", SEQUENCE_MODES, default="training")
    arguments.add_choice(parser, "optimizer", OPTIMIZERS, "also update the weights with it")
    add(parser, ("window", "K", size, "cut the sequences into windows of K steps, carry the state"))
    arguments.add_choice(parser, "dtype", PRECISIONS, default="float32")
    arguments.add_choice(parser, "cell", list_cells(), default=DEFAULT_CELL.name)
    arguments.add_with_default(parser, ("device", "NAME", str, "cpu", "cpu, gpu:0, ..."))
    add(
        parser,
        ("backends", "NAMES", arguments.parse_names, "measure these (default: the usual ones)"),
        (
            *("variant", "NAMES", arguments.parse_names),
            "also measure these variants, such as int8, of the backends that have them",
        ),
        ("baseline", "NAME", str, "compare with this backend (default: keras)"),
        (
            *("processes", "N", arguments.make_integer_parser(1, 10_000)),
            "measure each backend in N processes, however narrow the intervals are",
        ),
        (
            *("seed", "N", arguments.make_integer_parser(0, 2**53)),
            "the seed for bench.run (default: the newest published one)",
        ),
    )
    budget = f"time to measure, without compiling the kernels (default: {BUDGET:.0f}s)"
    add(parser, ("budget", "TIME", arguments.parse_seconds, budget), default=BUDGET)
    brief = "print only the answer, without the table"
    arguments.add_flags(parser, brief=brief, again="measure even if there are results")
    busy = parser.add_mutually_exclusive_group()
    arguments.add_flags(
        busy,
        wait="wait while another run measures here",
        force="measure even though another run does",
    )
    return parser


if __name__ == "__main__":
    command_line.run_and_exit(main)
