"""Parse the ids of backends into strategies, options and variants.

This module imports no backend, so that code which needs only names starts quickly.
"""

import difflib
import importlib.metadata
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lstm_impl.spec import Refusal, UnsupportedError

ENTRY_POINT_GROUP = "lstm_impl.backends"
"""The entry point group in which other packages register backends: a name and a class."""


OURS = "lstm_impl.backends."
"""The package of the built-in strategies, which has a folder for each framework."""


@dataclass(frozen=True)
class Strategy:
    """Describe a built-in strategy as its ``Backend`` class does, without importing the class.

    Attributes
    ----------
    framework
        The name of the framework that computes.
    place
        The class, as ``module:Class``.
    flags
        The options, in canonical order.
    takes_number
        Whether ``@k`` must follow the name.
    """

    framework: str
    place: str
    flags: tuple[str, ...] = ()
    takes_number: bool = False


def _ours(framework: str, place: str, *flags: str, takes_number: bool = False) -> Strategy:
    return Strategy(framework, f"{OURS}{place}", flags, takes_number)


_LOOP = ("preproject", "hoisted", "xla")
CALLS = (
    *("function", "predict", "predict_on_batch", "signature"),
    *("litert", "onnx", "fit", "train_on_batch"),
)
"""The options of the strategies in ``CALLED``: ways to call a Keras model other than ``model(x)``.
"""

BUILT_IN: dict[str, Strategy] = {
    # To add a backend, add its line here.
    "numpy": _ours("numpy", "others.numpy_loop:NumPyLoop"),
    "numpy_fused": _ours("numpy", "others.numpy_fused:NumPyFused"),
    "static_unroll": _ours("tensorflow", "tensorflow.loops:StaticUnroll", *_LOOP),
    "while_loop": _ours("tensorflow", "tensorflow.loops:WhileLoop", *_LOOP),
    "partial_unroll": _ours(
        "tensorflow", "tensorflow.loops:PartialUnroll", *_LOOP, takes_number=True
    ),
    "scan": _ours("tensorflow", "tensorflow.loops:Scan", *_LOOP),
    "block_lstm": _ours("tensorflow", "tensorflow.block_lstm:BlockLSTM", "registered"),
    "fused_cpu": _ours("tensorflow", "fused_cpu:FusedCpu"),
    "cudnn": _ours(
        "tensorflow", "tensorflow.cudnn:Cudnn", "lengths", "repack", "training", "untuned"
    ),
    "torch": _ours("torch", "torch.lstm:Torch", "frozen"),
    "torch_fused_cpu": _ours("torch", "torch.fused_cpu:TorchFusedCpu"),
    "torch_compile": _ours("torch", "torch.compiled:TorchCompile", "cell"),
    "jax_scan": _ours("jax", "jax.scan:JaxScan", "preproject"),
    "jax_fused_cpu": _ours("jax", "jax.fused_cpu:JaxFusedCpu"),
    "jax_cudnn": _ours("jax", "jax.cudnn:JaxCudnn"),
    "flax": _ours("flax", "jax.flax:Flax"),
    "onnxruntime": _ours("onnxruntime", "onnx.runtime:OnnxRuntime"),
    "tinygrad": _ours("tinygrad", "tinygrad.lstm:Tinygrad"),
    "litert": _ours("litert", "others.litert:LiteRT", "preproject", "fused"),
    "keras": _ours("tensorflow", "keras.layer:Keras", "unroll", "loop", "xla"),
    "tf_keras": _ours("tensorflow", "keras.layer:TfKeras", "unroll", "xla"),
    "keras_model": _ours("tensorflow", "keras.model:KerasModel", *CALLS),
    "lstm_impl_model": _ours("tensorflow", "keras.model:LstmImplModel", *CALLS),
    "keras_jax": _ours("jax", "keras.elsewhere:KerasJax", "unroll", "loop"),
    "keras_torch": _ours("torch", "keras.elsewhere:KerasTorch", "loop"),
    "openvino": _ours("openvino", "others.openvino:OpenVINO", "throughput"),
    "keras_openvino": _ours("openvino", "keras.elsewhere:KerasOpenVINO"),
    "dynamic_rnn": _ours("tensorflow", "tensorflow.legacy_rnn:DynamicRNN"),
    "static_rnn": _ours("tensorflow", "tensorflow.legacy_rnn:StaticRNN"),
}
"""The built-in strategies by name. Their order is that of tables and lists."""

