"""Judge the results, and make the tables of docs/real_models.md."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bench.render.quantities import bounds, count, percent, ratio, seconds
from bench.render.table import markdown_table
from bench.stats.comparison import Comparison, Verdict
from bench.stats.ratios import RunSamples, compare
from research.real_models.networks import NETWORKS, Case, Network
from research.real_models.packages import PACKAGES
from research.real_models.records import Results, WayRecord
from research.real_models.ways import AFTER, BEFORE, COMPILED, ONNXRUNTIME, XLA

LITTLE = 1.1
"""A model that becomes less than this many times as fast gains little."""


@dataclass(frozen=True)
class Gain:
    """Hold how many times as fast a way is as the model as it is.

    Attributes
    ----------
    speedup, low, high
        The ratio with its interval.
    verdict
        What the comparison says of it.
    """

    speedup: float
    low: float
    high: float
    verdict: Verdict

    @classmethod
    def of(cls, found: Comparison) -> Gain:
        """Return the gain of a comparison, whose ratio is one of times."""
        times = found.ratio
        return cls(1 / times.mid, 1 / times.high, 1 / times.low, found.verdict)

    def __str__(self) -> str:
        verdict = "" if self.verdict is Verdict.FASTER else f" {self.verdict.value}"
        return f"{ratio(self.speedup)}× ({bounds(self.low, self.high)}){verdict}"


@dataclass(frozen=True)
class CaseResult:
    """Hold what was found for one case of a model.

    Attributes
    ----------
    network, case
        The model and the case.
    before, after
        The seconds of a call of the whole model, or None if the way was not timed.
    gains, processor_gains
        How many times as fast the whole model is in each way, and by processor time.
    recurrent
        How many times as fast the recurrent layers alone are after ``accelerate``, or None.
    recurrent_onnx
        The same for ONNX Runtime, or None.
    share
        The part of the time of a call that the recurrent layers take in the model as it is.
    """

    network: Network
    case: Case
    before: float | None
    after: float | None
    gains: Mapping[str, Gain]
    processor_gains: Mapping[str, Gain]
    recurrent: Gain | None
    recurrent_onnx: Gain | None
    share: float | None


def judge(results: Results) -> list[CaseResult]:
    """Return what was found for all cases that were measured, in the order of the networks."""
    found = []
    for network in NETWORKS.values():
        for case in network.cases:
            if results.list_ways(network.name, case.key, "whole", BEFORE):
                found.append(_judge_case(results, network, case))
    return found


def _judge_case(results: Results, network: Network, case: Case) -> CaseResult:
    def runs(part: str, way: str, processor: bool = False) -> list[RunSamples]:
        return _collect(results.list_ways(network.name, case.key, part, way), processor)

    def gain(part: str, way: str, processor: bool = False) -> Gain | None:
        new, base = runs(part, way, processor), runs(part, BEFORE, processor)
        return Gain.of(compare(new, base)) if new and base else None

    ways = (AFTER, COMPILED, XLA, ONNXRUNTIME)
    whole = {way: found for way in ways if (found := gain("whole", way))}
    processor = {way: found for way in ways if (found := gain("whole", way, True))}
    before, recurrent = _median(runs("whole", BEFORE)), _median(runs("recurrent", BEFORE))
    return CaseResult(
        network,
        case,
        before,
        _median(runs("whole", AFTER)),
        whole,
        processor,
        gain("recurrent", AFTER),
        gain("recurrent", ONNXRUNTIME),
        None if before is None or recurrent is None else min(1.0, recurrent / before),
    )


def _collect(ways: list[WayRecord], processor: bool) -> list[RunSamples]:
    """Return the samples of the processes that timed a way."""
    found = []
    for number, way in enumerate(ways):
        times = way.processor if processor else way.wall
        if times and min(times) > 0.0:
            rounds = np.arange(len(times))
            found.append(RunSamples(str(number), np.array(times), rounds, started=float(number)))
    return found


def _median(runs: list[RunSamples]) -> float | None:
    return statistics.median(float(np.median(run.samples)) for run in runs) if runs else None


def explain_little(found: CaseResult) -> str:
    """Return why a model gains little, or an empty string if it gains more than ``LITTLE``."""
    gain = found.gains.get(AFTER)
    if gain is None or gain.speedup >= LITTLE:
        return ""
    if found.recurrent is None or found.share is None:
        return "The recurrent layers were not timed alone."
    if found.recurrent.speedup < LITTLE:
        return (
            f"The recurrent layers alone become only {ratio(found.recurrent.speedup)} times as "
            "fast."
        )
    expected = 1 / (1 - found.share + found.share / found.recurrent.speedup)
    if expected >= LITTLE:
        return (
            f"The recurrent layers take {percent(found.share)} of the time and become "
            f"{ratio(found.recurrent.speedup)} times as fast, so the model should gain more. The "
            "times of these processes differ too much to say."
        )
    most = 1 / (1 - found.share)
    return (
        f"The recurrent layers take {percent(found.share)} of the time and become "
        f"{ratio(found.recurrent.speedup)} times as fast. Without them, the model would be "
        f"{ratio(most)} times as fast."
    )


def list_problems(results: Results) -> list[tuple[str, str]]:
    """Return the ways that were not timed, each with its reason, and how many processes found it.

    A difference beyond the tolerance is such a reason.
    """
    found: dict[str, list[str]] = {}
    for process in results.processes:
        for case in process.cases:
            for name, way in case.ways.items():
                if way.problem:
                    key = f"{process.network}, {case.case}, {case.part}: {name}"
                    found.setdefault(key, []).append(way.problem)
    return [(key, reasons[0]) for key, reasons in found.items()]


def list_amplified(results: Results) -> dict[str, tuple[float, float, float]]:
    """Return the cases in which only float64 could judge the accelerated model.

    Each has the largest differences that any process found: between the two models, of the model
    as it is from float64, and of the accelerated model from float64.
    """
    found: dict[str, tuple[float, float, float]] = {}
    for process in results.processes:
        for case in process.cases:
            way = case.ways.get(AFTER)
            if way is None or way.from_float64 is None or way.before_from_float64 is None:
                continue
            key = f"{process.network}, {case.case}, {case.part}"
            new = (way.error or 0.0, way.before_from_float64, way.from_float64)
            old = found.get(key, (0.0, 0.0, 0.0))
            found[key] = (max(old[0], new[0]), max(old[1], new[1]), max(old[2], new[2]))
    return found


def measure_worst_error(results: Results, way: str) -> float:
    """Return the largest difference of a way from the model as it is.

    Ways that were not timed, and those that float64 judged, do not count.
    """
    errors = [
        record.error
        for process in results.processes
        for case in process.cases
        for name, record in case.ways.items()
        if name == way
        and not record.problem
        and record.error is not None
        and record.from_float64 is None
    ]
    return max(errors, default=0.0)


# Tables


def make_models_table() -> str:
    """Return the table of the models and of the packages that contain their weights."""
    lines = []
    for network in NETWORKS.values():
        package = PACKAGES[network.package]
        name = f"{package.name} {package.version}"
        columns = (network.purpose, network.layers, network.framework, network.origin)
        lines.append([network.name, name, *columns])
    headings = ("model", "package", "used to", "layers", "framework", "code of the model")
    return markdown_table(headings, [False] * len(headings), lines)


def _make_times_table(results: Results, mode: str) -> str:
    headings = (
        *("model", "one call", "batch × timesteps", "as it is", "accelerated", "times as fast"),
        *("by CPU time", "recurrent layers alone", "their share"),
    )
    lines = [
        [
            found.network.name,
            found.case.call,
            f"{found.case.batch}×{found.case.steps}",
            _format_time(found.before),
            _format_time(found.after),
            _format_gain(found.gains.get(AFTER)),
            _format_gain(found.processor_gains.get(AFTER)),
            _format_gain(found.recurrent),
            "" if found.share is None else percent(found.share),
        ]
        for found in judge(results)
        if found.case.mode == mode
    ]
    table = markdown_table(headings, [False] * 2 + [True] * 7, lines)
    return f"{table}\n\n{describe(results)}"


def _make_others_table(results: Results) -> str:
    headings = (
        *("model", "mode", "batch × timesteps", "accelerated", COMPILED, "Keras with XLA"),
        *(ONNXRUNTIME, "recurrent layers: accelerated", f"recurrent layers: {ONNXRUNTIME}"),
    )
    lines = [
        [
            found.network.name,
            found.case.mode,
            f"{found.case.batch}×{found.case.steps}",
            *(_format_gain(found.gains.get(each)) for each in (AFTER, COMPILED, XLA, ONNXRUNTIME)),
            _format_gain(found.recurrent),
            _format_gain(found.recurrent_onnx),
        ]
        for found in judge(results)
    ]
    return markdown_table(headings, [False] * 2 + [True] * 7, lines)


def _make_little_table(results: Results) -> str:
    lines = [
        [
            found.network.name,
            found.case.mode,
            f"{found.case.batch}×{found.case.steps}",
            _format_gain(found.gains.get(AFTER)),
            reason,
        ]
        for found in judge(results)
        if (reason := explain_little(found))
    ]
    if not lines:
        return f"Every call becomes at least {LITTLE} times as fast."
    headings = ("model", "mode", "batch × timesteps", "times as fast", "why it is not more")
    return markdown_table(headings, [False, False, True, True, False], lines)


def _make_problems_table(results: Results) -> str:
    lines = [list(each) for each in list_problems(results)]
    lines += [[name, reason] for name, reason in results.unavailable.items()]
    if not lines:
        return "Every way of every case was compared and timed."
    return markdown_table(("not timed", "reason"), [False, False], lines)


def describe(results: Results) -> str:
    """Return a sentence about the machine, the versions and the number of processes."""
    machine = results.machine
    numbers = sorted({len(results.list_processes(name)) for name in NETWORKS} - {0})
    span = " to ".join(map(str, sorted({numbers[0], numbers[-1]}))) if numbers else "0"
    versions = ", ".join(f"{name} {version}" for name, version in machine.libraries.items())
    return (
        f"{machine.cpu}, {count(machine.processors, 'core')}, {count(machine.threads, 'thread')}; "
        f"{machine.python}, {versions}; {span} processes of each model."
    )


def _format_time(value: float | None) -> str:
    return "" if value is None else seconds(value)


def _format_gain(found: Gain | None) -> str:
    return "" if found is None else str(found)


def _make_errors_table(results: Results) -> str:
    """Return the largest differences from the model as it is, and the cases judged by float64."""
    ways = (AFTER, COMPILED, XLA, ONNXRUNTIME)
    lines = [[NAMES.get(way, way), f"{measure_worst_error(results, way):.1g}"] for way in ways]
    text = markdown_table(("way", "largest difference"), [False, True], lines)
    amplified = [
        [key, *(f"{each:.1g}" for each in errors)]
        for key, errors in list_amplified(results).items()
    ]
    if not amplified:
        return text
    headings = (
        *("judged by float64", "difference", "as it is, from float64"),
        "accelerated, from float64",
    )
    return f"{text}\n\n{markdown_table(headings, [False, True, True, True], amplified)}"


NAMES = {AFTER: "accelerated", XLA: "Keras with XLA"}
"""The names of the ways in headings, where they differ from those in the results."""

TABLES: Mapping[str, Callable[[Results], str]] = {
    "inference": lambda results: _make_times_table(results, "inference"),
    "training": lambda results: _make_times_table(results, "training"),
    "others": _make_others_table,
    "little": _make_little_table,
    "problems": _make_problems_table,
    "errors": _make_errors_table,
}
"""The tables of the page, by name."""
