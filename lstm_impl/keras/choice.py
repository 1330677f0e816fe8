"""Choose which backend computes a Keras layer: which can, which ``auto`` picks, and why."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lstm_impl.availability import Availability
from lstm_impl.backend import Backend
from lstm_impl.backends.fused_cpu.backend import FusedCpu
from lstm_impl.backends.keras.layer import Keras
from lstm_impl.backends.tensorflow.backend import TensorFlowBackend
from lstm_impl.backends.tensorflow.block_lstm import BlockLSTM
from lstm_impl.backends.tensorflow.cudnn import Cudnn
from lstm_impl.backends.tensorflow.loops import LoopBackend, StaticUnroll
from lstm_impl.cell import DEFAULT, Cell
from lstm_impl.registry import get_backend
from lstm_impl.spec import (
    PRECISIONS,
    LSTMSpec,
    UnsupportedError,
    find_refusal_code,
    require_positive_integer,
)
from lstm_impl.tuning.decision import Decision, TuningRequest, find_nearest
from lstm_impl.tuning.machine import TunedMachine
from lstm_impl.workload import GRADIENTS, OPTIMIZERS, Workload

AUTO = "auto"
KERAS = "keras"
CUDNN = "cudnn"
FUSED_CPU = "fused_cpu"


@dataclass(frozen=True)
class Arguments:
    """Hold the arguments of a layer that decide which backends can compute it.

    Attributes
    ----------
    units
        The number of units H.
    activation, recurrent_activation
        The names of the functions.
    dropout, recurrent_dropout
        The rates.
    implementation
        Keras's argument. With 1, each gate has its own dropout mask. With 2, all gates share one.
    unroll
        Keras's argument.
    use_cudnn
        Keras's argument: ``"auto"``, True or False.
    compute_dtype
        The type of products and gates.
    cell
        The recurrent cell.
    """

    units: int
    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    implementation: int = 2
    unroll: bool = False
    use_cudnn: bool | str = "auto"
    compute_dtype: str = "float32"
    cell: Cell = DEFAULT

    def spec(self, features: int = 1) -> LSTMSpec:
        """Return the network of one such layer with the given number of input features.

        Raises
        ------
        ValueError
            If ``compute_dtype`` is not one of ``PRECISIONS``.
        """
        return LSTMSpec(features, self.units, dtype=self.compute_dtype, cell=self.cell)


Shape = tuple[int | None, int | None, int | None]
"""The batch size, timesteps and features of an input. A size that is not known yet is None."""


@dataclass(frozen=True)
class LayerCall:
    """Describe a call of a layer.

    Attributes
    ----------
    device
        ``cpu`` or ``gpu``.
    training
        Keras's argument.
    traced
        Whether the call becomes part of a graph. Otherwise its ops run one by one.
    compiled
        Whether XLA compiles that graph.
    batch, timesteps, features
        The sizes of the input. A size that is known only at run time is None.
    masked
        Whether some timesteps may be padding.
    recorded
        Whether a gradient tape records the call.
    keras_step
        Whether the graph is Keras's own train, test or predict function, which is never exported.
    """

    device: str
    training: bool
    traced: bool
    compiled: bool
    batch: int | None
    timesteps: int | None
    features: int | None
    masked: bool = False
    recorded: bool = True
    keras_step: bool = False

    @property
    def static(self) -> bool:
        """Whether a graph is traced and every size is known."""
        return self.traced and None not in (self.batch, self.timesteps, self.features)

    @property
    def where(self) -> str:
        """The kind of graph that the call is part of, in words."""
        if self.compiled:
            return "in a graph compiled by XLA"
        if self.keras_step:
            return f"in Keras's {'fit' if self.training else 'evaluate or predict'}"
        return "in a graph" if self.traced else "outside a graph"

    def __str__(self) -> str:
        sizes = "x".join(
            "?" if size is None else str(size) for size in (self.batch, self.timesteps)
        )
        return (
            f"{'training' if self.training else 'inference'} on {self.device}, "
            f"{self.where}, batch x time {sizes}{', with a mask' if self.masked else ''}"
        )


@dataclass(frozen=True)
class Choice:
    """Hold the choice of a backend for a call.

    Attributes
    ----------
    backend
        The id of the backend. ``keras`` is Keras's own code.
    why
        The reason for the choice.
    passed_over
        The backends that ``auto`` prefers but that cannot compute the call, each with its reason.
    fallback
        Whether Keras's loop was chosen because no backend can serve the arguments. It is False if
        the loop was chosen because no backend is faster.
    portable
        Whether the graph contains a function of TensorFlow's ops, which the fused op replaces in a
        process that has loaded this library.
    """

    backend: str
    why: str
    passed_over: tuple[str, ...] = ()
    fallback: bool = False
    portable: bool = False

    def __str__(self) -> str:
        return "; ".join((f"{self.backend}: {self.why}", *self.passed_over))


@dataclass(frozen=True)
class Explanation:
    """Explain which backend computes a layer, and why. ``print`` and ``str`` make it a text.

    Attributes
    ----------
    requested
        The argument ``backend``.
    choices
        The choice for each way in which the layer was called. Before the first call, these are the
        calls that are expected.
    called
        Whether these calls were made.
    notes
        What else decides the speed, such as whether ``fit`` may compile the model with XLA.
    """

    requested: str
    choices: tuple[tuple[LayerCall, Choice], ...]
    called: bool
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f'backend="{self.requested}"' + ("" if self.called else ", not called yet")]
        for call, choice in self.choices:
            lines.append(f"  {call}: {choice.backend}")
            lines.append(f"    because {choice.why}")
            lines += [f"    not {reason}" for reason in choice.passed_over]
        return "\n".join(lines + [f"  {note}" for note in self.notes])

    def __repr__(self) -> str:
        return str(self)  # A notebook shows the repr.


# -- which backends can compute a layer with these arguments


def needs_keras(arguments: Arguments) -> str:
    """Return why only Keras's loop can compute a layer with these arguments, or an empty string."""
    if arguments.activation != "tanh":
        return f"activation={arguments.activation!r}, and the backends compute tanh"
    if arguments.recurrent_activation != "sigmoid":
        return (
            f"recurrent_activation={arguments.recurrent_activation!r}, "
            "and the backends compute sigmoid"
        )
    if arguments.recurrent_dropout:
        return (
            f"recurrent_dropout={arguments.recurrent_dropout}, and the backends have no dropout "
            "inside the loop"
        )
    if arguments.dropout and arguments.implementation == 1:
        return (
            "implementation=1 drops other units for each gate, and the backends take one input "
            "for all of them (implementation=2 does)"
        )
    return ""


