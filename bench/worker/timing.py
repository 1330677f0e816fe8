"""Time steps that are ready to run: the clock, blocks, warm-up, and when to stop.

The steps of one group are timed in rounds. In each round every step runs one block of calls, in a
new random order. The speed of a machine drifts by more than the differences that matter, but the
blocks of one round have seen the same machine. Tests pass a fake clock.
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
from lstm_impl.at_rest import LONG_CALL, IdleWait
from lstm_impl.call import Results, Step
from lstm_impl.spec import FloatArray, have_same_bits


class TimingError(RuntimeError):
    """A step cannot be timed, or the clock is unusable."""


class NotWaitedForError(TimingError):
    """Work continued after the wait that should have ended it, so the times are too short."""


@dataclass(frozen=True)
class Clock:
    """A source of time, in seconds.

    now: returns a time that never decreases. resolution: the smallest step of ``now``. rest: waits
    until the threads of other steps are idle; None if there are none. sleep: waits for the given
    time, or somewhat less.
    """

    now: Callable[[], float]
    resolution: float
    rest: Callable[[], None] | None = None
    sleep: Callable[[float], None] = time.sleep

    @classmethod
    def system(cls) -> Clock:
        """Return the performance counter, with a rest for the threads of this process."""
        resolution = time.get_clock_info("perf_counter").resolution
        return cls(time.perf_counter, resolution, IdleWait())


def first_use(step: Step, clock: Clock) -> tuple[float, float]:
    """Return the seconds of tracing ``step``, and of its first call, which compiles."""
    start = clock.now()
    step.trace()
    traced = clock.now()
    step.run()
    step.synchronize()
    return traced - start, clock.now() - traced


ENOUGH = 0.1
"""The seconds of calls: ten units of 10 ms, in which Linux counts the idle time of processors."""


@dataclass(frozen=True)
class Processors:
    """Count the processor seconds so far.

    used: those that this process used. idle: the idle ones on all processors together.
    """

    used: Callable[[], float] = time.process_time
    idle: Callable[[], float] = lambda: float(psutil.cpu_times().idle)


def processors_busy(
    step: Step, seconds: float, now: Callable[[], float], processors: Processors
) -> float | None:
    """Return how many processors a step of ``seconds`` keeps busy, on average.

    Returns None if that is less than one because other processes used the rest. Threads that spin
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

    seconds: the time for each member, including warm-up; the members share the sum. precision: the
    half-width of the median's 95% interval at which to stop, relative to the median. seed:
    determines the order of members in each round. use_all_time: whether to never stop early.
    judged: the seed of the inputs of those calls whose results are compared with the reference;
    None draws one. Processes with the same seed share the reference's answers.
    """

    seconds: float
    precision: float = 0.01
    seed: int = 0
    use_all_time: bool = False
    judged: int | None = None


class Stopped(StrEnum):
    """The reason why no more samples were taken."""

    PRECISE = "precise"
    TIME = "time"
    ROUNDS = "rounds"


@dataclass(frozen=True, eq=False)
class StreamTimes:
    """The seconds of every call of a stream, in order.

    latency: the seconds from when a call was due until it had ended. service: the seconds from when
    it began, which is the same for back-to-back calls.
    """

    latency: FloatArray
    service: FloatArray


@dataclass(frozen=True)
class StreamConditions:
    """The conditions under which a stream is measured.

    load: the number of processes that each keep a processor busy meanwhile. deadline: the seconds
    from when a call is due until it must have ended; None means the period, if there is one.
    """

    load: int = 0
    deadline: float | None = None


@dataclass(frozen=True)
class StepSeries:
    """The times of one step.

    blocks: the seconds of each block of ``calls`` calls, including its wait. rounds: the round of
    each block; the blocks of two members in the same round are a pair. warmup: the seconds per step
    of the earlier blocks. steady: whether the two halves of the blocks agree; None if there are too
    few. synchronize: the seconds that an idle wait takes. last: the calls after the blocks; None if
    the step cannot show its results. kept: the results of timed calls. untimed: the seconds of
    placing inputs, of untimed calls, and of keeping results.
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
        """Return the seconds per step of each block."""
        return tuple(block / self.calls for block in self.blocks)


