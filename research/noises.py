"""Draw the differences between processes with which the verdicts are simulated.

A noise draws the logarithms of the ratios that pairs of processes have when both sides are equally
fast. The spread is that of the reference results' pairs (``python -m research.verdict_pairs``).
Some noises break what the rules assume. They have heavy tails, drift, autocorrelation, two states,
outlying processes or outlying cases.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Noise = Callable[[np.random.Generator, tuple[int, int]], FloatArray]
"""A function that takes a random generator and the shape ``(trials, processes)``, and returns log
ratios of equally fast sides, of that shape."""

SEED = 20250131

TYPICAL_SPREAD = 0.042
"""The median spread of the pairs for which the rule was made, which a quiet machine measured."""

LOG_SPREAD = 0.49
"""The standard deviation of the logarithms of those spreads. The part that is due to estimating
each spread (0.24 with 10 processes, 0.35 with 6) is taken out."""

REFERENCE_SPREAD = 0.063
"""The median spread of the reference results' pairs, whose machine is shared."""

REFERENCE_LOG_SPREAD = 0.36
"""The standard deviation of the logarithms of the spreads of the reference results' pairs."""

PAIRED_SPREADS = (0.025, 0.042, 0.06)
"""The quartiles of the spreads of pairs in alternating blocks, in earlier reference results.

They came from a quieter machine than the present ones.
"""

UNPAIRED_SPREADS = (0.03, 0.10, 0.29)
"""The observed spreads of the medians of separate processes: small, middle and large."""

ROUNDS = 30
"""The rounds of one process."""

SAMPLE_NOISE = 0.03
"""The standard deviation of a sample's log time around the time of its process."""

QUIET, RESTLESS = 0.03, 0.10
"""Spreads that both sides of a process share: the smallest that was seen, and a middle one."""


def normal(spread: float) -> Noise:
    """Return normal noise that has the same spread in every comparison."""
    return lambda rng, shape: spread * rng.standard_normal(shape)


