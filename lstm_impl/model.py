"""Run a network on a device by one backend: what users call, and what a backend supplies."""

from __future__ import annotations

import abc
import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lstm_impl.call import (
    Call,
    Outputs,
    RawGradients,
    Request,
    Results,
    States,
    Step,
    Tensor,
    Upstream,
)
from lstm_impl.cell import CellState
from lstm_impl.evidence import Profile
from lstm_impl.spec import (
    Array,
    FloatArray,
    LSTMSpec,
    Refusal,
    RefusalReason,
    UnsupportedError,
    find_refusal_code,
    have_same_bits,
    require_choice,
    require_real,
)
from lstm_impl.weights import LSTMGradients, LSTMState, LSTMWeights
from lstm_impl.workload import RESET_TO, Inputs, InputSets, Workload, select_differentiated

NO_RESETS = RefusalReason(
    "it takes no resets, so a sequence cannot start over in the middle of a call; "
    "split the sequences there, or use a backend that takes resets, such as while_loop",
    Refusal.NO_RESETS,
)
"""The reason why a backend refuses resets."""


class TrainingArguments(NamedTuple):
    """Hold the arguments of ``Model.forward_and_gradients`` as a user gave them."""

    x: npt.ArrayLike
    dy: npt.ArrayLike
    state: LSTMState | None = None
    dstate: LSTMState | None = None
    lengths: npt.ArrayLike | None = None
    masks: npt.ArrayLike | None = None
    resets: npt.ArrayLike | None = None
    reset_to: str = "zeros"
    optimizer: str | None = None
    of: str = "all"

    def train(self, model: Model) -> tuple[FloatArray, LSTMState, LSTMGradients]:
        """Call a model's ``forward_and_gradients`` with these arguments."""
        return model.forward_and_gradients(
            self.x,
            self.dy,
            self.state,
            self.dstate,
            self.lengths,
            masks=self.masks,
            resets=self.resets,
            reset_to=self.reset_to,
            optimizer=self.optimizer,
            of=self.of,
        )


