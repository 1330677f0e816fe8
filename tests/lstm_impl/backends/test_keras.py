"""Test Keras's layers in TensorFlow (Keras 2 and 3), and on JAX, PyTorch and OpenVINO."""

import sys
import types
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest

from lstm_impl import Evidence, LSTMSpec, Workload, get_backend
from lstm_impl.backends.keras import cells as keras_environment
from lstm_impl.backends.keras import layer as keras_layer
from lstm_impl.backends.keras.elsewhere import KerasTorchModel
from lstm_impl.backends.tensorflow.model import TensorFlowModel
from lstm_impl.backends.torch import model as torch_model
from lstm_impl.backends.torch.model import TorchModel
from lstm_impl.cell import GRU
from tests.lstm_impl.backends.built import IN_PEERS, built
from tests.lstm_impl.backends.own_process import run_tests


@pytest.mark.parametrize(
    ("name", "module"), [("keras", "keras"), ("tf_keras", "tf_keras"), ("keras+loop", "keras")]
)
def test_keras_and_tf_keras_make_their_own_layers(name: str, module: str) -> None:
    (layer,) = built(name)._layers
    assert type(layer).__module__.partition(".")[0] == module
    assert type(layer).__name__ == "LSTM"


@pytest.mark.parametrize("name", ["keras+loop", "keras+unroll", "keras+xla", "keras+loop+xla"])
def test_option_loop_sets_use_cudnn_to_false(name: str) -> None:
    backend = get_backend(name)
    assert isinstance(backend, keras_layer.Keras)
    assert backend.arguments()["use_cudnn"] is False
    assert backend.missing_evidence({"cudnn": False}, "gpu:0") == ""
    assert "cuDNN's kernels ran" in backend.missing_evidence({"cudnn": True}, "gpu:0")


