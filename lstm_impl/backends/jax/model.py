"""Share what all JAX backends have in common: placing arrays, compiled steps and evidence."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

import lstm_impl.cuda as cuda
from lstm_impl.availability import Package
from lstm_impl.backend import Backend
from lstm_impl.backends.hlo import OF_XLA, ProfiledEvent, describe_hlo, instruction_kind, launches
from lstm_impl.backends.jax.framework import JAX, gpus
from lstm_impl.backends.stacking import through_layers
from lstm_impl.call import (
    Call,
    LSTMOutputs,
    Outputs,
    RawGradients,
    Request,
    Tensor,
    Tensors,
    Upstream,
)
from lstm_impl.cell import DEFAULT, Cell
from lstm_impl.evidence import Event, Evidence, Profile
from lstm_impl.model import Model, Stream, name_resets
from lstm_impl.optimizer import LEARNING_RATE, adam, adam_corrections
from lstm_impl.spec import LSTMSpec, UnsupportedError
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import OPTIMIZERS, Workload, select_differentiated


def wide(dtype: str) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which JAX computes float64 in 64 bits, not in 32."""
    if dtype != "float64":
        return contextlib.nullcontext()
    import jax

    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)  # type: ignore[no-any-return]
    from jax.experimental import enable_x64  # It was there before JAX 0.8.

    return enable_x64()  # type: ignore[no-any-return]


