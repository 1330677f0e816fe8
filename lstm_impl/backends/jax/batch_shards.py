"""Split calls along the batch, so that each device computes the sequences that it holds.

XLA knows nothing of what a custom call computes. Without a rule it would gather all arrays of a
call on every device. Importing this module imports JAX.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec

from lstm_impl.call import Tensor, Tensors

SUMMED = "summed"
"""Marks a result that is a sum over the sequences, instead of the axis of the batch in it."""

Function = Callable[..., Sequence[Tensor]]


def split_batch(
    function: Function, reads: Sequence[int | None], writes: Sequence[int | str | None]
) -> Function:
    """Return a function that computes each device's part of the batch on that device.

    ``vmap`` maps the function itself, without regard to devices.

    Parameters
    ----------
    function
        A function of arrays that returns arrays. Sequences do not depend on each other.
    reads
        The axis of the batch in each argument, or None if it has none. An array without numbers has
        none.
    writes
        The axis of the batch in each result, None if it has none, or ``SUMMED``.
    """
    split = custom_partitioning(lambda *given: tuple(function(*given)))
    # The instance is new in each trace, so its rules may be closures.
    split.def_partition(
        functools.partial(_partition, function, reads, writes),
        infer_sharding_from_operands=functools.partial(_results, reads, writes),
        sharding_rule=functools.partial(_make_rule, reads, writes),
    )
    mapped: Any = jax.custom_batching.custom_vmap(lambda *given: split(*given))

    @mapped.def_vmap
    def _(size: int, in_batched: list[bool], *given: Tensor) -> tuple[Any, Any]:
        axes = [0 if each else None for each in in_batched]
        found = jax.vmap(lambda *each: tuple(function(*each)), axes, axis_size=size)(*given)
        return found, tuple(True for _ in found)

    made: Function = mapped
    return made


def keep_explicit_batch(
    compute: Callable[..., Any], writes: Sequence[int], x: Tensor, *others: Any
) -> Any:
    """Return ``compute(x, *others)``, whose batch is divided as in the type of x.

    A mesh with explicit axes (``jax.sharding.AxisType.Explicit``) has shardings in the types of
    arrays. There, JAX asks what the sharding of each result is.

    Parameters
    ----------
    compute
        A function that returns arrays.
    writes
        The axis of the batch in each of them. It is axis 1 in x.
    """
    sharding = getattr(jax.typeof(x), "sharding", None)
    if sharding is None or not sharding.mesh.explicit_axes:
        return compute(x, *others)
    axes = sharding.spec[1]
    results = [NamedSharding(sharding.mesh, PartitionSpec(*axis * [None], axes)) for axis in writes]
    return jax.sharding.auto_axes(compute, out_sharding=tuple(results))(x, *others)


def _make_rule(
    reads: Sequence[int | None],
    writes: Sequence[int | str | None],
    mesh: Any,
    operands: Any,
    results: Any,
) -> tuple[str, dict[str, Any]]:
    """Return the rule for Shardy: the batch may be divided, and every other axis may not."""
    del mesh
    numbers = itertools.count()
    whole: list[str] = []

    def name_axes(axis: int | str | None, rank: int) -> str:
        names = [f"w{next(numbers)}" for _ in range(rank)]
        if isinstance(axis, int):
            names[axis] = "b"
        whole.extend(name for name in names if name != "b")
        return " ".join(names)

    sides = [
        ", ".join(name_axes(axis, len(each.shape)) for axis, each in zip(axes, types, strict=True))
        for axes, types in ((reads, operands), (writes, results))
    ]
    return " -> ".join(sides), {"need_replication_factors": tuple(whole)}


def _batch_axes(reads: Sequence[int | None], arguments: Tensors) -> Any:
    """Return the axes of the mesh that divide the batch, or None if none does."""
    for axis, each in zip(reads, arguments, strict=True):
        sharding = each.sharding
        if axis is None or not isinstance(sharding, NamedSharding):
            continue
        found = (*sharding.spec, *[None] * len(each.shape))[axis]
        if found:
            names = found if isinstance(found, tuple) else (found,)
            shards = [sharding.mesh.shape[name] for name in names]
            # A part of another size than the others would hold sequences that do not exist.
            return None if each.shape[axis] % functools.reduce(int.__mul__, shards) else names
    return None


def _place(mesh: Any, axes: Any, axis: int | str | None, like: Any) -> Any:
    """Return the sharding of an array whose batch is divided along axes of the mesh."""
    if not isinstance(like, NamedSharding) and mesh.empty:
        return type(like).get_replicated(like._device_assignment)
    spec = [None] * axis + [axes] if isinstance(axis, int) and axes else []
    return NamedSharding(mesh, PartitionSpec(*spec))


def _results(
    reads: Sequence[int | None],
    writes: Sequence[int | str | None],
    mesh: Any,
    arguments: Tensors,
    results: Tensors,
) -> Any:
    del results
    axes, like = _batch_axes(reads, arguments), arguments[0].sharding
    return tuple(_place(mesh, axes, axis, like) for axis in writes)


def _partition(
    function: Function,
    reads: Sequence[int | None],
    writes: Sequence[int | str | None],
    mesh: Any,
    arguments: Tensors,
    results: Tensors,
) -> Any:
    """Return what each device computes, and the shardings of its results and arguments."""
    axes = _batch_axes(reads, arguments)

    def compute_part(*given: Tensor) -> tuple[Tensor, ...]:
        pairs = zip(function(*given), writes, strict=True)
        if axes is None:
            return tuple(made for made, _ in pairs)
        return tuple(jax.lax.psum(made, axes) if axis == SUMMED else made for made, axis in pairs)

    given = [
        _place(mesh, axes, axis, each.sharding) for axis, each in zip(reads, arguments, strict=True)
    ]
    return mesh, compute_part, _results(reads, writes, mesh, arguments, results), tuple(given)


# -- inside ``shard_map``, JAX notes for each array over which axes of a mesh it varies. JAX 0.8.2
# and 0.10 renamed what it notes.


def describe_result(x: Tensor, shape: tuple[int, ...], dtype: Any = None) -> jax.ShapeDtypeStruct:
    """Describe a result of a call that varies over the same axes as x."""
    kind = jax.typeof(x)
    how: dict[str, Any] = {}
    if hasattr(kind, "manual_axis_type"):
        if _varying(x):
            mesh = NamedSharding(kind.sharding.mesh, PartitionSpec())
            how = {"manual_axis_type": kind.manual_axis_type, "sharding": mesh}
    else:
        how = {"vma": kind.vma}
    return jax.ShapeDtypeStruct(shape, dtype or x.dtype, **how)


def vary_alike(given: Tensors) -> list[Tensor]:
    """Let all arrays vary over the same axes, as a call needs."""
    varying = [_varying(each) for each in given]
    union = frozenset().union(*varying)
    pairs = zip(given, varying, strict=True)
    return [_vary(each, tuple(sorted(union - own))) for each, own in pairs]


def _varying(x: Tensor) -> frozenset[Any]:
    kind = jax.typeof(x)
    noted = kind.manual_axis_type.varying if hasattr(kind, "manual_axis_type") else kind.vma
    return frozenset(noted)


def _vary(x: Tensor, axes: tuple[Any, ...]) -> Tensor:
    if not axes:
        return x
    if hasattr(jax.lax, "pcast"):
        return jax.lax.pcast(x, axes, to="varying")
    return jax.lax.pvary(x, axes)
