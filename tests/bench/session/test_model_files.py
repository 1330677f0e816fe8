"""Test reading the LSTM layers of a model's file."""

import contextlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.session.query import Layer, ModelError, lstm_layers


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


def test_lstm_layers_finds_nested_and_bidirectional_layers_in_order(tmp_path: Path) -> None:
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
def test_lstm_layers_reads_a_model_that_keras_saved(tmp_path: Path) -> None:
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
    ("made", "message"),
    [
        (lambda path: None, "there is no such file"),
        (lambda path: path.mkdir(), "not a regular file"),
        (lambda path: path.write_bytes(b"no zip"), "not a model that Keras 3 saved"),
        (lambda path: zipfile.ZipFile(path, "w").close(), "not a model that Keras 3 saved"),
        (lambda path: save(path, {"class_name": "Dense"}), "has no keras.layers.LSTM"),
        (lambda path: save(path, lstm("x", 4, None)), "layer x was saved before it was built"),
        (lambda path: save(path, lstm("x", "4", [1, 2, 3])), "units is '4'"),
        (lambda path: save(path, lstm("x", 4, [1, 2, 0])), "was saved before it was built"),
    ],
)
def test_lstm_layers_with_a_bad_file_raises_its_name_and_reason(
    tmp_path: Path, made: Any, message: str
) -> None:
    path = tmp_path / "m.keras"
    made(path)
    with pytest.raises(ModelError, match=r"m\.keras") as error:
        lstm_layers(path)
    assert message in str(error.value)
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
def test_lstm_layers_with_any_json_reads_it_or_raises_model_error(
    tmp_path_factory: pytest.TempPathFactory, config: object
) -> None:
    path = tmp_path_factory.mktemp("m") / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    with contextlib.suppress(ModelError):
        assert all(each.units > 0 for each in lstm_layers(path))
