"""The layer where the library of ``fused_cpu`` cannot be made, and what is exported of a layer."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_impl import UnavailableError
from lstm_impl.availability import AVAILABLE, Availability

tf = pytest.importorskip("tensorflow", reason="the layer is TensorFlow's: pip install '.[cpu]'")

import keras  # noqa: E402

import lstm_impl.backends.fused_cpu.layer as fused_cpu_layer  # noqa: E402
import lstm_impl.keras  # noqa: E402
from lstm_impl.keras import layer as keras_layer  # noqa: E402
from tests.lstm_impl.backends.built import needs  # noqa: E402

X = np.random.default_rng(0).standard_normal((4, 5, 3)).astype(np.float32)


def model() -> Any:
    layers = [lstm_impl.keras.LSTM(6, return_sequences=True), lstm_impl.keras.LSTM(6)]
    made = keras.Sequential([keras.Input((5, 3)), *layers, keras.layers.Dense(1)])
    made.compile("sgd", "mse")
    return made


# -- without the library


@pytest.fixture
def _broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A compiler that seems to be there, and a library that cannot be made or loaded."""

    def load() -> Any:
        raise UnavailableError("fused_cpu: its library cannot be made or loaded: disk full")

    monkeypatch.setattr(fused_cpu_layer, "ops", load)
    monkeypatch.setattr(keras_layer.LSTM, "_fused", _asked)
    fused_cpu_layer.loaded.cache_clear()
    yield
    fused_cpu_layer.loaded.cache_clear()


def _asked(self: Any) -> Availability:
    found: Availability = self._memory.availability.get(("fused_cpu", "cpu"), AVAILABLE)
    return found


@pytest.mark.usefixtures("_broken")
def test_auto_falls_back_to_tensorflow_where_the_library_cannot_be_made(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = model()
    with caplog.at_level(logging.WARNING):
        made.fit(X, X[:, 0, :1], verbose=0)
        made.fit(X, X[:, 0, :1], verbose=0)
    assert caplog.text.count("disk full") == 1
    assert "TensorFlow's own ops compute in its place" in caplog.text
    for layer in made.layers[:2]:
        assert "not fused_cpu: its library cannot be made" in str(layer.explain())
    with pytest.raises(UnavailableError, match="disk full"):
        lstm_impl.keras.LSTM(6, backend="fused_cpu")(X)


# -- exports

ALONE = """
import sys
import numpy as np
import tensorflow as tf

x = np.load(sys.argv[2])
kind = sys.argv[1]
if kind.endswith(".tflite"):
    interpreter = tf.lite.Interpreter(kind)
    interpreter.allocate_tensors()
    for row in x:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row[None])
        interpreter.invoke()
        print(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).sum())
else:
    loaded = tf.saved_model.load(kind)
    for name in sys.argv[3:]:
        print(np.sum(getattr(loaded, name)(x)))
assert "lstm_impl" not in sys.modules
"""


def alone(path: Path, tmp_path: Path, *endpoints: str) -> list[float]:
    """Sums of what an export computes in a process without this library."""
    np.save(tmp_path / "x.npy", X)
    command = [sys.executable, "-c", ALONE, str(path), str(tmp_path / "x.npy"), *endpoints]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    return [float(line) for line in done.stdout.split()]


@pytest.fixture(scope="module")
def trained() -> Any:
    made = model()
    made.fit(X, X[:, 0, :1], verbose=0)
    return made


def names_of_ops(folder: Path) -> set[str]:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel()
    saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    graphs = [each.graph_def for each in saved.meta_graphs]
    nodes = [node for graph in graphs for node in graph.node]
    nodes += [node for graph in graphs for each in graph.library.function for node in each.node_def]
    return {node.op for node in nodes}


@needs("fused_cpu")
def test_fit_uses_the_fused_op(trained: Any) -> None:
    picked = {choice.backend for call, choice in trained.layers[0].explain().choices}
    assert picked == {"fused_cpu"}


def test_an_exported_model_needs_no_library(trained: Any, tmp_path: Path) -> None:
    archive = keras.export.ExportArchive()
    archive.track(trained)
    signature = [tf.TensorSpec([None, 5, 3])]
    archive.add_endpoint("serve", lambda x: trained(x, training=False), signature)
    archive.add_endpoint("draw", lambda x: trained(x, training=True), signature)
    archive.write_out(str(tmp_path / "exported"), verbose=False)
    assert not any(name.startswith("LstmImpl") for name in names_of_ops(tmp_path / "exported"))
    wanted = float(np.sum(trained(X)))
    found = alone(tmp_path / "exported", tmp_path, "serve", "draw")
    assert found == pytest.approx([wanted, wanted], rel=1e-4)


def test_a_saved_module_needs_no_library(trained: Any, tmp_path: Path) -> None:
    module = tf.Module()
    module.model = trained
    for name, training in (("serve", False), ("draw", True)):
        traced = tf.function(
            lambda x, training=training: trained(x, training=training),
            input_signature=[tf.TensorSpec([None, 5, 3])],
            autograph=False,
        )
        setattr(module, name, traced)
    tf.saved_model.save(module, str(tmp_path / "saved"))
    trained.export(str(tmp_path / "by_keras"), verbose=False)
    for folder in ("saved", "by_keras"):
        assert not any(name.startswith("LstmImpl") for name in names_of_ops(tmp_path / folder))


def test_a_lite_model_needs_no_library(trained: Any, tmp_path: Path) -> None:
    converter = tf.lite.TFLiteConverter.from_keras_model(trained)
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.TFLITE_BUILTINS,
        tf.lite.OpsSet.SELECT_TF_OPS,
    ]
    converter._experimental_lower_tensor_list_ops = False
    path = tmp_path / "model.tflite"
    path.write_bytes(converter.convert())
    assert b"LstmImpl" not in path.read_bytes()
