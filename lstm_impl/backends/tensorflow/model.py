"""Run the variables of a TensorFlow backend on a device, on tensors or on NumPy arrays."""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import lstm_impl.cuda as cuda
from lstm_impl.backends.hlo import OF_XLA, ProfiledEvent, describe_hlo, instruction_kind, launches
from lstm_impl.call import Call, Outputs, RawGradients, Request, States, Tensor, Tensors, Upstream
from lstm_impl.evidence import Event, Evidence, Profile
from lstm_impl.model import Model, Stream, name_resets
from lstm_impl.optimizer import BETA1, BETA2, EPSILON, LEARNING_RATE
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload, select_differentiated

WARM = 5
"""The number of timesteps before a profile. A new graph creates kernels and memory in its first
run."""


class TensorFlowModel(Model):
    """Hold variables on a device, and run traced functions over them."""

    def _open(self, weights: LSTMWeights) -> None:
        import tensorflow as tf

        spec, device = self.spec, self.device
        self._tf = tf
        self.tf_device = "/CPU:0" if device == "cpu" else f"/GPU:{cuda.gpu_index(device)}"
        if tf.distribute.has_strategy():
            # Each replica has a device of its own, from which no op must be moved.
            self.tf_device = ""
        self.compute_dtype = tf.as_dtype(spec.precision.compute)
        self.variable_dtype = tf.as_dtype(spec.precision.variable)
        if device != "cpu" and spec.dtype in ("float32", "tf32"):
            tf.config.experimental.enable_tensor_float_32_execution(spec.dtype == "tf32")
        with tf.device(self.tf_device):
            self.variables = self._make_variables(weights)
        self._steps = TracedSteps(self)

    def _make_variables(self, weights: LSTMWeights) -> list[Any]:
        tf = self._tf
        return [
            tf.Variable(tf.cast(array, self.variable_dtype), name=f"lstm_{number}")
            for number, array in enumerate(self.backend.pack(self.spec, weights))
        ]

    # -- for users of TensorFlow

    def __call__(
        self,
        x: Tensor,
        state: States | None = None,
        lengths: Tensor | None = None,
        masks: Tensor | None = None,
        training: bool = True,
        *,
        resets: Tensor | None = None,
        reset_to: str = "zeros",
    ) -> tuple[Tensor, States]:
        """Compute the outputs and the final states of tensors, differentiably.

        Under XLA, the forward and the backward pass are compiled separately, because a compiled
        loop cannot be differentiated from outside. The backward pass then computes the forward pass
        again.

        Parameters
        ----------
        x
            The input ``[T, B, in]``, or batch-major if the model was built so.
        state
            The states ``(h, c)``, ``[L*D, B, H]`` each, or None for zeros.
        lengths, masks
            As in ``Model.forward``.
        training
            Whether a backend that has an inference mode of its own uses its training mode.
        resets, reset_to
            As in ``Model.forward``, but the tensor ``[T, B]`` is always time-major.

        Returns
        -------
        tuple
            The outputs ``[T, B, D*H]``, and the final states.
        """
        tf = self._tf
        x = tf.convert_to_tensor(x, self.compute_dtype)
        if state is None:
            batch = tf.shape(x)[0 if self.batch_major else 1]
            zeros = tf.zeros(
                [self.spec.state_layers, batch, self.spec.hidden_size], self.compute_dtype
            )
            state = (zeros,) * len(self.spec.cell.states)
        self._refuse_resets(resets, reset_to)
        call = Call(x, tuple(state), lengths, masks, *name_resets(resets, reset_to))
        found = self._compiled(call) if self.backend.xla else self.network(call, training)
        return found.y, found.states

    def _compiled(self, call: Call) -> Outputs:
        tf = self._tf

        @tf.custom_gradient
        def compiled(x: Tensor, *states: Tensor) -> tuple[Any, Callable[..., Any]]:
            # Outside a graph, the user's tape would record the compiled loop, which cannot be
            # differentiated from there. init_scope pauses the tape.
            with tf.init_scope() if tf.executing_eagerly() else contextlib.nullcontext():
                outputs = self._infer(call._replace(x=x, states=states))

            def backward(dy: Tensor, *dstates: Tensor, variables: Tensors | None = None) -> Any:
                own = call._replace(x=x, states=states)
                raw = self._train("all", own, Upstream(dy, dstates))
                of_inputs = [raw.dx, *(raw.dstates or ())]
                by_variable = {
                    id(variable): gradient
                    for variable, gradient in zip(self.variables, raw.weights, strict=True)
                }
                return of_inputs, [by_variable[id(variable)] for variable in variables or ()]

            return outputs.flat, backward

        return Outputs.from_flat(compiled(call.x, *call.states))

    def network(self, call: Call, training: bool) -> Outputs:
        """Add the ops that compute the outputs, in the model's layout, and the final states."""
        tf = self._tf
        with tf.device(self.tf_device):
            parameters = self._values()  # They are read once, and not in every iteration of a loop.
            if self.batch_major:
                call = call._replace(x=tf.transpose(call.x, [1, 0, 2]))
            y, states = self.backend.stack(self.spec, call, parameters, training)
            return Outputs(tf.transpose(y, [1, 0, 2]) if self.batch_major else y, states)

    def _values(self) -> Tensors:
        """Return the values of the variables in the compute type."""
        tf = self._tf
        return [tf.cast(tf.convert_to_tensor(each), self.compute_dtype) for each in self.variables]

    # -- what Model needs

    def _to_device(self, array: npt.NDArray[np.generic]) -> Tensor:
        tf = self._tf
        with tf.device(self.tf_device):
            if array.dtype == np.bool_:
                return tf.identity(tf.constant(array))
            if np.issubdtype(array.dtype, np.integer):
                return tf.constant(array, tf.int32)
            # Without identity, a constant made on the host may stay there until an op moves it.
            return tf.identity(tf.cast(tf.constant(array), self.compute_dtype))

    def _to_host(self, tensor: Tensor) -> npt.NDArray[np.generic]:
        return np.asarray(tensor.numpy())

    def _infer(self, call: Call) -> Outputs:
        return Outputs(*self._steps.run(Request(None, call)))

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        return RawGradients.of(*self._steps.run(Request(gradients, call, upstream)))

    def _start_optimizer(self, name: str) -> None:
        self._steps.start(name)

    def _train_and_update(
        self, optimizer: str, gradients: str, call: Call, upstream: Upstream
    ) -> RawGradients:
        return RawGradients.of(*self._steps.run(Request(gradients, call, upstream, optimizer)))

    def _trace_ahead(self, request: Request) -> None:
        self._steps.trace(request)

    def evidence(self, workload: Workload) -> Evidence:
        """Return the profiled ops and kernels of one step, and what XLA compiled."""
        one = workload.first_window()
        step = self._warmed(one)
        found = profile(step.run, step.synchronize)
        times = workload.timesteps / one.timesteps  # The profiler saw only one window.
        if not self.backend.xla:
            started = round(times * self._started(one, found))
            return replace(found, launches=started, launched_by="tensorflow")
        text = self._steps.optimized_hlo(Stream(self, one).request())
        kernels = launches(text)
        return replace(
            found,
            details={**found.details, "hlo": describe_hlo(text)},
            launches=None if kernels is None else round(times * kernels),
            launched_by="xla",
        )

    def _started(self, one: Workload, found: Evidence) -> float:
        """Return how many ops a step on one window starts. For a long loop, it is extrapolated."""
        if not self.backend.dynamic:  # An unrolled graph runs each op once in a call.
            return (found.ops or Counter()).total()
        new = TracedSteps(self)
        self._first(new, one, WARM)()  # This transfers what a step transfers only once.
        long = min(one.timesteps, RECORDED_RUNS // 2)
        short = max(1, long // 2)
        counts = {
            steps: (profile(run, self.synchronize).ops or Counter()).total()
            for steps, run in ((each, self._first(new, one, each)) for each in (short, long))
        }
        each = (counts[long] - counts[short]) / max(1, long - short)
        return counts[long] + (one.timesteps - long) * each

    def _first(self, steps: TracedSteps, one: Workload, timesteps: int) -> Callable[[], Tensor]:
        """Return the first step on a shorter window, with these graphs and without an update."""
        length = None if one.min_length is None else min(one.min_length, timesteps)
        short = replace(one, timesteps=timesteps, min_length=length, optimizer=None)
        request = Stream(self, short).request()
        return lambda: steps.run(request)

    def _profiled(self, workload: Workload) -> Profile:
        one = workload.first_window()
        timesteps = one.timesteps
        if self.backend.xla or not self.backend.dynamic:
            run: Callable[[], Tensor] = self._warmed(one).run
        else:
            new = TracedSteps(self)
            timesteps = min(one.timesteps, RECORDED_RUNS - WARM)
            self._first(new, one, WARM)()
            run = self._first(new, one, timesteps)
        events = timeline(record(run, self.synchronize))
        part = timesteps / workload.timesteps
        note = "" if part == 1 else f", {timesteps} of {workload.timesteps} timesteps"
        return Profile(f"TensorFlow's profiler{note}", tuple(events), part)

    def get_weights(self) -> LSTMWeights:
        return self._host_weights(self.variables, gradient=False)

    def _set_weights(self, weights: LSTMWeights) -> None:
        tf = self._tf
        for variable, array in zip(
            self.variables, self.backend.pack(self.spec, weights), strict=True
        ):
            variable.assign(tf.cast(array, self.variable_dtype))

    def synchronize(self) -> None:
        self._tf.test.experimental.sync_devices()


# -- traced steps

_numbers = itertools.count()


class TracedSteps:
    """Keep the steps of one model, and trace each when it is first needed."""

    def __init__(self, model: TensorFlowModel) -> None:
        import tensorflow as tf

        self._tf = tf
        self._model = model
        self._functions: dict[tuple[Any, ...], Any] = {}
        self._optimizers: dict[str, Optimizer] = {}

    def start(self, optimizer: str) -> None:
        """Create an optimizer of the model's variables, or restart it."""
        with self._tf.device(self._model.tf_device):
            if optimizer not in self._optimizers:
                self._optimizers[optimizer] = Optimizer(optimizer, self._model.variables)
            self._optimizers[optimizer].restart()

    def run(self, request: Request) -> Any:
        """Run a step. Return outputs, or the arguments of ``RawGradients.of``."""
        with self._tf.device(self._model.tf_device):
            return self._function(request)(*self._arguments(request))

    def trace(self, request: Request) -> Any:
        """Trace a step without running it, and return its concrete function."""
        with self._tf.device(self._model.tf_device):
            return self._function(request).get_concrete_function(*self._arguments(request))

    def optimized_hlo(self, request: Request) -> str:
        """Return the text of what XLA compiles a step to."""
        with self._tf.device(self._model.tf_device):
            ir = self._function(request).experimental_get_compiler_ir(*self._arguments(request))
            return str(ir(stage="optimized_hlo"))

    def count(self) -> int:
        """Return the number of graphs that have been traced so far."""
        return sum(each.experimental_get_tracing_count() for each in self._functions.values())

    # -- what is traced

    def train(self, gradients: str, call: Call, upstream: Upstream) -> tuple[Any, ...]:
        """Add ops for the outputs and for the requested gradients."""
        tf, model = self._tf, self._model
        inputs = select_differentiated(gradients, call.x, *call.states)
        with tf.device(model.tf_device), tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = model.network(call, training=True)
        # Hand-written gradients and those of loops have ops for all inputs. TensorFlow prunes the
        # ops of an input that is not requested, even in a loop.
        sources, zero = [inputs, model.variables], tf.UnconnectedGradients.ZERO
        flowing = list(upstream.flat)
        of_inputs, of_weights = tape.gradient(list(outputs.flat), sources, flowing, zero)
        return outputs, of_inputs, of_weights

    def _train_and_update(
        self, optimizer: Optimizer, gradients: str, call: Call, upstream: Upstream
    ) -> tuple[Any, ...]:
        results = self.train(gradients, call, upstream)
        with self._tf.device(self._model.tf_device):
            optimizer.apply(results[-1])
        return results

    # -- tracing

    def _function(self, request: Request) -> Any:
        gradients, call, _, optimizer = request
        model, backend = self._model, self._model.backend
        optional = tuple(each is not None for each in call[2:])
        batch = call.x.shape[0 if model.batch_major else 1]
        sizes = (batch,) if backend.dynamic else tuple(call.x.shape)
        key = (gradients, *optional, optimizer, *sizes)
        if key not in self._functions:
            training = call.masks is not None
            body: Callable[..., Any] = functools.partial(model.network, training=training)
            if gradients is not None:
                body = functools.partial(self.train, gradients)
                if optimizer is not None:
                    started = self._optimizers[optimizer]
                    body = functools.partial(self._train_and_update, started, gradients)

            states = model.spec.cell.states

            def step(call: dict[str, Tensor], *upstream: Tensor) -> Any:
                flowing = (Upstream(upstream[0], upstream[1:]),) if upstream else ()
                return body(Call.from_names(states, **call), *flowing)

            # The name appears in profiles. It also gives the function a code object of its own.
            # Without that, TensorFlow would warn about retracing when many models are built.
            kind = optimizer or ("infer" if gradients is None else "train")
            name = f"{backend.name}_{kind}_{next(_numbers)}"
            step.__code__ = step.__code__.replace(co_name=re.sub(r"\W", "_", name))
            signature = self._signature(batch, optional, gradients is not None)
            self._functions[key] = self._tf.function(
                step,
                input_signature=signature if backend.dynamic else None,
                jit_compile=True if backend.xla else None,
                autograph=False,
            )
        return self._functions[key]

    def _arguments(self, request: Request) -> tuple[Any, ...]:
        """Return the call by name, because a signature has no None, and the upstream gradients."""
        upstream = () if request.upstream is None else request.upstream.flat
        return request.call.by_name(self._model.spec.cell.states), *upstream

    def _signature(self, batch: int, optional: Sequence[bool], training: bool) -> list[Any]:
        """Return the signature of ``_arguments``.

        optional: for each field of a call from ``lengths`` on, whether it is given.
        """
        tf, model, spec = self._tf, self._model, self._model.spec
        outer = [batch, None] if model.batch_major else [None, batch]

        def sequence(features: int) -> Any:
            return tf.TensorSpec([*outer, features], model.compute_dtype)

        state = tf.TensorSpec([spec.state_layers, batch, spec.hidden_size], model.compute_dtype)
        states = dict.fromkeys(spec.cell.states, state)
        call = {"x": sequence(spec.input_size), **states}
        between = [spec.num_layers - 1, None, batch, spec.output_size]
        at_steps = tf.TensorSpec([None, batch], tf.bool)
        specs = {
            "lengths": tf.TensorSpec([batch], tf.int32),
            "masks": tf.TensorSpec(between, model.compute_dtype),
            "resets": at_steps,
            "restarts": at_steps,
        }
        pairs = zip(specs.items(), optional, strict=True)
        call |= {name: each for (name, each), is_given in pairs if is_given}
        upstream = [sequence(spec.output_size), *states.values()] if training else []
        return [call, *upstream]


class Optimizer:
    """Update with TensorFlow's ops ``ResourceApplyGradientDescent`` and ``ResourceApplyAdam``."""

    def __init__(self, name: str, variables: Sequence[Any]) -> None:
        import tensorflow as tf

        self._tf = tf
        self._name = name
        self._variables = variables
        self._moments: list[tuple[Any, Any]] = []
        if name == "adam":
            # The step has 64 bits, because TensorFlow keeps 32-bit integers of a GPU's graph on the
            # host.
            self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
            self._moments = [
                (tf.Variable(zeros, trainable=False), tf.Variable(zeros, trainable=False))
                for zeros in map(tf.zeros_like, variables)
            ]

    def restart(self) -> None:
        """Set the moments and the number of steps to zero."""
        if self._moments:
            self._step.assign(0)
        for each in itertools.chain.from_iterable(self._moments):
            each.assign(self._tf.zeros_like(each))

    def apply(self, gradients: Tensors) -> None:
        """Update the variables. Call this once in a graph."""
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


CUDNN_KERNEL = re.compile(r"cudnn|LSTM_elementWise|elemWiseRNN|persistRNN|RNN_blockPersist", re.I)
"""Names by which cuDNN's recurrent kernels are recognised in a profile."""

EAGER = "EagerLocalExecute: "
"""The prefix of an event in which TensorFlow runs an op outside a graph."""

RECORDED_RUNS = 80
"""The number of runs of a graph's op that are all recorded. TensorFlow's profiler leaves out cheap
ops. Its estimate of a new op's cost begins at 1e8 cycles and moves by a tenth in each run, so that
it falls below the limit of 8,000 cycles after 90 runs."""

WAIT = "SyncDevice"
"""The op that waits for a step. It is not part of the step."""


def record(run: Callable[[], Tensor], synchronize: Callable[[], None]) -> list[ProfiledEvent]:
    """Return the events that the profiler records in one call of ``run``, which has run before."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        try:
            run()
            synchronize()
        finally:
            tf.profiler.experimental.stop()
        return [each for path in Path(folder).rglob("*.xplane.pb") for each in _read(path)]


def profile(run: Callable[[], Tensor], synchronize: Callable[[], None]) -> Evidence:
    """Count the ops and kernels in one call of ``run``, which has run before.

    ``devices`` in the evidence are the profiler's planes that ran something.
    """
    return summarise(each[:3] for each in record(run, synchronize))


def _read(path: Path) -> Iterator[ProfiledEvent]:
    """Yield the events in one of the profiler's files."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space: Any = xplane_pb2.XSpace()
    space.ParseFromString(path.read_bytes())
    for plane in space.planes:
        of_xla = {key for key, stat in plane.stat_metadata.items() if stat.name == OF_XLA}
        for line in plane.lines:
            track = line.display_name or line.name
            # Threads may share a name, for example those of a pool, so the number tells them apart.
            track = f"{track} {line.id}" if plane.name.startswith("/host:") else track
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                start = line.timestamp_ns * 1e-9 + event.offset_ps * 1e-12
                rest = event.duration_ps * 1e-12, _stat(plane, event, of_xla)
                yield ProfiledEvent(plane.name, track, name, start, *rest)


def _stat(plane: Any, event: Any, keys: Collection[int]) -> str:
    """Return the text of the first of an event's stats that has one of these keys, or nothing."""
    for stat in event.stats if keys else ():
        if stat.metadata_id in keys:
            return stat.str_value or str(plane.stat_metadata[stat.ref_value].name)
    return ""


def summarise(events: Iterable[tuple[str, str, str]]) -> Evidence:
    """Count op types on the host and kernels on each device."""
    ops: Counter[str] = Counter()
    kernels: Counter[str] = Counter()
    devices = set()
    for plane, line, name in events:
        if plane.startswith("/device:"):
            devices.add(plane)
        if _is_kernel(plane, line):
            kernels[name] += 1
        elif kind := _op(plane, name):
            devices.add(plane)
            ops[kind] += 1
    cudnn = any(CUDNN_KERNEL.search(name) for name in kernels)
    details = {"devices": sorted(devices), "cudnn": cudnn}
    return Evidence("tensorflow profiler", ops, kernels, details)


def timeline(events: Iterable[ProfiledEvent]) -> list[Event]:
    """Return the ops, XLA's instructions and kernels, each with its thread or stream."""
    found = []
    for plane, line, name, start, seconds, instruction in events:
        if _is_kernel(plane, line):
            found.append(Event(name, start, seconds, f"{plane} {line}"))
        elif kind := _op(plane, name):
            found.append(Event(kind, start, seconds, line, name))
        elif instruction:
            found.append(Event(instruction_kind(instruction), start, seconds, line, instruction))
    return found


def _is_kernel(plane: str, line: str) -> bool:
    """Return whether an event on this line is a kernel."""
    # The other lines of a device repeat the kernels, grouped by op, module or step.
    return plane.startswith("/device:") and line.startswith("Stream")


def _op(plane: str, name: str) -> str:
    """Return the type of the op of a host event, or an empty string if the event is no op."""
    if plane.startswith("/device:"):
        return ""
    _, colon, kind = name.rpartition(":")
    if name.startswith(EAGER):
        colon, kind = ":", name.removeprefix(EAGER)
    is_op = (
        colon and kind != WAIT and re.fullmatch(r"_?[A-Z][A-Za-z0-9_]*", kind) and "::" not in name
    )
    return kind if is_op else ""
