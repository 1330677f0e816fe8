"""Find inconsistent figures in a result file.

For each case the gate must have passed, the statistics and the validity must be those of its
samples, the rate must not exceed the device's, and the times must lie inside the run. An honest
file passes. A person who improves one figure has to change many others too. If all of
them are changed consistently, only another measurement reveals it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain, pairwise

import numpy as np

from bench.machine.fields import Field, is_number, mapping, printable
from bench.records import digest, hdr
from bench.records.schema import Measurement, ResultFile
from bench.stats.intervals import FEWEST_SAMPLES, halves_agree, median_interval, relative_half_width
from bench.stats.trust import FEW_SAMPLES, NOT_STEADY, WIDE, WIDE_INTERVAL
from bench.worker import estimate
from bench.worker.roofs import WELL_ABOVE
from lstm_impl.proof.comparison import RMS, name_error
from lstm_impl.proof.kinds import FORWARD, JudgedCase, find_kind, find_possible_errors

CLOSE = 1e-9
"""The relative difference up to which figures count as equal. They may be sums in another order."""

SHORTEST_BLOCK = 1e-6
"""The shortest block, in seconds.

A block has at least a thousand ticks of at least a nanosecond.
"""

DISTINCT = 0.5
"""The least share of distinct samples of a case. A coarse clock makes some of them equal."""

FEWEST_FOR_COPIES = 5
"""The number of samples from which equal series count as copies."""

LEAST_SHARE = 0.07
"""The least share of the samples in the time of their group.

Streams are exempt, since they wait. In the reference results the share is 0.077 to 0.83. It is
lowest where each case was given a quarter of a second, because new inputs, warm-up, calibration and
the waits for other threads are not in the samples. If times were divided by six, half of the groups
would fall below this share.
"""

SLACK = timedelta(seconds=2)
"""The tolerance between two readings of the clock."""

AHEAD = timedelta(days=1)
"""How far in the future a run may end, since clocks differ."""


def find_problems(document: Field, file: ResultFile, now: datetime) -> list[str]:
    """Return the errors of a result file with their places.

    ``document`` is the complete contents of the file, and ``file`` the same, parsed.
    """
    found = [*_check_run(document, file, now)]
    measured = {item.case.id: item for item in file.measurements}
    for entry in document["benchmarks"].items():
        item = measured.get(str(entry["extra_info"]["lstm"]["case_id"].value))
        if item is None:
            found.append(f"{entry.name} has a time although it did not pass its gate")
        else:
            of_entry = (check(entry, item) for check in (_names, _statistics))
            of_item = (check(item) for check in (_proof, _validity, _calls, _possible))
            found += [f"{entry.name}.{error}" for error in chain(*of_entry, *of_item)]
    found += _check_groups(file)
    return found


def find_copies(files: Sequence[ResultFile]) -> list[str]:
    """Return which cases have the samples of another case in any file, or a multiple of them."""
    seen: dict[tuple[float, ...], str] = {}
    found = []
    for file in files:
        for item in file.measurements:
            if item.samples.size < FEWEST_FOR_COPIES:
                continue
            # Multiples have the same quotients, up to rounding.
            key = tuple(float(f"{value:.9g}") for value in item.samples / item.samples[0])
            where = f"{printable(file.path.name)}: {printable(item.case.id)}"
            first = seen.setdefault(key, where)
            if first is not where:
                found.append(f"{where} has the samples of {first}, or a multiple of them")
    return found


def _check_run(document: Field, file: ResultFile, now: datetime) -> Iterator[str]:
    if digest.is_changed(document.mapping()):
        yield f"digest does not match the contents: the file {digest.CHANGED}"
    if not file.measurements:
        yield "benchmarks has no measured case"
    run = file.run
    if run.finished is None:
        yield "lstm.run.finished is missing: the run is unfinished"
        return
    moments = [
        ("lstm.run.environment.before.time", _read_time(run.environment.get("before"))),
        ("lstm.run.started", run.started),
        ("lstm.run.environment.after.time", _read_time(run.environment.get("after"))),
        ("lstm.run.finished", run.finished),
    ]
    known = [(name, when) for name, when in moments if when is not None]
    for (name, earlier), (other, later) in pairwise(known):
        if earlier > later + SLACK:
            yield f"{name} ({earlier.isoformat()}) is after {other} ({later.isoformat()})"
    if run.finished > now + AHEAD:
        yield f"lstm.run.finished ({run.finished.isoformat()}) is in the future"


def _read_time(state: object) -> datetime | None:
    """Return when the machine's state was read, or None if that is unknown."""
    try:
        when = datetime.fromisoformat(str(mapping(state).get("time")))
    except ValueError:
        return None
    return when if when.tzinfo is not None else None


