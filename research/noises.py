"""Draw how processes differ, for simulations of the verdicts.

A noise draws the log ratios of paired processes of two equal sides: most with the spread of the
reference results' pairs (``python -m research.verdict_pairs``), the others as no rule assumes:
heavy tails, drift, autocorrelation, two states, outlying processes and outlying cases.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Noise = Callable[[np.random.Generator, tuple[int, int]], FloatArray]
"""Draws log ratios ``[trials, processes]`` of equals from a generator and this shape."""

SEED = 20250131

# The median spread of the pairs for which the rule was made, and the standard deviation of the
# logarithms of their spreads without that of the estimates (0.24 with 10 processes, 0.35 with 6).
TYPICAL_SPREAD = 0.042
LOG_SPREAD = 0.49
# The same of the reference results' pairs, whose machine is shared.
REFERENCE_SPREAD = 0.063
REFERENCE_LOG_SPREAD = 0.36

# The quartiles of the spreads of the reference's pairs in alternating blocks, and the observed
# spreads of the medians of separate processes.
PAIRED_SPREADS = (0.025, 0.042, 0.06)
UNPAIRED_SPREADS = (0.03, 0.10, 0.29)

# The rounds of one process, and the noise of each sample around the process's time.
ROUNDS = 30
SAMPLE_NOISE = 0.03
# The spread that both sides of a process share: the smallest that was seen, and a middle one.
QUIET, RESTLESS = 0.03, 0.10


def normal(spread: float) -> Noise:
    """Return a normal noise with the same spread in every comparison."""
    return lambda rng, shape: spread * rng.standard_normal(shape)


def drawn(noise: float | Noise, rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Return log ratios of a noise; a number is the spread of a normal one."""
    return (noise if callable(noise) else normal(noise))(rng, shape)


