"""What a study of data-parallel training says: its records read, judged, and told in tables.

The first says what several replicas gain over one, the second what they gain over one process with
all their processors, the third where a step's time goes. This module knows the study's file, and no
framework.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.cli.output import CommandOutput
from bench.machine.fields import Field
from bench.records.study import Study, shape_of
from bench.render.escape import LONGEST_NAME, LONGEST_SENTENCE, clean
from bench.render.labels import RATIO_INTERVAL, TIME_INTERVAL, compact_verdict, name
from bench.render.quantities import (
    count,
    percent,
    rate,
    seconds,
    seconds_range,
    times_as_fast,
    times_bounds,
)
from bench.render.table import Cell, Column, Sheet
from bench.stats.comparison import Comparison
from bench.stats.intervals import Interval
from bench.studies import comparisons, processes
from bench.studies.data_parallel import SCALINGS, STRATEGIES, compute_side
from bench.studies.scaling_ratios import Scaled, Sides, SideTime, scaled

BOUNDS = 10
"""Letters that an interval takes: 1.00–1.00, 10% to 20%."""

MOST_REPLICAS = 100_000
"""In a file; more than any machine has."""


@dataclass(frozen=True)
class ScalingRow:
    """A backend's replicas next to one, one kind of scaling."""

    backend: str
    scaling: str
    found: Scaled

    @property
    def label(self) -> str:
        """The line in a sentence."""
        return (
            f"{clean(self.backend, LONGEST_NAME)}, {self.found.replicas} replicas, {self.scaling}"
        )


def lines(found: Study) -> tuple[list[ScalingRow], list[str]]:
    """A line for each backend, number of replicas and scaling; and what was not measured, and why.

    Raises ResultError for a file that does not hold what it should.
    """
    requested = [each.one_of(SCALINGS) for each in found.question["scalings"].items()]
    sets: dict[tuple[str, int], list[dict[str, Field]]] = {}
    problems: dict[str, None] = {}
    failing: set[tuple[str, int]] = set()
    for answer in found.answers:
        of_answer: dict[tuple[str, int], dict[str, Field]] = {}
        for record in answer:
            replicas = record["replicas"].integer(2, MOST_REPLICAS)
            key = record["backend"].label(), replicas
            if failed := record["failed"].text():
                text = f"{key[0]}, {replicas} replicas: {failed}"
                problems[clean(text, LONGEST_SENTENCE)] = None
                failing.add(key)
            else:
                of_answer.setdefault(key, {})[record["side"].label()] = record
        for key, records in of_answer.items():
            sets.setdefault(key, []).append(records)
    table = [
        ScalingRow(backend, scaling, _scaled(found, replicas, scaling, each))
        for (backend, replicas), each in sets.items()
        if (backend, replicas) not in failing
        for scaling in requested
    ]
    return table, list(problems)


def _scaled(
    found: Study, replicas: int, scaling: str, sets: Sequence[Mapping[str, Field]]
) -> Scaled:
    names = {
        "team": scaling,
        "apart": f"{scaling}-apart",
        "alone": compute_side(scaling),
        "one": "one",
    }
    if all(f"{scaling}-cores" in each for each in sets):
        names["cores"] = f"{scaling}-cores"
    for records in sets:
        for side in names.values():
            if side not in records:
                raise found.question.error(
                    f"a record of the side {side!r} from every set of processes", "lacks one"
                )
    read: list[Sides] = [
        {side: _timed(records[side]) for side in names.values()} for records in sets
    ]
    traces = [
        [share.number(0.0, 1.0) for share in records[scaling]["shares"].items()] for records in sets
    ]
    return scaled(replicas, read, names, traces)


def _timed(record: Field) -> SideTime:
    samples, rounds = comparisons.timed(record)
    return SideTime(record["batch"].integer(1), tuple(samples), tuple(rounds))


# -- told


def command_output(found: Study) -> tuple[CommandOutput, list[str]]:
    """The tables, with what stands above and below them, and what is not in them and why."""
    table, problems = lines(found)
    processes.check(table, problems)
    first, *rest = _notes(found, table)
    tables = [(f"{first}. Compared with one replica", gains(table))]
    if any(line.found.cores is not None for line in table):
        tables.append(("Compared with one process on all of their processors", beside_all(table)))
    tables.append(("Where the time of a step of all replicas goes", parts(table)))
    return CommandOutput((), tuple(tables), tuple(rest)), problems


_LINE = (
    Column("backend", names=True),
    Column("replicas", right=True),
    Column("scaling"),
    Column("batch", right=True),
    Column("step", right=True, least=BOUNDS),
)


