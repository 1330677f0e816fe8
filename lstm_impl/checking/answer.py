"""Compose the answer of a check in words, for a terminal, a pull request or an exception."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from lstm_impl.checking.causes import Cause
from lstm_impl.checking.deviation import Deviation, find_gate
from lstm_impl.checking.result import CheckedNetwork, CheckFindings
from lstm_impl.proof.comparison import is_weight_gradient
from lstm_impl.proof.kinds import describe_error
from lstm_impl.spec import LSTMSpec


class CheckResult(CheckFindings):
    """Hold the findings of ``check``.

    The result is true if the implementation is right. ``str(result)`` is the answer in words.
    """

    def __str__(self) -> str:
        return compose_text(self)


MOST_ARRAYS = 6
"""The most arrays that the answer describes for one network. It counts the remaining ones."""

KINDS = {
    "": "random numbers",
    "zeros": "an input of zeros",
    "repeats": "an input that repeats",
    "saturated": "kernels and inputs 8 times as large",
    "separate": "one product in each sum",
    "large": "large gate inputs, weights and gradients",
    "not finite": "an input with NaN and infinity",
}
"""A short description of each network of the gate, by the name of its kind."""


def compose_text(result: CheckFindings) -> str:
    """Return the answer as plain lines for a terminal."""
    return "\n".join(_compose_lines(result))


def compose_markdown(result: CheckFindings) -> str:
    """Return the answer as Markdown for a pull request."""
    verdict = "computes" if result.passed else "does not compute"
    sign = "✅" if result.passed else "❌"
    target, family = _escape_markdown(result.target), _name_cell_family(result)
    lines = [f"### {sign} `{target}` {verdict} the reference's {family}", ""]
    for network in result.networks:
        mark = "✅" if network.result.passed else "❌"
        lines.append(f"- {mark} {describe_network(network)}: {_summarize_comparisons(network)}")
    lines.append("")
    causes = _list_causes(result)
    if causes:
        lines += ["**Likely cause**", "", *(f"- {_escape_markdown(line)}" for line in causes), ""]
    for network in _select_described(result):
        lines += [f"**{describe_network(network)}**", ""]
        lines += [f"- {_escape_markdown(line)}" for line in _list_differences(network)]
        lines.append("")
    lines += [f"> {_escape_markdown(note)}" for note in result.notes]
    return "\n".join(lines).rstrip() + "\n"


def _escape_markdown(text: str) -> str:
    """Escape the characters that Markdown would interpret."""
    return "".join(f"\\{each}" if each in "*_`<>|[]#" else each for each in text)


def _name_cell_family(result: CheckFindings) -> str:
    """Return the family of cells that was checked: GRU or LSTM."""
    names = {network.spec.cell.name for network in result.networks}
    return "GRU" if all(name.startswith("gru") for name in names) else "LSTM"


def _compose_lines(result: CheckFindings) -> Iterator[str]:
    """Yield the lines of the answer for a terminal."""
    verdict = "RIGHT" if result.passed else "WRONG"
    yield f"{verdict}  {result.target}"
    yield f"       {result.how}"
    for network in result.networks:
        mark = "ok   " if network.result.passed else "WRONG"
        yield f"{mark}  {describe_network(network)}: {_summarize_comparisons(network)}"
    for cause in _list_causes(result):
        yield f"cause  {cause}"
    for network in _select_described(result):
        yield ""
        yield f"{describe_network(network)}:"
        for line in _list_differences(network):
            yield f"  - {line}"
    if not result.passed and not result.causes:
        yield ""
        yield "No known mistake explains these results."
    for note in result.notes:
        yield f"note   {note}"


def _select_described(result: CheckFindings) -> list[CheckedNetwork]:
    """Return the network whose differences the answer lists, which is the first wrong one.

    The later networks usually show the same mistake again.
    """
    return [network for network in result.networks if not network.result.passed][:1]


def _list_causes(result: CheckFindings) -> list[str]:
    return [_cause_line(cause) for cause in result.causes]


def _cause_line(cause: Cause) -> str:
    return cause.sentence


def describe_network(network: CheckedNetwork) -> str:
    """Describe the sizes and the mode of a network in one line."""
    spec, workload = network.spec, network.workload
    layers = "" if spec.num_layers == 1 else f", {spec.num_layers} layers"
    directions = ", both directions" if spec.bidirectional else ""
    padded = ", padded" if workload.min_length is not None else ""
    mode = "outputs, states and gradients" if workload.training else "outputs and states"
    return (
        f"{workload.timesteps} steps of {workload.batch} sequences, "
        f"{spec.input_size} -> {spec.hidden_size} units{layers}{directions}{padded}, "
        f"{spec.dtype}, {mode}"
    )


def _summarize_comparisons(network: CheckedNetwork) -> str:
    """Say how many comparisons of a network fail, or how close the worst error is to its bound."""
    result = network.result
    shares = {name: result.errors[name] / result.bounds[name] for name in result.errors}
    name = max(shares, key=lambda each: math.inf if math.isnan(shares[each]) else shares[each])
    failed = sum(not share <= 1.0 for share in shares.values())
    if failed:
        return f"{failed} of {len(shares)} comparisons fail"
    return (
        f"all {len(shares)} comparisons pass, the largest error is {shares[name]:.0%} of its bound"
    )


def _list_differences(network: CheckedNetwork) -> list[str]:
    """Describe each array that differs in one sentence.

    The arrays of one kind of network are listed, and random numbers come first, because they are
    the easiest to reproduce. The other kinds that are wrong are only named. If no single array is
    out of bounds, the failed comparisons of the gate are described instead.
    """
    shown = list(network.deviations)
    kinds = {each.kind for each in shown}
    first = next((kind for kind in KINDS if kind in kinds), None)
    lines = []
    if first is not None:
        chosen = [each for each in shown if each.kind == first]
        lines += [describe_deviation(network.spec, each) for each in chosen[:MOST_ARRAYS]]
        if len(chosen) > MOST_ARRAYS:
            lines.append(f"{len(chosen) - MOST_ARRAYS} more arrays differ")
        others = [KINDS[kind] for kind in KINDS if kind in kinds and kind != first]
        if first:
            lines.insert(0, f"with {KINDS[first]} (random numbers alone do not show it):")
        if others:
            lines.append(f"wrong too with {_join_words(others)}")
    if lines:
        return lines
    result = network.result
    return [
        describe_error(name, result.judge, result.errors[name], result.bounds[name])
        for name in result.errors
        if not result.errors[name] <= result.bounds[name]
    ][:MOST_ARRAYS]


def _join_words(words: Sequence[str]) -> str:
    """Join words with commas and a final "and"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def describe_deviation(spec: LSTMSpec, deviation: Deviation) -> str:
    """Say in one sentence where an array differs from the reference and by how much."""
    name = deviation.array
    if deviation.found_shape != deviation.shape:
        return f"{name} has shape {deviation.found_shape}; expected {deviation.shape}"
    places = ", ".join(
        part
        for axis, size, (low, high) in zip(
            deviation.axes, deviation.shape, deviation.ranges, strict=True
        )
        if (part := _describe_range(axis, size, low, high))
    )
    where = f" in {places}" if places else " everywhere"
    first = _describe_index(spec, deviation)
    by = "NaN or infinity" if math.isinf(deviation.worst) else f"{deviation.worst:.3g} bounds"
    return (
        f"{name} differs{where}: {deviation.wrong:,} of {deviation.size:,} numbers, by up to {by}; "
        f"first at {first}: {deviation.found:.6g}, expected {deviation.expected:.6g} "
        f"within {deviation.allowed:.1e}"
    )


def _describe_range(axis: str, size: int, low: int, high: int) -> str:
    """Describe the wrong part of an axis. The description is empty if the entire axis is wrong."""
    if size == 1 or (low == 0 and high == size - 1):
        return ""
    if low == high:
        return f"{axis} {low}"
    if high == size - 1:
        return f"{axis}s from {low} on"
    return f"{axis}s {low} to {high}"


def _describe_index(spec: LSTMSpec, deviation: Deviation) -> str:
    """Describe the index of the first wrong number, and its gate and unit if it is a weight."""
    parts = [f"{axis} {k}" for axis, k in zip(deviation.axes, deviation.first, strict=True)]
    if is_weight_gradient(deviation.array):
        gate, unit = find_gate(spec, deviation.first[-1])
        parts[-1] += f" (gate {gate} of unit {unit})"
    return ", ".join(parts)
