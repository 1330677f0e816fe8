"""The proof of a shared step: right sums pass, wrong ones do not, by the library's own bounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from bench.studies.data_parallel import (
    DataParallelRequest,
    digest,
    expected,
    fingerprint,
    prove,
    sides,
)
from lstm_impl import LayerWeights, LSTMSpec, LSTMWeights, Workload
from lstm_impl.backends.tensorflow.data_parallel import share
from lstm_impl.optimizer import NumPyOptimizer
from lstm_impl.proof import numpy_judge
from lstm_impl.workload import Inputs

SPEC = LSTMSpec(3, 5)
WORKLOAD = Workload(12, 4, "training", gradients="weights")
WEIGHTS = LSTMWeights.random(SPEC, 0)
INPUTS = WORKLOAD.inputs(SPEC, 0)
THEIRS = expected(numpy_judge(SPEC), WEIGHTS, INPUTS, WORKLOAD.timesteps)


def of_shard(inputs: Inputs) -> LSTMWeights:
    found = expected(numpy_judge(SPEC), WEIGHTS, inputs, WORKLOAD.timesteps)
    return LSTMWeights.from_arrays(SPEC, list(found.values()))


def combined(parts: Sequence[LSTMWeights], factor: float = 1.0) -> LSTMWeights:
    arrays = zip(*(part.arrays() for part in parts), strict=True)
    return LSTMWeights.from_arrays(SPEC, [factor * np.sum(each, axis=0) for each in arrays])


def updated(gradients: LSTMWeights) -> LSTMWeights:
    changes = NumPyOptimizer("sgd").changes(gradients.arrays())
    pairs = zip(WEIGHTS.arrays(), changes, strict=True)
    return LSTMWeights.from_arrays(SPEC, [before + change for before, change in pairs])


def failure(*gradients: LSTMWeights, after: LSTMWeights | None = None) -> str:
    replicas = [(each, after or updated(each)) for each in gradients]
    return prove(SPEC, WORKLOAD, THEIRS, WEIGHTS, replicas)


@settings(max_examples=12, deadline=None)
@given(some.sampled_from([1, 2, 3, 4, 6, 12]))
def test_the_sum_of_the_parts_gradients_is_that_of_the_batch(replicas: int) -> None:
    parts = [of_shard(share(INPUTS, number, replicas)) for number in range(replicas)]
    whole = combined(parts)
    assert not failure(*[whole] * replicas)


@pytest.mark.parametrize("replicas", [2, 3, 4, 12])
def test_a_wrong_reduction_is_caught(replicas: int) -> None:
    parts = [of_shard(share(INPUTS, number, replicas)) for number in range(replicas)]
    right = combined(parts)
    for wrong in (
        combined(parts, 1 / replicas),  # a mean for a sum
        parts[0],  # one replica's alone
        combined([parts[0]] * replicas),  # each was given the same sequences
        combined(parts[:-1]),  # one is missing
        combined([right] * replicas),  # added up twice
    ):
        told = failure(right, wrong)
        assert "of the replicas together differs from the reference's on the whole batch" in told
        assert not failure(right, right)


def test_one_array_that_is_wrong_on_one_replica_is_enough() -> None:
    right = combined([of_shard(share(INPUTS, number, 2)) for number in range(2)])
    for index in range(3):
        arrays = [each.copy() for each in right.arrays()]
        arrays[index].flat[0] += 0.01 * np.abs(arrays[index]).max()
        assert failure(right, LSTMWeights.from_arrays(SPEC, arrays))
    cells = [LayerWeights(*(each.copy() for each in right.arrays()))]
    cells[0].bias[3] = np.inf
    assert "inf" in failure(LSTMWeights.from_cells(SPEC, cells), right, after=WEIGHTS)


def test_weights_that_did_not_take_the_step_are_caught() -> None:
    right = combined([of_shard(share(INPUTS, number, 2)) for number in range(2)])
    assert "update" in failure(right, after=WEIGHTS)
    # As where each replica takes its own gradients, or a mean of them.
    assert "update" in failure(right, after=updated(combined([right], 0.5)))


def test_weak_keeps_each_replica_s_batch_and_strong_shares_one() -> None:
    asked = DataParallelRequest(8, 4, 3, 5, ("keras",), 2, "workers", "cpu", 1, 0.1, 0)
    found = [(side.name, side.world, side.batch) for side in sides(asked, cores=True)]
    assert found == [
        ("one", "one", 8),
        ("weak", "team", 16),
        ("weak-cores", "cores", 16),  # the whole batch of all of them
        ("strong", "team", 8),
        ("strong-cores", "cores", 8),
    ]
    assert len(sides(asked, cores=False)) == 3


def test_two_replicas_share_a_fingerprint_only_if_all_their_bits_are_equal() -> None:
    arrays = [each.copy() for each in WEIGHTS.arrays()]
    assert fingerprint(LSTMWeights.from_arrays(SPEC, arrays)) == fingerprint(WEIGHTS)
    arrays[2].flat[-1] = np.nextafter(arrays[2].flat[-1], np.float32(2.0))
    assert fingerprint(LSTMWeights.from_arrays(SPEC, arrays)) != fingerprint(WEIGHTS)
    assert digest(b"x") == float(int(digest(b"x"))) < 2.0**48
