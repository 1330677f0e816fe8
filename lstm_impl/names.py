"""Read the names of backends: their strategies, options and variants.

This module imports no backend, so that code which only needs names stays quick to import.
"""

import difflib
import importlib.metadata
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lstm_impl.spec import Refusal, UnsupportedError

ENTRY_POINT_GROUP = "lstm_impl.backends"


OURS = "lstm_impl.backends."
"""The package of the built-in strategies, with a folder for each framework."""


@dataclass(frozen=True)
class Strategy:
    """A built-in strategy, with what its ``Backend`` class says of it.

    framework: the package that computes. place: where the class is, as ``module:Class``. flags:
    its options in canonical order. takes_number: whether ``@k`` must follow its name.
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
"""The options of ``CALLED``: ways to call a Keras model, besides ``model(x)``."""

BUILT_IN: dict[str, Strategy] = {
    # Adding a backend is adding its line here.
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

VARIANTS: dict[str, str] = {
    # variant: the function that makes a backend's variant from the backend's id.
    "int8": "lstm_impl.backends.variants:int8",
    "denormal": "lstm_impl.backends.variants:denormal",
    "padded": "lstm_impl.backends.variants:padded",
    "batches": "lstm_impl.backends.variants:batched",
    "buckets": "lstm_impl.backends.variants:buckets",
    "forward": "lstm_impl.backends.variants:forward",
    "replicas": "lstm_impl.backends.tensorflow.replicas:replicated",
}
"""Ways to change a backend, written after a colon: ``torch:int8``."""

INT8 = ("torch", "onnxruntime", "numpy_fused")
"""The backends that have the variant ``int8``."""

REPLICATED = (
    *("keras", "tf_keras", "while_loop", "static_unroll", "partial_unroll", "scan", "block_lstm"),
    *("fused_cpu", "cudnn", "dynamic_rnn", "static_rnn"),
)
"""The strategies that have the variant ``replicas``: TensorFlow's layers."""

FORWARD = "forward"
"""The call of ``model.forward``, which is written as a variant: ``torch:forward``."""

CALLED = ("keras_model", "lstm_impl_model")
"""The strategies whose option is the call of their model: ``keras_model+predict``."""


@dataclass(frozen=True)
class BackendName:
    """The id of a backend in three parts. ``str`` writes the id again, as it was parsed.

    Ids say in two ways which call of a model is timed: ``keras_model+predict`` by an option, and
    ``torch:forward`` by a variant. Both are old, and results are joined by ids, so both stay.

    backend: the strategy with its number and its other options. variants: in the order in which
    they are written. call: the call that a user of the model makes; empty for the backend's own
    step, and for a Keras model the plain call ``model(x)``.
    """

    backend: str
    variants: tuple[str, ...] = ()
    call: str = ""

    @classmethod
    def parse(cls, text: str) -> "BackendName":
        """Return the parts of an id. Any text has parts: it may name a backend elsewhere."""
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
    """Return where each strategy's class is, as ``module:Class``: ours, then entry points'."""
    found = {name: each.place for name, each in BUILT_IN.items()}
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        found.setdefault(point.name, point.value)
    return found


def place(strategy: str) -> str | None:
    """Return where the class of a strategy is, None if there is no such strategy.

    Entry points are read only for a strategy that is not built in: that takes milliseconds, and a
    Keras layer that is called outside a graph gets its backend in each call.
    """
    known = BUILT_IN.get(strategy)
    return strategies().get(strategy) if known is None else known.place


def framework(name: str) -> str:
    """Return the framework of a built-in backend; empty for another package's, or none."""
    match = _NAME.match(name)
    known = BUILT_IN.get(match["strategy"]) if match else None
    return known.framework if known else ""


def parse(name: str) -> tuple[str, list[str], int | None]:
    """Return strategy, options and number of an id without a variant.

    Raises UnsupportedError, with similar names, if there is no such strategy.
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
    """Raise UnsupportedError unless a strategy with these flags takes the options and number."""
    unknown = [option for option in options if option not in flags]
    if unknown:
        known = ", ".join(f"+{flag}" for flag in flags) or "none"
        raise UnsupportedError(
            f"{strategy} has no option +{unknown[0]}; its options are: {known}",
            Refusal.UNKNOWN_NAME,
        )
    if takes_number and number is None:
        raise UnsupportedError(
            f"{strategy} needs a number, as in {strategy}@10: steps per iteration",
            Refusal.UNKNOWN_NAME,
        )
    if number is not None and not takes_number:
        raise UnsupportedError(f"{strategy} takes no number (@{number})", Refusal.UNKNOWN_NAME)
    if number is not None and number < 1:
        raise UnsupportedError(
            f"{strategy}@{number}: the number must be at least 1", Refusal.UNKNOWN_NAME
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
            f"{backend} has no variant int8; {', '.join(INT8)} have one", Refusal.UNKNOWN_NAME
        )
    if variant == "replicas" and parse(backend)[0] not in REPLICATED:
        raise UnsupportedError(
            f"{backend} has no variant replicas; {', '.join(REPLICATED)} have one",
            Refusal.UNKNOWN_NAME,
        )


def canonical(name: str) -> str:
    """Return the canonical id of a backend, without importing it.

    The options of another package's backend are known to its class only, and stay as they are.
    Options that exclude each other are refused by ``get_backend``.

    Raises UnsupportedError if there is no such backend, option or variant.
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
