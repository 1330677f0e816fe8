"""From steps that are ready to run to samples of their time: clock, blocks, warm-up and stopping.

The steps of one group are timed in rounds, one block of calls each, in an order drawn again for
each round: the speed of a machine drifts by more than the differences that matter, and what is
timed in the same round has seen the same machine. The clock is handed in, so that all of this is
tested with a fake one.
"""

from __future__ import annotations

import contextlib
import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from operator import methodcaller
from typing import Any, TypeAlias

import numpy as np
import psutil

from bench.stats.intervals import (
    FEWEST_SAMPLES,
    WARMUP_BLOCKS,
    halves_agree,
    median_interval,
    relative_half_width,
)
from lstm_impl.at_rest import LONG_CALL, Rest
from lstm_impl.proof.streamed import SEVERAL
from lstm_impl.spec import FloatArray
from lstm_impl.step import Results, Step

MOST_CLOCK_READS = 10_000_000
"""In search of its resolution. The coarsest clock in use, 16 ms, moves within a million."""


class TimingError(RuntimeError):
    """A step or the clock cannot be timed; the message says why."""


class NotWaitedForError(TimingError):
    """Work went on after the wait that should have ended it: its times are too short."""


@dataclass(frozen=True)
class Clock:
    """now: seconds that never go back; resolution: the smallest step of ``now``, in seconds.

    rest: returns once what others have left at work in this process has come to rest; None where
    there is nothing to wait for. sleep: lets that many seconds pass, or somewhat less.
    """

    now: Callable[[], float]
    resolution: float
    rest: Callable[[], None] | None = None
    sleep: Callable[[float], None] = time.sleep

    @classmethod
    def of(cls, now: Callable[[], float]) -> Clock:
        """``now`` with the resolution that it shows.

        Raises TimingError if it stands still.
        """
        smallest, reads, last = math.inf, 0, now()
        while reads < 1000 or smallest == math.inf:
            reads += 1
            if reads > MOST_CLOCK_READS:
                raise TimingError(f"the clock stands still: {reads} readings were the same")
            current = now()
            if current > last:
                smallest = min(smallest, current - last)
            last = current
        return cls(now, smallest)

    @classmethod
    def system(cls) -> Clock:
        """The performance counter of this machine, and the threads of this process."""
        return replace(cls.of(time.perf_counter), rest=Rest())


def first_use(step: Step, clock: Clock) -> tuple[float, float]:
    """Seconds to trace ``step``, and to call it for the first time, which compiles."""
    start = clock.now()
    step.trace()
    traced = clock.now()
    step.run()
    step.synchronize()
    return traced - start, clock.now() - traced


ENOUGH = 0.1
"""Seconds of calls: ten of the hundredths in which a system counts its processors' idle time."""


@dataclass(frozen=True)
class Processors:
    """Seconds of processors' time so far: used by this process, and idle, of all together."""

    used: Callable[[], float] = time.process_time
    idle: Callable[[], float] = lambda: float(psutil.cpu_times().idle)


def processors_busy(
    step: Step, seconds: float, now: Callable[[], float], processors: Processors
) -> float | None:
    """Processors that a step of ``seconds`` keeps busy, on average.

    None where it kept less than one busy and others had the rest: a step that waits for a processor
    is no step that waits. Threads that loop while they wait count as busy.
    """
    calls = max(1, math.ceil(ENOUGH / seconds))
    step.synchronize()
    idle, used, start = processors.idle(), processors.used(), now()
    for _ in range(calls):
        step.run()
    step.synchronize()
    whole = now() - start
    busy = max(0.0, processors.used() - used) / whole
    left = (processors.idle() - idle) / whole
    return busy if busy >= 1.0 or left >= 1.0 - busy else None


NUMBERS = 2**31
"""Sets of inputs are numbered from 1 to this."""


