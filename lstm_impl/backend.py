"""What a backend is, and how one is found.

A backend must: take canonical weights; compute the outputs and final state of ``reference.py`` from
an input, an initial state and lengths, and every gradient of them; carry its state from call to
call; say whether it is available on a device, and if not why and what to install; and refuse, with
the reason, what it cannot do. One that trains may update its weights too. ``Backend`` is the way of
computing, with its options; ``Model`` is that way applied to one spec with weights on a device.

No framework is imported here, nor by any backend's file before its ``availability`` or ``build`` is
called: listing backends is instant, and each works where the others are not installed.
"""

from __future__ import annotations

import abc
import difflib
import importlib
import importlib.metadata
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from lstm_impl.spec import FloatArray, LSTMSpec, UnsupportedError
from lstm_impl.state import LSTMGradients, LSTMState
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload, differentiated

Tensor = Any  # a framework's own tensor; no one type covers all frameworks


class UnavailableError(UnsupportedError):
    """A backend or device is not there on this machine; the message says what to do about it."""


@dataclass(frozen=True)
class Availability:
    """Whether a backend can run on a device here.

    reason: empty if it can, else why not, in words a user can act on.
    install: the command that would make it available, or empty.
    """

    ok: bool
    reason: str = ""
    install: str = ""

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        if self.ok:
            return "available"
        return f"{self.reason}: {self.install}" if self.install else self.reason


AVAILABLE = Availability(True)


@dataclass(frozen=True)
class RawGradients:
    """A training step's results, still on the device, in the backend's own arrays.

    dx, dh, dc: None where they were not asked for. weights is whatever ``Model._host_weights``
    turns into canonical weights.
    """

    y: Tensor
    h: Tensor
    c: Tensor
    dx: Tensor
    dh: Tensor
    dc: Tensor
    weights: Any

    @classmethod
    def of(cls, outputs: Sequence[Tensor], inputs: Sequence[Tensor], weights: Any) -> RawGradients:
        """From y, h and c, and the gradients of what ``differentiated`` gave: the first 0 to 3."""
        y, h, c = outputs
        dx, dh, dc = (*inputs, None, None, None)[:3]
        return cls(y, h, c, dx, dh, dc, weights)


class RawOutputs(NamedTuple):
    """What inference returns, still on the device: the outputs and the final state."""

    y: Tensor
    h: Tensor
    c: Tensor


Results: TypeAlias = Mapping[str, FloatArray]
"""Host arrays by name, time-major: y, h, c and, of a training step, dx, dh, dc (where there are
any) and dlayer0.forward.kernel and its like."""

INPUTS = 2
"""Sets of inputs that a step can work on: with two, what is remembered of one is wrong for the
other; each more would hold its place on the device."""


def input_seed(seed: int, number: int) -> int:
    """The seed of the inputs of a step's set ``number``, from the seed of the first."""
    return seed + 7919 * number  # a prime: neighbouring seeds share no set


@dataclass(frozen=True)
class Step:
    """One unit of work, ready to be timed: nothing in it crosses between host and device.

    run: does the work once and returns what it computed (not waited for), of the last window where
        there are several: ``RawOutputs`` in inference, ``RawGradients`` in training.
    synchronize: returns when all work handed to the device is done.
    trace: what can be done before the first call that is not compiling, such as tracing a graph.
    use: choose the set of inputs, under ``INPUTS``, that the next calls work on; the second is
        placed on the device when it is first chosen. Its seed is ``input_seed``'s.
    results: what a call returned, on the host.
    restart: begin anew with the weights that the model was given and a new optimizer; None where
        calls do not change them.

    Without ``use`` or ``results`` what is timed is not judged.
    """

    run: Callable[[], Tensor]
    synchronize: Callable[[], None]
    trace: Callable[[], None]
    use: Callable[[int], None] | None = None
    results: Callable[[Tensor], Results] | None = None
    restart: Callable[[], None] | None = None


@dataclass(frozen=True)
class _Placed:
    """One set of inputs on the device: the initial state; x, dy and masks of each window, as they
    are and with the other sign of dy (none without an optimizer)."""

    h: Tensor
    c: Tensor
    windows: tuple[list[tuple[Tensor, Tensor, Tensor]], list[tuple[Tensor, Tensor, Tensor]]]


