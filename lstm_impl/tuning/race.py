"""Time ready steps in alternating blocks, and estimate ratios with their intervals."""

import math
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lstm_impl.at_rest import LONG_CALL
from lstm_impl.call import Step

BLOCK = 0.02
"""Shortest block in seconds. It is over a thousand times as long as reading the clock takes."""

MOST_CALLS = 1_000
"""Most calls in a block, because the results of all of them may wait to be freed."""

FIRST_LOOK = 3
"""Number of blocks after which entrants that are far behind leave the race."""

FAR = 1.5
"""An entrant is far behind if its fastest block of the first look takes this many times as long as
the leader's slowest. A disturbed machine makes blocks slower, never faster."""

ENOUGH = 12
"""Number of blocks of an entrant that races alone. From 11 blocks on, their range covers the median
at ``LEVEL``."""

LEVEL = 0.001
"""Largest probability that an interval of ratios misses the true median."""


def print_progress(line: str) -> None:
    """Print a line of progress to standard error, if that is a terminal."""
    if sys.stderr is not None and sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class EntrantResult:
    """Hold the times of one entrant of a race.

    blocks: the mean seconds of a call in each block. first: the seconds of the first call, with
    tracing and compiling. problem: why the entrant left the race, or empty.
    """

    blocks: tuple[float, ...] = ()
    first: float = 0.0
    problem: str = ""


def race(
    entrants: Mapping[str, Step],
    seconds: float,
    seed: int = 0,
    now: Callable[[], float] = time.perf_counter,
    rest: Callable[[], None] | None = None,
    print_fn: Callable[[str], object] | None = None,
) -> dict[str, EntrantResult]:
    """Time the entrants in alternating blocks, and return the times of each by its name.

    entrants: the steps to time, by name. seconds: how long the race lasts, for all entrants
    together. seed: decides the order within each round. now: the clock. rest: waits until the
    threads of the previous entrant rest (``Rest``); a call that is not timed then wakes the threads
    of the next entrant. print_fn: gets one line for each entrant, when its first call has ended.

    First calls, which may compile, count as part of ``seconds``. Every entrant runs the first
    ``FIRST_LOOK`` rounds, even if the time is over by then. An entrant whose code raises leaves the
    race, and the error becomes its problem.
    """
    tell = print_fn or (lambda line: None)
    end = now() + seconds
    racing: dict[str, _Entrant] = {}
    out: dict[str, EntrantResult] = {}
    for name, step in entrants.items():
        if racing and now() > end:
            out[name] = EntrantResult(
                problem="no time was left to try this backend; give the race more seconds"
            )
            tell(f"{name} does not race: {out[name].problem}")
            continue
        try:
            racing[name] = _Entrant(step, now)
        except Exception as error:
            out[name] = EntrantResult(problem=_described(error))
            tell(f"{name} does not race: {out[name].problem}")
        else:
            tell(f"{name} races; its first call took {racing[name].first:.2f} s")
    order = random.Random(seed)
    rounds = 0
    left = list(racing)
    while left and (rounds < FIRST_LOOK or now() < end):
        if len(left) == 1 and rounds >= ENOUGH:
            break
        order.shuffle(left)
        for name in list(left):
            try:
                if rest is not None:
                    rest()
                    racing[name].wake()
                racing[name].block()
            except Exception as error:
                out[name] = EntrantResult(problem=_described(error))
                left.remove(name)
        rounds += 1
        if left and rounds == FIRST_LOOK:
            leading = min((racing[name].blocks for name in left), key=min)
            left = [name for name in left if min(racing[name].blocks) <= FAR * max(leading)]
    done = {name: each for name, each in racing.items() if name not in out}
    out |= {name: EntrantResult(tuple(each.blocks), each.first) for name, each in done.items()}
    return {name: out[name] for name in entrants}


class _Entrant:
    """A step, called once before the race and once to see how many calls fill a block."""

    def __init__(self, step: Step, now: Callable[[], float]) -> None:
        self._step, self._now = step, now
        self.blocks: list[float] = []
        start = now()
        step.trace()
        self._calls(1)
        self.first = now() - start
        self._once = self._calls(1)
        number = math.ceil(BLOCK / self._once) if self._once > 0 else MOST_CALLS
        self._number = min(MOST_CALLS, number)

    def wake(self) -> None:
        if self._once < LONG_CALL:
            self._calls(1)

    def block(self) -> None:
        if self._step.restart is not None:
            self._step.restart()
        self.blocks.append(self._calls(self._number) / self._number)

    def _calls(self, number: int) -> float:
        start = self._now()
        for _ in range(number):
            self._step.run()
        self._step.synchronize()
        return self._now() - start


def _described(error: Exception) -> str:
    message = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def fastest(blocks: Mapping[str, Sequence[float]]) -> str:
    """Return the name of the fastest entrant among those that ran all rounds.

    blocks: the seconds of a call in each block, by name.
    """
    rounds = max(map(len, blocks.values()))
    complete = {name: each for name, each in blocks.items() if len(each) == rounds}
    first = next(iter(complete.values()))
    return min(complete, key=lambda name: ratio(complete[name], first).mid)


@dataclass(frozen=True)
class Ratio:
    """Hold the median of the ratios of paired blocks, between the bounds of its interval."""

    low: float
    mid: float
    high: float


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Return how many times as long as theirs our calls take, from the rounds that both ran.

    ours, theirs: the seconds of a call in each block. The interval is that of the sign test at
    ``LEVEL``, which assumes no distribution. With fewer rounds than the test needs, the interval is
    the range of the ratios.

    Raises ValueError if the two have no round in common.
    """
    rounds = min(len(ours), len(theirs))
    if not rounds:
        raise ValueError("two entrants without a round in common have no ratio")
    ratios = np.sort(np.array(ours[:rounds]) / np.array(theirs[:rounds]))
    from scipy.stats import binom  # it takes a second, and reading decisions needs no race

    left_out = max(0, int(binom.ppf(LEVEL / 2, rounds, 0.5)) - 1)
    ends = ratios[left_out], np.median(ratios), ratios[rounds - 1 - left_out]
    return Ratio(*map(float, ends))
