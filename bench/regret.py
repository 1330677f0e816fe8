"""``python -m bench.regret``: what ``backend="auto"`` loses against the best backend.

On random shapes, for the choice that ``lstm_impl.keras.tune`` makes by a race and for the rule that
picks without one; judged by a second race that neither has seen.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence

from bench.cli import arguments, command_line
from bench.cli.told import Told
from bench.render import quantities
from bench.render.inert import LONGEST_NAME
from bench.render.sheet import Column, Sheet
from bench.worker.regret import Regret, measured

WITHIN = 0.03
"""The loss that the summary counts."""

EPILOG = """\
A loss is the time over that of the fastest candidate of the second race, less one.

exit codes: 0 all was measured; 2 bad input
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _regret, words)


def _regret(options: argparse.Namespace) -> int:
    found = []
    for each in measured(options.shapes, options.seconds, options.seed):
        found.append(each)
        print(f"{len(found)} of {options.shapes}: {each.shape}", file=sys.stderr)
    Told((), (("", _sheet(found)),), _summary(found), heading=LONGEST_NAME).deliver(options)
    return 0


def _sheet(found: Sequence[Regret]) -> Sheet:
    return Sheet.of(
        [
            Column("shape", names=True),
            Column("mode"),
            Column("fastest", names=True),
            Column("its time", right=True),
            Column("raced choice", names=True),
            Column("loses", right=True),
            Column("rule's pick", names=True),
            Column("loses", right=True),
        ],
        [
            [
                each.shape.name,
                each.shape.mode,
                each.best,
                quantities.seconds(each.tuned.seconds / each.tuned.ratio),
                each.tuned.backend,
                f"{each.tuned_loss:.1%}",
                each.rule.backend,
                f"{each.rule_loss:.1%}",
            ]
            for each in found
        ],
    )


def _summary(found: Sequence[Regret]) -> tuple[str, ...]:
    """How near to the fastest each way of choosing comes, in a line."""
    lines = []
    for name, losses in (
        ("raced", [each.tuned_loss for each in found]),
        ("rule", [each.rule_loss for each in found]),
    ):
        near = sum(loss <= WITHIN for loss in losses)
        lines.append(
            f"{name}: within {WITHIN:.0%} of the fastest in {near} of {len(losses)} shapes; loses "
            f"{statistics.median(losses):.1%} in the median, {max(losses):.1%} at most"
        )
    return tuple(lines)


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "regret", "What backend='auto' loses against the best backend, on random shapes.", EPILOG
    )
    arguments.add_usual(
        parser,
        ("shapes", "N", arguments.whole(1), 40, ""),
        ("seconds", "TIME", arguments.seconds, 10.0, "of each of the two races of a shape"),
        ("seed", "N", int, 0, ""),
    )
    arguments.add_output(parser, ("terminal", "markdown"))
    return parser


if __name__ == "__main__":
    command_line.end(main)
