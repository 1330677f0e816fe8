"""Share what all TensorFlow backends have in common: layouts, and looping over layers."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from lstm_impl.availability import Package
from lstm_impl.backend import Backend
from lstm_impl.backends.stacking import through_layers
from lstm_impl.backends.tensorflow.framework import TENSORFLOW
from lstm_impl.backends.tensorflow.model import TensorFlowModel
from lstm_impl.call import Call, Outputs, Tensor, Tensors
from lstm_impl.cell import DEFAULT, Cell
from lstm_impl.model import Model
from lstm_impl.spec import FloatArray, LSTMSpec, UnsupportedError
from lstm_impl.weights import LayerWeights, LSTMWeights
from lstm_impl.workload import OPTIMIZERS

Arrays = Sequence[FloatArray]


@dataclass(frozen=True)
class PaddingMask:
    """Hold which steps of right-padded sequences are valid.

    Attributes
    ----------
    lengths
        The valid timesteps of each sequence, ``[B]``.
    mask
        Bool ``[T, B, 1]``, which is False in padding.
    """

    lengths: Tensor
    mask: Tensor

    @classmethod
    def of(cls, x: Tensor, lengths: Tensor) -> PaddingMask:
        """Return the padding of an input ``[T, B, in]`` with these lengths."""
        import tensorflow as tf

        steps = tf.range(tf.shape(x)[0], dtype=lengths.dtype)
        return cls(lengths, (steps[:, None] < lengths[None, :])[:, :, None])


@dataclass(frozen=True)
class FirstSteps:
    """At which steps a layer that reads in one direction starts over, and from which state.

    steps: bool ``[T, B, 1]``. to_initial: whether from the initial state, in place of zeros.
    """

    steps: Tensor
    to_initial: bool

    @classmethod
    def of(cls, call: Call, mask: Tensor | None, reverse: bool) -> FirstSteps | None:
        """Return the first steps after a call's resets, None if it has none.

        mask: bool ``[T, B, 1]``, or None: a reset at a step that is False changes nothing. In
        reverse the first step after a reset is the one before it in time.
        """
        import tensorflow as tf

        given = call.resets if call.restarts is None else call.restarts
        if given is None:
            return None
        steps = given[:, :, None]
        if mask is not None:
            steps = tf.logical_and(steps, mask)
        if reverse:
            steps = tf.concat([steps[1:], tf.zeros_like(steps[:1])], axis=0)
        return cls(steps, call.restarts is not None)

    def begin(self, now: Tensor, states: Tensors, initial: Tensors) -> tuple[Tensor, ...]:
        """Return the states that a step begins from.

        now: the step's part of ``steps``, ``[B, 1]``. states: those that the last step left.
        """
        import tensorflow as tf

        fresh = initial if self.to_initial else map(tf.zeros_like, states)
        pairs = zip(fresh, states, strict=True)
        return tuple(tf.where(now, new, old) for new, old in pairs)

    def before(self, states: Tensor, initial: Tensor) -> Tensor:
        """Return the states ``[T, B, H]`` that all steps begin from, as ``begin`` does."""
        import tensorflow as tf

        fresh = initial[None] if self.to_initial else tf.zeros_like(initial)[None]
        return tf.where(self.steps, fresh, states)

    def cut(
        self, now: Tensor, flow: Tensors, of_initial: Tensors
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return what flows into the step before, and what has flowed into the initial states.

        flow: what flows into the states that the step began from. of_initial: what flowed into the
        initial states at later steps; empty where sequences start over from zeros.
        """
        import tensorflow as tf

        zeros = tuple(map(tf.zeros_like, flow))
        passed = tuple(tf.where(now, zero, each) for zero, each in zip(zeros, flow, strict=True))
        if not self.to_initial:
            return passed, ()
        caught = (tf.where(now, each, zero) for zero, each in zip(zeros, flow, strict=True))
        return passed, tuple(a + b for a, b in zip(of_initial, caught, strict=True))


