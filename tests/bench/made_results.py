"""Make results without measuring, as objects and as files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from bench.case.cases import Case
from bench.cli.output import WIDTH, render_text
from bench.machine.reasons import Reason
from bench.machine.writing import write
from bench.records.schema import Measurement, Outcome, ResultFile, Results, Run
from bench.render import report as shown
from bench.render.messages import reason_texts
from bench.verdicts.sections import Report
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_reasons import recorded

ENVIRONMENT: dict[str, object] = {
    "cpu": {"name": "Test CPU", "cores": 2, "clock_hz": 2.1e9, "clock_max_hz": 3e9},
    "memory": {"total_bytes": 2**34, "available_bytes": 2**33},
    "gpus": [{"name": "Test GPU", "driver": "550.54", "temperature_c": 40}],
    "unread": {"governor": "there is no such file"},
    "libraries": {"tensorflow": "2.21.0", "onnxruntime": "1.20"},
    "threads": {"intra": 2},
    "load": [0.1, 0.2],
}
BUSY = recorded("busy", "the cores were busy", "close what runs")


def a_run(number: int, host: str = "laptop", suite: str = "mine", **changes: object) -> Run:
    """Return a process of a session; changes: other values of its fields."""
    moment = datetime(2025, 1, 1, tzinfo=UTC)
    made = Run(
        id=f"r{number}",
        session="s",
        suite=suite,
        seed=number,
        started=moment,
        finished=moment,
        complete=True,
        host=host,
        machine_id="m",
        options={},
        environment={"before": {}, "after": {}},
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def run(name: str, *, host: str = "laptop", environment: Mapping[str, object] = ENVIRONMENT) -> Run:
    """Return a process of the suite ``quick`` on a machine with known facts."""
    seen = {"before": environment, "after": {}}
    return a_run(0, host, "quick", id=name, machine_id=f"id-of-{host}", environment=seen)


LAPTOP, SERVER = (run("a", host=host).machine for host in ("laptop", "server"))
"""The names of the machines of ``run``."""


def measured(
    of: Case, seconds: float, during: Run, reasons: Sequence[Reason] = (), **changes: object
) -> Measurement:
    samples = seconds * np.exp(0.002 * np.linspace(-1, 1, 11))
    made = Measurement(
        case=of,
        run=during,
        samples=samples,
        rounds=np.arange(11),
        warmup=(),
        calls=1,
        setup={},
        gate={},
        evidence={},
        memory=None,
        roofs=None,
        energy=None,
        steady=True,
        valid=not reasons,
        reasons=tuple(reasons),
        path=Path("a.json"),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def gather(*items: Measurement | Outcome) -> Results:
    runs = {item.run.id: item.run for item in items}
    files = [
        ResultFile(
            Path(f"{name}.json"),
            found,
            tuple(i for i in items if isinstance(i, Measurement) and i.run.id == name),
            tuple(i for i in items if isinstance(i, Outcome) and i.run.id == name),
            (),
        )
        for name, found in runs.items()
    ]
    return Results(tuple(files), (), ())


def unmeasured(of: Case, during: Run, outcome: str, reason: str, advice: str = "") -> Outcome:
    return Outcome(of, during, outcome, recorded("", reason, advice), Path("a.json"))


def replicates(
    name: str, times: Mapping[Case, float], *, count: int = 6, jitter: float = 0.01
) -> Results:
    """Return ``count`` runs whose medians spread evenly around the given times."""
    factors = np.exp(jitter * np.linspace(-1, 1, count))
    return gather(
        *(
            measured(of, seconds * factor, run(f"{name}{index}"))
            for index, factor in enumerate(factors)
            for of, seconds in times.items()
        )
    )


def disturbed(results: Results, number: int) -> Results:
    """Return the same results with ``number`` disturbed processes."""
    items = list(results.measurements)
    items[:number] = [replace(item, valid=False, reasons=(BUSY,)) for item in items[:number]]
    return gather(*items)


# As files


def document(during: Run, items: Sequence[Measurement | Outcome]) -> dict[str, object]:
    """Return a result file of schema 1 as the plugin writes it."""
    return {
        "machine_info": {"node": during.host},
        "commit_info": {},
        "benchmarks": [_entry(item) for item in items if isinstance(item, Measurement)],
        "datetime": during.started.isoformat(),
        "version": "5.3.1",
        "lstm": {
            "schema": 1,
            "run": during.to_dict(),
            "outcomes": [
                {
                    "case": item.case.to_dict(),
                    "case_id": item.case.id,
                    "outcome": item.outcome,
                    "reason": _texts(item.reason)["text"],
                    "advice": _texts(item.reason)["advice"],
                }
                for item in items
                if isinstance(item, Outcome)
            ],
        },
    }


def _texts(reason: Reason) -> dict[str, str]:
    """Return the sentences of a reason, which files of schema 1 hold."""
    text, advice = reason_texts(reason)
    return {"text": text, "advice": advice}


def _entry(item: Measurement) -> dict[str, object]:
    samples = item.samples
    return {
        "group": item.case.group,
        "name": item.case.id,
        "fullname": item.case.id,
        "params": {"lstm_case": item.case.id},
        "param": item.case.id,
        "options": {},
        "stats": {
            **{name: float(getattr(np, name)(samples)) for name in ("min", "max", "mean")},
            "median": float(np.median(samples)),
            "stddev": float(samples.std()),
            "rounds": samples.size,
            "iterations": item.calls,
            "data": samples.tolist(),
        },
        "extra_info": {
            "lstm": {
                "schema": 1,
                "case": item.case.to_dict(),
                "case_id": item.case.id,
                "gate": {"passed": True, "judge": "", "errors": {}, "bounds": {}, **item.gate},
                "evidence": item.evidence,
                "setup": item.setup,
                "blocks": {
                    "calls": item.calls,
                    "round": item.rounds.tolist(),
                    "warmup": list(item.warmup),
                    "seed": 0,
                    "stopped": "time",
                },
                "steady": item.steady,
                "memory": item.memory,
                "roofs": item.roofs,
                "energy": item.energy,
                "validity": {
                    "valid": item.valid,
                    "reasons": [{"code": each.code, **_texts(each)} for each in item.reasons],
                },
            }
        },
    }


def save(folder: Path, found: Results) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for file in found.files:
        items: list[Measurement | Outcome] = [*file.measurements, *file.outcomes]
        write(folder / f"{file.run.id}.json", document(file.run, items))
    return folder


def as_text(report: Report, width: int = WIDTH, draw: shown.Draw = shown.full) -> str:
    return render_text(lambda console: shown.show(report, console, draw), width)


BACKENDS = ("keras", "while_loop", "while_loop+xla", "while_loop+hoisted+xla", "static_unroll")
SHAPES = ("distinct", "replicates")
"""Every case in one file of its own, or the same cases in every file."""


def make_store(
    folder: Path, shape: str = "replicates", *, files: int = 1000, cases: int = 100
) -> None:
    """Write ``files`` result files of ``cases`` measurements each.

    shape: one of ``SHAPES``. With ``distinct`` ten files make a session, as in a folder of
    many weeks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    errors = dict.fromkeys(("y", "h", "c", "x", "kernel", "recurrent_kernel", "bias"), 1e-7)
    seen = {**ENVIRONMENT, "variables": {f"TF_VARIABLE_{number}": "1" for number in range(20)}}
    for number in range(files):
        session = number // (files if shape == "replicates" else 10)
        first = 0 if shape == "replicates" else number * cases
        moment = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=session, seconds=number)
        during = a_run(
            number,
            id=f"{number:032x}",
            session=f"session-{session:04}",
            started=moment,
            finished=moment,
            environment={"before": seen, "after": seen},
        )
        items = []
        for group, place in (divmod(each, len(BACKENDS)) for each in range(first, first + cases)):
            size, mode = 16 + group // 7, ("inference", "training")[group % 2]
            work = Workload(1 + group % 5, 10 + group % 11, mode)
            item = measured(
                Case(BACKENDS[place], LSTMSpec(8 + group % 7, size), work),
                1e-3 * (1 + place) * size / 16 * float(np.exp(0.03 * rng.standard_normal())),
                during,
                warmup=(1e-3,) * 3,
                calls=4,
                gate={"errors": errors, "bounds": errors},
                evidence={"ops": {"MatMul": 100, "Tanh": 200}, "kernels": ["MatMul", "Split"]},
                setup={"build_s": 0.5, "trace_s": 0.25, "first_call_s": 1.0, "compile_s": None},
                memory={"peak_bytes": 1e6 * size, "how": "a fresh process"},
                roofs={"operations": 1e6 * size, "bytes": 1e5 * size, "of_matmul": 0.5},
            )
            items.append(item)
        (folder / f"made-up-{number:05}.json").write_text(json.dumps(document(during, items)))
