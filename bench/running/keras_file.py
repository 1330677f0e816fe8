"""The LSTM layers of a Keras model's file, read from its configuration; none of its code is run.

A ``.keras`` file is a zip archive whose ``config.json`` says how each layer was made and built
(Keras's documentation of saving). This module knows that file and nothing of Keras.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bench.disk.errors import InputError
from bench.disk.fields import printable

LARGEST = 64 * 2**20
"""Bytes of a configuration; a model of 10,000 layers has a tenth of it."""

_LAYERS = ("LSTM",)
_DEEPEST = 200  # nested models; what is deeper is no model that somebody trains


class ModelError(InputError):
    """A model's file cannot be read; one line that names it and says what to do."""


@dataclass(frozen=True)
class Layer:
    """An LSTM of a model. bidirectional: inside ``keras.layers.Bidirectional``."""

    name: str
    input_size: int
    units: int
    dtype: str
    bidirectional: bool = False


def lstm_layers(path: Path) -> list[Layer]:
    """All LSTM layers of a model, in its order.

    Raises ModelError for a file that is no ``.keras`` archive, a layer that was never built, and a
    model without an LSTM.
    """
    where = printable(str(path))
    if path.is_dir() or path.suffix != ".keras":
        raise ModelError(
            f"{where}: expected a .keras file, or the folder of a SavedModel; write one: "
            "model.save('model.keras')"
        )
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise ModelError(f"{where}: is not a regular file")
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo("config.json")
            if info.file_size > LARGEST:
                raise ModelError(f"{where}: its config.json is larger than {LARGEST:,} bytes")
            with archive.open(info) as file:
                config = json.loads(file.read(LARGEST + 1))
    except FileNotFoundError:
        raise ModelError(f"{where}: there is no such file") from None
    except (KeyError, zipfile.BadZipFile, ValueError, RecursionError, NotImplementedError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{where}: is no model that Keras 3 saved: {error}") from None
    except OSError as error:
        raise ModelError(f"{where}: cannot be read: {error.strerror or error}") from None
    found = list(_layers(config, where, None, 0))
    if not found:
        raise ModelError(f"{where}: has no keras.layers.LSTM")
    return found


def _layers(node: object, where: str, shape: object, depth: int) -> Iterator[Layer]:
    if depth > _DEEPEST:
        raise ModelError(f"{where}: its configuration is nested too deeply")
    if isinstance(node, list):
        for each in node:
            yield from _layers(each, where, None, depth + 1)
    if not isinstance(node, Mapping):
        return
    built, config = node.get("build_config"), node.get("config")
    if isinstance(built, Mapping):
        own = built.get("input_shape", built.get("shape"))
        shape = shape if own is None else own
    kind = node.get("class_name")
    if kind in _LAYERS and isinstance(config, Mapping):
        yield _layer(config, shape, where)
        return
    if kind == "Bidirectional" and isinstance(config, Mapping):
        # Its layer may be built by itself, or with what is around it.
        for each in _layers(config.get("layer"), where, shape, depth + 1):
            yield replace(each, bidirectional=True)
        return
    for each in node.values():
        yield from _layers(each, where, None, depth + 1)


def _layer(config: Mapping[str, object], shape: object, where: str) -> Layer:
    name, units = config.get("name"), config.get("units")
    told = printable(str(name), 60)
    if not isinstance(units, int) or isinstance(units, bool) or units < 1:
        raise ModelError(f"{where}: layer {told}: units is {units!r}; expected a positive integer")
    size = shape[-1] if isinstance(shape, list) and len(shape) == 3 else None
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ModelError(
            f"{where}: layer {told} was saved before it was built, so that its input size is not "
            "known; call the model once and save it again"
        )
    dtype = config.get("dtype")
    if isinstance(dtype, Mapping):
        policy = dtype.get("config")
        dtype = policy.get("name") if isinstance(policy, Mapping) else None
    return Layer(told, size, units, dtype if isinstance(dtype, str) else "float32")
