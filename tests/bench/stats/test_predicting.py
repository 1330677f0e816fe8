"""The time model, on backends whose times are known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from bench.case.cases import Shape
from bench.stats.predicting import (
    FEWEST_SHAPES,
    NoPredictionError,
    Point,
    predict,
    rest_of_timestep,
)

RATE, CALL = 1e11, 1e-6
GRID = [
    Shape(batch, timesteps, hidden, hidden)
    for batch in (1, 32)
    for timesteps in (20, 100)
    for hidden in (64, 256)
]
ASKED = Shape(8, 50, 128, 128)


def chain(shape: Shape) -> float:
    return shape.timesteps * (CALL + 8.0 * shape.batch * shape.hidden**2 / RATE)


def rest(shape: Shape, uses: int = 1) -> float:
    return shape.timesteps * rest_of_timestep(shape, uses) / RATE


def point(shape: Shape, seconds: float, launch: float = 0.0) -> Point:
    return Point(shape, seconds, chain(shape), launch * shape.timesteps, rest(shape))


def law(shape: Shape, launch: float = 0.0) -> float:
    """A backend as the model has it, half as fast as its roofs."""
    slowest = max(chain(shape), launch * shape.timesteps)
    return 1e-4 + shape.timesteps * 5e-6 + 2.0 * slowest + 2.0 * rest(shape)


def points(seconds: Callable[[Shape], float], launch: float = 0.0) -> list[Point]:
    return [point(shape, seconds(shape), launch) for shape in GRID]


def test_a_backend_that_follows_the_model_is_predicted_without_error() -> None:
    found = predict(points(law), ASKED, 1)
    assert found.seconds == pytest.approx(law(ASKED), rel=1e-6)
    assert found.typical < 1e-6
    assert abs(found.worst[1]) < 1e-6
    assert found.shapes == len(GRID)


def test_what_is_bound_by_launches_is_predicted_by_them() -> None:
    launch = 4e-5  # above the chain of every shape but those of 32 sequences and 256 units

    def seconds(shape: Shape) -> float:
        return law(shape, launch)

    found = predict(points(seconds, launch), ASKED, 1)
    assert found.seconds == pytest.approx(seconds(ASKED), rel=1e-6)
    without = predict(points(seconds), ASKED, 1)
    assert without.typical > found.typical


def test_noise_shows_as_error_of_its_size() -> None:
    rng = np.random.default_rng(3)
    noisy = [point(s, law(s) * math.exp(0.05 * rng.standard_normal())) for s in GRID]
    found = predict(noisy, ASKED, 1)
    assert 0.01 < found.typical < 0.2
    assert abs(found.seconds / law(ASKED) - 1) < 0.2


def test_a_cliff_shows_as_a_large_error_of_the_shapes_beyond_it() -> None:
    def cliff(shape: Shape) -> float:
        """The weights of 256 units do not fit into the cache of one that takes its time then."""
        return law(shape) * (6.0 if shape.hidden == 256 and shape.batch == 1 else 1.0)

    found = predict(points(cliff), ASKED, 1)
    assert abs(found.worst[1]) > 0.4
    beyond = [each for s, each in found.errors.items() if (s.batch, s.hidden) == (1, 256)]
    assert min(map(abs, beyond)) > 0.4


def test_a_cost_that_grows_faster_than_any_roof_is_seen() -> None:
    found = predict(points(lambda shape: law(shape) + 1e-9 * shape.timesteps**3), ASKED, 1)
    assert abs(found.worst[1]) > 0.3


def test_too_few_shapes_are_refused_with_how_many_there_are() -> None:
    few = points(law)[: FEWEST_SHAPES - 1]
    with pytest.raises(NoPredictionError, match=r"5 shapes are measured of it.*needs 6"):
        predict(few, ASKED, 1)
    # The same shape measured twice is one.
    with pytest.raises(NoPredictionError, match="5 shapes"):
        predict([*few, few[0], few[1]], ASKED, 1)
    assert predict(points(law)[:FEWEST_SHAPES], Shape(1, 50, 64, 64), 1).shapes == FEWEST_SHAPES


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        (Shape(64, 50, 128, 128), "batch 64 is outside what is measured of it, 1 to 32"),
        (Shape(8, 101, 128, 128), "timesteps 101 is outside what is measured of it, 20 to 100"),
        (Shape(8, 50, 63, 128), "inputs 63 is outside what is measured of it, 64 to 256"),
        (Shape(8, 50, 128, 257), "hidden 257 is outside what is measured of it, 64 to 256"),
    ],
)
def test_beyond_what_was_measured_nothing_is_predicted(shape: Shape, told: str) -> None:
    with pytest.raises(NoPredictionError, match=told):
        predict(points(law), shape, 1)


def test_no_part_of_the_model_takes_less_than_no_time() -> None:
    # Times that fall with the sizes: no model with parts above zero can follow.
    found = predict(points(lambda shape: 1.0 / law(shape)), ASKED, 1)
    assert found.seconds >= 0
    assert found.typical > 0.5


def test_training_multiplies_the_input_once_more_for_the_weights() -> None:
    shape = Shape(2, 1, 3, 5)
    of_input, of_state = 2 * 2 * 3 * 20, 2 * 2 * 5 * 20
    assert rest_of_timestep(shape, 1) == of_input
    assert rest_of_timestep(shape, 2) == 2 * of_input + of_state
    assert rest_of_timestep(shape, 3) == 3 * of_input + of_state
