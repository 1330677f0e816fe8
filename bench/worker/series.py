"""What timing is told and what it gives back: a plan, and a series of samples or what broke it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lstm_impl.spec import FloatArray
from lstm_impl.step import Results

NUMBERS = 2**31
"""Sets of inputs are numbered from 1 to this."""


@dataclass(frozen=True)
class Plan:
    """How long and how well one group is measured.

    seconds: for each member, warm-up included; together they share the time of all, since a round
        takes one block of each. One round is always made.
    precision: how far the median's 95% interval may reach, relative to the median, for a member to
        be known well enough.
    seed: of the order of the members within each round.
    whole: take all of the time, however narrow the intervals are by then.
    judged: number of the inputs of the last call, whose results are compared with the reference;
        None draws one. Processes with the same number share the reference's answer.
    """

    seconds: float
    precision: float = 0.01
    seed: int = 0
    whole: bool = False
    judged: int | None = None


class Stopped(StrEnum):
    """Why no more samples were taken."""

    PRECISE = "precise"
    TIME = "time"
    ROUNDS = "rounds"


@dataclass(frozen=True)
class Last:
    """What the judged calls computed, and the numbers of the inputs that they worked on.

    Of a step that updates weights, three calls in a row; else one. Of a stream, all that follow the
    first as one sequence (``proof.streamed``).
    """

    inputs: tuple[int, ...]
    results: tuple[Results, ...]


@dataclass(frozen=True, eq=False)
class Streamed:
    """Every call of a stream by itself, in order, in seconds.

    latency: from when it was due until it was done. service: from when it began; the same where
    calls come back to back.
    """

    latency: FloatArray
    service: FloatArray


@dataclass(frozen=True)
class Beside:
    """What stands beside the calls of a stream.

    load: processes that keep a processor busy each meanwhile. deadline: seconds within which each
    call is to be done, counted from when it was due; None for the period, if there is one.
    """

    load: int = 0
    deadline: float | None = None


@dataclass(frozen=True)
class Series:
    """What was measured of one step.

    calls: of the step in one block.
    blocks: seconds of each block, its wait included.
    rounds: the alternating round that each block was taken in; blocks of two members with the same
        round are a pair.
    warmup: seconds per step of the blocks that were made before, in order.
    stopped: why there are no more blocks.
    steady: whether the two halves of the blocks agree; None if there are too few to tell.
    synchronize: seconds that waiting takes when there is nothing to wait for.
    last: what the judged calls computed; None if the step cannot show it.
    streamed: of a stream, every call of the blocks by itself.
    untimed: seconds of placing inputs, and of the calls before blocks that fill the caches again.
    """

    calls: int
    blocks: tuple[float, ...]
    rounds: tuple[int, ...]
    warmup: tuple[float, ...]
    stopped: Stopped
    steady: bool | None
    synchronize: float
    last: Last | None = None
    streamed: Streamed | None = None
    untimed: float | None = None

    @property
    def samples(self) -> tuple[float, ...]:
        """Seconds per step, one for each block."""
        return tuple(block / self.calls for block in self.blocks)


@dataclass(frozen=True)
class Broken:
    """A step raised while it was measured: it has no times.

    during: when, in words.
    """

    error: Exception
    during: str
