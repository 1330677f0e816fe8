"""Time steps that are ready to run: clock, blocks, warm-up and stopping.

The steps of one group are timed in rounds, one block of calls each, in a new random order for each
round: the speed of a machine drifts by more than the differences that matter, and blocks of the
same round have seen the same machine. Tests pass a fake clock.
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
from types import MappingProxyType
from typing import Any, ClassVar, TypeAlias

import numpy as np
import psutil

from bench.stats.intervals import (
    FEWEST_SAMPLES,
    WARMUP_BLOCKS,
    halves_agree,
    median_interval,
    relative_half_width,
)
from bench.worker.kept_results import (
    FEWEST_KEPT,
    FIRST_OWN_NUMBER,
    LAST_NUMBERS,
    JudgedCalls,
    Selection,
)
from lstm_impl.at_rest import LONG_CALL, Rest
from lstm_impl.call import Results, Step
from lstm_impl.spec import FloatArray


class TimingError(RuntimeError):
    """A step cannot be timed, or the clock is unusable."""


class NotWaitedForError(TimingError):
    """Work continued after the wait that should have ended it, so times are too short."""


@dataclass(frozen=True)
class Clock:
    """A source of time, in seconds.

    now: never goes back. resolution: the smallest step of ``now``. rest: waits until the threads of
    other steps are idle; None where there are none. sleep: waits that long, or somewhat less.
    """

    now: Callable[[], float]
    resolution: float
    rest: Callable[[], None] | None = None
    sleep: Callable[[float], None] = time.sleep

    @classmethod
    def system(cls) -> Clock:
        """Return the performance counter, and rest for the threads of this process."""
        resolution = time.get_clock_info("perf_counter").resolution
        return cls(time.perf_counter, resolution, Rest())


def first_use(step: Step, clock: Clock) -> tuple[float, float]:
    """Return the seconds to trace ``step``, and of its first call, which compiles."""
    start = clock.now()
    step.trace()
    traced = clock.now()
    step.run()
    step.synchronize()
    return traced - start, clock.now() - traced


ENOUGH = 0.1
"""Seconds of calls: ten units of 10 ms, in which Linux counts the idle time of processors."""


@dataclass(frozen=True)
class Processors:
    """Processor seconds so far: used by this process, and idle on all processors together."""

    used: Callable[[], float] = time.process_time
    idle: Callable[[], float] = lambda: float(psutil.cpu_times().idle)


def processors_busy(
    step: Step, seconds: float, now: Callable[[], float], processors: Processors
) -> float | None:
    """Return how many processors a step of ``seconds`` keeps busy, on average.

    None if it kept less than one busy because other processes used the rest. Threads that spin
    while they wait count as busy.
    """
    calls = max(1, math.ceil(ENOUGH / seconds))
    step.synchronize()
    idle, used, start = processors.idle(), processors.used(), now()
    for _ in range(calls):
        step.run()
    step.synchronize()
    elapsed = now() - start
    busy = max(0.0, processors.used() - used) / elapsed
    left = (processors.idle() - idle) / elapsed
    return busy if busy >= 1.0 or left >= 1.0 - busy else None


@dataclass(frozen=True)
class TimingPlan:
    """How long and how precisely one group is measured.

    seconds: for each member, including warm-up; members share the sum. precision: half-width of the
    median's 95% interval at which to stop, relative to the median. seed: of the order of members in
    each round. use_all_time: never stop early. judged: seed of the inputs of those calls whose
    results are compared with the reference; None draws one. Processes with the same seed share the
    reference's answers.
    """

    seconds: float
    precision: float = 0.01
    seed: int = 0
    use_all_time: bool = False
    judged: int | None = None


class Stopped(StrEnum):
    """Why no more samples were taken."""

    PRECISE = "precise"
    TIME = "time"
    ROUNDS = "rounds"


@dataclass(frozen=True, eq=False)
class StreamTimes:
    """Seconds of every call of a stream, in order.

    latency: from when a call was due until it was done. service: from when it began; the same for
    back-to-back calls.
    """

    latency: FloatArray
    service: FloatArray


@dataclass(frozen=True)
class StreamConditions:
    """Conditions under which a stream is measured.

    load: processes that each keep a processor busy meanwhile. deadline: seconds from when a call is
    due until it must be done; None for the period, if there is one.
    """

    load: int = 0
    deadline: float | None = None


@dataclass(frozen=True)
class StepSeries:
    """Times of one step.

    blocks: seconds of each block of ``calls`` calls, including its wait. rounds: the round of each
    block; blocks of two members with the same round are a pair. warmup: seconds per step of the
    blocks before. steady: whether the two halves of the blocks agree; None if there are too few.
    synchronize: seconds that an idle wait takes. last: calls after the blocks; None if the step
    cannot show its results. kept: results of timed calls. untimed: seconds of placing inputs, of
    untimed calls, and of keeping results.
    """

    calls: int
    blocks: tuple[float, ...]
    rounds: tuple[int, ...]
    warmup: tuple[float, ...]
    stopped: Stopped
    steady: bool | None
    synchronize: float
    last: JudgedCalls | None = None
    streamed: StreamTimes | None = None
    untimed: float | None = None
    kept: tuple[JudgedCalls, ...] = ()

    @property
    def samples(self) -> tuple[float, ...]:
        """Seconds per step of each block."""
        return tuple(block / self.calls for block in self.blocks)


@dataclass(frozen=True)
class Broken:
    """A step that raised while it was measured, and so has no times. round: of its blocks."""

    error: Exception
    stage: str
    round: int | None = None


Guard: TypeAlias = contextlib.AbstractContextManager[object]

SYNCHRONIZE_SHARE = 0.01
"""Largest part of a block that the wait at its end may take: less than any comparison can show."""

RESOLUTIONS_PER_BLOCK = 1000
"""Least ticks of the clock in a block, so that reading it is wrong by at most 0.1%."""

SHORTEST_BLOCK = 0.01
"""Seconds. Refilling caches and waking threads is small in 10 ms, and so are interruptions by the
operating system (0.1 ms and less)."""

FEW_ROUNDS = 12
"""With fewer rounds six processes seldom come to a verdict. If time allows no more, the untimed
call before a block is left out for calls of ``SHORT_OF_TIME`` seconds and more."""

SHORT_OF_TIME = 0.02
"""Seconds of one call. The first of three then takes 1 to 2% longer than the third, for all
backends within 1.4% (``lstm_impl.at_rest.LONG_CALL``)."""

MOST_CALLS = 100_000
"""Most calls in a block: they fill ``SHORTEST_BLOCK`` with steps of 100 ns. No LSTM is faster, so
either the step does no work or the clock is wrong."""

CALLS_FOR_ONE = 20
"""Calls of a block that has an untimed call before it, so that this call costs a twentieth; fewer
if the time would not hold ``BLOCKS`` such blocks."""

BLOCKS = 40
"""Beyond this many samples the interval of the median no longer limits a process's precision."""

