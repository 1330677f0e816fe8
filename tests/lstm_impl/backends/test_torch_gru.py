"""Test the GRU module for PyTorch against ``torch.nn.GRU``."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from tests.lstm_impl.backends.built import needs

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

from torch.nn.utils import rnn  # noqa: E402

from lstm_impl.backends.torch import fallback  # noqa: E402
from lstm_impl.torch import GRU, LSTM  # noqa: E402

pytestmark = [
    needs("torch_fused_cpu"),
    # PyTorch compiles its rules of forward mode by what it has deprecated.
    pytest.mark.filterwarnings(r"ignore:`torch\.jit\.script` is deprecated:DeprecationWarning"),
]

T, B, IN, H = 6, 3, 4, 18


def modules(**how: Any) -> tuple[Any, Any]:
    """PyTorch's module and ours, with its weights, which are loaded both ways."""
    theirs, ours = torch.nn.GRU(IN, H, **how), GRU(IN, H, **how)
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    return theirs, ours


def loss(*outputs: Any) -> Any:
    return sum((torch.sin(each.float()) * k).sum() for k, each in enumerate(outputs, 1))


def assert_close(found: Any, expected: Any, atol: float = 2e-5) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(
            ours.detach().float().numpy(), theirs.detach().float().numpy(), atol=atol
        )


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
        "packed": rnn.pack_padded_sequence(given, lengths, batch_first=first, enforce_sorted=False),
    }.get(kind, given)
    found = []
    for module in modules(**how):
        if kind == "empty" and isinstance(module, torch.nn.GRU):
            continue  # PyTorch's own raises
        _, state = module(x)
        y, state = module(x, state.detach())
        y = y.data if kind == "packed" else y
        wanted = [given, *module.parameters()]
        # The graph of the packed input serves both modules.
        gradients = torch.autograd.grad(loss(y, state), wanted, retain_graph=True)
        found.append([y, state, *gradients])
    if kind == "empty":
        assert found[0][0].numel() == 0
        assert not any(each.any() for each in found[0])
    else:
        assert_close(found[0], found[1])


def test_module_of_one_layer_runs_no_operator_but_that_of_the_kernels() -> None:
    module, x, state = GRU(IN, H), torch.ones(T, B, IN), torch.zeros(1, B, H)
    with torch.no_grad(), torch.autograd.profiler.profile() as recorded:
        module(x, state)
    called = [event.name for event in recorded.function_events if event.cpu_parent is None]
    assert called == ["lstm_impl::fused_gru"]


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
    found = [torch.autograd.grad(loss(each(x)[0]), wanted) for each in (compiled, module)]
    assert_close(found[0], found[1])


def test_seed_drops_out_what_it_drops_out_of_torch() -> None:
    x, found = torch.randn(T, B, IN), []
    for module in modules(num_layers=3, dropout=0.5):
        torch.manual_seed(0)
        found.append(module(x)[0])
    assert_close(found[:1], found[1:])


def test_bfloat16_module_is_close_to_float32() -> None:
    theirs, ours = modules(bidirectional=True)
    x = torch.randn(T, B, IN)
    low = ours.to(torch.bfloat16)(x.to(torch.bfloat16))
    assert low[0].dtype == low[1].dtype == torch.bfloat16
    assert_close(low, theirs(x), atol=0.03)


def test_prepacked_module_computes_with_its_weights_and_sees_their_changes() -> None:
    module, x, state = GRU(IN, H).prepack(), torch.randn(T, B, IN), torch.zeros(1, B, H)
    with torch.no_grad():
        before = module(x, state)[0]
        with torch.autograd.profiler.profile() as recorded:
            again = module(x, state)[0]
        assert torch.equal(again, before)
        module.bias_hh_l0.add_(0.5)
        after = module(x, state)[0]
        expected = module.prepack(False)(x, state)[0]
    called = [event.name for event in recorded.function_events if event.cpu_parent is None]
    assert called == ["lstm_impl::fused_gru"]
    assert torch.equal(after, expected)
    assert not torch.equal(after, before)