def draw_logs(noise: float | Noise, rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Draw log ratios from a noise. A number stands for normal noise with that spread."""
    return (noise if callable(noise) else normal(noise))(rng, shape)


def draw_measured(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Draw normal noise whose spread varies by comparison as it did on a quiet machine."""
    return _spreads(rng, shape) * rng.standard_normal(shape)


def draw_reference(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Draw normal noise whose spread varies as in the reference results' pairs."""
    logs = REFERENCE_LOG_SPREAD * rng.standard_normal((shape[0], 1))
    return np.asarray(REFERENCE_SPREAD * np.exp(logs) * rng.standard_normal(shape))


def draw_heavy_tails(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Draw from Student's t with 3 degrees of freedom: now and then a process is far off."""
    return _spreads(rng, shape) * rng.standard_t(3, shape) / math.sqrt(3)


def drift(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Draw ratios that change by three times their spread from the first process to the last."""
    trials, processes = shape
    # A single process lies at a random point between the first and the last.
    way = np.linspace(-1, 1, processes) if processes > 1 else rng.uniform(-1, 1, (trials, 1))
    slope = 1.5 * rng.choice([-1.0, 1.0], (trials, 1))
    return _spreads(rng, shape) * (rng.standard_normal(shape) + slope * way)


def autoregressive_noise(correlation: float) -> Noise:
    """Return noise in which each process is correlated with the one before (AR(1))."""

    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
        values = draw_autoregressions(rng, shape, 1.0, correlation)
        return _spreads(rng, shape) * values

    return draw


def draw_autoregressions(
    rng: np.random.Generator, shape: tuple[int, int], spread: float, correlation: float
) -> FloatArray:
    """Draw first-order autoregressive series ``[trials, processes]`` with the given spread."""
    values = rng.standard_normal(shape)
    for process in range(1, shape[1]):
        fresh = math.sqrt(1 - correlation**2) * values[:, process]
        values[:, process] = correlation * values[:, process - 1] + fresh
    return spread * values


def shift(size: float, start: float = 0.5, end: float = 1.0, spread: float | None = None) -> Noise:
    """Return noise in which one part of the session is slower.

    Parameters
    ----------
    size
        By how much that part is slower: 0.06 is 6%.
    start, end
        The bounds of the part, as fractions of the session.
    spread
        The spread of the processes; None draws it as ``draw_measured`` does.
    """

    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
        return draw_logs(spread or draw_measured, rng, shape) + session_shift(
            shape[1], size, start, end
        )

    return draw


def session_shift(processes: int, size: float, start: float, end: float) -> FloatArray:
    """Return log ratios ``[processes]`` that are 0 except in one part of the session."""
    place = np.arange(processes)
    inside = (place >= start * processes) & (place < end * processes)
    return np.where(inside, math.log1p(size), 0.0)


def sticky_noise(stay: float) -> Noise:
    """Return noise of two states that last for several processes and whose ratios differ by 8%.

    Parameters
    ----------
    stay
        The probability that a process has the same state as the one before.
    """

    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
        turns = np.where(rng.random(shape) < stay, 1.0, -1.0)
        turns[:, 0] = rng.choice([-1.0, 1.0], shape[0])
        return np.asarray(0.04 * np.cumprod(turns, axis=1) + 0.5 * draw_measured(rng, shape))

    return draw


def draw_two_states(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Draw processes in one of two states, such as clock frequencies, whose ratios differ by 8%."""
    states = 0.04 * rng.choice([-1.0, 1.0], shape)
    return states + 0.5 * draw_measured(rng, shape)


def draw_outlying_processes(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Draw one outlying process in ten, with another 25% of standard deviation."""
    bad = rng.random(shape) < 0.1
    return draw_measured(rng, shape) + 0.25 * bad * rng.standard_normal(shape)


def draw_outlying_cases(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Draw processes of which one in ten is slow, by 35% on average, for each side separately."""

    def delays() -> FloatArray:
        return (rng.random(shape) < 0.1) * rng.exponential(0.3, shape)

    return draw_measured(rng, shape) + delays() - delays()


def draw_unequal_sides(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Draw one side with the measured spread and the other with three times that spread."""
    return draw_measured(rng, shape) + 3 * draw_measured(rng, shape)


def draw_skewed_sides(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Draw both sides from an exponential distribution: a fastest time and a long tail."""
    both = rng.exponential(1.0, shape) - rng.exponential(1.0, shape)
    return _spreads(rng, shape) * both / math.sqrt(2)


def draw_one_skewed_side(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Draw one side with a long tail, so that the medians are equal but the means are not."""
    return _spreads(rng, shape) * (rng.exponential(1.0, shape) - math.log(2))


NOISES: dict[str, Noise] = {
    "as measured": draw_measured,
    "as in the reference": draw_reference,
    "heavy tails": draw_heavy_tails,
    "drift": drift,
    "AR(1), 0.1": autoregressive_noise(0.1),
    "two states, 8% apart": draw_two_states,
    "a bad process in ten": draw_outlying_processes,
    "a bad case in ten": draw_outlying_cases,
    "one side three times as noisy": draw_unequal_sides,
    "both sides skewed": draw_skewed_sides,
    "spread 1.3%": normal(0.013),
    "spread 3.5%": normal(0.035),
    "spread 5%": normal(0.05),
    "spread 10%": normal(0.10),
    "spread 15%": normal(0.15),
    "spread 29%": normal(0.29),
}
"""The noises for which the rates are promised, by name. Both sides are equal, so that FASTER and
SLOWER are false."""

BEYOND: dict[str, Noise] = {
    "one side by 6% from half-way on": shift(0.06),
    "one side by 6% after a quarter": shift(0.06, 0.25),
    "one side by 6% after three quarters": shift(0.06, 0.75),
    "one side by 6% in the middle half": shift(0.06, 0.25, 0.75),
    "the same after a quarter, spread 2%": shift(0.06, 0.25, spread=0.02),
    "the same in the middle half, spread 2%": shift(0.06, 0.25, 0.75, spread=0.02),
    "one side by 6% in the middle third": shift(0.06, 1 / 3, 2 / 3),
    "sticky states, 8% ratio": sticky_noise(0.8),
    "AR(1), 0.3": autoregressive_noise(0.3),
    "AR(1), 0.4": autoregressive_noise(0.4),
    "AR(1), 0.5": autoregressive_noise(0.5),
    "one side skewed": draw_one_skewed_side,
}
"""Noises for which no rate is promised, by name. They show the limits of the rule."""


def _spreads(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    return np.asarray(TYPICAL_SPREAD * np.exp(LOG_SPREAD * rng.standard_normal((shape[0], 1))))


# Samples of simulated comparisons


@dataclass(frozen=True)
class Samples:
    """Simulated comparisons with all their samples.

    Attributes
    ----------
    base, new
        The samples of each side, ``[trials, processes, rounds]`` in seconds.
    paired
        Whether both sides were measured together, in the same process and round.
    """

    base: FloatArray
    new: FloatArray
    paired: bool

    @property
    def logs(self) -> tuple[FloatArray, FloatArray]:
        """The log medians ``[trials, processes]`` of the new side, and those of the base."""
        return np.log(np.median(self.new, axis=2)), np.log(np.median(self.base, axis=2))

    def slow_down(self, effect: float) -> Samples:
        """Return these comparisons with the new side slower by ``effect`` (0.05 is 5%)."""
        return Samples(self.base, self.new * (1 + effect), self.paired)


def paired_samples(
    spread: float, processes: int, trials: int, common_spread: float = QUIET
) -> Samples:
    """Draw equal paired sides, the log ratios of whose medians have the given spread."""
    rng = np.random.default_rng(SEED)
    common = common_spread * rng.standard_normal((trials, processes, 1))
    # Part of the spread comes from the median of finitely many rounds. The processes have the rest.
    of_medians = math.sqrt(math.pi / 2 / ROUNDS) * SAMPLE_NOISE
    own = math.sqrt(spread**2 / 2 - of_medians**2)
    sides = [_side(rng, common, own, (trials, processes)) for _ in range(2)]
    return Samples(sides[0], sides[1], paired=True)


def unpaired_samples(spread: float, processes: int, trials: int) -> Samples:
    """Draw equal sides of separate processes, whose log medians have the given spread."""
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
