"""Call PyTorch's operators and modules, ``numpy_fused`` and the C interface with random arguments.

A right call must return what a loop in float64 returns. A wrong call must raise an ordinary
exception, or return what the loop returns for the same arguments. Everything else is an error of
the binding: an AssertionError with the arguments ends the run.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from lstm_impl import LSTMSpec, LSTMState, LSTMWeights, get_backend
from lstm_impl.backends.fused_cpu import c_interface
from lstm_impl.backends.torch.fused_layer import step_bits
from lstm_impl.backends.torch.loop import loop_layer
from lstm_impl.call import Call
from lstm_impl.cell import DEFAULT, Cell, get_cell
from lstm_impl.model import name_resets
from lstm_impl.torch import GRU, LSTM, fused_gru_layer, fused_layer
from lstm_impl.workload import RESET_TO

Rng = np.random.Generator
Tensor = Any
Arguments = dict[str, Any]

SIZES = (0, 1, 2, 3, 5, 9)
UNITS = (1, 2, 7, 8, 15, 16, 17, 33)
"""Around the number of lanes of a register, in blocks of which the kernels compute."""

TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 0.15}
"""Absolute, of outputs near 1: enough to tell garbage from rounding, which the gate judges."""

CELLS = tuple(map(get_cell, c_interface.CELLS))
HOW = ("batch_major", "reverse")


def fuzz(rng: Rng, deadline: float) -> Counter[str]:
    """Make trials until ``time.monotonic()`` is ``deadline``; return how many ended in which way.

    Raises AssertionError, with the arguments, after a wrong result or an exception that says
    nothing about them.
    """
    trials = (operator_trial, gradient_trial, module_trial, numpy_trial, c_interface_trial)
    counts: Counter[str] = Counter()
    while time.monotonic() < deadline:
        trial = trials[rng.integers(len(trials))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as those of types that PyTorch gives up
            counts[f"{trial.__name__.removesuffix('_trial')} {trial(rng)}"] += 1
    return counts


# -- what may be wrong with a tensor


def _transpose(rng: Rng, tensor: Tensor) -> Tensor:
    return tensor.transpose(0, -1).contiguous().transpose(0, -1) if tensor.dim() else tensor


def _cut(rng: Rng, tensor: Tensor) -> Tensor:
    axis = int(rng.integers(max(tensor.dim(), 1)))
    return tensor.narrow(axis, 0, int(rng.integers(tensor.shape[axis] + 1)))


def _add_nan(rng: Rng, tensor: Tensor) -> Tensor:
    changed = tensor.clone()
    if changed.numel() and changed.is_floating_point():
        value = float(rng.choice([np.nan, np.inf, -np.inf, 1e30]))
        changed.view(-1)[int(rng.integers(changed.numel()))] = value
    return changed


def _run_without_memory(rng: Rng, tensor: Tensor) -> Tensor:
    changed = tensor.clone()
    changed.untyped_storage().resize_(0)
    return changed


def _negate_lazily(rng: Rng, each: Tensor) -> Tensor:
    """Return a view that PyTorch negates when it is read. Raises TypeError for bits of steps.

    A negated byte has bits that mean nothing to the kernels.
    """
    if each.dtype == torch.uint8:
        raise TypeError("the bits of steps have no sign")
    return torch._neg_view(each)


OTHER_TYPES = (
    *(torch.float64, torch.float16, torch.bfloat16, torch.float32),
    *(torch.complex64, torch.int64, torch.uint8, torch.bool),
)

CHANGES: dict[str, Callable[[Rng, Tensor], Any]] = {
    "transposed": _transpose,
    "strided": lambda rng, each: torch.stack([each, each], dim=-1)[..., 1],
    "expanded": lambda rng, each: each[..., :1].expand(each.shape) if each.dim() else each,
    "cut": _cut,
    "doubled": lambda rng, each: torch.cat([each, each], dim=0) if each.dim() else each,
    "an axis more": lambda rng, each: each[None],
    "without axes": lambda rng, each: each.sum(),
    "flat": lambda rng, each: each.reshape(-1),
    "another type": lambda rng, each: each.to(OTHER_TYPES[rng.integers(len(OTHER_TYPES))]),
    "on meta": lambda rng, each: each.to("meta"),
    "sparse": lambda rng, each: each.to_sparse(),
    "with NaN": _add_nan,
    "enormous": lambda rng, each: each.new_zeros(1).expand(2**40, *each.shape[1:]),
    "without memory": _run_without_memory,
    "negated lazily": _negate_lazily,
    "trained": lambda rng, each: each.clone().requires_grad_(),
    "no tensor": lambda rng, each: [0.5],
    "None": lambda rng, each: None,
}


def change_arguments(rng: Rng, arguments: Arguments) -> tuple[Arguments, list[str]]:
    """Return arguments with up to two changes, and the changes."""
    made, said = dict(arguments), []
    for _ in range(int(rng.choice([0, 1, 1, 2]))):
        names = [name for name, each in made.items() if torch.is_tensor(each)]
        name, change = str(rng.choice(names)), str(rng.choice([*CHANGES]))
        try:
            made[name] = CHANGES[change](rng, made[name])
        except (RuntimeError, IndexError, TypeError, NotImplementedError):
            continue  # PyTorch cannot change such a tensor in this way
        said.append(f"{name} is {change}")
        if change in ("enormous", "without memory"):  # PyTorch itself cannot change it again
            break
    return made, said


def describe(arguments: Arguments, said: list[str]) -> str:
    shown = {
        name: f"{each.dtype} {tuple(each.shape)} on {each.device}"
        if torch.is_tensor(each)
        else each
        for name, each in arguments.items()
    }
    return f"{said or 'right'}: {shown}"


# -- the operators and the layer


def drawn_layer(rng: Rng) -> Arguments:
    """Return right arguments of the operators."""
    steps, batch, inputs = (int(rng.choice(SIZES)) for _ in range(3))
    units, dtype = int(rng.choice(UNITS)), list(TOLERANCES)[rng.integers(2)]
    inputs, batch_major = inputs + 1, bool(rng.integers(2))
    state = (1, batch, units) if rng.integers(2) else (batch, units)
    transposed, cell = bool(rng.integers(2)), CELLS[rng.integers(len(CELLS))]
    shapes: dict[str, tuple[int, ...]] = {
        "x": (batch, steps, inputs) if batch_major else (steps, batch, inputs),
        **dict.fromkeys(cell.states, state),
        **cell.parameter_shapes(inputs, units),
    }
    if transposed:
        shapes |= {name: shapes[name][::-1] for name in ("kernel", "recurrent_kernel")}
    made: Arguments = {
        name: torch.tensor(rng.standard_normal(shape) * 0.3, dtype=dtype)
        for name, shape in shapes.items()
    }
    if cell == CELLS[2]:
        made["recurrent_bias"] = None
    masked = bool(rng.integers(2))
    made["valid"] = torch.tensor(rng.random((steps, batch)) < 0.7) if masked else None
    if rng.random() < 0.3:  # the bits of steps before which sequences start over
        kinds = np.array((0, 0, c_interface.FROM_ZEROS, c_interface.FROM_INITIAL), np.uint8)
        there = c_interface.STEP if made["valid"] is None else made["valid"].to(torch.uint8)
        made["valid"] = torch.tensor(rng.choice(kinds, (steps, batch))) + there
    how = {"batch_major": batch_major, "reverse": bool(rng.integers(2)), "transposed": transposed}
    return {**made, **how}


def with_public_resets(rng: Rng, layer: Arguments) -> Arguments:
    """Return arguments of the public functions, which take resets in place of bits."""
    steps, valid = layer["valid"], layer["valid"]
    if steps is None or steps.dtype != torch.uint8:
        return layer
    valid = (steps & c_interface.STEP) != 0
    resets = torch.tensor(rng.random(tuple(steps.shape)) < 0.3)
    return {**layer, "valid": valid, "resets": resets, "reset_to": str(rng.choice(RESET_TO))}


def read_steps(arguments: Arguments) -> Tensor | None:
    """Return the mask of a call, or the bits of its steps if it has resets."""
    valid, resets = arguments["valid"], arguments.get("resets")
    if resets is None:
        return valid
    given = Call(arguments["x"], (), None, None, *name_resets(resets, arguments["reset_to"]))
    return step_bits(given, valid, arguments["reverse"])


def call(operator: Any, arguments: Arguments) -> Any:
    """Call an operator with its arguments by name."""
    names = [each.name for each in operator.default._schema.arguments]
    return operator(**{name: arguments[name] for name in names})


def select_cell(arguments: Arguments) -> Cell:
    """Return the cell whose arguments these are."""
    if "c" in arguments:
        return CELLS[0]
    return CELLS[2] if arguments["recurrent_bias"] is None else CELLS[1]


def select_operators(arguments: Arguments) -> tuple[Any, Any, Any]:
    """Return the operators of a cell: forward, forward for training, and the gradient."""
    name = "fused_lstm" if "c" in arguments else "fused_gru"
    forward, training, gradient = (
        getattr(torch.ops.lstm_impl, name + suffix) for suffix in ("", "_training", "_gradient")
    )
    return forward, training, gradient


def read_sources(arguments: Arguments) -> Arguments:
    """Return the input, the states and the weights in float64."""
    cell = select_cell(arguments)
    names = ("x", *cell.states, *cell.parameters)
    return {name: arguments[name].detach().double() for name in names}


def reference(arguments: Arguments) -> tuple[Tensor, ...]:
    """Compute the layer by the loop in float64."""
    return by_loop(read_sources(arguments), arguments)


def by_loop(sources: Arguments, layer: Arguments) -> tuple[Tensor, ...]:
    """Compute a layer by the loop, with other tensors than its own."""
    cell = select_cell(layer)
    turned = ("kernel", "recurrent_kernel") if layer["transposed"] else ()
    weights = [sources[name].t() if name in turned else sources[name] for name in cell.parameters]
    how = {name: layer[name] for name in HOW}
    given = Call(sources["x"], tuple(sources[name] for name in cell.states))
    return loop_layer(cell, given, weights, read_steps(layer), **how).flat


def attempted(compute: Callable[[], Any], words: str) -> Any:
    """Return the result, or None after an ordinary exception with a message."""
    try:
        return compute()
    except AssertionError:
        raise
    except Exception as error:
        if isinstance(error, SystemError) or not str(error):
            raise AssertionError(f"{error!r} after {words}") from error
        return None


def assert_right(found: Any, expected: Any, tolerance: float, words: str) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape, f"{tuple(ours.shape)} after {words}"
        ours = ours.detach().double()
        finite = torch.isfinite(theirs)
        if (
            not finite.all()
        ):  # where it stands the loop and the kernels may differ in NaN and infinity
            continue
        worst = (ours - theirs).abs().max().item() if theirs.numel() else 0.0
        assert worst <= tolerance * max(1.0, _largest(theirs)), f"off by {worst} after {words}"


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0


def operator_trial(rng: Rng) -> str:
    """Call the layer, or an operator of it, and compare the outputs with the loop's."""
    which, layer = int(rng.integers(3)), drawn_layer(rng)
    layer = with_public_resets(rng, layer) if which == 2 else layer
    arguments, said = change_arguments(rng, layer)
    words, cell = describe(arguments, said), select_cell(arguments)
    function: Callable[..., Any] = fused_layer if cell == DEFAULT else fused_gru_layer

    def compute() -> Any:
        if which == 2:
            return function(**arguments)
        return call(select_operators(arguments)[which], arguments)[: 1 + len(cell.states)]

    found = attempted(compute, words)
    if found is None:
        assert said, f"refused a right call: {words}"
        return "refused"
    if any(each.device.type == "meta" for each in found):
        tensors = [each for each in arguments.values() if torch.is_tensor(each)]
        assert all(each.device.type == "meta" for each in tensors), f"a mixture: {words}"
        return "on meta"
    assert_right(found, reference(arguments), TOLERANCES[arguments["x"].dtype], words)
    return "changed, right" if said else "right"


