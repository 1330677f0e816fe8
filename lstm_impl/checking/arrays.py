"""Call a function on the arrays of its framework, and let the framework differentiate it.

Each kind of array converts NumPy arrays to the framework's own, copies results back, and computes
gradients. A framework is imported only when its kind is first used, because an import takes seconds
and most checks need one framework.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from lstm_impl.call import Tensor
from lstm_impl.checking.layout import TargetError
from lstm_impl.spec import Array, FloatArray, LSTMSpec

Function = Callable[..., Sequence[Tensor]]
"""A function that takes tensors as positional arguments and returns a flat sequence of tensors."""


class NotDifferentiableError(Exception):
    """Report that the framework cannot differentiate a function. The message says why."""


class ArrayKind(abc.ABC):
    """Convert, call and differentiate with the arrays of one framework.

    Parameters
    ----------
    spec
        The network. Its precision decides the type of floating-point arrays.
    device
        ``cpu`` or ``gpu:0``.
    """

    name: ClassVar[str]
    differentiates: ClassVar[bool] = True

    def __init__(self, spec: LSTMSpec, device: str = "cpu") -> None:
        self.dtype, self.device = spec.precision.compute, device

    @abc.abstractmethod
    def place(self, array: Array) -> Tensor:
        """Convert a NumPy array to the framework's own, with floats in the compute type."""

    def to_numpy(self, tensor: Tensor) -> FloatArray:
        """Copy a tensor to a NumPy array. Types of 16 bits become float32."""
        found = np.array(tensor)
        return found.astype(np.float32) if found.itemsize < 4 else found

    def call(self, function: Function, arguments: Sequence[Tensor]) -> Sequence[Tensor]:
        """Call the function without recording anything for gradients."""
        return function(*arguments)

    @abc.abstractmethod
    def differentiate(
        self,
        function: Function,
        arguments: Sequence[Tensor],
        chosen: Sequence[int],
        upstream: Sequence[Tensor],
    ) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Call the function and return its results and the gradients of the chosen arguments.

        Everything stays on the device.

        Parameters
        ----------
        function, arguments
            What is called, and with which tensors.
        chosen
            The numbers of the arguments whose gradients are computed.
        upstream
            The gradient of each result, as a tensor with as many numbers as the result.

        Raises
        ------
        NotDifferentiableError
            If no result depends on an argument that is differentiated.
        """

    def gradients(
        self,
        function: Function,
        arguments: Sequence[Tensor],
        chosen: Sequence[int],
        upstream: Sequence[FloatArray],
    ) -> tuple[Sequence[Tensor], list[FloatArray]]:
        """Do what ``differentiate`` does, with upstream gradients and gradients on the host."""
        placed = [self.place(flow) for flow in upstream]
        results, found = self.differentiate(function, arguments, chosen, placed)
        return results, [self.to_numpy(each) for each in found]

    def compile(self, function: Function) -> Function:
        """Return the function as a user of the framework would compile it for repeated calls.

        The function is returned unchanged where the framework has no compiler that every user
        turns on. A function that cannot be traced is called as it is.
        """
        return function

    def synchronize(self, results: Sequence[Tensor] = ()) -> None:  # noqa: B027
        """Wait until the device has computed these results of the last call."""


class NumPyArrays(ArrayKind):
    """Use NumPy arrays, for NumPy itself and for every function that takes and returns them."""

    name = "numpy"
    differentiates = False

    def place(self, array: Array) -> Tensor:
        if np.issubdtype(array.dtype, np.integer):
            return np.array(array, np.int32, order="C")
        if self.dtype == "bfloat16":
            try:
                import ml_dtypes
            except ImportError as error:
                raise TargetError(
                    "NumPy arrays in bfloat16 need the package ml_dtypes; run pip install "
                    f"ml_dtypes ({error})"
                ) from error
            return np.array(array, ml_dtypes.bfloat16, order="C")
        return np.array(array, self.dtype, order="C")

    def to_numpy(self, tensor: Tensor) -> FloatArray:
        found = np.array(tensor)
        return (
            found.astype(np.float32) if found.dtype.kind in "Vf" and found.itemsize < 4 else found
        )

    def differentiate(
        self,
        function: Function,
        arguments: Sequence[Tensor],
        chosen: Sequence[int],
        upstream: Sequence[Tensor],
    ) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        raise NotDifferentiableError("NumPy cannot differentiate a function")


class TorchArrays(ArrayKind):
    """Use PyTorch's tensors."""

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

    def differentiate(
        self,
        function: Function,
        arguments: Sequence[Tensor],
        chosen: Sequence[int],
        upstream: Sequence[Tensor],
    ) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        import torch

        given = [each.detach() for each in arguments]
        for number in chosen:
            # `detach` returned a view, so that no weight is copied in a call.
            given[number].requires_grad_()
        results = function(*given)
        flows = [
            (result, flow.to(result.dtype).reshape(result.shape))
            for result, flow in zip(results, upstream, strict=True)
            if result.requires_grad
        ]
        if not flows:
            raise NotDifferentiableError("the results of the function do not require gradients")
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
        return results, filled

    def synchronize(self, results: Sequence[Tensor] = ()) -> None:
        if self.device.startswith("gpu"):
            import torch

            torch.cuda.synchronize()


