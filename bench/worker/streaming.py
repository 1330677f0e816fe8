"""The calls of a stream, each timed by itself: back to back, or when it is due.

A paced call is due at ``begin + i * period``, whatever became of those before it, and its latency
counts from then: a call that has to wait because the one before it was late is late itself, as it
is for anyone who waits for its output. Timing each call from when it could be made would leave that
out ("coordinated omission": Tene, "How NOT to Measure Latency"). Between calls this process sleeps,
as one that waits for a sound card or a sensor does, and comes back as late as the system wakes it.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from bench.worker import timing
from bench.worker.timing import Broken, Clock, Guard, Last, StepSeries, TimingPlan
from lstm_impl.proof.streamed import SEVERAL
from lstm_impl.step import Results, Step


@dataclass(frozen=True)
class Pace:
    """When the calls of a stream come.

    period: seconds between two, None for back to back. sleep: lets that many seconds pass, or
    somewhat less.
    """

    period: float | None = None
    sleep: Callable[[float], None] = time.sleep


@dataclass
class Calls:
    """What calls took, in seconds: from when each was due, and from when it began."""

    latency: list[float] = field(default_factory=list)
    service: list[float] = field(default_factory=list)


def timed_calls(step: Step, count: int, pace: Pace, clock: Clock) -> Calls:
    """Calls, each waited for.

    Back to back, one begins when the one before is done. Else one is due every period, the first
    after one; what is due while another is at work begins as soon as that is done, and nothing is
    left out.
    """
    calls = Calls()
    run, wait, now = step.run, step.synchronize, clock.now
    begin = now()
    for number in range(1, count + 1):
        due = None
        if pace.period is not None:
            due = begin + number * pace.period
            while (early := due - now()) > 0:
                pace.sleep(early)
        began = now()
        run()
        wait()
        done = now()
        calls.latency.append(done - (began if due is None else due))
        calls.service.append(done - began)
    return calls


@dataclass
class StreamMember(timing.GroupMember):
    """A stream, while it is measured: its samples are the medians of its blocks' latencies."""

    pace: Pace = Pace()
    taken: list[Calls] = field(default_factory=list)
    _latest: Calls = field(default_factory=Calls)

    def calibrate(self, clock: Clock, seconds: float) -> None:
        """As of any step; paced, as many calls as leave time for ``BLOCKS`` blocks."""
        if self.pace.period is None:
            super().calibrate(clock, seconds)
            return
        self.step.synchronize()
        self.calls = max(1, int(seconds / self.pace.period / timing.BLOCKS))
        self.warm_up(clock)

    def lengthen(self) -> None:
        """Paced, a block is as long as its calls are due, however quick they are."""
        if self.pace.period is None:
            super().lengthen()

    def timed(self, clock: Clock, judged: int | None = None) -> tuple[float, object]:
        """One block, as long as if each of its calls had taken the median; and nothing kept.

        A call outside the clock comes first: another stream ran last, and the caches are its own.
        """
        begun = clock.now()
        self.place(self.calls + 1)
        self.step.run()
        self.step.synchronize()
        collecting = gc.isenabled()
        gc.disable()
        try:
            start = clock.now()
            found = timed_calls(self.step, self.calls, self.pace, clock)
            end = clock.now()
        finally:
            if collecting:
                gc.enable()
        self.latest, self.took = end - start, end - begun
        self._latest = found
        return statistics.median(found.latency) * self.calls, None

    def sample(self, clock: Clock, number: int) -> None:
        """One block that counts, with each of its calls."""
        super().sample(clock, number)
        if min(self._latest.service) <= 0:
            raise timing.TimingError(f"a call took {min(self._latest.service):g} s by the clock")
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
                timing.check_kept(results[-1], step.results(returned[-2]))
            results.append(step.results(returned[-1]))
        self.last = Last(tuple(numbers), tuple(results))

    def result(self, plan: TimingPlan, reason: timing.Stopped) -> StepSeries | Broken:
        """With every call that was timed."""
        found = super().result(plan, reason)
        if isinstance(found, Broken):
            return found
        latency, service = (
            np.array([each for calls in self.taken for each in getattr(calls, name)])
            for name in ("latency", "service")
        )
        return replace(found, streamed=timing.Streamed(latency, service))


def measure(
    steps: Mapping[str, Step],
    plan: TimingPlan,
    clock: Clock,
    guards: Mapping[str, Guard] | None = None,
    pace: Pace | None = None,
) -> dict[str, StepSeries | Broken]:
    """``timing.measure`` of streams: blocks in turn, and every call by itself.

    All of the time is taken: what is rare is not known sooner for the median being known.
    """
    member = partial(StreamMember, pace=pace or Pace())
    return timing.measure(steps, replace(plan, whole=True), clock, guards, member)
