"""Whether all backends train the same: the verdict on a curve, and the command that gives it."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lstm_impl
from bench import learning
from bench.echo import rounding
from bench.echo.rounding import (
    LINEAR_LIMIT,
    Agreement,
    candidates,
    command,
    curve_bound,
    explanation,
    growth,
    judge,
    reference_curve,
)
from bench.echo.settings import EchoSettings
from bench.echo.task import Float64
from bench.echo.training import Training, model_of
from lstm_impl import LSTMWeights, get_backend
from tests.bench.echo.made_models import Wrong

SETTINGS = EchoSettings(bits=1500)
WINDOWS = 20

REFERENCE = np.linspace(0.7, 0.1, 5)
BOUND = np.array([1e-6, 1e-5, 1e-4, 1e-3, 1e-2])


def test_a_curve_within_its_bound_is_the_same_training() -> None:
    off = np.array([0.0, -5e-6, 2e-5, 0.0, 1e-3])
    curve = judge("scan", REFERENCE + off, REFERENCE, BOUND)
    assert curve.agreement is Agreement.SAME
    assert curve.largest == pytest.approx(1e-3)
    assert curve.largest_at == 5
    assert curve.tightest == pytest.approx(0.5)
    assert curve.first_outside is None


def test_a_curve_that_leaves_its_bound_is_different_from_there() -> None:
    off = np.array([0.0, 0.0, 2e-4, 0.0, 0.0])
    curve = judge("scan", REFERENCE + off, REFERENCE, BOUND)
    assert curve.agreement is Agreement.DIFFERENT
    assert curve.first_outside == 3
    assert curve.tightest == pytest.approx(2.0)


def test_where_there_is_no_bound_a_deviation_says_nothing() -> None:
    bound = np.array([1e-6, 1e-5, 1e-4, np.inf, np.inf])
    late = np.array([0.0, 0.0, 0.0, 0.3, 0.3])
    curve = judge("scan", REFERENCE + late, REFERENCE, bound)
    assert curve.agreement is Agreement.CHAOS
    assert curve.first_outside is None
    early = np.array([0.0, 1e-3, 0.0, 0.3, 0.3])
    curve = judge("scan", REFERENCE + early, REFERENCE, bound)
    assert curve.agreement is Agreement.DIFFERENT
    assert curve.first_outside == 2


def test_a_curve_that_ends_early_diverged() -> None:
    assert judge("scan", REFERENCE[:3], REFERENCE, BOUND).agreement is Agreement.DIVERGED
    none = judge("scan", REFERENCE[:0], REFERENCE, BOUND)
    assert none.agreement is Agreement.DIVERGED
    assert (none.largest, none.largest_at) == (0.0, 0)


@given(
    off=st.lists(st.floats(-1, 1), min_size=5, max_size=5),
    chaos=st.integers(0, 5),
)
def test_the_verdict_is_that_of_the_definition(off: list[float], chaos: int) -> None:
    bound = BOUND.copy()
    bound[5 - chaos :] = np.inf
    losses = REFERENCE + np.array(off)
    outside = [n for n in range(5) if abs(losses[n] - REFERENCE[n]) > bound[n]]
    curve = judge("scan", losses, REFERENCE, bound)
    assert curve.first_outside == (outside[0] + 1 if outside else None)
    expected = Agreement.DIFFERENT if outside else Agreement.CHAOS if chaos else Agreement.SAME
    assert curve.agreement is expected


def test_one_rounding_of_the_weights_grows_from_its_size_as_the_training_goes_on() -> None:
    reference = reference_curve(SETTINGS, WINDOWS)
    grown = growth(SETTINGS, WINDOWS, reference)
    unit = SETTINGS.spec.precision.roundoff
    assert grown.shape == (WINDOWS,)
    assert 0 < grown[0] < 100 * unit
    assert np.all(grown <= curve_bound(SETTINGS, WINDOWS, reference=reference))


def test_the_words_say_when_and_why_curves_part() -> None:
    grown = np.array([1e-8, 1e-7, 1e-6, 1e-5, 1e-4])
    text = " ".join(explanation(SETTINGS, REFERENCE, BOUND, grown))
    assert "1e-08 up to window 1, 1e-06 up to window 3, 1e-04 up to window 5" in text
    assert "1e-06, 1e-04, 1e-02 there" in text
    assert "grows fastest at window" in text
    bound = np.array([1e-6, 1e-5, 1e-4, np.inf, np.inf])
    text = " ".join(explanation(SETTINGS, REFERENCE, bound, grown))
    assert "From window 4 on there is no bound" in text


def test_backends_that_cannot_train_are_named_with_the_reason() -> None:
    able, unable = candidates(SETTINGS)
    assert "numpy" in able
    assert "cudnn" in unable  # there is no such thing on a CPU
    assert all(unable.values())
    assert not set(able) & set(unable)


def test_the_command_finds_that_a_backend_trains_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = [name for name in ("numpy", "while_loop") if get_backend(name).availability("cpu")]
    assert command(names, SETTINGS, WINDOWS) == 0
    out = capsys.readouterr().out
    for name in names:
        assert f"  {name}: the same training\n" in out
        assert re.search(rf"^ *{name} +\d\.\de-\d\d +\d+ .* never +the same training", out, re.M)
    assert "Why curves part: one rounding to float32" in out


def test_the_command_finds_that_a_backend_computes_another_function(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One whose forget gate's bias is a thousandth too large, as a wrong conversion would have."""
    model_type = type(get_backend("numpy").build(SETTINGS.spec, LSTMWeights.random(SETTINGS.spec)))
    exact = model_type.set_weights

    def wrong(self: Any, weights: LSTMWeights) -> None:
        if self.spec.dtype == "float32":  # the reference is float64's
            cells = [cell for layer in weights.layers for cell in layer]
            for cell in cells:
                cell.bias[SETTINGS.units : 2 * SETTINGS.units] *= 1.001
        exact(self, weights)

    monkeypatch.setattr(model_type, "set_weights", wrong)
    assert command(["numpy"], SETTINGS, WINDOWS) == 1
    out = capsys.readouterr().out
    assert "numpy: DIFFERENT: more than rounding can do" in out
    assert re.search(r"numpy .* window \d+ +DIFFERENT", out)