@dataclass(frozen=True)
class TimingPlan:
    """How long and how well one group is measured.

    seconds: for each member, warm-up included; together they share the time of all. One round is
    always made. precision: how far the median's 95% interval may reach, relative to the median.
    seed: of the order of the members within each round. whole: take all of the time, however narrow
    the intervals are by then. judged: number of the inputs of the last call, whose results are
    compared with the reference; None draws one. Processes with the same number share the answer.
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
    """What the judged calls in a row computed, and the numbers of the inputs they worked on."""

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
class StreamConditions:
    """What is next to the calls of a stream.

    load: processes that keep a processor busy each meanwhile. deadline: seconds within which each
    call is to be done, counted from when it was due; None for the period, if there is one.
    """

    load: int = 0
    deadline: float | None = None


@dataclass(frozen=True)
class StepSeries:
    """What was measured of one step.

    blocks: seconds of each block of so many calls, its wait included. rounds: the alternating round
    that each was taken in; blocks of two members with the same round are a pair. warmup: seconds
    per step of the blocks before. steady: whether the two halves of the blocks agree; None if there
    are too few to tell. synchronize: seconds that waiting takes when there is nothing to wait for.
    last: None if the step cannot show it. untimed: seconds of placing inputs, and of the calls
    before blocks that fill the caches again.
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
    """A step raised while it was measured: it has no times."""

    error: Exception
    during: str


Guard: TypeAlias = contextlib.AbstractContextManager[object]

SYNCHRONIZE_SHARE = 0.01
"""A block is so long that the wait at its end costs at most this part of it: a hundredth is under
what any comparison here can distinguishes."""

RESOLUTIONS_PER_BLOCK = 1000
"""A block is at least this many ticks of the clock, so that reading it is wrong by 0.1% at most."""

SHORTEST_BLOCK = 0.01
"""Seconds. A block evicts what the one before it left in the caches and thread pools; in 10 ms the
refilling is lost among the calls, and the operating system's interruptions (of 0.1 ms and less)
cannot make a sample."""

FEW_ROUNDS = 12
"""Rounds: from fewer, six processes seldom come to a verdict. Where the time holds no more, calls
before blocks that are not timed are left out from ``SHORT_OF_TIME`` seconds on."""

SHORT_OF_TIME = 0.02
"""Seconds of one call. The first of three then takes 1 to 2% longer than the third, alike for all
backends within 1.4% (``lstm_impl.at_rest.LONG_CALL``)."""

MOST_CALLS = 100_000
"""In one block. It fills ``SHORTEST_BLOCK`` with steps of 100 ns; nothing faster is an LSTM, so a
step that asks for more does not work, or the clock does not."""

CALLS_FOR_ONE = 20
"""Where a block is of several calls, one that is not timed comes before it (``GroupMember.block``).
Of 2 calls it would be half as much again, of these a twentieth; while the time holds ``BLOCKS``."""

BLOCKS = 40
"""Past so many samples the interval of a median is not what makes a process's figure unsure."""

GROWTH = 10
"""A block grows by this factor at most from one trial to the next: the first calls are the slowest,
and what they say about the number of calls is not to be trusted far."""

WARMUP_SHARE = 0.1
"""Part of the time that warm-up may take; a step that has not settled by then is measured as it is
and marked by ``StepSeries.steady``. It was called several times before, by first use and the gate:
over 600 series of the reference results blocks were within 1.5% of the samples' median from the
second on."""

MOST_ROUNDS = 2000
"""Past this the interval of a median narrows by less than 2% for each hundred rounds more, and the
result file is all samples."""

_UNGUESSED = random.SystemRandom()

LATE_SHARE = 0.1
"""Part of a call's time that its work may go on after the wait, so that no time is shorter by more:
by so much may the first copy of its result take longer than copies do."""

SLOWEST_COPY = 2.0
"""How long a copy of a result may take, relative to a copy of the same arrays which were placed on
the device and waited for. Results are also transposed and split: 1.7 was the most seen, over eleven
backends from 1x1 to 64x25x512."""

LATE_TRIES = 3
"""Series of copies that must all be late before a step counts as one that is not waited for: a
machine that stands still just then may make one of them seem so."""

COPIES = 9
"""Results in such a series, of which the median counts; one of a call of 10 ms or more, next to
which what disturbs a copy is small."""

UPDATES = 3
"""Calls in a row that are judged of a step that updates weights: the first sees the weights that it
was given and no moments, the second and the third see what those before have left."""