GROWTH = 10
"""Largest growth of a block from one trial to the next: the first calls are the slowest, so they
say little about the number of calls."""

WARMUP_SHARE = 0.1
"""Part of the time that warm-up may take; a step that is not steady by then is measured as it is
and marked by ``StepSeries.steady``. First use and the gate have called it before: in 600 series of
the reference results, blocks were within 1.5% of the samples' median from the second on."""

MOST_ROUNDS = 2000
"""Beyond this the interval of a median narrows by less than 2% per hundred rounds, and the result
file is mostly samples."""

_UNPREDICTABLE = random.SystemRandom()

LATE_SHARE = 0.1
"""Largest part of a call's time that its work may continue after the wait: the first copy of a
result may take this much longer than other copies."""

SLOWEST_COPY = 2.0
"""Largest time of copying a result, relative to a copy of the same arrays that were placed on the
device in the backend's layout, and waited for: the most seen was 1.7, over eleven backends from 1x1
to 64x25x512."""

LATE_TRIES = 3
"""Consecutive series of copies that must be late before a step is refused: a busy machine may delay
one of them."""

_CACHED = np.zeros(2**20)
"""Eight megabytes, more than a core's own caches hold: filling them evicts arrays that were placed,
as results are not there either that another core wrote."""

COPIES = 9
"""Results in such a series, of which the median counts; one for a call of 10 ms or more, for which
a disturbance of a copy is small."""

UPDATES = 3
"""Consecutive calls that are judged of a step that updates weights: the first uses the given
weights and no moments, the others what the calls before left."""

