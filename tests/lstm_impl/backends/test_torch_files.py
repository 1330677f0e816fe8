"""Test what PyTorch's own tools for graphs and files make of the layers of ``lstm_impl.torch``."""

import io
from pathlib import Path
from typing import Any

import pytest

from tests.lstm_impl.backends.built import needs

torch = pytest.importorskip("torch", reason="not installed: pip install '.[torch]'")

import lstm_impl.torch  # noqa: E402

pytestmark = [
    needs("torch_fused_cpu"),
    # PyTorch announces the end of TorchScript and of the exporter that uses it.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]


class Tagger(torch.nn.Module):  # type: ignore[misc, name-defined]
    """A model of the user's own with a recurrent layer."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.recurrent = getattr(torch.nn, kind)(3, 4, batch_first=True, bidirectional=True)
        self.head = torch.nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[name-defined]
        y, _ = self.recurrent(x)
        return self.head(y)


X = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1))
KINDS = ("LSTM", "GRU")


def make(kind: str) -> tuple[Any, Any]:
    """Return an accelerated model in eval mode, and its outputs by PyTorch's code."""
    model = Tagger(kind).eval()
    with torch.no_grad():
        expected = model(X)
    lstm_impl.torch.accelerate(model, print_fn=None)
    return model, expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["script", "trace"])
def test_torchscript_file_holds_torch_operators_alone(kind: str, how: str) -> None:
    model, expected = make(kind)
    before = dict(model.named_parameters())
    made = torch.jit.script(model) if how == "script" else torch.jit.trace(model, X)
    file = io.BytesIO()
    torch.jit.save(made, file)
    file.seek(0)
    loaded = torch.jit.load(file)
    assert "lstm_impl::" not in str(loaded.inlined_graph)
    torch.testing.assert_close(loaded(X), expected)
    # PyTorch puts what it scripts into the model itself.
    lstm_impl.torch.accelerate(model, print_fn=None)
    assert type(model.recurrent).__module__.startswith("lstm_impl")
    assert all(each is before[name] for name, each in model.named_parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_symbolic_trace_keeps_the_layer_as_one_call(kind: str) -> None:
    model, expected = make(kind)
    traced = torch.fx.symbolic_trace(model)
    called = [node.target for node in traced.graph.nodes if node.op == "call_module"]
    assert called == ["recurrent", "head"]
    assert traced.recurrent is model.recurrent
    torch.testing.assert_close(traced(X), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dynamo", [False, True], ids=["trace", "export"])
def test_onnx_file_has_one_node_for_the_layer(kind: str, dynamo: bool, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    if dynamo:
        pytest.importorskip("onnxscript")
    model, expected = make(kind)
    path = tmp_path / "model.onnx"
    torch.onnx.export(model, (X,), str(path), dynamo=dynamo, verbose=False)
    operators = [node.op_type for node in onnx.load(path).graph.node]
    assert operators.count(kind) == 1
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: X.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.skipif(not hasattr(torch.compiler, "is_exporting"), reason="PyTorch before 2.7")
def test_export_of_a_model_in_eval_holds_the_operator_for_inference(kind: str) -> None:
    model, expected = make(kind)
    names = {
        str(node.target)
        for program in (torch.export.export(model, (X,)),)
        for node in program.graph.nodes
    }
    assert f"lstm_impl.fused_{kind.lower()}.default" in names
    assert not any("training" in name for name in names)
    torch.testing.assert_close(torch.export.export(model, (X,)).module()(X), expected)
    model.train()
    trained = torch.export.export(model, (X,))
    assert any("training" in str(node.target) for node in trained.graph.nodes)


def test_layer_is_a_torch_rnn_for_initialisers() -> None:
    model, _ = make("LSTM")
    assert isinstance(model.recurrent, torch.nn.RNNBase)


def test_pruned_weight_is_that_of_the_kernels() -> None:
    import torch.nn.utils.prune as prune

    ours, theirs = Tagger("LSTM"), Tagger("LSTM")
    lstm_impl.torch.accelerate(ours, print_fn=None)
    for model in (ours, theirs):
        prune.l1_unstructured(model.recurrent, "weight_hh_l0", amount=0.5)
    torch.testing.assert_close(ours(X), theirs(X))
    ours(X).sum().backward()
    theirs(X).sum().backward()
    torch.testing.assert_close(
        ours.recurrent.weight_hh_l0_orig.grad, theirs.recurrent.weight_hh_l0_orig.grad
    )
