"""Test that improved result files are refused, and honest ones pass."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.case.cases import Case
from bench.machine.fields import Field
from bench.records.digest import with_digest
from bench.records.files import read
from bench.records.hdr import encode
from bench.sharing import checks
from bench.sharing.checks import find_copies, find_problems
from lstm_impl import LSTMSpec, LSTMWeights, Model, Workload
from lstm_impl.proof import GateResult, gate
from tests.bench.made_results import a_run, measured
from tests.bench.made_results import document as make_document
from tests.bench.mutations import saved
from tests.lstm_impl.backends.built import ready
from tests.lstm_impl.rounded_model import RoundedModel
from tests.places import GOLDEN, REFERENCE

Json = dict[str, Any]

# Maps and studies are no result files.
OTHERS = ("learning", "lengths", "denormals", "scaling")
HONEST = sorted(path for path in REFERENCE.glob("*.json") if not path.name.startswith(OTHERS))
NOW = datetime(2100, 1, 1, tzinfo=UTC)


@cache
def original() -> Json:
    """A reference file with three of its groups: inference, training, one with a problem."""
    found: Json = json.loads(next(path for path in HONEST if path.name[:5] == "fused").read_text())
    entries = found["benchmarks"]
    modes = {each["extra_info"]["lstm"]["case"]["workload"]["mode"]: each for each in entries}
    unreliable = [each for each in entries if not each["extra_info"]["lstm"]["validity"]["valid"]]
    groups = {each["group"] for each in (*modes.values(), unreliable[0])}
    found["benchmarks"] = [each for each in entries if each["group"] in groups]
    return found


@pytest.fixture
def document() -> Json:
    return copy.deepcopy(original())


def wrong(folder: Path, document: Json, *, sealed: bool = True) -> list[str]:
    """Return the problems of a document; sealed: its digest was recomputed after the change."""
    path = saved(folder / "a.json", dict(with_digest(document)) if sealed else document)
    root = Field(path, "", json.loads(path.read_text()))
    return find_problems(root, read(path), NOW)


@pytest.mark.parametrize("path", HONEST, ids=lambda path: path.stem)
def test_problems_honest_file_has_none(path: Path) -> None:
    assert find_problems(Field(path, "", json.loads(path.read_text())), read(path), NOW) == []


@pytest.mark.parametrize(
    ("suite", "part", "name", "value", "problem"),
    [
        ("precision-cpu", "bounds", "saturated c", 1.1, "in such a case it is at most 0.45"),
        ("precision-cpu", "bounds", "y", 0.2, "in such a case it is at most 0.125"),
        ("precision-cpu", "errors", "rms h", None, "lacks rms h"),
        ("precision-cpu", "errors", "y", None, "lacks y"),
        ("call-paths", "errors", "updates left out", -0.6, "it is at least -0.5"),
        ("fused", "bounds", "saturated c", 0.45, "in such a case it is at most 0.015625"),
    ],
)
def test_problems_proof_of_each_precision_has_its_largest_bounds(
    suite: str, part: str, name: str, value: float | None, problem: str, tmp_path: Path
) -> None:
    found = json.loads(next(path for path in HONEST if path.name.startswith(suite)).read_text())
    gates = [each["extra_info"]["lstm"]["gate"][part] for each in found["benchmarks"]]
    gate = max((each for each in gates if name in each), key=lambda each: each[name])
    if value is None:
        del gate[name]
    else:
        gate[name] = value
    assert any(each.endswith(problem) for each in wrong(tmp_path, found))


# -- proofs in each precision, as the gate makes them

SPEC = LSTMSpec(5, 8)
INFERENCE, STREAM = Workload(4, 6), Workload(4, 2, "streaming")
UPDATING = Workload(4, 6, "training", optimizer="adam")
PROOFS = {
    "tf32": ("numpy", "tf32", INFERENCE),
    "tf32, updating": ("numpy", "tf32", UPDATING),
    "float16": ("numpy", "float16", INFERENCE),
    "float16, stream": ("numpy", "float16", STREAM),
    "mixed_float16, updating": ("numpy", "mixed_float16", UPDATING),
    "bfloat16": ("numpy", "bfloat16", INFERENCE),
    "float32, stream": ("numpy", "float32", STREAM),
    "int8": ("numpy_fused:int8", "float32", INFERENCE),
    "keras, float16": ("keras", "float16", INFERENCE),
}


@cache
def proven(name: str) -> tuple[Case, GateResult]:
    """Return a case and what the gate finds of it; models of ``numpy`` round as the dtype does."""
    backend, dtype, workload = PROOFS[name]
    spec = replace(SPEC, dtype=dtype)
    weights = LSTMWeights.random(spec, seed=1)
    if backend == "numpy":
        model: Model = RoundedModel(spec, weights)
    else:
        model = ready(backend).build(spec, weights, "cpu")
    return Case(backend, spec, workload), gate(model, workload, seed=1)


def refusals(
    folder: Path, case: Case, errors: Mapping[str, float], bounds: Mapping[str, float]
) -> list[str]:
    """Return the problems of the proof in a file with this case alone."""
    proof = {"passed": True, "judge": "", "errors": dict(errors), "bounds": dict(bounds)}
    file = make_document(a_run(1), [measured(case, 0.01, a_run(1), gate=proof)])
    return [each for each in wrong(folder, file) if "lstm.gate" in each]


@pytest.mark.parametrize("name", PROOFS)
def test_problems_honest_proof_of_any_precision_has_none(name: str, tmp_path: Path) -> None:
    case, result = proven(name)
    assert result.passed
    assert refusals(tmp_path, case, result.errors, result.bounds) == []


@pytest.mark.parametrize(
    ("name", "error", "found", "allowed", "problem"),
    [
        ("tf32", "errors next to bfloat16's", 0.9, 0.8, "is 0.9, above its bound of 0.8"),
        ("tf32", "errors next to bfloat16's", 0.9, 1.0, "at most 0.8"),
        ("tf32", "bfloat16's errors", -0.9, 0.5, "is -0.9; in such a case it is at least -0.8"),
        ("tf32", "whole y", -0.001, 0.004, "is -0.001; in such a case it is at least 0"),
        ("tf32", "y", 0.05, 0.1, "has a bound of 0.1; in such a case it is at most 0.0047"),
        ("float16", "saturated c", 0.1, 0.45, "at most 0.3"),
        ("float16", "sizes y", 5.0, 6.0, "at most 4"),
        ("float16", "separate y", 0.5, 1.0, "at most 0.03"),
        ("float16", "large h", 3.0, 4.0, "at most 2"),
        ("float16", "better y", 0.0, 0.1, "is not an error that the gate finds in such a case"),
        ("float16", "dx", 0.0, 0.01, "is not an error that the gate finds in such a case"),
        ("float32, stream", "streamed y", 1e-3, 1e-2, "in such a case it is at most"),
        ("float32, stream", "whole y", 0.0, 1e-2, "is not an error that the gate finds"),
        ("mixed_float16, updating", "updates left out", 0.9, 1.0, "at most 0.5"),
        ("int8", "quantised y", 0.5, 0.6, "at most 0.3"),
        ("int8", "rms y", 0.2, 0.3, "at most 0.1"),
        ("int8", "y", 0.0, 0.1, "is not an error that the gate finds in such a case"),
    ],
)
def test_problems_made_up_error_or_bound_is_refused(
    name: str, error: str, found: float, allowed: float, problem: str, tmp_path: Path
) -> None:
    case, result = proven(name)
    errors, bounds = {**result.errors, error: found}, {**result.bounds, error: allowed}
    (told,) = refusals(tmp_path, case, errors, bounds)
    assert f"gate.errors.{error} " in told
    assert problem in told


def test_problems_bound_without_an_error_is_refused(tmp_path: Path) -> None:
    case, result = proven("float16")
    (told,) = refusals(tmp_path, case, result.errors, {**result.bounds, "dx": 0.1})
    assert told.endswith("dx or its bound is missing")


def test_copies_honest_files_have_none() -> None:
    assert find_copies([read(path) for path in HONEST]) == []


# -- changed files


def entry(document: Json, number: int = 0) -> Json:
    found: Json = document["benchmarks"][number]
    return found


def ours(document: Json, number: int = 0) -> Json:
    found: Json = entry(document, number)["extra_info"]["lstm"]
    return found


def sampled(document: Json, samples: list[float], number: int = 0) -> None:
    """Replace the samples and all their statistics."""
    stats, values = entry(document, number)["stats"], np.array(samples)
    stats |= {
        "data": samples,
        "min": min(samples),
        "max": max(samples),
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "stddev": float(values.std(ddof=1)),
        "total": float(values.sum()),
        "ops": 1 / float(values.mean()),
        "rounds": len(samples),
    }
    case = ours(document, number)
    case["blocks"]["round"] = list(range(len(samples)))
    case["setup"]["compile_s"] = None
    median, roofs = float(np.median(values)), case["roofs"]
    for name, amount, rate in (
        ("of_matmul", "operations", "matmul_per_s"),
        ("of_bandwidth", "bytes", "bandwidth_per_s"),
    ):
        roofs[name] = roofs[amount] / (roofs[rate] * median)


def scaled(document: Json, factor: float, number: int = 0) -> None:
    sampled(document, [factor * each for each in entry(document, number)["stats"]["data"]], number)


def faster_median(document: Json) -> None:
    entry(document)["stats"]["median"] *= 0.9


def old_part_of_roof(document: Json) -> None:
    part = ours(document)["roofs"]["of_matmul"]
    scaled(document, 0.8)
    ours(document)["roofs"]["of_matmul"] = part


def beyond_the_roof(document: Json) -> None:
    """Make it faster than the device can be, with consistent figures."""
    for number, item in enumerate(document["benchmarks"]):
        scaled(document, 0.5 * item["extra_info"]["lstm"]["roofs"]["of_matmul"], number)
        item["extra_info"]["lstm"]["setup"]["timing_s"] = None


def fewer_operations(document: Json) -> None:
    roofs = ours(document)["roofs"]
    for key in ("operations", "of_matmul"):
        roofs[key] *= 0.5


def below_the_clock(document: Json) -> None:
    ours(document)["blocks"]["calls"] = entry(document)["stats"]["iterations"] = 1
    count = len(entry(document)["stats"]["data"])
    sampled(document, [1e-9 * (1 + number / count) for number in range(count)])


def whole_group_faster(document: Json) -> None:
    """Scale a group by one factor, which keeps ratios but no longer fills its time."""
    group = entry(document)["group"]
    for number, item in enumerate(document["benchmarks"]):
        if item["group"] == group:
            scaled(document, 0.1, number)


def longer_than_the_run(document: Json) -> None:
    run = document["lstm"]["run"]
    started = datetime.fromisoformat(run["started"])
    run["finished"] = (started + timedelta(seconds=3)).isoformat()
    run["environment"]["after"]["time"] = run["finished"]


def constant(document: Json) -> None:
    """Make all samples equal, without any spread."""
    data = entry(document)["stats"]["data"]
    sampled(document, [sorted(data)[len(data) // 2]] * len(data))
    ours(document)["steady"] = True


def force_through_the_gate(document: Json) -> None:
    gate = ours(document)["gate"]
    gate["errors"]["y"] = 10 * gate["bounds"]["y"]


def gate_of_nothing(document: Json) -> None:
    ours(document)["gate"]["errors"] = {}


def gate_without_gradients(document: Json) -> None:
    number = next(
        number
        for number, item in enumerate(document["benchmarks"])
        if item["extra_info"]["lstm"]["case"]["workload"]["mode"] == "training"
    )
    errors = ours(document, number)["gate"]["errors"]
    for name in [name for name in errors if name.startswith("d")]:
        del errors[name]


def remove_evidence(document: Json) -> None:
    ours(document)["evidence"] = {}


def said_to_be_valid(document: Json) -> None:
    """Declare a case valid that its samples show to be INVALID."""
    for item in document["benchmarks"]:
        validity = item["extra_info"]["lstm"]["validity"]
        if not validity["valid"]:
            validity |= {"valid": True, "reasons": []}
            return
    raise AssertionError("the file has nothing that is INVALID")


def said_to_be_steady(document: Json) -> None:
    case = ours(document)
    case["steady"] = not case["steady"]


def exchange(document: Json) -> None:
    """Exchange the cases, and so the times, of two backends of one shape."""
    one, other = ours(document, 0), ours(document, 1)
    for key in ("case", "case_id"):
        one[key], other[key] = other[key], one[key]


def finish_before_start(document: Json) -> None:
    run = document["lstm"]["run"]
    run["started"], run["finished"] = run["finished"], run["started"]


def move_to_the_future(document: Json) -> None:
    document["lstm"]["run"]["finished"] = (NOW + timedelta(days=2)).isoformat()


DOCTORED: dict[Callable[[Json], None], str] = {
    faster_median: "stats.median",
    old_part_of_roof: "roofs.of_matmul",
    beyond_the_roof: "times that of the device's fastest product",
    fewer_operations: "roofs.operations",
    below_the_clock: "less than a thousand ticks",
    whole_group_faster: "timing_s",
    longer_than_the_run: "longer than the run",
    constant: "different values",
    force_through_the_gate: "gate.errors.y is",
    gate_of_nothing: "lacks c, h, y",
    gate_without_gradients: "lacks the errors of gradients",
    remove_evidence: "evidence is empty",
    said_to_be_valid: "which the samples show",
    said_to_be_steady: "lstm.steady is",
    exchange: "is not that of the case",
    finish_before_start: "is after",
    move_to_the_future: "is in the future",
}


@pytest.mark.parametrize("change", DOCTORED, ids=lambda change: change.__name__)
def test_problems_changed_file_is_refused_with_place(
    tmp_path: Path, document: Json, change: Callable[[Json], None]
) -> None:
    assert wrong(tmp_path, document) == []
    change(document)
    found = wrong(tmp_path, document)
    assert any(DOCTORED[change] in message for message in found), found


def test_problems_any_edit_without_digest_is_refused(tmp_path: Path, document: Json) -> None:
    sealed = dict(with_digest(document))
    assert wrong(tmp_path, sealed, sealed=False) == []
    sealed["lstm"]["run"]["suite"] = "mine"  # type: ignore[index]
    (message,) = wrong(tmp_path, sealed, sealed=False)
    assert message.startswith("digest does not match the contents")


@pytest.mark.parametrize("factor", [1.0, 0.97, 2.0])
def test_copies_multiples_of_samples_are_found(
    tmp_path: Path, document: Json, factor: float
) -> None:
    first = read(saved(tmp_path / "a.json", document))
    other = copy.deepcopy(document)
    other["lstm"]["run"]["id"] = "another-process"
    for number in range(1, len(other["benchmarks"])):
        data = entry(other, number)["stats"]["data"]
        sampled(other, [each * (1 + 1e-3 * (number + at)) for at, each in enumerate(data)], number)
    scaled(other, factor)
    second = read(saved(tmp_path / "b.json", other))
    (message,) = find_copies([first, second])
    assert message.startswith("b.json: ")
    assert "has the samples of a.json: " in message


# -- streams


@pytest.fixture
def streams() -> Json:
    """Two streams, one of them paced."""
    found: Json = json.loads((GOLDEN / "streaming.json").read_text())
    for number, item in enumerate(found["benchmarks"]):
        ours(found, number)["blocks"]["calls"] = 700 // len(item["stats"]["data"])
    return found


def test_problems_honest_stream_has_none(tmp_path: Path, streams: Json) -> None:
    assert not [each for each in wrong(tmp_path, streams) if "streaming" in each]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda it: it.pop("streaming"), "streaming is missing"),
        (lambda it: it["streaming"].update(calls=1), "streaming.calls is 1"),
        (lambda it: it["streaming"]["latency"].update(histogram="x"), "latency.histogram cannot"),
        (
            lambda it: it["streaming"]["service"].update(histogram=encode(np.array([1.0]))),
            "service.histogram does not contain the",
        ),
        (
            lambda it: it["streaming"]["latency"]["percentiles"].update(
                {"50": [1e-9, 2e-9, 1e-3, 0.95]}
            ),
            "latency.percentiles.50 is not that of the histogram",
        ),
    ],
)
def test_problems_improved_stream_is_refused(
    change: Callable[[Json], object], message: str, tmp_path: Path, streams: Json
) -> None:
    change(ours(streams))
    assert message in "\n".join(wrong(tmp_path, streams))


@pytest.mark.parametrize(
    ("name", "is_gradient"),
    [
        *(("dx", True), ("dlayer0.forward.kernel", True), ("y", False), ("c", False)),
        *(("whole dx", False), ("weights", False), ("dinner", False), ("dlayer", False)),
    ],
)
def test_error_of_a_gradient_is_recognized_by_its_kind_and_array(
    name: str, is_gradient: bool
) -> None:
    assert checks._is_of_gradient(name) is is_gradient
