"""Compare runs, devices, backends or environments case by case: ``python -m bench.compare``."""

import argparse
import functools
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.case import published
from bench.cli import arguments, command_line, filters, output
from bench.cli.command_line import UsageError
from bench.cli.filters import parse_rule
from bench.cli.progress import Progress, find_result_paths, is_reference
from bench.machine import packages
from bench.machine.fields import ResultError, printable
from bench.records.schema import Results
from bench.render import compare as shown
from bench.render import published as published_shown
from bench.render.labels import REFERENCE_TITLE
from bench.stats.latency import PARTS
from bench.verdicts import pairs
from bench.verdicts.sections import USUAL_BASELINES, build

FORMATS = ("terminal", "markdown", "csv", "json")
EPILOG = """\
exit codes:
  0  the comparison was made, and no case broke the --fail-on rule
  1  a case broke the --fail-on rule
  2  bad input: a wrong option, a file that cannot be read (the other files are still shown),
     nothing that --fail-on could judge, or an output that cannot be written

A case is FASTER or SLOWER if the 99.5% interval of time_new / time_base excludes 1. It is SAME if
the interval lies within 2% of 1, and UNCLEAR otherwise. --fail-on corrects for the number of cases
(Holm's method): if nothing became slower, at most 1 of 400 runs fails, from 6 processes on. The
rule also counts INVALID cases; without them it would pass whenever the machine was busy.
docs/verdicts.md gives the reasons and the error rates.
"""

_ENVIRONMENTS = "compare two Python environments whose processes alternated on this machine"
ENVIRONMENTS_EPILOG = f"""\
python -m bench.run SUITE --python BASE --python NEW measures two environments. Their processes
alternate, so that a slow machine slows both, and each pair of processes gives one ratio. The
comparison first lists the packages whose versions differ.

{EPILOG}"""

