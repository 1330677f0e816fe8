"""Define loops as users write them from the equations: right ones, and some with one mistake.

They know nothing of this project. Frameworks are imported inside, so that each can be tested alone.
"""

from typing import Any

import numpy as np


def numpy_loop(x: Any, h: Any, c: Any, kernel: Any, recurrent_kernel: Any, bias: Any) -> Any:
    def sigmoid(z: Any) -> Any:
        return 0.5 + 0.5 * np.tanh(0.5 * z)

    outputs = []
    for x_t in x:
        i, f, g, o = np.split(x_t @ kernel + h @ recurrent_kernel + bias, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs), h, c


def torch_loop(x: Any, h: Any, c: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
    import torch

    outputs = []
    for x_t in x:
        z = x_t @ w_ih.T + b_ih + h @ w_hh.T + b_hh
        i, f, g, o = z.chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs), (h, c)


def jax_loop(inputs: Any, state: Any, weights: Any) -> Any:
    import jax
    import jax.numpy as jnp

    kernel, recurrent_kernel, bias = weights

    def step(carry: Any, x: Any) -> Any:
        h, c = carry
        i, f, g, o = jnp.split(x @ kernel + h @ recurrent_kernel + bias, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    state, y = jax.lax.scan(step, state, inputs)
    return y, *state


def tensorflow_loop(x: Any, h: Any, c: Any, kernel: Any, recurrent_kernel: Any, bias: Any) -> Any:
    import tensorflow as tf

    outputs = []
    for x_t in tf.unstack(x, axis=1):
        i, f, g, o = tf.split(x_t @ kernel + h @ recurrent_kernel + bias, 4, axis=-1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        h = tf.sigmoid(o) * tf.tanh(c)
        outputs.append(h)
    return tf.stack(outputs, axis=1), h, c


def numpy_gru(x: Any, h: Any, kernel: Any, recurrent_kernel: Any, bias: Any, second: Any) -> Any:
    def sigmoid(z: Any) -> Any:
        return 0.5 + 0.5 * np.tanh(0.5 * z)

    outputs = []
    for x_t in x:
        r, z, n = np.split(x_t @ kernel + bias, 3, axis=-1)
        r_h, z_h, n_h = np.split(h @ recurrent_kernel + second, 3, axis=-1)
        z = sigmoid(z + z_h)
        h = z * h + (1 - z) * np.tanh(n + sigmoid(r + r_h) * n_h)
        outputs.append(h)
    return np.stack(outputs), h


# -- the mistakes of four public reports


def scan_without_carried_gradient(
    x: Any, h: Any, c: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any
) -> Any:
    """Compute right outputs; the weights' gradients ignore the carry if it needs no gradient.

    That is what ``torch._higher_order_ops.scan`` did with closed-over weights
    (pytorch/pytorch#184528).
    """
    import torch

    carried = h.requires_grad
    outputs = []
    for x_t in x:
        if not carried:
            h, c = h.detach(), c.detach()
        i, f, g, o = (x_t @ w_ih.T + b_ih + h @ w_hh.T + b_hh).chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs), (h, c)


BLOCK = 128


def cell_of_one_block(x: Any, h: Any, c: Any, kernel: Any, recurrent_kernel: Any, bias: Any) -> Any:
    """Compute one block of 128 units, and leave the others zero.

    That is what a Triton kernel did whose grid did not depend on the hidden size
    (FlagOpen/FlagGems#5014).
    """
    outputs = []
    for x_t in x:
        _, h_new, c_new = numpy_loop(x_t[None], h, c, kernel, recurrent_kernel, bias)
        h, c = np.zeros_like(h), np.zeros_like(c)
        h[:, :BLOCK], c[:, :BLOCK] = h_new[:, :BLOCK], c_new[:, :BLOCK]
        outputs.append(h)
    return np.stack(outputs), h, c


def end_of_the_sequence(
    x: Any, h: Any, c: Any, kernel: Any, recurrent_kernel: Any, bias: Any, steps: int = 48
) -> Any:
    """Compute only the last steps, and leave the outputs of the others zero."""
    y, h, c = numpy_loop(x[-steps:], h, c, kernel, recurrent_kernel, bias)
    return np.concatenate([np.zeros((len(x) - len(y), *y.shape[1:]), y.dtype), y]), h, c


def loop_that_trains_on_its_last_step(inputs: Any, state: Any, weights: Any) -> Any:
    """Compute right outputs, but a gradient for the last step only.

    A loop whose gradient does not add up its iterations trains, badly (elixir-nx/axon#644).
    """
    import jax

    before = jax_loop(inputs[:-1], state, weights)
    y, h, c = jax.tree.map(jax.lax.stop_gradient, before)
    last, h, c = jax_loop(inputs[-1:], (h, c), weights)
    return jax.numpy.concatenate([y, last]), h, c
