"""Run ``jax_fused_cpu``: the kernels of ``fused_cpu`` as custom calls of XLA, on a CPU.

Forward is one call for all steps, backward another for dz, the state's gradients and the weights',
and a third for the input's, which XLA drops where nobody uses it. A second gradient is that of
``jax.lax.scan``. Under ``vmap`` a forward call takes the examples as one batch where they share the
weights; all other calls are made one by one.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import lstm_impl.backends.fused_cpu.library as fused_cpu_library
from lstm_impl.availability import Availability
from lstm_impl.backends.jax.model import JaxBackend
from lstm_impl.backends.jax.scan import scanned
from lstm_impl.call import Call, Outputs, Tensor, Tensors
from lstm_impl.spec import LSTMSpec, UnsupportedError
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload

COMPUTES = ("float32", "bfloat16")
"""Types of what is read, written and kept; the sums are in float32 with both."""

FORWARD, BACKWARD, INPUT_GRADIENT = (
    f"lstm_impl_{name}" for name in ("forward", "backward", "input_gradient")
)


class JaxFusedCpu(JaxBackend):
    """``fused_layer`` for each layer and direction."""

    strategy = "jax_fused_cpu"
    summary = "the kernels of fused_cpu in JAX, compiled on first use"
    devices = ("cpu",)
    each_length_anew = True

    def tools(self, device: str) -> Availability:
        return fused_cpu_library.jax_availability()

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if spec.precision.compute not in COMPUTES:
            return f"its kernels know {' and '.join(COMPUTES)}, not {spec.precision.compute}"
        return super().refusal(spec, workload)

    def missing_evidence(self, evidence: Mapping[str, Any], device: str) -> str:
        if FORWARD in evidence.get("custom_calls", {}):
            return ""
        return "XLA compiled no custom call of the kernels"

    def _build(self, spec: LSTMSpec, weights: LSTMWeights, device: str, batch_major: bool) -> Any:
        fused_cpu_library.load_for_jax()  # compiled now, not in the first call
        return super()._build(spec, weights, device, batch_major)

    def layer(self, call: Call, parameters: Tensors, reverse: bool) -> Outputs:
        import jax.numpy as jnp

        x, h, c, lengths, _ = call
        valid = jnp.zeros([0, 0], bool)
        if lengths is not None:
            valid = jnp.arange(x.shape[0], dtype=lengths.dtype)[:, None] < lengths[None, :]
        return Outputs(*_functions()(x, h, c, *parameters, valid, reverse))


def fused_layer(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor,
    valid: Tensor | None = None,
    *,
    reverse: bool = False,
) -> Outputs:
    """Compute one direction of one LSTM layer on a CPU; ``jit``, ``grad`` and ``vmap`` apply.

    Parameters
    ----------
    x : jax.Array
        Input ``[T, B, in]``, float32 or bfloat16, as are all arrays but ``valid``.
    h, c : jax.Array
        Initial state ``[B, H]``.
    kernel, recurrent_kernel, bias : jax.Array
        ``[in, 4H]``, ``[H, 4H]`` and ``[4H]``, gates in the order i, f, g, o.
    valid : jax.Array, optional
        Bool ``[T, B]``: a step that is False keeps the state, and its output is zero.
    reverse : bool
        Whether steps are read from the last to the first; outputs stand at the step they belong to.

    Returns
    -------
    Outputs
        y ``[T, B, H]``, h and c ``[B, H]``.

    Raises
    ------
    UnavailableError
        If the kernels cannot be compiled here.
    UnsupportedError
        If the arrays are neither float32 nor bfloat16.
    """
    import jax.numpy as jnp

    if str(x.dtype) not in COMPUTES:
        raise UnsupportedError(f"fused_layer: x is {x.dtype}; expected {' or '.join(COMPUTES)}")
    valid = jnp.zeros([0, 0], bool) if valid is None else valid
    return Outputs(*_functions()(x, h, c, kernel, recurrent_kernel, bias, valid, reverse))


@functools.cache
def _functions() -> Any:
    """Register the custom calls and return the layer as a function of JAX arrays."""
    import jax
    import jax.numpy as jnp

    library = fused_cpu_library.load_for_jax()
    lanes = int(library.lstm_impl_lanes())
    for name in (FORWARD, BACKWARD, INPUT_GRADIENT):
        handler = jax.ffi.pycapsule(getattr(library, name))
        jax.ffi.register_ffi_target(name, handler, platform="cpu")

    def array(shape: tuple[int, ...], dtype: Any) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype)

    def sizes(x: Tensor, recurrent_kernel: Tensor) -> tuple[int, int, int, int]:
        units = recurrent_kernel.shape[0]
        return x.shape[0], x.shape[1], units, -(-units // lanes)

    def call_forward(reverse: bool, keep: bool, *given: Tensor) -> list[Tensor]:
        x, _, _, _, recurrent_kernel, _, valid = given
        timesteps, batch, units, blocks = sizes(x, recurrent_kernel)
        kept = (blocks, timesteps, batch) if keep else (0, 0, 0)
        hidden = (timesteps, batch, units) if keep and valid.size else (0, 0, 0)
        shapes = [
            *((timesteps, batch, units), (batch, units), (batch, units)),
            *((*kept, 4 * lanes), (*kept, lanes), hidden),
        ]
        results = [array(shape, x.dtype) for shape in shapes]
        made: list[Tensor] = jax.ffi.ffi_call(FORWARD, results, vmap_method="sequential")(
            *given, reverse=reverse, keep=keep
        )
        return made

    def forward(reverse: bool, keep: bool, *given: Tensor) -> list[Tensor]:
        """Call the kernels; under ``vmap``, for all examples that share the weights at once."""
        plain = functools.partial(call_forward, reverse, keep)
        batched = jax.custom_batching.custom_vmap(lambda *each: plain(*each))

        @batched.def_vmap
        def _(size: int, in_batched: list[bool], *given: Tensor) -> tuple[Any, Any]:
            if any(in_batched[3:6]):
                axes = [0 if each else None for each in in_batched]
                found = jax.vmap(plain, in_axes=axes, axis_size=size)(*given)
                return found, [True] * len(found)
            folded = list(given)
            for index, axis in ((0, 1), (1, 0), (2, 0), (6, 1)):  # x, h, c, valid: the batch's axis
                each = given[index]
                if not in_batched[index]:
                    each = jnp.broadcast_to(each, (size, *each.shape))
                folded[index] = fold(each, axis)
            made = plain(*folded)
            batch_axes = (1, 0, 0, 2, 2, 1)
            found = [unfold(each, axis, size) for each, axis in zip(made, batch_axes, strict=True)]
            return found, [True] * len(found)

        made: list[Tensor] = batched(*given)
        return made

    def fold(each: Tensor, axis: int) -> Tensor:
        """Put the examples, the first axis, into the batch, which is ``axis`` without them."""
        moved = jnp.moveaxis(each, 0, axis)
        shape = moved.shape
        return moved.reshape(*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])

    def unfold(each: Tensor, axis: int, size: int) -> Tensor:
        shape = each.shape
        split = each.reshape(*shape[:axis], size, shape[axis] // size, *shape[axis + 1 :])
        return jnp.moveaxis(split, axis, 0)

    def call_backward(reverse: bool, given: Tensors, kept: Tensors, upstream: Tensors) -> Tensors:
        x, h, c, kernel, recurrent_kernel, bias, valid = given
        y, gates, cells, hidden = kept
        results = [
            array(gates.shape, jnp.float32),
            *(array(each.shape, each.dtype) for each in (h, c, kernel, recurrent_kernel, bias)),
        ]
        read = (x, h, c, recurrent_kernel, valid, hidden if valid.size else y, gates, cells)
        dz, *rest = jax.ffi.ffi_call(BACKWARD, results, vmap_method="sequential")(
            *read, *upstream, reverse=reverse
        )
        dx = jax.ffi.ffi_call(INPUT_GRADIENT, array(x.shape, x.dtype), vmap_method="sequential")(
            kernel, dz
        )
        return dx, *rest

    def by_scan(reverse: bool, valid: Tensor, *given: Tensor) -> Tensors:
        x, h, c, *parameters = given
        steps = valid[:, :, None] if valid.size else None
        return tuple(scanned(x, (h, c), parameters, steps, False, reverse=reverse))

    def split(given: Tensors) -> tuple[Tensors, Tensor]:
        return given[:6], given[6]

    @functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
    def backward(reverse: bool, given: Tensors, kept: Tensors, upstream: Tensors) -> Tensors:
        return call_backward(reverse, given, kept, upstream)

    def backward_forward(
        reverse: bool, given: Tensors, kept: Tensors, upstream: Tensors
    ) -> tuple[Tensors, Any]:
        made = call_backward(reverse, given, kept, upstream)
        return made, (given, kept, upstream)

    def backward_backward(reverse: bool, saved: Any, cotangents: Tensors) -> tuple[Any, ...]:
        """The second gradient; what was kept is a function of what was given, and has none."""
        given, kept, upstream = saved
        floats, valid = split(given)

        def gradients(floats: Tensors, upstream: Tensors) -> Tensors:
            _, pull_back = jax.vjp(functools.partial(by_scan, reverse, valid), *floats)
            found: Tensors = pull_back(tuple(upstream))
            return found

        _, pull_back = jax.vjp(gradients, floats, upstream)
        of_floats, of_upstream = pull_back(tuple(cotangents))
        return (*of_floats, None), jax.tree.map(jnp.zeros_like, kept), of_upstream

    backward.defvjp(backward_forward, backward_backward)

    @functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
    def training(reverse: bool, *given: Tensor) -> tuple[Tensor, ...]:
        return tuple(forward(reverse, True, *given))

    def training_forward(reverse: bool, *given: Tensor) -> tuple[Any, Any]:
        made = training(reverse, *given)
        y, _, _, *kept = made
        return made, (given, (y, *kept))

    def layer_backward(reverse: bool, saved: Any, upstream: Tensors) -> tuple[Any, ...]:
        given, kept = saved
        return *backward(reverse, given, kept, tuple(upstream[:3])), None

    training.defvjp(training_forward, layer_backward)

    @functools.partial(jax.custom_vjp, nondiff_argnums=(7,))
    def layer(*given: Any) -> tuple[Tensor, ...]:
        return tuple(forward(given[7], False, *given[:7])[:3])

    def layer_forward(*given: Any) -> tuple[Any, Any]:
        made, saved = training_forward(given[7], *given[:7])
        return made[:3], saved

    layer.defvjp(layer_forward, layer_backward)
    return layer