def gradient_trial(rng: Rng) -> str:
    """Call the operator of the gradient, with what a forward pass kept or with other arrays."""
    layer = drawn_layer(rng)
    cell, (_, training, operator) = select_cell(layer), select_operators(layer)
    made = call(training, layer)
    y, *states = made[: 1 + len(cell.states)]
    gates, *cells, hidden = made[1 + len(cell.states) :]
    kept = {"hidden": y if layer["valid"] is None else hidden, "gates": gates}
    kept |= {"cells": cells[0]} if cells else {}
    flows = {
        f"d{name}": torch.tensor(rng.standard_normal(each.shape), dtype=y.dtype)
        for name, each in zip(("y", *cell.states), (y, *states), strict=True)
    }
    right = {**layer, "of_x": bool(rng.integers(2)), **kept, **flows}
    arguments, said = change_arguments(rng, right)
    words = describe(arguments, said)
    found = attempted(lambda: call(operator, arguments), words)
    if found is None:
        assert said, f"refused a right call: {words}"
        return "refused"
    if said:  # it has read and written within its arrays: the numbers kept are no forward pass's
        return "changed"
    sources = {name: each.requires_grad_() for name, each in read_sources(layer).items()}
    outputs = by_loop(sources, layer)
    upstream = [each.double() for each in flows.values()]
    wanted = [*sources.values()]
    expected = torch.autograd.grad(outputs, wanted, upstream, materialize_grads=True)
    start = 0 if right["of_x"] else 1
    # A GRU in the form of the paper has no gradient of a recurrent bias: that is an empty tensor.
    assert_right(found[start : len(wanted)], expected[start:], TOLERANCES[y.dtype], words)
    return "right"


