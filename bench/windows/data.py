"""What windows cost, as data: a flat row a window, as CSV and JSON, for other programs.

Seconds and bytes are never scaled or rounded, and what has no value is None. This room knows
finished streams and their words; what a spreadsheet would run is made text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.judging.intervals import Interval
from bench.judging.rows import Row
from bench.telling.headings import machine, title
from bench.telling.sheet import comma_separated, finite, json_text
from bench.windows.cost import BackendCost, Stream, step_interval, steps, timestep_interval, window
from bench.windows.words import method, sentence, without_time

Value = str | float | int | bool | None


def records(streams: Sequence[Stream]) -> list[dict[str, Value]]:
    """A flat row for each stream, backend and window, seconds and bytes never scaled or rounded.

    The line's numbers, which are those of a backend, stand in each of its windows' rows. None
    where there is no value.
    """
    found = (
        _of_row(stream, row) | _of_cheapest(cost, row) | of_fit
        for stream in streams
        for cost in stream.backends
        for of_fit in [_of_fit(cost)]
        for row in cost.rows
    )
    return [{name: finite(value) for name, value in record.items()} for record in found]


def _of_row(stream: Stream, row: Row) -> dict[str, Value]:
    case, setup = row.case, row.setup or {}
    spec, work, run = case.spec, case.workload, stream.section.run
    found: dict[str, Value] = {
        "session": run.session,
        "suite": run.suite,
        "started": stream.section.started.isoformat(),
        "host": run.host,
        "machine_id": run.machine_id,
        "case_id": case.id,
        "backend": case.backend,
        "device": case.device,
        "mode": work.mode,
        "optimizer": work.optimizer,
        "gradients": work.gradients if work.training else None,
        "dtype": spec.dtype,
        "batch": work.batch,
        "timesteps": work.timesteps,
        "input_size": spec.input_size,
        "hidden_size": spec.hidden_size,
        "num_layers": spec.num_layers,
        "bidirectional": spec.bidirectional,
        "window": window(row),
        "steps": steps(row),
        "outcome": row.outcome,
        "reason": row.reason,
        "advice": row.advice,
        "valid": not row.invalid if row.measured else None,
        "invalid_reasons": "; ".join(map(str, row.invalid)),
        "time_valid": not row.validity.time if row.measured else None,
        "time_reasons": "; ".join(map(str, row.validity.time)),
        "processes": row.interval.processes if row.interval else None,
    }
    found |= _bounds("time_per_step", "_s", step_interval(row))
    found |= _bounds("time_per_timestep", "_s", timestep_interval(row))
    return found | {
        "timesteps_per_s": row.timesteps_per_s,
        "peak_memory_bytes": row.memory.get("peak_bytes"),
        **{key: setup.get(key) for key in ("build_s", "trace_s", "compile_s", "first_call_s")},
        "learnable_distance": stream.learnable(window(row)),
    }


def _of_cheapest(cost: BackendCost, row: Row) -> dict[str, Value]:
    near = cost.cheapest
    found: dict[str, Value] = {
        "cheapest_window": near.best if near else None,
        "near_cheapest_from": near.first if near else None,
        "near_cheapest_from_low": near.first_low if near else None,
        "near_cheapest_from_high": near.first_high if near else None,
        "near_cheapest_to": near.last if near else None,
    }
    return found | _bounds("over_cheapest", "", near.over.get(window(row)) if near else None)


def _of_fit(cost: BackendCost) -> dict[str, Value]:
    fit = cost.fit
    found: dict[str, Value] = {"fit_processes": fit.processes if fit else None}
    found |= _bounds("fit_fixed", "_s", fit.fixed if fit else None)
    found |= _bounds("fit_per_timestep", "_s", fit.per_timestep if fit else None)
    found |= {
        # Known even where no interval is.
        "fit_fixed_s": fit.line.fixed if fit else None,
        "fit_per_timestep_s": fit.line.per_timestep if fit else None,
        "fit_allowance": fit.fixed.allowance if fit and fit.fixed else None,
        "fit_worst_residual": fit.misfit.residual if fit else None,
        "fit_worst_window": fit.misfit.window if fit else None,
        "fit_is_bent": bool(fit.parts) if fit else None,
    }
    return found | _bounds("memory_per_timestep", "_bytes", cost.memory_slope)


def _bounds(name: str, unit: str, interval: Interval | None) -> dict[str, Value]:
    parts = {"": "mid", "_low": "low", "_high": "high"}
    return {
        f"{name}{part}{unit}": getattr(interval, field) if interval else None
        for part, field in parts.items()
    }


def as_csv(streams: Sequence[Stream]) -> Iterator[str]:
    """``records`` under a line of their names; what a spreadsheet would run is made text."""
    rows = records(streams)
    return comma_separated(rows[0], (row.values() for row in rows))


def as_json(streams: Sequence[Stream]) -> str:
    """The streams in words and ``records``, under ``windows``."""
    document = {
        "streams": [
            {
                "session": stream.section.run.session,
                "machine": dict(machine(stream.section)),
                "stream": title(stream.table),
                "findings": [
                    *(sentence(cost) for cost in stream.backends if cost.measured),
                    *without_time(stream.backends),
                ],
            }
            for stream in streams
        ],
        "method": method(streams),
        "windows": records(streams),
    }
    return json_text(document)