def measure(
    steps: Mapping[str, Step],
    plan: TimingPlan,
    clock: Clock,
    guards: Mapping[str, Guard] | None = None,
    member: Callable[[Step, Guard], GroupMember] | None = None,
) -> dict[str, StepSeries | Broken]:
    """Time the members of one group in alternating blocks.

    Each step has been called before (``first_use``). One that raises, or is still at work when it
    has been waited for, becomes ``Broken`` and the others go on. Rounds are made until every
    member's interval is as narrow as ``plan.precision`` or the next would end after the time is up.
    guards: entered around each use of a step, outside the clock. member: what times each of them,
    by default in blocks with one wait at the end.

    Every call of a block works on inputs of its own, which no call has seen before; they are drawn
    and placed outside the clock. After the samples comes one block more, whose last result is kept
    for the judge (``StepSeries.last``).
    """
    # Its first call imports what it needs, a third of a second that is not to be the group's.
    median_interval([1.0] * FEWEST_SAMPLES)
    group = _Group(steps, plan, clock, guards or {}, member or GroupMember)
    group.calibrate()
    group.warm_up()
    reason = group.take_samples()
    group.look_at_last()
    return {name: member.result(plan, reason) for name, member in group.members.items()}


@dataclass
class GroupMember:
    """One step, while it is measured."""

    step: Step
    guard: Guard = field(default_factory=contextlib.nullcontext)
    calls: int = 1
    synchronize: float = 0.0
    shortest: float = 0.0
    latest: float = 0.0  # seconds of the last block
    long_call: float = LONG_CALL
    untimed: float = 0.0  # seconds outside the clock: placing inputs, and calls before blocks
    took: float = 0.0  # seconds of the last block with what is outside the clock
    spent: float = 0.0  # seconds of blocks that were warmed up with or count
    warmup: list[float] = field(default_factory=list)
    warmed_from: int = 0  # where in ``warmup`` the blocks of this many calls begin
    blocks: list[float] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    broken: Broken | None = None
    last: Last | None = None
    next_inputs: int = field(default_factory=lambda: 1 + _UNGUESSED.randrange(NUMBERS))

    def place(self, count: int, last: int | None = None) -> None:
        """Place inputs for so many calls, which no call before had.

        They are numbered from one that no seed tells a backend: drawn again for each block, they
        would now and then be those of an earlier one.

        last: the number of the last one; the next like the others by default.
        """
        if self.step.use is None:
            return
        numbers = [self.next_inputs + each for each in range(min(count, self.step.room))]
        self.next_inputs += len(numbers)
        if last is not None:
            # Beyond their number they come again: so that the last call gets the last.
            numbers[(count - 1) % len(numbers)] = last
        self.step.use(numbers)

    def wakes(self, clock: Clock) -> bool:
        """Whether a call outside the clock comes before a block.

        Another member ran last and the caches are its own; after a rest all threads sleep. One call
        brings ours back.
        """
        return self.calls > 1 or (clock.rest is not None and self.latest < self.long_call)

    def timed(self, clock: Clock, judged: int | None = None) -> tuple[float, object]:
        """Seconds of one block, its calls and one wait at the end, and what the last call returned.

        What the others returned is let go at once. judged: number of the inputs of the last call.
        """
        begun, wakes = clock.now(), self.wakes(clock)
        self.place(self.calls + wakes, judged)
        if wakes:
            self.step.run()
            self.step.synchronize()
        collecting = gc.isenabled()
        gc.disable()  # a collection inside a block would time the garbage of the whole process
        try:
            start = clock.now()
            returned = self.run_block(clock)
            end = clock.now()
        finally:
            if collecting:
                gc.enable()
        self.latest, self.took = end - start, end - begun
        self.untimed += start - begun
        return self.latest, returned

    def run_block(self, clock: Clock) -> object:
        """Call the step as often as a block does, wait once, and return what the last returned."""
        run = self.step.run
        for _ in range(self.calls - 1):
            run()
        returned = run()
        self.step.synchronize()
        return returned

    def look_at_last(self, clock: Clock, judged: int) -> None:
        """One more block, and what its last call computed, on the inputs of this number.

        A step that changes its own weights computes something else in each call: for the judge it
        begins again after the block, and makes ``UPDATES`` calls in a row.
        """
        step = self.step
        if step.results is None:
            return
        _, returned = self.timed(clock, judged)
        results = step.results(returned)
        self.place(1)
        step.run()
        step.synchronize()
        check_kept(results, step.results(returned))
        self.last = Last((judged,), (results,))
        if step.restart is not None:
            step.restart()
            numbers = tuple(judged + each for each in range(UPDATES))
            found = []
            for number in numbers:
                if step.use is not None:
                    step.use([number])
                returned = step.run()
                step.synchronize()
                found.append(step.results(returned))
            self.last = Last(numbers, tuple(found))

    def check_wait(self, clock: Clock) -> None:
        """Raise NotWaitedForError if work goes on after the wait that should end it.

        A result is then not there when it is first copied: the copy waits for it or computes it,
        and takes longer than one of arrays that are there.
        """
        results, place_results = self.step.results, self.step.place_results
        if results is None or place_results is None:
            return
        each = self.latest / self.calls
        for calls in dict.fromkeys((self.calls, 1)):
            for _ in range(LATE_TRIES):
                late = self._late(clock, calls, results, place_results)
                if late <= LATE_SHARE * each * calls:
                    break
            else:
                raise NotWaitedForError(
                    f"after {calls} calls of {each:.3g} s and the wait that should end them, the "
                    f"last result was not there for another {late:.3g} s: it is not waited for"
                )

    def _late(
        self,
        clock: Clock,
        calls: int,
        results: Callable[[Any], Results],
        place_results: Callable[[Results], Callable[[], object]],
    ) -> float:
        """Seconds by which copying the result of the last of so many calls takes too long."""
        step, late = self.step, []
        short = calls == 1 and self.latest < self.calls * SHORTEST_BLOCK
        before = None
        for _ in range(COPIES if short else 1):
            self.place(calls)
            for _ in range(calls):
                returned = step.run()
            step.synchronize()
            if before is not None:
                results(before)  # so that what copying needs is in the caches
            start = clock.now()
            arrays = results(returned)
            took = clock.now() - start
            copy = place_results(arrays)
            start = clock.now()
            copy()
            late.append(took - SLOWEST_COPY * (clock.now() - start))
            before = returned
        return statistics.median(late)

    def calibrate(self, clock: Clock, seconds: float) -> None:
        """Find the number of calls that makes a block long enough; ``seconds`` are for all."""
        self.step.synchronize()
        waits = []
        for _ in range(9):
            start = clock.now()
            self.step.synchronize()
            waits.append(clock.now() - start)
        self.synchronize = statistics.median(waits)
        self.shortest = max(
            SHORTEST_BLOCK,
            RESOLUTIONS_PER_BLOCK * clock.resolution,
            self.synchronize / SYNCHRONIZE_SHARE,
        )
        while True:
            self.warmed_from = len(self.warmup)
            elapsed, _ = self.timed(clock)
            if elapsed > 0:
                self.warmup.append(elapsed / self.calls)
            if elapsed >= self.shortest:
                if self.calls > 1:
                    space = int(seconds / BLOCKS * self.calls / elapsed)
                    calls = max(self.calls, min(CALLS_FOR_ONE, space))
                    if calls != self.calls:
                        self.calls, self.warmed_from = calls, len(self.warmup)
                return
            if self.calls >= MOST_CALLS:
                raise TimingError(
                    f"{self.calls} calls took {elapsed:g} s together, too short to be timed: "
                    "the step does no work, or the clock is too coarse"
                )
            wanted = GROWTH * self.calls
            if elapsed > 0:
                wanted = min(wanted, math.ceil(1.1 * self.calls * self.shortest / elapsed))
            self.calls = min(MOST_CALLS, max(wanted, self.calls + 1))

    def warm_up(self, clock: Clock) -> None:
        """One block that is kept as warm-up."""
        self.warmup.append(self._block(clock) / self.calls)

    def settled(self) -> bool:
        """Whether the latest blocks are of one speed."""
        return halves_agree(self.warmup[self.warmed_from :][-WARMUP_BLOCKS:]) is True

    def lengthen(self) -> None:
        """More calls to a block, if warming up has made the step quicker than it seemed."""
        quickest = min(self.warmup)
        if quickest * self.calls < self.shortest:
            self.calls = min(MOST_CALLS, math.ceil(self.shortest / quickest))

    def sample(self, clock: Clock, number: int) -> None:
        """One block that counts, in round ``number``."""
        self.blocks.append(self._block(clock))
        self.rounds.append(number)

    def _block(self, clock: Clock) -> float:
        elapsed, _ = self.timed(clock)
        self.spent += self.latest
        if elapsed <= 0:
            raise TimingError(f"a block of {self.calls} calls took {elapsed:g} s by the clock")
        return elapsed

    @property
    def samples(self) -> list[float]:
        """Seconds per step, one for each block that counts."""
        return [block / self.calls for block in self.blocks]

    def precise(self, plan: TimingPlan) -> bool:
        """Whether its median is known well enough to stop."""
        return not plan.whole and relative_half_width(self.samples) <= plan.precision

    def result(self, plan: TimingPlan, reason: Stopped) -> StepSeries | Broken:
        """What is handed out."""
        if self.broken is not None:
            return self.broken
        return StepSeries(
            calls=self.calls,
            blocks=tuple(self.blocks),
            rounds=tuple(self.rounds),
            warmup=tuple(self.warmup),
            stopped=Stopped.PRECISE if self.precise(plan) else reason,
            steady=halves_agree(self.samples),
            synchronize=self.synchronize,
            last=self.last,
            untimed=self.untimed,
        )


