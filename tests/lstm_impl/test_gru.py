"""Test the GRU's reference and layouts by the layers of other libraries."""

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights, layouts, reference
from lstm_impl.cell import GRU, CellState
from lstm_impl.weights import LayerWeights

FORMS = [GRU(), GRU(reset_after=False)]


def problem(spec: LSTMSpec, seed: int = 0) -> tuple[LSTMWeights, Any, Any, CellState]:
    """Return weights, x, dy and an initial state in float32, for 5 timesteps of 2 sequences."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((5, 2, spec.input_size)).astype(np.float32)
    dy = rng.standard_normal((5, 2, spec.output_size)).astype(np.float32)
    h = rng.standard_normal((spec.state_layers, 2, spec.hidden_size)).astype(np.float32)
    return LSTMWeights.random(spec, seed), x, dy, CellState(h)


def test_one_step_of_one_unit_equals_a_manual_result() -> None:
    """One unit sees 2 and remembers 0.5; the gates are r, z and n."""

    def logistic(z: float) -> float:
        return float(1 / (1 + np.exp(-z)))

    kernel, recurrent = np.array([[0.1, 0.2, 0.3]]), np.array([[1.0, -2.0, 3.0]])
    bias, second = np.array([0.1, -0.2, 0.3]), np.array([0.5, 0.25, -1.0])
    state = CellState(np.array([[[0.5]]]))
    r = logistic(0.2 + 0.1 + 0.5 + 0.5)
    z = logistic(0.4 - 0.2 - 1.0 + 0.25)
    n = np.tanh(0.6 + 0.3 + r * (1.5 - 1.0))
    weights = LSTMWeights(((LayerWeights(kernel, recurrent, bias, second),),))
    y, _ = reference.forward(LSTMSpec(1, 1, dtype="float64", cell=GRU()), weights, [[[2.0]]], state)
    assert y.item() == pytest.approx(z * 0.5 + (1 - z) * n, abs=1e-15)
    r, z = logistic(0.2 + 0.1 + 0.5), logistic(0.4 - 0.2 - 1.0)
    n = np.tanh(0.6 + 0.3 + (r * 0.5) * 3.0)
    weights = LSTMWeights(((LayerWeights(kernel, recurrent, bias),),))
    spec = LSTMSpec(1, 1, dtype="float64", cell=GRU(reset_after=False))
    y, _ = reference.forward(spec, weights, [[[2.0]]], state)
    assert y.item() == pytest.approx(z * 0.5 + (1 - z) * n, abs=1e-15)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_reference_equals_torch_with_its_parameters(bidirectional: bool) -> None:
    torch = pytest.importorskip("torch")
    spec = LSTMSpec(3, 4, 2, bidirectional, cell=GRU())
    weights, x, dy, state = problem(spec)
    module = torch.nn.GRU(3, 4, 2, bidirectional=bidirectional)
    parameters = layouts.torch_parameters(weights)
    module.load_state_dict({name: torch.tensor(each) for name, each in parameters.items()})
    x_, h = torch.tensor(x, requires_grad=True), torch.tensor(state.h, requires_grad=True)
    y, last = module(x_, h)
    y.backward(torch.tensor(dy))
    expected, final, gradients = reference.forward_and_gradients(spec, weights, x, dy, state)
    ours = {"y": expected, "h": final.h, "dx": gradients.x, "dh": gradients.state.h}
    theirs = {"y": y.detach(), "h": last.detach(), "dx": x_.grad, "dh": h.grad}
    ours |= layouts.torch_parameters(gradients.weights)
    theirs |= {name: parameter.grad for name, parameter in module.named_parameters()}
    for name, array in ours.items():
        np.testing.assert_allclose(theirs[name], array, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("cell", FORMS, ids=lambda cell: cell.name)
def test_reference_equals_keras_with_its_weights(cell: GRU) -> None:
    keras = pytest.importorskip("keras")
    spec = LSTMSpec(3, 4, cell=cell)
    weights, x, _, state = problem(spec)
    layer = keras.layers.GRU(
        4, return_sequences=True, return_state=True, reset_after=cell.reset_after
    )
    layer.build((2, 5, 3))
    layer.set_weights(layouts.keras_gru(weights.layers[0][0]))
    y, last = layer(np.swapaxes(x, 0, 1), initial_state=[state.h[0]])
    expected, final = reference.forward(spec, weights, x, state)
    np.testing.assert_allclose(np.swapaxes(np.asarray(y), 0, 1), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.asarray(last), final.h[0], rtol=1e-4, atol=1e-5)
    back = layouts.from_keras_gru(layer.get_weights())
    for ours, theirs in zip(back, weights.layers[0][0], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_keras_weights_of_another_form_raise_with_both_shapes() -> None:
    kernel, recurrent, bias = np.zeros((2, 9)), np.zeros((3, 9)), np.zeros((3, 9))
    with pytest.raises(ValueError, match=r"shape \(3, 9\); expected \(9,\), or \(2, 9\)"):
        layouts.from_keras_gru([kernel, recurrent, bias])


@pytest.mark.parametrize(
    ("cell", "bidirectional"), list(itertools.product(FORMS, [False, True])), ids=str
)
def test_reference_equals_onnx_runtime_with_its_weights(cell: GRU, bidirectional: bool) -> None:
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    spec = LSTMSpec(3, 4, bidirectional=bidirectional, cell=cell)
    weights, x, _, state = problem(spec)
    w, r, b = layouts.onnx_gru_layer(weights.layers[0])
    node = onnx.helper.make_node(
        "GRU",
        ["x", "w", "r", "b", "", "h"],
        ["y", "last"],
        hidden_size=4,
        direction="bidirectional" if bidirectional else "forward",
        linear_before_reset=int(cell.reset_after),
    )
    of_float = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [node],
        "gru",
        [onnx.helper.make_tensor_value_info(name, of_float, None) for name in ("x", "h")],
        [onnx.helper.make_tensor_value_info(name, of_float, None) for name in ("y", "last")],
        [
            onnx.numpy_helper.from_array(np.ascontiguousarray(each, np.float32), name)
            for name, each in (("w", w), ("r", r), ("b", b))
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)])
    model.ir_version = 8
    session = runtime.InferenceSession(model.SerializeToString())
    y, last = session.run(None, {"x": x, "h": state.h})
    expected, final = reference.forward(spec, weights, x, state)
    joined = np.concatenate(list(np.moveaxis(y, 1, 0)), axis=-1)
    np.testing.assert_allclose(joined, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(last, final.h, rtol=1e-4, atol=1e-5)


def test_weights_of_the_form_that_torch_lacks_are_refused_with_both_forms() -> None:
    weights = LSTMWeights.random(LSTMSpec(3, 4, cell=GRU(reset_after=False)))
    with pytest.raises(
        ValueError, match=r"reset_after=False, .*; torch\.nn\.GRU .*reset_after=True"
    ):
        layouts.torch_parameters(weights)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_cudnn_buffer_is_restored(bidirectional: bool) -> None:
    spec = LSTMSpec(3, 4, 2, bidirectional, cell=GRU())
    weights = LSTMWeights.random(spec)
    back = layouts.cudnn_unpack(spec, layouts.cudnn_pack(spec, weights))
    for ours, theirs in zip(back.arrays(), weights.arrays(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_forms_compute_different_outputs() -> None:
    """A backend of one form must not pass for the other form."""
    after, before = (LSTMSpec(3, 4, cell=cell) for cell in FORMS)
    weights, x, _, state = problem(before)
    (cell,) = weights.cells()
    both = LSTMWeights(((replace(cell, recurrent_bias=np.zeros_like(cell.bias)),),))
    one, _ = reference.forward(before, weights, x, state)
    other, _ = reference.forward(after, both, x, state)
    assert np.abs(one - other).max() > 0.01


def test_example_of_the_document_runs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "library.md").read_text("utf-8")
    (example,) = re.findall(r"^## A GRU$.*?^```python\n(.*?)^```", text, re.M | re.S)
    found: dict[str, Any] = {}
    exec(compile(example, "docs/library.md", "exec"), found)
    assert found["y"].shape == (7, 2, 5)
    assert [*found["state"].by_name()] == ["h"]