def obstacle(backend: Backend, arguments: Arguments) -> str:
    """Return why a backend cannot compute a layer with the given arguments, or an empty string."""
    if isinstance(backend, Keras):
        if backend.options:
            return (
                f"in a layer it is written backend={KERAS!r}, with unroll=True for +unroll, "
                "use_cudnn=False for +loop and compile(jit_compile=True) for +xla"
            )
        return ""
    if not isinstance(backend, TensorFlowBackend):
        return f"it computes with {backend.framework}, and a Keras layer needs TensorFlow's tensors"
    if isinstance(backend, BlockLSTM) and "registered" in backend.options:
        return "its gradient is wrong, on purpose; use block_lstm"
    if not isinstance(backend, LoopBackend | BlockLSTM | FusedCpu | Cudnn) and has_own_layout(
        backend
    ):
        return "it keeps its weights in cells of its own, and a Keras layer has Keras's"
    if reason := needs_keras(arguments):
        return f"the layer has {reason}; use backend={AUTO!r} or {KERAS!r}"
    if arguments.unroll and not isinstance(backend, StaticUnroll):
        return "the layer has unroll=True, which static_unroll does; leave one of the two out"
    if arguments.use_cudnn is True and not isinstance(backend, Cudnn):
        return f"the layer has use_cudnn=True; leave it out, or use backend={CUDNN!r}"
    if arguments.use_cudnn is False and isinstance(backend, Cudnn):
        return "the layer has use_cudnn=False; leave one of the two out"
    if arguments.compute_dtype in PRECISIONS:
        return in_layer(backend).refusal(arguments.spec())
    return ""


def has_own_layout(backend: TensorFlowBackend) -> bool:
    """Return whether a backend trains arrays other than kernel, recurrent kernel and bias."""
    own, base = type(backend), TensorFlowBackend
    if own.to_layout is not base.to_layout or own.pack is not base.pack:
        return True
    return own.layer is base.layer and own.stack is base.stack


def in_layer(backend: TensorFlowBackend) -> TensorFlowBackend:
    """Return the backend that a layer runs. cuDNN's packs its buffer from Keras's variables."""
    if isinstance(backend, Cudnn) and "repack" not in backend.options:
        return Cudnn((*backend.options, "repack"))
    return backend


def no_cudnn(arguments: Arguments) -> str:
    """Return why cuDNN cannot compute the layer on any device, or an empty string."""
    return obstacle(Cudnn(("repack",)), arguments)


