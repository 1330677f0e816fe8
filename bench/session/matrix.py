"""The equivalence matrix outside the tests: many small cases on one device, within a time limit.

The cases of the suite ``matrix`` are dealt out to processes, each with one framework; a process
writes a line before and after each case, so that a crash or a hanging compiler costs one case and
the process is started again after it. Each case goes the way that a timed one goes, as far as the
clock: availability, refusal, first call, gate, evidence. Nothing here is timed.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

from bench import case as suites
from bench.case.cases import Case
from bench.case.loading import SuiteChoice
from bench.machine import devices
from bench.machine.fresh import ending, last_words
from bench.machine.processes import Ended
from bench.session.session import Environment, environments
from bench.worker import preparing
from bench.worker.outcomes import Unmeasured
from bench.worker.preparing import Bench, Prepared
from lstm_impl import get_backend

SUITE = "matrix"

PASSED, REFUSED, NOT_MEASURED, FAILED = "passed", "refused", "not_measured", "failed"
NOT_REACHED = "not_reached"

CASE_SECONDS = 150.0
"""For one small case, its framework's start and its compiling included: the slowest seen, on two
processors that five processes shared, took 45, and kernels that nvcc compiles may take longer; what
takes more than this hangs."""

OVERRUN = 10.0
"""Seconds beyond a process's own limit after which it is ended from outside: it looks at the time
between cases only."""


@dataclass(frozen=True)
class Checked:
    """A case and what came of it; errors are the gate's, ``evidence`` free-form plain data."""

    case: str
    backend: str
    outcome: str
    reason: str = ""
    errors: dict[str, float] = field(default_factory=dict)
    evidence: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Shard:
    """What one process does: the cases of a few backends of one framework.

    environment: variables that it must have.
    """

    name: str
    cases: tuple[Case, ...]
    environment: Environment = ()


def cases(device: str, backends: Sequence[str]) -> list[Case]:
    """The matrix of these backends, every backend's first case before any second one."""
    found = suites.load(SUITE, SuiteChoice(tuple(backends), (device,), None)).cases
    # A suite names what runs nowhere else on the device it was requested; here it is one device.
    order = {case.group: number for number, case in enumerate(found)}
    return sorted((case for case in found if case.device == device), key=lambda c: order[c.group])