def check_kept(first: Results, again: Results) -> None:
    """Raise TimingError if a result was another after the call that followed it."""
    for name, array in first.items():
        if not np.array_equal(array, again[name], equal_nan=True):
            raise TimingError(
                f"{name} of a call changed while the next call ran: it was not there after the "
                "wait, or its memory was used again"
            )


class _Group:
    """The members of one group and the time that is left to them."""

    def __init__(
        self,
        steps: Mapping[str, Step],
        plan: TimingPlan,
        clock: Clock,
        guards: Mapping[str, Guard],
        member: Callable[[Step, Guard], GroupMember],
    ) -> None:
        self.members = {
            name: member(step, guards.get(name, contextlib.nullcontext()))
            for name, step in steps.items()
        }
        self._plan = plan
        self._clock = clock
        self._order = random.Random(plan.seed)
        self._seconds = plan.seconds * len(steps)
        self._start = clock.now()

    @property
    def _living(self) -> list[GroupMember]:
        return [member for member in self.members.values() if member.broken is None]

    def _each(
        self,
        during: str,
        work: Callable[[GroupMember], None],
        chosen: Callable[[GroupMember], bool] = lambda member: True,
    ) -> None:
        """Do something with each chosen member, in an order drawn again; one that raises is out."""
        members = self._living
        self._order.shuffle(members)
        for member in filter(chosen, members):
            if self._clock.rest is not None:
                # Threads of who was timed before may still be waiting for work in a loop.
                self._clock.rest()
            try:
                with member.guard:
                    work(member)
            except Exception as error:
                # Whatever a backend raises is its own result: the others are still to be measured.
                member.broken = Broken(error, during)

    def _round_fits(self, share: float) -> bool:
        """Whether one more round would end within ``share`` of the time."""
        next_round = sum(member.took for member in self._living if self._takes_part(member))
        return self._clock.now() - self._start + next_round <= share * self._seconds

    def _takes_part(self, member: GroupMember) -> bool:
        """Whether a member is in the next round: where all of the time is taken, each has its own.

        One that turns slow would else leave the others few blocks of the time of all.
        """
        if not self._plan.whole or not member.rounds:
            return True
        return member.spent + member.latest <= self._plan.seconds

    def calibrate(self) -> None:
        self._each(
            "while the number of calls in a block was chosen",
            lambda member: member.calibrate(self._clock, self._plan.seconds),
        )
        one_round = sum(member.latest * (1 + 1 / member.calls) for member in self._living)
        if FEW_ROUNDS * one_round > self._seconds:
            for member in self._living:
                member.long_call = SHORT_OF_TIME

    def warm_up(self) -> None:
        """Rounds until the latest blocks of every member are of one speed, or time presses."""
        while not all(member.settled() for member in self._living):
            if not self._round_fits(WARMUP_SHARE):
                break
            self._each("while it was warmed up", lambda member: member.warm_up(self._clock))
        for member in self._living:
            member.lengthen()

    def take_samples(self) -> Stopped:
        """Rounds whose blocks are the samples; says why they ended."""
        for number in range(MOST_ROUNDS):
            sample = methodcaller("sample", self._clock, number)
            self._each(f"in round {number}", sample, self._takes_part)
            if all(member.precise(self._plan) for member in self._living):
                return Stopped.PRECISE
            if not (any(map(self._takes_part, self._living)) and self._round_fits(1.0)):
                return Stopped.TIME
        return Stopped.ROUNDS

    def look_at_last(self) -> None:
        during = "when its results were copied"
        self._each(during, lambda member: member.check_wait(self._clock))
        judged = self._plan.judged or 1 + _UNGUESSED.randrange(NUMBERS)
        during = "when its last result was looked at"
        self._each(during, lambda member: member.look_at_last(self._clock, judged))


