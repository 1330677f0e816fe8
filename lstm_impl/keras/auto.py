"""What ``backend="auto"`` picks for a call of a Keras layer.

What is fastest was measured with ``python -m bench.run keras-layer``; ``docs/keras_layer.md`` has
the figures.
"""

from __future__ import annotations

from dataclasses import replace

from lstm_impl.availability import Availability
from lstm_impl.keras.choice import (
    CUDNN,
    FUSED_CPU,
    KERAS,
    Arguments,
    Choice,
    LayerCall,
    needs_keras,
    no_cudnn,
    obstacle,
)
from lstm_impl.registry import get_backend
from lstm_impl.spec import UnsupportedError

NOT_COMPILED = "XLA cannot compile its op, and compiles the graph that the layer is in"

FUSED_UNITS = 64
"""Up to this many features and units, ``block_lstm``'s one op beats a loop, whose cost is then the
calling of ops and not their work; above, its small matrix products fall behind."""

FUSED_TYPES = ("float32", "float16")

SMALL_STEP = 2_000_000
"""Multiplications in one timestep, up to which the fused op, and in inference XLA's loop, was
faster: above, the time is that of matrix products, which TensorFlow's own spread over the cores."""

SMALL_TRAINING_STEP = 5_000_000
"""The same for XLA's loop in training, whose hand-written gradient has few products in the loop."""

UNITS_PER_SEQUENCE = 4
"""Units for each sequence of a batch, from which on the gradient written by hand pays: it saves a
product of the size of the weights in each step, and costs copies of the size of the batch."""

PREPROJECT_BATCH = 4
"""Sequences up to which one product for the input of all steps pays in inference: with so few, a
step's products take longer to read the weights than to multiply by them, and half of the weights
stay out of the loop. One sequence of 512 units was 2.0 times as fast as Keras's loop, 4 of 256
units 1.09 (0.99 to 1.20); 8 of them 0.99, and 16 to 32 of 128 and 256 units 0.87 to 0.91."""

PREPROJECT_STATE = 4_096
"""Numbers in the state (sequences times units) up to which it pays: one sequence of 1024 units took
0.60 of Keras's time."""


def check_auto(arguments: Arguments) -> None:
    """Raise UnsupportedError where the arguments leave ``auto`` nothing to pick."""
    if arguments.use_cudnn is True and (reason := no_cudnn(arguments)):
        raise _not_served(reason)


def _not_served(reason: str) -> UnsupportedError:
    return UnsupportedError(
        f"use_cudnn=True cannot be served: {reason}; leave it out to let auto pick another"
    )


def choose(arguments: Arguments, call: LayerCall, fused: Availability) -> Choice:
    """What ``backend="auto"`` picks for a call that nobody has raced.

    fused: whether ``fused_cpu`` can run on this machine.

    Raises UnsupportedError where use_cudnn=True cannot be served.
    """
    check_auto(arguments)
    if arguments.use_cudnn is True:
        if call.device != "gpu":
            only = "cuDNN runs on NVIDIA GPUs only"
            raise _not_served(f"{only}, and the layer runs on the {call.device}")
        if call.compiled:
            raise _not_served(f"cuDNN: {NOT_COMPILED}")
    if reason := needs_keras(arguments):
        return Choice(KERAS, f"only Keras's own loop can: the layer has {reason}", (), True)
    passed_over: tuple[str, ...] = ()
    if call.device == "gpu":
        reason = NOT_COMPILED if call.compiled else no_cudnn(arguments)
        if not reason:
            return Choice(CUDNN, "it is the fused kernel made for this, and the layer fits it")
        passed_over = (f"{CUDNN}: {reason}",)
    if arguments.unroll:
        return Choice(
            "static_unroll+hoisted" if call.training else "static_unroll+preproject",
            "the layer has unroll=True",
            passed_over,
        )
    if call.compiled:
        return Choice(
            "while_loop+hoisted" if call.training else "while_loop",
            "it is a small graph that XLA compiles well, with all that is around it",
            passed_over,
        )
    if call.device == "gpu":
        return _loop_on_gpu(call, passed_over)
    reason = _not_fused(arguments, call, fused)
    if not reason:
        return Choice(FUSED_CPU, "one op for all steps, and one for their gradient")
    other = _on_cpu(arguments, call)
    return replace(other, passed_over=(f"{FUSED_CPU}: {reason}", *other.passed_over))