PUBLISHED_EPILOG = """\
exit codes:
  0  the times were shown, or the results share no shape with a published time
  2  bad input: a wrong option, or a file that cannot be read (the other files are still shown)

Published times come from other people's machines. The command therefore makes no ratio and no
verdict of them.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _compare, argv, interrupted="stopped")


def _compare(options: argparse.Namespace) -> int:
    """Show the comparison and return the exit code.

    Raises UsageError, and the errors of ``filters.read_selected``.
    """
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if options.what == "published":
        return _compare_published(options, summary)
    rule = None if options.fail_on is None else parse_rule(options.fail_on)
    report, complete = _build_report(options)
    if rule is not None:
        report = replace(report, gate=pairs.judge(rule, report.rows))
    output.deliver(
        options,
        shown.document(report).terminal,
        shown.texts(report),
        summary,
        functools.partial(shown.warning_lines, report),
    )
    if rule is not None and not report.rows:
        raise UsageError(
            f"--fail-on {rule.text}: the two sides share no case, so there is nothing to judge"
        )
    if not complete:
        return command_line.BAD_INPUT
    return 1 if report.gate is not None and report.gate.failed else 0


def _compare_published(options: argparse.Namespace, summary: str | None) -> int:
    made_by = "pytest --benchmark-only --lstm-suite braun"
    (results,) = filters.read_selected(options, find_result_paths(options.paths, made_by))
    theirs = published.steps(published.read())
    report = published_shown.with_published(build(results), theirs)
    if is_reference(options.paths, results):
        report = replace(report, notes=(f"{REFERENCE_TITLE}.", *report.notes))
    document = published_shown.document(report, options.unmeasured)
    texts = published_shown.texts(report, document)
    output.deliver(options, document.terminal, texts, summary)
    return command_line.BAD_INPUT if results.errors else 0


def _build_report(options: argparse.Namespace) -> tuple[pairs.ComparisonReport, bool]:
    """Return the comparison, and whether every file could be read."""
    sides = None
    if options.what == "runs":
        found = filters.read_selected(options, [options.base], [options.new])
    elif options.what == "environments":
        folder, sides = _load_environments(options)
        found = filters.read_selected(options, *([folder / side] for side in packages.SIDES))
    else:
        found = filters.read_selected(options, find_result_paths(options.paths))
    complete, notes = not any(each.errors for each in found), []
    if options.percentile is not None:
        made = [pairs.select_percentile(each, options.percentile) for each in found]
        found = [results for results, _ in made]
        notes = [note for _, of in made for note in of]
    base, new = found[0], found[-1]
    with Progress("comparing"):
        if sides is not None:
            report = compare_environments(base, new, sides)
        elif options.what == "runs":
            title = f"NEW ({printable(options.new)}) against BASE ({printable(options.base)})"
            report = replace(pairs.compare_runs(base, new), title=title)
        else:
            make = {"devices": pairs.compare_devices, "backends": pairs.compare_backends}[
                options.what
            ]
            report = make(base, options.baseline)
            if is_reference(options.paths, base):
                report = replace(report, opening=(f"{REFERENCE_TITLE}.", *report.opening))
    title = report.title
    if options.percentile is not None:
        title += f": p{options.percentile:g} of the latency of streams' calls"
    report = replace(
        report, title=title, notes=(*report.notes, *notes), list_unmeasured=options.unmeasured
    )
    return report, complete


def _load_environments(
    options: argparse.Namespace,
) -> tuple[Path, tuple[packages.LabelledPython, packages.LabelledPython]]:
    """Return the folder with the results of two environments, and the environments."""
    if len(options.paths) != 1:
        raise UsageError(
            "expected one folder, the one with the results of both environments; "
            "python -m bench.run SUITE --python BASE --python NEW measures them"
        )
    folder = Path(options.paths[0])
    try:
        return folder, packages.load(folder)
    except ResultError as wrong:
        raise UsageError(str(wrong)) from None


def compare_environments(
    base: Results, new: Results, sides: tuple[packages.LabelledPython, packages.LabelledPython]
) -> pairs.ComparisonReport:
    """Compare each case in the new environment with the base, paired by adjacent processes."""
    names = sides[0].label, sides[1].label
    report = pairs.compare_runs(base, new, names, adjacent=True)
    differ = packages.differences(sides[0].python, sides[1].python)
    return replace(
        report,
        title=f"{names[1]} against {names[0]}, measured interleaved",
        opening=(shown.differences_line(*names, differ),),
    )


def _parser() -> argparse.ArgumentParser:
    parser = arguments.make_parser(
        "compare", "Show the ratio of each shared case with its interval and a verdict.", EPILOG
    )
    commands = parser.add_subparsers(
        dest="what", required=True, metavar="{devices,runs,backends,environments,published}"
    )

    def command(
        name: str, text: str, epilog: str = EPILOG, ruled: bool = True
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        arguments.add_output(added, (*FORMATS, "svg") if ruled else FORMATS)
        arguments.add_unmeasured(added)
        filters.add_filters(added)
        if ruled:
            rule = "exit with 1 if a case is SLOWER (slower), or by more than 5%% (slower:5%%)"
            arguments.add_values(added, ("fail-on", "RULE", str, rule))
            part = "compare this percentile of the latency of streams instead of the median time: "
            part += ", ".join(f"{each:g}" for each in PARTS)
            arguments.add_values(added, ("percentile", "P", float, part), choices=PARTS)
        return added

    of_machines = "compare the CPU and the GPU of a machine, or one machine with another"
    devices = command("devices", of_machines)
    command_line.add_result_paths(devices)
    one = "compare every device with this one: cpu, or 'cpu on MACHINE'"
    arguments.add_values(devices, ("baseline", "DEVICE", str, one))
    runs = command("runs", "compare new runs with older ones, the largest change first")
    runs.add_argument("base", metavar="BASE", help="result file or folder of the older runs")
    runs.add_argument("new", metavar="NEW", help="result file or folder of the newer runs")
    backends = command("backends", "compare the backends of each shape, mode and device")
    command_line.add_result_paths(backends)
    usual = f"the backend to compare with (default: {', or '.join(USUAL_BASELINES)} if measured)"
    arguments.add_values(backends, ("baseline", "NAME", str, usual))
    command("environments", _ENVIRONMENTS, ENVIRONMENTS_EPILOG).add_argument(
        "paths", nargs="+", metavar="FOLDER", help="the folder with both environments' results"
    )
    summary = "show times next to published times of the same shapes"
    command_line.add_result_paths(command("published", summary, PUBLISHED_EPILOG, ruled=False))
    return parser


if __name__ == "__main__":
    command_line.run_and_exit(main)
