"""Which backends can compute a Keras layer, which one does, and why, in words.

Pure functions of what the layer was built with and how it is called: no framework is used here,
so that what is picked on a GPU can be tested where there is none.
"""

from __future__ import annotations

from dataclasses import dataclass

from lstm_impl.backend import Backend
from lstm_impl.backends.keras.layer import Keras
from lstm_impl.backends.tensorflow.backend import TensorFlowBackend
from lstm_impl.backends.tensorflow.block_lstm import BlockLSTM
from lstm_impl.backends.tensorflow.cudnn import Cudnn
from lstm_impl.backends.tensorflow.loop import LoopBackend
from lstm_impl.backends.tensorflow.static_unroll import StaticUnroll
from lstm_impl.registry import get_backend
from lstm_impl.spec import PRECISIONS, LSTMSpec, UnsupportedError

AUTO = "auto"
KERAS = "keras"
CUDNN = "cudnn"
FUSED_CPU = "fused_cpu"


@dataclass(frozen=True)
class Arguments:
    """What a layer was built with, as far as it decides who can compute it.

    activation, recurrent_activation: the functions' names.
    dropout, recurrent_dropout: rates.
    implementation: Keras's own argument; 1 draws four dropout masks where 2 draws one.
    use_cudnn: ``"auto"``, True or False, as Keras's argument.
    compute_dtype: the type that products and gates are computed in.
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


Shape = tuple[int | None, int | None, int | None]
"""Batch, timesteps and features, None where they are known at run time only."""


@dataclass(frozen=True)
class LayerCall:
    """How the layer is called.

    device: ``cpu`` or ``gpu``.
    training: Keras's argument: False in ``predict``, ``evaluate`` and where nothing is said.
    traced: whether it becomes part of a graph; else its ops run one by one.
    compiled: whether XLA compiles that graph as a whole.
    batch, timesteps, features: the input's sizes, None where they are known at run time only.
    masked: whether some of its steps may be padding.
    recorded: whether a gradient tape records it.
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

    @property
    def static(self) -> bool:
        """Whether every size is known when a graph is traced.

        Outside a graph all sizes are known too, but the next call may have others.
        """
        return self.traced and None not in (self.batch, self.timesteps, self.features)

    @property
    def where(self) -> str:
        """What the call becomes part of, in words."""
        if self.compiled:
            return "in a graph compiled by XLA"
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
    """A backend for a call.

    backend: its id; ``keras`` is Keras's own code.
    why: in words.
    passed_over: what would have come first, and why it did not.
    fallback: whether it is Keras's own loop because nothing else can serve the arguments (and not
        because nothing else is faster).
    most_sequences: where the batch is known at run time only, the largest for which it is
        ``backend``: for a larger one, of which nothing here is faster, the graph takes Keras's own
        loop instead. None where there is no such branch.
    """

    backend: str
    why: str
    passed_over: tuple[str, ...] = ()
    fallback: bool = False
    most_sequences: int | None = None

    def __str__(self) -> str:
        return "; ".join((f"{self.backend}: {self.why}", *self.passed_over))


@dataclass(frozen=True)
class Explanation:
    """What computes a layer and why: ``str()`` of it, or ``print``, gives the words.

    requested: the argument ``backend``.
    choices: for each way the layer was called (or, before its first call, would be): the choice.
    called: whether the choices are of calls that were made.
    notes: what else decides the speed, such as whether ``fit`` may compile the model by XLA.
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
            if choice.most_sequences is not None:
                lines.append(
                    f"    for batches of up to {choice.most_sequences:,}; for larger ones, when "
                    "they come, the graph takes Keras's own loop"
                )
            lines += [f"    not {reason}" for reason in choice.passed_over]
        return "\n".join(lines + [f"  {note}" for note in self.notes])

    def __repr__(self) -> str:
        # so that a notebook's last line shows the words
        return str(self)


# -- what can serve the arguments


def needs_keras(arguments: Arguments) -> str:
    """Why only Keras's own loop can compute a layer with these arguments, or an empty string."""
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
            "for all four (implementation=2 does)"
        )
    return ""


def obstacle(backend: Backend, arguments: Arguments) -> str:
    """Why this backend cannot compute a layer with these arguments, or an empty string."""
    if isinstance(backend, Keras):
        if backend.options:
            return (
                f"in a layer it is spelled backend={KERAS!r}, with unroll=True for +unroll, "
                "use_cudnn=False for +loop and compile(jit_compile=True) for +xla"
            )
        return ""
    if not isinstance(backend, TensorFlowBackend):
        return f"it computes with {backend.framework}, and a Keras layer needs TensorFlow's tensors"
    if isinstance(backend, BlockLSTM) and "registered" in backend.options:
        return "its gradient is wrong, on purpose; use block_lstm"
    if not isinstance(backend, LoopBackend | BlockLSTM | Cudnn) and keeps_own_layout(backend):
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
        spec = LSTMSpec(1, arguments.units, dtype=arguments.compute_dtype)
        return in_layer(backend).refusal(spec)
    return ""


def keeps_own_layout(backend: TensorFlowBackend) -> bool:
    """Whether what the backend trains is not kernel, recurrent kernel and bias."""
    own = type(backend)
    return (
        own.to_layout is not TensorFlowBackend.to_layout
        or own.pack is not TensorFlowBackend.pack
        or (own.layer is TensorFlowBackend.layer and own.stack is TensorFlowBackend.stack)
    )


def in_layer(backend: TensorFlowBackend) -> TensorFlowBackend:
    """The backend as a layer runs it: its variables are Keras's, so cuDNN's buffer is packed from
    them on every call.
    """
    if isinstance(backend, Cudnn) and "repack" not in backend.options:
        return Cudnn((*backend.options, "repack"))
    return backend


def no_cudnn(arguments: Arguments) -> str:
    """Why cuDNN cannot compute the layer, whatever the device and call, or an empty string."""
    return obstacle(Cudnn(("repack",)), arguments)


def supports_jit(backend: Backend | None, arguments: Arguments, has_gpu: bool) -> bool:
    """Whether XLA may compile a model that holds the layer; ``backend`` is None for ``auto``.

    Keras asks before the first call, so where cuDNN may be picked, the answer is no.
    """
    if backend is None or isinstance(backend, Keras):
        return not (has_gpu and arguments.use_cudnn and not no_cudnn(arguments))
    return can_be_compiled(backend)


def can_be_compiled(backend: Backend) -> bool:
    """Whether XLA can compile a graph that holds this backend's ops."""
    return isinstance(backend, Keras) or "xla" in backend.flags


def jit_notes(supported: bool) -> str:
    """What ``supports_jit`` means for ``fit``, in words."""
    if supported:
        return "compile(jit_compile=True) may compile the whole model by XLA"
    return "the model is not compiled by XLA (supports_jit is False): it cannot compile these ops"


def named(name: str, arguments: Arguments) -> Backend:
    """The backend that a user requested by name.

    Raises UnsupportedError if there is none of this name or it cannot compute the layer.
    """
    backend = get_backend(name)
    if reason := obstacle(backend, arguments):
        raise UnsupportedError(f"backend={name!r} cannot compute this layer: {reason}")
    return backend
