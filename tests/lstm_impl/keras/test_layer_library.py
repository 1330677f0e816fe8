"""Test the layer without the library of ``fused_cpu``, and exports of a layer."""

import contextlib
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_impl import UnavailableError
from lstm_impl.availability import AVAILABLE

tf = pytest.importorskip("tensorflow", reason="the layer is TensorFlow's: pip install '.[cpu]'")

import keras  # noqa: E402

import lstm_impl.backends.fused_cpu.backend as fused_cpu_layer  # noqa: E402
import lstm_impl.backends.fused_cpu.library as fused_cpu_library  # noqa: E402
import lstm_impl.keras  # noqa: E402
from lstm_impl.keras import layer as keras_layer  # noqa: E402
from tests.lstm_impl.backends.built import needs  # noqa: E402

X = np.random.default_rng(0).standard_normal((4, 5, 3)).astype(np.float32)


def model() -> Any:
    made = keras.Sequential([keras.Input((5, 3)), lstm_impl.keras.LSTM(6), keras.layers.Dense(1)])
    made.compile("sgd", "mse")
    return made


# -- without the library


@pytest.fixture
def _broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a compiler whose library cannot be made or loaded."""

    def load() -> Any:
        reason = "its library cannot be made or loaded: disk full"
        raise UnavailableError(f"fused_cpu: {reason}", reason=reason)

    monkeypatch.setattr(fused_cpu_layer, "ops", load)
    monkeypatch.setattr(keras_layer.LSTM, "_fused", lambda _: AVAILABLE)


@pytest.mark.usefixtures("_broken")
def test_auto_without_the_library_falls_back_to_tensorflow(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = model()
    with caplog.at_level(logging.WARNING):
        made(X)
        made(X, training=True)
    assert caplog.text.count("disk full") == 1
    assert "TensorFlow's own ops compute in its place" in caplog.text
    assert "not fused_cpu: its library cannot be made" in str(made.layers[0].explain())
    with pytest.raises(UnavailableError, match="disk full"):
        lstm_impl.keras.LSTM(6, backend="fused_cpu")(X)


@needs("fused_cpu")
def test_auto_while_the_library_is_compiled_takes_another_and_then_the_op(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, states = model(), [True, False]
    monkeypatch.setattr(fused_cpu_library, "being_compiled", lambda binding: states[0])
    made.predict_on_batch(X)
    (_, before), *_ = made.layers[0].explain().choices
    assert before.backend != "fused_cpu"
    assert before.passed_over[0].startswith("fused_cpu: it is being compiled")
    del states[0]
    made.predict_on_batch(X[:2])  # traced again, for another batch
    assert "fused_cpu" in {choice.backend for _, choice in made.layers[0].explain().choices}


@needs("fused_cpu")
@pytest.mark.parametrize(("taped", "op"), [(True, "LstmImplFusedLstmTraining"), (False, "")])
def test_graph_with_a_tape_inside_keeps_what_the_gradient_needs(taped: bool, op: str) -> None:
    layer = lstm_impl.keras.LSTM(6, backend="fused_cpu")
    layer.build(X.shape)

    @tf.function(autograph=False)
    def step(x: Any) -> Any:
        with tf.GradientTape() if taped else contextlib.nullcontext():
            return layer(x)

    ops = {each.type for each in step.get_concrete_function(X).graph.get_operations()}
    assert [each for each in ops if each.startswith("LstmImpl")] == [op or "LstmImplFusedLstm"]


# -- exports

ALONE = """
import json
import sys
from pathlib import Path

sys.modules["lstm_impl"] = None  # importing it raises

import numpy as np
import tensorflow as tf

x = np.load("x.npy")
found = {}
for folder in sorted(each.parent for each in Path().glob("*/saved_model.pb")):
    try:
        signatures = tf.saved_model.load(str(folder)).signatures
    except Exception as error:
        found[f"{folder}"] = str(error)
        continue
    for name, compute in signatures.items():
        (argument,) = compute.structured_input_signature[1]
        (result,) = compute(**{argument: tf.constant(x)}).values()
        found[f"{folder} {name}"] = result.numpy().tolist()
