"""Test OpenVINO's operation, and that its import sends no telemetry."""

import importlib.util
import os
import subprocess
import sys

import pytest

from lstm_impl import LSTMSpec, UnsupportedError, Workload
from lstm_impl.backends.others.openvino import OpenVINO
from lstm_impl.proof import gate
from tests.lstm_impl.backends.built import built, ready

# The message is sent from a forked process, on its own thread.
SCRIPT = """
import os, sys, threading
forks = []
os.register_at_fork(before=lambda: forks.append(1))
import lstm_impl
spec = lstm_impl.LSTMSpec(2, 3)
model = lstm_impl.get_backend(sys.argv[1]).build(spec, lstm_impl.LSTMWeights.random(spec, 0))
model.forward([[[0.0, 1.0]]])
for thread in threading.enumerate():
    if thread is not threading.main_thread() and not thread.daemon:
        thread.join()
print(len(forks), sys.modules["openvino_telemetry"])
"""


@pytest.mark.parametrize("name", ["openvino", "keras_openvino"])
def test_import_starts_no_process_and_prints_nothing(name: str) -> None:
    for package in ("openvino", *(["keras"] if "keras" in name else [])):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install {package}")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, name],
        env={**os.environ, "KERAS_BACKEND": "openvino"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,  # sending it may wait forever
    )
    assert done.stdout.split() == ["0", "None"]


def test_type_that_this_cpu_replaces_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built("openvino")
    monkeypatch.setattr(OpenVINO, "hints", {"float32": "bf16"})
    import openvino

    compiled = openvino.compile_model

    def compute_in_float32(network: object, device: str, config: dict[str, str]) -> object:
        return compiled(network, device, config | {"INFERENCE_PRECISION_HINT": "f32"})

    monkeypatch.setattr(openvino, "compile_model", compute_in_float32)
    with pytest.raises(UnsupportedError, match=r"OpenVINO computes in .*float32"):
        model.forward([[[1.0, 2.0, 3.0]]])


@pytest.mark.parametrize("batch_major", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_lstm_sequence_equals_the_reference(batch_major: bool, dtype: str) -> None:
    spec = LSTMSpec(3, 5, 2, True, dtype)
    model = built("openvino", spec, batch_major=batch_major)
    result = gate(model, Workload(4, 6, min_length=2, batch_major=batch_major))
    assert result.passed, result.describe()
    found = model.evidence(Workload(4, 6, batch_major=batch_major))
    assert found["implementation"] == "LSTMSequence"
    assert "fallback" not in found


@pytest.mark.parametrize("name", ["openvino", "openvino+throughput"])
def test_compiled_model_has_the_requested_configuration(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenVINO, "threads", None)
    ready(name).use_threads(1)
    found = built(name).evidence(Workload(1, 2))
    assert found["threads"] == 1
    assert found["hint"] == ("throughput" if "throughput" in name else "latency")
