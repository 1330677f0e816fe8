"""Time steps in alternating blocks, and estimate ratios of their times with intervals."""

import itertools
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
"""The shortest block in seconds. It takes over a thousand times as long as reading the clock."""

MOST_CALLS = 1_000
"""The most calls in a block. The results of all of them may have to stay in memory."""

FIRST_LOOK = 3
"""The number of blocks after which entrants that are far behind leave the race."""

FAR = 1.5
"""When an entrant is far behind: when its fastest block so far takes this many times as long as the
leader's slowest. The comparison uses the fastest block because disturbances only slow a block down.
"""

ENOUGH = 12
"""The number of blocks after which an entrant that races alone stops. From 11 blocks on, their
range covers the median at ``LEVEL``."""

LEVEL = 0.001
"""The largest probability that the interval of a ratio misses the true median."""


def print_progress(line: str) -> None:
    """Print a line of progress to standard error if it is a terminal."""
    if sys.stderr is not None and sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class EntrantResult:
    """Hold the times of one entrant of a race.

    Attributes
    ----------
    blocks
        The mean seconds of a call in each block.
    first
        The seconds of the first call, which includes tracing and compiling.
    problem
        The reason why the entrant left the race; empty if it did not.
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
    """Time steps in alternating blocks, and return the times of each by its name.

    First calls, which may compile, count as part of ``seconds``. Every entrant runs the first
    ``FIRST_LOOK`` rounds, even if they take longer than that. An entrant whose code raises an
    exception leaves the race, and the exception becomes its problem.

    Parameters
    ----------
    entrants
        The steps to time, by name.
    seconds
        The duration of the race, for all entrants together.
    seed
        The seed of the order within each round.
    now
        The clock.
    rest
        A function that waits until the threads of the previous entrant are idle (``IdleWait``). The
        next entrant then makes one call that is not timed, which wakes its own threads.
    print_fn
        A function that is called with one line for each entrant, when its first call has ended.
    """
    tell = print_fn or (lambda line: None)
    end = now() + seconds
    racing: dict[str, _BlockTimer] = {}
    out: dict[str, EntrantResult] = {}
    for name, step in entrants.items():
        if racing and now() > end:
            out[name] = EntrantResult(
                problem="no time was left to try this backend; give the race more seconds"
            )
            tell(f"{name} does not race: {out[name].problem}")
            continue
        try:
            racing[name] = _BlockTimer(step, now)
        except Exception as error:
            out[name] = EntrantResult(problem=_describe_error(error))
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
                racing[name].time_block()
            except Exception as error:
                out[name] = EntrantResult(problem=_describe_error(error))
                left.remove(name)
        rounds += 1
        if left and rounds == FIRST_LOOK:
            leading = min((racing[name].blocks for name in left), key=min)
            left = [name for name in left if min(racing[name].blocks) <= FAR * max(leading)]
    done = {name: each for name, each in racing.items() if name not in out}
    out |= {name: EntrantResult(tuple(each.blocks), each.first) for name, each in done.items()}
    return {name: out[name] for name in entrants}


class _BlockTimer:
    """Time blocks of one step.

    The constructor calls the step once, which may compile it, and once more to find how many calls
    fill a block.
    """

    def __init__(self, step: Step, now: Callable[[], float]) -> None:
        self._step, self._now = step, now
        self.blocks: list[float] = []
        start = now()
        step.trace()
        self._time_calls(1)
        self.first = now() - start
        self._seconds_of_a_call = self._time_calls(1)
        number = (
            math.ceil(BLOCK / self._seconds_of_a_call)
            if self._seconds_of_a_call > 0
            else MOST_CALLS
        )
        self._calls_in_a_block = min(MOST_CALLS, number)

    def wake(self) -> None:
        if self._seconds_of_a_call < LONG_CALL:
            self._time_calls(1)

    def time_block(self) -> None:
        if self._step.restart is not None:
            self._step.restart()
        self.blocks.append(self._time_calls(self._calls_in_a_block) / self._calls_in_a_block)

    def _time_calls(self, number: int) -> float:
        start = self._now()
        for _ in range(number):
            self._step.run()
        self._step.synchronize()
        return self._now() - start


def _describe_error(error: Exception) -> str:
    """Return the type of an exception and the first line of its message."""
    message = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def find_fastest(blocks: Mapping[str, Sequence[float]]) -> str:
    """Return the name of the fastest entrant among those that ran all rounds.

    ``blocks`` holds the seconds of a call in each block, by name.
    """
    rounds = max(map(len, blocks.values()))
    complete = {name: each for name, each in blocks.items() if len(each) == rounds}
    first = next(iter(complete.values()))
    return min(complete, key=lambda name: estimate_ratio(complete[name], first).mid)


@dataclass(frozen=True)
class Ratio:
    """Hold the median of the ratios of paired blocks, and the bounds of its interval."""

    low: float
    mid: float
    high: float


def estimate_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Estimate how many times as long our calls take as theirs, from the rounds that both ran.

    The interval is that of the sign test at ``LEVEL``, which assumes no distribution. If there are
    fewer rounds than the test needs, the interval is the range of the ratios.

    Parameters
    ----------
    ours, theirs
        The seconds of a call in each block.

    Raises
    ------
    ValueError
        If the two have no round in common.
    """
    rounds = min(len(ours), len(theirs))
    if not rounds:
        raise ValueError("the two entrants have no round in common, so their times have no ratio")
    ratios = np.sort(np.array(ours[:rounds]) / np.array(theirs[:rounds]))
    left_out = max(0, find_binomial_quantile(LEVEL / 2, rounds) - 1)
    ends = ratios[left_out], np.median(ratios), ratios[rounds - 1 - left_out]
    return Ratio(*map(float, ends))


def find_binomial_quantile(probability: float, trials: int) -> int:
    """Return the smallest number of heads that a fair coin stays within with this probability.

    The counts are integers of any size, so nothing is rounded before the comparison.
    """
    counts = itertools.accumulate(math.comb(trials, heads) for heads in range(trials + 1))
    return next(heads for heads, count in enumerate(counts) if count / 2**trials >= probability)
