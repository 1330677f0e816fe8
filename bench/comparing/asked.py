"""What ``bench.compare`` is asked: options to a comparison that is made, judged and shown."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.case import published
from bench.cli import command_line, filters
from bench.cli.command_line import UsageError
from bench.cli.output import Target, check
from bench.cli.progress import Progress, asked_for
from bench.comparing import beside_published, output, published_words, two_environments
from bench.comparing.backends import compare_backends
from bench.comparing.comparison import Report, judge, parse_rule
from bench.comparing.devices import compare_devices
from bench.comparing.percentiles import at_percentile
from bench.comparing.runs import compare_runs
from bench.comparing.sides import path_words
from bench.machine.fields import ResultError
from bench.records.only import FILTERS
from bench.records.schema import Results


def compare(options: argparse.Namespace) -> int:
    """Show what is asked for; the exit code. Raises UsageError and what ``filters.read`` raises."""
    target = Target(options.output, os.environ)
    check(options.format, target)
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


def _published(options: argparse.Namespace, target: Target) -> int:
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
    """What measuring two environments in turn has left in a folder."""
    if len(options.paths) != 1:
        raise UsageError(
            "name the one folder of results; python -m bench.run SUITE --python BASE --python NEW "
            "measures two environments"
        )
    folder = Path(options.paths[0])
    try:
        sides = two_environments.load(folder)
    except ResultError as wrong:
        raise UsageError(str(wrong)) from None
    base, new = _read(options, *([folder / side] for side in two_environments.SIDES))
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