def test_a_backend_that_cannot_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(lstm_impl.UnsupportedError, match="--backends: cudnn"):
        command(["cudnn"], SETTINGS, WINDOWS)
    assert learning.main(["--agree", "--backends", "cudnn"]) == 2
    assert learning.main(["--agree", "--backends", "nosuch"]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 2
    assert "nosuch" in error


def test_the_tutorials_task_is_what_is_compared() -> None:
    assert EchoSettings() == rounding.SETTINGS
    assert EchoSettings().windows_per_epoch == rounding.WINDOWS


# -- the bound on the curve


def test_the_bound_grows_with_roundoff_and_ends_where_chaos_begins() -> None:
    single = curve_bound(SETTINGS, 50)
    assert single.shape == (50,)
    assert np.all(np.diff(single) >= 0)
    assert 1e-9 < single[0] < single[-1] < 1e-4
    double = curve_bound(replace(SETTINGS, dtype="float64"), 25)
    np.testing.assert_allclose((double - 4 * 2.0**-52) / (single[:25] - 4 * 2.0**-52), 2.0**-29)
    wild = curve_bound(replace(SETTINGS, dtype="bfloat16", learning_rate=3.0), 60)
    chaos = int(np.isinf(wild).argmax())
    assert 0 < chaos < 60
    assert np.all(np.isinf(wild[chaos:]))
    assert np.all(wild[:chaos] <= LINEAR_LIMIT)


@pytest.fixture(scope="module")
def judged() -> tuple[Float64, Float64]:
    """What thirty windows lose, and by how much rounding may change that."""
    reference = reference_curve(SETTINGS, 30)
    return reference, curve_bound(SETTINGS, 30, reference=reference)


def test_rounding_to_single_precision_stays_within_the_bound(
    judged: tuple[Float64, Float64],
) -> None:
    reference, bound = judged
    deviation = np.abs(np.array(Training(SETTINGS, model_of(SETTINGS)).until(30)) - reference)
    assert deviation.max() > 0.0
    assert np.all(deviation <= bound)


@pytest.mark.parametrize(
    "mistake", ["forget bias dropped", "h not carried", "one gradient a little too large"]
)
def test_the_bound_is_tight_enough_to_catch_a_wrong_model(
    mistake: str, judged: tuple[Float64, Float64]
) -> None:
    training = Training(SETTINGS, Wrong(model_of(SETTINGS), mistake))
    reference, bound = judged
    assert np.any(np.abs(training.until(30) - reference) > bound)