@pytest.mark.parametrize(
    ("name", "device", "cudnn", "fallback"),
    [
        ("keras", "cpu", False, False),
        ("keras", "gpu:0", True, False),
        ("keras", "gpu:0", False, True),
        ("tf_keras", "gpu:0", False, True),
        ("keras+loop", "gpu:0", False, False),
    ],
)
def test_evidence_on_a_gpu_without_cudnn_is_a_fallback(
    name: str, device: str, cudnn: bool, fallback: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Evidence("made up", details={"cudnn": cudnn})
    monkeypatch.setattr(TensorFlowModel, "evidence", lambda self, workload: found)
    model = object.__new__(keras_layer.LayerModel)
    model.backend, model.device = cast("Any", get_backend(name)), device
    assert ("fallback" in model.evidence(Workload(1, 1))) == fallback


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Simulate a process that has not imported Keras, with an empty home directory."""
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path


def test_keras_backend_prefers_variable_then_file_then_tensorflow(
    at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert keras_environment.keras_backend() == "tensorflow"
    (at_home / "keras.json").write_text('{"backend": "torch"}')
    assert keras_environment.keras_backend() == "torch"
    for broken in (b"{", b"[]", b'{"backend": 3}', b"\xff"):
        (at_home / "keras.json").write_bytes(broken)
        assert keras_environment.keras_backend() == "tensorflow", broken
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert keras_environment.keras_backend() == "jax"


def test_keras_backend_after_import_is_that_of_keras(
    at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = types.SimpleNamespace(backend=lambda: "openvino")
    monkeypatch.setitem(sys.modules, "keras", cast("Any", types.SimpleNamespace(config=config)))
    monkeypatch.setenv("KERAS_BACKEND", "jax")  # too late
    assert keras_environment.keras_backend() == "openvino"


@pytest.mark.parametrize("name", ["keras", "keras_jax", "keras_torch", "keras_openvino"])
def test_availability_with_another_keras_backend_says_how_to_get_it(
    name: str, at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = get_backend(name)
    wanted = backend.environment["KERAS_BACKEND"]
    assert isinstance(backend, keras_environment.KerasThree)
    monkeypatch.setenv("KERAS_BACKEND", wanted)
    assert backend.process()
    other = "jax" if wanted != "jax" else "torch"
    monkeypatch.setenv("KERAS_BACKEND", other)
    assert str(backend.process()) == (
        f"Keras chooses its backend when it is imported, and this process has {other}; "
        f"{name} needs a process with {wanted}: KERAS_BACKEND={wanted} python ..."
    )
    monkeypatch.setenv("KERAS_BACKEND", "thaeno")
    assert str(backend.process()) == (
        "KERAS_BACKEND is 'thaeno'; expected one of Keras's backends tensorflow, jax, torch, "
        "openvino, numpy: "
        f"KERAS_BACKEND={wanted} python ..."
    )


# -- on Keras's other backends


@pytest.mark.parametrize(
    ("name", "selected", "least"),
    [
        ("keras_openvino", "keras_openvino", 4),
        ("keras_torch", "keras_torch", 4),
        # Some of its rows of the matrix; compiling all takes half a minute.
        pytest.param(
            "keras_jax",
            "keras_jax and (timed and float32 or float64 or missing or get_weights)",
            4,
            marks=IN_PEERS,
            id="keras_jax-some",
        ),
        pytest.param("keras_jax", "keras_jax", 9, marks=pytest.mark.slow, id="keras_jax-all"),
    ],
)
def test_keras_backend_in_its_own_process_equals_the_reference(
    name: str, selected: str, least: int
) -> None:
    backend, contract = get_backend(name), str(Path(__file__).with_name("test_contract.py"))
    passed, said = run_tests(backend.packages, backend.environment, contract, "-k", selected)
    assert passed >= least, said
    assert " skipped" not in said, said


@pytest.mark.parametrize(
    ("name", "ran", "missing"),
    [
        ("keras_jax", "lax.scan", ""),
        ("keras_jax", "cuDNN", ""),
        ("keras_jax+loop", "lax.scan", ""),
        ("keras_jax+loop", "cuDNN", "keras_jax+loop is Keras's lax.scan, and what ran is cuDNN"),
        ("keras_jax+unroll", "unrolled steps", ""),
        ("keras_jax+unroll", "lax.scan", "unrolled steps, and what ran is lax.scan"),
        ("keras_torch", "cuDNN", ""),
        ("keras_torch", "a Python loop", ""),
        ("keras_torch+loop", "a Python loop", ""),
        ("keras_torch+loop", "cuDNN", "keras_torch+loop is Keras's loop, and what ran is cuDNN"),
    ],
)
def test_missing_evidence_of_another_implementation_names_it(
    name: str, ran: str, missing: str
) -> None:
    found = get_backend(name).missing_evidence({"implementation": ran}, "gpu:0")
    assert (missing in found) if missing else found == ""


def test_refusal_of_float64_on_torch_is_for_masks_only() -> None:
    backend, spec = get_backend("keras_torch"), LSTMSpec(3, 5, dtype="float64")
    assert "where there is a mask" in backend.refusal(spec, Workload(2, 3, min_length=1))
    assert backend.refusal(spec, Workload(2, 3)) == ""


def test_refusal_of_float64_on_torch_holds_for_one_form_of_the_gru() -> None:
    backend = get_backend("keras_torch")
    after, before = (LSTMSpec(3, 5, dtype="float64", cell=GRU(form)) for form in (True, False))
    assert backend.refusal(after, Workload(2, 3)) == ""
    assert "in a GRU with reset_after=False" in backend.refusal(before, Workload(2, 3))


@pytest.mark.parametrize(
    ("name", "op", "fallback"),
    [
        ("keras_torch", "aten::_cudnn_rnn", False),
        ("keras_torch", "aten::mm", True),
        ("keras_torch+loop", "aten::mm", False),
    ],
)
def test_evidence_of_a_python_loop_is_a_fallback_unless_requested(
    name: str, op: str, fallback: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ops = Counter({op: 1, "aten::matmul": 8})
    monkeypatch.setattr(torch_model, "counted", lambda events: Evidence("made up", ops))
    monkeypatch.setattr(TorchModel, "_recorded", lambda self, workload: [])
    model = object.__new__(KerasTorchModel)
    model.backend, model.device = cast("Any", get_backend(name)), "cpu"
    found = model.evidence(Workload(2, 4))
    assert (found["products"], found["steps"]) == (8, 4)
    assert ("fallback" in found) == fallback
