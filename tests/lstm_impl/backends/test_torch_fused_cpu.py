"""Test the kernels of fused_cpu as an operator of PyTorch against PyTorch's own layer."""

import copy
import io
import itertools
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.lstm_impl.backends.built import built, needs

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

from torch.nn.utils import prune  # noqa: E402

from lstm_impl import LSTMSpec, UnsupportedError  # noqa: E402
from lstm_impl.backends.torch.loop import looped, make_step  # noqa: E402
from lstm_impl.call import Call  # noqa: E402
from lstm_impl.cell import DEFAULT, GRU, Cell  # noqa: E402
from lstm_impl.torch import LSTM, fused_gru_layer, fused_layer  # noqa: E402

pytestmark = [
    needs("torch_fused_cpu"),
    # PyTorch compiles its rules of forward mode by what it has deprecated.
    pytest.mark.filterwarnings(r"ignore:`torch\.jit\.script` is deprecated:DeprecationWarning"),
]

T, B, IN, H = 6, 3, 4, 18
CELLS = (DEFAULT, GRU(), GRU(reset_after=False))

Layer = Callable[..., Any]
layer: Layer = fused_layer


of_each_cell = pytest.mark.parametrize("cell", CELLS, ids=[each.name for each in CELLS])


def tensors(seed: int = 0, dtype: Any = torch.float32, cell: Cell = DEFAULT) -> list[Any]:
    """Return an input, initial states and weights, in the order of the layer's arguments."""
    draw = np.random.default_rng(seed)
    shapes = (T, B, IN), *len(cell.states) * [(B, H)], *cell.parameter_shapes(IN, H).values()
    made = [torch.tensor(draw.standard_normal(shape) * 0.5, dtype=dtype) for shape in shapes]
    return [each.requires_grad_() for each in made]


def turned(given: list[Any], cell: Cell = DEFAULT) -> list[Any]:
    """Return these tensors with the two matrices transposed, as PyTorch has them."""
    first = 1 + len(cell.states)
    matrices = [
        each.detach().t().contiguous().requires_grad_() for each in given[first : first + 2]
    ]
    return [*given[:first], *matrices, *given[first + 2 :]]


def compute(cell: Cell, given: Any, valid: Any = None, **how: Any) -> tuple[Any, ...]:
    """Call the public function that computes a layer of this cell."""
    if cell == DEFAULT:
        return tuple(layer(*given, valid, **how))
    gru: Layer = fused_gru_layer
    return tuple(gru(*given, valid=valid, **how))


def by_loop(cell: Cell, given: Any, valid: Any = None, reverse: bool = False) -> tuple[Any, ...]:
    """Compute a layer in PyTorch's own operators."""
    steps, first = None if valid is None else valid[:, :, None], 1 + len(cell.states)
    call = Call(given[0], tuple(given[1:first]))
    return looped(make_step(cell), call, given[first:], steps, reverse).flat


def loss(outputs: Any) -> Any:
    return sum((torch.sin(each.float()) * k).sum() for k, each in enumerate(outputs, 1))


def assert_close(found: Any, expected: Any, atol: float = 2e-5) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(
            ours.detach().float().numpy(), theirs.detach().float().numpy(), atol=atol
        )


def test_batch_major_input_that_is_not_contiguous_equals_the_contiguous() -> None:
    given = tensors()
    x = given[0].detach().transpose(0, 1)  # [B, T, in], time-major in memory
    transposed = given[3].detach().T.contiguous().T
    y, h, c = layer(x, *given[1:3], transposed, *given[4:], batch_major=True)
    assert_close((y.transpose(0, 1), h, c), layer(*given))


@of_each_cell
@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("trained", [True, False])
def test_operator_passes_the_checks_of_torch(trained: bool, transposed: bool, cell: Cell) -> None:
    given = tensors(cell=cell)
    given = [each.detach() for each in (turned(given, cell) if transposed else given)]
    valid = torch.ones(T, B, dtype=torch.bool)
    for padding in (valid, None):
        arguments = (*complete(given), padding, False, True, transposed)
        torch.library.opcheck(operators(cell)[1 + trained].default, arguments)


