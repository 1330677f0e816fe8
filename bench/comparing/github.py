"""A comparison as GitHub Actions shows it: warnings beside the code."""

from __future__ import annotations

from bench.comparing.comparison import Report
from bench.comparing.words import bounds_words, clean_name, speed_words, verdict_word
from bench.judging.verdict import Verdict

# GitHub Actions


def warning_lines(report: Report) -> list[str]:
    """A line for each SLOWER case, in the form of GitHub's workflow commands.

    An ``::error`` if the case broke the rule, and so fails the step, else a ``::warning``. Only of
    new runs against older ones, or where a rule asked: that one backend or device is slower than
    another is what was asked, and no reason for alarm.

    https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions
    """
    lines: list[str] = []
    if not report.over_time and report.gate is None:
        return lines
    broke = {id(row) for row in report.gate.failed} if report.gate is not None else set()
    for row in report.rows:
        found = row.comparison
        if found.verdict is not Verdict.SLOWER:
            continue
        told = (
            f"{clean_name(row.case.id)}: {clean_name(row.new_label)} is "
            f"{speed_words(found.ratio.mid)} times as fast as {clean_name(row.base_label)} "
            f"({bounds_words(found.ratio)}; {found.how})"
        )
        if row.reasons:
            told += f"; INVALID: {'; '.join(clean_name(reason, 300) for reason in row.reasons)}"
        title = f"{verdict_word(row)}: {clean_name(row.case.backend)}"
        lines.append(annotation("error" if id(row) in broke else "warning", title, told))
    return lines


def annotation(level: str, title: str, told: str) -> str:
    """A line that GitHub Actions shows beside the code; level: ``error`` or ``warning``."""
    title, told = (clean_name(text, 3000) for text in (title, told))
    title = _escaped(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={title}::{_escaped(told)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
