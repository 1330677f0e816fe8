"""Run many trials of one kind in parallel, drawn from a seed, and report failures."""

import contextlib
import random
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

SIDE_BY_SIDE = 2
"""Parallel trials, which wait for their processes."""

MOST_SHOWN = 20
"""The number of printed failures of a kind; the others are counted."""

PATIENCE = 300.0
"""Seconds after which a process counts as stuck. None works for more than a few, but the machine
may be busy."""


@dataclass
class Attack:
    """seed: of all that is drawn. size: of the numbers of trials, 1 being a release's. counts: of
    each kind, how many trials there were, and of what."""

    seed: int
    size: float = 1.0
    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def random(self, kind: str) -> random.Random:
        """Return the generator of one kind, independent of other kinds."""
        return random.Random(f"{self.seed} {kind}")

    def times(self, number: int) -> int:
        """Return the number of trials, for ``number`` trials of a release."""
        return max(1, round(number * self.size))

    def count(self, kind: str, what: str, number: int = 1) -> None:
        self.counts.setdefault(kind, Counter())[what] += number

    def run(
        self,
        kind: str,
        trials: Sequence[T],
        attempt: Callable[[T], Iterable[str]],
        side_by_side: int = SIDE_BY_SIDE,
    ) -> None:
        """Run all trials; ``attempt`` yields errors, a line each.

        Raises AssertionError with the trials and their errors.
        """

        def one(trial: T) -> list[str]:
            try:
                return [f"{trial}: {wrong}" for wrong in attempt(trial)]
            except subprocess.TimeoutExpired as error:
                return [f"{trial}: did not end within {error.timeout:g} s"]

        if side_by_side == 1:
            found = list(map(one, trials))
        else:
            with ThreadPoolExecutor(side_by_side) as pool:
                found = list(pool.map(one, trials))
        self.count(kind, "trials", len(trials))
        self.count(kind, "failed", sum(map(bool, found)))
        wrong = [line for lines in found for line in lines]
        if wrong:
            more = [f"and {len(wrong) - MOST_SHOWN} more"] if len(wrong) > MOST_SHOWN else []
            again = f"again: --attack-seed {self.seed}"
            raise AssertionError("\n".join([f"{kind}:", *wrong[:MOST_SHOWN], *more, again]))


class Hang(BaseException):
    """A reader takes longer than any machine could need."""


@contextlib.contextmanager
def limited(seconds: float = PATIENCE) -> Iterator[None]:
    """Raise Hang in the block, which must run in the main thread to be interrupted."""
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("only in the main thread")

    def ring(number: int, frame: object) -> None:
        raise Hang(f"did not end within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
