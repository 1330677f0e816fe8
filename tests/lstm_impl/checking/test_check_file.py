"""Test ``lstm_impl.check`` of files: ONNX models and shared libraries."""

from pathlib import Path
from typing import Any

import pytest

from lstm_impl import LSTMSpec, LSTMWeights
from lstm_impl.backends.fused_cpu import c_interface, library
from lstm_impl.backends.onnx.graph import build_graph
from lstm_impl.cell import GRU
from lstm_impl.checking import TargetError, check

SHORT: dict[str, Any] = {"batch": 3, "timesteps": 4}


def model_file(folder: Path, spec: LSTMSpec, batch_major: bool = False) -> str:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    path = folder / "model.onnx"
    path.write_bytes(build_graph(spec, LSTMWeights.random(spec), batch_major, False, False))
    return str(path)


@pytest.mark.parametrize(
    ("spec", "batch_major"),
    [
        (LSTMSpec(3, 5), False),
        (LSTMSpec(3, 5, 2, True), True),
        (LSTMSpec(3, 5, cell=GRU()), False),
    ],
)
def test_onnx_model_passes_with_the_sizes_of_its_weights(
    spec: LSTMSpec, batch_major: bool, tmp_path: Path
) -> None:
    path = model_file(tmp_path, spec, batch_major)
    result = check(path, cell=spec.cell.name, batch_major=batch_major, **SHORT)
    assert result, str(result)
    assert result.networks[0].spec == spec
    assert "ONNX Runtime only infers" in str(result)


def test_onnx_model_with_an_exchanged_initial_state_is_explained(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = model_file(tmp_path, LSTMSpec(3, 5))
    model = onnx.load(path)
    (node,) = (node for node in model.graph.node if node.op_type == "LSTM")
    node.input[5], node.input[6] = node.input[6], node.input[5]
    onnx.save(model, path)
    result = check(path, **SHORT)
    assert [cause.details for cause in result.causes] == [
        ("the initial states h and c are exchanged",)
    ]


def test_files_that_are_no_model_raise_what_was_expected(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    with pytest.raises(TargetError, match=r"the file .*nothing\.onnx does not exist"):
        check(str(tmp_path / "nothing.onnx"))
    empty = tmp_path / "text.onnx"
    empty.write_text("no model", encoding="utf-8")
    with pytest.raises(TargetError, match="cannot be read as an ONNX model"):
        check(str(empty))
    path = model_file(tmp_path, LSTMSpec(3, 5))
    with pytest.raises(TargetError, match=r"has only the operators LSTM.*; expected GRU"):
        check(path, cell="gru")


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_shared_library_with_the_c_interface_passes(cell: str) -> None:
    c_interface.kernels()  # compiles it, if nobody has
    path = library.find_compiled(library.C)
    assert path is not None
    result = check(str(path), cell=cell, input_size=3, hidden_size=5, num_layers=2, **SHORT)
    assert result, str(result)
    assert "dh" in result.networks[0].result.errors


def test_text_as_a_shared_library_raises_one_line(tmp_path: Path) -> None:
    path = tmp_path / "kernel.so"
    path.write_text("no library", encoding="utf-8")
    with pytest.raises(TargetError, match="cannot be used") as caught:
        check(str(path))
    assert "\n" not in str(caught.value)


def test_saved_model_of_keras_passes_and_with_wrong_axes_fails(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("Keras exports a SavedModel on TensorFlow")
    layers = [keras.layers.Input((None, 3)), keras.layers.LSTM(5, return_sequences=True)]
    keras.Sequential(layers).export(tmp_path / "saved", verbose=False)
    path = str(tmp_path / "saved")
    result = check(path, batch_major=True, **SHORT)
    assert result, str(result)
    assert result.networks[0].spec.hidden_size == 5
    assert set(result.networks[0].result.errors) >= {"y", "separate y"}
    assert check(path, batch_major=False, **SHORT).passed is False


def convert_keras(folder: Path, fused: bool, **options: Any) -> str:
    """Write a LiteRT file of a Keras LSTM of 3 features and 5 units, for 2 sequences of 4 steps."""
    pytest.importorskip("tensorflow")
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("LiteRT converts TensorFlow's models")
    from lstm_impl.keras import export_litert

    layer = keras.layers.LSTM(5, return_sequences=True, **options)
    model = keras.Sequential([keras.Input((4, 3), 2), layer])
    path = folder / "model.tflite"
    path.write_bytes(export_litert(model, 2, 4, fused=fused, print_fn=None))
    return str(path)


@pytest.mark.filterwarnings("ignore")  # TensorFlow's converter warns of its own successor
@pytest.mark.parametrize("fused", [True, False], ids=["operator", "loop"])
def test_litert_file_passes_in_its_own_sizes_and_a_wrong_one_does_not(
    fused: bool, tmp_path: Path
) -> None:
    result = check(convert_keras(tmp_path, fused), batch_major=True)
    assert result, str(result)
    (network,) = result.networks
    assert (network.workload.batch, network.workload.timesteps) == (2, 4)
    assert "LiteRT only infers" in str(result)
    reversed_ = check(convert_keras(tmp_path, fused, go_backwards=True), batch_major=True)
    assert not reversed_


def test_litert_file_of_another_size_type_or_content_raises_what_was_found(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    text = tmp_path / "text.tflite"
    text.write_bytes(b"no model at all")
    with pytest.raises(TargetError, match="has no identifier TFL3"):
        check(str(text))
    with pytest.raises(TargetError, match="checked in float32, not bfloat16"):
        check(str(text), dtype="bfloat16")
    text.write_bytes(b"\x18\0\0\0TFL3" + bytes(40))
    with pytest.raises(TargetError, match=r"text\.tflite"):
        check(str(text))
