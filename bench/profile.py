"""Show where the time of one case goes: ``python -m bench.profile``.

The command prepares the case and passes it through the gate, as a measurement does. It then
profiles one step, times the step without the profiler and compares the time with the roofs. It
prints what limits the case and its operators by time, and writes a timeline for Perfetto.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.case.cases import ID_EXAMPLE, Case
from bench.cli import arguments, command_line, output
from bench.render.data import csv_lines
from bench.render.escape import clean
from bench.render.messages import bound_text, reason_line
from bench.render.quantities import seconds
from bench.render.table import Block, Column, Document, TextTable, numbers
from bench.stats.bound import Bound
from bench.stats.operators import kind, profiled_bound, shares
from bench.worker import group
from lstm_impl import Profile, UnavailableError, UnsupportedError
from lstm_impl.evidence import by_name

OPEN_WITH = "https://ui.perfetto.dev"

PROFILED, NOT_PROFILED = range(2)

FORMATS = ("terminal", "markdown", "csv")

EPILOG = f"""\
exit codes:
  0  the case was profiled
  1  the case was not profiled: the backend cannot run here, fails the gate, or uses a framework
     without a known profiler; the output says which
  2  bad input

Write the id of a case as in reports: {ID_EXAMPLE}.
The case must pass the same gate as in a measurement. Open the written file in {OPEN_WITH}
(which reads it in the browser and sends nothing) or in chrome://tracing. A profiler slows a step
down. The times of operators therefore include the profiler's own cost; the time of a step does not.
"""

FEWEST_CALLS, SECONDS = 5, 0.5
"""The step is timed without the profiler for at least this many calls and this many seconds."""

MOST = 20
"""The largest number of operators in a table. CSV lists all operators."""

COLUMNS = ("operator", "kind", "count", "seconds", "share")


@dataclass(frozen=True)
class CaseProfile:
    """Hold the profile of a case.

    seconds: the median time of a step without the profiler. figures: the numbers from which the
    bound was derived, such as the roofs, by name.
    """

    case: Case
    profile: Profile
    seconds: float
    bound: Bound
    figures: Mapping[str, float]


def profile_case(case: Case, bench: group.Bench | None = None) -> CaseProfile | group.Unmeasured:
    """Return the profile of one step of a case, or the reason why there is none."""
    bench = bench or group.Bench()
    with bench.interrupts, group.ignored_deprecations():
        prepared = group.prepare(case, 0, bench)
        if not isinstance(prepared, group.Prepared):
            return prepared
        try:
            return _profile_prepared(case, prepared, bench)
        except (UnavailableError, UnsupportedError) as error:
            return group.refused(error)
        except Exception as error:
            return group.failed(error, "profile")


def _profile_prepared(case: Case, prepared: group.Prepared, bench: group.Bench) -> CaseProfile:
    # The code below guards the calls of the backend itself, and guards cannot be nested.
    with prepared.guard:
        profile = prepared.model.profile(case.workload)
        if not profile.events:
            raise UnsupportedError(f"{profile.source} saw no operator of {case.backend}")
        step, now = prepared.step, bench.clock.now
        times: list[float] = []
        step.synchronize()
        end = now() + SECONDS
        while len(times) < FEWEST_CALLS or now() < end:
            start = now()
            step.run()
            step.synchronize()
            times.append(now() - start)
    taken = statistics.median(times)
    figures: dict[str, float | str | None] = {}
    if bench.roofs is not None:
        figures |= bench.roofs.figures(case, taken, bench.threads, bench.frameworks(case.device))
    figures |= group.step_figures(case, prepared, taken, bench)
    numbers = {key: each for key, each in figures.items() if isinstance(each, int | float)}
    owners = {
        f"of_{key.removesuffix('_by')}": str(each)
        for key, each in figures.items()
        if key.endswith("_by")
    }
    work = case.workload
    valid = work.valid_timesteps() / (work.batch * work.timesteps)
    found = profiled_bound(numbers, owners, valid, shares(profile, taken))
    return CaseProfile(case, profile, taken, found, numbers)


def write_profile(found: CaseProfile, timeline: Path, form: str) -> None:
    """Write the timeline to a file and print the rest in the given format.

    Raises UsageError if the file cannot be written.
    """
    about = {"case": found.case.id, "step_s": found.seconds, "source": found.profile.source}
    output.write_file(timeline, compose_trace(found.profile, about))
    # The own time of each operator in one step with the profiler, the longest first.
    spent = by_name(found.profile.events)
    whole = sum(each.seconds for each in spent.values()) or 1.0
    every = [
        (name, kind(name), each.count, each.seconds, each.seconds / whole)
        for name, each in spent.items()
    ]
    table = TextTable.of(
        [
            Column("operator", names=True),
            Column("kind"),
            *numbers("times", "own time", "of all operators"),
        ],
        [
            [name, of, f"{count:,}", seconds(own), f"{share:.1%}"]
            for name, of, count, own, share in every[:MOST]
        ],
    )
    title = f"{found.case.id}: {seconds(found.seconds)} per step without {found.profile.source}"
    left = len(every) - MOST
    more = [f"and {left} more operators; --format csv lists all"] if left > 0 else []
    blocks = [
        Block(lines=[title, bound_text(found.bound, found.figures)], joined=True),
        Block(table=table),
        Block(lines=more, joined=True),
    ]
    here = Block(lines=[*more, f"Timeline: open {timeline} in {OPEN_WITH}"])
    texts = {"markdown": Document(blocks).markdown, "csv": lambda: csv_lines(COLUMNS, every)}
    target = argparse.Namespace(format=form, output=None)
    output.deliver(target, Document([*blocks[:2], here]).terminal, texts)


def compose_trace(profile: Profile, about: Mapping[str, object]) -> str:
    """Return the timeline as JSON in Chrome's trace event format.

    about: what was profiled, as plain data.
    """
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
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms", "otherData": dict(about)})


# -- the command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _profile, argv)


def _profile(options: argparse.Namespace) -> int:
    found = profile_case(options.case)
    if isinstance(found, group.Unmeasured):
        print(f"{options.case.id}: {clean(reason_line(found.reason))}", file=sys.stderr)
        return NOT_PROFILED
    write_profile(found, options.output, options.format)
    return PROFILED


def _case(text: str) -> Case:
    try:
        return Case.from_id(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    parser = arguments.make_parser(
        "profile", "Show where the time of a case goes, by operator and as a timeline.", EPILOG
    )
    parser.add_argument("case", metavar="CASE_ID", type=_case, help=f"such as {ID_EXAMPLE}")
    timeline = "the file of the timeline, in JSON (Chrome's trace event format)"
    arguments.add_values(parser, ("output", "FILE", Path, timeline), required=True)
    arguments.add_choice(parser, "format", FORMATS, "the format of the table", FORMATS[0])
    return parser


if __name__ == "__main__":
    command_line.run_and_exit(main)
