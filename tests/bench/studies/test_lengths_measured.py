"""Streams of batches of many lengths: what is timed and judged, with the NumPy backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.studies import lengths
from bench.studies.lengths import (
    LengthsRequest,
    Way,
    answer,
    difference,
    first_pass,
    inputs_of,
    stream,
)
from bench.worker.timing import Clock
from lstm_impl import UnsupportedError
from tests.bench.made_lengths import QUESTION


def data(question: LengthsRequest = QUESTION, policy: str = "batch") -> list[Any]:
    return [inputs_of(question, timesteps, rows) for timesteps, rows in question.batches[policy]]


def test_a_batch_is_zero_past_the_end_of_its_sequences_and_its_empty_rows_have_one_step() -> None:
    whole, part = data()
    assert whole.lengths.tolist() == [2, 5]
    assert part.lengths.tolist() == [3, 1]
    assert not np.any(whole.x[2:, 0])
    assert np.all(np.any(whole.x[:2, 0], axis=-1))
    assert part.x.shape == (3, 2, 3)
    assert not np.any(part.dy[1:, 1])


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_a_backend_that_computes_the_reference_s_numbers_has_no_difference(mode: str) -> None:
    question = replace(QUESTION, mode=mode)
    assert difference(stream(Way("numpy", "own"), question, data()), question, data()) == ""


def wrong(name: str, by: float) -> lengths.PolicyStream:
    right = stream(Way("numpy", "own"), QUESTION, data())

    def results(found: Any) -> Mapping[str, Any]:
        made = dict(right.results(found))
        made[name] = made[name] + by
        return made

    return replace(right, results=results)


@pytest.mark.parametrize("name", ["y", "h", "dlayer0.forward.kernel"])
def test_one_that_does_not_is_told_by_the_array_that_is_off(name: str) -> None:
    assert f"{name} is off by" in difference(wrong(name, 0.1), QUESTION, data())


def test_where_padding_is_ignored_only_valid_outputs_are_judged() -> None:
    padded = replace(wrong("h", 1.0), whole_state=False)
    assert difference(padded, QUESTION, data()) == ""
    assert "y is off" in difference(replace(wrong("y", 0.1), whole_state=False), QUESTION, data())


def test_a_process_answers_for_each_way_and_policy() -> None:
    found = answer(replace(QUESTION, ways=("numpy/own", "cudnn/own")))
    by_stream = {each["stream"]: each for each in found}
    assert set(by_stream) == {
        f"{way}/own {policy}" for way in ("numpy", "cudnn") for policy in ("longest", "batch")
    }
    assert len(by_stream["numpy/own batch"]["first"]) == 2
    assert by_stream["numpy/own batch"]["samples"]
    assert "GPU" in by_stream["cudnn/own batch"]["failed"]


def ticking(*steps: float) -> Clock:
    times: Iterator[float] = iter(np.cumsum(steps).tolist())
    return Clock(lambda: next(times), 1e-9)


def test_a_first_pass_that_takes_too_long_ends_and_the_way_says_so() -> None:
    found = stream(Way("numpy", "own"), QUESTION, data())
    clock = ticking(0, 1, 10, 1)  # begun; the first batch's start and end; the second's start
    assert first_pass(found, 2, 5.0, clock) == [10.0]
    record: dict[str, Any] = {"failed": ""}
    key = ("numpy/own", "batch")
    lengths.take_turns({key: record}, {key: (found, 1)}, QUESTION, clock)
    assert record["failed"] == "its first pass was at batch 1 of 2 when 60 s were over"


@pytest.mark.parametrize(
    ("text", "way"),
    [
        ("numpy", "numpy/own"),
        ("keras/xla", "keras/xla"),
        ("torch/padded", "torch/padded"),
        ("while_loop+hoisted/signature", "while_loop+hoisted/signature"),
    ],
)
def test_a_way_is_a_backend_and_its_caller(text: str, way: str) -> None:
    assert str(Way.parse(text)) == way


@pytest.mark.parametrize("text", ["torch/xla", "numpy/padded", "keras/packed", "while_lop/own"])
def test_a_way_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UnsupportedError):
        Way.parse(text)


@pytest.mark.parametrize("caller", ["tf.function", "signature"])
def test_tensorflow_traces_each_new_shape_or_none(caller: str) -> None:
    pytest.importorskip("tensorflow", reason="who traces is TensorFlow")
    found = stream(Way("while_loop", caller), QUESTION, data())
    for number in range(2):
        found.run(number)
    assert found.traces() == (2 if caller == "tf.function" else 1)
    assert difference(found, QUESTION, data()) == ""
