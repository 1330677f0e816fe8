"""The LSTM layers of a Keras model's file, or of a SavedModel; none of their code is run.

A ``.keras`` file is a zip archive whose ``config.json`` says how each layer was made and built
(Keras's documentation of saving). A SavedModel holds operations and no layers. But what Keras 2
saves and Keras 3 exports keeps each variable's path (``sequential/encoder/lstm_cell/kernel``), and
the two matrices of a cell say the rest: ``[input, 4 units]`` and ``[units, 4 units]``. A cell under
another name than Keras gives it, or one whose variables were folded into constants, is not found.
Its file is a protocol buffer (tensorflow/core/protobuf/saved_model.proto,
saved_object_graph.proto); the few fields that are wanted are read from its wire format, since
importing TensorFlow for them would take seconds and run what the file says. This module knows these
files and nothing of Keras or TensorFlow.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bench.machine.fields import InputError, ResultError, printable
from bench.machine.reading import regular_bytes

LARGEST_CONFIG = 64 * 2**20
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
    """All LSTM layers of a model, in the order of its file, or of a SavedModel's variables.

    Raises ModelError for what is neither, a layer that was never built, and a model that has, or
    names, no LSTM.
    """
    return _of_saved_model(path) if path.is_dir() else _of_keras_file(path)


def _of_keras_file(path: Path) -> list[Layer]:
    where = printable(str(path))
    if path.suffix != ".keras":
        raise ModelError(
            f"{where}: expected a .keras file, or the folder of a SavedModel; write one: "
            "model.save('model.keras')"
        )
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise ModelError(f"{where}: is not a regular file")
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo("config.json")
            if info.file_size > LARGEST_CONFIG:
                told = f"is larger than {LARGEST_CONFIG:,} bytes"
                raise ModelError(f"{where}: its config.json {told}")
            with archive.open(info) as file:
                config = json.loads(file.read(LARGEST_CONFIG + 1))
    except FileNotFoundError:
        raise ModelError(f"{where}: there is no such file") from None
    except (KeyError, zipfile.BadZipFile, ValueError, RecursionError, NotImplementedError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{where}: is no model that Keras 3 saved: {error}") from None
    except OSError as error:
        raise ModelError(f"{where}: cannot be read: {error.strerror or error}") from None
    found = list(_in_config(config, where, None, 0))
    if not found:
        raise ModelError(f"{where}: has no keras.layers.LSTM")
    return found


def _in_config(node: object, where: str, shape: object, depth: int) -> Iterator[Layer]:
    if depth > _DEEPEST:
        raise ModelError(f"{where}: its configuration is nested too deeply")
    if isinstance(node, list):
        for each in node:
            yield from _in_config(each, where, None, depth + 1)
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
        for each in _in_config(config.get("layer"), where, shape, depth + 1):
            yield replace(each, bidirectional=True)
        return
    for each in node.values():
        yield from _in_config(each, where, None, depth + 1)


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


GRAPH = "saved_model.pb"

LARGEST_GRAPH = 2**31
"""Bytes: a protocol buffer holds no more."""

# Field numbers: of SavedModel, MetaGraphDef, SavedObjectGraph, SavedObject, SavedVariable,
# TensorShapeProto and its Dim.
_META_GRAPHS, _OBJECT_GRAPH, _NODES, _VARIABLE = 2, 7, 1, 7
_DTYPE, _SHAPE, _VARIABLE_NAME, _DIM, _SIZE = 1, 2, 6, 2, 1

_DTYPES = {1: "float32", 2: "float64", 14: "bfloat16", 19: "float16"}
"""Of tensorflow/core/framework/types.proto; the variables' own, whatever is computed with them."""