def module_trial(rng: Rng) -> str:
    """Call the module, prepacked or not, between changes of its weights, next to PyTorch's own."""
    inputs, units = int(rng.choice(SIZES)) + 1, int(rng.choice(UNITS))
    flags = ("bias", "batch_first", "bidirectional")
    how: Arguments = {name: bool(rng.integers(2)) for name in flags}
    how["num_layers"] = int(rng.integers(1, 3))
    ours: Any
    kind = (LSTM, GRU)[rng.integers(2)]
    ours, theirs = kind(inputs, units, **how), kind.torch_module(inputs, units, **how).double()
    states = kind.operators.tensors[1 : kind.operators.first_weight]
    if rng.integers(2):
        ours.prepack()
    steps, batch = int(rng.choice(SIZES)) + 1, int(rng.choice(SIZES)) + 1
    rows = how["num_layers"] * (1 + how["bidirectional"])
    sizes = (batch, steps, inputs) if how["batch_first"] else (steps, batch, inputs)
    right = {
        "input": torch.tensor(rng.standard_normal(sizes), dtype=torch.float32),
    }
    for name in states:
        numbers = rng.standard_normal((rows, batch, units))
        right[name] = torch.tensor(numbers, dtype=torch.float32)
    ended = ""
    for _ in range(2):
        with torch.no_grad():
            for each in ours.parameters():
                each.mul_(float(rng.uniform(0.5, 1.0)))
        theirs.load_state_dict(ours.state_dict())
        arguments, said = change_arguments(rng, right)
        words = f"{how}, {describe(arguments, said)}"
        x, state = arguments["input"], tuple(arguments[name] for name in states)
        hx = state if len(state) > 1 else state[0]
        with torch.set_grad_enabled(bool(rng.integers(2))):
            found = attempted(functools.partial(ours, x, hx), words)
            if found is None:
                assert said, f"refused a right call: {words}"
                ended = "refused"
                continue
            if 0 in x.shape[:2]:  # PyTorch's own refuses what has no step or no sequence
                ended = "empty"
                continue
            if len(state) == 1 and hx is None:  # a GRU without a state begins with zeros
                ended = "right"
                continue
            first, *rest = (each.detach().double() for each in (x, *state))
            expected = theirs(first, tuple(rest) if len(rest) > 1 else rest[0])
        assert_right(_listed(found), _listed(expected), TOLERANCES[torch.float32], words)
        ended = "right"
    return ended


