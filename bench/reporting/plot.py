"""What a plot shows: which rows, which quantity, beside which baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bench.cli.command_line import UsageError
from bench.machine.fields import printable
from bench.stats.rows import Row, Section

# A picture that is wider than this is no picture of a page, and one narrower has no room for bars.
NARROWEST, WIDEST = 3.0, 30.0


@dataclass(frozen=True)
class Kind:
    """What a picture can be of.

    title: over it. has: whether a row has what is drawn. lacking: said where no row has.
    """

    title: str
    has: Callable[[Row], bool]
    lacking: str


KIND_OF = {
    "throughput": Kind("Sequences per second", lambda row: row.measured, "no case was measured"),
    "speedup": Kind(
        "Speed-up", lambda row: row.to_baseline is not None, "no case has a baseline beside it"
    ),
    "setup": Kind(
        "Time to the first result",
        lambda row: bool(setup_parts(row)),
        "no case says what building, tracing and the first call took",
    ),
    "memory": Kind(
        "Peak memory",
        lambda row: "peak_bytes" in row.memory,
        "no case has figures of memory: they are of a version that did not measure it",
    ),
    "roofline": Kind(
        "Roofline",
        lambda row: row.measured and all(row.roofs.get(key) for key in ("operations", "bytes")),
        "no case has figures of roofs: they are of a version that did not measure them",
    ),
}

SETUP = {"build_s": "build", "trace_s": "trace", "first_call_s": "first call, compiling included"}
"""What comes before the first result, in its order, and how it is called."""


def setup_parts(row: Row) -> dict[str, float]:
    """Seconds of each part of ``SETUP`` that is known, by its key."""
    setup = row.setup or {}
    return {key: value for key in SETUP if (value := setup.get(key)) is not None}


@dataclass(frozen=True)
class Plot:
    """What is drawn: which figure of which rows of a session, on so many inches of width.

    skipped: how many sessions are not drawn.
    """

    what: str
    section: Section
    rows: tuple[Row, ...]
    width: float = 7.0
    skipped: int = 0

    @property
    def kind(self) -> Kind:
        """Of what it is."""
        return KIND_OF[self.what]


def choose(section: Section, what: str, pattern: str = "*") -> tuple[Row, ...]:
    """The rows of a section that a picture is of, in the report's order.

    pattern: of the ids of the cases, as a shell's. With a row come the rows of its group that were
    measured: a picture of a figure that some of them lack leaves them blank.

    Raises UsageError if there is none.
    """
    rows = [row for row in section.rows if row.measured and fnmatchcase(row.case.id, pattern)]
    if not rows:
        there = next((row.case.id for row in section.rows if row.measured), "")
        if not there:
            raise UsageError(KIND_OF["throughput"].lacking)
        raise UsageError(
            f"no measured case fits what was chosen; a case is named like {printable(there, 120)}"
        )
    groups = {row.case.group for row in rows if KIND_OF[what].has(row)}
    if not groups:
        raise UsageError(f"--what {what}: {KIND_OF[what].lacking}")
    return tuple(row for row in rows if row.case.group in groups)