class JaxModel(Model):
    """Hold parameters on a device, and run compiled steps over them."""

    backend: JaxBackend

    def _open(self, weights: LSTMWeights) -> None:
        import jax

        spec, device = self.spec, self.device
        self._jax = jax
        self._device = jax.devices("cpu")[0] if device == "cpu" else gpus()[cuda.gpu_index(device)]
        self._precision: str | None = None
        if device != "cpu" and spec.dtype in ("float32", "tf32"):
            # By default, JAX computes with TF32 on a GPU.
            self._precision = "tensorfloat32" if spec.dtype == "tf32" else "highest"
        self.compute_dtype = jax.numpy.dtype(spec.precision.compute)
        self.variable_dtype = jax.numpy.dtype(spec.precision.variable)
        self.parameters: list[Tensor] = []
        self._set_weights(weights)
        self._inference_step = jax.jit(self._inference)
        # The first argument names what is differentiated, so it is part of the program.
        self._training_step = jax.jit(self._training, static_argnums=0)
        self._updating_step = jax.jit(self._updating, static_argnums=0)
        self._optimizers: dict[str, Any] = {}
        self._last: Tensor = None

    # -- for users of JAX

    def function(
        self,
        parameters: Tensors,
        x: Tensor,
        h: Tensor,
        c: Tensor,
        lengths: Tensor | None = None,
        masks: Tensor | None = None,
        *,
        resets: Tensor | None = None,
        reset_to: str = "zeros",
    ) -> LSTMOutputs:
        """Compute the outputs and the final h and c as a pure function.

        Parameters
        ----------
        parameters
            Arrays like ``model.parameters``.
        x
            The input ``[T, B, in]``, or batch-major if the model was built so.
        h, c
            The initial states ``[L*D, B, H]``.
        lengths, masks
            As in ``Model.forward``.
        resets, reset_to
            As in ``Model.forward``, but the array ``[T, B]`` is always time-major.

        Returns
        -------
        LSTMOutputs
            The outputs ``[T, B, D*H]``, and the final h and c ``[L*D, B, H]``.
        """
        self._refuse_resets(resets, reset_to)
        call = Call(x, (h, c), lengths, masks, *name_resets(resets, reset_to))
        return LSTMOutputs(*self._inference(parameters, call).flat)

    def _network(self, parameters: Tensors, call: Call) -> Outputs:
        jnp = self._jax.numpy
        parameters = self.backend.weights_for(self.compute_dtype, parameters)
        swap = self.batch_major != self.backend.batch_first
        call = call._replace(x=jnp.swapaxes(call.x, 0, 1) if swap else call.x)
        y, states = self.backend.network(self.spec, parameters, call)
        return Outputs(jnp.swapaxes(y, 0, 1) if swap else y, states)

    # -- compiled steps

    def _inference(self, parameters: Tensors, call: Call) -> Outputs:
        with self._jax.default_matmul_precision(self._precision):
            return self._network(parameters, call)

    def _training(
        self, gradients: str, parameters: Tensors, call: Call, upstream: Upstream
    ) -> tuple[Any, ...]:
        given = (call.x, *call.states)
        inputs = select_differentiated(gradients, *given)

        def forward(parameters: Tensors, *inputs: Tensor) -> Outputs:
            all_inputs = (*inputs, *given[len(inputs) :])
            own = call._replace(x=all_inputs[0], states=all_inputs[1:])
            return self._inference(parameters, own)

        outputs, pull_back = self._jax.vjp(forward, parameters, *inputs)
        weights, *of_inputs = pull_back(Outputs(*upstream))
        return outputs, of_inputs, weights

    def _updating(
        self, gradients: str, optimizer: Any, parameters: Tensors, *args: Any
    ) -> tuple[Any, Tensors, Any]:
        """Train one step and update the parameters. Adam's update is that of ``optax.adam``."""
        results = self._training(gradients, parameters, *args)
        pairs = zip(parameters, results[-1], strict=True)
        if not optimizer:
            return results, [each - LEARNING_RATE * gradient for each, gradient in pairs], ()
        step, moments = optimizer[0] + 1, optimizer[1]
        corrections = adam_corrections(step.astype(self.variable_dtype))
        updated, after = [], []
        for (parameter, gradient), (m, v) in zip(pairs, moments, strict=True):
            change, m, v = adam(gradient, m, v, corrections, self._jax.numpy.sqrt)
            updated.append(parameter + change)
            after.append((m, v))
        return results, updated, (step, after)

    def _wide(self) -> contextlib.AbstractContextManager[Any]:
        return wide(self.spec.dtype)

    # -- what Model needs

    def _to_device(self, array: npt.NDArray[np.generic]) -> Tensor:
        dtype = np.int32 if np.issubdtype(array.dtype, np.integer) else self.compute_dtype
        dtype = np.bool_ if array.dtype == np.bool_ else dtype
        return self._placed(array, dtype)

    def _placed(self, array: npt.NDArray[np.generic], dtype: Any) -> Tensor:
        with self._wide():
            # The array is copied, because on a CPU JAX may go on using the caller's memory.
            return self._jax.device_put(np.array(array, dtype=dtype), self._device)

    def _to_host(self, tensor: Tensor) -> npt.NDArray[np.generic]:
        array = np.array(tensor)
        # NumPy cannot cast the bfloat16 that JAX returns.
        return array.astype(np.float32) if self.compute_dtype.name == "bfloat16" else array

    def _infer(self, call: Call) -> Outputs:
        outputs: Outputs = self._run(Request(None, call))
        self._last = outputs.states[-1]
        return outputs

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        raw = RawGradients.of(*self._run(Request(gradients, call, upstream)))
        self._last = raw.states[-1]
        return raw

    def _start_optimizer(self, name: str) -> None:
        self._optimizers[name] = ()
        if name == "adam":
            zeros = [np.zeros(parameter.shape) for parameter in self.parameters]
            moments = [tuple(self._placed(z, self.variable_dtype) for _ in "mv") for z in zeros]
            self._optimizers[name] = (self._placed(np.array(0), np.int32), moments)

    def _train_and_update(
        self, optimizer: str, gradients: str, call: Call, upstream: Upstream
    ) -> RawGradients:
        updated = self._run(Request(gradients, call, upstream, optimizer))
        results, self.parameters, self._optimizers[optimizer] = updated
        raw = RawGradients.of(*results)
        self._last = raw.states[-1]
        return raw

    def _step(self, request: Request) -> tuple[Any, tuple[Any, ...]]:
        """Return the compiled function of a step, and its arguments."""
        gradients, call, upstream, optimizer = request
        if gradients is None:
            return self._inference_step, (self.parameters, call)
        given = (self.parameters, call, upstream)
        if optimizer is None:
            return self._training_step, (gradients, *given)
        return self._updating_step, (gradients, self._optimizers[optimizer], *given)

    def _run(self, request: Request) -> Any:
        step, arguments = self._step(request)
        with self._wide():
            return step(*arguments)

    def _lowered(self, request: Request) -> Any:
        step, arguments = self._step(request)
        with self._wide():
            return step.lower(*arguments)

    def _trace_ahead(self, request: Request) -> None:
        # JAX keeps what it traced and lowered, so that the first call only compiles it.
        self._lowered(request)

    def get_weights(self) -> LSTMWeights:
        return self._host_weights(self.parameters, gradient=False)

    def _set_weights(self, weights: LSTMWeights) -> None:
        self.parameters = [
            self._placed(array, self.variable_dtype)
            for array in self.backend.pack(self.spec, weights)
        ]

    def synchronize(self) -> None:
        # A device runs steps in order, and all results of a step are ready at the same time. So
        # waiting for the smallest result of the last step is enough. (On a CPU too, independent
        # steps took no less time than dependent ones.)
        if self._last is not None:
            self._jax.block_until_ready(self._last)

    def evidence(self, workload: Workload) -> Evidence:
        """Return what XLA compiled for the first window, and on a GPU also the kernels that ran."""
        if workload.optimizer is not None:
            self._start_optimizer(workload.optimizer)
        one = workload.first_window()
        with self._wide():
            compiled = self._lowered(Stream(self, one).request()).compile()
        details = {"device": self.device, "platform": str(self._device.platform)}
        text = compiled.as_text()
        details |= describe_hlo(text)
        started = launches(text)
        if started is not None:
            started = round(started * workload.timesteps / one.timesteps)
        kernels = None
        if self.device != "cpu":
            step = self._warmed(workload)
            kernels = profile(step.run, step.synchronize)
        return Evidence(
            "compiled HLO", kernels=kernels, details=details, launches=started, launched_by="xla"
        )

    def _profiled(self, workload: Workload) -> Profile:
        step = self._warmed(workload)
        events = timeline(record(step.run, step.synchronize))
        return Profile("JAX's profiler", tuple(events))


