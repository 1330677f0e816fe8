"""Convert weights to and from the cells of Flax, for ``flax.nnx`` and for ``flax.linen``.

The weights of a layer are a kernel ``[in, G*H]``, a recurrent kernel ``[H, G*H]``, a bias ``[G*H]``
and, for a GRU, a recurrent bias ``[G*H]``. These are the arguments of ``fused_layer`` and
``fused_gru_layer``. The gates are i, f, g, o of an LSTM, and r, z, n of a GRU.

Importing this module imports Flax.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx

from lstm_impl.call import Tensor, Tensors
from lstm_impl.spec import UnsupportedError

LSTM_GATES, GRU_GATES = "ifgo", "rzn"
NNX_CELLS = "nnx.OptimizedLSTMCell, nnx.LSTMCell or nnx.GRUCell"


def read_cell(cell: Any) -> list[Tensor]:
    """Return the weights of a cell of ``flax.nnx``, or of a module around one.

    The arrays are those of the module, so that gradients flow into it.

    Raises
    ------
    UnsupportedError
        If the cell is of another kind.
    """
    cell = _find_cell(cell)
    if isinstance(cell, nnx.LSTMCell):
        kernels, recurrent = ([getattr(cell, name) for name in names] for names in _NNX_GATES)
        return [
            jnp.concatenate([each.kernel[...] for each in kernels], axis=1),
            jnp.concatenate([each.kernel[...] for each in recurrent], axis=1),
            jnp.concatenate([each.bias[...] for each in recurrent]),
        ]
    of_input, of_state = cell.dense_i, cell.dense_h
    matrices = [of_input.kernel[...], of_state.kernel[...]]
    if isinstance(cell, nnx.OptimizedLSTMCell):
        return [*matrices, of_state.bias[...]]
    bias = of_input.bias[...]
    return [*matrices, bias, jnp.zeros_like(bias) if of_state.bias is None else of_state.bias[...]]


def write_cell(cell: Any, weights: Tensors) -> None:
    """Copy weights into a cell of ``flax.nnx``, or into a module around one.

    ``lstm_impl.jax.read_cell(other)`` returns such weights, and so does
    ``LSTMWeights.layers[layer][direction]``.

    Raises
    ------
    ValueError
        If the weights are of another size or kind, or have a bias that the cell cannot hold.
    UnsupportedError
        If the cell is of another kind.
    """
    cell = _find_cell(cell)
    given = _present(weights)
    _check(type(cell).__name__, read_cell(cell), given)
    kernel, recurrent_kernel, bias, *second = given
    if isinstance(cell, nnx.LSTMCell):
        parts = [jnp.split(each, 4, axis=-1) for each in (kernel, recurrent_kernel, bias)]
        for index, (of_input, of_state) in enumerate(zip(*_NNX_GATES, strict=True)):
            getattr(cell, of_input).kernel[...] = parts[0][index]
            getattr(cell, of_state).kernel[...] = parts[1][index]
            getattr(cell, of_state).bias[...] = parts[2][index]
        return
    cell.dense_i.kernel[...], cell.dense_h.kernel[...] = kernel, recurrent_kernel
    if isinstance(cell, nnx.OptimizedLSTMCell):
        cell.dense_h.bias[...] = bias
        return
    if cell.dense_h.bias is not None:
        cell.dense_i.bias[...], cell.dense_h.bias[...] = bias, second[0]
        return
    bias, candidate = _merge_biases(bias, second[0])
    if jnp.any(candidate != 0):
        raise ValueError(
            "GRUCell: the weights have a recurrent bias of the candidate, and nnx.GRUCell has "
            "none; replace cell.dense_h by an nnx.Linear with a bias, which lstm_impl.jax.GRU adds"
        )
    cell.dense_i.bias[...] = bias


def read_linen_cell(parameters: Mapping[str, Any]) -> list[Tensor]:
    """Return the weights in the parameters of a cell of ``flax.linen``.

    Parameters
    ----------
    parameters
        Those of an ``OptimizedLSTMCell``, an ``LSTMCell`` or a ``GRUCell``, such as
        ``variables["params"]["cell"]`` of an ``RNN``.

    Raises
    ------
    ValueError
        If they are the parameters of something else.
    """
    names = {*parameters}
    for gates in (LSTM_GATES, GRU_GATES):
        if names == {side + gate for side in "ih" for gate in gates}:
            break
    else:
        raise ValueError(
            f"the parameters are named {sorted(names)}; expected those of an OptimizedLSTMCell, "
            "LSTMCell or GRUCell of flax.linen, such as variables['params']['cell']"
        )
    kernel, recurrent_kernel = (
        jnp.concatenate([parameters[side + gate]["kernel"] for gate in gates], axis=1)
        for side in "ih"
    )
    if gates == LSTM_GATES:
        bias = jnp.concatenate([parameters["h" + gate]["bias"] for gate in gates])
        return [kernel, recurrent_kernel, bias]
    bias = jnp.concatenate([parameters["i" + gate]["bias"] for gate in gates])
    candidate = parameters["hn"]["bias"]
    second = jnp.concatenate([jnp.zeros_like(bias[: 2 * len(candidate)]), candidate])
    return [kernel, recurrent_kernel, bias, second]


def make_linen_cell(weights: Tensors) -> dict[str, dict[str, Tensor]]:
    """Return the parameters of a cell of ``flax.linen`` with the given weights.

    They fit an ``OptimizedLSTMCell``, an ``LSTMCell`` or a ``GRUCell``.

    Raises
    ------
    ValueError
        If the weights are those of neither an LSTM nor a GRU with ``reset_after=True``.
    """
    given = _present(weights)
    gates, count = {3: (LSTM_GATES, 4), 4: (GRU_GATES, 3)}.get(len(given), ("", 0))
    shapes = [each.shape for each in given]
    if not count or len(shapes[1]) != 2 or shapes[1][1] != count * shapes[1][0]:
        raise ValueError(
            f"the weights have shapes {shapes}; expected [in, 4H], [H, 4H], [4H] of an LSTM, or "
            "[in, 3H], [H, 3H], [3H], [3H] of a GRU with reset_after=True"
        )
    kernels, recurrent = (jnp.split(each, count, axis=1) for each in given[:2])
    made = {
        side + gate: {"kernel": each}
        for side, parts in (("i", kernels), ("h", recurrent))
        for gate, each in zip(gates, parts, strict=True)
    }
    if gates == LSTM_GATES:
        for gate, each in zip(gates, jnp.split(given[2], 4), strict=True):
            made["h" + gate]["bias"] = each
        return made
    bias, candidate = _merge_biases(*given[2:])
    for gate, each in zip(gates, jnp.split(bias, 3), strict=True):
        made["i" + gate]["bias"] = each
    made["hn"]["bias"] = candidate
    return made


_NNX_GATES = ("ii", "if_", "ig", "io"), ("hi", "hf", "hg", "ho")
"""The names of the layers of an ``nnx.LSTMCell`` for the input and for the state."""


def _find_cell(module: Any) -> Any:
    """Return the cell of a module. Raise UnsupportedError if there is none of a known kind."""
    cell = module.cell if isinstance(module, nnx.RNN) else module
    if not isinstance(cell, (nnx.OptimizedLSTMCell, nnx.LSTMCell, nnx.GRUCell)):
        raise UnsupportedError(f"the cell is a {type(cell).__name__}; expected an {NNX_CELLS}")
    return cell


def _present(weights: Tensors) -> list[Tensor]:
    """Return the arrays of a layer without the bias that it does not have."""
    return [jnp.asarray(each) for each in weights if each is not None]


def _check(name: str, own: Tensors, given: Tensors) -> None:
    """Raise ValueError if the shapes of weights are not those of the cell."""
    found, expected = ([tuple(each.shape) for each in arrays] for arrays in (given, own))
    if found != expected:
        raise ValueError(f"{name}: the weights have shapes {found}; expected {expected}")


def _merge_biases(bias: Tensor, recurrent_bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return the input's bias with those of the gates r and z, and the candidate's recurrent one.

    The gates r and z add both of their biases, so that only the sum matters.
    """
    units = len(bias) // 3
    gates = recurrent_bias.at[2 * units :].set(0)
    return bias + gates, recurrent_bias[2 * units :]