def test_pickled_module_gives_the_same_numbers() -> None:
    module, x = GRU(IN, H, num_layers=2), torch.randn(T, B, IN)
    loaded = pickle.loads(pickle.dumps(module.prepack()))
    assert type(loaded) is GRU
    assert torch.equal(loaded(x)[0], module(x)[0])


def test_forward_mode_agrees_with_the_gradient_of_the_kernels() -> None:
    module = GRU(IN, H, bidirectional=True)
    x, direction = torch.randn(T, B, IN, requires_grad=True), torch.randn(T, B, IN)
    (gradient,) = torch.autograd.grad(loss(*module(x)), x)
    found = torch.func.jvp(lambda x: loss(*module(x)), (x.detach(),), (direction,))[1]
    torch.testing.assert_close(found, (gradient * direction).sum(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["padded", "packed", "single"])
def test_module_of_another_type_is_computed_by_torch(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    fallback._warn.cache_clear()
    theirs, ours = (each.double() for each in modules(num_layers=2))
    x = torch.randn(T, B, IN).double()
    packed = rnn.pack_padded_sequence(x, torch.tensor([2, T, 4]), enforce_sorted=False)
    given = {"padded": x, "packed": packed, "single": x[:, 0]}[kind]
    for _ in range(2):
        torch.testing.assert_close(ours(given)[1], theirs(given)[1], rtol=0, atol=0)
    (record,) = caplog.records
    assert "lstm_impl.torch.GRU: its kernels support" in record.getMessage()
    assert "not float64; torch.nn.GRU computes in their place" in record.getMessage()


# -- what is not a GRU's


@pytest.mark.parametrize(("kind", "other"), [(GRU, torch.nn.LSTM), (LSTM, torch.nn.GRU)])
@pytest.mark.parametrize("assign", [False, True])
def test_state_dict_of_another_cell_is_refused_in_one_line(
    kind: Any, other: Any, assign: bool
) -> None:
    """Also where the first matrices have the same shape: 24 units by 3 gates, 18 units by 4."""
    units = {GRU: (24, 18), LSTM: (18, 24)}[kind]
    model, state = torch.nn.Sequential(kind(IN, units[0])), other(IN, units[1]).state_dict()
    state = {f"0.{name}": each for name, each in state.items()}
    with pytest.raises(RuntimeError) as raised:
        model.load_state_dict(state, assign=assign)
    _, line = str(raised.value).splitlines()
    own = kind.torch_module.__name__
    gates = {"LSTM": 4, "GRU": 3}
    assert line.strip() == (
        f"0.weight_hh_l0 has shape (72, {units[1]}), which is that of a torch.nn.{other.__name__} "
        f"of {units[1]} units with {gates[other.__name__]} gates; a {own} has {gates[own]} gates"
    )


def test_state_of_another_cell_is_refused() -> None:
    x, h = torch.zeros(T, B, IN), torch.zeros(1, B, H)
    with pytest.raises(
        ValueError, match=r"GRU: hx is a tuple; expected h, as torch\.nn\.GRU takes"
    ):
        GRU(IN, H)(x, (h, h))
    with pytest.raises(ValueError, match=r"LSTM: hx is one tensor; expected h and c, as torch"):
        LSTM(IN, H)(x, h)
    with pytest.raises(ValueError, match=r"GRU: h is \(1, 3, 17\); expected \(1, 3, 18\)"):
        GRU(IN, H)(x, h[:, :, 1:])


def test_arguments_that_no_gru_of_torch_has_are_refused() -> None:
    with pytest.raises(ValueError, match=r"reset_after=False: .* torch\.nn\.GRU, which resets"):
        GRU(IN, H, reset_after=False)
    with pytest.raises(ValueError, match=r"proj_size is an argument of torch\.nn\.LSTM"):
        GRU(IN, H, proj_size=2)
