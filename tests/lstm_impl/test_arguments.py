"""Test networks, workloads and a user's arrays: their checks, sizes, and rounding."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.stats import binom

from lstm_impl import PRECISIONS, LSTMSpec, LSTMState, Workload, dropout_masks, model
from lstm_impl.spec import round_to_bfloat16
from lstm_impl.workload import InputSets

SPEC = LSTMSpec(3, 4)
DEEP = LSTMSpec(3, 4, num_layers=2, bidirectional=True)
TRIPLE = LSTMSpec(3, 5, num_layers=3, bidirectional=True)

# -- networks


SIZES = ("input_size", "hidden_size", "num_layers")
MOST = {"input_size": 2**31 - 1, "hidden_size": 2**31 - 1, "num_layers": 1000}
POSITIVE = "expected a positive integer"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        *((field, value, POSITIVE) for field in SIZES for value in (0, -3, 2.0, "4", None, True)),
        *((field, MOST[field] + 1, f"expected at most {MOST[field]}") for field in MOST),
        *(("bidirectional", value, "expected True or False") for value in (1, "yes", None)),
        ("dtype", "float8", r"'float8'.*float64, float32, tf32, float16, bfloat16"),
    ],
)
def test_wrong_field_of_a_spec_raises_with_its_name(field: str, value: Any, says: str) -> None:
    fields: dict[str, Any] = {"input_size": 2, "hidden_size": 3, field: value}
    with pytest.raises(ValueError, match=rf"LSTMSpec.{field} is .*{says}"):
        LSTMSpec(**fields)


@pytest.mark.parametrize("field", MOST)
def test_largest_sizes_of_a_spec_are_kept(field: str) -> None:
    sizes: dict[str, Any] = {"input_size": 3, "hidden_size": 4, field: MOST[field]}
    assert getattr(LSTMSpec(**sizes), field) == MOST[field]


def test_sizes_of_two_bidirectional_layers_are_these() -> None:
    spec = LSTMSpec(3, 5, num_layers=2, bidirectional=True)
    assert (spec.num_directions, spec.output_size, spec.state_layers) == (2, 10, 4)
    assert [spec.layer_input_size(layer) for layer in range(2)] == [3, 10]
    # each of two directions: four gates of five units with inputs, recurrent inputs and a bias
    assert spec.parameter_count == 2 * 4 * 5 * (3 + 5 + 1) + 2 * 4 * 5 * (10 + 5 + 1)


# -- precision


def test_roundoff_is_half_the_spacing_at_one() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes comes with TensorFlow and JAX")
    factors = {"tf32": "float16", "bf32": "bfloat16"}  # as many bits of mantissa
    for dtype, precision in PRECISIONS.items():
        if dtype == "bf16x3":  # the product of two parts that bfloat16 rounds off is left out
            assert precision.roundoff == PRECISIONS["bfloat16"].roundoff ** 2
            continue
        epsilon = float(ml_dtypes.finfo(factors.get(dtype, precision.compute)).eps)
        assert precision.roundoff == epsilon / 2, dtype


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_quantize_twice_equals_once(dtype: str) -> None:
    spec = LSTMSpec(1, 1, dtype=dtype)
    values = np.random.default_rng(0).standard_normal(1000) * 100
    once = spec.quantize(values)
    assert once.dtype == spec.precision.storage
    np.testing.assert_array_equal(spec.quantize(once), once)
    unit = {"float64": 0.0, "float16": 2.0**-11, "bfloat16": 2.0**-8}.get(dtype, 2.0**-24)
    assert np.all(np.abs(once - values) <= unit * np.abs(values))


single = st.floats(width=32, allow_subnormal=True)


@given(arrays(np.float32, array_shapes(max_dims=3, min_side=0), elements=single))
def test_round_to_bfloat16_equals_ml_dtypes(values: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes comes with TensorFlow and JAX")
    with np.errstate(invalid="ignore"):  # NaN to NaN
        expected = values.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(round_to_bfloat16(values), expected)


# -- workloads

batches = st.integers(1, 30)
times = st.integers(1, 60)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"batch": 0}, "Workload.batch is 0; expected a positive integer"),
        ({"batch": 2.0}, "Workload.batch is 2.0"),
        ({"timesteps": 0}, "Workload.timesteps is 0"),
        ({"timesteps": True}, "Workload.timesteps is True"),
        ({"batch": 2**31}, "Workload.batch is 2147483648; expected at most 2147483647"),
        ({"batch": 10**5000}, "Workload.batch is a number of over 30 digits; expected at most"),
        ({"mode": "train"}, "'train'; expected one of inference, training"),
        ({"batch_major": {}}, "Workload.batch_major is {}; expected True or False"),
        ({"batch_major": 1}, "Workload.batch_major is 1"),
        ({"min_length": 0}, "Workload.min_length is 0"),
        ({"min_length": 9}, "Workload.min_length is 9; expected at most the 8 timesteps"),
        ({"window": 0}, "Workload.window is 0"),
        ({"window": 9}, "Workload.window is 9; expected at most the 8 timesteps"),
        ({"window": 4, "min_length": 4}, "leave one of them out"),
        ({"dropout": 1.0}, "Workload.dropout is 1.0; expected at least 0 and less than 1"),
        ({"dropout": -0.1}, "Workload.dropout is -0.1"),
        ({"dropout": math.nan}, "Workload.dropout is nan"),
        (
            {"mode": "training", "optimizer": "lion"},
            "Workload.optimizer is 'lion'; expected one of sgd, adam, or None",
        ),
        ({"mode": "training", "optimizer": 0}, "Workload.optimizer is 0; expected one of sgd"),
        ({"optimizer": "adam"}, "Workload.optimizer is 'adam', but mode is 'inference'"),
        (
            {"mode": "training", "gradients": "input"},
            "Workload.gradients is 'input'; expected one of weights, weights.input, all",
        ),
        ({"gradients": "weights"}, "Workload.gradients is 'weights', but mode is 'inference'"),
        ({"period": 0.01}, "only the calls of a stream"),
        ({"mode": "streaming", "window": 2}, "window"),
        ({"mode": "streaming", "min_length": 2}, "min_length"),
        ({"mode": "streaming", "dropout": 0.1}, "dropout"),
        ({"mode": "streaming", "optimizer": "adam"}, "optimizer"),
        ({"mode": "streaming", "gradients": "weights"}, "gradients"),
        *(({"mode": "streaming", "period": each}, "period") for each in (0.0, True, 1e9, math.nan)),
    ],
)
def test_wrong_field_of_a_workload_raises_with_its_name(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Workload(**{"batch": 4, "timesteps": 8, **fields})


@given(batches, times, st.data())
def test_lengths_are_evenly_spread_in_a_random_order(
    batch: int, timesteps: int, data: st.DataObject
) -> None:
    shortest = data.draw(st.integers(1, timesteps))
    workload = Workload(batch, timesteps, min_length=shortest)
    lengths = workload.lengths()
    assert lengths is not None
    assert lengths.shape == (batch,)
    assert lengths.dtype == np.int32
    assert lengths.max() == timesteps  # one sequence is full, so that no step is padding in all
    assert batch == 1 or lengths.min() == shortest
    evenly = np.linspace(timesteps, shortest, batch).round()
    assert lengths.sum() == workload.valid_timesteps() == evenly.sum()
    # Making two of them equal moves them by less than two spaces, up to rounding at both ends.
    assert np.abs(np.sort(lengths)[::-1] - evenly).max() <= 2 * (timesteps - shortest) / batch + 2
    if batch >= 5:
        assert len(np.unique(lengths)) < batch
    orders = [other for seed in range(4) if (other := workload.lengths(seed)) is not None]
    for other in orders:
        np.testing.assert_array_equal(np.sort(other), np.sort(lengths))
    if len(np.unique(lengths)) > 4:  # one order in 120
        assert any(not np.array_equal(other, lengths) for other in orders)


def test_sets_of_inputs_share_no_array() -> None:
    spec = LSTMSpec(3, 5, num_layers=2)
    workload = Workload(7, 30, "training", min_length=1, dropout=0.25)
    sets = InputSets(spec, workload, seed=4)
    found = [sets(number) for number in (0, 1, 2, 300, 1)]
    for number, one in enumerate(found[:4]):
        assert one.lengths is not None
        assert not np.array_equal(one.lengths, np.sort(one.lengths)[::-1])
        assert {1, 30} <= {*one.lengths}
        for other in found[number + 1 : 4]:
            for name in ("x", "dy", "masks", "lengths"):
                assert not np.array_equal(getattr(one, name), getattr(other, name)), name
            assert not np.array_equal(one.state.h, other.state.h)
            assert not np.array_equal(one.state.c, other.state.c)
            # None is a part of another one at another place, as windows of one array would be.
            assert np.intersect1d(one.state.c, other.state.c).size < one.state.c.size / 10
    # The same number is the same set, in memory of its own.
    first, again = found[1], found[4]
    np.testing.assert_array_equal(first.x, again.x)
    np.testing.assert_array_equal(first.masks, again.masks)
    assert not np.shares_memory(first.x, again.x)
    first.x[:] = 0
    np.testing.assert_array_equal(sets(1).x, again.x)


def test_sets_of_a_stream_have_chunks_of_their_own_and_one_first_state() -> None:
    sets = InputSets(LSTMSpec(3, 5), Workload(2, 1, "streaming"), seed=4)
    assert not np.array_equal(sets(1).x, sets(2).x)
    np.testing.assert_array_equal(sets(1).state.h, sets(2).state.h)


@pytest.mark.parametrize("optimizer", [None, "sgd"])
def test_sets_that_are_placed_at_once_have_a_limit_of_bytes(optimizer: str | None) -> None:
    workload = Workload(64, 25, "training", optimizer=optimizer)
    sets = InputSets(LSTMSpec(512, 256), workload)
    x, state = 64 * 25 * 512 * 4, 2 * 64 * 256 * 4
    dy = 64 * 25 * 256 * 4 * (1 if optimizer is None else 2)
    assert sets.max_sets() == 2**27 // (x + dy + state)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_inputs_have_their_shapes_and_precision(dtype: str) -> None:
    spec = LSTMSpec(3, 5, num_layers=3, bidirectional=True, dtype=dtype)
    inputs = Workload(4, 7, "training", min_length=2, dropout=0.25).inputs(spec)
    assert inputs.lengths is not None
    assert inputs.masks is not None
    assert inputs.x.shape == (7, 4, 3)
    assert inputs.dy.shape == (7, 4, 10)
    assert inputs.state.h.shape == inputs.state.c.shape == (6, 4, 5)
    assert inputs.masks.shape == (2, 7, 4, 10)
    for array in (inputs.x, inputs.dy, inputs.state.h, inputs.state.c, inputs.masks):
        assert array.dtype == spec.precision.storage
        np.testing.assert_array_equal(array, spec.quantize(array))
    assert np.all(inputs.state.h != 0)  # a backend that drops the state must fail
    assert not np.any(inputs.state.h == inputs.state.c)


@pytest.mark.parametrize(
    ("workload", "layers"),
    [
        (Workload(2, 3, "training"), 3),
        (Workload(2, 3, "inference", dropout=0.5), 3),  # dropout is for training
        (Workload(2, 3, "training", dropout=0.5), 1),  # and acts between layers
    ],
)
def test_inputs_without_dropout_have_no_masks(workload: Workload, layers: int) -> None:
    assert workload.inputs(LSTMSpec(3, 5, num_layers=layers)).masks is None


@given(st.floats(0, 0.95), st.integers(0, 1000))
@example(1e-5, 364)
def test_dropout_masks_are_zero_or_scaled(rate: float, seed: int) -> None:
    masks = dropout_masks(TRIPLE, timesteps=11, batch=13, rate=rate, seed=seed)
    kept = np.float32(1 / (1 - rate))
    assert set(np.unique(masks)) <= {np.float32(0), kept}
    # The number of dropped units is binomial: within five standard deviations except once in two
    # million. With very small rates it is far from normal.
    fewest, most = binom.interval(1 - 5.7e-7, masks.size, rate)
    means = kept * (1 - np.array([most, fewest]) / masks.size)
    assert means[0] - 1e-6 <= masks.mean(dtype=float) <= means[1] + 1e-6


@pytest.mark.parametrize(("timesteps", "shortest"), [(100, 1), (7, 2), (5, 5)])
def test_valid_timesteps_of_a_very_large_batch_use_the_mean(
    timesteps: int, shortest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Workload(50_000, timesteps, min_length=shortest).valid_timesteps()
    monkeypatch.setattr("lstm_impl.workload.MOST_LISTED", 49_999)
    counted = Workload(50_000, timesteps, min_length=shortest).valid_timesteps()
    assert counted == pytest.approx(listed, rel=1e-4)
    # As a list this would take 16 GB.
    assert Workload(2**31 - 1, timesteps, min_length=shortest).valid_timesteps() > 2**31


# -- a user's arrays


@pytest.mark.parametrize(
    ("shape", "batch_major", "says"),
    [
        ((2, 3), False, r"x has shape \(2, 3\); expected three axes, \[time, batch, feature\]"),
        ((), False, r"x has shape \(\); expected three axes"),
        ((0, 2, 3), False, "which has no timesteps; expected at least one"),
        ((2, 0, 3), False, "which has no sequences; expected at least one"),
        ((0, 0, 3), False, "which has no timesteps"),
        ((2, 0, 3), True, r"no timesteps; .*\(\[batch, time, feature\]\)"),
        ((0, 2, 3), True, "no sequences"),
    ],
)
def test_input_without_timesteps_or_sequences_raises(
    shape: tuple[int, ...], batch_major: bool, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        model.batch_and_timesteps(shape, batch_major)


@pytest.mark.parametrize(
    ("dtype", "value", "says"),
    [
        ("float32", np.zeros((2, 2, 4)), r"x has shape \(2, 2, 4\); expected \(2, 2, 3\)"),
        ("float32", np.full((2, 2, 3), np.nan), r"x\[0, 0, 0\] is nan; expected finite numbers"),
        ("float32", [[[0, 0, 0]] * 2, [[1, 2, 3], [1, np.inf, 3]]], r"x\[1, 1, 1\] is inf"),
        (
            "float16",
            [[[1, 2, 1e6]] * 2] * 2,
            r"x\[0, 0, 2\] is 1000000.0; .* that float16 can hold",
        ),
    ],
)
def test_array_of_a_wrong_shape_or_not_finite_raises_with_its_name(
    dtype: str, value: Any, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        model.check_array(LSTMSpec(3, 4, dtype=dtype), "x", value, (2, 2, 3))


def test_array_of_numbers_whose_squares_overflow_is_taken() -> None:
    value = np.full((2, 2, 3), -3e38, np.float32)
    assert model.check_array(LSTMSpec(3, 4), "x", value, (2, 2, 3)) is value


@given(st.sampled_from(sorted(PRECISIONS)), st.lists(st.floats(-1e3, 1e3), min_size=1))
def test_checked_array_is_rounded_to_its_precision(dtype: str, values: list[float]) -> None:
    spec = LSTMSpec(3, 4, dtype=dtype)
    found = model.check_array(spec, "x", values, (len(values),))
    assert found.dtype == spec.precision.storage
    np.testing.assert_array_equal(found, spec.quantize(values))


@pytest.mark.parametrize(
    ("lengths", "says"),
    [
        ([1], r"lengths has shape \(1,\) .*; expected 2 integers, one for each sequence"),
        ([[1, 2]], r"lengths has shape \(1, 2\)"),
        ([1.0, 2.0], "type float64; expected 2 integers"),
        ([True, True], "type bool"),
        ([0, 3], "lengths holds 0 to 3; expected 1 to the 3 timesteps of x"),
        ([1, 4], "lengths holds 1 to 4; expected 1 to the 3"),
    ],
)
def test_wrong_lengths_raise(lengths: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        model.check_lengths(lengths, batch=2, timesteps=3)


@pytest.mark.parametrize("name", ["h", "c"])
def test_state_of_a_wrong_shape_raises_with_its_name(name: str) -> None:
    good = np.zeros((4, 5, 4))
    for bad, says in (
        (np.zeros((1, 5, 4)), rf"dstate.{name} has shape \(1, 5, 4\); expected \(4, 5, 4\)"),
        (np.full((4, 5, 4), np.nan), rf"dstate.{name}\[0, 0, 0\] is nan"),
    ):
        with pytest.raises(ValueError, match=says):
            model.check_state(
                DEEP, "dstate", LSTMState(**{"h": good, "c": good, name: bad}), batch=5
            )


def test_masks_for_one_layer_or_of_a_wrong_shape_raise() -> None:
    assert model.check_masks(SPEC, None, batch=5, timesteps=2) is None
    with pytest.raises(ValueError, match="expected None, because dropout acts between layers"):
        model.check_masks(SPEC, np.ones((0, 2, 5, 4)), batch=5, timesteps=2)
    with pytest.raises(ValueError, match=r"masks has shape \(2, 5, 8\); expected \(1, 2, 5, 8\)"):
        model.check_masks(DEEP, np.ones((2, 5, 8)), batch=5, timesteps=2)
