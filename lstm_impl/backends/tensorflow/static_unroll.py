"""``static_unroll``: the loop over time unrolled into the graph, a copy of the cell a timestep."""

from __future__ import annotations

from lstm_impl.backends.tensorflow.loop import Carry, LoopBackend, Slices, StepFunction
from lstm_impl.spec import LSTMSpec, UnsupportedError
from lstm_impl.workload import Workload


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