class Backend(abc.ABC):
    """One way to compute an LSTM: a strategy and its options, as in ``partial_unroll@10+xla``.

    strategy: the name before any option.
    framework: the name of the package that computes.
    summary: one line for tables.
    flags: names of the options that may follow ``+``, in canonical order.
    takes_number: whether ``@k`` must follow the strategy.
    devices: kinds of device it can run on.
    optimizers: what its models can update their weights with.
    """

    strategy: ClassVar[str]
    framework: ClassVar[str]
    summary: ClassVar[str]
    flags: ClassVar[tuple[str, ...]] = ()
    takes_number: ClassVar[bool] = False
    devices: ClassVar[tuple[str, ...]] = ("cpu", "gpu")
    optimizers: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: Sequence[str] = (), number: int | None = None) -> None:
        unknown = [option for option in options if option not in self.flags]
        if unknown:
            known = ", ".join(f"+{flag}" for flag in self.flags) or "none"
            raise UnsupportedError(
                f"{self.strategy} has no option +{unknown[0]}; its options are: {known}"
            )
        if self.takes_number and number is None:
            raise UnsupportedError(
                f"{self.strategy} needs a number, as in {self.strategy}@10: steps per iteration"
            )
        if number is not None and not self.takes_number:
            raise UnsupportedError(f"{self.strategy} takes no number (@{number})")
        if number is not None and number < 1:
            raise UnsupportedError(f"{self.strategy}@{number}: the number must be at least 1")
        self.options = tuple(flag for flag in self.flags if flag in options)
        self.number = number
        if problem := self.conflict():
            raise UnsupportedError(f"{self.name}: {problem}")

    @property
    def name(self) -> str:
        """The id, canonically spelled."""
        number = "" if self.number is None else f"@{self.number}"
        return "+".join((self.strategy + number, *self.options))

    @classmethod
    def variants(cls) -> Sequence[str]:
        """The ids that ``list_backends`` shows for this strategy."""
        return (cls.strategy,)

    def conflict(self) -> str:
        """Why this combination of options makes no sense, or an empty string."""
        return ""

    @abc.abstractmethod
    def availability(self, device: str = "cpu") -> Availability:
        """Whether it can run on ``device`` (``cpu``, ``gpu:0``, ...) of this machine."""

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        """Why this backend cannot compute ``spec`` (on ``workload``), or an empty string.

        Here is what holds for all of them; a backend adds its own reasons.
        """
        if workload is None or workload.optimizer is None:
            return ""
        if workload.optimizer not in self.optimizers:
            return f"it updates no weights with {workload.optimizer}"
        if spec.precision.variable in ("float16", "bfloat16"):
            return (
                f"{spec.precision.variable} weights lose an optimizer's updates in their rounding; "
                f"mixed_{spec.precision.variable} keeps them in float32"
            )
        return ""

    def use_threads(self, count: int) -> None:  # noqa: B027
        """Let the models built from now on use ``count`` CPU threads.

        For frameworks that read no environment variable for it when they start; the others have
        nothing to do here.
        """

    def missing_evidence(self, evidence: Mapping[str, Any], device: str) -> str:
        """What must have run but did not, by ``Model.evidence``, or an empty string.

        A case whose backend misses its evidence is a failure, never a time.
        """
        return ""

    @abc.abstractmethod
    def _build(self, spec: LSTMSpec, weights: LSTMWeights, device: str, batch_major: bool) -> Model:
        """The model, after ``build`` has checked everything."""

    def build(
        self,
        spec: LSTMSpec,
        weights: LSTMWeights,
        device: str = "cpu",
        *,
        batch_major: bool = False,
    ) -> Model:
        """This LSTM with these weights, on ``device``.

        batch_major: inputs and outputs are ``[batch, time, feature]`` (the state's axes stay).

        Raises UnavailableError if the backend or device is not there, UnsupportedError if the
        backend cannot compute ``spec``, ValueError if the weights do not fit it.
        """
        weights.check(spec)
        available = self.availability(device)
        if not available:
            raise UnavailableError(f"{self.name} on {device}: {available}")
        if reason := self.refusal(spec):
            raise UnsupportedError(f"{self.name}: {reason}")
        quantized = weights.map(spec.quantize)
        model = self._build(spec, quantized, device, batch_major)
        model.given_weights = quantized
        return model

    def __repr__(self) -> str:
        return f"<backend {self.name}>"