def _listed(results: Any) -> list[Tensor]:
    """Return the outputs of a module and each of its states."""
    y, state = results
    return [y, *([state] if torch.is_tensor(state) else state)]


# -- numpy_fused


OTHER_ARRAYS: dict[str, Callable[[Rng, Any], Any]] = {
    "cut": lambda rng, each: each[..., : int(rng.integers(each.shape[-1] + 1))],
    "an axis more": lambda rng, each: each[None],
    "empty": lambda rng, each: each[:0],
    "dates": lambda rng, each: each.astype("M8[s]"),
    "complex": lambda rng, each: each + 1j,
    "structures": lambda rng, each: each.astype([("value", "f4")]),
    "text": lambda rng, each: each.astype("U9"),
    "objects": lambda rng, each: each.astype(object),
    "float64": lambda rng, each: each.astype(np.float64),
    "half": lambda rng, each: each.astype(np.float16),
    "Fortran's order": lambda rng, each: np.asfortranarray(each),
    "read backwards": lambda rng, each: each[::-1],
    "swapped bytes": lambda rng, each: each.astype(">f4"),
    "NaN": lambda rng, each: each * np.nan,
    "None": lambda rng, each: None,
}


def numpy_trial(rng: Rng) -> str:
    """Call ``numpy_fused`` next to the same network by NumPy's loop in float64."""
    spec = LSTMSpec(
        int(rng.choice(SIZES)) + 1,
        int(rng.choice(UNITS)),
        num_layers=int(rng.integers(1, 3)),
        bidirectional=bool(rng.integers(2)),
    )
    weights = LSTMWeights.random(spec, int(rng.integers(1000)))
    batch, steps = int(rng.choice(SIZES)) + 1, int(rng.choice(SIZES)) + 1
    state = (spec.state_layers, batch, spec.hidden_size)
    shapes = (steps, batch, spec.input_size), state, state, (steps, batch, spec.output_size)
    x, h, c, dy = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    lengths = rng.integers(1, steps + 1, batch) if rng.integers(2) else None
    given, said = {"x": x, "h": h, "c": c, "dy": dy}, []
    for _ in range(int(rng.choice([0, 1, 1, 2]))):
        name, change = str(rng.choice([*given])), str(rng.choice([*OTHER_ARRAYS]))
        # An array that is no longer of floats cannot be changed a second time.
        if (
            isinstance(given[name], np.ndarray)
            and given[name].ndim
            and given[name].dtype.kind == "f"
        ):
            given[name] = OTHER_ARRAYS[change](rng, given[name])
            said.append(f"{name} is {change}")
    how: Arguments = {}
    if rng.integers(2):
        how["resets"] = rng.random((steps, batch)) < 0.3
        how["reset_to"] = str(rng.choice(RESET_TO))
    words = f"{spec}, batch {batch}, steps {steps}, lengths {lengths}, {how}, {said or 'right'}"
    found = []
    for name, its_spec in (("numpy_fused", spec), ("numpy", spec)):
        model = get_backend(name).build(its_spec, weights)

        def compute(model: Any = model) -> Any:
            initial = LSTMState(given["h"], given["c"])
            arrays = given["x"], given["dy"], initial
            y, last, gradients = model.forward_and_gradients(*arrays, lengths=lengths, **how)
            assert gradients.x is not None
            found = [y, *last, gradients.x, *gradients.weights.arrays()]
            return found + ([] if gradients.state is None else [*gradients.state])

        made = attempted(compute, words)
        if made is None:
            assert said, f"{name} refused a right call: {words}"
            return "refused"
        found.append([torch.tensor(np.array(each, np.float64)) for each in made])
    assert_right(found[0], found[1], TOLERANCES[torch.float32], words)
    return "right"


