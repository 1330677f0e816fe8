"""Measure a suite in fresh processes until its intervals are narrow: ``python -m bench.run``."""

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
from bench.session.exit_codes import MEASURED
from bench.session.measure import BUDGET
from bench.session.progress import run_reporting_errors
from bench.session.session import PRECISION
from bench.stats.intervals import ENOUGH_PROCESSES

EPILOG = f"""\
A run ends when the interval of every case is narrow enough, which is judged from
{ENOUGH_PROCESSES} processes on, or when the budget is spent. Write a time as a number with s, m
or h: 90s, 10m, 1h30m.

exit codes:
  0    every case was measured, or cannot be measured here: its device is missing, its framework is
       not installed, or its backend refuses it; an unreliable result is marked and is no error
  1    a case failed, crashed or took longer than its limit, or a worker process could not measure
       at all; the other cases were measured
  2    bad input
  3    the results cannot be written: the disk is full, or the folder is not writable
  4    another run measures on this machine (--wait waits for it, --force measures anyway)
  5    the budget was spent before every case was measured once, or in as many processes as
       --processes asked for
  130  stopped by Ctrl-C or SIGTERM; finished measurements are kept, and --resume continues

docs/running.md explains the measurement, docs/scale.md a measurement on many machines.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    options = _parser().parse_args(arguments)
    options.suite = options.suite or options.named
    command_line.write_non_ascii()
    return run_reporting_errors(
        functools.partial(_run, options),
        held="--wait waits for it, --force measures anyway",
        stopped="stopped before anything was measured",
    )


def _run(options: argparse.Namespace) -> int:
    if options.list:
        if options.ray is not None:
            raise UsageError("--ray cannot be combined with --list, which measures nothing")
        return _list(options.suite)
    check_system()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    run = measure.run if options.ray is None else measure.run_cluster
    if options.python or (
        options.resume is not None and measure.holds_environments(options.results)
    ):
        if options.ray is not None:
            raise UsageError(
                "--ray cannot be combined with --python: both start the worker processes"
            )
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
    parser = arguments.make_parser(
        "run", "Measure a suite in fresh processes until its intervals are narrow.", EPILOG
    )

    which = parser.add_mutually_exclusive_group()
    suite = f"the name of a suite or the path of a TOML file (default: {DEFAULT_SUITE})"
    which.add_argument("suite", nargs="?", metavar="SUITE", help=suite)
    which.add_argument("--suite", dest="named", metavar="SUITE", help="the same, as an option")
    place = "the folder of the results, or a URL to which they are copied at the end "
    place += f"(default: ${RESULTS_VARIABLE}, {DEFAULT_FOLDER})"
    budget = f"time for the whole run (default: {BUDGET / 60:g}m; none with --processes)"
    arguments.add_values(
        parser,
        ("budget", "TIME", arguments.parse_seconds, budget),
        (
            *("precision", "PERCENT", arguments.parse_percentage),
            "stop once the 95%% interval of every median over processes has at most this "
            f"half-width (default: {PRECISION:.0%}%)",
        ),
        (
            *("processes", "N", arguments.make_integer_parser(1, 10_000)),
            "measure each case in N processes, however narrow its interval is",
        ),
        ("results", "DIR", str, place),
    )
    add_run_options(parser)
    for name, metavar, text in (
        ("resume", "SESSION", "resume this session, or the newest unfinished one"),
        (
            *("ray", "ADDRESS"),
            "measure on all machines of the Ray cluster at this address (HOST:PORT, "
            "ray://HOST:PORT or auto), in one session for each kind of machine; with no address, "
            "measure on this machine through Ray",
        ),
    ):
        parser.add_argument(f"--{name}", nargs="?", const="", metavar=metavar, help=text)
    twice = (
        "give it twice: measure in this Python or virtual environment and in the other one, in "
        "alternating processes (default: 10 of each), for python -m bench.compare environments"
    )
    arguments.add_values(parser, ("python", "ENVIRONMENT", str, twice), action="append")
    arguments.add_flags(
        parser,
        list="list the suites, or the cases of SUITE, and exit",
        brief="print only what could not be measured at the end",
    )
    busy = parser.add_mutually_exclusive_group()
    arguments.add_flags(
        busy,
        wait="wait while another run measures here",
        force="measure even though another run does",
    )
    return parser


if __name__ == "__main__":
    command_line.run_and_exit(main)
