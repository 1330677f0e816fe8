"""Compute a GRU layer in a loop over time, with a gradient that is written by hand.

The gradient that TensorFlow derives for a loop keeps every intermediate result of each timestep,
and multiplies small matrices in each timestep. This one keeps four arrays. It multiplies the
gradients of all timesteps by their inputs after its loop. The equations are those of ``cell.GRU``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from lstm_impl.backends.tensorflow.backend import FirstSteps
from lstm_impl.call import Tensor, Tensors

Arrays = tuple[Tensor, ...]


class ScanOverTime(Protocol):
    """Run a step over time, as ``LoopBackend.scan`` does."""

    def __call__(
        self,
        step: Callable[[Arrays, Arrays], tuple[Arrays, Arrays]],
        carry: Arrays,
        sequences: Arrays,
        outputs: Arrays,
        reverse: bool,
    ) -> tuple[Arrays, Arrays]:
        """Return the last carry, and the outputs stacked over time."""


def forward_gru(
    scan: ScanOverTime,
    x: Tensor,
    h0: Tensor,
    own: Tensors,
    mask: Tensor | None,
    reverse: bool,
    first: FirstSteps | None,
) -> tuple[Tensor, Tensor, Arrays]:
    """Compute a layer, and keep what its gradients need.

    Parameters
    ----------
    scan
        A function that runs a step over time.
    x, h0
        The input ``[T, B, in]`` and the initial state ``[B, H]``.
    own
        The arrays of the layer. With one bias, it computes the form of the paper. With two biases,
        it computes ``reset_after``.
    mask
        Bool ``[T, B, 1]``, which is False in padding, or None.
    reverse
        Whether steps are read from the last to the first.
    first
        The steps at which sequences start over, or None.

    Returns
    -------
    tuple
        The outputs ``[T, B, H]``, the final state ``[B, H]``, and for each step r, z, n, the
        candidate's part of the recurrence, and the state.
    """
    import tensorflow as tf

    kernel, recurrent_kernel, bias, *second = own
    units = h0.shape[-1]
    flat = tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), kernel) + bias
    projected = tf.reshape(flat, [tf.shape(x)[0], tf.shape(x)[1], 3 * units])
    of_gates, of_candidate = recurrent_kernel[:, : 2 * units], recurrent_kernel[:, 2 * units :]

    def step(carry: Arrays, slices: Arrays) -> tuple[Arrays, Arrays]:
        (h,) = carry if first is None else first.begin(slices[-1], carry, (h0,))
        x_r, x_z, x_n = tf.split(slices[0], 3, axis=-1)
        if second:
            r_h, z_h, recurrent = tf.split(tf.matmul(h, recurrent_kernel) + second[0], 3, axis=-1)
        else:
            r_h, z_h = tf.split(tf.matmul(h, of_gates), 2, axis=-1)
        r, z = tf.sigmoid(x_r + r_h), tf.sigmoid(x_z + z_h)
        if not second:
            recurrent = tf.matmul(r * h, of_candidate)
        n = tf.tanh(x_n + (r * recurrent if second else recurrent))
        after = z * h + (1 - z) * n
        if mask is not None:
            after = tf.where(slices[1], after, h)
        return (after,), (r, z, n, recurrent, after)

    given = projected, mask, first and first.steps
    sequences: Arrays = tuple(each for each in given if each is not None)
    (last,), kept = scan(step, (h0,), sequences, (h0,) * 5, reverse)
    hidden = kept[-1]
    y = hidden if mask is None else tf.where(mask, hidden, tf.zeros_like(hidden))
    return y, last, kept


def backward_gru(
    scan: ScanOverTime,
    x: Tensor,
    h0: Tensor,
    own: Tensors,
    mask: Tensor | None,
    reverse: bool,
    first: FirstSteps | None,
    kept: Arrays,
    upstream: tuple[Tensor, Tensor],
) -> tuple[Tensor, ...]:
    """Return the gradients of x, of h0, and of each parameter.

    ``kept`` is what ``forward_gru`` kept. ``upstream`` holds the gradients of the outputs and of
    the final state. The other arguments are those of ``forward_gru``.
    """
    import tensorflow as tf

    kernel, recurrent_kernel, _, *second = own
    *gates, hidden = kept
    units = h0.shape[-1]
    ends = [hidden[1:], h0[None]] if reverse else [h0[None], hidden[:-1]]
    before = tf.concat(ends, axis=0)
    if first is not None:
        before = first.before(before, h0)
    of_gates, of_candidate = recurrent_kernel[:, : 2 * units], recurrent_kernel[:, 2 * units :]
    sigmoid_gradient, tanh_gradient = tf.raw_ops.SigmoidGrad, tf.raw_ops.TanhGrad

    def step(carry: Arrays, slices: Arrays) -> tuple[Arrays, Arrays]:
        dh, *of_initial = carry
        dy, r, z, n, recurrent, h = slices[:6]
        flow = dh + dy
        if mask is not None:
            # The output in padding is zero, so its gradient has no effect.
            flow = tf.where(slices[6], flow, tf.zeros_like(flow))
        d_n = tanh_gradient(y=n, dy=flow * (1 - z))
        d_z = sigmoid_gradient(y=z, dy=flow * (h - n))
        if second:
            d_r = sigmoid_gradient(y=r, dy=d_n * recurrent)
            d_recurrent = tf.concat([d_r, d_z, d_n * r], axis=-1)
            back = tf.matmul(d_recurrent, recurrent_kernel, transpose_b=True)
        else:
            d_reset = tf.matmul(d_n, of_candidate, transpose_b=True)
            d_r = sigmoid_gradient(y=r, dy=d_reset * h)
            d_both = tf.concat([d_r, d_z], axis=-1)
            back = d_reset * r + tf.matmul(d_both, of_gates, transpose_b=True)
        # In padding the state stays the same, and the gradients of the gates are zero.
        back += flow * z if mask is None else tf.where(slices[6], flow * z, dh)
        if first is None:
            return (back,), (d_r, d_z, d_n)
        passed, caught = first.cut(slices[-1], (back,), of_initial)
        return (*passed, *caught), (d_r, d_z, d_n)

    given = upstream[0], *gates, before, mask, first and first.steps
    sequences: Arrays = tuple(each for each in given if each is not None)
    carry: Arrays = (upstream[1],)
    if first is not None and first.to_initial:
        carry = (*carry, tf.zeros_like(h0))
    (dh0, *of_initial), (d_r, d_z, d_n) = scan(step, carry, sequences, (h0,) * 3, not reverse)
    if of_initial:
        dh0 += of_initial[0]
    r = gates[0]

    def flat(tensor: Tensor) -> Tensor:
        return tf.reshape(tensor, [-1, tensor.shape[-1]])

    sums = flat(tf.concat([d_r, d_z, d_n], axis=-1))
    found = [
        tf.reshape(tf.matmul(sums, kernel, transpose_b=True), tf.shape(x)),
        dh0,
        tf.matmul(flat(x), sums, transpose_a=True),
    ]
    if second:
        recurrent_sums = flat(tf.concat([d_r, d_z, d_n * r], axis=-1))
        of_kernel = tf.matmul(flat(before), recurrent_sums, transpose_a=True)
        biases = [tf.reduce_sum(sums, axis=0), tf.reduce_sum(recurrent_sums, axis=0)]
    else:
        both = tf.matmul(flat(before), sums[:, : 2 * units], transpose_a=True)
        candidate = tf.matmul(flat(r * before), flat(d_n), transpose_a=True)
        of_kernel = tf.concat([both, candidate], axis=-1)
        biases = [tf.reduce_sum(sums, axis=0)]
    return (*found, of_kernel, *biases)
