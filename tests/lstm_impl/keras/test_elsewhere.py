"""Test the Keras layer on Keras's other backends, each in its own process."""

import importlib
import importlib.util
import os
from pathlib import Path

import pytest

from lstm_impl.availability import Package
from tests.lstm_impl.backends.built import IN_PEERS
from tests.lstm_impl.backends.own_process import run_tests

JAX = pytest.param("jax", marks=IN_PEERS)

TENSORFLOW = pytest.param("tensorflow", marks=pytest.mark.slow)

HERE = Path(__file__).resolve().parent

OURS = """\
import keras, lstm_impl.keras
from keras.src import layers
layers.LSTM = lstm_impl.keras.LSTM
layers.GRU = lstm_impl.keras.GRU
"""
"""What makes Keras's own tests of its layers tests of ours."""


def run_in_process(backend: str, *arguments: str, more: dict[str, str] | None = None) -> int:
    """Return how many tests passed in a pytest whose Keras runs on this backend."""
    packages = [Package(name, name, f"pip install {name}") for name in ("keras", backend)]
    passed, _ = run_tests(packages, {"KERAS_BACKEND": backend, **(more or {})}, *arguments)
    return passed


@pytest.mark.parametrize(
    ("backend", "few"),
    # XLA compiles each row of the matrix: a third of them is enough.
    [("torch", ""), pytest.param("jax", "not (equals_keras and jax_scan)", marks=JAX.marks)],
)
def test_layer_on_other_frameworks_equals_keras(backend: str, few: str) -> None:
    assert run_in_process(backend, str(HERE / "layer_elsewhere.py"), "-k", few) >= 20


@pytest.mark.slow
def test_layer_compiled_by_jax_equals_keras() -> None:
    assert run_in_process("jax", str(HERE / "layer_elsewhere.py")) >= 30


@pytest.mark.parametrize("backend", [JAX, TENSORFLOW, "torch"])
def test_layers_pass_the_tests_of_keras(backend: str, tmp_path: Path) -> None:
    spec = importlib.util.find_spec("keras")
    if spec is None or spec.origin is None:
        pytest.skip("keras is not installed")
    folder = Path(spec.origin).parent / "src" / "layers" / "rnn"
    tests = [folder / "lstm_test.py", folder / "gru_test.py"]
    for each in tests:
        if not each.exists():
            pytest.skip(f"this Keras comes without {each.name}")
    (tmp_path / "ours_as_keras.py").write_text(OURS)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    how = ["-p", "ours_as_keras", "--rootdir", str(tmp_path), "-c", os.devnull]
    arguments = [*how, *map(str, tests)]
    assert run_in_process(backend, *arguments, more={"PYTHONPATH": path}) >= 10


def test_import_on_unsupported_keras_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorflow", reason="Keras runs on TensorFlow here: pip install '.[cpu]'")
    import keras

    import lstm_impl.keras

    monkeypatch.setattr(keras.config, "backend", lambda: "numpy")
    monkeypatch.setattr(lstm_impl.keras, "_theirs", "tensorflow")  # put back at the end
    message = "computes with TensorFlow, JAX or PyTorch and Keras runs on 'numpy' here"
    with pytest.raises(ImportError, match=message):
        importlib.reload(lstm_impl.keras)