def _names(entry: Field, item: Measurement) -> Iterator[str]:
    """Compare the names with those of the case, which differ if cases were exchanged."""
    for key, value in (("group", item.case.group), ("param", item.case.id)):
        if entry[key].given and entry[key].value != value:
            yield f"{key} is not that of the case {printable(item.case.id)}"


def _is_of_gradient(name: object) -> bool:
    """Return whether an error is the largest difference in a gradient."""
    kind, array = find_kind(str(name)) or (None, "")
    return kind is not None and not kind.name and array not in FORWARD


def _proof(item: Measurement) -> Iterator[str]:
    where = "extra_info.lstm.gate"
    errors, bounds = item.gate.get("errors"), item.gate.get("bounds")
    if not isinstance(errors, Mapping) or not isinstance(bounds, Mapping):
        yield f"{where} has no errors with their bounds"
        return
    case = JudgedCase(item.case.spec, item.case.workload, item.case.approximate)
    wanted = {
        name_error(RMS, name) if case.approximate else name
        for name in ("y", *case.spec.cell.states)
    }
    if missing := sorted(wanted - set(errors)):
        yield f"{where}.errors lacks {', '.join(missing)}"
    if item.case.workload.training and not any(map(_is_of_gradient, errors)):
        yield f"{where}.errors lacks the errors of gradients"
    for name in [*errors, *(each for each in bounds if each not in errors)]:
        error, bound = errors.get(name), bounds.get(name)
        text = f"{where}.errors.{printable(str(name), 60)}"
        possible = find_possible_errors(str(name), case)
        if not is_number(error) or not is_number(bound):
            yield f"{text} or its bound is missing"
        elif possible is None:
            yield f"{text} is not an error that the gate finds in such a case"
        elif bound > (most := possible[1]) * (1 + CLOSE):
            yield f"{text} has a bound of {bound:g}; in such a case it is at most {most:g}"
        elif error > bound:
            yield f"{text} is {error:g}, above its bound of {bound:g}"
        elif error < (least := possible[0]):
            yield f"{text} is {error:g}; in such a case it is at least {least:g}"
    if not item.evidence:
        yield "extra_info.lstm.evidence is empty, so it is unknown what ran"


def _statistics(entry: Field, item: Measurement) -> Iterator[str]:
    """Compare the statistics with those of the samples."""
    samples = item.samples
    mean = float(samples.mean())
    wanted = {
        "min": float(samples.min()),
        "max": float(samples.max()),
        "mean": mean,
        "median": float(np.median(samples)),
        "stddev": float(samples.std(ddof=1)) if samples.size > 1 else 0.0,
        "total": float(samples.sum()),
        "ops": 1 / mean,
        "rounds": float(samples.size),
        "iterations": float(item.calls),
    }
    for key, value in wanted.items():
        stated = entry["stats"][key].value
        if not is_number(stated):
            yield f"stats.{key} is missing"
        elif abs(stated - value) > CLOSE * max(abs(value), mean if key == "stddev" else 0.0):
            yield f"stats.{key} is {stated:g}; the samples give {value:g}"
    distinct = np.unique(samples).size
    # Medians of a stream's short calls are often equal.
    few = item.streaming is None and distinct < DISTINCT * samples.size
    if few and samples.size >= FEWEST_FOR_COPIES:
        yield f"stats.data has only {distinct} different values among {samples.size}"
    if np.any(np.diff(item.rounds) <= 0):
        yield "extra_info.lstm.blocks.round does not increase"
    first, beyond = item.setup.get("first_call_s"), item.setup.get("compile_s")
    if first is not None and beyond is not None:
        found = first - wanted["median"]
        if abs(beyond - found) > CLOSE * first:
            text = f"the first call minus the median is {found:g}"
            yield f"extra_info.lstm.setup.compile_s is {beyond:g}; {text}"


def _validity(item: Measurement) -> Iterator[str]:
    """Compare the validity with that of the samples."""
    where = "extra_info.lstm.validity"
    codes = {reason.code for reason in item.reasons}
    if item.valid and codes:
        yield f"{where}.valid is true, but there are reasons why it is not"
    samples = item.samples.tolist()
    steady = halves_agree(samples)
    if item.steady is not steady:
        yield f"extra_info.lstm.steady is {item.steady}; the samples give {steady}"
    shown = set()
    if len(samples) < FEWEST_SAMPLES:
        shown.add(FEW_SAMPLES)
    elif relative_half_width(samples) > WIDE:
        shown.add(WIDE_INTERVAL)
    if steady is False:
        shown.add(NOT_STEADY)
    for code in sorted(shown - codes):
        yield f"{where}.reasons lacks {code}, which the samples show"


