"""Ways to loop over time: in the graph, some timesteps an iteration, ready-made, or unrolled."""

from __future__ import annotations

from lstm_impl.backends.tensorflow.loop import Carry, LoopBackend, Slices, StepFunction
from lstm_impl.call import Tensor
from lstm_impl.spec import LSTMSpec, UnsupportedError
from lstm_impl.workload import Workload


class WhileLoop(LoopBackend):
    """``while_loop``: ``tf.while_loop``, one timestep an iteration, as in ``tf.nn.dynamic_rnn``."""

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


class PartialUnroll(LoopBackend):
    """``tf.while_loop``, k timesteps an iteration."""

    strategy = "partial_unroll"
    summary = "tf.while_loop, k timesteps an iteration"
    takes_number = True
    listed = ("@5", "@10", "@10+hoisted", "@10+xla")

    def scan(
        self, step: StepFunction, carry: Carry, sequences: Slices, outputs: Slices, reverse: bool
    ) -> tuple[Carry, Slices]:
        assert self.number is not None
        loop = TimeLoop(sequences, outputs, reverse)
        turns = loop.timesteps // self.number
        done = turns * self.number
        carry, arrays = loop.run(step, carry, loop.empty(), 0, turns, self.number)
        # Both loops write into the same arrays: none is ever empty, which XLA would not take.
        return loop.stack(*loop.run(step, carry, arrays, done, loop.timesteps - done))


class Scan(LoopBackend):
    """``tf.scan`` over the timesteps."""

    strategy = "scan"
    summary = "tf.scan over the timesteps"
    listed = ("", "+xla")

    def scan(
        self, step: StepFunction, carry: Carry, sequences: Slices, outputs: Slices, reverse: bool
    ) -> tuple[Carry, Slices]:
        import tensorflow as tf

        width = len(carry)

        def body(before: Slices, slices: Slices) -> Slices:
            after, out = step(before[:width], slices)
            return (*after, *out)

        initial = (*carry, *(tf.zeros_like(like) for like in outputs))
        stacked = tf.scan(body, sequences, initializer=initial, reverse=reverse)
        last = 0 if reverse else -1
        return tuple(column[last] for column in stacked[:width]), tuple(stacked[width:])


class StaticUnroll(LoopBackend):
    """A Python loop while the graph is traced."""

    strategy = "static_unroll"
    summary = "the loop over time unrolled into the graph"
    dynamic = False
    listed = ("", "+preproject", "+hoisted", "+xla")

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if self.xla and spec.bidirectional and spec.dtype == "float64":
            # Seen with TensorFlow 2.21 on a CPU: outputs off by 119% at hidden size 5; a test
            # asks again, and fails once this is mended.
            return (
                "XLA compiles unrolled bidirectional float64 wrongly at some sizes; "
                "use while_loop+xla, or drop +xla"
            )
        return super().refusal(spec, workload)

    def scan(
        self, step: StepFunction, carry: Carry, sequences: Slices, outputs: Slices, reverse: bool
    ) -> tuple[Carry, Slices]:
        import tensorflow as tf

        timesteps = sequences[0].shape[0]
        if timesteps is None:
            raise UnsupportedError(
                f"{self.name} needs to know the number of timesteps when it is traced; "
                "give the input a static first axis, or use while_loop"
            )
        # unstack once: slicing T times would add T strided slices and their gradients
        slices = list(zip(*(tf.unstack(sequence) for sequence in sequences), strict=True))
        results = []
        for now in reversed(slices) if reverse else slices:
            carry, out = step(carry, now)
            results.append(out)
        if reverse:
            results.reverse()
        return carry, tuple(tf.stack(column) for column in zip(*results, strict=True))
