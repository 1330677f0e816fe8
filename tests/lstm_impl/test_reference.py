"""Test the reference by manual results, finite differences, and invariants."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import lstm_impl
from lstm_impl import LayerWeights, LSTMSpec, LSTMState, LSTMWeights, reference

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """Hold all arguments of the reference, with the gradients of its outputs."""

    spec: LSTMSpec
    weights: LSTMWeights
    x: Float64
    dy: Float64
    state: LSTMState
    dstate: LSTMState
    lengths: npt.NDArray[np.int64] | None = None
    masks: Any = None

    def forward(self) -> tuple[Float64, LSTMState]:
        return reference.forward(
            self.spec, self.weights, self.x, self.state, self.lengths, self.masks
        )

    def gradients(self) -> lstm_impl.LSTMGradients:
        given = self.spec, self.weights, self.x, self.dy, self.state, self.dstate
        return reference.forward_and_gradients(*given, self.lengths, self.masks)[2]

    def objective(self) -> float:
        """Compute the number whose gradient ``gradients`` returns."""
        y, state = self.forward()
        return float(
            np.sum(y * self.dy) + np.sum(state.h * self.dstate.h) + np.sum(state.c * self.dstate.c)
        )

    def valid(self) -> npt.NDArray[np.bool_]:
        """Return the mask of valid steps ``[T, B]``, which is False in padding."""
        timesteps, batch, _ = self.x.shape
        if self.lengths is None:
            return np.ones((timesteps, batch), bool)
        return np.arange(timesteps)[:, None] < self.lengths[None, :]


def draw_state(spec: LSTMSpec, batch: int, rng: np.random.Generator) -> LSTMState:
    shape = (spec.state_layers, batch, spec.hidden_size)
    return LSTMState(h=rng.standard_normal(shape), c=rng.standard_normal(shape))


def draw(
    spec: LSTMSpec,
    batch: int = 2,
    timesteps: int = 3,
    *,
    lengths: list[int] | None = None,
    dropout: float = 0.0,
    seed: int = 0,
) -> Problem:
    rng = np.random.default_rng(seed)
    return Problem(
        spec=spec,
        weights=LSTMWeights.random(spec, seed),
        x=rng.standard_normal((timesteps, batch, spec.input_size)),
        dy=rng.standard_normal((timesteps, batch, spec.output_size)),
        state=draw_state(spec, batch, rng),
        dstate=draw_state(spec, batch, rng),
        lengths=None if lengths is None else np.array(lengths),
        masks=lstm_impl.dropout_masks(spec, timesteps, batch, dropout, rng) if dropout else None,
    )


def named(gradients: lstm_impl.LSTMGradients) -> dict[str, Any]:
    """Return all gradients by name."""
    arrays = {"x": gradients.x, "h": gradients.state.h, "c": gradients.state.c}
    return arrays | dict(zip(gradients.weights.names(), gradients.weights.arrays(), strict=True))


def assert_close(
    ours: lstm_impl.LSTMGradients, theirs: lstm_impl.LSTMGradients, factor: float = 1.0
) -> None:
    for name, array in named(theirs).items():
        np.testing.assert_allclose(
            named(ours)[name], factor * array, rtol=1e-10, atol=1e-12, err_msg=name
        )


@st.composite
def problems(draw_: st.DrawFn, directions: tuple[bool, ...] = (False, True)) -> Problem:
    """Draw small problems of all kinds."""
    spec = LSTMSpec(
        input_size=draw_(st.integers(1, 4)),
        hidden_size=draw_(st.integers(1, 4)),
        num_layers=draw_(st.integers(1, 3)),
        bidirectional=draw_(st.sampled_from(directions)),
        dtype="float64",
    )
    batch, timesteps = draw_(st.integers(1, 3)), draw_(st.integers(1, 4))
    lengths = draw_(st.none() | st.lists(st.integers(1, timesteps), min_size=batch, max_size=batch))
    dropout = draw_(st.sampled_from([0.0, 0.4])) if spec.num_layers > 1 else 0.0
    seed = draw_(st.integers(0, 2**32 - 1))
    return draw(spec, batch, timesteps, lengths=lengths, dropout=dropout, seed=seed)


# -- manual results


def test_one_step_of_one_unit_equals_a_manual_result() -> None:
    """The gates are i, f, g and o. The unit reads 2 and begins with h = 0.5 and c = -1."""
    spec = LSTMSpec(1, 1, dtype="float64")
    cell = LayerWeights(
        np.array([[0.1, 0.2, 0.3, 0.4]]), np.array([[1.0, 2, 3, 4]]), np.array([0.0, 1, 0.5, -1])
    )
    state = LSTMState(h=np.array([[[0.5]]]), c=np.array([[[-1.0]]]))
    y, last = reference.forward(spec, LSTMWeights(((cell,),)), [[[2.0]]], state)

    def logistic(z: float) -> float:
        return float(1 / (1 + np.exp(-z)))

    i, f, o = logistic(0.2 + 0.5), logistic(0.4 + 1 + 1), logistic(0.8 + 2 - 1)
    c = f * -1.0 + i * np.tanh(0.6 + 1.5 + 0.5)
    assert last.c.item() == pytest.approx(c, abs=1e-15)
    assert last.h.item() == y.item() == pytest.approx(o * np.tanh(c), abs=1e-15)


def test_sigmoid_of_large_numbers_does_not_overflow() -> None:
    z = np.array([-1e308, -800.0, 0.0, 800.0, 1e308])
    assert reference.sigmoid(z).tolist() == [0, 0, 0.5, 1, 1]
    z = np.linspace(-30, 30, 101)
    np.testing.assert_allclose(reference.sigmoid(z), 1 / (1 + np.exp(-z)), rtol=1e-3, atol=1e-15)


def test_layers_are_stacked_and_directions_concatenated() -> None:
    problem = draw(LSTMSpec(3, 4, num_layers=2, bidirectional=True, dtype="float64"))
    y, last = problem.forward()
    one = replace(problem.spec, num_layers=1)
    below = problem.x
    for layer in range(2):
        rows = slice(2 * layer, 2 * layer + 2)
        state = LSTMState(problem.state.h[rows], problem.state.c[rows])
        spec = replace(one, input_size=below.shape[-1])
        below, state = reference.forward(
            spec, LSTMWeights((problem.weights.layers[layer],)), below, state
        )
        np.testing.assert_array_equal(last.c[rows], state.c)
    np.testing.assert_array_equal(y, below)
    # forward's last output and backward's first are the final hidden states
    np.testing.assert_array_equal(y[-1, :, :4], last.h[2])
    np.testing.assert_array_equal(y[0, :, 4:], last.h[3])


def test_reference_leaves_its_arguments_unchanged() -> None:
    spec = LSTMSpec(3, 4, num_layers=2, bidirectional=True, dtype="float64")
    problem, untouched = (draw(spec, lengths=[2, 3], dropout=0.5) for _ in range(2))
    problem.gradients()
    for name in ("x", "dy", "masks", "lengths"):
        np.testing.assert_array_equal(getattr(problem, name), getattr(untouched, name))
    np.testing.assert_array_equal(problem.state.h, untouched.state.h)
    np.testing.assert_array_equal(problem.dstate.c, untouched.dstate.c)
    for a, b in zip(problem.weights.arrays(), untouched.weights.arrays(), strict=True):
        np.testing.assert_array_equal(a, b)


# -- finite differences

KINDS = {
    "one layer": draw(LSTMSpec(3, 2, dtype="float64"), batch=2, timesteps=4),
    "one timestep": draw(LSTMSpec(2, 3, dtype="float64"), batch=1, timesteps=1),
    "lengths": draw(LSTMSpec(2, 2, dtype="float64"), batch=3, timesteps=4, lengths=[4, 1, 2]),
    "two directions": draw(LSTMSpec(2, 2, bidirectional=True, dtype="float64"), timesteps=3),
    "layers, masks": draw(LSTMSpec(2, 3, num_layers=3, dtype="float64"), dropout=0.4),
    "everything": draw(
        LSTMSpec(2, 2, num_layers=2, bidirectional=True, dtype="float64"),
        *(2, 3),
        lengths=[3, 2],
        dropout=0.4,
    ),
}


def arguments(problem: Problem) -> dict[str, tuple[Any, Callable[[Any], Problem]]]:
    """Return each array with a gradient by name, and a function that replaces it."""
    state = problem.state
    found: dict[str, tuple[Any, Callable[[Any], Problem]]] = {
        "x": (problem.x, lambda value: replace(problem, x=value)),
        "h": (state.h, lambda value: replace(problem, state=LSTMState(value, state.c))),
        "c": (state.c, lambda value: replace(problem, state=LSTMState(state.h, value))),
    }
    arrays = problem.weights.arrays()
    for k, name in enumerate(problem.weights.names()):

        def put_weight(value: Any, k: int = k) -> Problem:
            changed = [*arrays[:k], value, *arrays[k + 1 :]]
            return replace(problem, weights=LSTMWeights.from_arrays(problem.spec, changed))

        found[name] = (arrays[k], put_weight)
    return found


def numerical_gradient(value: Any, put: Callable[[Any], Problem], step: float = 1e-3) -> Float64:
    """Compute central differences of fourth order, one number at a time."""
    gradient = np.zeros(value.shape)
    for index in np.ndindex(value.shape):

        def at(distance: float, index: tuple[int, ...] = index) -> float:
            moved = value.copy()
            moved[index] += distance
            return put(moved).objective()

        gradient[index] = (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (
            12 * step
        )
    return gradient


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_finite_differences(kind: str) -> None:
    problem = KINDS[kind]
    gradients = named(problem.gradients())
    places = arguments(problem)
    assert places.keys() == gradients.keys()
    for name, (value, put) in places.items():
        # the differences have errors of step**4 and roundoff/step: both about 1e-11 here
        np.testing.assert_allclose(
            gradients[name], numerical_gradient(value, put), rtol=1e-8, atol=1e-9, err_msg=name
        )
        assert np.any(gradients[name] != 0), name


# -- invariants


def reordered(problem: Problem, order: list[int]) -> Problem:
    def pick(state: LSTMState) -> LSTMState:
        return LSTMState(h=state.h[:, order], c=state.c[:, order])

    return replace(
        problem,
        x=problem.x[:, order],
        dy=problem.dy[:, order],
        state=pick(problem.state),
        dstate=pick(problem.dstate),
        lengths=None if problem.lengths is None else problem.lengths[order],
        masks=None if problem.masks is None else problem.masks[:, :, order],
    )


@settings(deadline=None)
@given(problems(), st.sampled_from([np.nan, np.inf, 1e300, -7.0]))
def test_padding_changes_nothing(problem: Problem, rubbish: float) -> None:
    """The contents of padding have no effect, in the input and in the gradient of the output."""
    padding = ~problem.valid()
    x, dy = problem.x.copy(), problem.dy.copy()
    x[padding], dy[padding] = rubbish, rubbish
    spoilt = replace(problem, x=x, dy=dy)
    (y, last), (y_clean, last_clean) = spoilt.forward(), problem.forward()
    np.testing.assert_array_equal(y, y_clean)
    np.testing.assert_array_equal(last.h, last_clean.h)
    np.testing.assert_array_equal(last.c, last_clean.c)
    assert_close(spoilt.gradients(), problem.gradients())


@settings(deadline=None)
@given(problems())
def test_padded_sequence_equals_the_short_one(problem: Problem) -> None:
    timesteps, batch, _ = problem.x.shape
    y, last = problem.forward()
    gradients = problem.gradients()
    for b in range(batch):
        length = timesteps if problem.lengths is None else int(problem.lengths[b])
        alone = reordered(problem, [b])
        alone = replace(
            alone,
            x=alone.x[:length],
            dy=alone.dy[:length],
            lengths=None,
            masks=None if alone.masks is None else alone.masks[:, :length],
        )
        y_alone, last_alone = alone.forward()
        of_alone = alone.gradients()
        for found, wanted in (
            (y[:length, [b]], y_alone),
            (last.h[:, [b]], last_alone.h),
            (last.c[:, [b]], last_alone.c),
            (gradients.x[:length, [b]], of_alone.x),
            (gradients.state.c[:, [b]], of_alone.state.c),
        ):
            np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)


@settings(deadline=None)
@given(problems(directions=(False,)), st.data())
def test_two_windows_with_carried_state_equal_one_sequence(
    problem: Problem, data: st.DataObject
) -> None:
    """The state flows forward over the cut, and its gradient flows back over it."""
    problem = replace(problem, lengths=None)
    assume(len(problem.x) > 1)
    cut = data.draw(st.integers(1, len(problem.x) - 1))

    def window(part: slice, **changes: Any) -> Problem:
        masks = None if problem.masks is None else problem.masks[:, part]
        return replace(problem, x=problem.x[part], dy=problem.dy[part], masks=masks, **changes)

    first = window(slice(0, cut))
    y_first, between = first.forward()
    second = window(slice(cut, None), state=between)
    y_second, last = second.forward()
    y, last_whole = problem.forward()
    np.testing.assert_allclose(np.concatenate([y_first, y_second]), y, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(last.c, last_whole.c, rtol=1e-12, atol=1e-14)

    of_second = second.gradients()
    of_first = replace(first, dstate=of_second.state).gradients()
    whole = problem.gradients()
    np.testing.assert_allclose(
        np.concatenate([of_first.x, of_second.x]), whole.x, rtol=1e-9, atol=1e-11
    )
    np.testing.assert_allclose(of_first.state.c, whole.state.c, rtol=1e-9, atol=1e-11)
    for a, b, both in zip(
        of_first.weights.arrays(), of_second.weights.arrays(), whole.weights.arrays(), strict=True
    ):
        np.testing.assert_allclose(a + b, both, rtol=1e-9, atol=1e-11)


def test_masks_of_one_change_nothing_and_of_zero_disconnect_layers() -> None:
    problem = draw(LSTMSpec(2, 3, num_layers=2, dtype="float64"))
    ones = np.ones((1, 3, 2, 3))
    assert_close(replace(problem, masks=ones).gradients(), problem.gradients())
    cut = replace(problem, masks=0 * ones, dstate=LSTMState.zeros(problem.spec, 2))
    other_x = replace(cut, x=problem.x + 1)
    np.testing.assert_array_equal(cut.forward()[0], other_x.forward()[0])
    gradients = cut.gradients()
    assert not np.any(gradients.x)
    assert not np.any(gradients.weights.layers[0][0].kernel)
    assert not np.any(gradients.weights.layers[1][0].kernel)
    assert np.any(gradients.weights.layers[1][0].recurrent_kernel)
