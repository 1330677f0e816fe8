"""Describe the window and the backend that ``bench.recommend`` found."""

import math
from collections.abc import Sequence
from dataclasses import asdict, replace

from bench.records.maps import LEARNED, TASK_NAMES, LearningMap
from bench.render import labels, quantities
from bench.render.data import COLUMNS, finite, json_text
from bench.render.escape import clean
from bench.render.labels import heading, machine
from bench.render.messages import basis_text, problem_line
from bench.render.table import Block, Document
from bench.stats.comparison import Verdict
from bench.stats.intervals import ENOUGH_PROCESSES, Interval
from bench.verdicts import recommend
from bench.verdicts.along import window

_MOST_SHAPES = 5


def summary_line(
    query: recommend.Query, found: recommend.Recommendation | recommend.NoRecommendation
) -> str:
    """Return the window, the backend and their cost, or what is not known."""
    known = ""
    if found.need.assumed:
        known = f"{_capital(_describe_known(found.need))}. "
    if isinstance(found, recommend.NoRecommendation):
        start = "it was not measured which backend is the fastest"
        if known:
            start = f"{known}Windows of at least {found.need.window} are assumed; {start}"
        elif query.training:
            start = f"Take windows of {found.need.window}; {start}"
        return f"{_capital(start)}: {_explain_briefly(found, query)}."
    name = labels.name(found.best.case.backend)
    start = f"Take {name}"
    if query.training:
        start = f"Take windows of {found.window} and {name}"
        if known:
            start = f"{known}Assuming at least {found.need.window}, take {found.window} and {name}"
    peak = found.best.result.memory.get("peak_bytes")
    text = f"{start}: {_with_interval(found.step)} per step"
    text += "" if peak is None else f", {quantities.size(peak)}"
    if found.best.result.invalid:
        text += "; the measurement is INVALID"
    elif found.rivals:
        text += "; others may be equally fast"
    if found.differences:
        text += f"; measured at a nearby shape ({_differ(found.differences)})"
    return f"{text}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _differ(found: Sequence[recommend.Difference]) -> str:
    return ", ".join(f"{name} {measured} in place of {wanted}" for name, measured, wanted in found)


def _describe_known(found: recommend.NeededWindow) -> str:
    """Return what is known of a dependency for which no map gives a window."""
    if found.furthest is None:
        return f"no map says which window learns a dependency of {found.dependency}"
    reached = f"distances up to {found.furthest} were" if found.furthest else "no distance was"
    return f"no window is known to learn a dependency of {found.dependency}: {reached} learned"


def _explain_briefly(found: recommend.NoRecommendation, query: recommend.Query) -> str:
    """Return why there is no answer, as part of a sentence."""
    if found.lengths:
        there = quantities.join_names([str(each) for each in found.lengths], most=12)
        text = f"{_missing_lengths(found.need.window, query)} near this shape, only {there}"
        if query.training and query.steps is not None:
            text += f"; a window longer than {query.steps} would cover the complete sequence"
        return text
    here = f"{query.mode} on {query.device}"
    if not found.cases:
        there = (
            f", only for {quantities.join_names(list(map(clean, found.places)))}"
            if found.places
            else ""
        )
        return f"there are no results for {here}{there}"
    return f"no shape within a factor of {recommend.NEAR:g} was measured for {here}"


def _missing_lengths(least: int, query: recommend.Query) -> str:
    """Return which lengths would have answered a query but were not measured."""
    if not query.training:
        return f"sequences of about {least} were not measured"
    if query.steps is None:
        return f"no window of at least {least} was measured"
    most = math.floor(recommend.longest_window(query))
    return f"no window of {least} to {most} timesteps was measured"


def _other_shapes(found: recommend.NoRecommendation) -> list[str]:
    shapes = dict.fromkeys(
        f"batch {case.workload.batch}, {case.spec.hidden_size} hidden, {case.spec.input_size} in, "
        f"{quantities.count(case.spec.num_layers, 'layer')}, {case.spec.dtype}"
        for case in found.cases
    )
    return quantities.shorten(list(shapes), _MOST_SHAPES, "and {} more")


def window_reason(found: recommend.NeededWindow) -> str:
    """Return why a dependency needs a window, and what is assumed."""
    if found.cut is not None:
        rest = window_reason(replace(found, window=found.cut, cut=None))
        return f"the complete sequence; a longer one would need {found.cut} ({rest})"
    if not found.guessed and not found.reached:
        return "inference runs forward only, so the window does not limit what it remembers"
    if not found.guessed:
        messages = [
            f"{TASK_NAMES[task]} of {distance} was learned in windows of {window}"
            for task, (distance, window) in found.reached.items()
        ]
        messages += [
            f"{TASK_NAMES[task]} was learned only up to {distance}, in windows of {window}"
            for task, (distance, window) in found.ended.items()
        ]
        messages += [f"{TASK_NAMES[task]} was not learned at all" for task in found.never]
        return (
            f"{quantities.join_names(messages)}; every seed learned it, with the state carried over"
        )
    return f"{_describe_known(found)}; twice the dependency plus one timestep is assumed"