# -- the C interface


def c_interface_trial(rng: Rng) -> str:
    """Ask the wrapper of the C interface about layers that nothing can compute."""
    sizes = [int(rng.choice([-(2**62), -1, 0, 1, 3, 2**31, 2**62])) for _ in range(4)]
    layer = c_interface.KernelLayer(*sizes, type=int(rng.choice([-1, 0, 1, 2, 3, 4, 99])))
    kernels = c_interface.kernels()
    assert kernels.products(layer), f"no word about {sizes}"
    count = int(rng.choice([0, 12, 15]))  # an LSTM takes 13, and a GRU 14
    if attempted(lambda: _call_forward(kernels, layer, count), f"{count} addresses") is not None:
        raise AssertionError(f"computed with {count} addresses")
    if min(sizes[2:]) > 0 and max(sizes) < 2**31:
        return "asked"
    # Nothing is read of a layer that cannot be computed, so that its addresses may be 0.
    for compute in (
        lambda: _call_forward(kernels, layer, 13),
        lambda: kernels.pack(layer, 0, 0, 0),
    ):
        assert attempted(compute, f"{sizes}") is None, f"computed a layer of {sizes}"
    return "refused"


def _call_forward(kernels: Any, layer: Any, count: int) -> bool:
    kernels.forward(layer, *[0] * count)
    return True
