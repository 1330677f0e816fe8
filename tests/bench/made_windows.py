"""Make result files of streams in windows whose fixed cost and slope are known."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from bench.case.cases import Case
from bench.machine.writing import write
from bench.records.files import collect
from bench.records.maps import LearningMap, MapCell, file_data, read
from bench.records.schema import Measurement, Outcome
from bench.verdicts.along import AxisSeries, series
from bench.verdicts.recommend import MeasuredWindows, places
from bench.verdicts.sections import KINDS, build
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload
from tests.bench.made_results import BUSY, a_run, gather, measured, save, unmeasured

WINDOWS = (3, 5, 10, 15, 30, 60, 120, 240, 480, 960)
DISTANCES = (1, 3, 8, 20, 50)
SPEC = LSTMSpec(input_size=128, hidden_size=256)


@dataclass(frozen=True)
class Cost:
    """The cost of a backend: seconds and bytes of a step or process, and of each timestep.

    reaches: the longest window; longer ones have an outcome with a reason (by default that of
    ``write_windows``). slower: by window, the factor by which it is off the line.
    """

    fixed: float
    per_timestep: float
    base_bytes: float = 50e6
    bytes_per_timestep: float = 2e5
    compile_s: float = 0.1
    reaches: int = 10**9
    outcome: str = "timed_out"
    reason: str = ""
    slower: Mapping[int, float] = field(default_factory=dict)


COSTS = {
    "while_loop": Cost(2.1e-3, 4.0e-4),
    "while_loop+hoisted": Cost(1.2e-3, 2.2e-4, bytes_per_timestep=1.2e5),
    "static_unroll+xla": Cost(4e-4, 3e-4, compile_s=3.0, reaches=60),
}


def refused(*backends: str, reason: str = "it runs on GPUs only") -> dict[str, Cost]:
    return dict.fromkeys(backends, Cost(1e-3, 1e-4, reaches=0, outcome="refused", reason=reason))


def streamed(
    backend: str,
    window: int | None,
    spec: LSTMSpec = SPEC,
    *,
    batch: int = 64,
    timesteps: int = 960,
    mode: str = "training",
    optimizer: str | None = "adam",
    device: str = "cpu",
    gradients: str = "all",
    **work: Any,
) -> Case:
    """Return a case of a stream in windows, or without (None). work: fields of ``Workload``."""
    workload = Workload(
        batch, timesteps, mode, window=window, optimizer=optimizer, gradients=gradients, **work
    )
    return Case(backend, spec, workload, device)


def write_windows(
    folder: Path,
    costs: Mapping[str, Cost] = COSTS,
    windows: Sequence[int | None] = WINDOWS,
    *,
    processes: int = 6,
    noise: float = 0.01,
    session: str = "made-up",
    host: str = "made-up",
    day: int = 1,
    seed: int = 0,
    reason: str = "its time limit of 120 s was passed",
    memory: bool = True,
    valid: bool = True,
    **stream: Any,
) -> list[Path]:
    """Write a file for each process with each backend at each window; stream: of ``streamed``."""
    rng = np.random.default_rng(seed)
    paths = []
    for process in range(processes):
        process_factor = np.exp(noise * rng.standard_normal())
        started = datetime(2025, 1, day, 12, tzinfo=UTC) + timedelta(minutes=process)
        run = a_run(
            process,
            host,
            "truncation",
            id=f"{session}-{process}",
            session=session,
            started=started,
            finished=started + timedelta(minutes=1),
            machine_id=f"id of {host}",
            environment={"before": {"cpu": {"name": f"CPU of {host}", "cores": 2}}},
        )
        items: list[Measurement | Outcome] = []
        for window in windows:
            for backend, cost in costs.items():
                case = streamed(backend, window, **stream)
                length = window or case.workload.timesteps
                if length > cost.reaches:
                    advice = "give it longer with --case-limit"
                    items.append(unmeasured(case, run, cost.outcome, cost.reason or reason, advice))
                    continue
                steps = -(-case.workload.timesteps // length)
                time = steps * cost.fixed + case.workload.timesteps * cost.per_timestep
                time *= cost.slower.get(length, 1.0)
                samples = process_factor * time * np.exp(noise * rng.standard_normal(8))
                first = cost.compile_s + float(np.median(samples))
                setup = {"build_s": 0.01, "trace_s": 0.2, "first_call_s": first}
                peak = cost.base_bytes + cost.bytes_per_timestep * length
                items.append(
                    measured(
                        case,
                        time,
                        run,
                        () if valid else (BUSY,),
                        samples=samples,
                        rounds=np.arange(8),
                        setup={**setup, "compile_s": cost.compile_s},
                        memory={"peak_bytes": peak} if memory else None,
                    )
                )
        save(folder, gather(*items))
        paths.append(folder / f"{session}-{process}.json")
    return paths


def join(paths: Sequence[Path], others: Sequence[Path]) -> None:
    """Add the cases of each other file to a file, as if one process had measured both."""
    for path, other in zip(paths, others, strict=True):
        document, more = (json.loads(each.read_text()) for each in (path, other))
        document["benchmarks"] += more["benchmarks"]
        document["lstm"]["outcomes"] += more["lstm"]["outcomes"]
        path.write_text(json.dumps(document))


def read_streams(
    paths: Sequence[Path], learned: LearningMap | None = None
) -> tuple[AxisSeries, ...]:
    return series(build(collect(paths), kind=KINDS[1]).sections, "window", learned)


def read_places(paths: Sequence[Path], reference: Sequence[Path] = ()) -> list[MeasuredWindows]:
    results = collect([*paths, *reference])
    foreign = [file.run.id for file in results.files if file.path in reference]
    return places(build(results).sections, foreign)


def make_learned_map(furthest: Mapping[int, int]) -> LearningMap:
    """Return a map of the echo with the longest learned distance of each window."""
    with tempfile.TemporaryDirectory() as folder:
        return read(write_learning(Path(folder), furthest))


def write_learning(
    folder: Path,
    learned: Mapping[int, int],
    *,
    name: str = "learning-made-up",
    seeds: int = 2,
    task: str = "echo",
    day: int = 1,
    complete: bool = True,
) -> Path:
    """Write a map of a task with the longest learned distance of each window, state carried."""
    best, memoryless = 0.1, 0.7
    cells = [
        MapCell(
            task=task,
            distance=distance,
            window=window,
            stride=window,
            carried=True,
            seed=seed,
            timesteps=20_000,
            updates=20_000 // window,
            loss=best if distance <= furthest else memoryless,
            accuracy=1.0 if distance <= furthest else 0.5,
            best=best,
            memoryless=memoryless,
        )
        for window, furthest in learned.items()
        for distance in DISTANCES
        for seed in range(seeds)
    ]
    run = {
        "id": name,
        "started": f"2025-01-{day:02}T12:00:00+00:00",
        "finished": f"2025-01-{day:02}T13:00:00+00:00",
        "complete": complete,
        "backend": "while_loop",
        "device": "cpu",
        "settings": {},
        "libraries": {},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    write(path, file_data(run, cells))
    return path
