"""Which batches of one's own lengths, and by which backend: from recorded times, with a bound.

Of each backend that was measured at three lengths or more of a near shape, the time of a batch is
taken to be a line over its timesteps, and the recorded tracing and compiling to come again with
each new number of timesteps. That is a model; how much more than the best policy the chosen one can
cost, if line and tracing are anything that their bounds allow, stands beside it. This room knows a
report's rows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.batching import plans
from bench.batching.lengths import Lengths
from bench.batching.plans import Line, Plan
from bench.stats.along import Fit, by_backend, line, questions
from bench.stats.rows import Row, Section
from bench.windows import answer
from bench.windows.answer import NEAR, Difference
from lstm_impl.registry import get_backend
from lstm_impl.spec import UnsupportedError

BEYOND = 2.0
"""Sequences may be so many times as long as the longest that was measured: a line holds about as
far as it is from where it was seen."""

MOST_BUCKETS = 16
"""Buckets that are tried: past them padding is a few per cent whatever the lengths."""


SIMPLER = 0.02
"""Of the policies that cost at most this more than the cheapest, the one with the fewest shapes is
taken: less to compile and to keep, for what no verdict would find."""


@dataclass(frozen=True)
class Question:
    """Sequences of these lengths, in this order, in batches of ``batch``.

    input_size: None if any that was measured will do. passes: over all sequences, from the first
    call of a fresh process on.
    """

    lengths: Lengths
    batch: int
    hidden_size: int
    input_size: int | None = None
    device: str = "cpu"
    mode: str = "training"
    dtype: str = "float32"
    num_layers: int = 1
    passes: int = 1
    most: int = MOST_BUCKETS


@dataclass(frozen=True)
class Recorded:
    """What is known of one backend. low, high: bounds of the line's numbers, None without any.

    anew: whether each number of timesteps is traced or compiled anew.
    """

    backend: str
    rows: tuple[Row, ...]
    fit: Fit
    line: Line
    low: Line | None
    high: Line | None
    anew: bool

    @property
    def timesteps(self) -> tuple[int, ...]:
        """The lengths that were measured."""
        return tuple(row.case.workload.timesteps for row in self.rows)


@dataclass(frozen=True)
class Advised:
    """A backend's policies: the one to take (``SIMPLER``), then the others, the cheapest first.

    regret: by what part more than the best policy of this backend the first can cost; None without
    bounds.
    """

    recorded: Recorded
    plans: tuple[Plan, ...]
    regret: float | None

    @property
    def best(self) -> Plan:
        """The one to take."""
        return self.plans[0]


@dataclass(frozen=True)
class Advice:
    """The answer: backends by the cost of their best policy.

    section: where their times are from.
    """

    question: Question
    section: Section
    backends: tuple[Advised, ...]


@dataclass(frozen=True)
class NoAdvice:
    """Why nothing can be said, in a line."""

    reason: str


def advise(question: Question, sections: Iterable[Section]) -> Advice | NoAdvice:
    """The cheapest policy and backend, from a near shape that was measured at three lengths."""
    near: list[tuple[float, int, int, Section, list[Recorded]]] = []
    shortest_reach = math.inf
    longest = int(question.lengths.max())
    for number, section in enumerate(sections):
        for rows in questions(section.rows):
            away = distance(question, rows[0])
            if away is None or not (known := recorded(rows)):
                continue
            reach = max(max(each.timesteps) for each in known)
            known = [each for each in known if BEYOND * max(each.timesteps) >= longest]
            if known:
                # The nearest shape, then the most backends, then the newest results.
                near.append((away, -len(known), number, section, known))
            else:
                shortest_reach = min(shortest_reach, longest / reach)
    if not near:
        if shortest_reach < math.inf:
            return NoAdvice(
                f"the longest of these sequences has {longest:,} timesteps, over {BEYOND:g} times "
                "as many as were measured at a near shape"
            )
        return NoAdvice(
            f"no shape within a factor of {NEAR:g} was measured in {question.mode} on "
            f"{question.device} at three lengths or more"
        )
    *_, section, known = min(near, key=lambda each: each[:3])
    static = plans.fixed(question.lengths, question.batch, question.most)
    found = [_advised(question, each, static) for each in known]
    found.sort(key=lambda each: each.best.cost(each.recorded.line, question.passes))
    return Advice(question, section, tuple(found))


def distance(question: Question, row: Row) -> float | None:
    """How far a measured shape is from the one asked for, in factors; None if it is not near."""
    spec, work = row.case.spec, row.case.workload
    same = (row.case.device, work.mode, spec.dtype, spec.num_layers, spec.bidirectional) == (
        question.device,
        question.mode,
        question.dtype,
        question.num_layers,
        False,
    )
    other = differences(question, row)
    return answer.distance(other) if same and answer.are_near(other) else None


def differences(question: Question, row: Row) -> list[Difference]:
    """What of a measured shape is not what was asked for."""
    asked = question.batch, question.hidden_size, question.input_size
    return answer.differences(row.case, *asked)


def recorded(rows: Sequence[Row]) -> list[Recorded]:
    """The backends of one question that a line can be drawn for."""
    found = []
    for backend, own in by_backend(rows).items():
        fitted = line(own)
        if fitted is None or not fitted.is_line:
            continue
        anew = each_length_anew(backend)
        once = sorted(_once(row) for row in own) if anew else [0.0]
        middle = once[len(once) // 2]
        low = high = None
        if fitted.fixed is not None and fitted.per_timestep is not None:
            low = _line(fitted.fixed.low, fitted.per_timestep.low, once[0])
            high = _line(fitted.fixed.high, fitted.per_timestep.high, once[-1])
        middle_line = _line(fitted.line.fixed, fitted.line.per_timestep, middle)
        found.append(Recorded(backend, tuple(own), fitted, middle_line, low, high, anew))
    return found


def _line(fixed: float, per_timestep: float, shape: float) -> Line:
    # A fit may say less than nothing where a cost is too small to be seen.
    return Line(max(fixed, 0.0), max(per_timestep, 0.0), shape)


def _once(row: Row) -> float:
    """Seconds of tracing and compiling a case."""
    setup = row.setup or {}
    return sum(max(setup.get(key) or 0.0, 0.0) for key in ("trace_s", "compile_s"))


def each_length_anew(backend: str) -> bool:
    """As the backend says; of one that is not known here, the worse is taken."""
    try:
        return get_backend(backend).each_length_anew
    except UnsupportedError:
        return True


def _advised(question: Question, known: Recorded, static: Sequence[Plan]) -> Advised:
    def cost(plan: Plan) -> float:
        return plan.cost(known.line, question.passes)

    bucketed = plans.optimal(question.lengths, question.batch, known.line, question.most)
    found = sorted([*static, *bucketed], key=lambda plan: (cost(plan), plan.shapes))
    enough = (1 + SIMPLER) * cost(found[0])
    simple = min((plan for plan in found if cost(plan) <= enough), key=lambda plan: plan.shapes)
    found.remove(simple)
    found.insert(0, simple)
    bound = None
    if known.low is not None and known.high is not None:
        bound = regret(found[0], question, known.low, known.high, static)
    return Advised(known, tuple(found), bound)


def regret(
    chosen: Plan, question: Question, low: Line, high: Line, static: Sequence[Plan]
) -> float:
    """By what part more than the best policy a plan can cost, wherever the line is in its bounds.

    The ratio of two costs is linear over linear in each number of the line, so that it is largest
    in a corner of the bounds; the best policy of each corner is found anew. static: the policies
    that depend on no cost.
    """
    worst = 0.0
    for fixed, per_timestep in itertools.product(
        (low.fixed, high.fixed), (low.per_timestep, high.per_timestep)
    ):
        base = Line(fixed, per_timestep)
        bucketed = plans.optimal(question.lengths, question.batch, base, question.most)
        others = [*static, *bucketed]
        for shape in (low.shape, high.shape):
            corner = Line(fixed, per_timestep, shape)
            ours = chosen.cost(corner, question.passes)
            best = min(ours, *(each.cost(corner, question.passes) for each in others))
            if ours > best:
                worst = max(worst, ours / best - 1.0 if best > 0 else math.inf)
    return worst
