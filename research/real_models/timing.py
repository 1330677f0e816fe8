"""Time several ways to compute one call in turn.

In each round every way runs one block of calls, in a new random order, so that a change of the
machine's speed affects all of them. Before each block, the process waits until its other threads
are idle, because a framework's threads may spin after a call.
"""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lstm_impl.at_rest import LONG_CALL, IdleWait

ROUNDS = 5
"""The number of blocks of each way in one process."""

BLOCK = 0.03
"""The least seconds of a block. Linux counts the processor time of other threads at its ticks, of
about 4 ms, and blocks of one way start at random places between two ticks."""

WARM_UP = 0.1
"""The least seconds of calls before the first block. The comparison has made calls before."""


@dataclass(frozen=True)
class Clock:
    """Hold the clocks, in seconds, and what waits for other threads.

    Attributes
    ----------
    wall, processor
        The time that passes, and the processor time of all threads of this process.
    rest
        A function that returns when the other threads are idle.
    """

    wall: Callable[[], float] = time.perf_counter
    processor: Callable[[], float] = time.process_time
    rest: Callable[[], object] = field(default_factory=IdleWait)


@dataclass(frozen=True)
class Times:
    """Hold the seconds of one call in each round. Both lists have one number for each round.

    Attributes
    ----------
    wall, processor
        The time that passed, and the processor time of all threads of the process.
    """

    wall: list[float]
    processor: list[float]


def time_in_turn(
    runs: Mapping[str, Callable[[], object]],
    seed: int,
    rounds: int = ROUNDS,
    block: float = BLOCK,
    clock: Clock | None = None,
) -> dict[str, Times]:
    """Return the times of functions, from alternating blocks of calls.

    Parameters
    ----------
    runs
        The functions by name. Each has been called before.
    seed
        Determines the order of the functions in each round.
    rounds, block
        The number of blocks of each function, and the least seconds of a block.
    clock
        The clocks; the system's if None.
    """
    clock = clock or Clock()
    calls = {name: _count_calls(run, block, clock) for name, run in runs.items()}
    found: dict[str, Times] = {name: Times([], []) for name in runs}
    order, draw = list(runs), random.Random(seed)
    collecting = gc.isenabled()
    for _ in range(rounds):
        draw.shuffle(order)
        for name in order:
            gc.collect()
            gc.disable()
            try:
                wall, processor = _time_block(runs[name], calls[name], block, clock)
            finally:
                if collecting:
                    gc.enable()
            found[name].wall.append(wall)
            found[name].processor.append(processor)
    return found


def _count_calls(run: Callable[[], object], block: float, clock: Clock) -> int:
    """Warm up and return how many calls fill a block."""
    start = now = clock.wall()
    shortest = float("inf")
    while now - start < WARM_UP or shortest == float("inf"):
        run()
        before, now = now, clock.wall()
        shortest = min(shortest, now - before)
    return max(1, math.ceil(block / max(shortest, 1e-9)))


def _time_block(
    run: Callable[[], object], calls: int, block: float, clock: Clock
) -> tuple[float, float]:
    """Return the seconds of one call and its processor seconds."""
    clock.rest()
    if block / calls < LONG_CALL:
        run()  # This call fetches the data into the caches and wakes the threads.
    processor, wall = clock.processor(), clock.wall()
    for _ in range(calls):
        run()
    return (clock.wall() - wall) / calls, (clock.processor() - processor) / calls
