"""The kernels of fused_cpu as an operator of PyTorch, against PyTorch's own layer."""

import copy
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.lstm_impl.backends.built import built, needs

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

from lstm_impl import LSTMSpec, UnsupportedError  # noqa: E402
from lstm_impl.backends.torch.loop import cell, looped  # noqa: E402
from lstm_impl.torch import LSTM, fused_layer  # noqa: E402

pytestmark = needs("torch_fused_cpu")

T, B, IN, H = 6, 3, 4, 18
SHAPES = (T, B, IN), (B, H), (B, H), (IN, 4 * H), (H, 4 * H), (4 * H,)

Layer = Callable[..., Any]
layer: Layer = fused_layer


def tensors(seed: int = 0, dtype: Any = torch.float32) -> list[Any]:
    draw = np.random.default_rng(seed)
    made = [torch.tensor(draw.standard_normal(shape) * 0.5, dtype=dtype) for shape in SHAPES]
    return [each.requires_grad_() for each in made]


def loss(outputs: Any) -> Any:
    return sum((torch.sin(each.float()) * k).sum() for k, each in enumerate(outputs, 1))


def assert_close(found: Any, expected: Any, atol: float = 2e-5) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(
            ours.detach().float().numpy(), theirs.detach().float().numpy(), atol=atol
        )


def test_batch_major_input_that_is_not_contiguous_equals_the_contiguous() -> None:
    given = tensors()
    x = given[0].detach().transpose(0, 1)  # [B, T, in], as it lies time-major
    transposed = given[3].detach().T.contiguous().T
    y, h, c = layer(x, *given[1:3], transposed, *given[4:], batch_major=True)
    assert_close((y.transpose(0, 1), h, c), layer(*given))


@pytest.mark.parametrize("trained", [True, False])
def test_operator_passes_the_checks_of_torch(trained: bool) -> None:
    given = [each.detach() for each in tensors()]
    valid = torch.ones(T, B, dtype=torch.bool)
    operators = torch.ops.lstm_impl
    operator = operators.fused_lstm_training if trained else operators.fused_lstm
    for padding in (valid, None):
        arguments = (*given, padding, False, True)
        torch.library.opcheck(operator.default, arguments)


FORWARD = """
import os
import numpy as np
from lstm_impl import LSTMSpec, LSTMWeights, get_backend
spec, x = LSTMSpec(256, 16), np.zeros((400, 1, 256), np.float32)
model = get_backend("torch_fused_cpu").build(spec, LSTMWeights.random(spec))
before = len(os.listdir("/proc/self/task"))
model.forward(x)
names = [open(f"/proc/self/task/{each}/comm").read() for each in os.listdir("/proc/self/task")]
assert len(names) - names.count("liblstm\\n") == before, names
"""