class FirstStepBits(NamedTuple):
    """Say where sequences start over by the bits that the kernels of ``fused_cpu`` read.

    Attributes
    ----------
    steps
        uint8 ``[T, B, 1]``, whose bits are ``FROM_ZEROS`` and ``FROM_INITIAL``.
    """

    steps: Tensor

    def begin(self, now: Tensor, states: Tensors, initial: Tensors) -> tuple[Tensor, ...]:
        """Return the states that a step begins from, as ``FirstSteps.begin`` does."""
        import tensorflow as tf

        # The package of fused_cpu imports this module.
        from lstm_impl.backends.fused_cpu.c_interface import FROM_INITIAL, FROM_ZEROS

        for bit, fresh in ((FROM_ZEROS, map(tf.zeros_like, states)), (FROM_INITIAL, initial)):
            starts_over = tf.bitwise.bitwise_and(now, tf.constant(bit, tf.uint8)) > 0
            pairs = zip(fresh, states, strict=True)
            states = tuple(tf.where(starts_over, new, old) for new, old in pairs)
        return tuple(states)


def reverse_time(sequence: Tensor, padding: PaddingMask | None) -> Tensor:
    """Reverse the valid steps of each sequence of ``[T, B, F]``. Padding stays in place."""
    import tensorflow as tf

    if padding is None:
        return tf.reverse(sequence, [0])
    return tf.reverse_sequence(sequence, padding.lengths, seq_axis=0, batch_axis=1)


class TensorFlowBackend(Backend):
    """Compute each layer with TensorFlow's ops."""

    framework = "tensorflow"
    packages: ClassVar[tuple[Package, ...]] = (TENSORFLOW.package,)
    gpu = TENSORFLOW.gpu
    optimizers = OPTIMIZERS
    model: ClassVar[type[Model]] = TensorFlowModel
    flags: ClassVar[tuple[str, ...]] = ("xla",)
    dynamic: ClassVar[bool] = True

    @property
    def xla(self) -> bool:
        """Whether XLA compiles the step (``jit_compile=True``)."""
        return "xla" in self.options

    # -- what a strategy supplies

    def layer(
        self,
        call: Call,
        parameters: Tensors,
        padding: PaddingMask | None,
        reverse: bool,
        cell: Cell = DEFAULT,
    ) -> Outputs:
        """Compute one direction of one layer.

        Parameters
        ----------
        call
            x ``[T, B, in]``, and states ``[B, H]`` each.
        parameters
            The arrays in the order of ``to_layout``, in the compute type.
        padding
            Which steps are valid, or None if all are.
        reverse
            Whether each sequence's valid steps are read from the last to the first.
        cell
            What a timestep computes.

        Returns
        -------
        Outputs
            The outputs ``[T, B, H]`` and the final states ``[B, H]``. Each output stands at the
            step to which it belongs, and is zero in padding.
        """
        raise UnsupportedError(f"{self.name} does not compute single layers; call stack instead")

    def to_layout(self, cell: LayerWeights) -> Arrays:
        """Convert canonical weights of one direction to the arrays that this backend trains."""
        return tuple(cell)

    def from_layout(self, arrays: Arrays, gradient: bool) -> LayerWeights:
        """Convert arrays in this backend's layout, or their gradients, to canonical weights."""
        return LayerWeights(*arrays)

    def pack(self, spec: LSTMSpec, weights: LSTMWeights) -> list[FloatArray]:
        return [array for cell in weights.cells() for array in self.to_layout(cell)]

    def unpack(self, spec: LSTMSpec, arrays: Arrays, gradient: bool = False) -> LSTMWeights:
        size = len(arrays) // spec.state_layers
        cells = [
            self.from_layout(arrays[k : k + size], gradient) for k in range(0, len(arrays), size)
        ]
        return LSTMWeights.from_cells(spec, cells)

    def stack(self, spec: LSTMSpec, call: Call, parameters: Tensors, training: bool) -> Outputs:
        """Compute the network: outputs ``[T, B, D*H]`` and final states ``[L*D, B, H]``."""
        import tensorflow as tf

        padding = None if call.lengths is None else PaddingMask.of(call.x, call.lengths)
        size = len(parameters) // spec.state_layers

        def layer(row: int, own: Call, reverse: bool) -> Outputs:
            part = parameters[row * size : (row + 1) * size]
            return self.layer(own, part, padding, reverse, spec.cell)

        return through_layers(spec, call, layer, functools.partial(tf.concat, axis=-1), tf.stack)
