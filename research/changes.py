"""Simulate how often the change points of a history are right.

A history has three backends with four cases each on one machine. The time of a case in a session is
its level, an effect of the session, which is common to all cases, and noise as ``noises`` draws it.
Other worlds have a machine that wanders from day to day, one that was exchanged, sessions at
unequal times, missing cases, and slow drift. Every draw is seeded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.render.table import TextTable
from bench.stats.change_points import LEAST, NEAR, ChangeEvent, FloatArray, Scope, change_events
from bench.stats.comparison import Verdict
from research.noises import BEYOND, NOISES, QUIET, RESTLESS, SEED, Noise, as_measured
from research.rules import percent, table

BACKENDS, CASES = ("a", "b", "c"), 4
NAMES = [name for name in BACKENDS for _ in range(CASES)]
LENGTHS = (15, 30, 60)
NIGHTS = (15, 22, 30)
BEFORE = 30
"""Sessions before a change whose delay is simulated: a month of nights."""
AFTER = (2, 3, 4, 5, 7, 10, 15)

TRIALS = 200
"""Histories for each number: the standard error of a rate of 1% is 0.7%. A quarter as many where
each takes longer."""

Machine = Callable[[np.random.Generator, int], FloatArray]
"""Draws the machine's log effects ``[sessions]``."""


@dataclass(frozen=True)
class World:
    """A simulated history: noise of cases, effects of sessions, and a change of its table."""

    noise: Noise = as_measured
    machine: Machine = lambda rng, sessions: QUIET * rng.standard_normal(sessions)
    change: Callable[[np.random.Generator, FloatArray], None] = lambda rng, logs: None

    def draw(self, rng: np.random.Generator, sessions: int) -> FloatArray:
        """Return log times ``[cases, sessions]`` in which no backend and no case changes."""
        logs = self.noise(rng, (len(NAMES), sessions)) + self.machine(rng, sessions)
        logs += rng.normal(-4, 2, (len(NAMES), 1))
        self.change(rng, logs)
        return logs


# The worlds


def restless(rng: np.random.Generator, sessions: int) -> FloatArray:
    """Draw a shared machine, whose hours differ by 10%."""
    return np.asarray(RESTLESS * rng.standard_normal(sessions))


def wandering(correlation: float, unequal: bool = False) -> Machine:
    """Return a machine whose state lasts for days.

    correlation: from one night to the next. unequal: whether some nights are left out.
    """

    def draw(rng: np.random.Generator, sessions: int) -> FloatArray:
        nights = rng.geometric(0.4, sessions) if unequal else np.ones(sessions)
        state = rng.standard_normal(sessions)
        for at in range(1, sessions):
            kept = correlation ** nights[at]
            state[at] = kept * state[at - 1] + math.sqrt(1 - kept**2) * state[at]
        return np.asarray(0.05 * state)

    return draw


