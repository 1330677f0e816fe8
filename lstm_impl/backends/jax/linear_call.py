"""Apply a linear function whose transpose is given, under every transformation of JAX.

``jax.custom_derivatives.linear_call`` does the same, but JAX neither maps it with ``vmap`` nor
differentiates it again. Importing this module imports JAX.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.interpreters import ad, batching, mlir

from lstm_impl.call import Tensor, Tensors

Linear = Callable[[Any, Tensors], Sequence[Tensor]]
"""A function of residuals and of arrays in which it is linear."""

LINEAR_CALL = core.Primitive("lstm_impl_linear_call")
LINEAR_CALL.multiple_results = True


def linear_call(
    push: Linear, pull: Linear, residuals: Any, given: Tensors, like: Tensors
) -> tuple[Tensor, ...]:
    """Return ``push(residuals, given)``, whose transpose is ``pull(residuals, cotangents)``.

    Reverse mode calls ``pull`` alone. Forward mode calls ``push``. Derivatives with respect to
    the residuals are those of ``push``, so JAX must be able to differentiate ``push``.

    Parameters
    ----------
    push
        The function. It is linear in ``given``.
    pull
        Its transpose, which returns one array for each of ``given``.
    residuals
        A tree of arrays on which both may depend.
    given
        The arrays in which the function is linear.
    like
        Arrays that have the types and shapes of the results.
    """
    leaves, tree = jax.tree.flatten(residuals)
    how: Any = {
        "push": lambda flat, given: push(tree.unflatten(flat), given),
        "pull": lambda flat, flows: pull(tree.unflatten(flat), flows),
        "count": len(leaves),
        "types": tuple(jax.typeof(each) for each in like),
    }
    return tuple(LINEAR_CALL.bind(*leaves, *given, **how))


def _apply(*operands: Tensor, push: Linear, pull: Linear, count: int, types: Any) -> list[Tensor]:
    del pull, types
    return [*push(operands[:count], operands[count:])]


def _push_forward(
    primals: Tensors, tangents: Tensors, *, push: Linear, count: int, **how: Any
) -> tuple[Tensors, Tensors]:
    """Return the results and their tangents."""
    how |= {"push": push, "count": count}
    made = LINEAR_CALL.bind(*primals, **how)
    if all(isinstance(each, ad.Zero) for each in tangents[:count]):
        # A function that is linear is its own derivative, which keeps its transpose.
        moved = map(ad.instantiate_zeros, tangents[count:])
        return made, LINEAR_CALL.bind(*primals[:count], *moved, **how)

    def apply(*operands: Tensor) -> tuple[Tensor, ...]:
        return tuple(push(operands[:count], operands[count:]))

    return made, jax.jvp(apply, primals, tuple(map(ad.instantiate_zeros, tangents)))[1]


def _transpose(
    cotangents: Tensors, *operands: Any, pull: Linear, count: int, **how: Any
) -> list[Tensor | None]:
    """Return the cotangents of the operands in which the function is linear."""
    del how
    found = pull(operands[:count], tuple(map(ad.instantiate_zeros, cotangents)))
    # An operand that is not undefined is a tangent of zeros, which takes no cotangent.
    pairs = zip(found, operands[count:], strict=True)
    wanted = [each if ad.is_undefined_primal(operand) else None for each, operand in pairs]
    return [*count * [None], *wanted]


def _map_examples(
    operands: Tensors,
    axes: Sequence[int | None],
    *,
    push: Linear,
    pull: Linear,
    count: int,
    types: Any,
) -> tuple[Tensors, list[int]]:
    """Return the results for all examples, and the axes of the examples in them."""
    size = next(
        each.shape[axis] for each, axis in zip(operands, axes, strict=True) if axis is not None
    )
    # The transpose maps every cotangent, so every operand that takes one has examples.
    given = [
        jnp.broadcast_to(each, (size, *each.shape)) if axis is None else jnp.moveaxis(each, axis, 0)
        for each, axis in zip(operands[count:], axes[count:], strict=True)
    ]
    mapped: Any = {"in_axes": (tuple(axes[:count]), 0), "axis_size": size}
    made = LINEAR_CALL.bind(
        *operands[:count],
        *given,
        push=jax.vmap(push, **mapped),
        pull=jax.vmap(pull, **mapped),
        count=count,
        types=tuple(core.unmapped_aval(size, 0, each) for each in types),
    )
    return made, [0] * len(made)


LINEAR_CALL.def_impl(_apply)
LINEAR_CALL.def_abstract_eval(lambda *operands, types, **how: types)
ad.primitive_jvps[LINEAR_CALL] = _push_forward
ad.primitive_transposes[LINEAR_CALL] = _transpose
batching.primitive_batchers[LINEAR_CALL] = _map_examples
mlir.register_lowering(LINEAR_CALL, mlir.lower_fun(_apply, multiple_results=True))
