"""``python -m bench.run SUITE``: measure a suite in fresh processes until intervals are narrow."""

import argparse
import functools
import signal
from collections.abc import Sequence

from bench import case as suites
from bench.case import Suite
from bench.cli import arguments, command_line
from bench.cli.command_line import UsageError
from bench.cli.options import DEFAULT_SUITE, add_run_options
from bench.machine.lock import check_system
from bench.machine.reading import DEFAULT_FOLDER, RESULTS_VARIABLE
from bench.render.escape import text_console
from bench.render.quantities import count
from bench.session import measure
from bench.session.measure import BUDGET
from bench.session.progress import MEASURED, run_reporting_errors
from bench.session.session import PRECISION
from bench.stats.intervals import ENOUGH_PROCESSES

EPILOG = f"""\
It ends when the interval of every case is narrow enough (judged at {ENOUGH_PROCESSES} processes
or more), or when the budget is spent. Times are numbers with s, m or h: 90s, 10m, 1h30m.

exit codes:
  0    every case was measured, or cannot be measured here (no such device, not installed,
       refused by its backend); an unreliable result is marked, and is no error
  1    a case failed, crashed or took longer than its limit, or a worker process could not
       measure at all; the others were measured
  2    bad input
  3    the results cannot be written: a full disk, an unwritable folder
  4    another run measures on this machine (--wait waits for it, --force goes on)
  5    the budget was spent before every case was measured at least once, or in as many
       processes as --processes asked for
  130  stopped by Ctrl-C or SIGTERM; what was finished is kept, and --resume goes on

docs/running.md explains how it measures, docs/scale.md how on many machines.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    options = _parser().parse_args(arguments)
    options.suite = options.suite or options.named
    command_line.write_any_letter()
    return run_reporting_errors(
        functools.partial(_run, options),
        held="--wait waits for it, --force measures anyway",
        stopped="stopped; nothing was being measured",
    )


def _run(options: argparse.Namespace) -> int:
    if options.list:
        if options.ray is not None:
            raise UsageError("--ray measures, and --list does not: give one of them")
        return _list(options.suite)
    check_system()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    run = measure.run if options.ray is None else measure.run_cluster
    if options.python or (
        options.resume is not None and measure.holds_environments(options.results)
    ):
        if options.ray is not None:
            raise UsageError("--ray does not go with --python: both would start the processes")
        run = measure.run_environments
    return run(options, text_console(soft_wrap=True))


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _list(suite: str | None) -> int:
    if suite is not None:
        return _list_cases(suites.load(suite))
    found = {name: suites.load(name) for name in suites.available()}
    width = max(map(len, found))
    for name, each in found.items():
        print(f"{name:{width}}  {count(len(each.cases), 'case'):>11}  {each.summary}")
    return MEASURED


def _list_cases(suite: Suite) -> int:
    print(f"{suite.name}: {count(len(suite.cases), 'case')}. {suite.summary}")
    for case in suite.cases:
        print(f"  {case.id}")
    return MEASURED


# -- the command line


def _parser() -> arguments.Parser:
    parser = arguments.parser(
        "run", "Measure a suite in fresh processes until its intervals are narrow.", EPILOG
    )

    which = parser.add_mutually_exclusive_group()
    suite = f"a suite of the package or the path of a TOML file (default: {DEFAULT_SUITE})"
    which.add_argument("suite", nargs="?", metavar="SUITE", help=suite)
    which.add_argument("--suite", dest="named", metavar="SUITE", help="the same, as an option")
    place = f"folder, or URL to copy to at the end (default: ${RESULTS_VARIABLE}, {DEFAULT_FOLDER})"
    budget = f"time for all (default: {BUDGET / 60:g}m; none with --processes)"
    arguments.add_values(
        parser,
        ("budget", "TIME", arguments.seconds, budget),
        (
            *("precision", "PERCENT", arguments.percentage),
            "largest half-width of every median's 95%% interval over processes (default: "
            f"{PRECISION:.0%}%)",
        ),
        (
            *("processes", "N", arguments.integer(1, 10_000)),
            "measure each case in N processes, whatever its interval",
        ),
        ("results", "DIR", str, place),
    )
    add_run_options(parser)
    for name, metavar, text in (
        ("resume", "SESSION", "resume this session, or the newest that is unfinished"),
        (
            *("ray", "ADDRESS"),
            "measure on all machines of the Ray cluster at this address (HOST:PORT, "
            "ray://HOST:PORT or auto), in one session for each kind of machine; without an address "
            "on this machine through Ray",
        ),
    ):
        parser.add_argument(f"--{name}", nargs="?", const="", metavar=metavar, help=text)
    twice = (
        "given twice: measure in this Python or virtual environment and in the other, a process of "
        "each in turn (default: 10), for python -m bench.compare environments"
    )
    arguments.add_values(parser, ("python", "ENVIRONMENT", str, twice), action="append")
    arguments.add_flags(
        parser,
        list="list the suites, or the cases of SUITE, and end",
        brief="at the end say only what could not be measured",
    )
    busy = parser.add_mutually_exclusive_group()
    arguments.add_flags(
        busy, wait="wait while another run measures here", force="measure although another run does"
    )
    return parser


if __name__ == "__main__":
    command_line.end(main)
