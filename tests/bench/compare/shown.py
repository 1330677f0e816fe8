"""Write comparisons as the command does, for the tests of their formats."""

from functools import partial

from bench.cli.output import Target, deliver
from bench.render import compare, published
from bench.render.published import PublishedReport
from bench.stats.pairs import ComparisonReport


def show(report: ComparisonReport, kind: str, target: Target) -> None:
    terminal, warnings = compare.document(report).terminal, partial(compare.warning_lines, report)
    deliver(kind, target, terminal, compare.texts(report), warnings)


def show_published(report: PublishedReport, kind: str, target: Target) -> None:
    shown = published.document(report)
    deliver(kind, target, shown.terminal, published.texts(report, shown))
