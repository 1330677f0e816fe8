"""``scan``: ``tf.scan``, the functional loop that TensorFlow offers ready-made."""

from __future__ import annotations

from lstm_impl.backends.tensorflow.loop import Carry, LoopBackend, Slices, StepFunction


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
