"""``python -m bench.compare``: which cases became faster or slower, between what.

The command; ``comparing.asked`` joins, judges and shows two sets of results.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bench.cli import arguments, command_line, filters
from bench.comparing import asked
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

_ENVIRONMENTS = "compare two Python environments that were measured in turn here"
ENVIRONMENTS_EPILOG = f"""\
python -m bench.run SUITE --python BASE --python NEW measures them: a process of one and a process
of the other take turns, so that what slows the machine slows both; each such pair gives one ratio.
What differs between the packages of the two is told first.

{EPILOG}"""

PUBLISHED_EPILOG = """\
exit codes:
  0  the times were shown, or there is no shared shape
  2  bad input: an option, a file that cannot be read (the good files beside it are still shown)

Published times are other people's, on other machines: no ratio and no verdict is made of them.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), asked.compare, words, interrupted="stopped")


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
    command("environments", _ENVIRONMENTS, ENVIRONMENTS_EPILOG).add_argument(
        "paths", nargs="+", metavar="FOLDER", help="the folder of results that bench.run has left"
    )
    beside = "show times beside published ones of the same shapes"
    command_line.add_result_paths(command("published", beside, PUBLISHED_EPILOG, ruled=False))
    return parser


if __name__ == "__main__":
    command_line.end(main)