class Model(abc.ABC):
    """Compute a network on a device, from NumPy arrays to NumPy arrays.

    ``prepare`` returns a step for the clock, whose inputs are already on the device.
    """

    steps_return_loss = False
    """Whether a step that updates weights returns only its loss, as Keras's ``fit`` does. The last
    timed call is then judged by its weights. For any other model, missing results are an error."""

    def __init__(
        self,
        # A Backend. Its module imports this one, so the type cannot be named.
        backend: Any,
        spec: LSTMSpec,
        device: str,
        batch_major: bool,
        weights: LSTMWeights | None = None,
    ) -> None:
        self.backend = backend
        self.spec = spec
        self.device = device
        self.batch_major = batch_major
        # The weights as the user gave them. Results are judged by these, so that a wrong conversion
        # to the backend's layout cannot hide.
        self.given_weights = weights
        self._zeros: tuple[int, States] | None = None
        self._accepted: tuple[Any, ...] = ()
        self._open(weights)

    def _open(self, weights: Any) -> None:  # noqa: B027
        """Create what the backend keeps, with these weights."""

    # -- what a backend supplies

    @abc.abstractmethod
    def _to_device(self, array: npt.NDArray[np.generic]) -> Tensor:
        """Place an array on the device: floats in the compute type, integers as they are."""

    def _lend(self, array: FloatArray) -> Tensor:
        """Place x or a state for one inference call, which may read the user's own memory."""
        return self._to_device(array)

    def _to_host(self, tensor: Tensor) -> npt.NDArray[np.generic]:
        """Copy a tensor to a NumPy array that has memory of its own."""
        return np.asarray(tensor).copy()

    @abc.abstractmethod
    def _infer(self, call: Call) -> Outputs:
        """Compute the outputs and the final state."""

    def _stream(self, call: Call) -> Outputs:
        """Compute a chunk of a stream. In each call, x and the state are new."""
        return self._infer(call)

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        """Compute the outputs and only the requested gradients, one of ``GRADIENTS``."""
        raise UnsupportedError(
            f"{self.backend.name}: it computes no gradients", Refusal.NO_GRADIENTS
        )

    def _start_optimizer(self, name: str) -> None:
        """Create an optimizer of the weights, or restart it without moments and steps."""
        raise UnsupportedError(
            f"{self.backend.name}: it updates no weights with {name}", Refusal.NO_OPTIMIZER
        )

    def _train_and_update(
        self, optimizer: str, gradients: str, call: Call, upstream: Upstream
    ) -> RawGradients:
        """Do what ``_train`` does, and then let the started optimizer update the weights."""
        raise UnsupportedError(
            f"{self.backend.name}: it updates no weights with {optimizer}", Refusal.NO_OPTIMIZER
        )

    def _host_weights(self, raw: Any, gradient: bool = True) -> LSTMWeights:
        """Convert the backend's own weights, or their gradients, to canonical form."""
        arrays = [self._host_float(each) for each in raw]
        weights: LSTMWeights = self.backend.unpack(self.spec, arrays, gradient)
        return weights

    @abc.abstractmethod
    def get_weights(self) -> LSTMWeights:
        """Return the current weights in canonical form."""

    @abc.abstractmethod
    def _set_weights(self, weights: LSTMWeights) -> None:
        """Replace the weights by canonical ones, which have been checked."""

    @abc.abstractmethod
    def synchronize(self) -> None:
        """Wait until the device has done all work that was handed to it."""

    def _trace_ahead(self, request: Request) -> None:  # noqa: B027
        """Trace the graph of a step without running it, if the framework can."""

    def evidence(self, workload: Workload) -> Mapping[str, Any]:
        """Return what really runs for a workload as plain data, empty if that is not known."""
        return {}

    def _profiled(self, workload: Workload) -> Profile:
        """Run a step under the framework's profiler. It must not be the first step."""
        raise UnsupportedError(
            f"{self.backend.name}: no profiler of {self.backend.framework} is known here",
            Refusal.NO_PROFILER,
        )

    # -- what a user calls

    def profile(self, workload: Workload) -> Profile:
        """Run one step of a workload under the framework's profiler, which slows it down.

        Raises
        ------
        UnsupportedError
            If the framework has no profiler that is supported, or if the backend cannot compute the
            workload.
        """
        self._refuse(workload)
        return self._profiled(workload)

    def _refuse(self, workload: Workload) -> None:
        """Raise UnsupportedError, with the reason, if the backend cannot compute a workload."""
        reason = self.backend.refusal(self.spec, workload)
        # A backend's own refusal may not ask the general one.
        if not reason and workload.reset_rate and not self.backend.takes_resets:
            reason = NO_RESETS
        if reason:
            raise UnsupportedError(f"{self.backend.name}: {reason}", find_refusal_code(reason))

    def _refuse_resets(self, resets: object | None, reset_to: str) -> None:
        """Raise ValueError or UnsupportedError if a call of tensors cannot take these resets."""
        require_choice("reset_to", reset_to, RESET_TO)
        if resets is not None:
            self._refuse(Workload(1, 1, reset_rate=1.0, reset_to=reset_to))

    def set_weights(self, weights: LSTMWeights) -> None:
        """Replace the weights. Raise ValueError if they do not fit the network."""
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
        resets: npt.ArrayLike | None = None,
        reset_to: str = "zeros",
    ) -> tuple[FloatArray, LSTMState]:
        """Compute the outputs and the final state.

        Parameters
        ----------
        x
            The input ``[T, B, in]``, or ``[B, T, in]`` if the model was built batch-major.
        state
            The initial state, or None for zeros.
        lengths
            The valid timesteps of each right-padded sequence ``[B]``, or None if all are valid.
        masks
            Dropout masks between layers ``[L-1, T, B, D*H]``, scaled by 1/(1-rate), as
            ``dropout_masks`` draws them. L is the number of layers, D that of directions, and H
            that of units.
        resets
            Bool ``[T, B]``, or ``[B, T]`` if the model was built batch-major: where it is True,
            the state is replaced before that step, and the sequence starts over. Nothing crosses
            such a place, in either direction. Resets in padding are ignored. None if no sequence
            starts over.
        reset_to
            The state from which it starts over: ``zeros``, or ``initial_state`` for
            the given ``state``.

        Returns
        -------
        tuple
            The outputs ``[T, B, D*H]``, batch-major if the model is, and the state after the last
            valid timestep.

        Raises
        ------
        ValueError
            If a shape is wrong, if there are no timesteps or sequences, or if an input has NaN or
            infinity.
        UnsupportedError
            If the backend cannot compute this call.
        """
        call = self._checked(x, state, lengths, masks, resets, reset_to)
        y, states = self._infer(call)
        found = self._host_float(y), self._host_state(states)
        # The zero state is kept only after a call that succeeded. Inside a graph that is being
        # traced, a tensor of that graph must not be kept.
        if state is None:
            self._zeros = (found[1].h.shape[1], call.states)
        return found

    def _host_state(self, states: Iterable[Tensor]) -> LSTMState:
        """Copy states to the host, and return them in the cell's own type of state."""
        made: LSTMState = self.spec.cell.state_type(*map(self._host_float, states))
        return made

    def gradients(
        self,
        x: npt.ArrayLike,
        dy: npt.ArrayLike,
        state: LSTMState | None = None,
        dstate: LSTMState | None = None,
        lengths: npt.ArrayLike | None = None,
        *,
        masks: npt.ArrayLike | None = None,
        resets: npt.ArrayLike | None = None,
        reset_to: str = "zeros",
        of: str = "all",
    ) -> LSTMGradients:
        """Compute the gradients of ``sum(y*dy)`` plus, for each state s, ``sum(s_T*dstate.s)``.

        Parameters
        ----------
        dy
            The gradient of the outputs, with their shape.
        dstate
            The gradient of the final state, or None for zeros.
        of
            What is differentiated, one of ``GRADIENTS``. Nothing else is computed.
        x, state, lengths, masks
            As in ``forward``.
        """
        how: Any = {"masks": masks, "resets": resets, "reset_to": reset_to, "of": of}
        return self.forward_and_gradients(x, dy, state, dstate, lengths, **how)[2]

    def forward_and_gradients(
        self,
        x: npt.ArrayLike,
        dy: npt.ArrayLike,
        state: LSTMState | None = None,
        dstate: LSTMState | None = None,
        lengths: npt.ArrayLike | None = None,
        *,
        masks: npt.ArrayLike | None = None,
        resets: npt.ArrayLike | None = None,
        reset_to: str = "zeros",
        optimizer: str | None = None,
        of: str = "all",
    ) -> tuple[FloatArray, LSTMState, LSTMGradients]:
        """Compute what ``forward`` and ``gradients`` return in one training step.

        With ``optimizer``, which ``start_optimizer`` must have started, the step also updates the
        weights. The other parameters are those of ``gradients``.
        """
        return self._forward_and_gradients(
            TrainingArguments(x, dy, state, dstate, lengths, masks, resets, reset_to, optimizer, of)
        )

    def _forward_and_gradients(
        self, given: TrainingArguments
    ) -> tuple[FloatArray, LSTMState, LSTMGradients]:
        """Compute what ``forward_and_gradients`` returns. Variants override this method."""
        x, dy, state, dstate, lengths, masks, resets, reset_to, optimizer, of = given
        call = self._checked(
            x, state, lengths, masks, resets, reset_to, gradients=of, optimizer=optimizer
        )
        batch, timesteps = batch_and_timesteps(np.shape(x), self.batch_major)
        shape = self._layout((timesteps, batch, self.spec.output_size))
        flowing = check_state(self.spec, "dstate", dstate, batch)
        upstream = Upstream(
            self._to_device(check_array(self.spec, "dy", dy, shape)),
            tuple(map(self._to_device, flowing)),
        )
        if optimizer is None:
            raw = self._train(of, call, upstream)
        else:
            raw = self._train_and_update(optimizer, of, call, upstream)
        requested = select_differentiated(of, "x", "state")
        gradients = LSTMGradients(
            x=self._host_float(raw.dx) if "x" in requested else None,
            weights=self._host_weights(raw.weights),
            state=self._host_state(raw.dstates or ()) if "state" in requested else None,
        )
        return self._host_float(raw.y), self._host_state(raw.states), gradients

    def start_optimizer(self, name: str) -> None:
        """Create an optimizer of this model's weights, or restart it.

        ``name`` is ``sgd`` or ``adam``. The learning rates are those in ``optimizer.py``.

        Raises
        ------
        UnsupportedError
            If the backend has no such optimizer.
        """
        self._refuse(Workload(1, 1, "training", optimizer=name, gradients="weights"))
        self._start_optimizer(name)

    def prepare(self, workload: Workload, seed: int = 0) -> Step:
        """Place the inputs of a workload on the device, and return the step to time.

        With a window, one step takes the sequence window by window. Each window begins with the
        final state of the window before it and has its own gradients. In streaming, a step takes
        the next chunk, and begins with the final state of the step before it.

        With an optimizer, which is restarted here, each window also updates the weights. The sign
        of the output's gradient alternates from call to call, so that the weights stay near their
        start however long the step is timed.

        Raises
        ------
        UnsupportedError
            If the backend cannot compute the workload.
        ValueError
            If the workload and the model are not both batch-major or both time-major.
        """
        self._refuse(workload)
        if workload.batch_major != self.batch_major:
            raise ValueError(
                f"workload.batch_major is {workload.batch_major}; "
                f"the model was built with batch_major={self.batch_major}"
            )
        if workload.streaming and self.spec.bidirectional:
            raise UnsupportedError(
                "a stream has no end at which a second direction could begin; expected one "
                "direction"
            )
        if workload.optimizer is not None:
            self._start_optimizer(workload.optimizer)
        return Stream(self, workload, seed).step()

    def _warmed(self, workload: Workload) -> Step:
        """Return a step that has run once, so that the first call's extra work is done."""
        step = self.prepare(workload)
        step.run()
        step.synchronize()
        return step

    def _host_results(self, raw: Outputs | RawGradients) -> Results:
        """Copy the results of a step to the host, time-major and by name."""
        names = self.spec.cell.states
        found = {"y": self._swapped(self._host_float(raw.y))}
        found |= dict(zip(names, map(self._host_float, raw.states), strict=True))
        if isinstance(raw, RawGradients):
            if raw.dx is not None:
                found["dx"] = self._swapped(self._host_float(raw.dx))
            for name, gradient in zip(names, raw.dstates or (), strict=False):
                found[f"d{name}"] = self._host_float(gradient)
            found |= self._host_weights(raw.weights).label_arrays("d")
        return found

    def _place_results(self, results: Results) -> Callable[[], Results]:
        """Place arrays like results on the device, weights' gradients in the backend's layout.

        The returned function copies them to the host and converts them, as ``_host_results`` does
        after a step.
        """
        names = (self.given_weights or self.get_weights()).label_arrays("d").keys() & results.keys()
        rest = {name: array for name, array in results.items() if name not in names}
        own: Sequence[FloatArray] = []
        if names:
            arrays = [array for name, array in results.items() if name in names]
            own = self.backend.pack(self.spec, LSTMWeights.from_arrays(self.spec, arrays))
        placed = [self._to_device(np.asarray(array)) for array in (*own, *rest.values())]
        self.synchronize()

        def copied(tensor: Tensor) -> FloatArray:
            found = self._host_float(tensor)
            # Some backends return an array that shares their memory, so that it must be copied
            # here.
            return found.copy() if found is tensor or found.base is not None else found

        def copy() -> Results:
            found = [copied(each) for each in placed]
            made = dict(zip(rest, found[len(own) :], strict=True))
            if own:
                weights = self.backend.unpack(self.spec, found[: len(own)], gradient=True)
                made |= weights.label_arrays("d")
            return made

        return copy

    def _swapped(self, array: FloatArray) -> FloatArray:
        """Convert ``[T, B, F]`` to the model's layout, or an array in that layout back to it."""
        return np.swapaxes(array, 0, 1) if self.batch_major else array

    # -- checks

    def _layout(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return a time-major shape in the model's layout."""
        timesteps, batch, features = shape
        return (batch, timesteps, features) if self.batch_major else shape

    def _checked(
        self,
        x: npt.ArrayLike,
        state: LSTMState | None,
        lengths: npt.ArrayLike | None,
        masks: npt.ArrayLike | None,
        resets: npt.ArrayLike | None,
        reset_to: str,
        gradients: str | None = None,
        optimizer: str | None = None,
    ) -> Call:
        """Check a user's arguments, and place them on the device.

        ``gradients`` is None in inference.
        """
        spec, x = self.spec, np.asarray(x)
        batch, timesteps = batch_and_timesteps(x.shape, self.batch_major)
        place = self._lend if gradients is None else self._to_device
        x_ = check_array(spec, "x", x, self._layout((timesteps, batch, spec.input_size)))
        if state is None:
            states = self._zero_state(batch)
        else:
            states = tuple([place(each) for each in _check_states(spec, "state", state, batch)])
        lengths_ = check_lengths(lengths, batch, timesteps)
        masks_ = check_masks(spec, masks, batch, timesteps)
        resets_ = check_resets(resets, batch, timesteps, self.batch_major)
        require_choice("reset_to", reset_to, RESET_TO)
        starts_over = None if resets_ is None else reset_to
        shortest = None if lengths_ is None else int(lengths_.min())
        requested = (batch, timesteps, shortest, masks_ is None, optimizer, gradients, starts_over)
        if requested != self._accepted:
            workload = Workload(
                batch,
                timesteps,
                "inference" if gradients is None else "training",
                min_length=shortest,
                dropout=0.0 if masks_ is None else 0.5,
                batch_major=self.batch_major,
                optimizer=optimizer,
                gradients=gradients or "all",
                reset_rate=0.0 if starts_over is None else 1.0,
                reset_to=starts_over or "zeros",
            )
            self._refuse(workload)
            self._accepted = requested
        if lengths_ is None and masks_ is None and resets_ is None:
            return Call(place(x_), states)
        given = (lengths_, masks_, *name_resets(resets_, reset_to))
        rest = (None if each is None else self._to_device(each) for each in given)
        return Call(place(x_), states, *rest)

    def _zero_state(self, batch: int) -> States:
        """Return a zero state on the device. The latest one is kept to save time."""
        # The attribute is read once, because another thread may replace it.
        kept = self._zeros
        if kept is not None and kept[0] == batch:
            return kept[1]
        zeros = self.spec.cell.state_type.zeros(self.spec, batch)
        return tuple(map(self._to_device, zeros))

    def _host_float(self, tensor: Tensor) -> FloatArray:
        """Copy a tensor to the host in the storage type of the precision."""
        return self._to_host(tensor).astype(self.spec.precision.storage, copy=False)


# -- workloads whose inputs are on a model's device, and the step that works on them

FIRST_CHUNKS = 16
"""The number of sets of inputs that a stream works on before others are placed."""


@dataclass(frozen=True)
class PlacedSet:
    """Hold one set of inputs on the device.

    Attributes
    ----------
    calls
        One call for each window.
    upstreams
        The gradients of the outputs for each window. With an optimizer there is a second list, with
        the other sign; in inference there is none.
    """

    calls: Sequence[Call]
    upstreams: Sequence[Sequence[Upstream]]


class Stream:
    """Place a workload's sets of inputs on the device, and compute the step on them.

    A sequence is taken window by window, with the state carried from one to the next. An endless
    stream is taken chunk by chunk: each call takes one set of inputs, and the state stays from call
    to call. The state that a call returned goes into the next call without a copy to the host.

    Parameters
    ----------
    model, workload
        The model, and the work of one step.
    seed
        The seed of random inputs.
    given
        The inputs to use instead of random ones.
    """

    def __init__(
        self, model: Model, workload: Workload, seed: int = 0, given: Inputs | None = None
    ) -> None:
        self._model, self._workload = model, workload
        self._sets = InputSets(model.spec, workload, seed) if given is None else None
        first = given if self._sets is None else self._sets.first
        assert first is not None
        self._no_gradient = tuple(self._place(np.zeros_like(each)) for each in first.state)
        self._begin: States | None = None
        if workload.streaming:
            self._begin = tuple(self._place(each.copy()) for each in first.state)
        self._parts = workload.windows()
        self._max_sets = 1 if self._sets is None else self._sets.max_sets()
        self._turn = 0
        self._left: Outputs | None = None
        self._placed: list[PlacedSet] = []
        if self._sets is not None and workload.streaming:
            self.use(range(min(FIRST_CHUNKS, self._max_sets)))
        else:
            self.place([first])

    def step(self) -> Step:
        """Return the step to time."""
        work, model = self._workload, self._model
        runs = {"training": self.train, "streaming": self.chunk}
        begins = work.streaming or work.optimizer is not None
        run, restart = runs.get(work.mode, self.infer), self.restart if begins else None
        return Step(
            run,
            model.synchronize,
            self.trace,
            None if self._sets is None else self.use,
            model._host_results,
            restart,
            self._max_sets,
            model._place_results,
            None if self._sets is None else self.place,
            self.overwritten,
        )

    def use(self, numbers: Sequence[int]) -> None:
        """Place the sets of inputs of these numbers, as ``place`` does."""
        assert self._sets is not None
        self.place(map(self._sets, numbers))

    def place(self, sets: Iterable[Inputs]) -> None:
        """Place sets of inputs, which the next calls take in turn. The state stays."""
        self._next = itertools.cycle(self._placed[:0])
        # Dropping the previous sets first frees their memory before the new ones need it.
        self._placed = []
        self._placed = [self._place_set(inputs) for inputs in sets]
        self._next = itertools.cycle(self._placed)

    def overwritten(self, inputs: Inputs, position: int) -> list[str]:
        """Return the names of arrays of a placed set that differ from the given inputs now.

        The inputs are placed once more for the comparison, because placing may round them.
        """
        wanted = self._host_inputs(self._place_set(inputs))
        found = self._host_inputs(self._placed[position])
        names = [name for name, array in wanted.items() if not have_same_bits(found[name], array)]
        if any(np.any(self._model._to_host(each)) for each in self._no_gradient):
            names.append("the zero gradient of the final state")
        return names

    def _host_inputs(self, placed: PlacedSet) -> dict[str, npt.NDArray[np.generic]]:
        """Copy the arrays of a placed set to the host, by name."""
        first = placed.calls[0]
        # All windows share these arrays. A stream continues with a state of its own instead.
        tensors = {"lengths": first.lengths}
        if not self._workload.streaming:
            names = (f"{name}0" for name in self._model.spec.cell.states)
            tensors |= dict(zip(names, first.states, strict=True))
        for number, call in enumerate(placed.calls):
            window = f" of window {number}" if len(placed.calls) > 1 else ""
            tensors |= {f"x{window}": call.x, f"masks{window}": call.masks}
            tensors |= {f"resets{window}": call.resets, f"restarts{window}": call.restarts}
            for upstreams in placed.upstreams:
                negative = " with the other sign" if upstreams is not placed.upstreams[0] else ""
                tensors[f"dy{window}{negative}"] = upstreams[number].dy
        to_host = self._model._to_host
        # Some backends return an array that shares their memory, so that it must be copied here.
        return {name: np.array(to_host(each)) for name, each in tensors.items() if each is not None}

    def chunk(self) -> Outputs:
        """Compute the next chunk of a stream and the state after it."""
        (call,) = next(self._next).calls
        self._left = self._model._stream(call if self._left is None else call.after(self._left))
        return self._left

    def infer(self) -> Outputs:
        """Compute all windows, and return the last one's outputs and the final state."""
        left: Outputs | None = None
        for call in next(self._next).calls:
            left = self._model._infer(call if left is None else call.after(left))
        assert left is not None  # Every workload has a window.
        return left

    def train(self) -> RawGradients:
        """Train on all windows, each with its update, and return the last one's results."""
        model, gradients = self._model, self._workload.gradients
        optimizer = self._workload.optimizer
        left: RawGradients | None = None
        placed = next(self._next)
        for call, upstream in zip(placed.calls, placed.upstreams[self._turn], strict=True):
            if left is not None:
                call = call.after(left)
            if optimizer is None:
                left = model._train(gradients, call, upstream)
            else:
                left = model._train_and_update(optimizer, gradients, call, upstream)
        if optimizer is not None:
            self._turn = 1 - self._turn
        assert left is not None
        return left

    def restart(self) -> None:
        """Restart a stream at its first chunk, or an optimizer with the given weights."""
        if self._workload.streaming:
            self._next, self._left = itertools.cycle(self._placed), None
            return
        if self._model.given_weights is not None:
            self._model._set_weights(self._model.given_weights)
        self._model._start_optimizer(str(self._workload.optimizer))
        self._turn = 0

    def trace(self) -> None:
        """Trace the graphs that the windows need."""
        # The last window may be shorter than the others. Where shapes count, it has a graph of its
        # own.
        for number in dict.fromkeys((0, len(self._parts) - 1)):
            self._model._trace_ahead(self.request(number))

    def request(self, window: int = 0) -> Request:
        """Return what one window of the step asks of the model."""
        workload, placed = self._workload, self._placed[0]
        call = placed.calls[window]
        if not workload.training:
            return Request(None, call)
        upstream = placed.upstreams[0][window]
        return Request(workload.gradients, call, upstream, workload.optimizer)

    # -- placing

    def _place(self, array: Array | None) -> Tensor | None:
        return None if array is None else self._model._to_device(array)

    def _place_set(self, inputs: Inputs) -> PlacedSet:
        """Place everything that a step takes from one set of inputs."""
        workload = self._workload
        windows = [inputs.window(part) for part in self._parts]
        states = self._begin or tuple(map(self._place, inputs.state))
        lengths = self._place(inputs.lengths)
        calls = [
            Call(
                self._placed_sequence(each.x),
                states,
                lengths,
                self._place(each.masks),
                *map(self._place, name_resets(each.resets, each.reset_to)),
            )
            for each in windows
        ]
        # With an optimizer, the calls use both signs in turn. So the weights stay near their start
        # however long the step is timed.
        signs = () if not workload.training else (1,) if workload.optimizer is None else (1, -1)
        upstreams = [
            [Upstream(self._placed_sequence(sign * each.dy), self._no_gradient) for each in windows]
            for sign in signs
        ]
        return PlacedSet(calls, upstreams)

    def _placed_sequence(self, sequence: FloatArray) -> Tensor:
        return self._place(self._model._swapped(sequence))


def make_step_on_inputs(
    model: Model, inputs: Inputs, mode: str = "inference", gradients: str = "weights"
) -> Step:
    """Place the caller's own inputs on the device, and return the step on them.

    This measures what random inputs do not show, such as sequences whose lengths differ from batch
    to batch, or numbers so small that arithmetic on them is slow.

    Parameters
    ----------
    model, inputs
        The model, and the inputs on the host.
    mode
        ``inference`` or ``training``. In training, ``inputs.dy`` is the gradient of the outputs,
        and the gradient of the final state is zero.
    gradients
        What is differentiated, one of ``GRADIENTS``.

    Raises
    ------
    UnsupportedError
        If the backend cannot compute this.
    """
    timesteps, batch = inputs.x.shape[:2]
    workload = Workload(
        batch,
        timesteps,
        mode,
        min_length=None if inputs.lengths is None else int(inputs.lengths.min()),
        batch_major=model.batch_major,
        gradients=gradients if mode == "training" else "all",
        reset_rate=0.0 if inputs.resets is None else 1.0,
        reset_to=inputs.reset_to,
    )
    model._refuse(workload)
    return Stream(model, workload, given=inputs).step()


def batch_and_timesteps(shape: tuple[int, ...], batch_major: bool) -> tuple[int, int]:
    """Return the batch and the timesteps of an input's shape.

    Raises
    ------
    ValueError
        If the input does not have three axes, or if it has no timesteps or no sequences.
    """
    axes = "[batch, time, feature]" if batch_major else "[time, batch, feature]"
    if len(shape) != 3:
        raise ValueError(f"x has shape {shape}; expected three axes, {axes}")
    batch, timesteps = shape[:2] if batch_major else shape[1::-1]
    if timesteps == 0 or batch == 0:
        what = "timesteps" if timesteps == 0 else "sequences"
        raise ValueError(
            f"x has shape {shape}, which has no {what}; expected at least one ({axes})"
        )
    return batch, timesteps


def check_array(
    spec: LSTMSpec, name: str, value: npt.ArrayLike, shape: tuple[int, ...]
) -> FloatArray:
    """Return an array in the spec's storage type, without a copy if it already has that type.

    Raises
    ------
    ValueError
        If the shape is wrong, if the array does not hold real numbers, or if it has NaN or
        infinity.
    """
    array = np.asarray(value)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; expected {shape}")
    require_real(name, array)
    precision = spec.precision
    exact = array.dtype == precision.storage and precision.variable != "bfloat16"
    quantized = array if exact else spec.quantize(array)
    if not _is_finite(quantized):
        place = tuple(int(k) for k in np.argwhere(~np.isfinite(quantized))[0])
        raise ValueError(
            f"{name}{list(place)} is {array[place]}; "
            f"expected finite numbers that {spec.dtype} can hold"
        )
    return quantized


def _is_finite(array: FloatArray) -> bool:
    """Return whether all numbers of an array are finite."""
    # For few numbers, one product takes a quarter of the time. If it overflows, it proves nothing.
    few = array.size <= 4096 and array.dtype == np.float32
    if few and math.isfinite(np.vdot(array, array)):
        return True
    return bool(np.isfinite(array).all())


def check_state(spec: LSTMSpec, name: str, state: CellState | None, batch: int) -> LSTMState:
    """Return the state, or zeros for None. Raise ValueError if it does not fit the cell."""
    if state is None:
        state = spec.cell.state_type.zeros(spec, batch)
    checked: LSTMState = spec.cell.state_type(*_check_states(spec, name, state, batch))
    return checked


def _check_states(spec: LSTMSpec, name: str, state: CellState, batch: int) -> list[FloatArray]:
    """Return the arrays of a state. Raise ValueError if they do not fit the cell."""
    kind = spec.cell.state_type
    if type(state) is not kind:
        raise ValueError(
            f"{name} is a {type(state).__name__}; expected a {kind.__name__} for the cell "
            f"{spec.cell.name}"
        )
    shape = (spec.state_layers, batch, spec.hidden_size)
    return [
        check_array(spec, f"{name}.{each}", getattr(state, each), shape)
        for each in spec.cell.states
    ]


def check_lengths(
    lengths: npt.ArrayLike | None, batch: int, timesteps: int
) -> npt.NDArray[np.int32] | None:
    """Return the lengths ``[batch]``, or None. Raise ValueError if they do not fit the input."""
    if lengths is None:
        return None
    array = np.asarray(lengths)
    if array.shape != (batch,) or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"lengths has shape {array.shape} and type {array.dtype}; "
            f"expected {batch} integers, one for each sequence"
        )
    if array.min() < 1 or array.max() > timesteps:
        raise ValueError(
            f"lengths holds {array.min()} to {array.max()}; "
            f"expected 1 to the {timesteps} timesteps of x"
        )
    return array.astype(np.int32)