def shards(wanted: Sequence[Case], processes: int) -> list[Shard]:
    """Deal the cases out: one framework a process, and no more backends in it than its part.

    All of them run at the same time, so there may be a few more than ``processes``: none must wait
    for another to end.
    """
    frameworks: dict[tuple[str, Environment], list[str]] = {}
    for name, environment in environments(case.backend for case in wanted).items():
        frameworks.setdefault((get_backend(name).framework, environment), []).append(name)
    count = sum(map(len, frameworks.values()))
    most = max(1, -(-count // max(1, processes)))
    found = []
    numbers: Counter[str] = Counter()
    for (framework, environment), names in frameworks.items():
        parts = -(-len(names) // most)
        for part in range(parts):
            # Every n-th: neighbours in the list are options of one strategy, and cost alike.
            mine = set(names[part::parts])
            dealt = tuple(case for case in wanted if case.backend in mine)
            numbers[framework] += 1
            found.append(Shard(f"{framework}-{numbers[framework]}", dealt, environment))
    return found


Run: TypeAlias = Callable[..., Ended]
"""What runs a command for at most some seconds, writes its log, and ends it when its ``stop`` is
set: ``machine.processes.run``, or what a test puts in its place."""


def check(
    dealt: Sequence[Shard],
    seconds: float,
    folder: Path,
    run: Run,
    case_seconds: float = CASE_SECONDS,
) -> list[Checked]:
    """Check all cases of all shards side by side, for at most ``seconds``.

    folder: for each shard's lines and log. Every case has a result; one that time did not suffice
    for is NOT_REACHED.
    """
    end = time.monotonic() + seconds
    stop = threading.Event()
    with ThreadPoolExecutor(max(1, len(dealt))) as pool:
        try:
            results = pool.map(
                lambda shard: _check_shard(
                    shard, end, folder, partial(run, stop=stop), case_seconds, stop
                ),
                dealt,
            )
            return [checked for shard in results for checked in shard]
        except BaseException:
            stop.set()  # or the pool would wait for the processes
            raise


def _check_shard(
    shard: Shard,
    end: float,
    folder: Path,
    run: Callable[[Sequence[str], float, Path], Ended],
    case_seconds: float,
    stop: threading.Event,
) -> list[Checked]:
    lines = folder / f"{shard.name}.jsonl"
    lines.touch()
    log = folder / f"{shard.name}.log"
    request = folder / f"{shard.name}.request.json"
    while True:
        done, begun = read(lines)
        rest = [case for case in shard.cases if case.id not in done]
        left = end - time.monotonic()
        if not rest or left <= 0 or stop.is_set():
            break
        request.write_text(
            json.dumps(
                {
                    "cases": [case.to_dict() for case in rest],
                    "seconds": left,
                    "case_seconds": case_seconds,
                    "environment": shard.environment,
                }
            ),
            encoding="utf-8",
        )
        command = [sys.executable, "-m", "bench.session.matrix", str(request), str(lines)]
        ended = run(command, left + OVERRUN, log)
        done, begun = read(lines)
        if begun is not None:
            broken = _broken(begun, shard, ended, case_seconds, time.monotonic() >= end)
            _append(lines, asdict(broken))
        elif ended.code != 0:
            # It never came to a case: to start it again would end the same way.
            said = last_words(log.read_text(errors="replace") if log.exists() else "")
            said = said or "it said nothing"
            reason = f"its process could not start: it {ending(ended.code)}: {said}"
            for case in shard.cases:
                if case.id not in done:
                    _append(lines, asdict(Checked(case.id, case.backend, FAILED, reason)))
    request.unlink(missing_ok=True)
    done, _ = read(lines)
    return [
        done.get(case.id, Checked(case.id, case.backend, NOT_REACHED, "the time was up"))
        for case in shard.cases
    ]


def _broken(
    begun: tuple[str, float], shard: Shard, ended: Ended, case_seconds: float, late: bool
) -> Checked:
    """The case in which a process ended, or was ended."""
    name, started = begun
    backend = next(case.backend for case in shard.cases if case.id == name)
    took = time.time() - started
    if took >= case_seconds:
        reason = f"not done within {case_seconds:.0f} s: its compiler or the device hangs"
        return Checked(name, backend, FAILED, reason)
    if late and not ended.in_time:
        return Checked(name, backend, NOT_REACHED, "the time was up while it was checked")
    return Checked(name, backend, FAILED, f"its process {ending(ended.code)}; see the log")


def read(lines: Path) -> tuple[dict[str, Checked], tuple[str, float] | None]:
    """What a shard has done so far, by case, and the case it has begun (and when) but not ended."""
    done: dict[str, Checked] = {}
    begun: tuple[str, float] | None = None
    for line in lines.read_text(encoding="utf-8").splitlines():
        try:
            data = json.loads(line)
        except ValueError:
            continue  # the line in which the process was killed
        if "begin" in data:
            begun = (data["begin"], data["at"])
        else:
            checked = Checked(**data)
            done[checked.case] = checked
            begun = None
    return done, begun


def _append(lines: Path, data: dict[str, object]) -> None:
    # Begins a line of its own: the one before may have been cut where its process was killed.
    with lines.open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps(data) + "\n")
        file.flush()
        os.fsync(file.fileno())


def counts(checked: Sequence[Checked]) -> Counter[str]:
    """How many cases came to each outcome."""
    return Counter(each.outcome for each in checked)


# -- in the process of a shard


def check_case(case: Case, bench: Bench) -> Checked:
    """One case: everything but the clock."""
    result = preparing.prepare(case, 0, bench)
    if isinstance(result, Unmeasured):
        reason = f"{result.reason}; {result.advice}" if result.advice else result.reason
        return Checked(case.id, case.backend, result.outcome, reason)
    assert isinstance(result, Prepared)
    checked = Checked(
        case.id,
        case.backend,
        PASSED,
        result.gate.describe(),
        dict(result.gate.errors),
        dict(result.evidence),
    )
    if devices.kind(case.device) == "gpu" and not result.evidence.get("kernels"):
        reason = (
            f"equal to the reference, but no kernel was seen on {case.device}: it may have "
            "computed on the CPU, or the profiler was not allowed to look"
        )
        return replace(checked, outcome=FAILED, reason=reason)
    return checked


def work(
    wanted: Sequence[Case], lines: Path, seconds: float, case_seconds: float, bench: Bench
) -> None:
    """Check case after case until the time is up, each with a line before and after."""
    end = time.monotonic() + seconds
    for case in wanted:
        if time.monotonic() >= end:
            return
        _append(lines, {"begin": case.id, "at": time.time()})
        # From a thread of its own, in C: it ends the process even while a compiler has it.
        faulthandler.dump_traceback_later(case_seconds, exit=True)
        checked = check_case(case, bench)
        faulthandler.cancel_dump_traceback_later()
        _append(lines, asdict(checked))


def _main(request: str, lines: str) -> None:
    data = json.loads(Path(request).read_text(encoding="utf-8"))
    os.environ.update(data["environment"])  # no framework has been imported yet
    wanted = [Case.from_dict(each) for each in data["cases"]]
    work(wanted, Path(lines), data["seconds"], data["case_seconds"], Bench())


if __name__ == "__main__":
    _main(*sys.argv[1:])