_CELL = re.compile(
    r"(?:(?P<layer>.*)/)?lstm_cell(?:_\d+)?/(?P<what>kernel|recurrent_kernel)(?::0)?"
)
_DIRECTION = re.compile(r"(?P<before>.*/)?(?P<direction>forward|backward)_(?P<layer>[^/]*)")
_LARGEST_SIZE = 10**9  # of a dimension: more is no layer that anybody trains


def _of_saved_model(folder: Path) -> list[Layer]:
    path = folder / GRAPH
    where = printable(str(folder))
    if not path.exists():
        raise ModelError(
            f"{where}: is no SavedModel, since it has no {GRAPH}; expected one or a .keras file: "
            "model.save('model.keras')"
        )
    try:
        content = memoryview(regular_bytes(path, LARGEST_GRAPH))
    except ResultError as error:
        raise ModelError(str(error)) from None
    try:
        found = _of_cells(_variables(content))
    except (ValueError, IndexError) as error:
        raise ModelError(f"{where}: its {GRAPH} is damaged: {printable(str(error))}") from None
    if not found:
        raise ModelError(
            f"{where}: none of its variables is a Keras LSTM cell's (.../lstm_cell/kernel), and a "
            "SavedModel says nothing else of its layers; write model.save('model.keras') instead"
        )
    return found


def _of_cells(variables: Iterator[tuple[str, str, tuple[int, ...]]]) -> list[Layer]:
    cells: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {}
    for name, dtype, shape in variables:
        if match := _CELL.fullmatch(name):
            cells.setdefault(match["layer"] or "lstm", {})[match["what"]] = dtype, shape
    found: dict[str, Layer] = {}
    for path, parts in cells.items():
        if len(parts) < 2:
            continue
        (dtype, kernel), (_, recurrent) = parts["kernel"], parts["recurrent_kernel"]
        if len(kernel) != 2 or len(recurrent) != 2:
            continue
        (inputs, gates), units = kernel, recurrent[0]
        if recurrent[1] != gates or gates != 4 * units or not min(inputs, units) > 0:
            continue  # not i, f, g and o of one cell
        both = _DIRECTION.fullmatch(path)
        other = {"forward": "backward", "backward": "forward"}
        before = "" if both is None else both["before"] or ""
        if both and f"{before}{other[both['direction']]}_{both['layer']}" in cells:
            path = f"{before}{both['layer']}"
        else:
            both = None
        name = printable(path.rpartition("/")[2], 60)
        found.setdefault(path, Layer(name, inputs, units, dtype, bidirectional=both is not None))
    return list(found.values())


def _variables(content: memoryview) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Name, precision and shape of each variable; one of another type or rank has what it has."""
    for graph in _parts(content, _META_GRAPHS):
        for objects in _parts(graph, _OBJECT_GRAPH):
            for node in _parts(objects, _NODES):
                for variable in _parts(node, _VARIABLE):
                    name = b"".join(_parts(variable, _VARIABLE_NAME)).decode("utf-8", "replace")
                    kinds = list(_numbers(variable, _DTYPE))
                    sizes = [
                        next(_numbers(dim, _SIZE), 0)
                        for shape in _parts(variable, _SHAPE)
                        for dim in _parts(shape, _DIM)
                    ]
                    if kinds and kinds[-1] in _DTYPES and max(sizes, default=0) <= _LARGEST_SIZE:
                        yield name, _DTYPES[kinds[-1]], tuple(sizes)


def _parts(message: memoryview, field: int) -> Iterator[memoryview]:
    for number, part in _fields(message):
        if number == field and not isinstance(part, int):
            yield part


def _numbers(message: memoryview, field: int) -> Iterator[int]:
    for number, part in _fields(message):
        if number == field and isinstance(part, int):
            yield part


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """The fields of a message (protobuf.dev/programming-guides/encoding).

    Raises ValueError for what is cut off or of no known kind, IndexError where a number is.
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of the unknown kind {kind}")
        if at + size > len(message):
            raise ValueError("a field is cut off")
        yield number, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        byte = message[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError("a number of more than ten bytes")
