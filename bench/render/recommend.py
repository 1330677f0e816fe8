"""Describe what ``bench.recommend`` found: a window and a backend, or a policy of batching."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeAlias

from rich.console import Console
from rich.text import Text

from bench.records.maps import LEARNED, TASKS, TASKS_IN_WORDS, LearningMap
from bench.render import labels
from bench.render.escape import clean, prose
from bench.render.labels import heading, machine
from bench.render.messages import basis_text, doubt_line
from bench.render.quantities import (
    GRADIENT_WORDS,
    bounds,
    count,
    listed,
    percent,
    rate,
    seconds,
    seconds_range,
    size,
    with_range,
)
from bench.render.table import Column, Sheet, json_text, numbers
from bench.stats.along import window
from bench.stats.batching import (
    BEYOND,
    SIMPLER,
    Advice,
    Advised,
    BatchingQuery,
    BatchPlan,
    NoAdvice,
    other_sizes,
)
from bench.stats.comparison import Verdict
from bench.stats.intervals import ENOUGH_PROCESSES, Interval
from bench.stats.recommend import (
    LEAST_RATIO,
    NEAR,
    Longer,
    NeededWindow,
    NoRecommendation,
    Query,
    Recommendation,
    Rival,
)

_MOST_SHAPES = 5

Parts: TypeAlias = tuple[tuple[str, ...], tuple[tuple[str, Sheet], ...], tuple[str, ...]]
"""Lines, tables with their titles, and more lines."""

_NARROWEST = 50
"""Letters in a line: of fewer the labels would leave no room for the texts."""


def in_one_line(question: Query, found: Recommendation | NoRecommendation) -> str:
    """This window, this backend, and what they cost; or what is not known."""
    known = _known_first(found.need) if found.need.assumed else ""
    if isinstance(found, NoRecommendation):
        if question.training:
            start = f"Take windows of {found.need.window}"
            if known:
                start = f"{known}Windows of at least {found.need.window} are assumed"
            return (
                f"{start}; which backend is fastest was not measured: {_in_short(found, question)}."
            )
        return f"Which backend is the fastest here was not measured: {_in_short(found, question)}."
    name = labels.name(found.best.case.backend)
    if question.training:
        # What was measured may be longer than the sequences are: then it is only what they cost.
        length = min(found.window, question.steps or found.window)
        start = f"Take windows of {length} and {name}"
        if known:
            start = f"{known}Assuming at least {found.need.window}, take {length} and {name}"
    else:
        start = f"Take {name}"
    peak = found.best.memory.get("peak_bytes")
    text = f"{start}: {_with_interval(found.step)} a step"
    text += "" if peak is None else f", {size(peak)}"
    if found.best.invalid:
        text += "; the measurement is INVALID"
    elif found.rivals:
        text += "; others may be equally fast"
    if not found.exact:
        near = ", ".join(
            f"{name} {got} for {requested}" for name, got, requested in found.differences
        )
        text += f"; measured at a near shape ({near})"
    return f"{text}."


def _known_first(found: NeededWindow) -> str:
    """Say what is known of a dependency that no map gives a window for."""
    if found.tried is None:
        return f"No map says which window learns a dependency of {found.dependency}. "
    known = _tried(found)
    return f"{known[0].upper()}{known[1:]}. "


def _in_short(found: NoRecommendation, question: Query) -> str:
    """Say why there is no answer, within a sentence."""
    why, what = found.why, "windows" if question.training else "sequences"
    if why.code == "windows_too_short":
        return (
            f"the longest window that was measured near this shape is {why.lengths[-1]}; "
            f"{found.need.window} are needed"
        )
    if why.code == "other_lengths":
        there = listed([str(each) for each in why.lengths], most=12)
        return (
            f"{what} of about {found.need.window} were not measured near this shape, only {there}"
        )
    if why.code == "other_mode":
        return f"there are no results of {question.mode}"
    if why.code == "other_device":
        devices = ", ".join(map(clean, why.devices))
        return f"nothing was measured on {question.device}; there are results on {devices}"
    return (
        f"no shape within a factor of {NEAR:g} was measured in {question.mode} on {question.device}"
    )


def _other_shapes(found: NoRecommendation) -> list[str]:
    shapes = dict.fromkeys(
        f"batch {case.workload.batch}, {case.spec.hidden_size} hidden, {case.spec.input_size} in, "
        f"{count(case.spec.num_layers, 'layer')}, {case.spec.dtype}"
        for case in found.why.cases
    )
    more = [f"and {len(shapes) - _MOST_SHAPES} more"] if len(shapes) > _MOST_SHAPES else []
    return [*list(shapes)[:_MOST_SHAPES], *more]


def needed(found: NeededWindow) -> str:
    """Say why a dependency needs a window, and what of it is an assumption."""
    if found.cut is not None:
        whole = replace(found, window=found.cut, cut=None)
        return (
            "the whole sequence, with nothing cut: a longer one would need "
            f"{found.cut} ({needed(whole)})"
        )
    if found.factor is None and not found.reached:
        return "inference runs forward only, so the window does not limit what it remembers"
    if found.factor is None:
        messages = [
            f"{TASKS_IN_WORDS[task]} of {distance} was learned in windows of {window}"
            for task, (distance, window) in found.reached.items()
        ]
        messages += [
            f"{TASKS_IN_WORDS[task]} only up to {distance}, in windows of {window}"
            for task, (distance, window) in found.ended.items()
        ]
        messages += [f"{TASKS_IN_WORDS[task]} not at all" for task in found.never]
        return f"{listed(messages)}, by every seed, with the state carried"
    if found.factor > LEAST_RATIO:
        reason = "as many times as the learned distances took"
    else:
        reason = "with which more than half of a window's positions reach back to their input"
    known = "there is no map of what windows learn" if found.tried is None else _tried(found)
    times = f"{float(found.factor):.3g} times the dependency and one timestep"
    return f"{known}; assumed is {times}, {reason}"


def _tried(found: NeededWindow) -> str:
    """Say what a map has of a dependency that no task learned."""
    if not found.tried:
        return "the map holds nothing with the state carried"
    shown = []
    for each in found.tried:
        name, (first, last) = TASKS_IN_WORDS[each.task], each.windows
        if each.distance is not None and each.some:
            how = "only in shorter windows than shorter distances took"
            shown.append(f"{name} of {each.distance} was learned {how}")
        elif each.distance is not None:
            span = f"{first} to {last}" if last > first else str(first)
            shown.append(f"{name} of {each.distance} was learned in no window ({span})")
        elif each.learned:
            shown.append(f"{name} was tried up to {each.furthest} only")
        else:
            shown.append(f"{name} was learned at no distance")
    reached = f"distances up to {found.furthest} were learned; " if found.furthest else ""
    start = f"no window is known to learn a dependency of {found.dependency}"
    return f"{start}: {reached}{listed(shown)}"


@dataclass(frozen=True)
class RecommendationText:
    """An answer in words. first: it in one line. about: what was requested. lines: heading and
    text.

    commands: what to type to measure precisely that.
    """

    first: str
    about: str
    lines: Sequence[tuple[str, str]]
    commands: Sequence[str]

    def terminal(self, console: Console) -> None:
        """Print it, as wide as the console is."""
        width = max(_NARROWEST, console.width)
        messages = [textwrap.fill(self.first, width), "", f"{self.about}:"]
        space = max(len(label) for label, _ in self.lines)
        for label, text in self.lines:
            start = f"  {label:<{space}}  "
            messages.append(
                textwrap.fill(text, width, initial_indent=start, subsequent_indent=" " * len(start))
            )
        messages += ["To measure precisely this:", *(f"  {command}" for command in self.commands)]
        for line in messages:
            console.print(Text(line), soft_wrap=True)

    def markdown(self) -> str:
        """The same for a pull request or a README; text from files is escaped."""
        blocks = [f"**{prose(self.first)}**"]
        blocks.append(f"{prose(self.about)}:")
        blocks.append(
            "\n".join(
                f"- {f'{label}: ' if label else ''}{prose(text)}" for label, text in self.lines
            )
        )
        blocks += ["To measure precisely this:", "\n".join(f"    {each}" for each in self.commands)]
        return "\n\n".join(blocks) + "\n"


def recommendation_text(
    question: Query,
    found: Recommendation | NoRecommendation,
    learned: LearningMap | None,
    commands: Sequence[str],
) -> RecommendationText:
    """The answer in words."""
    layers = f", {question.num_layers} layers" if question.num_layers > 1 else ""
    inputs = f", {question.input_size} in" if question.input_size else ""
    steps = "" if question.steps is None else f" of {count(question.steps, 'timestep')}"
    if question.training:
        what = f"a dependency of {count(question.dependency, 'timestep')}"
        what += f" in sequences{steps}" if steps else ""
    else:
        what = f"sequences{steps}"
    about = (
        f"For {what}, batch {question.batch}{inputs}, {question.hidden_size} hidden{layers}, "
        f"{question.dtype}, {question.mode} on {question.device}"
    )
    lines = (
        no_answer(question, found)
        if isinstance(found, NoRecommendation)
        else full_answer(question, found)
    )
    if learned is not None and question.training:
        lines.append(("learned from", map_source(learned, TASKS)))
    return RecommendationText(in_one_line(question, found), about, lines, list(commands))


def no_answer(question: Query, found: NoRecommendation) -> list[tuple[str, str]]:
    """Why there is no answer, as pairs of a heading and a text."""
    short = _in_short(found, question)
    shapes = _other_shapes(found)
    lines = [("no results", f"{short}; there are:" if shapes else short)]
    lines += [("", each) for each in shapes]
    if question.training:
        least, why = f"at least {found.need.window}", needed(found.need)
        lines.insert(0, ("window", f"{why}: {least}" if found.need.assumed else f"{least}: {why}"))
    if (near := found.nearest) is not None:
        case = near.best.case
        what = f"windows of {near.window}" if question.training else f"{near.window} timesteps"
        lines.append(
            (
                "the nearest",
                f"batch {case.workload.batch}, {case.spec.hidden_size} hidden, "
                f"{case.spec.input_size} in: there, at {what}, {_backend_words(near)}; "
                f"{_with_interval(near.step)} a step, which says nothing of what it takes here",
            )
        )
    return lines


def full_answer(question: Query, found: Recommendation) -> list[tuple[str, str]]:
    """The answer, as pairs of a heading and a text."""
    best, place = found.best, found.place
    timestep, step = found.timestep, found.step
    lines = [("window", _window_words(found))] if question.training else []
    lines += [
        ("backend", _backend_words(found)),
        ("per step", _with_interval(step)),
        ("per timestep", f"{_with_interval(timestep)}, of the whole batch"),
    ]
    peak = best.memory.get("peak_bytes")
    lines.append(("memory", "was not measured" if peak is None else f"{size(peak)} at its peak"))
    setup = best.setup or {}
    starts = [
        f"{word} {seconds(value)}"
        for word, key in (("trace", "trace_s"), ("compile", "compile_s"))
        if (value := setup.get(key)) is not None
    ]
    if starts:
        lines.append(("startup", " and ".join(starts)))
    lines.append(("measured", _place_words(found)))
    lines += [("", each) for each in _cautions(found)]
    if found.longer is not None:
        row = found.longer.row
        message = (
            f"windows of {window(row)} take {percent(found.longer.saves)} less time per timestep "
            f"({seconds(found.longer.timestep.mid)}, {labels.name(row.case.backend)})"
        )
        more = row.memory.get("peak_bytes")
        if more is not None and peak is not None and more > peak:
            message += f" and {size(more - peak)} more memory"
        lines.append(("longer", message))
    if found.others:
        message = count(found.others, "other measurement")
        lines.append(("also", f"{message} of such work; this one ranks first"))
    if not place.own:
        machines = "; ".join(f"{label}: {text}" for label, text in machine(place.section)[:2])
        lines.append(("reference", f"these are reference results of another machine: {machines}"))
    return lines


def _window_words(found: Recommendation) -> str:
    text = f"{count(found.window, 'timestep')}"
    if found.need.assumed:
        return (
            f"{needed(found.need)}: at least {found.need.window}, and the shortest measured window "
            f"of these has {text}"
        )
    if found.window != found.need.window:
        text += f", the shortest measured one of at least {found.need.window}"
    return f"{text}: {needed(found.need)}"


def _backend_words(found: Recommendation) -> str:
    name = labels.name(found.best.case.backend)
    if found.ahead is None:
        return f"{name}, the only one measured"
    if not found.rivals:
        ratio = found.ahead.ratio.ratio
        next_one = labels.name(found.ahead.row.case.backend)
        how = "FASTER than each of the others" if found.fastest else "the shortest time"
        return (
            f"{name}, {how}: {ratio.mid:.2f} times as fast as {next_one}, the next "
            f"({bounds(ratio.low, ratio.high)})"
        )
    same = [each for each in found.rivals if each.ratio.verdict is Verdict.SAME]
    shown = []
    if same:
        names = listed([labels.name(each.row.case.backend) for each in same])
        shown.append(f"the same within 2%: {names} (take the one of less memory or compiling)")
    unclear = [each for each in found.rivals if each not in same]
    if unclear:
        names = listed([labels.name(each.row.case.backend) for each in unclear])
        shown.append(f"not significantly slower: {names} (more processes may decide)")
    return f"{name} has the shortest time; {'; '.join(shown)}"


def _place_words(found: Recommendation) -> str:
    case = found.best.case
    spec, work = case.spec, case.workload
    if found.exact:
        shape = "exactly this shape"
    else:
        shape = "a near shape, not scaled: " + ", ".join(
            f"{name} {measured} for {requested}" for name, measured, requested in found.differences
        )
    messages = [shape, f"{spec.input_size} in"]
    if work.training:
        messages.append(f"{work.optimizer} updates" if work.optimizer else "without updates")
        messages.append(GRADIENT_WORDS[found.place.case.workload.gradients])
    if work.training and found.place.kind == "throughput":
        messages.append("whole sequences of that length, no state carried")
    return f"{', '.join(messages)}; {heading(found.place.section)}"


def _cautions(found: Recommendation) -> list[str]:
    interval = found.best.interval
    messages = []
    if interval is not None and interval.processes < ENOUGH_PROCESSES:
        messages.append(f"the interval stands on {basis_text(interval.basis)}")
    messages += [
        f"INVALID, do not rely on it: {clean(doubt_line(doubt))}" for doubt in found.best.invalid
    ]
    messages += [
        f"unreliable as a time: {clean(doubt_line(doubt))}" for doubt in found.best.validity.of_time
    ]
    return messages


def _with_interval(interval: Interval) -> str:
    low_high = seconds_range(interval.low, interval.high, interval.mid)
    return f"{seconds(interval.mid)} ({low_high})"


def as_json(
    question: Query,
    found: Recommendation | NoRecommendation,
    learned: LearningMap | None,
    commands: Sequence[str],
) -> str:
    """The question and its answer; commands: what measures precisely that."""
    data = (
        no_answer_data(question, found)
        if isinstance(found, NoRecommendation)
        else answer_data(found)
    )
    document = data | {
        "question": asdict(question),
        "answer": in_one_line(question, found),
        "learned_from": None if learned is None else map_source(learned, TASKS),
        "measure": list(commands),
    }
    return json_text(document)


def no_answer_data(question: Query, found: NoRecommendation) -> dict[str, object]:
    """That there is no answer, why, and what would make one."""
    return {
        "answered": False,
        "why": [_in_short(found, question), *_other_shapes(found)],
        "needed_window": _need_data(found),
        "nearest": None if found.nearest is None else answer_data(found.nearest),
    }


def _need_data(found: Recommendation | NoRecommendation) -> dict[str, object]:
    return {
        "window": found.need.window,
        "assumed": found.need.assumed,
        "why": needed(found.need),
    }


def answer_data(found: Recommendation) -> dict[str, object]:
    """The answer as plain values."""
    case, setup = found.best.case, found.best.setup or {}
    return {
        "answered": True,
        "needed_window": _need_data(found),
        "window": found.window,
        "backend": case.backend,
        "sure": found.fastest,
        "rivals": [_rival_data(each) for each in found.rivals],
        "next": None if found.ahead is None else _rival_data(found.ahead),
        "time_per_step_s": _data(found.step),
        "time_per_timestep_s": _data(found.timestep),
        "peak_memory_bytes": found.best.memory.get("peak_bytes"),
        "trace_s": setup.get("trace_s"),
        "compile_s": setup.get("compile_s"),
        "exact": found.exact,
        "differences": {
            name: {"measured": measured, "asked": requested}
            for name, measured, requested in found.differences
        },
        "kind": found.place.kind,
        "gradients": found.place.case.workload.gradients if case.workload.training else None,
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
        "invalid_reasons": [doubt_line(doubt) for doubt in found.best.invalid],
        "time_valid": not found.best.validity.time,
        "time_reasons": [doubt_line(doubt) for doubt in found.best.validity.time],
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


def map_source(learned: LearningMap, tasks: Sequence[str] = ("echo",)) -> str:
    """Describe a map: its file, its tasks, by what they were learned and for how long."""
    cells = [cell for cell in learned.cells if cell.task in tasks and cell.carried]
    there = [TASKS_IN_WORDS[task] for task in tasks if any(cell.task == task for cell in cells)]
    longest = max(cell.timesteps for cell in cells)
    seeds = count(len({cell.seed for cell in cells}), "seed")
    return (
        f"{labels.name(learned.path.name)}: {listed(there)} with "
        f"{labels.name(learned.run.backend)}, {seeds}, {rate(float(longest))} timesteps "
        f"seen; learned is {100 * LEARNED:g}% of the way to the best possible loss, by every seed"
        + ("; copy memory asks for blanks" if learned.run.settings.get("blanks") is True else "")
        + ("" if learned.run.complete else "; not all of it was measured")
    )


# -- batching

MOST_SHOWN = 8
"""Policies in the table: the cheapest, and both ways of padding whatever they cost."""


def batching(question: BatchingQuery, found: Advice | NoAdvice, command: str) -> Parts:
    """Return the decision and what was weighed; command: what measures it."""
    if isinstance(found, NoAdvice):
        why = f"No answer: {_no_advice(question, found)}."
        return (why, f"Measure it: {command}"), (), ()
    first = found.backends[0]
    return (
        (_decision(first, question), _bound(first)),
        (
            (f"Policies of {labels.name(first.recorded.backend)}", _policies(first, question)),
            ("Each backend's policy", _backends(found)),
        ),
        (*_grounds(found), f"Modelled from recorded cases, not measured. Measure it: {command}"),
    )


def _decision(first: Advised, question: BatchingQuery) -> str:
    best, line = first.best, first.recorded.line
    cost = best.cost(line, question.passes)
    whole = next(plan for plan in first.plans if plan.shapes == 1 and not plan.edges)
    edges = [f"{each:,}" for each in best.edges]
    where = f", up to {listed(edges, 16)} timesteps" if edges else ""
    passes = (
        f"{count(question.passes, 'pass')} over {count(int(question.lengths.size), 'sequence')}"
    )
    gain = whole.cost(line, question.passes) / cost if cost > 0 else 1.0
    return (
        f"{labels.name(first.recorded.backend)}, {plan_name(best)}{where}: "
        f"{seconds(cost)} for {passes}, "
        f"{gain:.3g} times as fast as padding all to the longest; {best.padding:.0%} of what it "
        f"computes is padding, and it has {count(best.shapes, 'shape')}."
    )


def _bound(first: Advised) -> str:
    if first.regret is None:
        return "No process measured every length, so that there is no bound of what it can lose."
    return (
        "By the bounds of the recorded times it costs at most "
        f"{100 * first.regret:.2g}% more than the best policy of this backend; of those within "
        f"{SIMPLER:.0%} of the cheapest it has the fewest shapes."
    )


def _policies(first: Advised, question: BatchingQuery) -> Sheet:
    shown = list(first.plans[:MOST_SHOWN])
    shown += [plan for plan in first.plans[MOST_SHOWN:] if not plan.edges]
    line = first.recorded.line
    return Sheet.of(
        [
            Column("policy"),
            *numbers("batches", "shapes", "padding", count(question.passes, "pass")),
            *numbers("of it new shapes", "a batch later"),
        ],
        [
            [
                plan_name(plan),
                f"{plan.count:,}",
                f"{plan.shapes:,}",
                f"{plan.padding:.0%}",
                seconds(plan.cost(line, question.passes)),
                seconds(line.shape * plan.shapes) if line.shape else "",
                seconds(plan.steady(line) / plan.count),
            ]
            for plan in shown
        ],
    )


def _backends(found: Advice) -> Sheet:
    return Sheet.of(
        [
            Column("backend", names=True),
            Column("its policy"),
            *numbers(count(found.question.passes, "pass"), "at most more"),
            *map(Column, ("a batch", "a timestep")),
            *numbers("a new shape"),
        ],
        [_backend(each, found.question) for each in found.backends],
    )


def _backend(each: Advised, question: BatchingQuery) -> Sequence[str]:
    known = each.recorded
    fit, line = known.fit, known.line
    return [
        known.backend,
        plan_name(each.best),
        seconds(each.best.cost(line, question.passes)),
        "" if each.regret is None else f"{100 * each.regret:.2g}%",
        with_range(fit.line.fixed, fit.fixed),
        with_range(fit.line.per_timestep, fit.per_timestep),
        seconds(line.shape) if known.anew else "none",
    ]


def _grounds(found: Advice) -> list[str]:
    """Where the numbers are from, and what is not the same as what was requested."""
    row = found.backends[0].recorded.rows[0]
    spec, work, question = row.case.spec, row.case.workload, found.question
    steps = sorted({each for known in found.backends for each in known.recorded.timesteps})
    sizes = f"batch {work.batch}, {spec.input_size} in, {spec.hidden_size} hidden"
    lines = [
        f"From {heading(found.section)}: {sizes}, {listed(list(map(str, steps)))} timesteps; a "
        "batch is taken to cost a fixed time and one of each timestep, whole sequences without a "
        "mask, and each new number of timesteps the tracing and compiling that were recorded."
    ]
    other = [
        f"{what} {want} was asked, {have} measured"
        for what, have, want in other_sizes(question, row)
    ]
    if other:
        lines.append(f"A near shape: {'; '.join(other)}.")
    if (most := int(question.lengths.max())) > steps[-1]:
        lines.append(f"Lengths of up to {most:,} lie beyond those that were measured.")
    return lines


def batching_data(
    question: BatchingQuery, found: Advice | NoAdvice, command: str
) -> dict[str, object]:
    """The same for other programs: seconds are never scaled."""
    if isinstance(found, NoAdvice):
        return {"answered": False, "reason": _no_advice(question, found), "command": command}
    return {
        "answered": True,
        "modelled": True,
        "command": command,
        "passes": found.question.passes,
        "backends": [
            {
                "backend": each.recorded.backend,
                "regret_at_most": each.regret,
                "fixed_s": each.recorded.line.fixed,
                "per_timestep_s": each.recorded.line.per_timestep,
                "new_shape_s": each.recorded.line.shape,
                "policies": [
                    {
                        "policy": plan_name(plan),
                        "edges": list(plan.edges),
                        "batches": plan.count,
                        "shapes": plan.shapes,
                        "padding": plan.padding,
                        "cost_s": plan.cost(each.recorded.line, found.question.passes),
                        "steady_s": plan.steady(each.recorded.line),
                    }
                    for plan in each.plans
                ],
            }
            for each in found.backends
        ],
    }


def _no_advice(question: BatchingQuery, found: NoAdvice) -> str:
    if found.longest is not None:
        return (
            f"the longest of these sequences has {found.longest:,} timesteps, over {BEYOND:g} "
            "times as many as were measured at a near shape"
        )
    return (
        f"no shape within a factor of {NEAR:g} was measured in {question.mode} on "
        f"{question.device} at three lengths or more"
    )


def plan_name(plan: BatchPlan) -> str:
    """Name the policy of a plan."""
    if plan.policy == "longest":
        return "padded to the longest of all"
    if plan.policy == "batch":
        return "padded to the batch's longest"
    how = {"equal": "equal counts", "optimal": "optimal edges"}.get(plan.policy, plan.policy)
    return f"{count(len(plan.batches), 'bucket')}, {how}"
