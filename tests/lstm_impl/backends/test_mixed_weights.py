"""Test that the kernels in PyTorch and JAX read float32 weights next to bfloat16 inputs."""

import re
from typing import Any

import numpy as np
import pytest

from lstm_impl import LSTMSpec, Workload
from lstm_impl.cell import get_cell
from tests.lstm_impl.backends.built import built, passes, ready

IN, H, B, T = 5, 18, 3, 4
SPEC = LSTMSpec(IN, H, num_layers=2, bidirectional=True, dtype="mixed_bfloat16")
WORKLOADS = (
    Workload(B, T, min_length=2),
    Workload(B, T, mode="training", min_length=2, gradients="all"),
)
SHAPES = (T, B, IN), (B, H), (B, H), (IN, 4 * H), (H, 4 * H), (4 * H,)


def arrays() -> list[Any]:
    draw = np.random.default_rng(0)
    return [draw.standard_normal(shape).astype("float32") * 0.5 for shape in SHAPES]


@pytest.mark.parametrize("name", ["torch_fused_cpu", "jax_fused_cpu"])
@pytest.mark.parametrize("workload", WORKLOADS, ids=["inference", "training"])
def test_mixed_model_agrees_with_the_reference(name: str, workload: Workload) -> None:
    passes(built(name, SPEC), workload)


@pytest.mark.parametrize("name", ["torch_fused_cpu", "jax_fused_cpu"])
@pytest.mark.parametrize(
    ("cell", "dtype"), [("gru", "bfloat16"), ("gru_reset_before", "mixed_bfloat16")]
)
def test_gru_in_bfloat16_agrees_with_the_reference(name: str, cell: str, dtype: str) -> None:
    """The rows are enough for gradients by bfloat16, and the units fill a register."""
    spec = LSTMSpec(5, 21, bidirectional=True, dtype=dtype, cell=get_cell(cell))
    passes(built(name, spec), Workload(16, 9, "training", min_length=3))


# -- PyTorch


def torch_tensors(torch: Any, trained: bool) -> list[Any]:
    """Return x and a state in bfloat16, and weights in float32."""
    given = [torch.tensor(each) for each in arrays()]
    given = [*(each.to(torch.bfloat16) for each in given[:3]), *given[3:]]
    return [each.requires_grad_() for each in given] if trained else given


CASTS = "aten::_to_copy", "aten::copy_"  # aten::to without a copy casts nothing


def operators_that_cast(torch: Any, function: Any) -> tuple[Any, list[str]]:
    """Return the result of a function, and the casts and copies among the operators that ran."""
    with torch.autograd.profiler.profile() as recorded:
        found = function()
    return found, [each.name for each in recorded.function_events if each.name in CASTS]


def test_torch_operators_cast_no_weight_and_give_its_gradient_in_float32() -> None:
    ready("torch_fused_cpu")
    torch = pytest.importorskip("torch", reason="this is PyTorch's: pip install torch")
    from lstm_impl.torch import fused_layer

    given = torch_tensors(torch, trained=True)

    def step() -> Any:
        outputs = fused_layer(*given)
        return outputs, torch.autograd.grad(outputs, given, list(map(torch.ones_like, outputs)))

    (outputs, gradients), casts = operators_that_cast(torch, step)
    assert casts == []
    assert {each.dtype for each in (*outputs, *gradients[:3])} == {torch.bfloat16}
    assert [each.dtype for each in gradients[3:]] == 3 * [torch.float32]
    low = [each.detach().to(torch.bfloat16).requires_grad_() for each in given]
    expected = torch.autograd.grad(
        (low_outputs := fused_layer(*low)), low, list(map(torch.ones_like, low_outputs))
    )
    for ours, theirs in zip(gradients, expected, strict=True):
        scale = float(theirs.float().abs().max())
        torch.testing.assert_close(ours.float(), theirs.float(), rtol=0, atol=0.05 * scale)