@dataclass(frozen=True)
class Broken:
    """A step that raised an error while it was measured, and therefore has no times.

    round: the round in which this happened, if it was in one.
    """

    error: Exception
    stage: str
    round: int | None = None


Guard: TypeAlias = contextlib.AbstractContextManager[object]

SYNCHRONIZE_SHARE = 0.01
"""The wait at the end of a block may take at most this part of the block, which is less than any
comparison can show.
"""

RESOLUTIONS_PER_BLOCK = 1000
"""A block takes at least this many ticks of the clock, so that reading the clock is wrong by at
most 0.1%.
"""

SHORTEST_BLOCK = 0.01
"""The shortest block, in seconds.

Refilling caches, waking threads and interruptions by the operating system (0.1 ms and less) are
small compared with 10 ms.
"""

FEW_ROUNDS = 12
"""With fewer rounds, six processes rarely reach a verdict.

If the time allows no more, calls of ``SHORT_OF_TIME`` seconds and more omit the untimed call before
a block.
"""

SHORT_OF_TIME = 0.02
"""The seconds of one call.

The first of three such calls takes 1% to 2% longer than the third, and all backends agree on this
within 1.4% (``lstm_impl.at_rest.LONG_CALL``).
"""

MOST_CALLS = 100_000
"""The largest number of calls in a block.

They fill ``SHORTEST_BLOCK`` with steps of 100 ns. No LSTM is faster, so either the step does no
work or the clock is wrong.
"""

CALLS_FOR_ONE = 20
"""The number of calls in a block with an untimed call before it, so that this call costs a
twentieth.

If the time does not hold ``BLOCKS`` such blocks, there are fewer calls.
"""

BLOCKS = 40
"""With more samples than this, the interval of the median no longer limits the precision of a
process.
"""

GROWTH = 10
"""The largest growth of a block from one trial to the next.

The first calls are the slowest, so they say little about the number of calls.
"""

WARMUP_SHARE = 0.1
"""The part of the time that warm-up may take.

A step that is not steady by then is measured anyway, and ``StepSeries.steady`` marks it. First use
and the gate have called the step before. In 600 series of the reference results, blocks were within
1.5% of the samples' median from the second on.
"""

MOST_ROUNDS = 2000
"""With more rounds than this, the interval of a median narrows by less than 2% per hundred rounds,
and the result file is mostly samples.
"""

_UNPREDICTABLE = random.SystemRandom()

LATE_SHARE = 0.1
"""The work of a call may continue after the wait for at most this part of the call's time.

The first copy of a result may take this much longer than other copies.
"""

SLOWEST_COPY = 2.0
"""The largest accepted time of copying a result, relative to copying the same arrays after they
were placed on the device in the backend's layout and waited for.

The largest ratio that was seen is 1.7, over eleven backends from 1x1 to 64x25x512.
"""

LATE_TRIES = 3
"""This many consecutive series of copies must be late before a step is refused, because a busy
machine may delay one of them.
"""

_CACHED = np.zeros(2**20)
"""Eight megabytes, which is more than a core's own caches hold.

Filling them evicts arrays that were placed: results that another core wrote are not in these caches
either.
"""

COPIES = 9
"""The largest number of results in such a series, whose median counts.

A call of 10 ms or more has only one, because a disturbance of a copy is small in comparison.
"""

UPDATES = 3
"""The number of consecutive calls that are judged for a step that updates weights.

The first uses the given weights and no moments, the others use what the previous calls left.
"""

RESTART_SHARE = 0.05
"""The part of the time that a step which updates weights may spend on judged calls between blocks.

The weights are known only after a restart, so such a call cannot be part of a block.
"""

EXTRA_SHARE = 0.1
"""The part of the time that judged calls after the last block may take if there were few blocks."""

CONSECUTIVE = 8
"""The number of consecutive calls of a stream that are judged in each block, besides the call that
leaves the first state.
"""

LAST_CONSECUTIVE = 72
"""The same after the last block.

A state that is lost in every 64th call is lost in one of these calls.
"""


