"""The LSTM layers of a model's file or SavedModel, and what is said of one that has none."""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.session.query import GRAPH, Layer, ModelError, lstm_layers


def lstm(name: str, units: Any, shape: Any, dtype: Any = "float32") -> dict[str, Any]:
    return {
        "class_name": "LSTM",
        "config": {"name": name, "units": units, "dtype": dtype},
        "build_config": {"input_shape": shape},
    }


def save(path: Path, *layers: object) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        config = {"class_name": "Sequential", "config": {"layers": list(layers)}}
        archive.writestr("config.json", json.dumps(config))
    return path


def test_every_lstm_is_found_in_its_order_nested_models_and_both_directions(tmp_path: Path) -> None:
    policy = {"class_name": "DTypePolicy", "config": {"name": "mixed_bfloat16"}}
    path = save(
        tmp_path / "a.keras",
        {"class_name": "Dense", "config": {"units": 3}},
        lstm("one", 64, [None, 20, 8]),
        {"class_name": "Functional", "config": {"layers": [lstm("two", 32, [None, None, 64])]}},
        {
            "class_name": "Bidirectional",
            "config": {"layer": lstm("three", 16, None, policy)},
            "build_config": {"input_shape": [None, 20, 32]},
        },
    )
    assert lstm_layers(path) == [
        Layer("one", 8, 64, "float32"),
        Layer("two", 64, 32, "float32"),
        Layer("three", 32, 16, "mixed_bfloat16", bidirectional=True),
    ]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_keras_itself_writes_such_a_file(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    pytest.importorskip("tensorflow")
    model = keras.Sequential(
        [
            keras.Input((12, 5)),
            keras.layers.Bidirectional(keras.layers.LSTM(7, return_sequences=True)),
            keras.layers.LSTM(3),
        ]
    )
    model.save(tmp_path / "m.keras")
    found = lstm_layers(tmp_path / "m.keras")
    assert [(each.input_size, each.units, each.bidirectional) for each in found] == [
        (5, 7, True),
        (14, 3, False),
    ]


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda path: None, "there is no such file"),
        (lambda path: path.write_bytes(b"no zip"), "is no model that Keras 3 saved"),
        (lambda path: zipfile.ZipFile(path, "w").close(), "is no model that Keras 3 saved"),
        (lambda path: save(path, {"class_name": "Dense"}), "has no keras.layers.LSTM"),
        (lambda path: save(path, lstm("x", 4, None)), "layer x was saved before it was built"),
        (lambda path: save(path, lstm("x", "4", [1, 2, 3])), "units is '4'"),
        (lambda path: save(path, lstm("x", 4, [1, 2, 0])), "was saved before it was built"),
    ],
)
def test_a_file_that_says_nothing_is_named_with_the_reason(
    tmp_path: Path, made: Any, told: str
) -> None:
    path = tmp_path / "m.keras"
    made(path)
    with pytest.raises(ModelError, match=r"m\.keras") as error:
        lstm_layers(path)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["class_name", "config", "build_config", "layer", "units", "input_shape"]
            ),
            inner | st.sampled_from(["LSTM", "Bidirectional"]),
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_whatever_stands_in_it_is_read_or_refused_in_a_line(
    tmp_path_factory: pytest.TempPathFactory, config: object
) -> None:
    path = tmp_path_factory.mktemp("m") / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    with contextlib.suppress(ModelError):
        assert all(each.units > 0 for each in lstm_layers(path))