@pytest.mark.parametrize("prepacked", [False, True])
def test_torch_module_under_autocast_casts_no_weight(prepacked: bool) -> None:
    ready("torch_fused_cpu")
    torch = pytest.importorskip("torch", reason="this is PyTorch's: pip install torch")
    from lstm_impl.torch import LSTM, fused_layer

    module, x = LSTM(IN, H).prepack(prepacked), torch.tensor(arrays()[0]).to(torch.bfloat16)

    def under_autocast(call: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return call()

    with torch.no_grad():
        y, _ = under_autocast(lambda: module(x))  # copies once, if it keeps copies
        (y, _), casts = operators_that_cast(torch, lambda: under_autocast(lambda: module(x)))
    assert casts == []
    kernel, recurrent_kernel, *biases = module.all_weights[0]
    state = torch.zeros(2, 1, B, H, dtype=torch.bfloat16)
    given = x, *state, kernel, recurrent_kernel, torch.add(*biases)
    expected = fused_layer(*given, transposed=True)
    torch.testing.assert_close(y, expected.y, rtol=0, atol=0)
    y, _ = under_autocast(lambda: module(x))
    gradients = torch.autograd.grad(y.float().sum(), list(module.parameters()))
    assert {each.dtype for each in gradients} == {torch.float32}


def test_torch_compiled_module_under_autocast_casts_no_weight() -> None:
    ready("torch_fused_cpu")
    torch = pytest.importorskip("torch", reason="this is PyTorch's: pip install torch")
    from lstm_impl.torch import LSTM

    graphs: list[Any] = []

    def remember(graph: Any, example: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    module, x = LSTM(IN, H), torch.tensor(arrays()[0]).to(torch.bfloat16)
    state = 2 * (torch.zeros(1, B, H, dtype=torch.bfloat16),)
    compiled = torch.compile(module, backend=remember, fullgraph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, _ = compiled(x, state)
        expected, _ = module(x, state)
    torch.testing.assert_close(y, expected, rtol=0, atol=0)
    (graph,) = graphs
    cast = [node.args[0] for node in graph.graph.nodes if str(node.target) in ("to", "_to_copy")]
    dtypes = {node.meta["example_value"].dtype for node in cast}
    assert torch.float32 not in dtypes


def test_torch_second_gradient_of_mixed_layer_equals_that_of_bfloat16() -> None:
    ready("torch_fused_cpu")
    torch = pytest.importorskip("torch", reason="this is PyTorch's: pip install torch")
    from lstm_impl.torch import fused_layer

    def second(given: list[Any]) -> list[Any]:
        total = sum(each.float().square().sum() for each in fused_layer(*given))
        first = torch.autograd.grad(total, given, create_graph=True)
        squares = sum(each.float().square().sum() for each in first)
        found: list[Any] = list(torch.autograd.grad(squares, given))
        return found

    given = torch_tensors(torch, trained=True)
    low = [each.detach().to(torch.bfloat16).requires_grad_() for each in given]
    for ours, theirs, like in zip(second(given), second(low), given, strict=True):
        assert ours.dtype == like.dtype
        scale = float(theirs.float().abs().max())
        torch.testing.assert_close(ours.float(), theirs.float(), rtol=0, atol=0.1 * scale)


# -- JAX


def jax_arrays(jax: Any) -> list[Any]:
    """Return x and a state in bfloat16, and weights in float32."""
    given = [jax.numpy.asarray(each) for each in arrays()]
    return [*(each.astype("bfloat16") for each in given[:3]), *given[3:]]


def weights_cast(jax: Any, function: Any, *given: Any) -> list[str]:
    """Return the shapes of weights that the program of a function casts from float32."""
    text = jax.jit(function).lower(*given).as_text()
    assert "lstm_impl_forward" in text
    casts = re.findall(r"stablehlo\.convert .*: \(tensor<([\dx]*)xf32>\)", text)
    return [shape for shape in casts if shape.endswith(str(4 * H))]


def test_jax_program_casts_no_weight_and_gives_its_gradient_in_float32() -> None:
    ready("jax_fused_cpu")
    jax = pytest.importorskip("jax", reason="this is JAX's: pip install jax")
    from lstm_impl.jax import fused_layer

    def total(*given: Any) -> Any:
        return sum(each.astype("float32").sum() for each in fused_layer(*given))

    given = jax_arrays(jax)
    gradient = jax.jit(jax.grad(total, range(6)))
    assert weights_cast(jax, gradient, *given) == []
    found = gradient(*given)
    assert [str(each.dtype) for each in found] == 3 * ["bfloat16"] + 3 * ["float32"]
    expected = gradient(*(each.astype("bfloat16") for each in given))
    for ours, theirs in zip(found, expected, strict=True):
        ours, theirs = (np.asarray(each, np.float32) for each in (ours, theirs))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=0.05 * np.abs(theirs).max())


@pytest.mark.slow  # it compiles second gradients
def test_jax_second_gradient_of_mixed_layer_equals_that_of_bfloat16() -> None:
    ready("jax_fused_cpu")
    jax = pytest.importorskip("jax", reason="this is JAX's: pip install jax")
    from lstm_impl.jax import fused_layer

    def squares(found: Any) -> Any:
        return sum((each.astype("float32") ** 2).sum() for each in found)

    def of_first(*given: Any) -> Any:
        first = jax.grad(lambda *each: squares(fused_layer(*each)), range(6))
        return squares(first(*given))

    second, given = jax.jit(jax.grad(of_first, range(6))), jax_arrays(jax)
    low = [each.astype("bfloat16") for each in given]
    for ours, theirs, like in zip(second(*given), second(*low), given, strict=True):
        assert ours.dtype == like.dtype
        ours, theirs = (np.asarray(each, np.float32) for each in (ours, theirs))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=0.1 * np.abs(theirs).max())


def test_jax_model_in_mixed_precision_casts_no_weight() -> None:
    jax = pytest.importorskip("jax", reason="this is JAX's: pip install jax")
    model = built("jax_fused_cpu", LSTMSpec(IN, H, dtype="mixed_bfloat16"))
    x, h, c, *_ = jax_arrays(jax)
    assert weights_cast(jax, model.function, model.parameters, x, h[None], c[None]) == []


def test_flax_module_of_bfloat16_with_float32_parameters_casts_no_weight() -> None:
    ready("jax_fused_cpu")
    jax = pytest.importorskip("jax", reason="this is JAX's: pip install jax")
    nnx = pytest.importorskip("flax.nnx", reason="this is Flax's: pip install flax")
    import lstm_impl.jax

    cell = nnx.OptimizedLSTMCell(IN, H, dtype=jax.numpy.bfloat16, rngs=nnx.Rngs(0))
    module = lstm_impl.jax.LSTM(cell, time_major=True)
    graph, state = nnx.split(module)

    def call(state: Any, x: Any) -> Any:
        return nnx.merge(graph, state)(x)

    x, *_ = jax_arrays(jax)
    assert weights_cast(jax, call, state, x) == []
    expected = nnx.RNN(cell, time_major=True)(x)
    found, wanted = (np.asarray(each, np.float32) for each in (call(state, x), expected))
    np.testing.assert_allclose(found, wanted, atol=0.02)
