"""Test that sequences of different lengths in one call are computed as each one alone."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lstm_impl import LSTMGradients, LSTMSpec, LSTMState, LSTMWeights, Workload
from lstm_impl.cell import CELLS
from tests.lstm_impl.backends.built import ready

KERNELS = ("fused_cpu", "jax_fused_cpu", "numpy_fused", "torch_fused_cpu")
"""The backends that call the kernels."""

CHEAP = ("numpy_fused", "torch_fused_cpu")
"""Those that need no graph or program for each size."""

lengths_of_batches = st.lists(st.integers(1, 14), min_size=2, max_size=30)
"""Lengths of the sequences of a batch, of which some are shared out by rows and some by units."""


def draw(spec: LSTMSpec, lengths: list[int]) -> tuple[LSTMWeights, Any]:
    inputs = Workload(len(lengths), max(lengths), "training").inputs(spec)
    return LSTMWeights.random(spec), inputs


def run(model: Any, inputs: Any, lengths: Any = None) -> tuple[Any, LSTMState, LSTMGradients]:
    flow = inputs.state.map(np.cos)
    found: tuple[Any, LSTMState, LSTMGradients] = model.forward_and_gradients(
        inputs.x, inputs.dy, inputs.state, flow, lengths
    )
    return found


def check_as_alone(name: str, spec: LSTMSpec, lengths: list[int]) -> None:
    """Compare all results with those of each sequence in a call of its own."""
    weights, inputs = draw(spec, lengths)
    model = ready(name).build(spec, weights)
    y, last, gradients = run(model, inputs, np.array(lengths))
    total = weights.map(np.zeros_like)
    for row, length in enumerate(lengths):
        own_y, own_last, own = run(model, inputs.sequences([row]).window(slice(0, length)))
        expected = own_y[:, 0], own.x[:, 0], *own_last, *own.state
        found = (
            y[:length, row],
            gradients.x[:length, row],
            *(state[:, [row]] for state in (*last, *gradients.state)),
        )
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6)
        assert not np.any(y[length:, row])
        assert not np.any(gradients.x[length:, row])
        arrays = zip(total.arrays(), own.weights.arrays(), strict=True)
        total = LSTMWeights.from_arrays(spec, [a + b for a, b in arrays])
    for a, b in zip(gradients.weights.arrays(), total.arrays(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * max(1, np.abs(b).max()))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", CHEAP)
@settings(max_examples=12)
@given(lengths_of_batches, st.booleans(), st.sampled_from([4, 33]))
@example([14] * 4 + [1] * 26, True, 33)
@example([1, 14], False, 4)
def test_sequences_of_different_lengths_are_computed_as_each_one_alone(
    name: str, cell: str, lengths: list[int], bidirectional: bool, units: int
) -> None:
    check_as_alone(name, LSTMSpec(3, units, 1, bidirectional, cell=CELLS[cell]), lengths)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("name", sorted(set(KERNELS) - set(CHEAP)))
def test_lengths_in_a_graph_are_computed_as_each_sequence_alone(name: str, cell: str) -> None:
    check_as_alone(name, LSTMSpec(3, 5, 1, True, cell=CELLS[cell]), [2, 12, 2, 12, 7])


@pytest.mark.parametrize("cell", CELLS)
def test_lengths_give_the_same_bits_each_time(cell: str) -> None:
    spec = LSTMSpec(8, 64, bidirectional=True, cell=CELLS[cell])
    lengths = [30, 4, 9, 30, 17, 22, 13, 26]
    weights, inputs = draw(spec, lengths)
    model = ready("numpy_fused").build(spec, weights)
    first, second = (run(model, inputs, np.array(lengths)) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    pairs = zip(first[2].weights.arrays(), second[2].weights.arrays(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert np.array_equal(first[2].x, second[2].x)


def test_gradients_of_lengths_under_vmap_of_jax_are_those_of_each_example() -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed: pip install jax")
    ready("jax_fused_cpu")
    from lstm_impl.jax import fused_layer

    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 12, 4, 3), np.float32)
    h = rng.standard_normal((4, 5), np.float32)
    kernel, recurrent_kernel = (rng.standard_normal((n, 20), np.float32) for n in (3, 5))
    bias = rng.standard_normal(20, np.float32)
    valid = np.arange(12)[:, None] < np.array([12, 3, 7, 1])

    def loss(x: Any) -> Any:
        return (fused_layer(x, h, h, kernel, recurrent_kernel, bias, valid).y ** 2).sum()

    found = jax.vmap(jax.grad(loss))(x)
    expected = np.stack([jax.grad(loss)(each) for each in x])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


# -- packed sequences of PyTorch


def flat(results: Any) -> list[Any]:
    """Return the data and the final states of a module's results."""
    y, state = results
    return [y.data, *(state if isinstance(state, tuple) else (state,))]


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
@settings(max_examples=12)
@given(lengths_of_batches, st.booleans(), st.integers(1, 2), st.booleans())
def test_packed_sequence_gives_what_torch_gives(
    name: str, lengths: list[int], bidirectional: bool, layers: int, given_state: bool
) -> None:
    """The sequences are unsorted, and all parameters, the input and the states have gradients."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    ready("torch_fused_cpu")
    import lstm_impl.torch as ours

    torch.manual_seed(0)
    modules = [
        getattr(each, name)(4, 9, layers, bidirectional=bidirectional) for each in (ours, torch.nn)
    ]
    modules[0].load_state_dict(modules[1].state_dict())
    x = torch.randn(max(lengths), len(lengths), 4)
    state = torch.randn(2, layers * (1 + bidirectional), len(lengths), 9)
    found = []
    for module in modules:
        inputs = x.clone().requires_grad_(), state.clone().requires_grad_()
        pack = torch.nn.utils.rnn.pack_padded_sequence
        packed = pack(inputs[0], torch.tensor(lengths), enforce_sorted=False)
        hx = (inputs[1][0], inputs[1][1]) if name == "LSTM" else inputs[1][0]
        made = flat(module(packed, hx if given_state else None))
        sum((each * torch.cos(each.detach())).sum() for each in made).backward()
        leaves = (*module.parameters(), inputs[0], *(inputs[1:] if given_state else ()))
        found.append(made + [each.grad for each in leaves])
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=2e-5)


def test_rows_of_a_mask_with_gaps_are_those_of_the_padded_call() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    ready("torch_fused_cpu")
    from lstm_impl.torch import fused_layer

    torch.manual_seed(0)
    valid = torch.rand(9, 5) < 0.6
    x, h, c = torch.randn(9, 5, 3), torch.randn(5, 4), torch.randn(5, 4)
    weights = torch.randn(3, 16), torch.randn(4, 16), torch.randn(16)
    for reverse in (False, True):
        found = []
        for given_x in (x, x[valid]):
            tensors = [e.clone().requires_grad_() for e in (given_x, h, c, *weights)]
            first, second, third, kernel, recurrent_kernel, bias = tensors
            of_weights = kernel, recurrent_kernel, bias
            y, *last = fused_layer(first, second, third, *of_weights, valid, reverse=reverse)
            y = y if y.dim() == 2 else y[valid]
            ((y**2).sum() + sum((each**3).sum() for each in last)).backward()
            dx = tensors[0].grad
            dx = dx if dx.dim() == 2 else dx[valid]
            found.append([y, *last, dx, *(each.grad for each in tensors[1:])])
        torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings(r"ignore:`torch\.jit\.script` is deprecated:DeprecationWarning")
def test_second_gradient_and_forward_mode_of_packed_rows_are_those_of_the_padded_call() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    ready("torch_fused_cpu")
    from lstm_impl.torch import fused_gru_layer

    torch.manual_seed(0)
    valid = torch.arange(5)[:, None] < torch.tensor([5, 3, 3, 1])
    x, h = torch.randn(5, 4, 3), torch.randn(4, 2)
    weights = torch.randn(3, 6), torch.randn(2, 6), torch.randn(6), torch.randn(6)

    def padded(rows: Any) -> Any:
        full = rows.new_zeros(5, 4, 3).index_put((valid,), rows)
        return fused_gru_layer(full, h, *weights, valid).y[valid]

    def packed(rows: Any) -> Any:
        return fused_gru_layer(rows, h, *weights, valid).y

    rows, way = x[valid], torch.randn(12, 3)
    found = []
    for layer in (padded, packed):
        leaf = rows.clone().requires_grad_()
        (first,) = torch.autograd.grad((layer(leaf) ** 2).sum(), leaf, create_graph=True)
        (second,) = torch.autograd.grad((first * way).sum(), leaf)
        tangent = torch.func.jvp(layer, (rows,), (way,))[1]
        found.append([first, second, tangent])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "how", "says"),
    [
        (6, {}, "x has 6 rows, and valid has 7 steps that are True"),
        (7, {"valid": None}, "expected 3 axes"),
        (7, {"resets": "valid"}, "takes no resets"),
    ],
)
def test_rows_that_do_not_fit_are_refused(rows: int, how: dict[str, Any], says: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    ready("torch_fused_cpu")
    from lstm_impl.torch import fused_layer

    valid = torch.arange(4)[:, None] < torch.tensor([4, 3])
    how = {"valid": valid} | {key: valid if each == "valid" else each for key, each in how.items()}
    tensors = torch.zeros(rows, 3), torch.zeros(2, 4), torch.zeros(2, 4)
    weights = torch.zeros(3, 16), torch.zeros(4, 16), torch.zeros(16)
    with pytest.raises(ValueError, match=says):
        fused_layer(*tensors, *weights, **how)