FLOAT, HALF, INT64 = 1, 19, 9


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def part(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def variable(name: str, *shape: int, dtype: int = FLOAT) -> bytes:
    """A node of the object graph; around it what nobody asks for."""
    sizes = b"".join(part(2, part(1, size)) for size in shape)
    saved = part(1, dtype) + part(2, sizes) + part(3, 1) + part(6, name.encode())
    return part(1, part(1, part(1, 5)) + part(7, saved) + varint(13 << 3 | 1) + bytes(8))


def cell(path: str, inputs: int, units: int, dtype: int = FLOAT, gates: int = 4) -> bytes:
    return (
        variable(f"{path}/kernel", inputs, gates * units, dtype=dtype)
        + variable(f"{path}/recurrent_kernel", units, gates * units, dtype=dtype)
        + variable(f"{path}/bias", gates * units, dtype=dtype)
    )


def save_variables(folder: Path, *nodes: bytes) -> Path:
    graph = part(1, b"meta") + part(7, b"".join(nodes) + part(2, b"concrete functions"))
    (folder / GRAPH).write_bytes(part(1, 1) + part(2, graph))
    return folder


def test_layers_are_found_by_the_names_and_shapes_of_their_variables(tmp_path: Path) -> None:
    folder = save_variables(
        tmp_path,
        cell("sequential/first/lstm_cell", 8, 16),
        variable("seed_generator/seed_generator_state", 2, dtype=INT64),
        cell("sequential/both/forward_lstm/lstm_cell", 16, 5),
        cell("sequential/both/backward_lstm/lstm_cell", 16, 5),
        cell("forward_only/lstm_cell_2", 5, 3, HALF),  # a name that begins so, and no direction
        cell("sequential/gru/gru_cell", 8, 16, gates=3),
        cell("sequential/odd/lstm_cell", 8, 16, gates=3),  # no LSTM's shapes, whatever its name
        variable("sequential/dense/kernel", 10, 1),
        cell("sequential/first/lstm_cell", 8, 16),  # the graph names most of them twice
    )
    assert lstm_layers(folder) == [
        Layer("first", 8, 16, "float32"),
        Layer("lstm", 16, 5, "float32", bidirectional=True),
        Layer("forward_only", 5, 3, "float16"),
    ]


def test_old_names_end_in_the_number_of_an_output(tmp_path: Path) -> None:
    nodes = [
        variable("lstm/lstm_cell/kernel:0", 2, 12),
        variable("lstm/lstm_cell/recurrent_kernel:0", 3, 12),
    ]
    assert lstm_layers(save_variables(tmp_path, *nodes)) == [Layer("lstm", 2, 3, "float32")]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_keras_itself_exports_such_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keras = pytest.importorskip("keras")
    pytest.importorskip("tensorflow")
    model = keras.Sequential(
        [
            keras.Input((12, 5)),
            keras.layers.Bidirectional(keras.layers.LSTM(7, return_sequences=True), name="both"),
            keras.layers.LSTM(3, name="last"),
        ]
    )
    model.export(tmp_path / "exported")
    first, last = lstm_layers(tmp_path / "exported")
    assert (first.input_size, first.units, first.bidirectional) == (5, 7, True)
    assert last == Layer("last", 14, 3, "float32")


def test_a_folder_that_names_no_lstm_is_told_what_would(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"is no SavedModel, since it has no {GRAPH}"):
        lstm_layers(tmp_path)
    save_variables(tmp_path, variable("sequential/dense/kernel", 10, 1))
    with pytest.raises(ModelError, match=r"write model\.save\('model\.keras'\) instead"):
        lstm_layers(tmp_path)
    save_variables(tmp_path, variable("a/lstm_cell/kernel", 2, 12))  # half of a cell
    with pytest.raises(ModelError, match=r"none of its variables"):
        lstm_layers(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / GRAPH)
    with pytest.raises(ModelError, match="is not a regular file"):
        lstm_layers(tmp_path)
    os.mkfifo(tmp_path / "m.keras")
    with pytest.raises(ModelError, match=r"m\.keras: is not a regular file"):
        lstm_layers(tmp_path / "m.keras")


@given(st.integers(0, 400), st.binary(max_size=12), st.integers(0, 12))
def test_damaged_bytes_are_read_or_refused_in_a_line(
    tmp_path_factory: pytest.TempPathFactory, at: int, put: bytes, gone: int
) -> None:
    folder = save_variables(
        tmp_path_factory.mktemp("m"), cell("a/lstm_cell", 2, 3), cell("b/lstm_cell", 3, 4)
    )
    whole = (folder / GRAPH).read_bytes()
    (folder / GRAPH).write_bytes(whole[:at] + put + whole[at + gone :])
    with contextlib.suppress(ModelError):
        for layer in lstm_layers(folder):
            assert layer.units > 0
            assert layer.input_size > 0


@pytest.mark.parametrize("content", [b"\x12\xff", b"\x12", b"\x80" * 20, b"\x13", b"\x12\x05ab"])
def test_a_damaged_file_is_called_that(tmp_path: Path, content: bytes) -> None:
    (tmp_path / GRAPH).write_bytes(content)
    with pytest.raises(ModelError, match=f"its {GRAPH} is damaged") as error:
        lstm_layers(tmp_path)
    assert "\n" not in str(error.value)
