"""``python -m research.fleet_study``: a thousand machines, played through the real scheduling.

Prints the table of ``docs/scale.md`` (``fleet.study``). The machines and their clock are made up;
what plans their work is what ``bench.run --ray`` uses.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench.cli import arguments, command_line
from bench.cli.progress import Progress
from bench.session.study import MACHINES, study, told, worlds

EPILOG = """\
exit codes:
  0  every rule held: each case got its processes, none on a machine that was busy, nothing was lost
  1  one did not: it is told
  2  bad input
"""


def main(words: Sequence[str] | None = None) -> int:
    """Print the table; 1 if a rule of scheduling did not hold."""
    parser = arguments.parser(
        "fleet_study",
        "Play fleets of machines that fail, come late and are slow, and check that every case is\n"
        "measured as often as it was asked for.",
        EPILOG,
    )
    number = ("machines", "MACHINES", arguments.whole(1, 100_000))
    arguments.add_values(
        parser, (*number, f"of each fleet (default: {MACHINES:,})"), default=MACHINES
    )
    arguments.add_choice(parser, "format", ("markdown",), usual="markdown")
    options = parser.parse_args(words)
    with Progress("playing fleets, for some minutes"):
        sheet, broken = study(options.machines)
    print(f"{told(next(iter(worlds(options.machines).values())))}.\n\n{sheet.markdown()}")
    for each in broken:
        print(f"error: {each}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    command_line.end(main)
