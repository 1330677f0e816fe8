"""How far rounding may move a loss curve, and that another function leaves that bound."""

from dataclasses import replace

import numpy as np
import pytest

from bench.echo.rounding import LINEAR_LIMIT, compare_with_float64, curve_bound, reference_curve
from bench.echo.task import EchoSettings, Float64
from bench.echo.training import Training, model_of
from tests.bench.echo.made_models import Wrong

SETTINGS = EchoSettings(bits=1500)


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


def test_a_comparison_says_how_much_of_the_bound_is_used_and_where_it_ends() -> None:
    wild = replace(SETTINGS, dtype="bfloat16", learning_rate=3.0)
    losses = Training(wild, model_of(wild)).until(60)
    text, within = compare_with_float64(wild, losses)
    assert within
    assert ": within the bound\nno bound from window " in text
    first = int(np.isinf(curve_bound(wild, 60)).argmax())
    losses[first - 1] += 1.0
    text, within = compare_with_float64(wild, losses)
    assert not within
    assert ": OUTSIDE the bound\n" in text
