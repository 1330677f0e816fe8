"""The columns of the tidy table that only streams have: what their calls took."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from bench.judging.latency import PARTS
from bench.judging.process_means import ENOUGH_PROCESSES
from bench.judging.streams import Stream


@dataclass(frozen=True)
class StreamColumn:
    """A column; unit is empty for what has none. value: of a stream, None where it says nothing."""

    unit: str
    meaning: str
    value: Callable[[Stream], str | float | int | None]
    kind: type[str | int | float] = float


def _of_latency(name: str, part: float, stream: Stream) -> float | None:
    found = stream.latency.get(part)
    return None if found is None else float(getattr(found, name))


def _of_ratio(name: str, part: float, stream: Stream) -> float | None:
    found = stream.to_baseline.get(part)
    return None if found is None else float(getattr(found.ratio, name))


def _verdict(part: float, stream: Stream) -> str | None:
    found = stream.to_baseline.get(part)
    return None if found is None else found.verdict.value


STREAM_COLUMNS = {
    "calls": StreamColumn("calls", "of a stream, each timed by itself", lambda s: s.calls, int),
}
"""In their order."""

for _part in PARTS:
    _key = f"p{_part:g}".replace(".", "")
    STREAM_COLUMNS[f"latency_{_key}_s"] = StreamColumn(
        "s",
        f"of a stream: the {_part:g}th percentile of its calls, from when each was due until it "
        "was done: the median of the processes' own; empty of too few calls to tell",
        functools.partial(_of_latency, "mid", _part),
    )
    for _side, _bound in (("low", "lower"), ("high", "upper")):
        STREAM_COLUMNS[f"latency_{_key}_{_side}_s"] = StreamColumn(
            "s",
            f"{_bound} bound of its 95% interval, as of time_s",
            functools.partial(_of_latency, _side, _part),
        )
STREAM_COLUMNS |= {
    "latency_most_s": StreamColumn("s", "of a stream: its slowest call", lambda s: s.most),
    "service_p50_s": StreamColumn(
        "s",
        "of a stream: the median from when a call began; latency_p50_s less what it began late",
        lambda s: s.service[50.0].mid if 50.0 in s.service else None,
    ),
    "deadline_s": StreamColumn(
        "s",
        "within which each call of a stream was to be done, from when it was due",
        lambda s: s.deadline,
    ),
    "missed": StreamColumn("calls", "that took longer than deadline_s", lambda s: s.missed, int),
    "load": StreamColumn(
        "processes",
        "that kept a processor busy each while a stream was timed",
        lambda s: s.load,
        int,
    ),
}
for _part in PARTS[1:]:
    _key = f"p{_part:g}".replace(".", "")
    STREAM_COLUMNS[f"latency_{_key}_ratio"] = StreamColumn(
        "",
        f"latency_{_key}_s over the baseline's, process by process, below 1 is faster; empty with "
        f"fewer than {ENOUGH_PROCESSES} processes",
        functools.partial(_of_ratio, "mid", _part),
    )
    for _side, _bound in (("low", "lower"), ("high", "upper")):
        STREAM_COLUMNS[f"latency_{_key}_ratio_{_side}"] = StreamColumn(
            "",
            f"{_bound} bound of its 99.5% interval",
            functools.partial(_of_ratio, _side, _part),
        )
    STREAM_COLUMNS[f"latency_{_key}_verdict"] = StreamColumn(
        "", "FASTER, SLOWER, SAME or UNCLEAR, of it", functools.partial(_verdict, _part), str
    )
