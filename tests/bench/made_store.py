"""A large store of results that were never measured, as the tests of scale read it.

This room knows the format of a result file; what it writes is read by the same reader as any other.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from bench.case.cases import Case
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload

BACKENDS = ("keras", "while_loop", "while_loop+xla", "while_loop+hoisted+xla", "static_unroll")
SHAPES = ("distinct", "replicates")
"""Every case in one file of its own, or the same cases in every file."""


def make_store(
    folder: Path,
    shape: str = "replicates",
    *,
    files: int = 1000,
    cases: int = 100,
    samples: int = 10,
    seed: int = 0,
) -> list[Path]:
    """Write ``files`` result files of ``cases`` measurements of ``samples`` samples each.

    shape: one of ``SHAPES``. With ``distinct`` each ten files are a session of their own, as when
    results of many weeks lie in one folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    per_session = files if shape == "replicates" else 10
    paths = []
    for number in range(files):
        session = number // per_session
        groups = -(-cases // len(BACKENDS))
        first = 0 if shape == "replicates" else number * groups
        day, time = 1 + session % 28, f"{number // 60 % 24:02}:{number % 60:02}:00+00:00"
        entries = [_entry(case, number, rng, samples) for case in _cases(first, groups)[:cases]]
        run = {
            "id": f"{number:032x}",
            "session": f"session-{session:04}",
            "suite": "made-up",
            "seed": number,
            "started": f"2025-01-{day:02}T{time}",
            "finished": f"2025-02-{day:02}T12:00:00+00:00",
            "complete": True,
            "options": {"time_limit": 60.0},
            "host": "made-up",
            "machine_id": "0123456789abcdef",
            "environment": {"before": _ENVIRONMENT, "after": _ENVIRONMENT},
        }
        document = {
            "machine_info": {"node": "made-up"},
            "commit_info": {},
            "benchmarks": entries,
            "datetime": run["finished"],
            "version": "5.3.1",
            "lstm": {"schema": 1, "run": run, "outcomes": []},
        }
        path = folder / f"made-up-{number:05}.json"
        path.write_text(json.dumps(document, indent=1), encoding="utf-8")
        paths.append(path)
    return paths


_ENVIRONMENT = {
    "cpu": {"name": "A made-up CPU", "cores": 2, "usable": 2},
    "gpus": [],
    "system": "Linux",
    "python": "Python 3.12",
    "libraries": {"tensorflow": "2.21.0", "keras": "3.15.0"},
    "variables": {f"TF_VARIABLE_{number}": str(number) for number in range(20)},
}


def _cases(first: int, groups: int) -> list[Case]:
    found: list[Case] = []
    for number in range(first, first + groups):
        mode = ("inference", "training")[number % 2]
        spec = LSTMSpec(8 + number % 7, 16 + number // 7)
        work = Workload(1 + number % 5, 10 + number % 11, mode)
        found.extend(Case(backend, spec, work) for backend in BACKENDS)
    return found


def _entry(case: Case, file: int, rng: np.random.Generator, count: int) -> dict[str, object]:
    level = 1e-3 * (1 + BACKENDS.index(case.backend)) * case.spec.hidden_size / 16
    times = level * np.exp(0.03 * rng.standard_normal() + 0.005 * rng.standard_normal(count))
    names = ("y", "h", "c", "x", "kernel", "recurrent_kernel", "bias")
    return {
        "group": case.group,
        "name": f"bench_lstm[{case.id}]",
        "fullname": f"bench/bench_throughput.py::bench_lstm[{case.id}]",
        "params": {"case": case.id},
        "param": case.id,
        "extra_info": {
            "lstm": {
                "schema": 1,
                "case": case.to_dict(),
                "case_id": case.id,
                "gate": {
                    "passed": True,
                    "judge": "numpy float64 reference",
                    "errors": {name: float(rng.random() * 1e-7) for name in names},
                    "bounds": dict.fromkeys(names, 1e-5),
                },
                "evidence": {
                    "ops": {"MatMul": 100, "_MklMatMul": 2, "Sigmoid": 300, "Tanh": 200},
                    "kernels": ["while_loop", "MatMul", "Split"],
                    "device": "/device:CPU:0",
                },
                "setup": {
                    "build_s": 0.5 * float(rng.random()),
                    "trace_s": 0.25,
                    "first_call_s": 1.0,
                    "compile_s": None,
                },
                "blocks": {
                    "calls": 4,
                    "round": list(range(count)),
                    "warmup": [level, level, level],
                    "seed": file,
                    "stopped": "precise",
                },
                "steady": True,
                "memory": {"peak_bytes": 1e6 * case.spec.hidden_size, "how": "a fresh process"},
                "roofs": {
                    "operations": 1e6 * case.spec.hidden_size,
                    "bytes": 1e5 * case.spec.hidden_size,
                    "of_matmul": 0.5,
                    "of_bandwidth": 0.25,
                    "of_chain": 0.75,
                },
                "energy": None,
                "validity": {"valid": True, "reasons": []},
            }
        },
        "options": {"disable_gc": False, "timer": "perf_counter", "min_rounds": 5},
        "stats": {
            "min": float(times.min()),
            "max": float(times.max()),
            "mean": float(times.mean()),
            "median": float(np.median(times)),
            "stddev": float(times.std()),
            "rounds": count,
            "iterations": 4,
            "data": times.tolist(),
        },
    }