def _calls(item: Measurement) -> Iterator[str]:
    """Compare the calls of a stream with those of its blocks and its histogram."""
    stream, where = item.streaming, "extra_info.lstm.streaming"
    if stream is None:
        if item.case.workload.streaming:
            yield f"{where} is missing"
        return
    if stream.calls != item.calls * item.samples.size:
        yield f"{where}.calls is {stream.calls}; its blocks have {item.calls * item.samples.size}"
    for name, taken in (("latency", stream.latency), ("service", stream.service)):
        try:
            bins = hdr.decode(taken.histogram)
        except ValueError as error:
            yield f"{where}.{name}.histogram cannot be read: {error}"
            continue
        counted = np.cumsum(bins.number)
        if not counted.size or counted[-1] != stream.calls:
            yield f"{where}.{name}.histogram does not contain the {stream.calls} calls"
            continue
        for part, bounds in taken.percentiles.items():
            rank = math.ceil(round(part / 100 * stream.calls, 6))
            place = int(np.searchsorted(counted, rank))
            # The histogram has whole nanoseconds.
            if not bins.low[place] - 1e-9 <= bounds.mid <= bins.high[place] + 1e-9:
                yield f"{where}.{name}.percentiles.{part:g} is not that of the histogram"


def _possible(item: Measurement) -> Iterator[str]:
    """Check that a clock and a device can give these times."""
    shortest = float(item.samples.min()) * item.calls
    if shortest < SHORTEST_BLOCK:
        text = f"{shortest:g} s is less than a thousand ticks of any clock"
        yield f"stats.data has a block shorter than {SHORTEST_BLOCK:g} s: {text}"
    roofs = item.roofs or {}
    where = "extra_info.lstm.roofs"
    counted = estimate.operations(item.case.spec, item.case.workload)
    operations, median = roofs.get("operations"), float(np.median(item.samples))
    if is_number(operations) and abs(operations - counted) > CLOSE * counted:
        yield f"{where}.operations is {operations:g}; a step of the case has {counted:g}"
    for name, amount, rate in (
        ("of_matmul", operations, roofs.get("matmul_per_s")),
        ("of_bandwidth", roofs.get("bytes"), roofs.get("bandwidth_per_s")),
    ):
        part = roofs.get(name)
        if not (is_number(part) and is_number(amount) and is_number(rate)):
            continue
        found = amount / (rate * median)
        if abs(part - found) > 1000 * CLOSE * found:
            yield f"{where}.{name} is {part:g}; the median gives {found:g}"
    peak = roofs.get("matmul_per_s")
    if not is_number(peak) or roofs.get("matmul_without"):
        return
    slowest = median_interval(item.samples.tolist()).high
    if (rate := counted / slowest) > WELL_ABOVE * peak:
        yield (
            f"the rate of stats.data is {rate / peak:.1f} times that of the device's fastest "
            f"product, {peak:.3g} operations per second"
        )


def _check_groups(file: ResultFile) -> Iterator[str]:
    """Compare the times of samples with that of their group, and those of groups with the run's."""
    # The time of cases that failed after they were timed is unknown.
    unknown = {each.case.group for each in file.outcomes if each.outcome == "failed"}
    sums: dict[str, list[float]] = {}
    waiting = {each.case.group for each in file.measurements if each.case.workload.streaming}
    for item in file.measurements:
        timing = item.setup.get("timing_s")
        if timing is not None and item.case.group not in unknown:
            found = sums.setdefault(item.case.group, [0.0, 0.0])
            found[0] += item.timed_s
            found[1] += timing
    for group, (measured, timed) in sums.items():
        least = 0.0 if group in waiting else LEAST_SHARE * timed
        if not least <= measured <= timed * (1 + CLOSE):
            yield (
                f"the samples of {printable(group)} take {measured:.3g} s, but measuring them took "
                f"{timed:.3g} s (extra_info.lstm.setup.timing_s)"
            )
    run = file.run
    total = sum(timed for _, timed in sums.values())
    if run.finished is not None and total > (run.finished - run.started + SLACK).total_seconds():
        yield f"the groups were timed for {total:.3g} s, which is longer than the run lasted"
