"""Which window, which backend, at what cost: the answer as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from bench.judging.intervals import Interval
from bench.results.maps import TASKS, LearningMap
from bench.telling.headings import machine
from bench.telling.sheet import json_text
from bench.windows.answer import Answer, Longer, NoAnswer, Question, Rival
from bench.windows.answer_words import in_one_line
from bench.windows.cost import window
from bench.windows.learned import words


def as_json(
    question: Question,
    found: Answer | NoAnswer,
    learned: LearningMap | None,
    commands: Sequence[str],
) -> str:
    """The question and its answer; commands: what measures precisely that."""
    data = no_answer_data(found) if isinstance(found, NoAnswer) else answer_data(found)
    document = data | {
        "question": asdict(question),
        "answer": in_one_line(question, found),
        "learned_from": None if learned is None else words(learned, TASKS),
        "measure": list(commands),
    }
    return json_text(document)


def no_answer_data(found: NoAnswer) -> dict[str, object]:
    """That there is no answer, why, and what would make one."""
    return {
        "answered": False,
        "why": list(found.why),
        "needed_window": _need_data(found),
        "nearest": None if found.nearest is None else answer_data(found.nearest),
    }


def _need_data(found: Answer | NoAnswer) -> dict[str, object]:
    return {
        "window": found.need.window,
        "assumed": not found.need.learned,
        "why": found.need.why,
    }


def answer_data(found: Answer) -> dict[str, object]:
    """The answer as plain values."""
    case, setup = found.best.case, found.best.setup or {}
    return {
        "answered": True,
        "needed_window": _need_data(found),
        "window": found.window,
        "backend": case.backend,
        "sure": found.sure,
        "rivals": [_rival_data(each) for each in found.rivals],
        "next": None if found.ahead is None else _rival_data(found.ahead),
        "time_per_step_s": _data(found.step),
        "time_per_timestep_s": _data(found.timestep),
        "peak_memory_bytes": found.best.memory.get("peak_bytes"),
        "trace_s": setup.get("trace_s"),
        "compile_s": setup.get("compile_s"),
        "exact": found.exact,
        "differences": {
            name: {"measured": measured, "asked": asked}
            for name, measured, asked in found.differences
        },
        "kind": found.place.kind,
        "gradients": found.place.gradients if case.workload.training else None,
        "own": found.place.own,
        "case_id": case.id,
        "case": case.to_dict(),
        "session": found.place.section.run.session,
        "host": found.place.section.run.host,
        "machine": dict(machine(found.place.section)),
        "started": found.place.section.started.isoformat(),
        "processes": found.best.interval.processes if found.best.interval else None,
        "allowance": found.best.interval.allowance if found.best.interval else None,
        "valid": not found.best.invalid,
        "invalid_reasons": [str(doubt) for doubt in found.best.invalid],
        "time_valid": not found.best.validity.time,
        "time_reasons": [str(doubt) for doubt in found.best.validity.time],
        "longer": None if found.longer is None else _longer_data(found.longer),
    }


def _rival_data(found: Rival) -> dict[str, object]:
    return {
        "backend": found.row.case.backend,
        "verdict": found.ratio.verdict.value,
        "ratio": _data(found.ratio.ratio),
    }


def _longer_data(found: Longer) -> dict[str, object]:
    return {
        "window": window(found.row),
        "backend": found.row.case.backend,
        "time_per_timestep_s": _data(found.timestep),
        "saves": found.saves,
        "peak_memory_bytes": found.row.memory.get("peak_bytes"),
    }


def _data(interval: Interval) -> dict[str, float | None]:
    parts = {"mid": interval.mid, "low": interval.low, "high": interval.high}
    finite = {name: value if abs(value) < float("inf") else None for name, value in parts.items()}
    return {**finite, "confidence": interval.confidence}