def document(
    query: recommend.Query,
    found: recommend.Recommendation | recommend.NoRecommendation,
    learned: LearningMap | None,
    commands: Sequence[str],
) -> Document:
    """Return the answer for people. ``commands`` measure exactly this shape."""
    layers = f", {query.num_layers} layers" if query.num_layers > 1 else ""
    inputs = f", {query.input_size} in" if query.input_size else ""
    what = "sequences"
    if query.training:
        what = f"a dependency of {quantities.count(query.dependency, 'timestep')}"
        what += "" if query.steps is None else " in sequences"
    if query.steps is not None:
        what += f" of {quantities.count(query.steps, 'timestep')}"
    about = (
        f"For {what}, batch {query.batch}{inputs}, {query.hidden_size} hidden{layers}, "
        f"{query.dtype}, {query.mode} on {query.device}"
    )
    if isinstance(found, recommend.NoRecommendation):
        lines = _no_answer(query, found)
    else:
        lines = _full_answer(query, found)
    if learned is not None and query.training:
        lines.append(f"map of learning: {map_source(learned)}")
    return Document(
        [
            Block(summary_line(query, found), level=2),
            Block(about, lines, indent=2),
            Block("To measure exactly this", commands, typed=True),
        ]
    )


def _no_answer(query: recommend.Query, found: recommend.NoRecommendation) -> list[str]:
    lines = []
    if query.training:
        lines.append(f"window: at least {found.need.window}: {window_reason(found.need)}")
    shapes = "; ".join(_other_shapes(found))
    lines.append(
        f"no results: {_explain_briefly(found, query)}" + (f", but {shapes}" * bool(shapes))
    )
    if (near := found.nearest) is not None:
        case = near.best.case
        length = near.measured_window
        what = f"windows of {length}" if query.training else f"{length} timesteps"
        lines.append(
            f"the nearest shape: batch {case.workload.batch}, {case.spec.hidden_size} hidden, "
            f"{case.spec.input_size} in. There, with {what}, {_backend_text(near)}; "
            f"{_with_interval(near.step)} per step. This does not tell the time of the shape asked "
            "for"
        )
    return lines


def _full_answer(query: recommend.Query, found: recommend.Recommendation) -> list[str]:
    best, place = found.best, found.place
    lines = []
    if query.training:
        text = quantities.count(found.window, "timestep")
        if found.measured_window > found.window > found.need.window:
            text += (
                f", the complete sequence, since no window of {found.need.window} to "
                f"{found.window} was measured"
            )
        elif found.window != found.need.window:
            text += f", the shortest measured one of at least {found.need.window}"
        lines.append(f"window: {text}: {window_reason(found.need)}")
    peak = best.result.memory.get("peak_bytes")
    lines += [
        f"backend: {_backend_text(found)}",
        f"per step: {_with_interval(found.step)}",
        f"per timestep: {_with_interval(found.timestep)}, for the whole batch",
        f"memory: {'was not measured' if peak is None else f'{quantities.size(peak)} at its peak'}",
    ]
    setup = best.result.setup
    starts = [
        f"{word} {quantities.seconds(value)}"
        for word, key in (("trace", "trace_s"), ("compile", "compile_s"))
        if (value := setup.get(key)) is not None
    ]
    if starts:
        lines.append(f"startup: {' and '.join(starts)}")
    lines.append(f"measured: {_place_text(found)}")
    if best.result.interval is not None and best.result.interval.processes < ENOUGH_PROCESSES:
        lines.append(f"interval: it is from {basis_text(best.result.interval.basis)}")
    for word, problems in (
        ("INVALID, do not rely on it", best.result.invalid),
        ("the time is unreliable", best.result.validity.of_time),
    ):
        lines += [f"{word}: {clean(problem_line(problem))}" for problem in problems]
    if found.longer is not None:
        row = found.longer.row
        saved = quantities.percent(found.longer.saves)
        timestep = quantities.seconds(found.longer.timestep.mid)
        text = (
            f"longer: windows of {window(row.case)} take {saved} less time per timestep "
            f"({timestep}, {labels.name(row.case.backend)})"
        )
        more = row.result.memory.get("peak_bytes")
        if more is not None and peak is not None and more > peak:
            text += f" and {quantities.size(more - peak)} more memory"
        lines.append(text)
    if not place.own:
        machines = "; ".join(f"{label}: {text}" for label, text in machine(place.section)[:2])
        lines.append(f"reference: measured on another machine: {machines}")
    return lines


def _backend_text(found: recommend.Recommendation) -> str:
    name = labels.name(found.best.case.backend)
    if found.ahead is None:
        return f"{name}, the only one measured"
    if not found.rivals:
        ratio = found.ahead.ratio.ratio
        next_one = labels.name(found.ahead.row.case.backend)
        how = "FASTER than each of the others" if found.fastest else "the shortest time"
        return (
            f"{name}, {how}: {ratio.mid:.2f} times as fast as {next_one}, the next fastest "
            f"({quantities.bounds(ratio.low, ratio.high)})"
        )
    shown = []
    for is_same, text in (
        (True, "equal within 2%: {} (choose by memory or by the time to compile)"),
        (False, "perhaps as fast or faster: {} (measure in more processes to decide)"),
    ):
        names = [
            labels.name(each.row.case.backend)
            for each in found.rivals
            if (each.ratio.verdict is Verdict.SAME) is is_same
        ]
        shown += [text.format(quantities.join_names(names))] if names else []
    return f"{name} has the shortest time; {'; '.join(shown)}"