class JaxArrays(ArrayKind):
    """Use JAX's arrays."""

    name = "jax"

    def place(self, array: Array) -> Tensor:
        import jax
        import jax.numpy as jnp

        if np.issubdtype(array.dtype, np.integer):
            return jnp.asarray(array, jnp.int32)
        if self.dtype == "float64":
            jax.config.update("jax_enable_x64", True)
        return jnp.asarray(array, getattr(jnp, self.dtype))

    def differentiate(
        self,
        function: Function,
        arguments: Sequence[Tensor],
        chosen: Sequence[int],
        upstream: Sequence[Tensor],
    ) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        import jax

        def call_with_chosen(*values: Tensor) -> tuple[Tensor, ...]:
            given = list(arguments)
            for number, value in zip(chosen, values, strict=True):
                given[number] = value
            return tuple(function(*given))

        try:
            results, pull = jax.vjp(call_with_chosen, *(arguments[number] for number in chosen))
        except (
            jax.errors.TracerArrayConversionError,
            jax.errors.ConcretizationTypeError,
        ) as error:
            raise NotDifferentiableError(str(error).splitlines()[0]) from error
        flows = tuple(
            flow.astype(result.dtype).reshape(result.shape)
            for result, flow in zip(results, upstream, strict=True)
        )
        return results, pull(flows)

    def compile(self, function: Function) -> Function:
        import jax

        compiled = jax.jit(function)

        def call(*arguments: Tensor) -> Sequence[Tensor]:
            nonlocal compiled
            try:
                found: Sequence[Tensor] = compiled(*arguments)
            except (
                jax.errors.TracerArrayConversionError,
                jax.errors.ConcretizationTypeError,
            ):
                # It reads numbers, which a function under `jax.jit` does not have.
                compiled = function
                found = function(*arguments)
            return found

        return call

    def synchronize(self, results: Sequence[Tensor] = ()) -> None:
        import jax

        jax.block_until_ready(list(results))


class TensorFlowArrays(ArrayKind):
    """Use TensorFlow's tensors, which Keras on TensorFlow takes too."""

    name = "tensorflow"

    def place(self, array: Array) -> Tensor:
        import tensorflow as tf

        if np.issubdtype(array.dtype, np.integer):
            return tf.constant(array, tf.int32)
        return tf.cast(tf.constant(np.array(array)), self.dtype)

    def differentiate(
        self,
        function: Function,
        arguments: Sequence[Tensor],
        chosen: Sequence[int],
        upstream: Sequence[Tensor],
    ) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        import tensorflow as tf

        wanted = [arguments[number] for number in chosen]
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(wanted)
            results = function(*arguments)
        flows = [
            tf.reshape(tf.cast(flow, result.dtype), tf.shape(result))
            for result, flow in zip(results, upstream, strict=True)
        ]
        try:
            found = tape.gradient(list(results), wanted, flows)
        except (LookupError, tf.errors.UnimplementedError) as error:
            raise NotDifferentiableError(str(error).splitlines()[0]) from error
        if all(each is None for each in found):
            raise NotDifferentiableError(
                "TensorFlow's tape found no path from the results to the arguments"
            )
        filled = [
            tf.zeros_like(tensor) if gradient is None else tf.convert_to_tensor(gradient)
            for tensor, gradient in zip(wanted, found, strict=True)
        ]
        return results, filled

    def synchronize(self, results: Sequence[Tensor] = ()) -> None:
        import tensorflow as tf

        tf.test.experimental.sync_devices()


KINDS: dict[str, type[ArrayKind]] = {
    kind.name: kind for kind in (NumPyArrays, TorchArrays, JaxArrays, TensorFlowArrays)
}
"""Each kind of array by its name, as ``--arrays`` takes it."""


def detect_kinds(function: object) -> list[str]:
    """Return the kinds of arrays of the frameworks that a function uses.

    The frameworks are found among the global names of the function's module. Names that the
    function itself uses decide; if it uses none, all of the module's frameworks count. NumPy is not
    reported, because modules of every framework import it. A wrapped function, such as the result
    of ``jax.jit`` or of ``functools.partial``, is unwrapped first.
    """
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    # functools.partial keeps the wrapped function under this name.
    function = getattr(function, "func", function)
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
"""The kind of array that each package works on, by the package's name."""