class Model(abc.ABC):
    """An LSTM on a device. NumPy in, NumPy out; ``prepare`` for the clock.

    A subclass supplies the underscored methods: moving arrays, one forward pass, one forward and
    backward pass, and waiting. Device arrays are in the backend's own layout.
    """

    def __init__(self, backend: Backend, spec: LSTMSpec, device: str, batch_major: bool) -> None:
        self.backend = backend
        self.spec = spec
        self.device = device
        self.batch_major = batch_major
        # What a user gave last: what is judged, so that a wrong conversion cannot judge itself.
        self.given_weights: LSTMWeights | None = None

    # -- what a backend supplies

    @abc.abstractmethod
    def _to_device(self, array: npt.NDArray[np.generic]) -> Tensor:
        """``array`` on the device: floating point in the compute type, integers as they are."""

    @abc.abstractmethod
    def _to_host(self, tensor: Tensor) -> npt.NDArray[np.generic]:
        """``tensor`` as a NumPy array."""

    @abc.abstractmethod
    def _infer(
        self, x: Tensor, h: Tensor, c: Tensor, lengths: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """y, h, c. Masks are given only when dropout is wanted."""

    @abc.abstractmethod
    def _train(
        self,
        gradients: str,
        x: Tensor,
        h: Tensor,
        c: Tensor,
        lengths: Tensor | None,
        masks: Tensor | None,
        dy: Tensor,
        dh: Tensor,
        dc: Tensor,
    ) -> RawGradients:
        """The outputs, and the gradients that are asked for, no others: one of ``GRADIENTS``.

        dy, dh, dc flow into the output and the final state.
        """

    def _start_optimizer(self, name: str) -> None:
        """Make an optimizer of the weights, or start it anew: no moments, no steps taken."""
        raise UnsupportedError(f"{self.backend.name}: it updates no weights with {name}")

    def _train_and_update(
        self,
        optimizer: str,
        gradients: str,
        x: Tensor,
        h: Tensor,
        c: Tensor,
        lengths: Tensor | None,
        masks: Tensor | None,
        dy: Tensor,
        dh: Tensor,
        dc: Tensor,
    ) -> RawGradients:
        """What ``_train`` does; then the optimizer, which was started, updates the weights."""
        raise UnsupportedError(f"{self.backend.name}: it updates no weights with {optimizer}")

    @abc.abstractmethod
    def _host_weights(self, raw: Any) -> LSTMWeights:
        """The gradients of the weights that ``_train`` returned, in canonical form."""

    @abc.abstractmethod
    def get_weights(self) -> LSTMWeights:
        """The weights now, in canonical form."""

    @abc.abstractmethod
    def _set_weights(self, weights: LSTMWeights) -> None:
        """Replace the weights by canonical ones that fit the spec."""

    @abc.abstractmethod
    def synchronize(self) -> None:
        """Return when all work handed to the device is done."""

    def _trace_ahead(  # noqa: B027
        self, gradients: str | None, *args: Tensor, optimizer: str | None = None
    ) -> None:
        """Trace the graph for these arguments without running it, if the framework can.

        gradients: as ``_train`` takes it; None traces inference.
        """

    def evidence(self, workload: Workload) -> dict[str, Any]:
        """What really runs for ``workload``: kernels, ops and devices; empty if not known."""
        return {}

    # -- what a user calls

    def set_weights(self, weights: LSTMWeights) -> None:
        """Replace the weights. Raises ValueError if they do not fit the spec."""
        weights.check(self.spec)
        self.given_weights = weights.map(self.spec.quantize)
        self._set_weights(self.given_weights)

    def forward(
        self,
        x: npt.ArrayLike,
        state: LSTMState | None = None,
        lengths: npt.ArrayLike | None = None,
        *,
        masks: npt.ArrayLike | None = None,
    ) -> tuple[FloatArray, LSTMState]:
        """Outputs ``[T, B, D*H]`` and the final state.

        x ``[T, B, in]`` (or batch-major, if so built); state, zeros if None; lengths ``[B]``, valid
        timesteps of each right-padded sequence; masks ``[L-1, T, B, D*H]``, inverted dropout masks
        between layers (see ``dropout_masks``).

        Raises ValueError for wrong shapes, zero timesteps or NaN, UnsupportedError for what the
        backend cannot do.
        """
        host = self._checked(x, state, lengths, masks)
        y, h, c = self._infer(*host)
        return self._host_float(y), LSTMState(h=self._host_float(h), c=self._host_float(c))

    def gradients(
        self,
        x: npt.ArrayLike,
        dy: npt.ArrayLike,
        state: LSTMState | None = None,
        dstate: LSTMState | None = None,
        lengths: npt.ArrayLike | None = None,
        *,
        masks: npt.ArrayLike | None = None,
        of: str = "all",
    ) -> LSTMGradients:
        """Gradients of ``sum(y*dy) + sum(h_T*dstate.h) + sum(c_T*dstate.c)``.

        dy as the output; dstate, zeros if None; of: what is differentiated, one of ``GRADIENTS``,
        and nothing else is computed; the rest, and what is raised, as in ``forward``.
        """
        return self.forward_and_gradients(x, dy, state, dstate, lengths, masks=masks, of=of)[2]

    def forward_and_gradients(
        self,
        x: npt.ArrayLike,
        dy: npt.ArrayLike,
        state: LSTMState | None = None,
        dstate: LSTMState | None = None,
        lengths: npt.ArrayLike | None = None,
        *,
        masks: npt.ArrayLike | None = None,
        optimizer: str | None = None,
        of: str = "all",
    ) -> tuple[FloatArray, LSTMState, LSTMGradients]:
        """What ``forward`` and ``gradients`` return, from one training step.

        optimizer: the one that ``start_optimizer`` started, to update the weights in the same step.
        """
        tensors = self._checked(x, state, lengths, masks, gradients=of, optimizer=optimizer)
        batch, timesteps = self._batch_and_time(np.shape(x))
        shape = (timesteps, batch, self.spec.output_size)
        dy_ = self._checked_array("dy", dy, self._layout(shape))
        dh, dc = self._checked_state("dstate", dstate, batch)
        flowing = (self._to_device(dy_), self._to_device(dh), self._to_device(dc))
        if optimizer is None:
            raw = self._train(of, *tensors, *flowing)
        else:
            raw = self._train_and_update(optimizer, of, *tensors, *flowing)
        inputs = [self._host_float(each) for each in differentiated(of, raw.dx, raw.dh, raw.dc)]
        gradients = LSTMGradients(
            x=inputs[0] if inputs else None,
            weights=self._host_weights(raw.weights),
            state=LSTMState(*inputs[1:]) if inputs[1:] else None,
        )
        state = LSTMState(h=self._host_float(raw.h), c=self._host_float(raw.c))
        return self._host_float(raw.y), state, gradients

    def start_optimizer(self, name: str) -> None:
        """Make the optimizer ``name`` of this model's weights, or start it anew.

        Its rates are those of ``optimizer.py``. Raises UnsupportedError if the backend has none.
        """
        if reason := self.backend.refusal(self.spec, Workload(1, 1, "training", optimizer=name)):
            raise UnsupportedError(f"{self.backend.name}: {reason}")
        self._start_optimizer(name)

    def prepare(self, workload: Workload, seed: int = 0) -> Step:
        """Place the inputs of ``workload`` on the device and return the step to time.

        With a window, one step works through the whole stream, window after window, each call
        taking the state that the one before returned. In training, a step computes the outputs
        and the gradients that the workload names, each window's of its own.

        With an optimizer, which is started anew here, each window also updates the weights of this
        model, as training does. From one call of the step to the next the sign of the gradient that
        flows into the output alternates, and with it that of every gradient and update: what one
        call adds to the weights the next takes off again, so that they stay near where they are
        however long it is timed, and neither saturated gates nor denormal numbers come into it.

        Raises UnsupportedError for what the backend cannot do.
        """
        if reason := self.backend.refusal(self.spec, workload):
            raise UnsupportedError(f"{self.backend.name}: {reason}")
        if workload.batch_major != self.batch_major:
            raise ValueError(
                f"workload.batch_major is {workload.batch_major}; "
                f"the model was built with batch_major={self.batch_major}"
            )
        optimizer = workload.optimizer
        if optimizer is not None:
            self._start_optimizer(optimizer)

        def place(array: npt.NDArray[np.generic] | None) -> Tensor | None:
            return None if array is None else self._to_device(array)

        def swap(array: FloatArray) -> FloatArray:
            return np.swapaxes(array, 0, 1) if self.batch_major else array

        def placed(number: int) -> _Placed:
            inputs = workload.inputs(self.spec, input_seed(seed, number))
            windows = [
                (
                    place(swap(inputs.x[part])),
                    place(swap(inputs.dy[part])),
                    place(None if inputs.masks is None else inputs.masks[:, part]),
                )
                for part in workload.windows()
            ]
            negated = [
                (x, place(swap(-inputs.dy[part])), masks)
                for (x, _, masks), part in zip(windows, workload.windows(), strict=True)
                if optimizer is not None
            ]
            h, c = place(inputs.state.h), place(inputs.state.c)
            return _Placed(h, c, (windows, negated))

        sets = {0: placed(0)}
        given = sets[0]
        turn = 0
        lengths = place(workload.lengths())
        zero = place(
            np.zeros(
                (self.spec.state_layers, workload.batch, self.spec.hidden_size),
                self.spec.precision.storage,
            )
        )

        def use(number: int) -> None:
            nonlocal given
            if number not in sets:
                sets[number] = placed(number)
            given = sets[number]

        def infer() -> Tensor:
            h, c = given.h, given.c
            for x, _, _ in given.windows[0]:
                y, h, c = self._infer(x, h, c, lengths, None)
            return RawOutputs(y, h, c)

        def train() -> Tensor:
            h, c = given.h, given.c
            for x, dy, masks in given.windows[0]:
                raw = self._train(workload.gradients, x, h, c, lengths, masks, dy, zero, zero)
                h, c = raw.h, raw.c
            return raw

        def train_and_update() -> Tensor:
            nonlocal turn
            h, c = given.h, given.c
            for x, dy, masks in given.windows[turn]:
                raw = self._train_and_update(
                    str(optimizer), workload.gradients, x, h, c, lengths, masks, dy, zero, zero
                )
                h, c = raw.h, raw.c
            turn = 1 - turn
            return raw

        def restart() -> None:
            nonlocal turn
            if self.given_weights is not None:
                self._set_weights(self.given_weights)
            self._start_optimizer(str(optimizer))
            turn = 0

        def trace() -> None:
            # The last window may be shorter than the rest: a graph of its own where shapes count.
            windows = given.windows[0]
            h0, c0 = given.h, given.c
            for x, dy, masks in {id(w): w for w in (windows[0], windows[-1])}.values():
                if workload.training:
                    arguments = (x, h0, c0, lengths, masks, dy, zero, zero)
                    self._trace_ahead(workload.gradients, *arguments, optimizer=optimizer)
                else:
                    self._trace_ahead(None, x, h0, c0, lengths, None)

        run = train if workload.training else infer
        return Step(
            run if optimizer is None else train_and_update,
            self.synchronize,
            trace,
            use,
            self._host_results,
            None if optimizer is None else restart,
        )

    def _host_results(self, raw: RawOutputs | RawGradients) -> Results:
        """What a step returned, on the host and time-major."""

        def swap(array: FloatArray) -> FloatArray:
            return np.swapaxes(array, 0, 1) if self.batch_major else array

        found = {"y": swap(self._host_float(raw.y))}
        found |= {"h": self._host_float(raw.h), "c": self._host_float(raw.c)}
        if isinstance(raw, RawGradients):
            flow = {"dx": raw.dx, "dh": raw.dh, "dc": raw.dc}
            found |= {n: self._host_float(each) for n, each in flow.items() if each is not None}
            if "dx" in found:
                found["dx"] = swap(found["dx"])
            weights = self._host_weights(raw.weights)
            found |= {
                f"d{name}": array
                for name, array in zip(weights.names(), weights.arrays(), strict=True)
            }
        return found

    # -- checks

    def _layout(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        timesteps, batch, features = shape
        return (batch, timesteps, features) if self.batch_major else shape

    def _batch_and_time(self, shape: tuple[int, ...]) -> tuple[int, int]:
        return (shape[0], shape[1]) if self.batch_major else (shape[1], shape[0])

    def _checked(
        self,
        x: npt.ArrayLike,
        state: LSTMState | None,
        lengths: npt.ArrayLike | None,
        masks: npt.ArrayLike | None,
        gradients: str | None = None,
        optimizer: str | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
        shape = np.shape(x)
        axes = "[batch, time, feature]" if self.batch_major else "[time, batch, feature]"
        if len(shape) != 3:
            raise ValueError(f"x has shape {shape}; expected three axes, {axes}")
        batch, timesteps = self._batch_and_time(shape)
        if timesteps == 0 or batch == 0:
            what = "timesteps" if timesteps == 0 else "sequences"
            raise ValueError(f"x has shape {shape}, so no {what}; expected at least one ({axes})")
        x_ = self._checked_array("x", x, self._layout((timesteps, batch, self.spec.input_size)))
        h, c = self._checked_state("state", state, batch)
        lengths_ = None
        if lengths is not None:
            lengths_ = np.asarray(lengths)
            if lengths_.shape != (batch,) or not np.issubdtype(lengths_.dtype, np.integer):
                raise ValueError(
                    f"lengths has shape {lengths_.shape} and type {lengths_.dtype}; "
                    f"expected {batch} integers, one for each sequence"
                )
            if lengths_.min() < 1 or lengths_.max() > timesteps:
                raise ValueError(
                    f"lengths holds {lengths_.min()} to {lengths_.max()}; "
                    f"expected 1 to the {timesteps} timesteps of x"
                )
            lengths_ = lengths_.astype(np.int32)
        masks_ = None
        if masks is not None:
            if self.spec.num_layers == 1:
                raise ValueError("masks are given; dropout acts between layers and there is one")
            masks_ = self._checked_array(
                "masks", masks, (self.spec.num_layers - 1, timesteps, batch, self.spec.output_size)
            )
        workload = Workload(
            batch,
            timesteps,
            "inference" if gradients is None else "training",
            min_length=None if lengths_ is None else int(lengths_.min()),
            dropout=0.0 if masks_ is None else 0.5,
            batch_major=self.batch_major,
            optimizer=optimizer,
            gradients=gradients or "all",
        )
        if reason := self.backend.refusal(self.spec, workload):
            raise UnsupportedError(f"{self.backend.name}: {reason}")
        return (
            self._to_device(x_),
            self._to_device(h),
            self._to_device(c),
            None if lengths_ is None else self._to_device(lengths_),
            None if masks_ is None else self._to_device(masks_),
        )

    def _checked_array(self, name: str, value: npt.ArrayLike, shape: tuple[int, ...]) -> FloatArray:
        array = np.asarray(value)
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}; expected {shape}")
        quantized = self.spec.quantize(array)
        if not np.all(np.isfinite(quantized)):
            place = tuple(int(k) for k in np.argwhere(~np.isfinite(quantized))[0])
            raise ValueError(
                f"{name}{list(place)} is {array[place]}; "
                f"expected finite numbers that {self.spec.dtype} can hold"
            )
        return quantized

    def _checked_state(
        self, name: str, state: LSTMState | None, batch: int
    ) -> tuple[FloatArray, FloatArray]:
        state = state or LSTMState.zeros(self.spec, batch)
        shape = (self.spec.state_layers, batch, self.spec.hidden_size)
        return (
            self._checked_array(f"{name}.h", state.h, shape),
            self._checked_array(f"{name}.c", state.c, shape),
        )

    def _host_float(self, tensor: Tensor) -> FloatArray:
        return np.asarray(self._to_host(tensor)).astype(self.spec.precision.storage)


# -- the registry

_BUILT_IN: dict[str, str] = {
    # strategy: where its Backend class is. Adding a backend is adding its line here.
    "numpy": "lstm_impl.backends.numpy_loop:NumPyLoop",
    "static_unroll": "lstm_impl.backends.static_unroll:StaticUnroll",
    "while_loop": "lstm_impl.backends.while_loop:WhileLoop",
    "partial_unroll": "lstm_impl.backends.partial_unroll:PartialUnroll",
    "scan": "lstm_impl.backends.scan:Scan",
    "block_lstm": "lstm_impl.backends.block_lstm:BlockLSTM",
    "cudnn": "lstm_impl.backends.cudnn:Cudnn",
    "torch": "lstm_impl.backends.torch_lstm:Torch",
    "torch_compile": "lstm_impl.backends.torch_compile:TorchCompile",
    "jax_scan": "lstm_impl.backends.jax_scan:JaxScan",
    "jax_cudnn": "lstm_impl.backends.jax_cudnn:JaxCudnn",
    "flax": "lstm_impl.backends.flax_lstm:Flax",
    "onnxruntime": "lstm_impl.backends.onnxruntime_lstm:OnnxRuntime",
    "litert": "lstm_impl.backends.litert:LiteRT",
    "flashrnn": "lstm_impl.backends.flashrnn:FlashRNN",
    "keras": "lstm_impl.backends.keras_layer:Keras",
    "dynamic_rnn": "lstm_impl.backends.legacy_rnn:DynamicRNN",
    "static_rnn": "lstm_impl.backends.legacy_rnn:StaticRNN",
}

ENTRY_POINT_GROUP = "lstm_impl.backends"

_ID = re.compile(r"(?P<strategy>[A-Za-z0-9_]+)(@(?P<number>\d+))?(?P<flags>(\+[A-Za-z0-9_]+)*)")


def strategies() -> dict[str, str]:
    """Where each strategy's Backend class is, as ``module:Class``: ours, then entry points."""
    found = dict(_BUILT_IN)
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        found.setdefault(point.name, point.value)
    return found


def list_backends() -> list[str]:
    """The ids of all known backends, whatever is installed.

    A strategy whose class cannot be imported is there by its name: ``get_backend`` says why.
    """
    names = []
    for strategy in strategies():
        try:
            names += variants(strategy)
        except UnsupportedError:
            names.append(strategy)
    return names


def variants(strategy: str) -> list[str]:
    """The ids of one strategy that ``list_backends`` shows.

    Raises UnsupportedError if it is registered but its class cannot be imported.
    """
    kind = _load(strategy)
    try:
        return [str(each) for each in kind.variants()]
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise UnavailableError(f"backend {strategy!r} names no variants: {_said(error)}") from error


def get_backend(name: str) -> Backend:
    """The backend with this id, such as ``while_loop+xla`` or ``partial_unroll@10``.

    Raises UnsupportedError if there is none (the message lists close names) or if its options make
    no sense together, UnavailableError if another package's is broken.
    """
    match = _ID.fullmatch(name)
    if match is None or match["strategy"] not in strategies():
        close = difflib.get_close_matches(name, list_backends(), n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else "see lstm_impl.list_backends()"
        raise UnsupportedError(f"there is no backend {name!r}; {hint}")
    flags = [flag for flag in match["flags"].split("+") if flag]
    number = None if match["number"] is None else int(match["number"])
    try:
        return _load(match["strategy"])(flags, number)
    except (UnsupportedError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise UnavailableError(f"backend {name!r} cannot be made: {_said(error)}") from error


def _said(error: BaseException) -> str:
    """Of another package's error, its kind and words, even if asking for these is an error too."""
    return traceback.format_exception_only(error)[-1].strip()


def _load(strategy: str) -> type[Backend]:
    module, _, attribute = strategies()[strategy].partition(":")
    try:
        loaded = getattr(importlib.import_module(module), attribute)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # Another package's module runs here, and may raise anything: SystemExit, if it is a script.
        raise UnavailableError(
            f"backend {strategy!r} is registered as {module}:{attribute}, "
            f"which cannot be imported: {_said(error)}"
        ) from error
    if not (isinstance(loaded, type) and issubclass(loaded, Backend)):
        raise UnsupportedError(
            f"backend {strategy!r} is registered as {module}:{attribute}, which is no Backend"
        )
    return loaded
