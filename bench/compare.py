"""``python -m bench.compare``: which cases became faster or slower, between what.

The command; ``comparing.asked`` joins, judges and shows two sets of results. Two environments are
first measured, by ``session.interleaved``.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from pathlib import Path

from bench.cli import arguments, command_line, filters
from bench.comparing import asked, two_environments
from bench.stats.latency import PARTS
from bench.stats.rows import USUAL_BASELINES

FORMATS = ("terminal", "markdown", "csv", "json")
PICTURES = ("svg", "png")  # of the maps of two devices
EPILOG = """\
exit codes:
  0  the comparison was made, and no --fail-on rule was broken
  1  a case broke the --fail-on rule
  2  bad input, whatever else was found: an option, a file that cannot be read (the good
     files beside it are still shown), nothing that --fail-on could have judged; or the
     output cannot be written

verdicts: FASTER and SLOWER where the 99.5% interval of time_new / time_base excludes 1,
SAME where it lies within 2% of 1, else UNCLEAR. --fail-on corrects for the number of cases
(Holm): where nothing became slower it fails in at most 1 of 400 runs, from 6 processes on. It
counts cases that are marked INVALID too, and says so: else it would pass whenever the machine was
busy.
docs/verdicts.md has the reasons and the rates.
"""

SUITE = "quick"

_ENVIRONMENTS = "measure two Python environments here, in turn, and compare them"
ENVIRONMENTS_EPILOG = """\
A process of BASE and one of NEW take turns, so that what slows the machine slows both; each such
pair gives one ratio. What differs between the packages of the two is told first.

exit codes:
  0    the comparison was made, and no --fail-on rule was broken
  1    a case broke the --fail-on rule
  2    bad input: an option, an environment without this suite, another run that measures here;
       or nothing could be measured or judged
  130  stopped by Ctrl-C or SIGTERM; what was finished is kept, and the folder shows it
"""

PUBLISHED_EPILOG = """\
exit codes:
  0  the times were shown, or there is no shared shape
  2  bad input: an option, a file that cannot be read (the good files beside it are still shown)

Published times are other people's, on other machines: no ratio and no verdict is made of them.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    work = functools.partial(asked.compare, measure=_measured)
    return command_line.run(_parser(), work, words, interrupted="stopped")


def _measured(options: argparse.Namespace) -> Path:
    from bench.session import interleaved  # what measures is not loaded to compare

    return interleaved.measured(options)


def _add_shown(parser: argparse.ArgumentParser, pictures: Sequence[str]) -> None:
    """What is shown, and of which results."""
    note = "svg and png draw the maps, with matplotlib" if pictures else ""
    arguments.add_output(parser, (*FORMATS, *pictures), note)
    arguments.add_unmeasured(parser)
    filters.add(parser)


def _add_rule(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fail-on",
        metavar="RULE",
        help="exit with 1 if a case is SLOWER (slower), or SLOWER by more than 5%% (slower:5%%)",
    )
    parser.add_argument(
        "--percentile",
        metavar="P",
        type=float,
        choices=PARTS,
        help="compare this percentile of the latency of streams' calls, not medians: "
        f"{', '.join(f'{part:g}' for part in PARTS)}",
    )


def _add_environments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="ENVIRONMENT",
        help="BASE and NEW, each the folder of a virtual environment or a Python in which this "
        "suite is installed; or one folder of results that this command has left",
    )
    group = parser.add_argument_group("measuring", "as of bench.run")
    group.add_argument("--suite", help=f"what to measure (default: {SUITE})")
    processes = f"processes in each environment (default: {two_environments.PROCESSES})"
    arguments.add_values(group, ("processes", "N", arguments.whole(1, 10_000), processes))
    for name, kind, told in (
        ("seconds", arguments.seconds, "of measuring for each case in each process"),
        ("case-limit", arguments.seconds, "end a process whose case takes longer"),
        ("threads", arguments.whole(1, 4096), "threads for every framework"),
        ("seed", arguments.whole(0, 2**53), "of weights, inputs and every random order"),
        ("results", str, "folder for the results, a new one"),
    ):
        arguments.add_values(group, (name, name.upper(), kind, told))
    arguments.add_flags(
        group,
        resume="go on with the one folder that is named, with the same two environments; only "
        "--processes, --case-limit, --wait and --force go with it",
    )
    arguments.add_flags(
        group.add_mutually_exclusive_group(),
        wait="wait while another run measures here",
        force="measure beside it all the same",
    )


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "compare", "The ratio of each shared case with its interval, and a verdict.", EPILOG
    )
    commands = parser.add_subparsers(
        dest="what", required=True, metavar="{devices,runs,backends,environments,published}"
    )

    def command(
        name: str, told: str, epilog: str = EPILOG, pictures: Sequence[str] = (), ruled: bool = True
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=told,
            description=told[0].upper() + told[1:] + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        _add_shown(added, pictures)
        if ruled:
            _add_rule(added)
        return added

    of_machines = "compare CPU and GPU of a machine, and machine with machine"
    devices = command("devices", of_machines, pictures=PICTURES)
    command_line.add_result_paths(devices)
    devices.add_argument(
        "--baseline", metavar="DEVICE", help="compare all with this one: cpu, or 'cpu on HOST'"
    )
    runs = command("runs", "compare new runs with older ones, the largest change first")
    runs.add_argument("base", metavar="BASE", help="result file or folder of the older runs")
    runs.add_argument("new", metavar="NEW", help="result file or folder of the newer runs")
    backends = command("backends", "compare the backends of each shape, mode and device")
    command_line.add_result_paths(backends)
    usual = f"the backend to compare with (default: {', or '.join(USUAL_BASELINES)} if measured)"
    arguments.add_values(backends, ("baseline", "NAME", str, usual))
    _add_environments(command("environments", _ENVIRONMENTS, ENVIRONMENTS_EPILOG))
    beside = "show times beside published ones of the same shapes"
    command_line.add_result_paths(command("published", beside, PUBLISHED_EPILOG, ruled=False))
    return parser


if __name__ == "__main__":
    command_line.end(main)
