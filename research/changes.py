"""Simulate how often the change points that are found in a history are right.

A history has three backends with four cases each, on one machine. The log time of a case in a
session is the sum of three things: the level of the case, an effect of the session that all cases
share, and noise from ``research.noises``. Other worlds have a machine whose state lasts for days, a
machine that was exchanged, sessions at unequal times, missing cases, or slow drift. Each draw has a
fixed seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.render.table import TextTable
from bench.stats.change_points import LEAST, NEAR, ChangeEvent, FloatArray, Scope, change_events
from bench.stats.comparison import Verdict
from research.noises import BEYOND, NOISES, QUIET, RESTLESS, SEED, Noise, draw_measured
from research.rules import percent, table

BACKENDS, CASES = ("a", "b", "c"), 4
"""The backends of a history, and the number of cases of each."""

NAMES = [name for name in BACKENDS for _ in range(CASES)]
"""The backend of each row of a history."""

LENGTHS = (15, 30, 60)
"""The numbers of sessions of the simulated histories."""

NIGHTS = (15, 22, 30)
"""The nights by which a guard may have raised a false alarm."""

BEFORE = 30
"""The sessions before a change whose delay is simulated: a month of nights."""

AFTER = (2, 3, 4, 5, 7, 10, 15)
"""The sessions after a change, by which it may have been found."""

TRIALS = 200
"""The histories behind each number. With 200, the standard error of a rate of 1% is 0.7%. A table
whose histories take longer has a quarter or a tenth as many."""

Machine = Callable[[np.random.Generator, int], FloatArray]
"""A function that draws the log effects of the machine, ``[sessions]``."""


@dataclass(frozen=True)
class World:
    """Describe how to simulate histories.

    Attributes
    ----------
    noise
        The noise of the cases.
    machine
        The effects of the sessions, which all cases share.
    change
        A function that changes the finished log times ``[cases, sessions]`` in place.
    """

    noise: Noise = draw_measured
    machine: Machine = lambda rng, sessions: QUIET * rng.standard_normal(sessions)
    change: Callable[[np.random.Generator, FloatArray], None] = lambda rng, logs: None

    def draw(self, rng: np.random.Generator, sessions: int) -> FloatArray:
        """Draw log times ``[cases, sessions]`` in which no backend and no case changes."""
        logs = self.noise(rng, (len(NAMES), sessions)) + self.machine(rng, sessions)
        logs += rng.normal(-4, 2, (len(NAMES), 1))
        self.change(rng, logs)
        return logs


# The worlds


def draw_restless(rng: np.random.Generator, sessions: int) -> FloatArray:
    """Draw the effects of a shared machine, whose hours differ by 10%."""
    return np.asarray(RESTLESS * rng.standard_normal(sessions))


def wandering_machine(correlation: float, unequal: bool = False) -> Machine:
    """Return a machine whose state lasts for days.

    Parameters
    ----------
    correlation
        The correlation of the state with that of the night before.
    unequal
        Whether some nights have no session.
    """

    def draw(rng: np.random.Generator, sessions: int) -> FloatArray:
        nights = rng.geometric(0.4, sessions) if unequal else np.ones(sessions)
        state = rng.standard_normal(sessions)
        for at in range(1, sessions):
            kept = correlation ** nights[at]
            state[at] = kept * state[at - 1] + math.sqrt(1 - kept**2) * state[at]
        return np.asarray(0.05 * state)

    return draw


def exchange_machine(rng: np.random.Generator, logs: FloatArray) -> None:
    """Make the second half faster by 10 to 30%, case by case, as on an exchanged machine."""
    logs[:, logs.shape[1] // 2 :] -= rng.uniform(0.1, 0.3, (len(logs), 1))


def remove_times(rng: np.random.Generator, logs: FloatArray) -> None:
    """Remove a third of the times, and the first third of the sessions of the first case."""
    logs[rng.random(logs.shape) < 1 / 3] = np.nan
    logs[0, : logs.shape[1] // 3] = np.nan


def add_noise_to_one_case(rng: np.random.Generator, logs: FloatArray) -> None:
    """Give one case ten times as much noise as the others."""
    logs[5] += 0.4 * rng.standard_normal(logs.shape[1])


WORLDS: dict[str, World] = {
    **{name: World(noise) for name, noise in NOISES.items() if name != "drift"},
    "restless machine, 10%": World(machine=draw_restless),
    "machine that wanders, 0.4": World(machine=wandering_machine(0.4)),
    "one case ten times as noisy": World(change=add_noise_to_one_case),
    "a third is missing": World(change=remove_times),
    "another machine from the middle on": World(change=exchange_machine),
}
"""The worlds for which rates are promised, by name. In each, no backend and no case changes. In the
last one, the machine does."""

_BEYOND = ("one side by 6% from half-way on", "AR(1), 0.3", "AR(1), 0.4", "one side skewed")

OUTSIDE: dict[str, World] = {
    **{name: World(BEYOND[name]) for name in _BEYOND},
    "machine that wanders, 0.8": World(machine=wandering_machine(0.8)),
    "the same at unequal times": World(machine=wandering_machine(0.8, unequal=True)),
    "each case drifts": World(NOISES["drift"]),
}
"""The worlds for which no rate is promised, by name. They show the limits of the method."""


# Tables


def false_changes(trials: int) -> TextTable:
    """Tabulate how often a change is found in a history without one, by the number of sessions."""
    rows = []
    for prefix, worlds in (("", WORLDS), ("*beyond:* ", OUTSIDE)):
        for name, world in worlds.items():
            rates = []
            for sessions in LENGTHS:
                rng = np.random.default_rng(SEED)
                found = [change_events(world.draw(rng, sessions), NAMES) for _ in range(trials)]
                if world.change is exchange_machine:
                    found = [[each for each in one if each.scope is not Scope.ALL] for one in found]
                rates.append(percent(float(np.mean([bool(each) for each in found]))))
            rows.append([f"{prefix}{name}", *rates])
    headings = [f"{sessions} sessions" for sessions in LENGTHS]
    return table(["histories with a false change:", *headings], rows)


def nightly_alarms(trials: int) -> TextTable:
    """Tabulate how often ``--fail-on`` has said SLOWER by some night although nothing changed."""
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
    """A true change: the rows that it concerns, and its scope."""

    rows: Sequence[int]
    scope: Scope


EFFECTS = {
    "all cases": Effect(range(len(NAMES)), Scope.ALL),
    "one backend": Effect(range(CASES), Scope.BACKENDS),
    "two backends of three": Effect(range(2 * CASES), Scope.BACKENDS),
    "one case": Effect([CASES], Scope.CASES),
}
"""The simulated changes, by name."""


def found_changes(trials: int) -> TextTable:
    """Tabulate how often a true change is found, with its scope, some sessions after it."""
    rows = []
    for name, effect in EFFECTS.items():
        for size in (0.05, 0.10, 0.20):
            rates = [_detection_rate(effect, size, after, trials) for after in AFTER]
            rows.append([f"{name}, {size:.0%} slower", *map(percent, rates)])
    headings = [f"{after}" for after in AFTER]
    return table(["found and named, sessions after it:", *headings], rows)


def _detection_rate(effect: Effect, size: float, after: int, trials: int) -> float:
    rng = np.random.default_rng(SEED)
    right = 0
    for _ in range(trials):
        logs = World().draw(rng, BEFORE + max(AFTER))[:, : BEFORE + after]
        logs[list(effect.rows), BEFORE:] += math.log1p(size)
        right += any(_is(each, effect) for each in change_events(logs, NAMES))
    return right / trials


DRIFTS = (30, 60)
"""The numbers of sessions over which a backend drifts."""


def found_drifts(trials: int) -> TextTable:
    """Tabulate how often a slow drift of one backend is found as that and as nothing else."""
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
    """Return the tables of ``research/verdicts.md`` about change points, by title."""
    return {
        "False changes": false_changes(trials),
        "False alarms of a guard": nightly_alarms(max(1, trials // 4)),
        "Found changes": found_changes(max(1, trials // 4)),
        "Found drifts": found_drifts(max(1, trials // 10)),
    }