def measure(
    steps: Mapping[str, Step],
    plan: TimingPlan,
    clock: Clock,
    guards: Mapping[str, Guard] | None = None,
    member: Callable[[Step, Guard, Selection], GroupMember] | None = None,
    selection: Selection | None = None,
) -> dict[str, StepSeries | Broken]:
    """Time the members of one group in alternating blocks.

    Each step has been called before (``first_use``). A step that raises an error, or still works
    after its wait, becomes ``Broken``, and the others continue. Rounds continue until every
    member's interval is as narrow as ``plan.precision``, or until the next round would end after
    the time is up. There is at least one round.

    Every call of a block has new inputs, which are drawn and placed outside the clock. The result
    of one random call of a block is kept (``StepSeries.kept``). After the samples come a few more
    calls, which are kept completely (``StepSeries.last``).

    guards: are entered around each use of a step, outside the clock. member: makes the object that
    times one step. selection: determines which results are kept for the judge.
    """
    # The first call imports what it needs, for a third of a second that should not count as the
    # group's.
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

    keeps_state: whether ``Step.restart`` restarts a stream, not an optimizer.
    """

    keeps_state: ClassVar[bool] = False

    step: Step
    guard: Guard = field(default_factory=contextlib.nullcontext)
    selection: Selection = field(default_factory=Selection)
    calls: int = 1
    synchronize: float = 0.0
    shortest: float = 0.0
    latest: float = 0.0  # The seconds of the last block.
    long_call: float = LONG_CALL
    # The seconds outside the clock, for placing inputs and for calls before blocks.
    untimed: float = 0.0
    took: float = 0.0  # The seconds of the last block, including what is outside the clock.
    spent: float = 0.0  # The seconds of warm-up blocks and samples.
    warmup: list[float] = field(default_factory=list)
    warmed_from: int = 0  # The index in ``warmup`` of the first block with this many calls.
    blocks: list[float] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    broken: Broken | None = None
    last: JudgedCalls | None = None
    kept: dict[int, JudgedCalls] = field(default_factory=dict)  # By slot.
    offered: int = 0  # The number of blocks whose results could be kept.
    keeping: float = 0.0  # The seconds of judged calls between blocks.
    next_inputs: int = FIRST_OWN_NUMBER

    def place(
        self, clock: Clock, count: int, judged: Mapping[int, int] = MappingProxyType({})
    ) -> None:
        """Place new inputs for ``count`` calls, then wait until other threads are idle.

        No number is used twice, unless there is little space.

        judged: the numbers of the inputs of some calls, by the position of the call.
        """
        if self.step.use is not None:
            numbers = [self.next_inputs + each for each in range(min(count, self.step.max_sets))]
            self.next_inputs += len(numbers)
            for position, number in judged.items():
                numbers[position % len(numbers)] = number
            self.step.use(numbers)
        if clock.rest is not None:
            # The threads of the previous member may still spin, and so may threads that placed the
            # inputs (PyTorch's do for 5 ms).
            clock.rest()

    def needs_call_before(self, clock: Clock) -> bool:
        """Return whether a block needs an untimed call before it.

        This call refills caches and wakes threads.
        """
        return self.calls > 1 or (clock.rest is not None and self.latest < self.long_call)

    def time_block(self, clock: Clock, slot: int | None = None) -> tuple[float, object]:
        """Return the seconds of a block, and what one of its calls returned.

        slot: if given, the result of a random call is kept for it; otherwise the result is that of
        the last call.
        """
        begun, untimed = clock.now(), self.needs_call_before(clock)
        chosen = self._choose_calls(slot, untimed)
        self.place(clock, self.calls + untimed, self._judged_numbers(slot, chosen))
        before = None
        if untimed:
            before = self.step.run()
            self.step.synchronize()
        collecting = gc.isenabled()
        gc.disable()  # A collection inside a block would time the garbage of the process.
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
        """Return which calls are kept, by their position among the calls with placed inputs.

        Without a slot, this is the last call.
        """
        last = self.calls - 1 if slot is None else _UNPREDICTABLE.randrange(self.calls)
        return range(untimed + last, untimed + last + 1)

    def _judged_numbers(self, slot: int | None, chosen: range) -> dict[int, int]:
        """Return the numbers of the inputs of the chosen calls, by position."""
        if slot is None:
            return {}
        return dict(zip(chosen, self.selection.numbers(slot), strict=False))

    def run_block(self, clock: Clock, chosen: range, before: object, untimed: bool) -> object:
        """Make the calls of a block, wait once, and return what the chosen call returned.

        before: what the call before the block returned. untimed: whether there was such a call,
        which used the first of the placed inputs.
        """
        run = self.step.run
        # There are two loops, because a condition inside one loop would be timed.
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

        Each block is kept with the same probability, however many blocks follow (reservoir
        sampling).
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
        """Restart with the given weights, and keep what one call computes with them."""
        step = self.step
        assert step.restart is not None
        assert step.use is not None
        step.restart()
        step.use(self.selection.numbers(slot)[:1])
        returned = step.run()
        step.synchronize()
        self.keep(slot, returned)

    def keep_more(self, clock: Clock) -> None:
        """Make single calls for slots that no block has filled.

        It stops when the calls have taken a small part of the time.
        """
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
        """Keep everything that a few more calls compute, one of them twice on the same inputs.

        A step that updates weights restarts and makes ``UPDATES`` calls.
        """
        step = self.step
        if step.results is None:
            return
        self.keep_more(clock)
        first, second = LAST_NUMBERS[:2]
        # If two sets fit, the arrays of the first are used again without being placed again.
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

        In this case, the first copy of a result waits for the result or computes it. It then takes
        longer than a copy of arrays that exist.
        """
        results, place_results = self.step.results, self.step.place_results
        if results is None or place_results is None:
            return
        each = self.latest / self.calls
        for calls in dict.fromkeys((self.calls, 1)):
            most = LATE_SHARE * each * calls
            for _ in range(LATE_TRIES):
                late = self._late(clock, calls, results, place_results, most)
                if late <= most:
                    break
            else:
                raise NotWaitedForError(
                    f"after {calls} calls of {each:.3g} s and the wait that should end them, the "
                    f"last result arrived {late:.3g} s later: the wait does not wait for the work"
                )

    def _late(
        self,
        clock: Clock,
        calls: int,
        results: Callable[[Any], Results],
        place_results: Callable[[Results], Callable[[], object]],
        most: float,
    ) -> float:
        """Return by how many seconds copying the last result of ``calls`` calls takes too long.

        This is the median of several copies. No more copies are made once most of them agree on
        whether it is above ``most``.
        """
        step = self.step
        late: list[float] = []
        short = calls == 1 and self.latest < self.calls * SHORTEST_BLOCK
        copies = COPIES if short else 1
        before = None
        while len(late) < copies:
            self.place(clock, calls)
            for _ in range(calls):
                returned = step.run()
            step.synchronize()
            if before is not None:
                results(before)  # This brings what copying needs into the caches.
            start = clock.now()
            arrays = results(returned)
            took = clock.now() - start
            # The arrays are placed again, because JAX and Keras copy what they have copied before
            # in two thirds of the time.
            copy = place_results(arrays)
            _CACHED.fill(0.0)
            start = clock.now()
            copy()
            late.append(took - SLOWEST_COPY * (clock.now() - start))
            before = returned
            too_late = sum(each > most for each in late)
            if max(too_late, len(late) - too_late) > copies // 2:
                break
        return statistics.median(late)

    def calibrate(self, clock: Clock, seconds: float) -> None:
        """Find how many calls make a block long enough.

        seconds: the time for all blocks.
        """
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
                    f"{self.calls} calls took {elapsed:g} s together, which is too short to time: "
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
        """Return whether the latest blocks have the same speed."""
        return halves_agree(self.warmup[self.warmed_from :][-WARMUP_BLOCKS:]) is True

    def lengthen(self) -> None:
        """Add calls to a block if warm-up has made the step faster than it seemed at first."""
        quickest = min(self.warmup)
        if quickest * self.calls < self.shortest:
            self.calls = min(MOST_CALLS, math.ceil(self.shortest / quickest))

    def sample(self, clock: Clock, number: int) -> None:
        """Time one block as a sample of round ``number``, and keep one of its results."""
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
        """Return the seconds per step of each sample."""
        return [block / self.calls for block in self.blocks]

    def precise(self, plan: TimingPlan) -> bool:
        """Return whether the median is precise enough to stop."""
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
        if not have_same_bits(array, again[name]):
            raise TimingError(
                f"{name} of a call changed while the next call ran: it was not complete after the "
                "wait, or its memory was used again"
            )


