"""Run ``dynamic_rnn`` and ``static_rnn``: the API of 2016, ``BasicLSTMCell`` and ``GRUCell``.

The ``GRUCell`` has the form of the paper, whose reset gate acts before the recurrent product.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lstm_impl.availability import Package
from lstm_impl.backends.tensorflow.backend import (
    Arrays,
    PaddingMask,
    TensorFlowBackend,
    reverse_time,
)
from lstm_impl.call import Call, Outputs, Tensor, Tensors
from lstm_impl.cell import DEFAULT, GRU, Cell
from lstm_impl.layouts import (
    basic_cell,
    from_basic_cell,
    from_legacy_gru_cell,
    legacy_gru_cell,
)
from lstm_impl.spec import LSTMSpec
from lstm_impl.weights import LayerWeights

INSTALL_TF_KERAS = "pip install --no-deps 'tf-keras>=2.18'"
"""The command that installs tf-keras. Without ``--no-deps`` it would also install the distribution
``tensorflow``, which would overwrite ``tensorflow-cpu`` in the same folder. tf-keras needs nothing
that ``tensorflow-cpu`` lacks."""


class DynamicRNN(TensorFlowBackend):
    """Compute with ``tf.compat.v1.nn.dynamic_rnn`` over a ``BasicLSTMCell`` or a ``GRUCell``."""

    strategy = "dynamic_rnn"
    summary = "the 2016 API: tf.nn.dynamic_rnn over a BasicLSTMCell or GRUCell"
    flags = ()
    cells = ("lstm", "gru_reset_before")
    bias_offset = 1.0
    packages = (
        Package(
            "tf_keras",
            "the cells of the 2016 API live in the tf-keras package, which",
            INSTALL_TF_KERAS,
        ),
        *TensorFlowBackend.packages,
    )

    def cell_refusal(self, spec: LSTMSpec) -> str:
        if spec.cell == GRU():
            return (
                "the GRUCell of the 2016 API has reset_after=False: its reset gate acts before the "
                f"recurrent product. In {spec.cell.name} it acts after the product"
            )
        return super().cell_refusal(spec)

    def to_layout(self, cell: LayerWeights) -> Arrays:
        is_gru = cell.kernel.shape[-1] == len(GRU.gates) * len(cell.recurrent_kernel)
        return legacy_gru_cell(cell) if is_gru else basic_cell(cell)

    def from_layout(self, arrays: Arrays, gradient: bool) -> LayerWeights:
        if len(arrays) == 4:
            return from_legacy_gru_cell(arrays)
        kernel, bias = arrays
        return from_basic_cell(kernel, bias, forget_bias=0.0 if gradient else 1.0)

    def layer(
        self,
        call: Call,
        parameters: Tensors,
        padding: PaddingMask | None,
        reverse: bool,
        cell: Cell = DEFAULT,
    ) -> Outputs:
        x, states, *_ = call
        names: tuple[str, ...]
        with legacy_keras() as rnn_cell:
            if isinstance(cell, GRU):
                made, state = rnn_cell.GRUCell(states[0].shape[-1], dtype=x.dtype), states[0]
                names = ("_gate_kernel", "_gate_bias", "_candidate_kernel", "_candidate_bias")
            else:
                h, c = states
                made = rnn_cell.BasicLSTMCell(h.shape[-1], forget_bias=1.0, dtype=x.dtype)
                state = rnn_cell.LSTMStateTuple(c=c, h=h)
                names = ("_kernel", "_bias")
            # Our parameters replace the variables that the cell would make.
            made.built = True
            for name, tensor in zip(names, parameters, strict=True):
                setattr(made, name, tensor)
            x = reverse_time(x, padding) if reverse else x
            lengths = None if padding is None else padding.lengths
            y, last = self.run(made, x, state, lengths)
        final = (last,) if isinstance(cell, GRU) else (last.h, last.c)
        return Outputs(reverse_time(y, padding) if reverse else y, final)

    def run(self, cell: Any, x: Tensor, state: Any, lengths: Tensor | None) -> tuple[Tensor, Any]:
        """Compute the outputs ``[T, B, H]`` and the last state, in the form of the first one."""
        import tensorflow as tf

        y, last = tf.compat.v1.nn.dynamic_rnn(
            cell, x, sequence_length=lengths, initial_state=state, time_major=True
        )
        return y, last


class StaticRNN(DynamicRNN):
    """Compute with ``tf.compat.v1.nn.static_rnn`` over a ``BasicLSTMCell`` or a ``GRUCell``."""

    strategy = "static_rnn"
    summary = "the 2016 API: tf.nn.static_rnn over a BasicLSTMCell or GRUCell, unrolled"
    dynamic = False

    def run(self, cell: Any, x: Tensor, state: Any, lengths: Tensor | None) -> tuple[Tensor, Any]:
        import tensorflow as tf

        outputs, last = tf.compat.v1.nn.static_rnn(
            cell, tf.unstack(x), initial_state=state, sequence_length=lengths
        )
        return tf.stack(outputs), last


@contextmanager
def legacy_keras() -> Iterator[Any]:
    """Yield ``tf.compat.v1.nn.rnn_cell``, which reads an environment variable on first access."""
    import tensorflow as tf

    before = os.environ.get("TF_USE_LEGACY_KERAS")
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    logger = tf.get_logger()
    level = logger.level
    try:
        # A user who names the API of 2016 knows that it is deprecated.
        logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=UserWarning)
            warnings.simplefilter("ignore", category=DeprecationWarning)
            yield tf.compat.v1.nn.rnn_cell
    finally:
        logger.setLevel(level)
        if before is None:
            del os.environ["TF_USE_LEGACY_KERAS"]
        else:
            os.environ["TF_USE_LEGACY_KERAS"] = before