Resets = npt.NDArray[np.bool_]
"""Before which steps sequences start over, ``[T, B]``."""


def check_resets(
    resets: npt.ArrayLike | None, batch: int, timesteps: int, batch_major: bool
) -> Resets | None:
    """Return the resets ``[T, B]``, or None. Raises ValueError if they do not fit."""
    if resets is None:
        return None
    array = np.asarray(resets)
    shape = (batch, timesteps) if batch_major else (timesteps, batch)
    if array.shape != shape or array.dtype != np.bool_:
        raise ValueError(
            f"resets has shape {array.shape} and type {array.dtype}; expected bool of shape {shape}"
        )
    return np.ascontiguousarray(array.T) if batch_major else array


def name_resets(resets: Any, reset_to: str) -> tuple[Any, Any]:
    """Return resets as the two fields of a ``Call``: resets to zeros, and to the initial state."""
    return (None, resets) if reset_to == "initial_state" else (resets, None)


def check_masks(
    spec: LSTMSpec, masks: npt.ArrayLike | None, batch: int, timesteps: int
) -> FloatArray | None:
    """Return the masks ``[L-1, T, B, D*H]``, or None. Raise ValueError if they do not fit."""
    if masks is None:
        return None
    if spec.num_layers == 1:
        raise ValueError(
            "masks are given for one layer; expected None, because dropout acts between layers"
        )
    shape = (spec.num_layers - 1, timesteps, batch, spec.output_size)
    return check_array(spec, "masks", masks, shape)


_RENAMED = {
    "given_step": make_step_on_inputs,
    "checked_array": check_array,
    "checked_state": check_state,
    "checked_lengths": check_lengths,
    "checked_resets": check_resets,
    "checked_masks": check_masks,
    "named_resets": name_resets,
}
"""The functions by their names until version 0.2."""


if not TYPE_CHECKING:  # A type checker should not find other names.

    def __getattr__(name: str) -> Callable[..., object]:
        """Return a function under its old name, with a DeprecationWarning."""
        if name not in _RENAMED:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found: Callable[..., object] = _RENAMED[name]
        warnings.warn(
            f"{__name__}.{name} was renamed and will be removed in the next version; use "
            f"{__name__}.{found.__name__} instead",
            DeprecationWarning,
            stacklevel=2,
        )
        return found
