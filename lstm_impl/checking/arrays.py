"""Call a function on the arrays of its framework, and differentiate it there.

Each kind of array places NumPy's arrays, copies results back and lets the framework differentiate.
A framework is imported when a kind is first used.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from lstm_impl.call import Tensor
from lstm_impl.spec import Array, FloatArray, LSTMSpec

Function = Callable[..., Sequence[Tensor]]
"""Takes tensors, one after the other, and returns a flat sequence of tensors."""


class NotDifferentiableError(Exception):
    """The framework has no gradient of a function; the message says why."""


class ArrayKind(abc.ABC):
    """The arrays of one framework."""

    name: ClassVar[str]
    differentiates: ClassVar[bool] = True

    def __init__(self, spec: LSTMSpec, device: str = "cpu") -> None:
        self.dtype, self.device = spec.precision.compute, device

    @abc.abstractmethod
    def place(self, array: Array) -> Tensor:
        """Return the array as the framework's own, floats in the compute type."""

    def to_numpy(self, tensor: Tensor) -> FloatArray:
        """Return a copy of a tensor of numbers, bfloat16 as float32."""
        found = np.array(tensor)
        return found.astype(np.float32) if found.itemsize < 4 else found

    def call(self, function: Function, arguments: Sequence[Tensor]) -> Sequence[Tensor]:
        """Call the function without gradients."""
        return function(*arguments)

    @abc.abstractmethod
    def gradients(
        self,
        function: Function,
        arguments: Sequence[Tensor],
        chosen: Sequence[int],
        upstream: Sequence[FloatArray],
    ) -> tuple[Sequence[Tensor], list[FloatArray]]:
        """Return the results of a call, and gradients of the chosen arguments.

        chosen: the numbers of the arguments to differentiate. upstream: the gradient of each
        result.

        Raises NotDifferentiableError if no result depends on an argument that is differentiated.
        """

    def synchronize(self) -> None:  # noqa: B027
        """Wait for the device."""


class NumPyArrays(ArrayKind):
    """NumPy's arrays, and whatever takes and returns them."""

    name = "numpy"
    differentiates = False

    def place(self, array: Array) -> Tensor:
        if np.issubdtype(array.dtype, np.integer):
            return np.array(array, np.int32, order="C")
        if self.dtype == "bfloat16":
            import ml_dtypes

            return np.array(array, ml_dtypes.bfloat16, order="C")
        return np.array(array, self.dtype, order="C")

    def to_numpy(self, tensor: Tensor) -> FloatArray:
        found = np.array(tensor)
        return (
            found.astype(np.float32) if found.dtype.kind in "Vf" and found.itemsize < 4 else found
        )

    def gradients(
        self,
        function: Function,
        arguments: Sequence[Tensor],
        chosen: Sequence[int],
        upstream: Sequence[FloatArray],
    ) -> tuple[Sequence[Tensor], list[FloatArray]]:
        raise NotDifferentiableError("NumPy differentiates nothing")


class TorchArrays(ArrayKind):
    """PyTorch's tensors."""

    name = "torch"

    def place(self, array: Array) -> Tensor:
        import torch

        device = torch.device("cuda" if self.device.startswith("gpu") else "cpu")
        if np.issubdtype(array.dtype, np.integer):
            return torch.tensor(array, dtype=torch.int64, device=device)
        placed = torch.tensor(np.array(array, order="C"), device=device)
        return placed.to(getattr(torch, self.dtype))

    def to_numpy(self, tensor: Tensor) -> FloatArray:
        tensor = tensor.detach().cpu()
        small = tensor.element_size() < 4 and tensor.is_floating_point()
        return np.array((tensor.float() if small else tensor).numpy())

    def call(self, function: Function, arguments: Sequence[Tensor]) -> Sequence[Tensor]:
        import torch

        with torch.no_grad():
            return function(*arguments)

    def gradients(
        self,
        function: Function,
        arguments: Sequence[Tensor],
        chosen: Sequence[int],
        upstream: Sequence[FloatArray],
    ) -> tuple[Sequence[Tensor], list[FloatArray]]:
        import torch

        given = [each.detach() for each in arguments]
        for number in chosen:
            given[number] = given[number].clone().requires_grad_()
        results = function(*given)
        flows = [
            (result, self.place(flow).to(result.dtype).reshape(result.shape))
            for result, flow in zip(results, upstream, strict=True)
            if result.requires_grad
        ]
        if not flows:
            raise NotDifferentiableError("its results do not require gradients")
        wanted = [given[number] for number in chosen]
        try:
            found = torch.autograd.grad(
                [result for result, _ in flows],
                wanted,
                [flow for _, flow in flows],
                allow_unused=True,
            )
        except NotImplementedError as error:
            raise NotDifferentiableError(str(error)) from error
        filled = [
            torch.zeros_like(tensor) if gradient is None else gradient
            for tensor, gradient in zip(wanted, found, strict=True)
        ]
        return results, [self.to_numpy(each) for each in filled]

    def synchronize(self) -> None:
        if self.device.startswith("gpu"):
            import torch

            torch.cuda.synchronize()


