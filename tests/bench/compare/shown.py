"""Write comparisons as the command does, for the tests of their formats."""

from argparse import Namespace
from functools import partial
from pathlib import Path

from bench.cli.output import deliver
from bench.render import compare, published
from bench.render.published import PublishedReport
from bench.verdicts.pairs import ComparisonReport


def show(
    report: ComparisonReport, kind: str, path: Path | None, summary: str | None = None
) -> None:
    terminal, warnings = compare.document(report).terminal, partial(compare.warning_lines, report)
    deliver(Namespace(format=kind, output=path), terminal, compare.texts(report), summary, warnings)


def show_published(report: PublishedReport, kind: str, path: Path) -> None:
    shown = published.document(report)
    deliver(Namespace(format=kind, output=path), shown.terminal, published.texts(report, shown))