def _place_text(found: recommend.Recommendation) -> str:
    case = found.best.case
    spec, work = case.spec, case.workload
    shape = "exactly this shape"
    if found.differences:
        shape = f"a nearby shape, not scaled: {_differ(found.differences)}"
    messages = [shape, f"{spec.input_size} in"]
    if work.training:
        messages.append(f"{work.optimizer} updates" if work.optimizer else "without updates")
        messages.append(quantities.GRADIENT_TEXTS[work.gradients])
    if work.training and found.place.kind == "throughput":
        messages.append("complete sequences of that length, without a carried state")
    return f"{', '.join(messages)}; {heading(found.place.section)}"


def _with_interval(interval: Interval) -> str:
    low_high = quantities.seconds_range(interval.low, interval.high, interval.mid)
    return f"{quantities.seconds(interval.mid)} ({low_high})"


def map_source(learned: LearningMap) -> str:
    """Describe a map: its file, its tasks, by what they were learned and for how long."""
    cells = [cell for cell in learned.cells if cell.carried]
    there = [TASK_NAMES[task] for task in learned.tasks()]
    longest = max(cell.timesteps for cell in cells)
    seeds = quantities.count(len({cell.seed for cell in cells}), "seed")
    return (
        f"{labels.name(learned.path.name)}: {quantities.join_names(there)} with "
        f"{labels.name(learned.run.backend)}, {seeds}, {quantities.rate(float(longest))} timesteps "
        f"seen. A distance counts as learned when every seed went {100 * LEARNED:g}% of the way to "
        "the best possible loss"
        + ("; copy memory asks for blanks" if learned.run.settings.get("blanks") is True else "")
        + ("" if learned.run.complete else "; the map is not complete")
    )


# Data


def as_json(
    query: recommend.Query,
    found: recommend.Recommendation | recommend.NoRecommendation,
    learned: LearningMap | None,
    commands: Sequence[str],
) -> str:
    """Return the query and its answer as JSON. ``commands`` measure exactly this shape."""
    if isinstance(found, recommend.NoRecommendation):
        data: dict[str, object] = {
            "answered": False,
            "why": [_explain_briefly(found, query), *_other_shapes(found)],
            "needed_window": _need_data(found),
            "nearest": None if found.nearest is None else _answer_data(found.nearest),
        }
    else:
        data = _answer_data(found)
    return json_text(
        data
        | {
            "question": asdict(query),
            "answer": summary_line(query, found),
            "learned_from": None if learned is None else map_source(learned),
            "measure": list(commands),
        }
    )


def _need_data(found: recommend.Recommendation | recommend.NoRecommendation) -> dict[str, object]:
    need = found.need
    return {"window": need.window, "assumed": need.assumed, "why": window_reason(need)}


_OF_REPORT = (
    *("backend", "peak_memory_bytes", "trace_s", "compile_s", "gradients", "case_id", "session"),
    *("started", "processes", "allowance", "valid", "time_valid"),
)
"""The report's columns on the best row."""


def _answer_data(found: recommend.Recommendation) -> dict[str, object]:
    """Return the answer as plain values."""
    section, longer = found.place.section, found.longer
    return {
        "answered": True,
        "needed_window": _need_data(found),
        "window": found.window,
        "measured_window": found.measured_window,
        "sure": found.fastest,
        "rivals": [_rival_data(each) for each in found.rivals],
        "next": None if found.ahead is None else _rival_data(found.ahead),
        "time_per_step_s": _data(found.step),
        "time_per_timestep_s": _data(found.timestep),
        "exact": not found.differences,
        "differences": {
            name: {"measured": measured, "asked": requested}
            for name, measured, requested in found.differences
        },
        "kind": found.place.kind,
        "own": found.place.own,
        "case": found.best.case.to_dict(),
        "host": section.run.host,
        "machine": dict(machine(section)),
        **{name: COLUMNS[name].value(section, found.best) for name in _OF_REPORT},
        "invalid_reasons": [problem_line(problem) for problem in found.best.result.invalid],
        "time_reasons": [problem_line(problem) for problem in found.best.result.validity.time],
        "longer": longer
        and {
            "window": window(longer.row.case),
            "backend": longer.row.case.backend,
            "time_per_timestep_s": _data(longer.timestep),
            "saves": longer.saves,
            "peak_memory_bytes": longer.row.result.memory.get("peak_bytes"),
        },
    }


def _rival_data(found: recommend.Rival) -> dict[str, object]:
    return {
        "backend": found.row.case.backend,
        "verdict": found.ratio.verdict.value,
        "ratio": _data(found.ratio.ratio),
    }


def _data(interval: Interval) -> dict[str, float | None]:
    parts = ("mid", "low", "high", "confidence")
    return {part: finite(getattr(interval, part)) for part in parts}
