"""What only ``torch.nn.LSTM`` can get wrong: its two biases, and layers with masks between."""

from __future__ import annotations

import numpy as np

from lstm_impl import LSTMSpec, Workload, dropout_masks, get_backend
from lstm_impl.proof.comparison import error
from tests.lstm_impl.backends.built import built, needs

pytestmark = needs("torch")


def test_the_input_bias_is_zero_and_not_trained() -> None:
    import torch

    model = built("torch")
    assert len(model.parameters) == 3
    x = torch.ones(2, 1, 3)
    y, _ = model(x)
    y.sum().backward()
    biases = [p for name, p in model.module.named_parameters() if name.startswith("bias_ih")]
    assert len(biases) == 1
    assert biases[0].grad is None
    assert not biases[0].any()


def test_masks_see_weights_that_were_trained_in_place() -> None:
    import torch

    spec = LSTMSpec(3, 5, 2)
    model, other = built("torch", spec), built("torch", spec, seed=2)
    masks = dropout_masks(spec, 4, 2, 0.5, seed=0)
    x = np.random.default_rng(0).standard_normal((4, 2, 3))
    model.forward(x, masks=masks)
    with torch.no_grad():
        for ours, theirs in zip(model.parameters, other.parameters, strict=True):
            ours.copy_(theirs)
    ours, _ = model.forward(x, masks=masks)
    expected, _ = get_backend("numpy").build(spec, other.get_weights()).forward(x, masks=masks)
    assert error(ours, expected) < 1e-5


def test_evidence_says_whose_lstm_ran() -> None:
    import torch

    found = built("torch").evidence(Workload(2, 4, mode="training"))
    assert found["ops_total"] > 5
    assert found["kernels_total"] == 0
    if torch.backends.mkldnn.is_available():
        assert found["implementation"] == "oneDNN"
        assert found["ops"]["aten::mkldnn_rnn_layer"] == 1
    double = built("torch", LSTMSpec(3, 5, dtype="float64")).evidence(Workload(2, 4))
    assert double["implementation"] == "PyTorch's operators, step by step"