# -- streams: every call timed by itself
#
# A paced call is due at ``begin + i * period``, whatever became of those before it, and its latency
# counts from then: a call that has to wait because the one before it was late is late itself.
# Timing each call from when it could be made would leave that out ("coordinated omission": Tene,
# "How NOT to Measure Latency").


def timed_calls(step: Step, count: int, period: float | None, clock: Clock) -> Streamed:
    """Make calls, each waited for.

    Without a period one begins when the one before is done. Else one is due every period, the first
    after one; what is due while another is at work begins as soon as that is done, and nothing is
    left out.
    """
    latency: list[float] = []
    service: list[float] = []
    run, wait, now = step.run, step.synchronize, clock.now
    begin = now()
    for number in range(1, count + 1):
        due = None
        if period is not None:
            due = begin + number * period
            while (early := due - now()) > 0:
                clock.sleep(early)
        began = now()
        run()
        wait()
        done = now()
        latency.append(done - (began if due is None else due))
        service.append(done - began)
    return Streamed(np.array(latency), np.array(service))


@dataclass
class StreamMember(GroupMember):
    """A stream, while it is measured: its samples are the medians of its blocks' latencies."""

    period: float | None = None
    taken: list[Streamed] = field(default_factory=list)
    _latest: Streamed | None = None

    def calibrate(self, clock: Clock, seconds: float) -> None:
        """As of any step; paced, as many calls as leave time for ``BLOCKS`` blocks."""
        if self.period is None:
            super().calibrate(clock, seconds)
            return
        self.step.synchronize()
        self.calls = max(1, int(seconds / self.period / BLOCKS))
        self.warm_up(clock)

    def lengthen(self) -> None:
        """Paced, a block is as long as its calls are due, however quick they are."""
        if self.period is None:
            super().lengthen()

    def wakes(self, clock: Clock) -> bool:
        """Always: another stream ran last, and the caches are its own."""
        return True

    def timed(self, clock: Clock, judged: int | None = None) -> tuple[float, object]:
        """One block, as long as if each of its calls had taken the median; and nothing kept."""
        super().timed(clock, judged)
        assert self._latest is not None
        return statistics.median(self._latest.latency) * self.calls, None

    def run_block(self, clock: Clock) -> object:
        """Time each call of the block by itself."""
        self._latest = timed_calls(self.step, self.calls, self.period, clock)
        return None

    def sample(self, clock: Clock, number: int) -> None:
        """One block that counts, with each of its calls."""
        super().sample(clock, number)
        assert self._latest is not None
        if (shortest := self._latest.service.min()) <= 0:
            raise TimingError(f"a call took {shortest:g} s by the clock")
        self.taken.append(self._latest)

    def look_at_last(self, clock: Clock, judged: int) -> None:
        """The stream goes on from the state that the timed calls left, with inputs of its own."""
        step = self.step
        if step.results is None or step.use is None:
            return
        numbers = [judged + each for each in range(1 + SEVERAL)]
        step.use(numbers)
        returned: list[object] = []
        results: list[Results] = []
        for _ in numbers:
            returned.append(step.run())
            step.synchronize()
            if results:
                check_kept(results[-1], step.results(returned[-2]))
            results.append(step.results(returned[-1]))
        self.last = Last(tuple(numbers), tuple(results))

    def result(self, plan: TimingPlan, reason: Stopped) -> StepSeries | Broken:
        """With every call that was timed."""
        found = super().result(plan, reason)
        if isinstance(found, Broken):
            return found
        latency, service = (
            np.concatenate([getattr(calls, name) for calls in self.taken])
            for name in ("latency", "service")
        )
        return replace(found, streamed=Streamed(latency, service))


def measure_streams(
    steps: Mapping[str, Step],
    plan: TimingPlan,
    clock: Clock,
    guards: Mapping[str, Guard] | None = None,
    period: float | None = None,
) -> dict[str, StepSeries | Broken]:
    """``timing.measure`` of streams: blocks in turn, and every call by itself.

    period: seconds between two calls, None for back to back. All of the time is taken: what is rare
    is not known sooner for the median being known.
    """
    member = partial(StreamMember, period=period)
    return measure(steps, replace(plan, whole=True), clock, guards, member)