class JaxArrays(ArrayKind):
    """JAX's arrays."""

    name = "jax"

    def place(self, array: Array) -> Tensor:
        import jax
        import jax.numpy as jnp

        if np.issubdtype(array.dtype, np.integer):
            return jnp.asarray(array, jnp.int32)
        if self.dtype == "float64":
            jax.config.update("jax_enable_x64", True)
        return jnp.asarray(array, getattr(jnp, self.dtype))

    def gradients(
        self,
        function: Function,
        arguments: Sequence[Tensor],
        chosen: Sequence[int],
        upstream: Sequence[FloatArray],
    ) -> tuple[Sequence[Tensor], list[FloatArray]]:
        import jax

        def of_chosen(*values: Tensor) -> tuple[Tensor, ...]:
            given = list(arguments)
            for number, value in zip(chosen, values, strict=True):
                given[number] = value
            return tuple(function(*given))

        try:
            results, pull = jax.vjp(of_chosen, *(arguments[number] for number in chosen))
        except (
            jax.errors.TracerArrayConversionError,
            jax.errors.ConcretizationTypeError,
        ) as error:
            raise NotDifferentiableError(str(error).splitlines()[0]) from error
        flows = tuple(
            self.place(flow).astype(result.dtype).reshape(result.shape)
            for result, flow in zip(results, upstream, strict=True)
        )
        return results, [self.to_numpy(each) for each in pull(flows)]

    def synchronize(self) -> None:
        """JAX's results are waited for when they are copied."""


class TensorFlowArrays(ArrayKind):
    """TensorFlow's tensors, and Keras's on TensorFlow."""

    name = "tensorflow"

    def place(self, array: Array) -> Tensor:
        import tensorflow as tf

        if np.issubdtype(array.dtype, np.integer):
            return tf.constant(array, tf.int32)
        return tf.cast(tf.constant(np.array(array)), self.dtype)

    def gradients(
        self,
        function: Function,
        arguments: Sequence[Tensor],
        chosen: Sequence[int],
        upstream: Sequence[FloatArray],
    ) -> tuple[Sequence[Tensor], list[FloatArray]]:
        import tensorflow as tf

        wanted = [arguments[number] for number in chosen]
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(wanted)
            results = function(*arguments)
        flows = [
            tf.reshape(tf.cast(self.place(flow), result.dtype), tf.shape(result))
            for result, flow in zip(results, upstream, strict=True)
        ]
        try:
            found = tape.gradient(list(results), wanted, flows)
        except (LookupError, tf.errors.UnimplementedError) as error:
            raise NotDifferentiableError(str(error).splitlines()[0]) from error
        if all(each is None for each in found):
            raise NotDifferentiableError("no result depends on an argument in TensorFlow's tape")
        filled = [
            tf.zeros_like(tensor) if gradient is None else tf.convert_to_tensor(gradient)
            for tensor, gradient in zip(wanted, found, strict=True)
        ]
        return results, [self.to_numpy(each) for each in filled]


KINDS: dict[str, type[ArrayKind]] = {
    kind.name: kind for kind in (NumPyArrays, TorchArrays, JaxArrays, TensorFlowArrays)
}
"""The kinds of arrays by name."""


def detect_kinds(function: object) -> list[str]:
    """Return the frameworks whose modules a function's own module uses, NumPy left out.

    A function that is wrapped, such as one that ``jax.jit`` compiled, is looked through.
    """
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    function = getattr(function, "func", function)  # of functools.partial
    code, scope = getattr(function, "__code__", None), getattr(function, "__globals__", None)
    if scope is None:
        caller = vars(type(function)).get("__call__")
        code, scope = getattr(caller, "__code__", None), getattr(caller, "__globals__", {})
    owners = {
        name: str(
            getattr(value, "__name__", "")
            if isinstance(value, _Module)
            else getattr(value, "__module__", "") or ""
        ).partition(".")[0]
        for name, value in (scope or {}).items()
    }
    owners = {name: _FRAMEWORKS[each] for name, each in owners.items() if each in _FRAMEWORKS}
    named = set(getattr(code, "co_names", ())) | set(getattr(code, "co_freevars", ()))
    used = {kind for name, kind in owners.items() if name in named}
    return sorted(used or set(owners.values()))


_Module = type(abc)

_FRAMEWORKS = {
    "torch": "torch",
    "triton": "torch",
    "jax": "jax",
    "flax": "jax",
    "tensorflow": "tensorflow",
    "keras": "tensorflow",
    "tf_keras": "tensorflow",
}
"""The kind of arrays of each package."""
