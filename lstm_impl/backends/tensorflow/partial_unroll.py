"""``partial_unroll@k``: a loop in the graph that does k timesteps an iteration."""

from __future__ import annotations

from lstm_impl.backends.tensorflow.loop import Carry, LoopBackend, Slices, StepFunction
from lstm_impl.backends.tensorflow.while_loop import TimeLoop


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
