"""A profile as a timeline: the trace events that Perfetto and Chrome open, in JSON.

The format is the one that Chrome documents ("Trace Event Format"): complete events ("X") with their
start and duration in microseconds, and the names of their tracks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from lstm_impl import Profile


def trace(profile: Profile, said: Mapping[str, object], kind: Callable[[str], str]) -> str:
    """The file. said: what it is a profile of, plain data. kind: of an operator, by its name."""
    tracks = {track: n for n, track in enumerate(dict.fromkeys(e.track for e in profile.events))}
    begin = min((event.start for event in profile.events), default=0.0)
    events: list[dict[str, object]] = [
        {"ph": "M", "name": "process_name", "pid": 0, "args": {"name": profile.source}}
    ]
    events += [
        {"ph": "M", "name": "thread_name", "pid": 0, "tid": number, "args": {"name": track}}
        for track, number in tracks.items()
    ]
    events += [
        {
            "ph": "X",
            "name": event.name,
            "cat": kind(event.name),
            "pid": 0,
            "tid": tracks[event.track],
            "ts": round(1e6 * (event.start - begin), 3),
            "dur": round(1e6 * event.seconds, 3),
            **({"args": {"detail": event.detail}} if event.detail else {}),
        }
        for event in sorted(profile.events, key=lambda each: (each.start, -each.seconds))
    ]
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms", "otherData": dict(said)})
