"""``python -m bench.profile``: where the time of one case goes, apart from timing it.

Prints what the case is bound by and its operators by time, and writes one file that Perfetto opens.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from bench.judging.operators import kind
from bench.judging.why import explained
from bench.measuring.outcomes import Unmeasured
from bench.measuring.profiling import Profiled, profiled
from bench.suites.cases import Case
from bench.suites.ids import SPELLING, case_of
from bench.telling import arguments, command_line, deliver
from bench.telling.inert import LONGEST_SENTENCE, clean, prose
from bench.telling.quantities import seconds
from bench.telling.sheet import Column, Sheet, records
from bench.telling.timeline import trace
from lstm_impl.profile import by_name

PROFILED, NOT_PROFILED = range(2)

FORMATS = ("terminal", "markdown", "csv")

MOST = 20
"""Operators in a table; csv has all."""

OPEN_WITH = "https://ui.perfetto.dev"

EPILOG = f"""\
exit codes:
  0  profiled
  1  not profiled, and why: the backend cannot run here, fails the gate, or its framework has no
     profiler that is known here
  2  bad input

A case's id is spelled as in reports: {SPELLING}. The case is
judged like one that is measured. The file opens in {OPEN_WITH} (nothing is sent: it is
read in the browser) and in chrome://tracing. A profiler slows what it watches: the times are its
own, and the time of a step that is told beside them was taken without it.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _profile, words)


def _profile(options: argparse.Namespace) -> int:
    found = profiled(options.case)
    if isinstance(found, Unmeasured):
        told = f"{found.reason}{f'; {found.advice}' if found.advice else ''}"
        print(f"{options.case.id}: {clean(told)}", file=sys.stderr)
        return NOT_PROFILED
    said = {"case": found.case.id, "step_s": found.seconds, "source": found.profile.source}
    deliver.write_file(options.output, trace(found.profile, said, kind))
    _deliver(found, options)
    return PROFILED


COLUMNS = ("operator", "kind", "count", "seconds", "share")


def rows(found: Profiled) -> list[dict[str, object]]:
    """By operator, the most time first: of one step under the profiler, own time alone."""
    spent = by_name(found.profile.events)
    whole = sum(each.seconds for each in spent.values())
    return [
        {
            "operator": name,
            "kind": kind(name),
            "count": each.count,
            "seconds": each.seconds,
            "share": each.seconds / whole if whole else 0.0,
        }
        for name, each in spent.items()
    ]


def _sheet(found: Profiled) -> Sheet:
    return Sheet.of(
        [
            Column("operator", names=True),
            Column("kind"),
            Column("times", right=True),
            Column("own time", right=True),
            Column("of all operators", right=True),
        ],
        [
            [
                str(each["operator"]),
                str(each["kind"]),
                f"{each['count']:,}",
                seconds(float(str(each["seconds"]))),
                f"{each['share']:.1%}",
            ]
            for each in rows(found)[:MOST]
        ],
    )


def _deliver(found: Profiled, options: argparse.Namespace) -> None:
    why = clean(explained(found.bound, found.figures), LONGEST_SENTENCE)
    title = f"{found.case.id}: {seconds(found.seconds)} a step without {found.profile.source}"
    sheet, left = _sheet(found), len(rows(found)) - MOST
    more = f"and {left} more; --format csv has all" if left > 0 else ""

    def terminal(console: Console) -> None:
        console.print(Text(clean(title, LONGEST_SENTENCE), style="bold"))
        console.print(Text(why))
        console.print(sheet.grid())
        for line in filter(None, (more, f"Timeline: open {options.output} in {OPEN_WITH}")):
            console.print(Text(line, style="dim"))

    def text() -> str:
        blocks = [prose(title), prose(why)]
        return "\n\n".join([*blocks, sheet.markdown(), *filter(None, [more])]) + "\n"

    deliver.deliver(
        options.format,
        deliver.Target(None),
        terminal,
        {"markdown": text, "csv": lambda: records(COLUMNS, rows(found))},
    )


def _case(text: str) -> Case:
    try:
        return case_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "profile", "Where does the time of a case go? By operator, and as a timeline.", EPILOG
    )
    parser.add_argument("case", metavar="CASE_ID", type=_case, help=f"such as {SPELLING}")
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        required=True,
        help="the timeline, in JSON (Chrome's trace events)",
    )
    parser.add_argument(
        "--format", choices=FORMATS, default=FORMATS[0], help="of the table (default: %(default)s)"
    )
    return parser


if __name__ == "__main__":
    command_line.end(main)