VARIANTS: dict[str, str] = {
    # By variant, the function that makes this variant of a backend from the backend's id.
    "int8": "lstm_impl.backends.variants:int8",
    "denormal": "lstm_impl.backends.variants:denormal",
    "padded": "lstm_impl.backends.variants:padded",
    "batches": "lstm_impl.backends.variants:batched",
    "buckets": "lstm_impl.backends.variants:buckets",
    "forward": "lstm_impl.backends.variants:forward",
    "replicas": "lstm_impl.backends.tensorflow.replicas:replicated",
    "split": "lstm_impl.backends.torch.resets:split",
    "steps": "lstm_impl.backends.torch.resets:steps",
}
"""The ways to change a backend. They are written after a colon, as in ``torch:int8``."""

INT8 = ("torch", "onnxruntime", "numpy_fused")
"""The backends that have the variant ``int8``."""

RESET = ("torch",)
"""The backends that have the variants ``split`` and ``steps``: what users write for resets."""

REPLICATED = (
    *("keras", "tf_keras", "while_loop", "static_unroll", "partial_unroll", "scan", "block_lstm"),
    *("fused_cpu", "cudnn", "dynamic_rnn", "static_rnn"),
)
"""The strategies that have the variant ``replicas``: TensorFlow's layers."""

FORWARD = "forward"
"""The call of ``model.forward``. Ids write it as a variant: ``torch:forward``."""

CALLED = ("keras_model", "lstm_impl_model")
"""The strategies that name the call of their model by an option: ``keras_model+predict``."""


@dataclass(frozen=True)
class BackendName:
    """Hold the three parts of a backend's id. ``str`` returns the id again.

    Ids have two ways to say which call of a model is timed: ``keras_model+predict`` has an option,
    and ``torch:forward`` has a variant. Both ways are old. Results of different sessions are joined
    by their ids, so both ways stay.

    Attributes
    ----------
    backend
        The strategy with its number and its other options.
    variants
        The variants, in the order in which they are written.
    call
        The call that a user of the model makes. It is empty for the backend's own step and for the
        plain call ``model(x)`` of a Keras model.
    """

    backend: str
    variants: tuple[str, ...] = ()
    call: str = ""

    @classmethod
    def parse(cls, text: str) -> "BackendName":
        """Split an id into its parts. Any text has parts, as it may name a backend elsewhere."""
        backend, *variants = text.split(":")
        if variants and variants[-1] == FORWARD:
            return cls(backend, tuple(variants[:-1]), FORWARD)
        strategy, _, option = backend.partition("+")
        if not variants and strategy in CALLED and option in CALLS:
            return cls(strategy, (), option)
        return cls(backend, tuple(variants))

    def __str__(self) -> str:
        if self.call in CALLS:
            return f"{self.backend}+{self.call}"
        return ":".join((self.backend, *self.variants, *filter(None, [self.call])))


_NAME = re.compile(r"(?P<strategy>\w+)(@(?P<number>\d{1,9}))?(?P<flags>(\+\w+)*)", re.ASCII)


def strategies() -> dict[str, str]:
    """Return the class of each strategy as ``module:Class``. The built-in strategies come first."""
    found = {name: each.place for name, each in BUILT_IN.items()}
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        found.setdefault(point.name, point.value)
    return found


def place(strategy: str) -> str | None:
    """Return the class of a strategy as ``module:Class``, or None if there is no such strategy.

    Entry points are read only if the strategy is not built in. Reading them takes milliseconds, and
    a Keras layer outside a graph asks for its backend in each call.
    """
    known = BUILT_IN.get(strategy)
    return strategies().get(strategy) if known is None else known.place


def framework(name: str) -> str:
    """Return the framework of a built-in backend. It is empty for any other backend."""
    match = _NAME.match(name)
    known = BUILT_IN.get(match["strategy"]) if match else None
    return known.framework if known else ""


