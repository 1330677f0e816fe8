"""``python -m bench.compare``: which cases became faster or slower, between what.

The command; ``comparing`` joins, judges and shows two sets of results. Two environments are first
measured, by ``running.in_turn``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.comparing import beside_published, output, published_words, two_environments
from bench.comparing.backends import compare_backends
from bench.comparing.comparison import Report, judge, parse_rule
from bench.comparing.devices import compare_devices
from bench.comparing.percentiles import at_percentile
from bench.comparing.runs import compare_runs
from bench.comparing.sides import path_words
from bench.disk.fields import ResultError
from bench.judging.latency import PARTS
from bench.judging.rows import USUAL_BASELINES
from bench.results.only import FILTERS
from bench.results.schema import Results
from bench.suites import published
from bench.telling import arguments, command_line, deliver, filters, unmeasured
from bench.telling.command_line import UsageError
from bench.telling.progress import Progress, asked_for

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
    return command_line.run(_parser(), _compare, words, interrupted="stopped")


def _compare(options: argparse.Namespace) -> int:
    target = deliver.Target(options.output, os.environ)
    deliver.check(options.format, target)
    if options.what == "published":
        return _published(options, target)
    rule = None if options.fail_on is None else parse_rule(options.fail_on)
    report, whole = _compared(options)
    report = replace(report, list_unmeasured=options.unmeasured)
    if options.percentile is not None:
        of = f"{report.title}: p{options.percentile:g} of the latency of streams' calls"
        report = replace(report, title=of)
    if rule is not None:
        report = replace(report, gate=judge(rule, report.rows))
    output.show(report, options.format, target)
    if rule is not None and not report.rows:
        raise UsageError(f"--fail-on {rule.text}: there is no shared case to judge")
    if not whole:
        return command_line.BAD_INPUT
    return 1 if report.gate is not None and report.gate.failed else 0


def _published(options: argparse.Namespace, target: deliver.Target) -> int:
    made_by = "pytest --benchmark-only --lstm-suite braun"
    (results,) = filters.read(options, asked_for(options.paths, made_by))
    theirs = published.steps(published.read())
    report = beside_published.beside_published(results, theirs)
    report = replace(report, list_unmeasured=options.unmeasured)
    published_words.show(report, options.format, target)
    return command_line.BAD_INPUT if results.errors else 0


def _compared(options: argparse.Namespace) -> tuple[Report, bool]:
    """The report, and whether all files could be read."""
    if options.what == "runs":
        base, new = _read(options, [options.base], [options.new])
        with Progress("comparing"):
            report = compare_runs(base, new)
        title = f"NEW ({path_words(options.new)}) against BASE ({path_words(options.base)})"
        return replace(report, title=title), not (base.errors or new.errors)
    if options.what == "environments":
        return _environments(options)
    (results,) = _read(options, asked_for(options.paths))
    make = {"devices": compare_devices, "backends": compare_backends}[options.what]
    with Progress("comparing"):
        return make(results, options.baseline), not results.errors


def _environments(options: argparse.Namespace) -> tuple[Report, bool]:
    """Two environments, measured now; or what such a measurement has left in a folder."""
    if len(options.paths) > 2:
        raise UsageError("two environments are compared: BASE and NEW")
    measured = options.resume or len(options.paths) == 2
    if measured:
        from bench.running import in_turn  # what measures is not loaded to compare

        folder = in_turn.measured(options)
    else:
        folder = Path(options.paths[0])
    try:
        sides = two_environments.load(folder)
    except ResultError as wrong:
        raise UsageError(str(wrong)) from None
    # What was just measured is what was asked for.
    names: Iterable[str] = () if measured else FILTERS
    base, new = _read(options, *([folder / side] for side in two_environments.SIDES), names=names)
    with Progress("comparing"):
        report = two_environments.compare_environments(base, new, sides)
    return report, not (base.errors or new.errors)


def _read(
    options: argparse.Namespace,
    *places: Sequence[str | os.PathLike[str]],
    names: Iterable[str] = FILTERS,
) -> list[Results]:
    found = filters.read(options, *places, names=names)
    part = options.percentile
    return found if part is None else [at_percentile(each, part) for each in found]


def _add_shown(parser: argparse.ArgumentParser, pictures: Sequence[str]) -> None:
    """What is shown, and of which results."""
    note = "svg and png draw the maps, with matplotlib" if pictures else ""
    arguments.add_output(parser, (*FORMATS, *pictures), note)
    unmeasured.add_option(parser)
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