RESTART_SHARE = 0.05
"""Part of the time that a step which updates weights may spend on judged calls between blocks. The
weights are known only after a restart, so such a call is not one of a block."""

EXTRA_SHARE = 0.1
"""Part of the time that judged calls after the last block may take if there were few blocks."""

CONSECUTIVE = 8
"""Consecutive calls of a stream that are judged in each block, besides the one that leaves the
first state."""

LAST_CONSECUTIVE = 72
"""The same after the last block: a state that is lost in every 64th call is lost in one of them."""


def measure(
    steps: Mapping[str, Step],
    plan: TimingPlan,
    clock: Clock,
    guards: Mapping[str, Guard] | None = None,
    member: Callable[[Step, Guard, Selection], GroupMember] | None = None,
    selection: Selection | None = None,
) -> dict[str, StepSeries | Broken]:
    """Time the members of one group in alternating blocks.

    Each step has been called before (``first_use``). One that raises, or still works after its
    wait, becomes ``Broken`` and the others go on. Rounds are made until every member's interval is
    as narrow as ``plan.precision`` or the next would end after the time is up; there is at least
    one. guards: entered around each use of a step, outside the clock. member: times one step.
    selection: of the results that are kept for the judge.

    Every call of a block has new inputs, which are drawn and placed outside the clock. The result
    of one call of a block, chosen at random, is kept (``StepSeries.kept``). After the samples come
    a few more calls, of which everything is kept (``StepSeries.last``).
    """
    # The first call imports what it needs: a third of a second that is not the group's.
    median_interval([1.0] * FEWEST_SAMPLES)
    group = _Group(
        steps, plan, clock, guards or {}, member or GroupMember, selection or Selection()
    )
    group.calibrate()
    group.warm_up()
    reason = group.take_samples()
    group.keep_last_results()
    return {name: member.result(plan, reason) for name, member in group.members.items()}