def exchanged(rng: np.random.Generator, logs: FloatArray) -> None:
    """Exchange the machine in the middle: faster by 10 to 30%, case by case."""
    logs[:, logs.shape[1] // 2 :] -= rng.uniform(0.1, 0.3, (len(logs), 1))


def missing(rng: np.random.Generator, logs: FloatArray) -> None:
    """Remove a third of the times, and the first third of the first case."""
    logs[rng.random(logs.shape) < 1 / 3] = np.nan
    logs[0, : logs.shape[1] // 3] = np.nan


def one_noisy_case(rng: np.random.Generator, logs: FloatArray) -> None:
    """Give one case ten times the noise of the others."""
    logs[5] += 0.4 * rng.standard_normal(logs.shape[1])


WORLDS: dict[str, World] = {
    **{name: World(noise) for name, noise in NOISES.items() if name != "drift"},
    "restless machine, 10%": World(machine=restless),
    "machine that wanders, 0.4": World(machine=wandering(0.4)),
    "one case ten times as noisy": World(change=one_noisy_case),
    "a third is missing": World(change=missing),
    "another machine from the middle on": World(change=exchanged),
}
"""In each of these no backend and no case changed; in the last the machine did."""

_BEYOND = ("one side by 6% from half-way on", "AR(1), 0.3", "AR(1), 0.4", "one side skewed")

OUTSIDE: dict[str, World] = {
    **{name: World(BEYOND[name]) for name in _BEYOND},
    "machine that wanders, 0.8": World(machine=wandering(0.8)),
    "the same at unequal times": World(machine=wandering(0.8, unequal=True)),
    "each case drifts": World(NOISES["drift"]),
}
"""Worlds without a promised rate, which show the limits."""


# Tables


def false_changes(trials: int) -> TextTable:
    """Return the rates of histories without a change in which one is found, by their length."""
    rows = []
    for prefix, worlds in (("", WORLDS), ("*beyond:* ", OUTSIDE)):
        for name, world in worlds.items():
            rates = []
            for sessions in LENGTHS:
                rng = np.random.default_rng(SEED)
                found = [change_events(world.draw(rng, sessions), NAMES) for _ in range(trials)]
                if world.change is exchanged:
                    found = [[each for each in one if each.scope is not Scope.ALL] for one in found]
                rates.append(percent(float(np.mean([bool(each) for each in found]))))
            rows.append([f"{prefix}{name}", *rates])
    headings = [f"{sessions} sessions" for sessions in LENGTHS]
    return table(["histories with a false change:", *headings], rows)


def nightly_alarms(trials: int) -> TextTable:
    """Return the rates of ``--fail-on`` ever saying SLOWER in nights in which nothing changed."""
    rows = []
    for name in ("as measured", "as in the reference", "restless machine, 10%"):
        first = []
        for trial in range(trials):
            logs = WORLDS[name].draw(np.random.default_rng([SEED, trial]), max(NIGHTS))
            first.append(_first_alarm(logs))
        rates = [percent(float(np.mean([night <= n for night in first]))) for n in NIGHTS]
        rows.append([name, *rates])
    headings = [f"by night {n}" for n in NIGHTS]
    return table(["guards with a false alarm:", *headings], rows)


def _first_alarm(logs: FloatArray) -> float:
    for night in range(LEAST, logs.shape[1] + 1):
        found = change_events(logs[:, :night], NAMES)
        if any(each.verdict is Verdict.SLOWER and each.reverted is None for each in found):
            return night
    return math.inf


@dataclass(frozen=True)
class Effect:
    """A true change: its rows and its scope."""

    rows: Sequence[int]
    scope: Scope


EFFECTS = {
    "all cases": Effect(range(len(NAMES)), Scope.ALL),
    "one backend": Effect(range(CASES), Scope.BACKENDS),
    "two backends of three": Effect(range(2 * CASES), Scope.BACKENDS),
    "one case": Effect([CASES], Scope.CASES),
}


def found_changes(trials: int) -> TextTable:
    """Return how often a true change is found by a number of sessions after it, with its scope."""
    rows = []
    for name, effect in EFFECTS.items():
        for size in (0.05, 0.10, 0.20):
            rates = [_found(effect, size, after, trials) for after in AFTER]
            rows.append([f"{name}, {size:.0%} slower", *map(percent, rates)])
    headings = [f"{after}" for after in AFTER]
    return table(["found and named, sessions after it:", *headings], rows)


def _found(effect: Effect, size: float, after: int, trials: int) -> float:
    rng = np.random.default_rng(SEED)
    right = 0
    for _ in range(trials):
        logs = World().draw(rng, BEFORE + max(AFTER))[:, : BEFORE + after]
        logs[list(effect.rows), BEFORE:] += math.log1p(size)
        right += any(_is(each, effect) for each in change_events(logs, NAMES))
    return right / trials


DRIFTS = (30, 60)


def found_drifts(trials: int) -> TextTable:
    """Return how often a slow drift of one backend is found as that alone."""
    rows = []
    for size in (0.05, 0.10):
        rates = []
        for sessions in DRIFTS:
            rng = np.random.default_rng(SEED)
            right = 0
            for _ in range(trials):
                logs = World().draw(rng, sessions)
                logs[:CASES] += np.linspace(0, math.log1p(size), sessions)
                found = change_events(logs, NAMES)
                right += [each.rows for each in found if each.gradual] == [tuple(range(CASES))]
            rates.append(percent(right / trials))
        rows.append([f"one backend, {size:.0%} slower in the end", *rates])
    headings = [f"{sessions} sessions" for sessions in DRIFTS]
    return table(["drifts found and named:", *headings], rows)


def _is(found: ChangeEvent, effect: Effect) -> bool:
    return (
        found.scope is effect.scope
        and found.verdict is Verdict.SLOWER
        and found.rows == tuple(effect.rows)
        and abs(found.at - BEFORE) <= NEAR
    )


def tables(trials: int) -> dict[str, TextTable]:
    """Return the tables of ``research/verdicts.md`` on change points, by title."""
    return {
        "False changes": false_changes(trials),
        "False alarms of a guard": nightly_alarms(max(1, trials // 4)),
        "Found changes": found_changes(max(1, trials // 4)),
        "Found drifts": found_drifts(max(1, trials // 10)),
    }