class _Group:
    """The members of one group, and their time."""

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
        """Do ``work`` with each chosen member, in a new random order.

        A member that raises an error is excluded from then on.
        """
        members = self._remaining
        self._order.shuffle(members)
        for member in filter(chosen, members):
            try:
                with member.guard:
                    work(member)
            except Exception as error:
                # Whatever a backend raises is its own result. The other members are still measured.
                member.broken = Broken(error, stage, number)

    def _round_fits(self, share: float) -> bool:
        next_round = sum(member.took for member in self._remaining if self._takes_part(member))
        return self._clock.now() - self._start + next_round <= share * self._seconds

    def _takes_part(self, member: GroupMember) -> bool:
        """Return whether a member takes part in the next round.

        If all of the time is used, each member has its own share of it. Otherwise a member that
        becomes slow would leave the others few blocks.
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
        """Run rounds until every member is steady, or time is short."""
        while not all(member.settled() for member in self._remaining):
            if not self._round_fits(WARMUP_SHARE):
                break
            self._each("warm_up", lambda member: member.warm_up(self._clock))
        for member in self._remaining:
            member.lengthen()

    def take_samples(self) -> Stopped:
        """Run the rounds whose blocks are the samples, and return why they ended."""
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
# then. A call that must wait because the previous call was late is late itself. Timing each call
# from its own start would hide that ("coordinated omission": Tene, "How NOT to Measure Latency").


def timed_calls(
    step: Step,
    count: int,
    period: float | None,
    clock: Clock,
    chosen: range = range(0),
    kept: list[object] | None = None,
) -> StreamTimes:
    """Time each of ``count`` calls separately.

    Without a period, a call begins when the previous call has ended. With a period, a call is due
    every period. A call that becomes due during another call begins as soon as that call has ended,
    and no call is left out.

    chosen: the positions, from 1, of the calls whose results are appended to ``kept``.
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
    """A stream while it is measured. A sample is the median latency of a block."""

    keeps_state: ClassVar[bool] = True
    period: float | None = None
    taken: list[StreamTimes] = field(default_factory=list)
    _latest: StreamTimes | None = None

    def calibrate(self, clock: Clock, seconds: float) -> None:
        """Choose the number of calls. With a period, ``BLOCKS`` blocks must fit into the time."""
        if self.period is None:
            super().calibrate(clock, seconds)
            return
        self.step.synchronize()
        self.calls = max(1, int(seconds / self.period / BLOCKS))
        self.warm_up(clock)

    def lengthen(self) -> None:
        """Add calls if there is no period. A period determines the length of a block."""
        if self.period is None:
            super().lengthen()

    def needs_call_before(self, clock: Clock) -> bool:
        """Return True: another stream ran last and filled the caches."""
        return True

    def time_block(self, clock: Clock, slot: int | None = None) -> tuple[float, object]:
        """Return the seconds of a block as if each of its calls had taken their median time."""
        _, returned = super().time_block(clock, slot)
        assert self._latest is not None
        return statistics.median(self._latest.latency) * self.calls, returned

    def _choose_calls(self, slot: int | None, untimed: bool) -> range:
        """Return some consecutive calls. The first one leaves the state for the others."""
        if slot is None:
            return range(0)
        count = min(1 + CONSECUTIVE, self.calls + untimed, self.step.max_sets)
        first = _UNPREDICTABLE.randrange(self.calls + untimed - count + 1)
        return range(first, first + count)

    def run_block(self, clock: Clock, chosen: range, before: object, untimed: bool) -> object:
        """Time each call of the block separately, and return what the chosen calls returned."""
        # The untimed call has number 0.
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
        """Continue from the state that the timed calls left, and keep the results.

        Each call gets new inputs.
        """
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
    """Time streams as ``measure`` does, but time every call separately.

    All of the time is used, however precise the median is, because rare slow calls show only among
    many calls.

    period: the seconds between two calls; None for back-to-back calls.
    """
    member = partial(StreamMember, period=period)
    return measure(steps, replace(plan, use_all_time=True), clock, guards, member, selection)
