"""An optimizer's update of a model's variables, in a graph, by TensorFlow's fused ops."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from lstm_impl.call import Tensor
from lstm_impl.optimizer import BETA1, BETA2, EPSILON, LEARNING_RATE


class Optimizer:
    """TensorFlow's fused ops, ``ResourceApplyGradientDescent`` and ``ResourceApplyAdam``.

    One op a variable, in a graph and under XLA alike, is the least that an update can cost, and it
    is the same for every backend of TensorFlow, whose LSTMs are to be compared. Keras's optimizers
    compute the same in a dozen ops a variable, which were no slower on three small variables; but
    theirs would be another update than PyTorch's and JAX's, the epsilon being added elsewhere. The
    op adds it there too, so it is given one that is scaled by the correction of the root.
    """

    def __init__(self, name: str, variables: Sequence[Any]) -> None:
        import tensorflow as tf

        self._tf = tf
        self._name = name
        self._variables = variables
        self._moments: list[tuple[Any, Any]] = []
        if name == "adam":
            # 64 bits: TensorFlow keeps 32-bit integers of a GPU's graph in the host's memory.
            self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
            self._moments = [
                (tf.Variable(zeros, trainable=False), tf.Variable(zeros, trainable=False))
                for zeros in map(tf.zeros_like, variables)
            ]

    def restart(self) -> None:
        """No moments, no steps taken."""
        if self._moments:
            self._step.assign(0)
        for each in itertools.chain.from_iterable(self._moments):
            each.assign(self._tf.zeros_like(each))

    def apply(self, gradients: Sequence[Tensor]) -> None:
        """Update the variables; to be called in a graph, once."""
        tf = self._tf
        if self._name == "sgd":
            for variable, gradient in zip(self._variables, gradients, strict=True):
                tf.raw_ops.ResourceApplyGradientDescent(
                    var=variable.handle,
                    alpha=tf.constant(LEARNING_RATE, variable.dtype),
                    delta=gradient,
                )
            return
        dtype = self._variables[0].dtype
        step = tf.cast(self._step.assign_add(1), dtype)
        beta1, beta2 = tf.constant(BETA1, dtype), tf.constant(BETA2, dtype)
        power1, power2 = tf.pow(beta1, step), tf.pow(beta2, step)
        for variable, (m, v), gradient in zip(
            self._variables, self._moments, gradients, strict=True
        ):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=power1,
                beta2_power=power2,
                lr=tf.constant(LEARNING_RATE, dtype),
                beta1=beta1,
                beta2=beta2,
                epsilon=EPSILON * tf.sqrt(1.0 - power2),
                grad=gradient,
            )
