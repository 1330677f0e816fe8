"""What a shape would take that nobody measured: a time model on recorded roofs, and its error.

    time = a + T (b + s max(chain, launch) + p rest)

of one layer in one direction: T timesteps; chain, the products of one timestep that must wait for
those of the last, and launch, starting a timestep's operators that do nothing, whichever takes
longer, as where one goes on while the other is waited for; rest, all other products of a timestep
at the best rate. a, b, s and p, none below zero, are fitted for each backend to what was measured
of it on one machine (non-negative least squares of relative errors, Lawson & Hanson 1974).

A model is worth what it misses by: each measured shape is left out in turn and predicted from the
others. Beyond the measured sizes nothing is predicted. Pure functions of numbers; this room knows
no files.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bench.case.cases import SIZES, Shape

PARAMETERS = 4

FEWEST_SHAPES = PARAMETERS + 2
"""With one left out there is still one more than the model can always meet."""


class NoPredictionError(ValueError):
    """A shape that is not predicted; one line that says why."""


@dataclass(frozen=True)
class Point:
    """A measured case: seconds of a step, and the least seconds of its parts by their roofs.

    chain, launch, rest: of the whole step; launch is 0 where it is not known.
    """

    shape: Shape
    seconds: float
    chain: float
    launch: float
    rest: float


@dataclass(frozen=True)
class Prediction:
    """Seconds of a step. errors: of the measured shapes, each predicted from the others: over the
    measured time, less one. measured: how many shapes."""

    seconds: float
    errors: Mapping[Shape, float]

    @property
    def typical(self) -> float:
        """The median error, without its sign."""
        return statistics.median(map(abs, self.errors.values()))

    @property
    def worst(self) -> tuple[Shape, float]:
        """The shape that is missed by most, and by how much."""
        return max(self.errors.items(), key=lambda each: abs(each[1]))

    @property
    def shapes(self) -> int:
        """How many it stands on."""
        return len(self.errors)


def predict(points: Sequence[Point], shape: Shape, uses: int) -> Prediction:
    """What one backend would take for a shape.

    points: what was measured of it on one machine, all alike but for their sizes. uses: see
    ``rest_of_timestep``.

    Raises NoPredictionError for too few shapes, and for one outside what was measured.
    """
    known = {point.shape for point in points}
    if len(known) < FEWEST_SHAPES:
        raise NoPredictionError(
            f"{len(known)} shapes are measured of it, and a model of {PARAMETERS} numbers needs "
            f"{FEWEST_SHAPES}"
        )
    for size in SIZES:
        sizes = [getattr(each, size) for each in known]
        asked = getattr(shape, size)
        if not min(sizes) <= asked <= max(sizes):
            raise NoPredictionError(
                f"{size} {asked} is outside what is measured of it, {min(sizes)} to {max(sizes)}"
            )
    errors = {}
    for left_out in known:
        model = Model([each for each in points if each.shape != left_out], uses)
        taken = [each.seconds for each in points if each.shape == left_out]
        errors[left_out] = model.seconds(left_out) / statistics.median(taken) - 1.0
    return Prediction(Model(points, uses).seconds(shape), errors)


@dataclass(frozen=True)
class Model:
    """The model of one backend, fitted to some points."""

    points: Sequence[Point]
    uses: int

    def seconds(self, shape: Shape) -> float:
        """Of a step."""
        return float(self._features(shape) @ self._weights)

    @cached_property
    def _weights(self) -> npt.NDArray[np.float64]:
        rows = [self._of_point(point) for point in self.points]
        return _fit(rows, [point.seconds for point in self.points])

    @cached_property
    def _launch(self) -> float:
        """Of a timestep: a backend starts as many operators in each, whatever the sizes."""
        return statistics.median(each.launch / each.shape.timesteps for each in self.points)

    @cached_property
    def _products(self) -> npt.NDArray[np.float64]:
        """Of a timestep's chain: a fixed cost, one of each operation, and one of each weight."""
        rows = [_sizes_of_chain(each.shape) for each in self.points]
        return _fit(rows, [each.chain / each.shape.timesteps for each in self.points])

    @cached_property
    def _rate(self) -> float:
        """Seconds of an operation of the other products."""
        found = [
            each.rest / (each.shape.timesteps * rest_of_timestep(each.shape, self.uses))
            for each in self.points
        ]
        return statistics.median(found)

    def _of_point(self, point: Point) -> npt.NDArray[np.float64]:
        slowest = max(point.chain, self._launch * point.shape.timesteps)
        return np.array([1.0, point.shape.timesteps, slowest, point.rest])

    def _features(self, shape: Shape) -> npt.NDArray[np.float64]:
        chain = self._chain(shape)
        rest = self._rate * rest_of_timestep(shape, self.uses)
        steps = shape.timesteps
        return np.array([1.0, steps, steps * max(chain, self._launch), steps * rest])

    def _chain(self, shape: Shape) -> float:
        """Of a timestep: as it was measured for this batch and width, or else by the fit."""
        same = [
            each.chain / each.shape.timesteps
            for each in self.points
            if (each.shape.batch, each.shape.hidden) == (shape.batch, shape.hidden)
        ]
        return statistics.median(same) if same else float(_sizes_of_chain(shape) @ self._products)


def _fit(
    rows: Sequence[npt.NDArray[np.float64]], values: Sequence[float]
) -> npt.NDArray[np.float64]:
    """The weights, none below zero, with the least squares of relative errors."""
    from scipy import optimize

    relative = np.array(rows) / np.array(values)[:, None]
    # Columns differ by ten decades: scaled alike, none is lost to rounding.
    scale = np.abs(relative).max(axis=0)
    scale[scale == 0.0] = 1.0
    found, _ = optimize.nnls(relative / scale, np.ones(len(values)))
    return np.asarray(found / scale, dtype=np.float64)


def _sizes_of_chain(shape: Shape) -> npt.NDArray[np.float64]:
    return np.array([1.0, shape.batch * shape.hidden**2, shape.hidden**2], dtype=np.float64)


def rest_of_timestep(shape: Shape, uses: int) -> float:
    """Multiplications and additions of a timestep that wait for none of the timestep before.

    uses: of the input in products: once forward, once more for the weights' gradients, and once
    more for its own. The recurrent weights' gradients are one product of all timesteps, too.
    """
    of_input = 2.0 * shape.batch * 4 * shape.hidden * shape.inputs
    of_state = 2.0 * shape.batch * 4 * shape.hidden**2
    return uses * of_input + (of_state if uses > 1 else 0.0)