@of_each_cell
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layer_gives_the_numbers_and_gradients_of_a_loop(
    dtype: Any, masked: bool, cell: Cell
) -> None:
    given = tensors(dtype=dtype, cell=cell)
    valid = torch.arange(T)[:, None] < torch.tensor([T, 2, 0]) if masked else None
    wide = [each.detach().float().requires_grad_() for each in given]
    ours, theirs = compute(cell, given, valid, reverse=True), by_loop(cell, wide, valid, True)
    atol = 2e-5 if dtype == torch.float32 else 0.03
    assert_close(ours, theirs, atol)
    found = torch.autograd.grad(loss(ours), given)
    expected = torch.autograd.grad(loss(theirs), wide)
    largest = max(float(each.abs().max()) for each in expected)
    assert_close(found, expected, atol * max(1.0, largest))


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
    """The threads would spin for milliseconds and disturb those of the kernels."""
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
    assert called == ["aten::add", "lstm_impl::fused_lstm"]


def test_unsupported_use_raises_with_the_reason() -> None:
    with pytest.raises(UnsupportedError, match=r"x is torch.float64 on cpu; expected float32"):
        layer(*tensors(dtype=torch.float64))
    with pytest.raises(ValueError, match=r"input has shape \(5,\); expected 2 or 3 axes"):
        LSTM(IN, H)(torch.zeros(5))
    with pytest.raises(UnsupportedError, match="not float16"):
        built("torch_fused_cpu", LSTMSpec(2, 3, dtype="float16"))


def test_tensor_that_does_not_fit_is_refused_with_its_name() -> None:
    given = [*tensors(), torch.ones(T, B, dtype=torch.bool)]
    for place, name, wrong in (
        (0, "x", given[0][:, :, None]),
        (1, "h", given[1].double()),
        (3, "kernel", given[3][:, 1:]),
        (5, "bias", given[5][1:]),
        (6, "valid", given[6][1:]),
        (6, "valid", given[6] * 0.5),  # as bytes these would all be 0
        (6, "valid", given[6].to(torch.uint8)),
    ):
        with pytest.raises(ValueError, match=rf"fused_layer: {name} is .*; expected"):
            layer(*given[:place], wrong, *given[place + 1 :])


@of_each_cell
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("masked", "transposed"), [(False, False), (True, False), (True, True)])
def test_second_and_third_gradients_equal_those_of_a_loop(
    masked: bool, transposed: bool, reverse: bool, cell: Cell
) -> None:
    given, first = tensors(cell=cell), 1 + len(cell.states)
    axes = (1, B, H) if masked else (B, H)  # also of a state with the axis of layers
    valid = torch.arange(T)[:, None] < torch.tensor([T, 2, 1]) if masked else None

    def gradients(outputs: Any) -> list[Any]:
        found, total = [], loss(outputs)
        for _ in range(3):
            found.append(torch.autograd.grad(total, given, create_graph=True))
            total = sum((each**2).sum() for each in found[-1])
        return found

    states = (each.reshape(axes) for each in given[1:first])
    matrices = [each.t() if transposed else each for each in given[first : first + 2]]
    own = given[0], *states, *matrices, *given[first + 2 :]
    ours = gradients(compute(cell, own, valid, reverse=reverse, transposed=transposed))
    theirs = gradients(by_loop(cell, given, valid, reverse))
    for found, expected in zip(ours, theirs, strict=True):
        largest = max(float(each.detach().abs().max()) for each in expected)
        assert_close(found, expected, atol=1e-5 * largest)


# -- forward mode and the transforms of torch.func