@dataclass
class GroupMember:
    """One step while it is measured.

    keeps_state: whether ``Step.restart`` begins a stream again, and not an optimizer.
    """

    keeps_state: ClassVar[bool] = False

    step: Step
    guard: Guard = field(default_factory=contextlib.nullcontext)
    selection: Selection = field(default_factory=Selection)
    calls: int = 1
    synchronize: float = 0.0
    shortest: float = 0.0
    latest: float = 0.0  # seconds of the last block
    long_call: float = LONG_CALL
    untimed: float = 0.0  # seconds outside the clock: placing inputs, and calls before blocks
    took: float = 0.0  # seconds of the last block, including what is outside the clock
    spent: float = 0.0  # seconds of warm-up blocks and samples
    warmup: list[float] = field(default_factory=list)
    warmed_from: int = 0  # index in ``warmup`` of the first block with this many calls
    blocks: list[float] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    broken: Broken | None = None
    last: JudgedCalls | None = None
    kept: dict[int, JudgedCalls] = field(default_factory=dict)  # by slot
    offered: int = 0  # blocks whose results could be kept
    keeping: float = 0.0  # seconds of judged calls between blocks
    next_inputs: int = FIRST_OWN_NUMBER

    def place(
        self, clock: Clock, count: int, judged: Mapping[int, int] = MappingProxyType({})
    ) -> None:
        """Place new inputs for ``count`` calls, then let other threads come to rest.

        No number is used twice, except with little space. judged: numbers for some of the calls, by
        their position.
        """
        if self.step.use is not None:
            numbers = [self.next_inputs + each for each in range(min(count, self.step.max_sets))]
            self.next_inputs += len(numbers)
            for position, number in judged.items():
                numbers[position % len(numbers)] = number
            self.step.use(numbers)
        if clock.rest is not None:
            # Those of the member before may still spin, and those that placed (PyTorch's for 5 ms).
            clock.rest()

    def needs_call_before(self, clock: Clock) -> bool:
        """Whether an untimed call precedes a block, to refill the caches and wake the threads."""
        return self.calls > 1 or (clock.rest is not None and self.latest < self.long_call)

    def time_block(self, clock: Clock, slot: int | None = None) -> tuple[float, object]:
        """Return the seconds of a block, and what one of its calls returned.

        slot: for which the result of a random call is kept; without one it is the last call's.
        """
        begun, untimed = clock.now(), self.needs_call_before(clock)
        chosen = self._choose_calls(slot, untimed)
        self.place(clock, self.calls + untimed, self._judged_numbers(slot, chosen))
        before = None
        if untimed:
            before = self.step.run()
            self.step.synchronize()
        collecting = gc.isenabled()
        gc.disable()  # a collection inside a block would time the garbage of the process
        try:
            start = clock.now()
            returned = self.run_block(clock, chosen, before, untimed)
            end = clock.now()
        finally:
            if collecting:
                gc.enable()
        self.latest, self.took = end - start, end - begun
        self.untimed += start - begun
        return self.latest, returned

    def _choose_calls(self, slot: int | None, untimed: bool) -> range:
        """Return which calls are kept, by their position among those with placed inputs.

        Without a slot the last call's result is returned.
        """
        last = self.calls - 1 if slot is None else _UNPREDICTABLE.randrange(self.calls)
        return range(untimed + last, untimed + last + 1)

    def _judged_numbers(self, slot: int | None, chosen: range) -> dict[int, int]:
        """Return the numbers of the inputs of the chosen calls."""
        if slot is None:
            return {}
        return dict(zip(chosen, self.selection.numbers(slot), strict=False))

    def run_block(self, clock: Clock, chosen: range, before: object, untimed: bool) -> object:
        """Make the calls of a block, wait once, and return what the chosen call returned.

        before: what the call before the block returned. untimed: whether there was one, with the
        first of the placed inputs.
        """
        run = self.step.run
        # There are two loops, since a condition in one would be timed.
        earlier = chosen[0] - untimed
        for _ in range(earlier):
            run()
        returned = run()
        for _ in range(self.calls - 1 - earlier):
            run()
        self.step.synchronize()
        return returned

    # -- results that are kept

    def next_slot(self) -> int | None:
        """Return the slot for the next block's result, or None if it is not kept.

        Each block is kept with the same probability, however many come (reservoir sampling).
        """
        if self.step.results is None or self.step.use is None:
            return None
        self.offered += 1
        slots = self.selection.slots
        if self.offered <= slots:
            return self.offered
        place = 1 + _UNPREDICTABLE.randrange(self.offered)
        return place if place <= slots else None

    def keep(self, slot: int, returned: object) -> None:
        """Keep what a call on the inputs of a slot returned, and check these inputs."""
        step, number = self.step, self.selection.numbers(slot)[0]
        assert step.results is not None
        results = self.selection.part(slot, step.results(returned))
        self.kept[slot] = JudgedCalls((number,), (results,))
        self._check_inputs(number)

    def _check_inputs(self, number: int) -> None:
        if self.step.check_inputs is not None:
            self.step.check_inputs(number)

    def keep_after_restart(self, slot: int) -> None:
        """Begin again with the given weights, and keep what one call computes with them."""
        step = self.step
        assert step.restart is not None
        assert step.use is not None
        step.restart()
        step.use(self.selection.numbers(slot)[:1])
        returned = step.run()
        step.synchronize()
        self.keep(slot, returned)

    def keep_more(self, clock: Clock) -> None:
        """Make single calls for slots that no block has filled, while they take little time."""
        step, begun = self.step, clock.now()
        if step.results is None or step.use is None:
            return
        for slot in range(1, self.selection.slots + 1):
            if slot in self.kept:
                continue
            if len(self.kept) >= FEWEST_KEPT and clock.now() - begun > EXTRA_SHARE * self.spent:
                break
            if step.restart is not None:
                self.keep_after_restart(slot)
                continue
            step.use(self.selection.numbers(slot)[:1])
            returned = step.run()
            step.synchronize()
            self.keep(slot, returned)

    def keep_last_results(self, clock: Clock) -> None:
        """Keep all that a few more calls compute, one of them a second time on the same inputs.

        A step that updates weights starts again and makes ``UPDATES`` calls.
        """
        step = self.step
        if step.results is None:
            return
        self.keep_more(clock)
        first, second = LAST_NUMBERS[:2]
        # Where two sets fit, the first one's arrays are used again without being placed again.
        both = step.use is not None and step.max_sets > 1
        if step.use is not None and both:
            step.use([first, second])
        results: list[Results] = []
        returned: list[object] = []
        for number in (first, second, first):
            if step.use is not None and not both:
                step.use([number])
            returned.append(step.run())
            step.synchronize()
            if results:
                check_unchanged(results[-1], step.results(returned[-2]))
            results.append(step.results(returned[-1]))
            self._check_inputs(number)
        self.last = JudgedCalls((first, first), (results[0], results[2]))
        if step.restart is not None:
            step.restart()
            numbers = LAST_NUMBERS[:UPDATES]
            found = []
            for number in numbers:
                if step.use is not None:
                    step.use([number])
                raw = step.run()
                step.synchronize()
                found.append(step.results(raw))
            self.last = JudgedCalls(tuple(numbers), tuple(found))

    def check_wait(self, clock: Clock) -> None:
        """Raise NotWaitedForError if work continues after the wait that should end it.

        The first copy of a result then waits for the result, or computes it, and takes longer than
        a copy of arrays that are there.
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
        """Return the seconds by which copying the last result of ``calls`` calls takes too long."""
        step, late = self.step, []
        short = calls == 1 and self.latest < self.calls * SHORTEST_BLOCK
        before = None
        for _ in range(COPIES if short else 1):
            self.place(clock, calls)
            for _ in range(calls):
                returned = step.run()
            step.synchronize()
            if before is not None:
                results(before)  # so that what copying needs is in the caches
            start = clock.now()
            arrays = results(returned)
            took = clock.now() - start
            # Placed again: JAX and Keras copy in a third less time what they have copied before.
            copy = place_results(arrays)
            _CACHED.fill(0.0)
            start = clock.now()
            copy()
            late.append(took - SLOWEST_COPY * (clock.now() - start))
            before = returned
        return statistics.median(late)

    def calibrate(self, clock: Clock, seconds: float) -> None:
        """Find how many calls make a block long enough. seconds: of all blocks."""
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
            elapsed, _ = self.time_block(clock)
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
        """Time one block as warm-up."""
        self.warmup.append(self._block(clock)[0] / self.calls)

    def settled(self) -> bool:
        """Whether the latest blocks have the same speed."""
        return halves_agree(self.warmup[self.warmed_from :][-WARMUP_BLOCKS:]) is True

    def lengthen(self) -> None:
        """Add calls to a block if warm-up has made the step faster than it seemed."""
        quickest = min(self.warmup)
        if quickest * self.calls < self.shortest:
            self.calls = min(MOST_CALLS, math.ceil(self.shortest / quickest))

    def sample(self, clock: Clock, number: int) -> None:
        """Time one block as a sample of round ``number``, and keep a result of it."""
        slot = self.next_slot()
        updates = self.step.restart is not None and not self.keeps_state
        elapsed, returned = self._block(clock, None if updates else slot)
        self.blocks.append(elapsed)
        self.rounds.append(number)
        begun = clock.now()
        if slot is not None and not updates:
            self.keep(slot, returned)
        elif slot is not None and self.keeping <= RESTART_SHARE * self.spent:
            self.keep_after_restart(slot)
            self.keeping += clock.now() - begun
        self.untimed += clock.now() - begun
        self.took += clock.now() - begun

    def _block(self, clock: Clock, slot: int | None = None) -> tuple[float, object]:
        elapsed, returned = self.time_block(clock, slot)
        self.spent += self.latest
        if elapsed <= 0:
            raise TimingError(f"a block of {self.calls} calls took {elapsed:g} s by the clock")
        return elapsed, returned

    @property
    def samples(self) -> list[float]:
        """Seconds per step of each sample."""
        return [block / self.calls for block in self.blocks]

    def precise(self, plan: TimingPlan) -> bool:
        """Whether its median is precise enough to stop."""
        return not plan.use_all_time and relative_half_width(self.samples) <= plan.precision

    def result(self, plan: TimingPlan, reason: Stopped) -> StepSeries | Broken:
        """Return the times, or the error."""
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
            kept=tuple(self.kept[slot] for slot in sorted(self.kept)),
        )


def check_unchanged(first: Results, again: Results) -> None:
    """Raise TimingError if the next call changed a result."""
    for name, array in first.items():
        if not np.array_equal(array, again[name], equal_nan=True):
            raise TimingError(
                f"{name} of a call changed while the next call ran: it was not there after the "
                "wait, or its memory was used again"
            )


class _Group:
    """The members of one group and their time."""

    def __init__(
        self,
        steps: Mapping[str, Step],
        plan: TimingPlan,
        clock: Clock,
        guards: Mapping[str, Guard],
        member: Callable[[Step, Guard, Selection], GroupMember],
        selection: Selection,
    ) -> None:
        self.members = {
            name: member(step, guards.get(name, contextlib.nullcontext()), selection)
            for name, step in steps.items()
        }
        self._plan = plan
        self._clock = clock
        self._order = random.Random(plan.seed)
        self._seconds = plan.seconds * len(steps)
        self._start = clock.now()

    @property
    def _remaining(self) -> list[GroupMember]:
        return [member for member in self.members.values() if member.broken is None]

    def _each(
        self,
        stage: str,
        work: Callable[[GroupMember], None],
        chosen: Callable[[GroupMember], bool] = lambda member: True,
        number: int | None = None,
    ) -> None:
        """Do ``work`` with each chosen member in a new random order; one that raises is out."""
        members = self._remaining
        self._order.shuffle(members)
        for member in filter(chosen, members):
            try:
                with member.guard:
                    work(member)
            except Exception as error:
                # Whatever a backend raises is its own result; the others are still measured.
                member.broken = Broken(error, stage, number)

    def _round_fits(self, share: float) -> bool:
        next_round = sum(member.took for member in self._remaining if self._takes_part(member))
        return self._clock.now() - self._start + next_round <= share * self._seconds

    def _takes_part(self, member: GroupMember) -> bool:
        """Whether a member is in the next round.

        If all of the time is used each member has its own share of it, or one that becomes slow
        would leave the others few blocks.
        """
        if not self._plan.use_all_time or not member.rounds:
            return True
        return member.spent + member.latest <= self._plan.seconds

    def calibrate(self) -> None:
        self._each("calibration", lambda member: member.calibrate(self._clock, self._plan.seconds))
        one_round = sum(member.latest * (1 + 1 / member.calls) for member in self._remaining)
        if FEW_ROUNDS * one_round > self._seconds:
            for member in self._remaining:
                member.long_call = SHORT_OF_TIME

    def warm_up(self) -> None:
        """Make rounds until every member is steady, or time is short."""
        while not all(member.settled() for member in self._remaining):
            if not self._round_fits(WARMUP_SHARE):
                break
            self._each("warm_up", lambda member: member.warm_up(self._clock))
        for member in self._remaining:
            member.lengthen()

    def take_samples(self) -> Stopped:
        """Make the rounds whose blocks are the samples, and return why they ended."""
        for number in range(MOST_ROUNDS):
            sample = methodcaller("sample", self._clock, number)
            self._each("round", sample, self._takes_part, number)
            if all(member.precise(self._plan) for member in self._remaining):
                return Stopped.PRECISE
            if not (any(map(self._takes_part, self._remaining)) and self._round_fits(1.0)):
                return Stopped.TIME
        return Stopped.ROUNDS

    def keep_last_results(self) -> None:
        self._each("copy", lambda member: member.check_wait(self._clock))
        self._each("last_results", methodcaller("keep_last_results", self._clock))


# -- streams: every call timed by itself
#
# Call i of a stream with a period is due at ``begin + i * period``, and its latency counts from
# then: a call that waits because the one before was late is late itself. Timing each call from its
# start would omit that ("coordinated omission": Tene, "How NOT to Measure Latency").


def timed_calls(
    step: Step,
    count: int,
    period: float | None,
    clock: Clock,
    chosen: range = range(0),
    kept: list[object] | None = None,
) -> StreamTimes:
    """Time each of ``count`` calls by itself.

    Without a period a call begins when the one before is done. Otherwise one is due every period;
    one that is due during another begins as soon as that is done, and none is left out. What the
    chosen calls return, counted from 1, is added to ``kept``.
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
        returned = run()
        wait()
        done = now()
        if kept is not None and number in chosen:
            kept.append(returned)
        latency.append(done - (began if due is None else due))
        service.append(done - began)
    return StreamTimes(np.array(latency), np.array(service))