def test_large_input_of_numpy_starts_no_threads_of_torch() -> None:
    """They would spin for milliseconds beside those of the kernels."""
    done = subprocess.run([sys.executable, "-c", FORWARD], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_gradients_fill_no_zeros_for_what_is_kept() -> None:
    given = tensors()
    outputs = layer(*given)
    with torch.autograd.profiler.profile() as recorded:
        torch.autograd.grad(outputs, given, [torch.ones_like(each) for each in outputs])
    ran = [event.name for event in recorded.function_events]
    assert "lstm_impl::fused_lstm_gradient" in ran
    assert not any("zero" in name for name in ran)


def test_module_of_one_layer_runs_no_operator_for_its_state() -> None:
    module, x, state = LSTM(IN, H), torch.ones(T, B, IN), torch.zeros(1, B, H)
    with torch.no_grad(), torch.autograd.profiler.profile() as recorded:
        module(x, (state, state))
    called = [event.name for event in recorded.function_events if event.cpu_parent is None]
    assert [name for name in called if name != "aten::t"] == ["aten::add", "lstm_impl::fused_lstm"]


def test_unsupported_use_raises_with_the_reason() -> None:
    with pytest.raises(UnsupportedError, match=r"x is torch.float64 on cpu; expected float32"):
        layer(*tensors(dtype=torch.float64))
    with pytest.raises(ValueError, match=r"input has shape \(5,\); expected 2 or 3 axes"):
        LSTM(IN, H)(torch.zeros(5))
    with pytest.raises(UnsupportedError, match="not float16"):
        built("torch_fused_cpu", LSTMSpec(2, 3, dtype="float16"))
    with pytest.raises(UnsupportedError, match=r"no proj_size; use torch\.nn\.LSTM"):
        LSTM(IN, H, proj_size=2)


def test_tensor_that_does_not_fit_is_refused_with_its_name() -> None:
    given = [*tensors(), torch.ones(T, B, dtype=torch.bool)]
    for place, name, wrong in (
        (0, "x", given[0][:, :, None]),
        (1, "h", given[1].double()),
        (3, "kernel", given[3][:, 1:]),
        (5, "bias", given[5][1:]),
        (6, "valid", given[6][1:]),
    ):
        with pytest.raises(ValueError, match=rf"fused_layer: {name} is .*; expected"):
            layer(*given[:place], wrong, *given[place + 1 :])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_second_and_third_gradients_equal_those_of_a_loop(masked: bool, reverse: bool) -> None:
    given = tensors()
    axes = (1, B, H) if masked else (B, H)  # also of a state with the axis of layers
    valid = torch.arange(T)[:, None] < torch.tensor([T, 2, 1]) if masked else None

    def gradients(outputs: Any) -> list[Any]:
        found, total = [], loss(outputs)
        for _ in range(3):
            found.append(torch.autograd.grad(total, given, create_graph=True))
            total = sum((each**2).sum() for each in found[-1])
        return found

    steps = None if valid is None else valid[:, :, None]
    state = (each.reshape(axes) for each in given[1:3])
    ours = gradients(layer(given[0], *state, *given[3:], valid, reverse=reverse))
    theirs = gradients(looped(cell, steps, reverse, *given))
    for found, expected in zip(ours, theirs, strict=True):
        assert_close(
            found, expected, atol=1e-5 * max(float(each.detach().max()) for each in expected)
        )


# -- the module


def modules(**how: Any) -> tuple[Any, Any]:
    """PyTorch's module and ours, with its weights, which are loaded both ways."""
    theirs, ours = torch.nn.LSTM(IN, H, **how), LSTM(IN, H, **how)
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    return theirs, ours


@pytest.mark.parametrize("kind", ["batch", "single", "packed", "empty"])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"num_layers": 2, "bidirectional": True},
        {"bias": False, "batch_first": True, "bidirectional": True},
    ],
    ids=["plain", "deep", "batch-major"],
)
def test_module_gives_the_numbers_and_gradients_of_torch(how: dict[str, Any], kind: str) -> None:
    given = torch.randn(T, B, IN, requires_grad=True)
    first = bool(how.get("batch_first"))
    lengths = torch.tensor([3, 1, 2, 3, 1, 2]) if first else torch.tensor([2, T, 4])
    x = {
        "single": given[:, 0],
        "empty": given[:0] if first else given[:, :0],
        "packed": torch.nn.utils.rnn.pack_padded_sequence(
            given, lengths, batch_first=first, enforce_sorted=False
        ),
    }.get(kind, given)
    found = []
    for module in modules(**how):
        if kind == "empty" and isinstance(module, torch.nn.LSTM):
            continue  # PyTorch's own raises
        y, state = module(x)
        y, state = module(x, tuple(each.detach() for each in state))
        y = y.data if kind == "packed" else y
        wanted = [given, *module.parameters()]
        gradients = torch.autograd.grad(loss((y, *state)), wanted, retain_graph=True)
        found.append([y, *state, *gradients])
    if kind == "empty":
        assert found[0][0].numel() == 0
        assert not any(each.any() for each in found[0])
    else:
        assert_close(found[0], found[1])


def test_module_cast_exported_or_copied_gives_the_same_numbers() -> None:
    theirs, ours = (each.eval() for each in modules(num_layers=2, dropout=0.5, bidirectional=True))
    x = torch.randn(T, B, IN)
    y = ours(x)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = ours(x)[0]
    assert low.dtype == torch.bfloat16
    assert_close([low], [theirs(x)[0]], atol=0.02)
    exported = torch.export.export(ours, (x,), dynamic_shapes=({1: torch.export.Dim("batch")},))
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager", dynamic=True)
    with torch.inference_mode():
        for made in (exported.module(), compiled, copy.deepcopy(ours)):
            torch.testing.assert_close(made(x)[0], y)
    module = ours.train()
    module.dropout = 0.0
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    module.weight_hh_l0.requires_grad_(False)
    wanted = [each for each in module.parameters() if each.requires_grad]
    found = [torch.autograd.grad(loss(each(x)[:1]), wanted) for each in (compiled, module)]
    assert_close(found[0], found[1])
    module.dropout = 0.5
    assert not torch.equal(ours(x)[0], ours(x)[0])  # dropped out