def scalar_losses(masked: bool) -> dict[str, Callable[[Any], Any]]:
    """Return functions of x ``[3, 2, 2]`` alone: of layers and of the module, of 3 units."""
    draw = torch.Generator().manual_seed(0)
    lengths = torch.tensor([3, 1])
    valid = torch.arange(3)[:, None] < lengths if masked else None
    module = LSTM(2, 3, num_layers=2, bidirectional=True)

    def layer_of(cell: Cell) -> Callable[[Any], Any]:
        shapes = *len(cell.states) * [(2, 3)], *cell.parameter_shapes(2, 3).values()
        given = [torch.randn(shape, generator=draw) for shape in shapes]
        return lambda x: loss(compute(cell, (x, *given), valid))

    def compute_by_module(x: Any) -> Any:
        if not masked:
            return loss(module(x)[:1])
        # What pack_padded_sequence makes, which has no forward mode.
        data, sizes = torch.cat([x[0], x[1, :1], x[2, :1]]), torch.tensor([2, 1, 1])
        return loss((module(torch.nn.utils.rnn.PackedSequence(data, sizes))[0].data,))

    return {"module": compute_by_module, **{cell.name: layer_of(cell) for cell in CELLS}}


def directional(way: str, function: Callable[[Any], Any], x: Any, direction: Any) -> Any:
    """Return the directional derivative of a function, in one of the ways of PyTorch."""
    if way == "jvp":
        return torch.func.jvp(function, (x,), (direction,))[1]
    if way == "compiled jvp":
        compiled = torch.compile(
            lambda x, v: torch.func.jvp(function, (x,), (v,))[1], backend="aot_eager"
        )
        return compiled(x, direction)
    if way == "jacfwd":
        return (torch.func.jacfwd(function)(x) * direction).sum()
    with torch.autograd.forward_ad.dual_level(), torch.set_grad_enabled(way == "dual"):
        made = function(torch.autograd.forward_ad.make_dual(x, direction))
        return torch.autograd.forward_ad.unpack_dual(made).tangent


WAYS = "jvp", "jacfwd", "dual", "dual without grad"