def supports_jit(backend: Backend | None, arguments: Arguments, has_gpu: bool) -> bool:
    """Return whether XLA may compile a model with the layer.

    ``backend`` is None for ``auto``.
    """
    if backend is None or isinstance(backend, Keras):
        return not (has_gpu and arguments.use_cudnn and not no_cudnn(arguments))
    return can_be_compiled(backend)


def can_be_compiled(backend: Backend) -> bool:
    """Return whether XLA can compile a graph with the ops of this backend."""
    return isinstance(backend, Keras) or "xla" in backend.flags


def requested_backend(name: str, arguments: Arguments) -> Backend:
    """Return the backend that a user requested by name, or raise UnsupportedError."""
    backend = get_backend(name)
    if reason := obstacle(backend, arguments):
        text = f"backend={name!r} cannot compute this layer: {reason}"
        raise UnsupportedError(text, find_refusal_code(reason))
    return backend


# -- what auto picks for a call without a race

NOT_COMPILED = "XLA cannot compile its op, and compiles the graph that the layer is in"
"""The reason for passing over a backend in a graph that XLA compiles."""

NOT_SERVED = "use_cudnn=True cannot be served: {}; leave it out to let auto pick another"
"""The error for ``use_cudnn=True``, with a place for the reason."""

BY_HAND = "the hand-written gradient has only the recurrent part in its loop"
"""The reason for choosing ``while_loop+hoisted``."""


def check_auto(arguments: Arguments) -> None:
    """Raise UnsupportedError if the arguments leave ``auto`` nothing to choose."""
    if arguments.use_cudnn is True and (reason := no_cudnn(arguments)):
        raise UnsupportedError(NOT_SERVED.format(reason))


def choose(arguments: Arguments, call: LayerCall, fused: Availability) -> Choice:
    """Choose a backend for a call by the rule of ``backend="auto"``, without a race."""
    check_auto(arguments)
    if arguments.use_cudnn is True:
        if call.device != "gpu":
            only = "cuDNN runs on NVIDIA GPUs only"
            where = f"{only}, and the layer runs on the {call.device}"
            raise UnsupportedError(NOT_SERVED.format(where))
        if call.compiled:
            raise UnsupportedError(NOT_SERVED.format(f"cuDNN: {NOT_COMPILED}"))
    if reason := needs_keras(arguments):
        return Choice(KERAS, f"only Keras's own loop can: the layer has {reason}", (), True)
    passed_over: tuple[str, ...] = ()
    if call.device == "gpu":
        reason = NOT_COMPILED if call.compiled else no_cudnn(arguments)
        if not reason:
            return Choice(CUDNN, "it is the fused kernel made for this, and the layer fits it")
        passed_over = (f"{CUDNN}: {reason}",)
    if arguments.unroll:
        option = "hoisted" if call.training else "preproject"
        return Choice(f"static_unroll+{option}", "the layer has unroll=True", passed_over)
    if call.compiled:
        why = "it is a small graph that XLA compiles well, with all that is around it"
        return Choice("while_loop+hoisted" if call.training else "while_loop", why, passed_over)
    if call.device == "gpu":
        if call.static:
            why = "all sizes are known, and one compiled loop launches far fewer kernels"
            return Choice("while_loop+hoisted+xla", why, passed_over)
        return Choice("while_loop+hoisted", BY_HAND, (*passed_over, f"XLA: {not_static(call)}"))
    reason = obstacle(get_backend(FUSED_CPU), arguments) or ("" if fused else str(fused))
    if not reason:
        return fused_choice("one op for all steps, and one for their gradient", call)
    why = "nothing else here is faster at every size on a CPU; tune() finds what is at yours"
    return Choice(KERAS, why, (f"{FUSED_CPU}: {reason}",))


def fused_choice(why: str, call: LayerCall, passed_over: tuple[str, ...] = ()) -> Choice:
    """Choose the fused op for a call. It is portable if the graph may be saved."""
    # A user may save such a graph and run it without this library.
    portable = call.traced and not call.keras_step and not (call.training and call.recorded)
    if portable:
        why += (
            "; the graph may be saved, so it holds a loop of TensorFlow's ops, in whose place "
            "the op runs where this library is loaded"
        )
    return Choice(FUSED_CPU, why, passed_over, portable=portable)


def not_static(call: LayerCall) -> str:
    """Return why ``auto`` does not compile a call on its own with XLA."""
    if not call.traced:
        return "outside a graph the next call may have another shape, and would be compiled again"
    return "a size is known at run time only, and each new one would be compiled again"