@dataclass
class StreamMember(GroupMember):
    """A stream while it is measured: a sample is the median latency of a block."""

    keeps_state: ClassVar[bool] = True
    period: float | None = None
    taken: list[StreamTimes] = field(default_factory=list)
    _latest: StreamTimes | None = None

    def calibrate(self, clock: Clock, seconds: float) -> None:
        """Choose the calls; with a period so that ``BLOCKS`` blocks fit."""
        if self.period is None:
            super().calibrate(clock, seconds)
            return
        self.step.synchronize()
        self.calls = max(1, int(seconds / self.period / BLOCKS))
        self.warm_up(clock)

    def lengthen(self) -> None:
        """Add calls if there is no period, which would set the length of a block."""
        if self.period is None:
            super().lengthen()

    def needs_call_before(self, clock: Clock) -> bool:
        """Return True: another stream ran last and filled the caches."""
        return True

    def time_block(self, clock: Clock, slot: int | None = None) -> tuple[float, object]:
        """Return the seconds of a block as if each of its calls had taken their median."""
        _, returned = super().time_block(clock, slot)
        assert self._latest is not None
        return statistics.median(self._latest.latency) * self.calls, returned

    def _choose_calls(self, slot: int | None, untimed: bool) -> range:
        """Return some consecutive calls; the first one leaves the state for the others."""
        if slot is None:
            return range(0)
        count = min(1 + CONSECUTIVE, self.calls + untimed, self.step.max_sets)
        first = _UNPREDICTABLE.randrange(self.calls + untimed - count + 1)
        return range(first, first + count)

    def run_block(self, clock: Clock, chosen: range, before: object, untimed: bool) -> object:
        """Time each call of the block by itself, and return what the chosen ones returned."""
        # The untimed call is number 0.
        kept = [before] if 0 in chosen else []
        self._latest = timed_calls(self.step, self.calls, self.period, clock, chosen, kept)
        return kept

    def keep(self, slot: int, returned: object) -> None:
        """Keep what consecutive calls on the inputs of a slot returned."""
        step = self.step
        assert step.results is not None
        assert isinstance(returned, list)
        numbers = self.selection.numbers(slot)[: len(returned)]
        results = tuple(self.selection.part(slot, step.results(each)) for each in returned)
        self.kept[slot] = JudgedCalls(numbers, results)
        self._check_inputs(numbers[-1])

    def sample(self, clock: Clock, number: int) -> None:
        """Time one block as a sample, and keep the times of its calls."""
        super().sample(clock, number)
        assert self._latest is not None
        if (shortest := self._latest.service.min()) <= 0:
            raise TimingError(f"a call took {shortest:g} s by the clock")
        self.taken.append(self._latest)

    def keep_last_results(self, clock: Clock) -> None:
        """Go on from the state that the timed calls left, with new inputs, and keep the results."""
        step = self.step
        if step.results is None or step.use is None:
            return
        numbers = LAST_NUMBERS[: 1 + LAST_CONSECUTIVE]
        returned: object = None
        results: list[Results] = []
        for start in range(0, len(numbers), step.max_sets):
            placed = numbers[start : start + step.max_sets]
            step.use(placed)
            for _ in placed:
                before, returned = returned, step.run()
                step.synchronize()
                if results:
                    check_unchanged(results[-1], step.results(before))
                results.append(step.results(returned))
            self._check_inputs(placed[-1])
        self.last = JudgedCalls(tuple(numbers), tuple(results))

    def result(self, plan: TimingPlan, reason: Stopped) -> StepSeries | Broken:
        """Return the times, with those of every call."""
        found = super().result(plan, reason)
        if isinstance(found, Broken):
            return found
        latency, service = (
            np.concatenate([getattr(calls, name) for calls in self.taken])
            for name in ("latency", "service")
        )
        return replace(found, streamed=StreamTimes(latency, service))


def measure_streams(
    steps: Mapping[str, Step],
    plan: TimingPlan,
    clock: Clock,
    guards: Mapping[str, Guard] | None = None,
    period: float | None = None,
    selection: Selection | None = None,
) -> dict[str, StepSeries | Broken]:
    """Time streams as ``measure`` does, and every call by itself.

    period: seconds between two calls, None for back to back. All of the time is used: rare slow
    calls need many calls, however precise the median is.
    """
    member = partial(StreamMember, period=period)
    return measure(steps, replace(plan, use_all_time=True), clock, guards, member, selection)