@pytest.mark.parametrize(
    ("way", "kind", "masked"),
    # To compile takes seconds: one case shows that PyTorch traces the loop.
    [
        *itertools.product(WAYS, ("lstm", "module"), (False, True)),
        *itertools.product(("jvp", "dual"), ("gru", "gru_reset_before"), (True,)),
        ("compiled jvp", "lstm", True),
    ],
)
def test_forward_mode_agrees_with_the_gradient_of_the_kernels(
    way: str, kind: str, masked: bool
) -> None:
    function = scalar_losses(masked)[kind]
    x, direction = torch.randn(3, 2, 2, requires_grad=True), torch.randn(3, 2, 2)
    (gradient,) = torch.autograd.grad(function(x), x)
    found = directional(way, function, x.detach(), direction)
    torch.testing.assert_close(found.detach(), (gradient * direction).sum(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["lstm", "gru", "gru_reset_before", "module"])
def test_transforms_of_torch_func_equal_autograd(kind: str) -> None:
    function, func = scalar_losses(False)[kind], torch.func
    x = torch.randn(3, 2, 2)
    expected = torch.autograd.functional.jacobian(function, x)
    assert_close([func.grad(function)(x), func.jacrev(function)(x)], [expected, expected])
    (pulled,) = func.vjp(function, x)[1](torch.ones(()))
    batch = func.vmap(func.grad(function))(torch.stack([x, x]))
    assert_close([pulled, *batch], 3 * [expected])
    curvature = torch.autograd.functional.hessian(function, x)
    assert_close([func.hessian(function)(x)], [curvature], atol=1e-4)


def test_forward_mode_of_parameters_reaches_the_outputs() -> None:
    module, x = LSTM(IN, H), torch.randn(T, B, IN)
    weights = dict(module.named_parameters())
    directions = {name: torch.randn_like(each) for name, each in weights.items()}

    def function(weights: Any) -> Any:
        return loss(torch.func.functional_call(module, weights, x)[:1])

    found = torch.func.jvp(function, (weights,), (directions,))[1]
    gradients = torch.autograd.grad(function(weights), [*weights.values()])
    pairs = zip(gradients, directions.values(), strict=True)
    expected = sum((each * direction).sum() for each, direction in pairs)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_loop_without_steps_gives_empty_outputs_in_forward_mode() -> None:
    x = torch.zeros(0, B, IN)
    given = tensors()[1:]
    (y, h, c), tangents = torch.func.jvp(lambda x: tuple(layer(x, *given)), (x,), (x,))
    assert y.shape == tangents[0].shape == (0, B, H)
    assert h.shape == c.shape == (B, H)


@of_each_cell
def test_operator_in_forward_mode_raises_instead_of_dropping_tangents(cell: Cell) -> None:
    given = (*complete(tensors(cell=cell)), None, False, False)
    for operator in operators(cell)[1:]:
        with torch.no_grad(), torch.autograd.forward_ad.dual_level():
            x = torch.autograd.forward_ad.make_dual(given[0], torch.ones(T, B, IN))
            with pytest.raises(RuntimeError, match=r"would drop tangents: call lstm_impl\.torch"):
                operator(x, *given[1:])
    with pytest.raises(RuntimeError, match="would drop tangents"):
        torch.func.jvp(lambda x: operators(cell)[1](x, *given[1:])[0], given[:1], given[:1])


# -- what each operator checks


def complete(given: list[Any]) -> list[Any]:
    """Return the six tensors of an operator, None for the bias that a GRU does not have."""
    return [*given, *(6 - len(given)) * [None]]


def make_gradient_arguments(
    masked: bool = True, transposed: bool = False, cell: Cell = DEFAULT
) -> dict[str, Any]:
    """Return arguments that the operator of the gradient takes, by name."""
    valid = torch.ones(T, B, dtype=torch.bool) if masked else None
    names = ("x", *cell.states, *(DEFAULT if cell == DEFAULT else GRU()).parameters)
    arrays = tensors(cell=cell)
    arrays = complete([e.detach() for e in (turned(arrays, cell) if transposed else arrays)])
    given = dict(zip(names, arrays, strict=True))
    how = {"valid": valid, "batch_major": False, "reverse": False, "transposed": transposed}
    made = dict(zip(("y", *cell.states), operators(cell)[2](**given, **how), strict=False))
    *_, hidden = rest = operators(cell)[2](**given, **how)[len(made) :]
    kept = {"hidden": hidden if masked else made["y"], "gates": rest[0]}
    kept |= {"cells": rest[1]} if cell == DEFAULT else {}
    flows = {f"d{name}": torch.ones_like(each) for name, each in made.items()}
    return {**given, **how, "of_x": True, **kept, **flows}


def operators(cell: Cell = DEFAULT) -> list[Any]:
    """Return the operators of a cell: the gradient, forward, and forward for training."""
    name = "fused_lstm" if cell == DEFAULT else "fused_gru"
    ours = torch.ops.lstm_impl
    return [getattr(ours, name + suffix) for suffix in ("_gradient", "", "_training")]


def call_with(operator: Any, arguments: dict[str, Any]) -> Any:
    """Call an operator with those of the arguments that it has."""
    names = [each.name for each in operator.default._schema.arguments]
    return operator(*(arguments[name] for name in names))


WRONG: dict[str, Callable[[Any], Any]] = {
    "too short": lambda each: each[..., :-1],
    "empty": lambda each: each[..., :0],
    "too long": lambda each: torch.cat([each, each], dim=-1),
    "without axes": lambda each: each.new_zeros(()),
    "one axis more": lambda each: each[None],
    "another type": lambda each: each.to(torch.float64),
    "complex": lambda each: each.to(torch.complex64),
    "on meta": lambda each: each.to("meta"),
}


@of_each_cell
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize(("masked", "transposed"), [(False, False), (True, False), (True, True)])
def test_operators_refuse_every_tensor_that_does_not_fit(
    masked: bool, transposed: bool, wrong: str, cell: Cell
) -> None:
    arguments = make_gradient_arguments(masked, transposed, cell)
    tensors_by_name = {name: each for name, each in arguments.items() if torch.is_tensor(each)}
    # What is kept and flows in, and the input, the states and the weights.
    others = {"hidden", "gates", "cells", "dy", "dh", "dc"} & {*arguments}
    assert len(tensors_by_name) == len(others) + 1 + len(cell.states + cell.parameters) + masked
    function = "fused_layer" if cell == DEFAULT else "fused_gru_layer"
    for name, tensor in tensors_by_name.items():
        changed = {**arguments, name: WRONG[wrong](tensor)}
        # A state with one axis more is one of a module with one layer: the other state then does
        # not fit, or the gradient of the final state.
        is_right = wrong == "one axis more" and name == "h" and len(cell.states) == 1
        for operator in operators(cell)[: 1 if name in others or is_right else 3]:
            with pytest.raises((ValueError, UnsupportedError), match=rf"{function}: \w+ is"):
                call_with(operator, changed)
    assert torch.isfinite(call_with(operators(cell)[0], arguments)[0]).all()


@pytest.mark.parametrize("cell", CELLS[:2], ids=["lstm", "gru"])
@pytest.mark.parametrize("transposed", [False, True])
def test_operators_refuse_every_mixture_of_devices(transposed: bool, cell: Cell) -> None:
    arguments = make_gradient_arguments(transposed=transposed, cell=cell)
    names = [name for name, each in arguments.items() if torch.is_tensor(each)]
    for operator in operators(cell):
        own = {each.name for each in operator.default._schema.arguments}
        known = [name for name in names if name in own]
        # Every mixture of the first seven tensors; of all, one alone and all but one.
        some = itertools.chain.from_iterable(
            itertools.combinations(known[:7], count) for count in range(1, 7)
        )
        ones = itertools.chain(*([(name,), {*known} - {name}] for name in known))
        for moved in itertools.chain(some, ones):
            mixed = {n: e.to("meta") if n in moved else e for n, e in arguments.items()}
            with pytest.raises(ValueError, match="expected all tensors on one device"):
                call_with(operator, mixed)
        all_moved = {n: e.to("meta") if n in names else e for n, e in arguments.items()}
        assert {each.device.type for each in call_with(operator, all_moved)} == {"meta"}


@pytest.mark.parametrize(("transposed", "masked"), [(False, True), (True, False)])
def test_weights_of_another_cell_are_refused_with_both_cells(
    transposed: bool, masked: bool
) -> None:
    valid = torch.ones(T, B, dtype=torch.bool) if masked else None
    lstm, gru = tensors(cell=CELLS[0]), tensors(cell=CELLS[1])
    if transposed:
        lstm, gru = turned(lstm), turned(gru, CELLS[1])
    message = r"fused_gru_layer: the kernel is of torch\.nn\.LSTM, which has 4 gates of 18 units; "
    with pytest.raises(ValueError, match=message + r"torch\.nn\.GRU has 3\. Call fused_layer for"):
        compute(CELLS[1], (*gru[:2], *lstm[3:]), valid, transposed=transposed)
    message = r"fused_layer: the kernel is of torch\.nn\.GRU, which has 3 gates of 18 units; "
    with pytest.raises(ValueError, match=message + r"torch\.nn\.LSTM has 4\. Call fused_gru_layer"):
        compute(CELLS[0], (*lstm[:3], *gru[2:5]), valid, transposed=transposed)


@pytest.mark.parametrize("trained", [False, True])
def test_module_refuses_every_mixture_of_devices(trained: bool) -> None:
    state = torch.zeros(1, B, H)
    given = {"input": torch.zeros(T, B, IN), "h": state, "c": state}
    with torch.set_grad_enabled(trained):
        names = [*given, *dict(LSTM(IN, H).named_parameters())]
        for count in range(1, len(names)):
            for moved in itertools.combinations(names, count):
                module = LSTM(IN, H)
                for name in set(moved) - {*given}:
                    setattr(module, name, torch.nn.Parameter(getattr(module, name).to("meta")))
                x, h, c = (e.to("meta") if n in moved else e for n, e in given.items())
                with pytest.raises((ValueError, RuntimeError), match="device"):
                    module(x, (h, c))
        assert LSTM(IN, H, device="meta")(given["input"].to("meta"))[0].device.type == "meta"


@of_each_cell
def test_tensor_whose_memory_was_taken_away_is_refused(cell: Cell) -> None:
    arguments = make_gradient_arguments(cell=cell)
    # The gradient reads no number of a bias.
    read = (n for n, each in arguments.items() if torch.is_tensor(each) and "bias" not in n)
    for name in read:
        freed = arguments[name].clone()
        freed.untyped_storage().resize_(0)
        with pytest.raises(ValueError, match=r"tensor of shape \(.*\) has no memory"):
            call_with(operators(cell)[0], {**arguments, name: freed})
    given, first = [each.detach() for each in tensors(cell=cell)], 1 + len(cell.states)
    transposed = given[first].t().contiguous().t()  # a copy of it would read at the address 0
    transposed.untyped_storage().resize_(0)
    with pytest.raises(ValueError, match=r"shape \(4, \d+\) has no memory"):
        compute(cell, (*given[:first], transposed, *given[first + 1 :]))


class Gradient(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Call the operator of the gradient with arrays that an exported program keeps."""

    def __init__(self) -> None:
        super().__init__()
        for name, each in make_gradient_arguments().items():
            if torch.is_tensor(each):
                self.register_buffer(name, each)

    def forward(self, x: Any) -> Any:
        given = {name: getattr(self, name, False) for name in make_gradient_arguments()}
        operator = torch.ops.lstm_impl.fused_lstm_gradient
        return call_with(operator, {**given, "x": x, "of_x": True})


@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning")
def test_loaded_program_with_arrays_that_are_too_short_raises() -> None:
    x = make_gradient_arguments()["x"]
    exported = torch.export.export(Gradient(), (x,))
    for name in ("gates", "dy", "kernel"):
        program = copy.deepcopy(exported)
        program.state_dict[name] = program.state_dict[name][..., :1].clone()
        file = io.BytesIO()
        torch.export.save(program, file)
        file.seek(0)
        with pytest.raises(ValueError, match=f"fused_layer: {name} is torch.float32"):
            torch.export.load(file).module()(x)


# -- matrices in PyTorch's layout


@of_each_cell
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("timesteps", [1, T])
def test_layer_of_transposed_matrices_gives_the_same_bits(
    timesteps: int, masked: bool, dtype: Any, cell: Cell
) -> None:
    ours = tensors(dtype=dtype, cell=cell)
    theirs, first = turned(ours, cell), 1 + len(cell.states)
    ours[0] = theirs[0] = ours[0][:timesteps].detach().requires_grad_()
    valid = torch.arange(timesteps)[:, None] < torch.tensor([T, 2, 0]) if masked else None
    y = compute(cell, ours, valid, reverse=True)
    turned_y = compute(cell, theirs, valid, reverse=True, transposed=True)
    with torch.no_grad():
        inferred = compute(cell, theirs, valid, reverse=True, transposed=True)
    gradients = torch.autograd.grad(loss(y), ours)
    found = list(torch.autograd.grad(loss(turned_y), theirs))
    assert found[first].shape == (len(cell.gates) * H, IN)
    found[first : first + 2] = [each.t() for each in found[first : first + 2]]
    for one, other in (*zip(y, turned_y, strict=True), *zip(y, inferred, strict=True)):
        assert torch.equal(one, other)
    assert all(map(torch.equal, found, gradients))


def test_operators_without_a_layout_take_that_of_the_kernels() -> None:
    """Programs that an earlier version exported call the operators without this argument."""
    arguments = make_gradient_arguments()
    for operator in operators():
        names = [each.name for each in operator.default._schema.arguments]
        before = [arguments[name] for name in names if name != "transposed"]
        found = operator(*before)
        assert all(map(torch.equal, found, call_with(operator, arguments)))
    given = tensors()
    trained = torch.ops.lstm_impl.fused_lstm_training(*given, None, False, False)
    assert_close(
        torch.autograd.grad(loss(trained[:3]), given),
        torch.autograd.grad(loss(layer(*given)), given),
    )


# -- the module


def modules(**how: Any) -> tuple[Any, Any]:
    """Return PyTorch's module and ours with the same weights, loaded in either direction."""
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


# -- the module's parameters


def old_layout(module: Any) -> Any:
    """Return a copy whose matrices are transposed in memory, as version 0.2.0 had them."""
    module = copy.deepcopy(module)
    for parameter in module.parameters():
        parameter.data = parameter.data.t().contiguous().t()
    return module


def assert_usual_parameters(module: Any) -> None:
    theirs = torch.nn.LSTM(module.input_size, module.hidden_size, module.num_layers).state_dict()
    own = module.state_dict()
    assert {name: each.shape for name, each in own.items()} == {
        name: each.shape for name, each in theirs.items()
    }
    assert all(each.is_contiguous() for each in own.values())


def test_parameters_are_contiguous_with_the_shapes_of_torch() -> None:
    assert_usual_parameters(LSTM(IN, H, num_layers=2))


def test_tools_of_torch_take_the_parameters() -> None:
    module, x = LSTM(IN, H), torch.randn(T, B, IN)
    flat = torch.nn.utils.parameters_to_vector(module.parameters())
    torch.nn.utils.vector_to_parameters(flat * 0.9, module.parameters())
    optimizer = torch.optim.LBFGS(module.parameters(), max_iter=3)

    def step() -> Any:
        optimizer.zero_grad()
        total = module(x)[0].square().sum()
        total.backward()
        return total

    first = optimizer.step(step).item()
    assert step().item() < first
    assert all(each.grad.is_contiguous() for each in module.parameters())
    prune.l1_unstructured(module, "weight_hh_l0", 0.5)
    theirs = torch.nn.LSTM(IN, H)
    prune.remove(module, "weight_hh_l0")
    theirs.load_state_dict(module.state_dict())
    assert (module.weight_hh_l0 == 0).sum() == 2 * H * H
    assert_close(module(x)[:1], theirs(x)[:1])


@pytest.mark.parametrize("assign", [False, True])
def test_files_of_the_old_layout_load_as_contiguous_parameters(assign: bool) -> None:
    before = old_layout(LSTM(IN, H, num_layers=2))
    assert not before.weight_hh_l0.is_contiguous()
    file = io.BytesIO()
    torch.save(before.state_dict(), file)
    file.seek(0)
    module = LSTM(IN, H, num_layers=2)
    module.load_state_dict(torch.load(file), assign=assign)
    unpickled = pickle.loads(pickle.dumps(before))
    x = torch.randn(T, B, IN)
    for each in (module, unpickled, copy.deepcopy(before)):
        assert_usual_parameters(each)
        torch.testing.assert_close(each(x)[0], before(x)[0], rtol=0, atol=0)
    assert module.weight_hh_l0.requires_grad


# -- packed weights that are kept


def write_in_place(module: Any) -> None:
    with torch.no_grad():
        module.weight_hh_l0.mul_(0.5)


def optimize(module: Any) -> None:
    module.weight_hh_l0.grad = torch.ones_like(module.weight_hh_l0)
    torch.optim.SGD([module.weight_hh_l0], lr=0.1).step()


def replace_data(module: Any) -> None:
    module.weight_hh_l0.data = module.weight_hh_l0.data * 0.5


def replace_data_twice(module: Any) -> None:
    """Replace the data twice, so that the allocator may reuse the first memory."""
    shape = module.weight_hh_l0.shape
    module.weight_hh_l0.data = torch.zeros(1)
    module.weight_hh_l0.data = torch.full(shape, 0.1)


def replace_parameter(module: Any) -> None:
    module.weight_hh_l0 = torch.nn.Parameter(module.weight_hh_l0.detach() * 0.5)


def load(module: Any) -> None:
    module.load_state_dict(LSTM(IN, H).state_dict())


def assign(module: Any) -> None:
    module.load_state_dict(LSTM(IN, H).state_dict(), assign=True)


def round_to_bfloat16_and_back(module: Any) -> None:
    module.to(torch.bfloat16).to(torch.float32)


def prune_half(module: Any) -> None:
    prune.l1_unstructured(module, "weight_hh_l0", 0.5)


def write_data_and_prepack(module: Any) -> None:
    module.weight_hh_l0.data.mul_(0.5)
    module.prepack()


def stop_prepacking_and_write_data(module: Any) -> None:
    module.prepack(False)
    module.weight_hh_l0.data.mul_(0.5)


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        write_in_place,
        optimize,
        replace_data,
        replace_data_twice,
        replace_parameter,
        load,
        assign,
        round_to_bfloat16_and_back,
        prune_half,
        write_data_and_prepack,
        stop_prepacking_and_write_data,
    ],
)
def test_prepacked_module_computes_with_changed_weights(
    change: Callable[[Any], None], inference: bool
) -> None:
    module, x = LSTM(IN, H).prepack(), torch.randn(T, B, IN)
    with torch.inference_mode() if inference else torch.no_grad():
        before = module(x)[0]
    change(module)
    with torch.inference_mode() if inference else torch.no_grad():
        found = [module(x)[0] for _ in range(2)]
        expected = module.prepack(False)(x)[0]
    assert not torch.equal(expected, before)
    for y in found:
        torch.testing.assert_close(y, expected, rtol=0, atol=0)


