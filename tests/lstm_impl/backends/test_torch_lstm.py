"""What only ``torch.nn.LSTM`` can get wrong: its two biases, and layers with masks between."""

from __future__ import annotations

import numpy as np
import pytest

from lstm_impl import LSTMSpec, Workload, dropout_masks, get_backend, reference
from lstm_impl.proof import gate
from lstm_impl.proof.comparison import error
from tests.lstm_impl.backends.built import SPEC, built, needs

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


@pytest.mark.parametrize("batch_major", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_packed_sequences_and_layers_apart_compute_what_the_reference_does(
    batch_major: bool, dropout: float
) -> None:
    model = built("torch", LSTMSpec(3, 5, 2, True), batch_major=batch_major)
    workload = Workload(4, 6, "training", min_length=2, batch_major=batch_major, dropout=dropout)
    result = gate(model, workload)
    assert result.passed, result.describe()


def test_sequences_may_come_in_any_order_of_their_lengths() -> None:
    model = built("torch")
    x = np.random.default_rng(0).standard_normal((5, 4, 3))
    y, state = model.forward(x, None, [2, 5, 1, 4])
    expected, last = reference.forward(SPEC, model.get_weights(), x, lengths=[2, 5, 1, 4])
    assert error(y, expected) < 1e-5
    assert error(state.c, last.c) < 1e-5


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
