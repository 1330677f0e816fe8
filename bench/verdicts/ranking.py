"""Rank the results of each group of cases, and compare each result with the others.

A group consists of the cases that do the same work on one device with different backends. A
``RankedRow`` is the second of two stages: a ``CaseResult`` with its place in its group. It is built
once, when all ratios are known.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bench.case.cases import Case
from bench.records.grouping import group_by
from bench.stats import latency
from bench.stats.bound import CHAIN, HOST, LAUNCHES, NOT_KNOWN
from bench.stats.comparison import Comparison, Pairing
from bench.stats.ratios import HeterogeneityTests, Sides, all_slower, allow_for, compare_all
from bench.stats.trust import Problem, drop_duplicates, find_ratio_problems
from bench.verdicts.case_results import CaseResult


@dataclass(frozen=True)
class Reference:
    """A result through which results of a group are compared that share no process.

    result: the result with the most processes. tests: whether its own times differ between the
    processes of two backends.
    """

    result: CaseResult
    tests: HeterogeneityTests

    def reaches(self, new: CaseResult, base: CaseResult) -> bool:
        """Return whether each of two results shares a process with this one.

        The two results themselves share no process.
        """
        one, other, third = (
            {run.run for run in result.runs} for result in (new, base, self.result)
        )
        return one.isdisjoint(other) and not (one.isdisjoint(third) or other.isdisjoint(third))


@dataclass(frozen=True)
class RankedRow:
    """Hold the result of a case and its rank among the results of its group.

    Attributes
    ----------
    result
        The case over its processes.
    rank
        1 for the shortest time among the exact backends of the group. An approximate backend has
        None, and so does a case without a time.
    reference
        Where the group's results have different processes, what they are compared over.
    base
        The baseline's result. None if the group has none, or if this row is the baseline.
    to_baseline
        This row's time over the baseline's.
    ratio_problems
        Why that ratio is unreliable, with the reasons of either side.
    stream_to_baseline
        The ratio of each percentile of a stream's latency to the baseline's, by its number (99.9),
        where there are enough processes.
    behind
        Only with rank 1: the time of each other exact result over this one, by backend, in the
        order of their times.
    fastest
        Whether it is FASTER than every other exact result of the group, all tested together. It is
        not if it is INVALID itself or if a ratio is unreliable.
    helper
        The fastest result of the group that needs less of what binds this one. helper_ratio: its
        time over this one's.
    untried
        Backends that need less of what binds this one, and that the group does not have.
    """

    result: CaseResult
    rank: int | None = None
    reference: Reference | None = field(default=None, repr=False, compare=False)
    base: CaseResult | None = field(default=None, repr=False)
    to_baseline: Comparison | None = None
    ratio_problems: tuple[Problem, ...] = ()
    stream_to_baseline: Mapping[float, Comparison] = field(default_factory=dict)
    behind: Mapping[str, Comparison] = field(default_factory=dict, repr=False)
    fastest: bool = False
    helper: CaseResult | None = field(default=None, repr=False)
    helper_ratio: Comparison | None = None
    untried: tuple[str, ...] = ()

    @property
    def case(self) -> Case:
        """Return the case that the row shows."""
        return self.result.case

    @property
    def ahead(self) -> Comparison | None:
        """Return the ratio of its time to the next one's.

        Only rank 1 has one, if there is a next row.
        """
        return next((found.inverse for found in self.behind.values()), None)

    @property
    def trusted(self) -> bool:
        """Return whether neither the time nor the ratio to the baseline is INVALID."""
        return not (self.result.invalid or self.ratio_problems)


# Ratios within a group


def compare_rows(pairs: Sequence[tuple[RankedRow, RankedRow]]) -> list[Comparison]:
    """Return the ratios of pairs of rows, new and base. Each pair is of one group."""
    return _compare([(new.result, base.result, new.reference) for new, base in pairs])


def _compare(
    pairs: Sequence[tuple[CaseResult, CaseResult, Reference | None]],
) -> list[Comparison]:
    """Return the ratios of results of one group, new and base, through their reference if needed.

    A ratio through a heterogeneous reference allows for this difference.
    """
    over = [_over(*pair) for pair in pairs]
    sides: list[Sides] = [
        (new.runs, base.runs) if reference is None else (new.runs, base.runs, reference.result.runs)
        for (new, base, _), reference in zip(pairs, over, strict=True)
    ]
    found = compare_all(sides)
    for index, ((new, base, _), reference) in enumerate(zip(pairs, over, strict=True)):
        if reference is not None and found[index].pairing is Pairing.BRIDGED:
            names = reference.result.case.backend, new.case.backend, base.case.backend
            found[index] = allow_for(found[index], [reference.tests.between(*names)])
    return found


def problems(new: RankedRow, base: RankedRow) -> tuple[Problem, ...]:
    """Return why the ratio of two rows is unreliable, without what makes a side INVALID."""
    return _problems(new.result, base.result, new.reference)


def all_problems(new: RankedRow, base: RankedRow) -> tuple[Problem, ...]:
    """Return why the ratio of two rows is unreliable, including the reasons of either side."""
    return _all_problems(new.result, base.result, new.reference)


def _problems(
    new: CaseResult, base: CaseResult, reference: Reference | None
) -> tuple[Problem, ...]:
    if (over := _over(new, base, reference)) is None:
        return find_ratio_problems(new.side, base.side)
    found = (find_ratio_problems(each.side, over.result.side) for each in (new, base))
    return drop_duplicates((*over.result.invalid, *itertools.chain.from_iterable(found)))


def _all_problems(
    new: CaseResult, base: CaseResult, reference: Reference | None
) -> tuple[Problem, ...]:
    return drop_duplicates((*new.invalid, *base.invalid, *_problems(new, base, reference)))


def _over(new: CaseResult, base: CaseResult, reference: Reference | None) -> Reference | None:
    """Return the reference of two results, or None if they need none or it cannot serve."""
    return reference if reference is not None and reference.reaches(new, base) else None


# Groups


@dataclass(frozen=True)
class Group:
    """Hold the results of one group of cases in one section.

    timed: the results with a time, exact ones first, each kind by its time. rest: the results
    without a time. baseline: the result of the baseline, if it has a time. helpers: the helper of
    each timed result, if there is one.
    """

    timed: Sequence[CaseResult]
    rest: Sequence[CaseResult]
    baseline: CaseResult | None
    reference: Reference | None
    helpers: Sequence[CaseResult | None]

    @property
    def exact(self) -> Sequence[CaseResult]:
        """Return the timed results that are ranked."""
        return [result for result in self.timed if result.case.ranked]

    @property
    def pairs(self) -> Iterator[tuple[CaseResult, CaseResult]]:
        """Yield new and base of each ratio.

        The ratios are those to the baseline, to the first result, and of helpers.
        """
        for result, helper in zip(self.timed, self.helpers, strict=True):
            for new, base in (
                *((result, self.baseline), (result, self.timed[0])),
                (helper, result),
            ):
                if new is not None and base is not None and new is not base:
                    yield new, base


def group_results(results: Sequence[CaseResult], baseline: str) -> Iterator[Group]:
    """Yield the groups of a section.

    A group has its reference if its results come from different processes.

    The reference is the result with the most processes. Among equals it is the first that is not
    INVALID. Its heterogeneity is tested for each device separately.
    """

    @functools.cache
    def heterogeneity(device: str) -> HeterogeneityTests:
        here = (each for each in results if each.measured and each.case.device == device)
        return HeterogeneityTests(
            (each.case.backend, each.runs, bool(each.invalid)) for each in here
        )

    for group in group_by(results, lambda each: each.case.group).values():
        timed = sorted(
            (each for each in group if each.measured),
            key=lambda each: (not each.case.ranked, each.time, each.case.backend),
        )
        reference = None
        if len({frozenset(run.run for run in each.runs) for each in timed}) > 1:
            best = max(timed, key=lambda each: (len(each.runs), not each.invalid))
            reference = Reference(best, heterogeneity(best.case.device))
        yield Group(
            timed,
            [each for each in group if not each.measured],
            next((each for each in timed if each.case.backend == baseline), None),
            reference,
            [_helper(each, timed, reference) for each in timed],
        )


def rank(groups: Sequence[Group]) -> Iterator[list[RankedRow]]:
    """Yield the rows of each group, after computing the ratios of all groups together."""
    pairs = {
        (id(new), id(base)): (new, base, group.reference)
        for group in groups
        for new, base in group.pairs
    }
    ratios = dict(zip(pairs, _compare(list(pairs.values())), strict=True))
    streams = {
        key: (new.stream, base.stream)
        for key, (new, base, _) in pairs.items()
        if new.stream is not None and base.stream is not None
    }
    of_streams = dict(
        zip(streams, latency.compare_percentiles(list(streams.values())), strict=True)
    )
    behind: list[dict[str, Comparison]] = []
    relied_on: list[Sequence[Comparison]] = []
    for group in groups:
        exact = group.exact
        behind.append({each.case.backend: ratios[id(each), id(exact[0])] for each in exact[1:]})
        # INVALID results also count, and no unreliable ratio makes a row the fastest.
        firm = exact and not (
            exact[0].invalid
            or any(_problems(each, exact[0], group.reference) for each in exact[1:])
        )
        relied_on.append(list(behind[-1].values()) if firm else [])
    for group, of_first, fastest in zip(groups, behind, all_slower(relied_on), strict=True):
        backends = {each.case.backend for each in (*group.timed, *group.rest)}
        rows = [RankedRow(each) for each in group.rest]
        for number, (result, helper) in enumerate(zip(group.timed, group.helpers, strict=True)):
            base = None if result is group.baseline else group.baseline
            to_base, ranked = (id(result), id(base)), result.case.ranked
            leads, device = ranked and number == 0, result.case.device.partition(":")[0]
            kind = result.bound.kind if result.bound is not None and ranked else ""
            rows.append(
                RankedRow(
                    result,
                    rank=number + 1 if ranked else None,
                    reference=group.reference,
                    base=base,
                    to_baseline=ratios.get(to_base),
                    ratio_problems=()
                    if base is None
                    else _all_problems(result, base, group.reference),
                    stream_to_baseline=of_streams.get(to_base, {}),
                    behind=of_first if leads else {},
                    fastest=fastest and leads,
                    helper=helper,
                    helper_ratio=None if helper is None else ratios[id(helper), id(result)],
                    untried=tuple(
                        name for name in UNTRIED.get((kind, device), ()) if name not in backends
                    ),
                )
            )
        yield rows


FEWER = 0.5
"""A result with at most half of the launches of another one avoids starting most operators."""

UNTRIED: Mapping[tuple[str, str], tuple[str, ...]] = {
    (LAUNCHES, "cpu"): ("partial_unroll@10", "fused_cpu"),
    (LAUNCHES, "gpu"): ("partial_unroll@10", "cudnn"),
    (HOST, "cpu"): ("torch", "fused_cpu"),
    (HOST, "gpu"): ("torch", "cudnn"),
    (CHAIN, "cpu"): ("fused_cpu",),
    (CHAIN, "gpu"): ("cudnn",),
}
"""Backends that need less of what binds a case, by kind of bound and device."""


def _helper(
    result: CaseResult, timed: Sequence[CaseResult], reference: Reference | None
) -> CaseResult | None:
    """Return the fastest result of a group that needs less of what binds this one.

    For a case that is bound by launches, it is one with far fewer launches, and otherwise any
    faster result. Returns None if there is none, or if the ratio to it is unreliable.

    timed: the results of the group by time.
    """
    if not result.case.ranked or result.bound is None or result.bound.kind == NOT_KNOWN:
        return None
    many = result.roofs.get("launches")
    for other in itertools.takewhile(lambda other: other is not result, timed):
        one = other.roofs.get("launches")
        fewer = one is not None and many is not None and one <= FEWER * many
        if (fewer or result.bound.kind not in (LAUNCHES, HOST)) and not _all_problems(
            other, result, reference
        ):
            return other
    return None