def _line(line: ScalingRow) -> list[Cell | str]:
    step = line.found.step
    return [
        line.backend,
        str(line.found.replicas),
        line.scaling,
        f"{line.found.batch:,}",
        Cell(seconds(step.mid), seconds_range(step.low, step.high, step.mid)),
    ]


def gains(table: Sequence[ScalingRow]) -> Sheet:
    """What several replicas gain over one."""
    return Sheet.of(
        [
            *_LINE,
            Column("per second", right=True),
            Column("times one replica", right=True, least=BOUNDS),
            Column("verdict"),
            Column("efficiency", right=True, least=BOUNDS),
        ],
        [
            [
                *_line(line),
                rate(line.found.batch / line.found.step.mid),
                _times(line.found.gain),
                compact_verdict(line.found.gain),
                _percents(line.found.efficiency),
            ]
            for line in table
        ],
    )


def _percents(part: Interval) -> Cell:
    return Cell(percent(part.mid), f"{percent(part.low)}–{percent(part.high)}")


def _times(found: Comparison) -> Cell:
    ratio = found.ratio
    return Cell(times_as_fast(ratio.mid), times_bounds(ratio.low, ratio.high))


def beside_all(table: Sequence[ScalingRow]) -> Sheet:
    """Several replicas next to one process with all of their processors."""
    return Sheet.of(
        [*_LINE, Column("times as fast", right=True, least=BOUNDS), Column("verdict")],
        [
            [*_line(line), _times(line.found.cores), compact_verdict(line.found.cores)]
            for line in table
            if line.found.cores is not None
        ],
    )


def parts(table: Sequence[ScalingRow]) -> Sheet:
    """Compute, all-reduce and the rest, as shares of a step."""
    return Sheet.of(
        [
            *_LINE[:3],
            Column("step", right=True),
            Column("compute", right=True, least=BOUNDS),
            Column("all-reduce", right=True, least=BOUNDS),
            Column("the rest", right=True, least=BOUNDS),
            Column("seen by the profiler", right=True),
        ],
        [
            [
                *_line(line)[:3],
                seconds(line.found.step.mid),
                _share(line.found.parts.compute),
                _share(line.found.parts.reduce),
                _share(line.found.parts.rest),
                "" if line.found.traced is None else percent(line.found.traced),
            ]
            for line in table
        ],
    ).without_empty()


def _share(part: Interval) -> Cell:
    return Cell(signed(part.mid), f"{signed(part.low)} to {signed(part.high)}")


def signed(part: float) -> str:
    """A share, which the noise of two times can make less than nothing: 6%, −2%."""
    whole = round(100 * part)
    return f"−{-whole}%" if whole < 0 else f"{whole}%"


def _notes(found: Study, table: Sequence[ScalingRow]) -> list[str]:
    """What was measured where, what the columns mean, and what does not agree."""
    question = found.question
    strategy = question["strategy"].one_of(STRATEGIES)
    sets = max(line.found.gain.processes for line in table)
    machines = question["machines"].integer(1, MOST_REPLICAS)
    where = "" if machines == 1 else f"{count(machines, 'worker')} of several machines, told by "
    out = [
        f"{shape_of(question)}, training with SGD under {STRATEGIES[strategy]} on "
        f"{name(question['device'].label())}; {count(sets, 'set')} of fresh processes, "
        f"{where}{name(found.run.machine)}, {found.run.started:%Y-%m-%d %H:%M} UTC"
    ]
    threads = question["threads"].items()
    if any(each.integer(0) for each in threads):
        each = ", ".join(str(each.integer(0)) for each in threads)
        out.append(
            f"Each replica, and one alone, has {each} of the machine's processors to itself; one "
            "on all processors has those of all replicas, and the same batch as all of them."
        )
    out.append(
        f"With each time and share its {TIME_INTERVAL}, with a ratio its {RATIO_INTERVAL}. Per "
        "second: sequences of all replicas."
    )
    out.append(
        "Weak: each replica has the batch of one alone; strong: all share it. Efficiency: the gain "
        "over one replica, of what so many could gain at best. Before it was timed, every step's "
        "gradients were equal to the float64 reference's on the whole batch, on every replica."
    )
    out.append(
        "Compute: what one replica alone takes for as many sequences. All-reduce: what is saved "
        "where each replica keeps its own gradients, with the wait for the slowest. The rest: what "
        "it costs that the others compute at the same time."
    )
    for line in table:
        reduce, traced = line.found.parts.reduce, line.found.traced
        if line.found.disagree and traced is not None:
            out.append(
                f"{line.label}: the profiler sees collectives in {percent(traced)} of a step, and "
                f"leaving the all-reduce out saves {signed(reduce.mid)}: waiting in it takes time "
                "that is then spent elsewhere, or the profiler slows what it watches."
            )
    return out
