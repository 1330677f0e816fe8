"""Where each backend is found: the built-in ones and those that other packages bring."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import re
import traceback

from lstm_impl.availability import UnavailableError
from lstm_impl.backend import Backend
from lstm_impl.spec import UnsupportedError

_BUILT_IN: dict[str, str] = {
    # strategy: where its Backend class is. Adding a backend is adding its line here.
    "numpy": "lstm_impl.backends.others.numpy_loop:NumPyLoop",
    "static_unroll": "lstm_impl.backends.tensorflow.loops:StaticUnroll",
    "while_loop": "lstm_impl.backends.tensorflow.loops:WhileLoop",
    "partial_unroll": "lstm_impl.backends.tensorflow.loops:PartialUnroll",
    "scan": "lstm_impl.backends.tensorflow.loops:Scan",
    "block_lstm": "lstm_impl.backends.tensorflow.block_lstm:BlockLSTM",
    "fused_cpu": "lstm_impl.backends.fused_cpu:FusedCpu",
    "cudnn": "lstm_impl.backends.tensorflow.cudnn:Cudnn",
    "torch": "lstm_impl.backends.torch.lstm:Torch",
    "torch_compile": "lstm_impl.backends.torch.compiled:TorchCompile",
    "jax_scan": "lstm_impl.backends.jax.scan:JaxScan",
    "jax_cudnn": "lstm_impl.backends.jax.cudnn:JaxCudnn",
    "flax": "lstm_impl.backends.jax.flax:Flax",
    "onnxruntime": "lstm_impl.backends.onnx.runtime:OnnxRuntime",
    "litert": "lstm_impl.backends.others.litert:LiteRT",
    "flashrnn": "lstm_impl.backends.torch.flashrnn:FlashRNN",
    "keras": "lstm_impl.backends.keras.layer:Keras",
    "tf_keras": "lstm_impl.backends.keras.layer:TfKeras",
    "keras_model": "lstm_impl.backends.keras.model:KerasModel",
    "lstm_impl_model": "lstm_impl.backends.keras.model:LstmImplModel",
    "keras_jax": "lstm_impl.backends.keras.elsewhere:KerasJax",
    "keras_torch": "lstm_impl.backends.keras.elsewhere:KerasTorch",
    "openvino": "lstm_impl.backends.others.openvino:OpenVINO",
    "keras_openvino": "lstm_impl.backends.keras.elsewhere:KerasOpenVINO",
    "dynamic_rnn": "lstm_impl.backends.tensorflow.legacy_rnn:DynamicRNN",
    "static_rnn": "lstm_impl.backends.tensorflow.legacy_rnn:StaticRNN",
}

VARIANTS: dict[str, str] = {
    # variant: the function that makes a backend's variant from the backend's id.
    "int8": "lstm_impl.int8:int8",
    "denormal": "lstm_impl.backends.variants:denormal",
    "padded": "lstm_impl.backends.variants:padded",
    "batches": "lstm_impl.backends.variants:batched",
    "buckets": "lstm_impl.backends.variants:buckets",
}
"""Ways to change a backend, written after a colon: ``torch:int8``."""

ENTRY_POINT_GROUP = "lstm_impl.backends"

_ID = re.compile(r"(?P<strategy>\w+)(@(?P<number>\d{1,9}))?(?P<flags>(\+\w+)*)", re.ASCII)


def strategies() -> dict[str, str]:
    """Where each strategy's Backend class is, as ``module:Class``: ours, then entry points."""
    found = dict(_BUILT_IN)
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        found.setdefault(point.name, point.value)
    return found


def _place(strategy: str) -> str | None:
    """Where the class of one strategy is. Ours come first, and need no look at other packages:
    reading what every installed package says of itself takes milliseconds, and a layer that is
    called outside a graph looks in each call.
    """
    return _BUILT_IN.get(strategy) or strategies().get(strategy)


def list_backends() -> list[str]:
    """The ids of all known backends, whatever is installed."""
    names = []
    for strategy in strategies():
        try:
            names += variants(strategy)
        except UnsupportedError:
            names.append(strategy)
    return names


def variants(strategy: str) -> list[str]:
    """The ids of one strategy that ``list_backends`` shows."""
    kind = _load(strategy)
    try:
        return [str(each) for each in kind.variants()]
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise UnavailableError(f"backend {strategy!r} names no variants: {_said(error)}") from error


def get_backend(name: str) -> Backend:
    """The backend with this id: ``while_loop+xla``, ``partial_unroll@10``, ``torch:int8``, ..."""
    plain, colon, variant = name.rpartition(":")
    if colon:
        return _variant(get_backend(plain).name, variant)
    match = _ID.fullmatch(name)
    if match is None or _place(match["strategy"]) is None:
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


def _variant(backend: str, variant: str) -> Backend:
    if variant not in VARIANTS:
        raise UnsupportedError(
            f"there is no variant {variant!r} of {backend}; the variants are {', '.join(VARIANTS)}"
        )
    module, _, function = VARIANTS[variant].partition(":")
    made: Backend = getattr(importlib.import_module(module), function)(backend)
    return made


def _said(error: BaseException) -> str:
    """Of another package's error, its kind and words, even if asking for these is an error too."""
    return traceback.format_exception_only(error)[-1].strip()


def _load(strategy: str) -> type[Backend]:
    module, _, attribute = (_place(strategy) or "").partition(":")
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
