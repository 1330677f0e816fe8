"""Which window, which backend, at what cost: the answer in words, and as data."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.text import Text

from bench.cli import command_line
from bench.records.maps import TASKS, LearningMap
from bench.render import labels
from bench.render.escape import clean, prose
from bench.render.labels import heading, machine
from bench.render.quantities import (
    GRADIENT_WORDS,
    bounds,
    count,
    listed,
    percent,
    seconds,
    seconds_range,
    size,
)
from bench.render.table import json_text
from bench.stats.along import window
from bench.stats.comparison import Verdict
from bench.stats.intervals import ENOUGH_PROCESSES, Interval
from bench.windows.answer import Answer, Longer, NoAnswer, Question, Rival
from bench.windows.learned import Need, words

_NARROWEST = 50
"""Letters in a line: of fewer the labels would leave no room for the texts."""


def in_one_line(question: Question, found: Answer | NoAnswer) -> str:
    """This window, this backend, and what they cost; or what is not known."""
    known = "" if found.need.learned else _known_first(question, found.need)
    if isinstance(found, NoAnswer):
        if question.training:
            start = f"Take windows of {found.need.window}"
            if known:
                start = f"{known}Windows of at least {found.need.window} are assumed"
            return f"{start}; which backend is fastest was not measured: {_in_short(found)}."
        return f"Which backend is the fastest here was not measured: {_in_short(found)}."
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
    told = f"{start}: {_with_interval(found.step)} a step"
    told += "" if peak is None else f", {size(peak)}"
    if found.best.invalid:
        told += "; the measurement is INVALID"
    elif found.rivals:
        told += "; others may be as fast"
    if not found.exact:
        near = ", ".join(f"{name} {got} for {asked}" for name, got, asked in found.differences)
        told += f"; measured at a near shape ({near})"
    return f"{told}."


def _known_first(question: Question, found: Need) -> str:
    """What is known of a window that no map gives, before what is assumed."""
    if not found.known:
        return f"No map says which window learns a dependency of {question.dependency}. "
    return f"{found.known[0].upper()}{found.known[1:]}. "


def _in_short(found: NoAnswer) -> str:
    """Why there is no answer, in the middle of a sentence."""
    return clean(found.why[0]).partition("; there are")[0]


@dataclass(frozen=True)
class Told:
    """An answer in words. first: it in one line. about: what was asked. lines: heading and text.

    commands: what to type to measure precisely that.
    """

    first: str
    about: str
    lines: Sequence[tuple[str, str]]
    commands: Sequence[str]

    def terminal(self, console: Console) -> None:
        """Print it, as wide as the console is."""
        width = max(_NARROWEST, console.width)
        told = [textwrap.fill(self.first, width), "", f"{self.about}:"]
        room = max(len(label) for label, _ in self.lines)
        for label, text in self.lines:
            start = f"  {label:<{room}}  "
            told.append(
                textwrap.fill(text, width, initial_indent=start, subsequent_indent=" " * len(start))
            )
        told += ["To measure precisely this:", *(f"  {command}" for command in self.commands)]
        for line in told:
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


def told(
    question: Question,
    found: Answer | NoAnswer,
    learned: LearningMap | None,
    commands: Sequence[str],
) -> Told:
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
        no_answer(question, found) if isinstance(found, NoAnswer) else full_answer(question, found)
    )
    if learned is not None and question.training:
        lines.append(("learned from", words(learned, TASKS)))
    return Told(
        in_one_line(question, found), about, lines, [command_line.told(each) for each in commands]
    )


def no_answer(question: Question, found: NoAnswer) -> list[tuple[str, str]]:
    """Why there is no answer, as pairs of a heading and a text."""
    first, *rest = found.why
    lines = [
        ("no results", clean(first)),
        *(("", clean(each)) for each in rest),
    ]
    if question.training:
        least = f"at least {found.need.window}"
        why = found.need.why
        lines.insert(0, ("window", f"{least}: {why}" if found.need.learned else f"{why}: {least}"))
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


def full_answer(question: Question, found: Answer) -> list[tuple[str, str]]:
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
        lines.append(("before it", " and ".join(starts)))
    lines.append(("measured", _place_words(found)))
    lines += [("", each) for each in _cautions(found)]
    if found.longer is not None:
        row = found.longer.row
        told = (
            f"windows of {window(row)} take {percent(found.longer.saves)} less time per timestep "
            f"({seconds(found.longer.timestep.mid)}, {labels.name(row.case.backend)})"
        )
        more = row.memory.get("peak_bytes")
        if more is not None and peak is not None and more > peak:
            told += f" and {size(more - peak)} more memory"
        lines.append(("longer", told))
    if found.others:
        told = count(found.others, "other measurement")
        lines.append(("also", f"{told} at hand could have answered; this one comes first"))
    if not place.own:
        machines = "; ".join(f"{label}: {text}" for label, text in machine(place.section)[:2])
        lines.append(("reference", f"these are reference results of another machine: {machines}"))
    return lines


def _window_words(found: Answer) -> str:
    told = f"{count(found.window, 'timestep')}"
    if not found.need.learned:
        return (
            f"{found.need.why}: at least {found.need.window}, and the shortest measured window of "
            f"these has {told}"
        )
    if found.window != found.need.window:
        told += f", the shortest measured one of at least {found.need.window}"
    return f"{told}: {found.need.why}"


def _backend_words(found: Answer) -> str:
    name = labels.name(found.best.case.backend)
    if found.ahead is None:
        return f"{name}, the only one measured"
    if not found.rivals:
        ratio = found.ahead.ratio.ratio
        next_one = labels.name(found.ahead.row.case.backend)
        how = "FASTER than each of the others" if found.sure else "the shortest time"
        return (
            f"{name}, {how}: {ratio.mid:.2f} times as fast as {next_one}, the next "
            f"({bounds(ratio.low, ratio.high)})"
        )
    same = [each for each in found.rivals if each.ratio.verdict is Verdict.SAME]
    told = []
    if same:
        names = listed([labels.name(each.row.case.backend) for each in same])
        told.append(f"the same within 2%: {names} (take the one of less memory or compiling)")
    unclear = [each for each in found.rivals if each not in same]
    if unclear:
        names = listed([labels.name(each.row.case.backend) for each in unclear])
        told.append(f"not known to be slower: {names} (more processes may decide; see below)")
    return f"{name} has the shortest time; {'; '.join(told)}"


def _place_words(found: Answer) -> str:
    case = found.best.case
    spec, work = case.spec, case.workload
    if found.exact:
        shape = "exactly this shape"
    else:
        shape = "a near shape, not scaled: " + ", ".join(
            f"{name} {measured} for {asked}" for name, measured, asked in found.differences
        )
    told = [shape, f"{spec.input_size} in"]
    if work.training:
        told.append(f"{work.optimizer} updates" if work.optimizer else "without updates")
        told.append(GRADIENT_WORDS[found.place.case.workload.gradients])
    if work.training and found.place.kind == "throughput":
        told.append("whole sequences of that length, no state carried")
    return f"{', '.join(told)}; {heading(found.place.section)}"


def _cautions(found: Answer) -> list[str]:
    interval = found.best.interval
    told = []
    if interval is not None and interval.processes < ENOUGH_PROCESSES:
        told.append(f"the interval stands on {interval.how}")
    told += [f"INVALID, do not rely on it: {clean(str(doubt))}" for doubt in found.best.invalid]
    told += [f"doubtful as a time: {clean(str(doubt))}" for doubt in found.best.validity.of_time]
    return told


def _with_interval(interval: Interval) -> str:
    low_high = seconds_range(interval.low, interval.high, interval.mid)
    return f"{seconds(interval.mid)} ({low_high})"


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
