"""The fuzzer of the bindings of PyTorch and NumPy finds nothing here, and finds what is wrong."""

import time
from typing import Any

import numpy as np
import pytest

from tests.lstm_impl.backends.built import needs

pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

from lstm_impl.backends.torch.loop import loop_layer
from lstm_impl.call import Outputs
from tests.attack import fuzz_torch

pytestmark = [needs("torch_fused_cpu"), needs("numpy_fused")]

TRIALS = (
    fuzz_torch.operator_trial,
    fuzz_torch.gradient_trial,
    fuzz_torch.module_trial,
    fuzz_torch.numpy_trial,
    fuzz_torch.c_interface_trial,
)


@pytest.mark.parametrize("trial", TRIALS)
@pytest.mark.filterwarnings("ignore")  # as the fuzzer itself does
def test_fuzzed_calls_return_the_right_result_or_raise(trial: Any) -> None:
    ended = {trial(np.random.default_rng(seed)) for seed in range(25)}
    assert "refused" in ended
    # The C interface is asked about impossible layers alone.
    assert "right" in ended or trial is fuzz_torch.c_interface_trial


def test_fuzzer_counts_trials_until_its_deadline() -> None:
    counts = fuzz_torch.fuzz(np.random.default_rng(0), time.monotonic() + 0.2)
    assert counts.total() >= 1


@pytest.mark.parametrize("trial", TRIALS[:2])
def test_fuzzer_reports_a_wrong_result(trial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def compute_wrong(*given: Any, **how: Any) -> Outputs:
        return Outputs.from_flat(2 * each + 1 for each in loop_layer(*given, **how).flat)

    def try_some() -> None:
        for seed in range(20):  # of an empty layer nothing can be wrong
            trial(np.random.default_rng(seed))

    monkeypatch.setattr(fuzz_torch, "loop_layer", compute_wrong)
    monkeypatch.setattr(fuzz_torch, "change_arguments", lambda rng, given: (given, []))
    with pytest.raises(AssertionError, match=r"off by .* after right: "):
        try_some()


def test_fuzzer_reports_a_refused_right_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any, **how: Any) -> None:
        raise ValueError("no")

    for function in ("fused_layer", "fused_gru_layer", "call"):
        monkeypatch.setattr(fuzz_torch, function, refuse)
    monkeypatch.setattr(fuzz_torch, "change_arguments", lambda rng, given: (given, []))
    with pytest.raises(AssertionError, match="refused a right call: right: "):
        fuzz_torch.operator_trial(np.random.default_rng(0))