def test_module_without_prepack_sees_writes_that_torch_does_not_count() -> None:
    module, x = LSTM(IN, H), torch.randn(T, B, IN)
    with torch.no_grad():
        before = module(x)[0]
        module.weight_hh_l0.data.mul_(0.5)
        other = module(x)[0]
        module.weight_hh_l0.numpy()[...] = 0
        assert not torch.equal(other, before)
        assert not torch.equal(module(x)[0], other)


def test_prepacked_module_copies_no_weight_in_a_call_without_gradients() -> None:
    module, x, state = LSTM(IN, H).prepack(), torch.ones(T, B, IN), torch.zeros(1, B, H)
    with torch.no_grad():
        module(x, (state, state))
        with torch.autograd.profiler.profile() as recorded:
            module(x, (state, state))
    called = [event.name for event in recorded.function_events if event.cpu_parent is None]
    assert called == ["lstm_impl::fused_lstm"]


def test_prepacked_module_trains_transforms_compiles_and_copies_as_others() -> None:
    module, x = LSTM(IN, H).prepack(), torch.randn(T, B, IN)
    plain = copy.deepcopy(module).prepack(False)
    with torch.no_grad():
        y = module(x)[0]
    for each in (module, pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
        wanted = list(each.parameters())
        found = torch.autograd.grad(each(x)[0].square().sum(), wanted)
        assert_close(found, torch.autograd.grad(plain(x)[0].square().sum(), [*plain.parameters()]))
        with torch.no_grad():
            torch.testing.assert_close(each(x)[0], y, rtol=0, atol=0)
    others = {name: each * 0.5 for name, each in module.named_parameters()}
    with torch.no_grad():
        called = [torch.func.functional_call(each, others, (x,))[0] for each in (module, plain)]
        compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x)[0], y)
        module.weight_hh_l0.data.mul_(0.5)  # a compiled program reads the parameters
        plain.weight_hh_l0.mul_(0.5)
        torch.testing.assert_close(compiled(x)[0], plain(x)[0])
        stacked = {name: torch.stack([each, each * 0.5]) for name, each in others.items()}
        mapped = torch.func.vmap(
            lambda weights: torch.func.functional_call(module, weights, (x,))[0]
        )(stacked)
    torch.testing.assert_close(called[0], called[1])
    torch.testing.assert_close(mapped[0], called[0])
    assert not torch.equal(mapped[0], mapped[1])
