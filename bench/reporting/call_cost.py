"""What a call costs: so much each, and so much for each timestep, from cases of several lengths.

Cases that differ in nothing but backend and number of timesteps are one question; each backend's
times are a line over the timesteps, ``fixed + per_timestep * T``, fitted as the windows' is
(``windows.fit``). This room knows a report's rows, and makes a table of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.render import quantities
from bench.render.headings import name
from bench.render.marks import RATIO_INTERVAL, TIME_INTERVAL
from bench.render.quantities import listed
from bench.render.sheet import Cell, Column, Sheet
from bench.stats.comparison import Comparison
from bench.stats.intervals import CaseInterval
from bench.stats.ratios import compare
from bench.stats.rows import Row, Section
from bench.windows.cost import by_backend, line, questions
from bench.windows.fit import FEWEST_WINDOWS, Fit
from bench.windows.words import LARGE_MISFIT, signed, signed_range
from lstm_impl.registry import get_backend
from lstm_impl.spec import UnsupportedError

USUAL = ("keras_model", "keras_model+fit", "keras")
"""What ratios refer to where nobody says: the plain call, and what trains most models."""


@dataclass(frozen=True)
class CallCost:
    """What calls of one backend cost.

    rows: measured, by timesteps, rising. fit: None with fewer than three lengths. shortest: the
    time at the shortest length over the baseline's there; None for the baseline itself, or where
    that was not measured.
    """

    backend: str
    rows: tuple[Row, ...]
    fit: Fit | None
    shortest: Comparison | None

    @property
    def timesteps(self) -> tuple[int, ...]:
        """The lengths that were measured."""
        return tuple(row.case.workload.timesteps for row in self.rows)


@dataclass(frozen=True)
class Calls:
    """One question: the costs of all backends, the least fixed cost first.

    baseline: what ratios refer to; empty where none of the usual was measured.
    """

    section: Section
    costs: tuple[CallCost, ...]
    baseline: str

    @property
    def row(self) -> Row:
        """A row for what all of them share."""
        return self.costs[0].rows[0]


def calls(sections: Iterable[Section], baseline: str | None = None) -> tuple[Calls, ...]:
    """Every question of whole sequences at three lengths or more that some backend has a line for.

    baseline: a backend, where it was measured; else the first of ``USUAL`` that was.
    """
    found = []
    for section in sections:
        for rows in questions(section.rows):
            one = _calls(section, rows, baseline)
            if any(cost.fit for cost in one.costs):
                found.append(one)
    return tuple(found)


def _calls(section: Section, rows: Sequence[Row], baseline: str | None) -> Calls:
    backends = by_backend(rows)
    base = next((each for each in (baseline, *USUAL) if each in backends), "")
    costs = [
        CallCost(
            backend,
            tuple(own),
            line(own),
            None if not base or backend == base else _shortest(own, backends[base]),
        )
        for backend, own in backends.items()
    ]
    # Of what has no line the time of its shortest calls says where it belongs.
    costs.sort(key=lambda cost: cost.fit.line.fixed if cost.fit else cost.rows[0].time)
    return Calls(section, tuple(costs), base or "")


def _shortest(rows: Sequence[Row], base: Sequence[Row]) -> Comparison | None:
    other = {row.case.workload.timesteps: row for row in base}
    for row in rows:
        if (partner := other.get(row.case.workload.timesteps)) is not None:
            return compare(list(row.runs), list(partner.runs))
    return None


# -- as a table


def sheet(found: Calls) -> Sheet:
    """A line a backend: how it is called, its fixed cost, and what a timestep adds."""
    shortest = found.row.case.workload.timesteps
    beside = f"times as fast as {name(found.baseline)} at {quantities.count(shortest, 'step')}"
    columns = [
        Column("backend", names=True),
        Column("the call"),
        Column("fixed, a call", right=True),
        Column(TIME_INTERVAL),
        Column("a timestep", right=True),
        Column(TIME_INTERVAL),
        Column(beside, right=True),
        Column(RATIO_INTERVAL),
        Column("verdict"),
    ]
    return Sheet.of(columns, [_line(cost) for cost in found.costs]).without_empty()


def _line(cost: CallCost) -> list[Cell | str]:
    cells: list[Cell | str] = [cost.backend, words(cost.backend)]
    if cost.fit is None:
        cells += [f"{len(cost.rows)} of {FEWEST_WINDOWS} lengths", "", "", ""]
    elif not cost.fit.is_line:
        cells += ["no line", _miss(cost.fit), "", ""]
    else:
        of_line = cost.fit.line
        cells += [
            *_number(of_line.fixed, cost.fit.fixed),
            *_number(of_line.per_timestep, cost.fit.per_timestep),
        ]
    if cost.shortest is None:
        return [*cells, "", "", ""]
    ratio = cost.shortest.ratio
    return [
        *cells,
        quantities.times_as_fast(ratio.mid),
        quantities.times_bounds(ratio.low, ratio.high),
        str(cost.shortest.verdict),
    ]


def _number(value: float, interval: CaseInterval | None) -> tuple[str, str]:
    return signed(value), signed_range(interval) if interval else ""


def words(backend: str) -> str:
    """How a backend is called, of one that says it."""
    try:
        path = getattr(get_backend(backend), "path", None)
    except UnsupportedError:  # a file may name any
        return ""
    return path.words if path is not None else ""


def notes(found: Sequence[Calls]) -> list[str]:
    """What stands behind the numbers, and where a line misses by much."""
    every = [cost for each in found for cost in each.costs if cost.fit]
    lines = [cost.fit.fixed.how for cost in every if cost.fit and cost.fit.fixed]
    for each in found:
        missed = [
            f"{name(cost.backend)} ({_miss(cost.fit)})"
            for cost in each.costs
            if cost.fit and cost.fit.is_line and abs(cost.fit.misfit.residual) >= LARGE_MISFIT
        ]
        if missed:
            mode = each.row.case.workload.mode
            lines.append(f"{mode}: the line misses by {LARGE_MISFIT:.0%} or more: {listed(missed)}")
    return list(dict.fromkeys(lines))


def _miss(fit: Fit) -> str:
    """Where the line misses most."""
    worst = fit.misfit
    side = "more" if worst.residual > 0 else "less"
    steps = quantities.count(worst.window, "step")
    return f"{steps} cost {abs(worst.residual):.0%} {side}"


RECORD = (
    *("session", "device", "mode", "batch", "input_size", "hidden_size", "backend", "call"),
    *("lengths", "fixed_s", "fixed_low_s", "fixed_high_s"),
    *("per_timestep_s", "per_timestep_low_s", "per_timestep_high_s", "worst_residual"),
    *("baseline", "ratio", "ratio_low", "ratio_high", "verdict"),
)
"""Columns of the data: seconds are never scaled, a ratio is of times, below 1 faster."""


def records(found: Iterable[Calls]) -> list[dict[str, object]]:
    """The same as data, a flat row a backend."""
    return [_record(each, cost) for each in found for cost in each.costs]


def _record(found: Calls, cost: CallCost) -> dict[str, object]:
    case = found.row.case
    record: dict[str, object] = {
        "session": found.section.run.session,
        "device": case.device,
        "mode": case.workload.mode,
        "batch": case.workload.batch,
        "input_size": case.spec.input_size,
        "hidden_size": case.spec.hidden_size,
        "backend": cost.backend,
        "call": words(cost.backend),
        "lengths": " ".join(map(str, cost.timesteps)),
    }
    if (fit := cost.fit) is not None:
        record["worst_residual"] = fit.misfit.residual
        for part, value, interval in (
            ("fixed", fit.line.fixed, fit.fixed),
            ("per_timestep", fit.line.per_timestep, fit.per_timestep),
        ):
            record[f"{part}_s"] = value
            if interval is not None:
                record |= {f"{part}_low_s": interval.low, f"{part}_high_s": interval.high}
    if cost.shortest is not None:
        ratio = cost.shortest.ratio
        record |= {"baseline": found.baseline, "ratio": ratio.mid, "ratio_low": ratio.low}
        record |= {"ratio_high": ratio.high, "verdict": str(cost.shortest.verdict)}
    return record