def parse(name: str) -> tuple[str, list[str], int | None]:
    """Split an id without a variant into its strategy, options and number.

    Raises
    ------
    UnsupportedError
        If there is no such strategy. The message names similar ones.
    """
    match = _NAME.fullmatch(name)
    if match is None or place(match["strategy"]) is None:
        strategy = re.split(r"[+@]", name)[0]
        written = name[len(strategy) :].replace(" ", "")
        close = difflib.get_close_matches(strategy.strip(), strategies(), n=3, cutoff=0.4)
        names = " or ".join(each + written for each in close)
        hint = f"did you mean {names}?" if close else "see lstm_impl.list_backends()"
        raise UnsupportedError(f"there is no backend {name!r}; {hint}", Refusal.UNKNOWN_NAME)
    options = [flag for flag in match["flags"].split("+") if flag]
    return match["strategy"], options, None if match["number"] is None else int(match["number"])


def check_options(
    strategy: str,
    flags: Sequence[str],
    takes_number: bool,
    options: Sequence[str],
    number: int | None,
) -> None:
    """Raise UnsupportedError unless a strategy takes these options and this number."""
    unknown = [option for option in options if option not in flags]
    if unknown:
        known = ", ".join(f"+{flag}" for flag in flags) or "none"
        raise UnsupportedError(
            f"{strategy} has no option +{unknown[0]}; its options are: {known}",
            Refusal.UNKNOWN_NAME,
        )
    if takes_number and number is None:
        raise UnsupportedError(
            f"{strategy} needs a number, the steps per iteration, as in {strategy}@10",
            Refusal.UNKNOWN_NAME,
        )
    if number is not None and not takes_number:
        raise UnsupportedError(
            f"{strategy} takes no number; leave @{number} out", Refusal.UNKNOWN_NAME
        )
    if number is not None and number < 1:
        raise UnsupportedError(
            f"{strategy}@{number} has a number below 1; expected at least 1", Refusal.UNKNOWN_NAME
        )


def join(strategy: str, flags: Sequence[str], options: Sequence[str], number: int | None) -> str:
    """Return the id of a strategy with these options, in the order of ``flags``."""
    known = strategy if number is None else f"{strategy}@{number}"
    return "+".join((known, *(flag for flag in flags if flag in options)))


def check_variant(backend: str, variant: str) -> None:
    """Raise UnsupportedError unless the backend with this canonical id has the variant."""
    if variant not in VARIANTS:
        raise UnsupportedError(
            f"there is no variant {variant!r} of {backend}; the variants are {', '.join(VARIANTS)}",
            Refusal.UNKNOWN_NAME,
        )
    if variant == "int8" and backend not in INT8:
        raise UnsupportedError(
            f"{backend} has no variant int8; only {', '.join(INT8)} have it", Refusal.UNKNOWN_NAME
        )
    if variant in ("split", "steps") and backend not in RESET:
        raise UnsupportedError(
            f"{backend} has no variant {variant}; only {', '.join(RESET)} has it",
            Refusal.UNKNOWN_NAME,
        )
    if variant == "replicas" and parse(backend)[0] not in REPLICATED:
        raise UnsupportedError(
            f"{backend} has no variant replicas; only {', '.join(REPLICATED)} have it",
            Refusal.UNKNOWN_NAME,
        )


def canonical(name: str) -> str:
    """Return the canonical id of a backend without importing it.

    The options of another package's backend stay as they are written, because only its class knows
    them. Options that exclude each other are refused later, by ``get_backend``.

    Raises
    ------
    UnsupportedError
        If there is no such backend, option or variant.
    """
    plain, colon, variant = name.rpartition(":")
    if colon:
        backend = canonical(plain)
        check_variant(backend, variant)
        return f"{backend}:{variant}"
    strategy, options, number = parse(name)
    known = BUILT_IN.get(strategy)
    if known is None:
        return name
    check_options(strategy, known.flags, known.takes_number, options, number)
    return join(strategy, known.flags, options, number)
