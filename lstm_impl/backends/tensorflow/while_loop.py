"""``while_loop``: a loop in the graph over tensor arrays, as in ``tf.nn.dynamic_rnn``."""

from __future__ import annotations

from lstm_impl.backends.tensorflow.loop import Carry, LoopBackend, Slices, StepFunction
from lstm_impl.call import Tensor


class WhileLoop(LoopBackend):
    """``tf.while_loop``, one timestep an iteration."""

    strategy = "while_loop"
    summary = "tf.while_loop over tensor arrays, one timestep an iteration"
    listed = ("", "+preproject", "+hoisted", "+xla", "+preproject+xla", "+hoisted+xla")

    def scan(
        self, step: StepFunction, carry: Carry, sequences: Slices, outputs: Slices, reverse: bool
    ) -> tuple[Carry, Slices]:
        loop = TimeLoop(sequences, outputs, reverse)
        return loop.stack(*loop.run(step, carry, loop.empty(), 0, loop.timesteps))


class TimeLoop:
    """``tf.while_loop`` over the time axis of some sequences, in pieces if need be."""

    def __init__(self, sequences: Slices, outputs: Slices, reverse: bool) -> None:
        import tensorflow as tf

        self._tf = tf
        self._outputs = outputs
        self._reverse = reverse
        first = sequences[0]
        # A static number lets XLA bound the loop, which the loop's gradient needs there.
        self.timesteps = tf.shape(first)[0] if first.shape[0] is None else first.shape[0]
        self._inputs = [
            tf.TensorArray(
                sequence.dtype, self.timesteps, element_shape=sequence.shape[1:]
            ).unstack(sequence)
            for sequence in sequences
        ]

    def empty(self) -> Slices:
        """Tensor arrays for what the steps put out."""
        return tuple(
            self._tf.TensorArray(
                like.dtype, self.timesteps, element_shape=like.shape, clear_after_read=False
            )
            for like in self._outputs
        )

    def run(
        self,
        step: StepFunction,
        carry: Carry,
        arrays: Slices,
        start: Tensor | int,
        iterations: Tensor | int,
        steps_per_iteration: int = 1,
    ) -> tuple[Carry, Slices]:
        """``iterations`` turns of the loop from step ``start``, each doing some timesteps."""
        tf = self._tf
        width = len(carry)

        def body(turn: Tensor, *state: Tensor) -> Slices:
            carry, arrays = state[:width], state[width:]
            for offset in range(steps_per_iteration):
                t = start + turn * steps_per_iteration + offset
                if self._reverse:
                    t = self.timesteps - 1 - t
                carry, out = step(carry, tuple(array.read(t) for array in self._inputs))
                arrays = tuple(
                    array.write(t, value) for array, value in zip(arrays, out, strict=True)
                )
            return (turn + 1, *carry, *arrays)

        _, *state = tf.while_loop(
            lambda turn, *_: turn < iterations,
            body,
            (tf.constant(0), *carry, *arrays),
            # XLA bounds the gradient's stacks by this, and takes none that is empty, which it
            # would be where no full turn fits or nothing remains after the last.
            maximum_iterations=tf.maximum(iterations, 1),
        )
        return tuple(state[:width]), tuple(state[width:])

    def stack(self, carry: Carry, arrays: Slices) -> tuple[Carry, Slices]:
        """The carry, and each tensor array as one tensor ``[T, ...]``."""
        return carry, tuple(array.stack() for array in arrays)