for path in Path().glob("*.tflite"):
    lite = tf.lite.Interpreter(str(path))
    try:
        lite.allocate_tensors()
    except Exception as error:
        found[path.name] = str(error)
        continue
    lite.set_tensor(lite.get_input_details()[0]["index"], x)
    lite.invoke()
    found[path.name] = lite.get_tensor(lite.get_output_details()[0]["index"]).tolist()
Path("found.json").write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def trained() -> Any:
    made = model()
    made.fit(X, X[:, 0, :1], verbose=0)
    made.evaluate(X, X[:, 0, :1], verbose=0)
    made.predict(X, verbose=0)  # by the fused op, which no export below contains
    return made


@pytest.fixture(scope="module")
def exports(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return all exports of the trained model, and train steps with their own tape."""
    exports: Path = tmp_path_factory.mktemp("exports")
    np.save(exports / "x.npy", X)
    endpoints = {
        "serve": traced(lambda x: trained(x, training=False)),
        "draw": traced(lambda x: trained(x, training=True)),
    }
    module = tf.Module()
    module.model = trained
    tf.saved_model.save(module, str(exports / "module"), endpoints)
    trained.export(str(exports / "by_keras"), verbose=False)
    # For one batch size: TensorFlow Lite's ops take no list of unknown size in a loop.
    fixed = keras.Sequential([keras.Input(batch_shape=X.shape), *trained.layers])
    converter = tf.lite.TFLiteConverter.from_keras_model(fixed)
    converter.allow_custom_ops = True  # an op of the library would fail in loading
    (exports / "serve.tflite").write_bytes(converter.convert())
    for backend in ("auto", "while_loop+hoisted"):
        tf.saved_model.save(*train_step(backend, str(exports / f"step {backend}")))
    return exports


def traced(compute: Any, batch: int | None = None) -> Any:
    signature = [tf.TensorSpec([batch, 5, 3], name="x")]
    return tf.function(compute, input_signature=signature, autograph=False)


def train_step(backend: str, path: str) -> tuple[Any, str, dict[str, Any]]:
    """Return arguments of ``tf.saved_model.save`` for a step that returns the weights."""
    keras.utils.set_random_seed(1)
    layer = lstm_impl.keras.LSTM(6, backend=backend)
    layer.build((None, 5, 3))

    def step(x: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x, training=True) ** 2)
        kernel = layer.cell.recurrent_kernel.value
        return kernel.assign_sub(tape.gradient(loss, kernel), read_value=True)

    module = tf.Module()
    module.layer = layer
    return module, path, {"step": traced(step)}


@pytest.fixture(scope="module")
def found(exports: Path) -> dict[str, Any]:
    """Return the results of each export's signatures without this library, or the errors."""
    command = [sys.executable, "-c", ALONE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=exports)
    assert done.returncode == 0, done.stderr[-2000:]
    results: dict[str, Any] = json.loads((exports / "found.json").read_text())
    return results


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
    picked = {
        choice.backend for call, choice in trained.layers[0].explain().choices if call.recorded
    }
    assert picked == {"fused_cpu"}


SAVED = [*("module serve", "module draw", "by_keras serving_default", "serve.tflite")]


@pytest.mark.parametrize("saved", SAVED)
def test_export_without_the_library_computes_the_same(
    saved: str, trained: Any, exports: Path, found: dict[str, Any]
) -> None:
    path = exports / saved.split()[0]
    held = [path.read_bytes().decode("latin1")] if path.is_file() else names_of_ops(path)
    assert not any("LstmImpl" in each for each in held), found.get(path.name)
    np.testing.assert_allclose(found[saved], trained(X), rtol=1e-4, atol=1e-5)


@needs("fused_cpu")
def test_saved_train_step_of_auto_names_the_missing_op(found: dict[str, Any]) -> None:
    assert "Op type not registered 'LstmImplFusedLstmTraining'" in found["step auto"]


def test_saved_train_step_of_a_loop_needs_no_library(found: dict[str, Any]) -> None:
    _, _, signatures = train_step("auto", "")
    wanted = signatures["step"](tf.constant(X))
    np.testing.assert_allclose(found["step while_loop+hoisted step"], wanted, 1e-4, 1e-5)