class JaxBackend(Backend):
    """Compute a network as a pure function of JAX arrays, which is compiled as one program."""

    framework = "jax"
    packages: ClassVar[tuple[Package, ...]] = (JAX.package,)
    gpu = JAX.gpu
    optimizers = OPTIMIZERS
    model: ClassVar[type[Model]] = JaxModel
    batch_first: ClassVar[bool] = False

    # -- what a strategy supplies

    def weights_for(self, compute_dtype: Any, parameters: Tensors) -> Tensors:
        """Convert the parameters to what ``layer`` takes, which is the type that it computes in."""
        return [each.astype(compute_dtype) for each in parameters]

    def layer(
        self,
        call: Call,
        parameters: Tensors,
        valid: Tensor,
        reverse: bool,
        cell: Cell = DEFAULT,
    ) -> Outputs:
        """Compute one direction of one layer.

        Parameters
        ----------
        call
            x ``[T, B, in]``, and states ``[B, H]`` each.
        parameters
            The kernel, the recurrent kernel, the bias, and the cell's second bias if it has one, in
            the compute type.
        valid
            Bool ``[T, B]``, or None if no step is padding.
        reverse
            Whether each sequence's valid steps are read from the last to the first.
        cell
            What a timestep computes.

        Returns
        -------
        Outputs
            The outputs ``[T, B, H]`` and the final states ``[B, H]``. Each output stands at the
            step to which it belongs, and is zero in padding.
        """
        raise UnsupportedError(f"{self.name} does not compute single layers; call network instead")

    def network(self, spec: LSTMSpec, parameters: Tensors, call: Call) -> Outputs:
        """Compute the network: outputs ``[T, B, D*H]`` and final states ``[L*D, B, H]``."""
        import jax.numpy as jnp

        valid, lengths = None, call.lengths
        size = len(parameters) // spec.state_layers
        if lengths is not None:
            valid = jnp.arange(call.x.shape[0], dtype=lengths.dtype)[:, None] < lengths[None, :]

        def layer(row: int, own: Call, reverse: bool) -> Outputs:
            part = parameters[row * size : (row + 1) * size]
            return self.layer(own, part, valid, reverse, spec.cell)

        join = functools.partial(jnp.concatenate, axis=-1)
        return through_layers(spec, call, layer, join, jnp.stack)


def first_steps(call: Call, valid: Tensor | None, reverse: bool) -> Tensor | None:
    """Return at which steps a direction starts over, bool ``[T, B]``, None without resets.

    valid: bool ``[T, B]``, or None: a reset at a step that is False changes nothing. In reverse the
    first step after a reset is the one before it in time.
    """
    import jax.numpy as jnp

    first = call.resets if call.restarts is None else call.restarts
    if first is None:
        return None
    if valid is not None:
        first = first & valid
    return jnp.concatenate([first[1:], jnp.zeros_like(first[:1])]) if reverse else first


def record(run: Callable[[], Tensor], synchronize: Callable[[], None]) -> list[ProfiledEvent]:
    """Return the events that the profiler records in one call of ``run``."""
    import jax

    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
            synchronize()
        return list(_read(Path(folder).rglob("*.xplane.pb")))


def profile(run: Callable[[], Tensor], synchronize: Callable[[], None]) -> Counter[str]:
    """Count the GPU kernels in one call of ``run``."""
    events = (each for each in record(run, synchronize) if each.plane.startswith("/device:GPU"))
    return Counter(each.name for each in events if each.line.startswith("Stream"))


def timeline(events: Iterable[ProfiledEvent]) -> list[Event]:
    """Return the GPU kernels and CPU instructions among events, with their streams and threads."""
    found = []
    for plane, line, name, start, seconds, instruction in events:
        if plane.startswith("/device:"):
            if line.startswith("Stream"):
                found.append(Event(name, start, seconds, f"{plane} {line}", instruction))
        elif instruction:
            found.append(Event(instruction_kind(instruction), start, seconds, line, instruction))
    return found


def _read(files: Iterable[Path]) -> Iterator[ProfiledEvent]:
    """Yield the events in the profiler's files."""
    from jax.profiler import ProfileData

    for file in files:
        for plane in ProfileData.from_file(str(file)).planes:
            for number, line in enumerate(plane.lines):
                # Threads may share a name, for example those of a pool, so the number tells them
                # apart.
                name = f"{line.name} {number}" if plane.name.startswith("/host:") else line.name
                for event in line.events:
                    start, seconds = event.start_ns * 1e-9, event.duration_ns * 1e-9
                    instruction = str(dict(event.stats).get(OF_XLA, ""))
                    yield ProfiledEvent(plane.name, name, event.name, start, seconds, instruction)