# -- what auto picks from races

LAYERS_GRADIENTS = "weights+input"
"""The gradients of the training step of a race: those that every layer but the first of a model
computes."""


@dataclass(frozen=True)
class Sizes:
    """Hold the sizes that a user expects of calls whose sizes are unknown when they are traced.

    Attributes
    ----------
    batch, timesteps
        The batch size and the number of timesteps.
    min_length
        The valid timesteps of the shortest sequence, or None if all sequences are complete.
    """

    batch: int
    timesteps: int
    min_length: int | None = None

    def __post_init__(self) -> None:
        require_positive_integer("batch_size", self.batch)
        require_positive_integer("steps", self.timesteps)
        if self.min_length is not None:
            require_positive_integer("min_length", self.min_length, self.timesteps)


def request(
    arguments: Arguments, call: LayerCall, machine: TunedMachine, sizes: Sizes | None
) -> TuningRequest | None:
    """Return the request with which to search the decisions for a call.

    Return None if the sizes of the call are unknown.
    """
    batch = call.batch or (sizes and sizes.batch)
    timesteps = call.timesteps or (sizes and sizes.timesteps)
    if not (batch and timesteps and call.features and arguments.compute_dtype in PRECISIONS):
        return None
    work = Workload(batch, timesteps)
    if call.masked:
        # A call does not tell the lengths of its sequences, and a decision holds for all lengths.
        shortest = (sizes and sizes.min_length) or 1
        work = replace(work, min_length=min(shortest, timesteps))
    if call.training:
        # At a rate of 1, Keras's layer drops nothing.
        dropout = arguments.dropout if arguments.dropout < 1 else 0.0
        work = replace(work, mode="training", dropout=dropout, gradients=LAYERS_GRADIENTS)
    return TuningRequest(arguments.spec(call.features), work, "keras", machine)


def decision(requested: TuningRequest, decisions: Sequence[Decision]) -> Decision | None:
    """Return the nearest decision from a race of layers, or else of models on the same work."""
    alike, work = [requested], requested.workload
    # A model has dropout between its layers, so a network of one layer has none.
    if not work.dropout:
        by_model = replace(requested, through="model")
        alike += [
            replace(by_model, workload=replace(work, gradients=gradients, optimizer=optimizer))
            for gradients in ((work.gradients, *GRADIENTS) if work.training else ("all",))
            for optimizer in ((None, *OPTIMIZERS) if work.training else (None,))
        ]
    return next((found for each in alike if (found := find_nearest(each, list(decisions)))), None)


def raced_choice(
    found: Decision, arguments: Arguments, call: LayerCall, rule: Choice
) -> Choice | None:
    """Choose the fastest backend of a race that can compute the call, or return None."""
    obstacle_to = functools.cache(lambda name: _obstacle_in_call(name, arguments, call))
    name = found.best(lambda name: not obstacle_to(name))
    if not name:
        return None
    why = (
        f"it was the fastest of {sum(1 for each in found.raced if not each.problem)} raced "
        f"at {found.question.sizes} ({found.made}, {found.by})"
    )
    ours, theirs = found.find_result(name), found.find_result(rule.backend)
    if name == rule.backend:
        why += ", or as fast: the rule would have picked it too"
    elif ours and theirs and not theirs.problem:
        why += f", {theirs.ratio / ours.ratio:.2f} times as fast as the rule's {rule.backend}"
        if ours.ratio == 1.0:
            why += f" ({theirs.low:.2f} to {theirs.high:.2f})"
    else:
        why += f"; the rule would have picked {rule.backend}"
    faster = []
    for each in found.raced:
        if each.backend == name or each.problem:
            break
        if reason := obstacle_to(each.backend):
            faster.append(f"{each.backend}: {reason}")
    if name == FUSED_CPU:
        return fused_choice(why, call, tuple(faster))
    return Choice(name, why, tuple(faster))


def _obstacle_in_call(name: str, arguments: Arguments, call: LayerCall) -> str:
    """Return why a backend of a race cannot compute this call, or an empty string."""
    try:
        backend = get_backend(name)
    except UnsupportedError as error:
        return str(error)
    if reason := obstacle(backend, arguments):
        return reason
    if call.compiled and not can_be_compiled(backend):
        return NOT_COMPILED
    if isinstance(backend, TensorFlowBackend) and backend.xla and not call.static:
        return not_static(call)
    available = backend.availability(call.device)
    return "" if available else str(available)
