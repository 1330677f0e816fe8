"""Test what is special about ``tinygrad``: its compiler, recorded calls and long sequences."""

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMState, LSTMWeights, Workload, get_backend
from lstm_impl import reference as float64
from lstm_impl.backends.tinygrad import lstm
from lstm_impl.cell import GRU
from tests.lstm_impl.backends.built import built, passes, ready


def test_availability_without_clang_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = get_backend("tinygrad")
    monkeypatch.setattr(lstm, "is_clang", lambda command: False)
    monkeypatch.delenv("CC", raising=False)
    assert "compiles its kernels with clang, which is not installed" in str(backend.tools("cpu"))
    monkeypatch.setenv("CC", "gcc")
    assert "and CC=gcc is not clang" in str(backend.tools("cpu"))


def test_is_clang_of_another_program_is_false() -> None:
    assert not lstm.is_clang("python3")
    assert not lstm.is_clang("no-such-program")


def test_recorded_call_computes_new_inputs_and_new_weights() -> None:
    ready("tinygrad")
    spec, rng = LSTMSpec(3, 4), np.random.default_rng(0)
    model = built("tinygrad", spec)
    for seed in range(3):
        weights = LSTMWeights.random(spec, seed)
        model.set_weights(weights)
        x = rng.standard_normal((5, 2, 3)).astype(np.float32)
        state = LSTMState(*rng.standard_normal((2, 1, 2, 4)).astype(np.float32))
        y, final = model.forward(x, state)
        expected, last = float64.forward(spec, weights, x, state)
        np.testing.assert_allclose(y, expected, atol=1e-6)
        np.testing.assert_allclose(final.c, last.c, atol=1e-6)
    assert [len(each) for each in model._recorded.values()] == [1]


@pytest.mark.parametrize("window", [None, 1])
def test_results_of_a_step_stay_while_later_steps_run(window: int | None) -> None:
    ready("tinygrad")
    step = built("tinygrad", LSTMSpec(2, 4)).prepare(Workload(2, 3, window=window))
    assert step.use is not None
    assert step.results is not None
    step.use((0, 1))
    raw = step.run()
    before = step.results(raw)
    for _ in range(3):
        step.run()
        for name, array in step.results(raw).items():
            np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_long_sequence_runs_the_kernels_of_a_short_one() -> None:
    ready("tinygrad")
    spec = LSTMSpec(2, 3)
    model = built("tinygrad", spec)
    names = []
    for timesteps in (18, 20):  # more than one kernel joins
        x = np.random.default_rng(0).standard_normal((timesteps, 1, 2)).astype(np.float32)
        expected, _ = float64.forward(spec, LSTMWeights.random(spec, 1), x)
        np.testing.assert_allclose(model.forward(x)[0], expected, atol=1e-6)
        found = model.evidence(Workload(1, timesteps))["ops"]
        # Each step runs some kernels; the rest prepare the input and join the outputs.
        names.append({name for name, count in found.items() if count >= timesteps})
    assert names[0] == names[1] != set()


def test_gradient_of_the_logistic_function_is_finite_where_it_saturates() -> None:
    ready("tinygrad")
    from tinygrad import Tensor

    x = np.array([-1e4, -100.0, -1.0, 0.0, 1.0, 100.0, 1e4], np.float32)
    given = Tensor(x, device="CPU").realize()
    z = np.clip(x.astype(np.float64), -300, 300)
    slopes = {lstm.sigmoid: 0.25 / np.cosh(z / 2) ** 2, lstm.tanh: 1 / np.cosh(z) ** 2}
    for function, slope in slopes.items():
        (found,) = function(given).sum().gradient(given)
        np.testing.assert_allclose(found.numpy(), slope, atol=1e-6)


def test_gate_of_a_gru_passes() -> None:
    # A timestep's sums are 18 numbers here, so that most are at addresses that no vector begins at.
    ready("tinygrad")
    passes(built("tinygrad", LSTMSpec(2, 3, cell=GRU())), Workload(2, 2, "training"))


def test_optimizer_is_refused_with_the_reason() -> None:
    refused = get_backend("tinygrad").refusal(
        LSTMSpec(2, 3), Workload(1, 2, "training", optimizer="adam")
    )
    assert refused == "it updates no weights with adam"
