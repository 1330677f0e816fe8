"""Test that the table of errors has every error of the gate, each within its largest bound."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import pytest

from lstm_impl import LSTMSpec, LSTMWeights, Model, Workload, get_backend
from lstm_impl.proof import GateResult, gate
from lstm_impl.proof.kinds import (
    KINDS,
    JudgedCase,
    describe_error,
    find_kind,
    find_possible_errors,
)
from lstm_impl.spec import PRECISIONS
from tests.lstm_impl.backends.built import ready
from tests.lstm_impl.rounded_model import RoundedModel

SPECS = {
    "one layer": LSTMSpec(5, 8),
    "one unit": LSTMSpec(1, 1),
    "deep": LSTMSpec(3, 4, num_layers=2, bidirectional=True),
}
WORKLOADS = {
    "inference": Workload(4, 6),
    "one step": Workload(1, 1),
    "windows": Workload(3, 5, "training", window=2),
    "sgd": Workload(4, 6, "training", optimizer="sgd"),
    "adam": Workload(3, 4, "training", optimizer="adam"),
    "streaming": Workload(3, 2, "streaming"),
    "resets": Workload(4, 6, "training", reset_rate=0.1, reset_to="initial_state"),
}
INT8 = "int8"


def build(spec: LSTMSpec) -> Model:
    """Return a right model in the given precision, without a framework."""
    weights = LSTMWeights.random(spec, seed=3)
    if spec.dtype == "float64":
        return get_backend("numpy").build(spec, weights)
    return RoundedModel(spec, weights)


@functools.cache
def judged(dtype: str, shape: str, load: str) -> tuple[GateResult, JudgedCase]:
    """Return the result of the gate for a right model, and the judged case."""
    workload, spec = WORKLOADS[load], SPECS[shape]
    if workload.streaming:  # a stream has no end at which a second direction could begin
        spec = replace(spec, bidirectional=False)
    if dtype == INT8:
        model = ready("numpy_fused:int8").build(spec, LSTMWeights.random(spec, seed=3))
    else:
        spec = replace(spec, dtype=dtype)
        model = build(spec)
    return gate(model, workload, seed=5), JudgedCase(spec, workload, dtype == INT8)


def outside(result: GateResult, case: JudgedCase) -> list[str]:
    """Return the errors that are not in the table, or exceed its value or bound."""
    found = []
    for name, error in result.errors.items():
        possible = find_possible_errors(name, case)
        if possible is None or not possible[0] <= error <= result.bounds[name] <= possible[1]:
            found.append(f"{name}: {error} of {result.bounds[name]}, {possible}")
    return found


# Weights that are kept in half precision lose updates, so every backend refuses them.
UPDATED = [dtype for dtype in PRECISIONS if dtype not in ("float16", "bfloat16")]
JUDGED = [
    (dtype, load)
    for load, workload in WORKLOADS.items()
    for dtype in (UPDATED if workload.optimizer else PRECISIONS)
]


@pytest.mark.parametrize("shape", SPECS)
@pytest.mark.parametrize(("dtype", "load"), JUDGED)
def test_each_error_of_the_gate_is_in_the_table_within_its_largest_bound(
    dtype: str, shape: str, load: str
) -> None:
    assert not outside(*judged(dtype, shape, load))


@pytest.mark.parametrize("shape", ["one layer", "one unit"])
def test_each_error_of_int8_is_in_the_table_within_its_largest_bound(shape: str) -> None:
    assert not outside(*judged(INT8, shape, "inference"))


def test_gate_finds_each_kind_of_the_table() -> None:
    results = [
        judged("mixed_float16", "one layer", load)[0]
        for load in ("sgd", "inference", "streaming", "resets")
    ]
    if get_backend("numpy_fused:int8").availability("cpu"):
        results.append(judged(INT8, "one layer", "inference")[0])
        missing = set()
    else:
        missing = {kind.name for kind in KINDS if kind.approximate}
    found = [find_kind(name) for result in results for name in result.errors]
    assert None not in found
    assert {kind.name for kind, _ in filter(None, found)} == {each.name for each in KINDS} - missing


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        " y",
        "weights ",
        "weights y",
        "zeros",
        "zeros weights",
        "zeros y y",
        "bfloat16's",
        "dlayer0.forward.kernel y",
        "streamed dx",
        "streamed zeros y",
        "sizes dx",
        "rms dx",
        "better y",
    ],
)
def test_name_that_the_gate_does_not_use_has_no_kind(name: str) -> None:
    assert find_kind(name) is None
    with pytest.raises(KeyError, match="add its kind to"):
        describe_error(name, "judge", 1.0, 0.5)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("dx", {}),
        ("dlayer0.forward.bias", {}),
        ("update", {"mode": "training"}),
        ("dlayer1.forward.bias", {"mode": "training"}),
        ("dlayer0.backward.bias", {"mode": "training"}),
        ("dlayer0.forward.recurrent_bias", {"mode": "training"}),
        ("updates left out", {"mode": "training", "optimizer": "sgd"}),
        ("streamed y", {}),
        ("streamed whole y", {}),
        ("streamed whole y", {"mode": "streaming"}),
        ("whole y", {}),
        ("bfloat16's errors", {}),
        ("rms y", {}),
    ],
)
def test_error_that_a_case_cannot_have_is_impossible(name: str, changes: dict[str, str]) -> None:
    workload = replace(WORKLOADS["inference"], **changes)  # type: ignore[arg-type]
    assert find_possible_errors(name, JudgedCase(SPECS["one layer"], workload)) is None


@pytest.mark.parametrize(
    ("name", "dtype", "least", "most"),
    [
        ("bfloat16's errors", "float16", -0.8, 0.5),
        ("errors next to bfloat16's", "tf32", 0.0, 0.8),
        ("updates left out", "bfloat16", -0.5, 0.5),
        ("saturated c", "mixed_float16", 0.0, 0.3),
        ("saturated c", "float32", 0.0, 2.0**-6),
        ("weights", "bfloat16", 0.0, 4 * 2.0**-8),
        ("sizes c", "float32", 0.0, 4.0),
        ("large y", "float32", 0.0, 2.0),
        ("large dx", "float32", 0.0, math.inf),
    ],
)
def test_largest_bound_is_that_of_the_precision(
    name: str, dtype: str, least: float, most: float
) -> None:
    case = JudgedCase(replace(SPECS["one layer"], dtype=dtype), WORKLOADS["sgd"])
    assert find_possible_errors(name, case) == pytest.approx((least, most))
