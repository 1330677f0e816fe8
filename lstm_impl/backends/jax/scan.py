"""Run ``jax_scan``: ``jax.lax.scan`` over the cell's equations, compiled by XLA as one program."""

from __future__ import annotations

import functools
from typing import Any

from lstm_impl.backends.jax.model import JaxBackend, first_steps
from lstm_impl.backends.recurrence import make_recurrence
from lstm_impl.call import Call, LSTMOutputs, Outputs, State, States, Tensor, Tensors
from lstm_impl.cell import DEFAULT, Cell, Operations
from lstm_impl.model import name_resets


class JaxScan(JaxBackend):
    """Compute each layer and direction with one ``lax.scan``.

    The option ``+preproject`` computes the input product of all timesteps in one matrix product
    before the loop. That needs more memory and makes fewer products.
    """

    strategy = "jax_scan"
    summary = "jax.lax.scan over the cell, compiled by XLA"
    flags = ("preproject",)
    listed = ("", "+preproject")

    takes_resets = True
    cells = None

    def layer(
        self,
        call: Call,
        parameters: Tensors,
        valid: Tensor,
        reverse: bool,
        cell: Cell = DEFAULT,
    ) -> Outputs:
        steps = None if valid is None else valid[:, :, None]
        how: Any = {"preproject": "preproject" in self.options, "reverse": reverse}
        first = _column(first_steps(call, valid, reverse))
        how["from_zeros"], how["from_initial"] = name_resets(first, call.reset_to)
        return scan_cell(cell, call.x, call.states, parameters, steps, **how)


def _column(steps: Tensor | None) -> Tensor | None:
    """Return ``[T, B]`` as ``[T, B, 1]``."""
    return None if steps is None else steps[:, :, None]


def scanned(
    x: Tensor,
    state: State,
    parameters: Tensors,
    valid: Tensor | None,
    preproject: bool,
    *,
    reverse: bool = False,
) -> LSTMOutputs:
    """Compute the outputs ``[T, B, H]`` and the final state of an LSTM, as ``scan_cell`` does."""
    how: Any = {"preproject": preproject, "reverse": reverse}
    return LSTMOutputs(*scan_cell(DEFAULT, x, state, parameters, valid, **how).flat)


def scan_cell(
    cell: Cell,
    x: Tensor,
    states: States,
    parameters: Tensors,
    valid: Tensor | None,
    *,
    preproject: bool = False,
    reverse: bool = False,
    from_zeros: Tensor | None = None,
    from_initial: Tensor | None = None,
) -> Outputs:
    """Compute the outputs ``[T, B, H]`` and the final states of one direction of a layer.

    Parameters
    ----------
    cell
        The recurrent cell.
    x
        The input ``[T, B, in]``.
    states, parameters
        The initial states ``[B, H]``, and the arrays of the layer.
    valid
        Bool ``[T, B, 1]``, or None. A step that is False keeps the state, and its output is zero.
    preproject
        Whether the input product of all timesteps is computed before the loop.
    reverse
        Whether steps are read from the last to the first.
    from_zeros, from_initial
        Bool ``[T, B, 1]``, or None. Before a step that is True the states become zero, or the
        initial ones.
    """
    how = cell, preproject, reverse
    given = x, tuple(states), tuple(parameters), valid, from_zeros, from_initial
    return Outputs(*_traced_once()(*how, *given))


@functools.cache
def _traced_once() -> Any:
    """Return ``_scan`` compiled by ``jit``.

    Outside ``jit``, JAX would compile the loop in each call.
    """
    import jax

    return jax.jit(_scan, static_argnums=(0, 1, 2), inline=True)


@functools.cache
def operations() -> Operations:
    """Return JAX's functions for the equations of a cell."""
    import jax
    import jax.numpy as jnp

    return Operations(jax.nn.sigmoid, jnp.tanh, functools.partial(jnp.split, axis=-1))


def _scan(
    cell: Cell,
    preproject: bool,
    reverse: bool,
    x: Tensor,
    initial: States,
    parameters: Tensors,
    valid: Tensor | None,
    from_zeros: Tensor | None,
    from_initial: Tensor | None,
) -> tuple[Tensor, States]:
    """Compute the outputs and final states of one direction of a layer."""
    import jax
    import jax.numpy as jnp

    kernel, recurrent_kernel, bias, *second = parameters
    recurrence = make_recurrence([recurrent_kernel, *second])

    def project(x: Tensor) -> Tensor:
        return jnp.matmul(x, kernel) + bias

    def step(before: States, slices: tuple[Tensor | None, ...]) -> tuple[States, Tensor]:
        x_t, valid, *starts = slices
        for now, fresh in zip(starts, (tuple(map(jnp.zeros_like, before)), initial), strict=True):
            if now is not None:
                pairs = zip(fresh, before, strict=True)
                before = tuple(jnp.where(now, new, old) for new, old in pairs)
        after = cell.equations(
            operations(), x_t if preproject else project(x_t), recurrence, before
        )
        y = after[0]
        if valid is not None:
            # In reverse, the state stays unchanged up to the first valid step.
            pairs = zip(after, before, strict=True)
            after = tuple(jnp.where(valid, new, old) for new, old in pairs)
            y = jnp.where(valid, y, jnp.zeros_like(y))
        return after, y

    given = (project(x) if preproject else x, valid, from_zeros, from_initial)
    states, y = jax.lax.scan(step, initial, given, reverse=reverse)
    return y, states