def _not_fused(arguments: Arguments, call: LayerCall, fused: Availability) -> str:
    """Why a call on a CPU is not computed by the fused op, or an empty string."""
    if reason := obstacle(get_backend(FUSED_CPU), arguments):
        return reason
    if arguments.compute_dtype != "float32":
        return f"it was not timed against the others in {arguments.compute_dtype}"
    return may_be_saved(call) or ("" if fused else str(fused))


def may_be_saved(call: LayerCall) -> str:
    """Why a call is not computed by an op of this library, or an empty string."""
    if not call.traced or (call.training and call.recorded):
        return ""
    what = "inference" if not call.training else "training=True without a gradient tape"
    return (
        f"a graph traced for {what} may be saved, and would run only where this library is loaded; "
        f"to have it there too, backend={FUSED_CPU!r}"
    )


def _loop_on_gpu(call: LayerCall, passed_over: tuple[str, ...]) -> Choice:
    if call.static:
        return Choice(
            "while_loop+hoisted+xla",
            "all sizes are known, and one compiled loop launches far fewer kernels",
            passed_over,
        )
    return Choice("while_loop+hoisted", BY_HAND, (*passed_over, f"XLA: {not_static(call)}"))


def _on_cpu(arguments: Arguments, call: LayerCall) -> Choice:
    units = arguments.units
    widest = max(call.features or 0, units)
    each = ((call.features or 0) + units) * 4 * units
    work = (call.batch or 1) * each
    in_words = f"a timestep has {work:,} multiplications"
    # Where the batch is not known, the graph decides when it runs.
    small = call.batch is None or work <= SMALL_STEP
    fused = widest <= FUSED_UNITS and small and arguments.compute_dtype in FUSED_TYPES
    compiled = call.static and work <= (SMALL_TRAINING_STEP if call.training else SMALL_STEP)
    # TensorFlow Lite has no such op, and a graph that may be saved may be converted.
    if fused and (call.training or not compiled) and not may_be_saved(call):
        return Choice(
            "block_lstm",
            f"with at most {widest} features and units, one op for all steps is best",
            most_sequences=_branch(arguments, call, SMALL_STEP // each),
        )
    if compiled:
        return Choice(
            "while_loop+hoisted+xla" if call.training else "while_loop+xla",
            f"all sizes are known and {in_words}, few enough for a compiled loop",
        )
    passed_over = (f"XLA: {in_words if call.static else not_static(call)}",)
    preprojected = min(PREPROJECT_BATCH, PREPROJECT_STATE // units)
    if not call.training and (call.batch or 1) > preprojected:
        return Choice(
            KERAS,
            f"for {call.batch or 'any number of'} sequences and {units} units nothing here beats "
            "Keras's own loop in inference",
            passed_over,
        )
    if not call.training:
        return Choice(
            "partial_unroll@5+preproject",
            "one matrix product for the input of all steps, and a loop with few turns",
            passed_over,
            most_sequences=_branch(arguments, call, preprojected),
        )
    most = units // UNITS_PER_SEQUENCE
    if call.batch is not None and call.batch > most:
        return Choice(
            KERAS,
            f"for {call.batch} sequences and {units} units nothing here beats Keras's own loop",
            (*passed_over, "while_loop+hoisted: its copies cost more than it saves"),
        )
    return Choice(
        "while_loop+hoisted", BY_HAND, passed_over, most_sequences=_branch(arguments, call, most)
    )


def _branch(arguments: Arguments, call: LayerCall, most: int) -> int | None:
    """The largest batch for a choice, if the graph has to look at it when it runs.

    With dropout there is no branch: Keras's loop keeps its masks in the layer, and what is made
    inside a branch cannot be used outside it.
    """
    if call.batch is not None or arguments.dropout:
        return None
    return most


BY_HAND = "the gradient written by hand leaves in the backward loop only what is recurrent"


def not_static(call: LayerCall) -> str:
    """Why a call is not compiled by XLA on its own, in words."""
    if not call.traced:
        return "outside a graph the next call may have another shape, and would be compiled anew"
    return "a size is known at run time only, and each new one would be compiled anew"