def as_measured(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Draw normal noise with a spread for each comparison, as pairs of a quiet machine had."""
    return _spreads(rng, shape) * rng.standard_normal(shape)


def as_in_reference(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Draw the same with the spreads of the reference results' pairs."""
    logs = REFERENCE_LOG_SPREAD * rng.standard_normal((shape[0], 1))
    return np.asarray(REFERENCE_SPREAD * np.exp(logs) * rng.standard_normal(shape))


def heavy_tails(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Draw Student's t with 3 degrees: now and then a process is far off."""
    return _spreads(rng, shape) * rng.standard_t(3, shape) / math.sqrt(3)


def drift(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Draw ratios that change by three times their spread from the first process to the last."""
    trials, processes = shape
    # A single process is somewhere on the way.
    way = np.linspace(-1, 1, processes) if processes > 1 else rng.uniform(-1, 1, (trials, 1))
    slope = 1.5 * rng.choice([-1.0, 1.0], (trials, 1))
    return _spreads(rng, shape) * (rng.standard_normal(shape) + slope * way)


def autoregressive(correlation: float) -> Noise:
    """Return a noise in which each process is correlated with the one before (AR(1))."""

    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
        values = wander(rng, shape, 1.0, correlation)
        return _spreads(rng, shape) * values

    return draw


def wander(
    rng: np.random.Generator, shape: tuple[int, int], spread: float, correlation: float
) -> FloatArray:
    """Draw first-order autoregressions ``[trials, processes]`` with this spread."""
    values = rng.standard_normal(shape)
    for process in range(1, shape[1]):
        fresh = math.sqrt(1 - correlation**2) * values[:, process]
        values[:, process] = correlation * values[:, process - 1] + fresh
    return spread * values


def shift(size: float, start: float = 0.5, end: float = 1.0, spread: float | None = None) -> Noise:
    """Return a noise that is shifted by ``size`` in a part of the session.

    start, end: of that part, as shares of the session. spread: of the processes, by default as
    measured.
    """

    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
        return drawn(spread or as_measured, rng, shape) + shifted(shape[1], size, start, end)

    return draw


def shifted(processes: int, size: float, start: float, end: float) -> FloatArray:
    """Return log ratios ``[processes]`` that are 0 but for a part of the session."""
    place = np.arange(processes)
    inside = (place >= start * processes) & (place < end * processes)
    return np.where(inside, math.log1p(size), 0.0)


def sticky_states(stay: float) -> Noise:
    """Return a noise of two states, whose ratios differ by 8%, and which last for processes.

    stay: the probability that a process has the state of the one before.
    """

    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
        turns = np.where(rng.random(shape) < stay, 1.0, -1.0)
        turns[:, 0] = rng.choice([-1.0, 1.0], shape[0])
        return np.asarray(0.04 * np.cumprod(turns, axis=1) + 0.5 * as_measured(rng, shape))

    return draw


def two_states(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Draw processes in one of two states (a clock frequency), whose ratios differ by 8%."""
    states = 0.04 * rng.choice([-1.0, 1.0], shape)
    return states + 0.5 * as_measured(rng, shape)


def outlying_processes(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Draw one outlying process in ten, whose ratio is off by another 25% (standard deviation)."""
    bad = rng.random(shape) < 0.1
    return as_measured(rng, shape) + 0.25 * bad * rng.standard_normal(shape)


def outlying_cases(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Slow a case in one process of ten, by 35% in the mean, on each side separately."""

    def slowed() -> FloatArray:
        return (rng.random(shape) < 0.1) * rng.exponential(0.3, shape)

    return as_measured(rng, shape) + slowed() - slowed()


def unequal_sides(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Draw one side with the measured spread, the other with three times as much."""
    return as_measured(rng, shape) + 3 * as_measured(rng, shape)


def skewed_sides(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Draw both sides with a fastest time and a long tail (exponential)."""
    both = rng.exponential(1.0, shape) - rng.exponential(1.0, shape)
    return _spreads(rng, shape) * both / math.sqrt(2)


def one_side_skewed(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Draw one side with a long tail; the *medians* of the sides are equal, their means are not."""
    return _spreads(rng, shape) * (rng.exponential(1.0, shape) - math.log(2))


NOISES: dict[str, Noise] = {
    "as measured": as_measured,
    "as in the reference": as_in_reference,
    "heavy tails": heavy_tails,
    "drift": drift,
    "AR(1), 0.1": autoregressive(0.1),
    "two states, 8% apart": two_states,
    "a bad process in ten": outlying_processes,
    "a bad case in ten": outlying_cases,
    "one side three times as noisy": unequal_sides,
    "both sides skewed": skewed_sides,
    "spread 1.3%": normal(0.013),
    "spread 3.5%": normal(0.035),
    "spread 5%": normal(0.05),
    "spread 10%": normal(0.10),
    "spread 15%": normal(0.15),
    "spread 29%": normal(0.29),
}
"""Noises by name, of equal sides, so that FASTER and SLOWER are false."""

BEYOND: dict[str, Noise] = {
    "one side by 6% from half-way on": shift(0.06),
    "one side by 6% after a quarter": shift(0.06, 0.25),
    "one side by 6% after three quarters": shift(0.06, 0.75),
    "one side by 6% in the middle half": shift(0.06, 0.25, 0.75),
    "the same after a quarter, spread 2%": shift(0.06, 0.25, spread=0.02),
    "the same in the middle half, spread 2%": shift(0.06, 0.25, 0.75, spread=0.02),
    "one side by 6% in the middle third": shift(0.06, 1 / 3, 2 / 3),
    "sticky states, 8% ratio": sticky_states(0.8),
    "AR(1), 0.3": autoregressive(0.3),
    "AR(1), 0.4": autoregressive(0.4),
    "AR(1), 0.5": autoregressive(0.5),
    "one side skewed": one_side_skewed,
}
"""Noises without a promised rate, which show the limits."""


def _spreads(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    return np.asarray(TYPICAL_SPREAD * np.exp(LOG_SPREAD * rng.standard_normal((shape[0], 1))))


# Samples of simulated comparisons


@dataclass(frozen=True)
class Samples:
    """Comparisons with all their samples, in seconds: base and new ``[trials, processes, rounds]``.

    paired: whether both sides were measured together in each process and round.
    """

    base: FloatArray
    new: FloatArray
    paired: bool

    @property
    def logs(self) -> tuple[FloatArray, FloatArray]:
        """The processes' log medians, ``[trials, processes]``: of the new side and the base."""
        return np.log(np.median(self.new, axis=2)), np.log(np.median(self.base, axis=2))

    def slowed(self, effect: float) -> Samples:
        """Return the same with the new side slower by ``effect``."""
        return Samples(self.base, self.new * (1 + effect), self.paired)


def paired_samples(
    spread: float, processes: int, trials: int, common_spread: float = QUIET
) -> Samples:
    """Draw equal sides whose processes' log ratios of medians spread by ``spread``."""
    rng = np.random.default_rng(SEED)
    common = common_spread * rng.standard_normal((trials, processes, 1))
    # Part of the spread is that of the median of the rounds; the rest is of the processes.
    of_medians = math.sqrt(math.pi / 2 / ROUNDS) * SAMPLE_NOISE
    own = math.sqrt(spread**2 / 2 - of_medians**2)
    sides = [_side(rng, common, own, (trials, processes)) for _ in range(2)]
    return Samples(sides[0], sides[1], paired=True)


def unpaired_samples(spread: float, processes: int, trials: int) -> Samples:
    """Draw equal sides whose separate processes' log medians spread by ``spread``."""
    rng = np.random.default_rng(SEED)
    of_medians = math.sqrt(math.pi / 2 / ROUNDS) * SAMPLE_NOISE
    own = math.sqrt(spread**2 - of_medians**2)
    sides = [_side(rng, np.zeros(1), own, (trials, processes)) for _ in range(2)]
    return Samples(sides[0], sides[1], paired=False)


def _side(
    rng: np.random.Generator, common: FloatArray, own: float, shape: tuple[int, int]
) -> FloatArray:
    process = common + own * rng.standard_normal((*shape, 1))
    return np.asarray(np.exp(process + SAMPLE_NOISE * rng.standard_normal((*shape, ROUNDS))))
