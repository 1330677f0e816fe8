"""The kernels of fused_cpu as an operator of PyTorch, against PyTorch's own layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.lstm_impl.backends.built import built, needs

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

from lstm_impl import LSTMSpec, UnsupportedError  # noqa: E402
from lstm_impl.backends.torch.fused_layer import fused_layer  # noqa: E402

pytestmark = needs("torch_fused_cpu")

T, B, IN, H = 6, 3, 4, 18
SHAPES = (T, B, IN), (B, H), (B, H), (IN, 4 * H), (H, 4 * H), (4 * H,)

Layer = Callable[..., Any]
layer: Layer = fused_layer


def tensors(seed: int = 0, dtype: Any = torch.float32) -> list[Any]:
    draw = np.random.default_rng(seed)
    made = [torch.tensor(draw.standard_normal(shape) * 0.5, dtype=dtype) for shape in SHAPES]
    return [each.requires_grad_() for each in made]


def by_torch(x: Any, h: Any, c: Any, kernel: Any, recurrent: Any, bias: Any) -> tuple[Any, ...]:
    weights = [kernel.T, recurrent.T, bias, torch.zeros_like(bias)]
    y, h, c = torch.lstm(x, (h[None], c[None]), weights, True, 1, 0.0, False, False, False)
    return y, h[0], c[0]


def loss(outputs: Any) -> Any:
    return sum((torch.sin(each.float()) * k).sum() for k, each in enumerate(outputs, 1))


def assert_close(found: Any, expected: Any, atol: float = 2e-5) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(
            ours.detach().float().numpy(), theirs.detach().float().numpy(), atol=atol
        )


def test_outputs_and_gradients_equal_torch() -> None:
    given = tensors()
    ours, theirs = layer(*given), by_torch(*given)
    assert_close(ours, theirs)
    assert_close(*(torch.autograd.grad(loss(each), given) for each in (ours, theirs)))


def test_batch_major_input_that_is_not_contiguous_equals_the_contiguous() -> None:
    given = tensors()
    x = given[0].detach().transpose(0, 1)  # [B, T, in], as it lies time-major
    transposed = given[3].detach().T.contiguous().T
    y, h, c = layer(x, *given[1:3], transposed, *given[4:], batch_major=True)
    assert_close((y.transpose(0, 1), h, c), layer(*given))


def test_masked_step_keeps_the_state_and_has_no_output_or_gradient() -> None:
    given = tensors()
    valid = torch.arange(T)[:, None] < torch.tensor([T, 2, 1])
    y, h, _ = layer(*given, valid)
    assert torch.equal(h[1], y[1, 1])
    assert not y[2:, 1].any()
    (dx,) = torch.autograd.grad(loss((y, h)), given[:1])
    assert dx[:2, 1].any()
    assert not dx[2:, 1].any()


def test_bfloat16_layer_equals_torch_in_float32() -> None:
    given = tensors(dtype=torch.bfloat16)
    found = layer(*given)
    assert {each.dtype for each in found} == {torch.bfloat16}
    assert_close(found, by_torch(*(each.float() for each in given)), atol=0.01)


@pytest.mark.parametrize("trained", [True, False])
def test_operator_passes_the_checks_of_torch(trained: bool) -> None:
    given = tensors() if trained else [each.detach() for each in tensors()]
    valid = torch.ones(T, B, dtype=torch.bool)
    for padding in (valid, valid[:0, :0]):
        arguments = (*given, padding, False, True, trained)
        torch.library.opcheck(torch.ops.lstm_impl.fused_lstm.default, arguments)


def test_compiled_function_has_no_graph_break_and_the_same_gradients() -> None:
    given = tensors()
    compiled = torch.compile(lambda *each: loss(layer(*each)), fullgraph=True, backend="aot_eager")
    assert_close(
        torch.autograd.grad(compiled(*given), given),
        torch.autograd.grad(loss(layer(*given)), given),
    )


def test_unsupported_use_raises_with_the_reason() -> None:
    given = tensors()
    first = torch.autograd.grad(loss(layer(*given)), given[0], create_graph=True)[0]
    with pytest.raises(UnsupportedError, match="no second gradient; use torch"):
        torch.autograd.grad(first.sum(), given[0])
    with pytest.raises(UnsupportedError, match=r"x is torch.float64; expected float32"):
        layer(*tensors(dtype=torch.float64))
    with pytest.raises(UnsupportedError, match="not float16"):
        built("torch_fused_cpu", LSTMSpec(2, 3, dtype="float16"))
