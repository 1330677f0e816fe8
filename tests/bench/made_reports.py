"""Make reports of a few backends on small shapes, and of hostile names."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from bench.case.cases import Case
from bench.machine.reasons import Reason
from bench.records.files import collect
from bench.records.schema import Measurement, Outcome, Results, Run
from bench.render.messages import findings
from bench.stats.trust import Problem
from bench.verdicts.ranking import RankedRow
from bench.verdicts.sections import Report, build
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload
from tests.bench import made_results
from tests.bench.made_reasons import recorded
from tests.bench.made_results import gather
from tests.bench.made_texts import PAYLOADS
from tests.places import GOLDEN

REPLICATES = [GOLDEN / "replicate-1.json", GOLDEN / "replicate-2.json"]
SPEC = LSTMSpec(3, 4)
INFERENCE = Workload(2, 10)
TRAINING = Workload(2, 10, "training")
BUSY = recorded("busy", "the machine was busy", "close other programs")
PROBLEM = Problem("slow", recorded("slow", "the clock was slow", "wait until it is cool"), 1, 1)


def a_run(number: int = 1, session: str = "s", host: str = "host", **changes: object) -> Run:
    started = datetime(2025, 1, 31, 12, tzinfo=UTC) + timedelta(minutes=number)
    environment = {"before": {"cpu": {"name": "A CPU", "cores": 2}, "libraries": {"keras": "3"}}}
    usual: dict[str, object] = {
        "id": f"{session}-{host}-{number}",
        "session": session,
        "suite": "quick",
        "seed": 1,
        "started": started,
        "finished": started,
        "machine_id": f"id of {host}",
        "environment": environment,
    }
    return made_results.a_run(number, host, **(usual | changes))  # type: ignore[arg-type]


def measured(
    backend: str,
    seconds: float,
    run: Run | None = None,
    *,
    work: Workload = INFERENCE,
    spec: LSTMSpec = SPEC,
    device: str = "cpu",
    reasons: Sequence[Reason] = (),
    samples: int = 11,
    **changes: object,
) -> Measurement:
    usual: dict[str, object] = {
        "samples": seconds * np.linspace(0.99, 1.01, samples),
        "rounds": np.arange(samples),
        "warmup": (seconds,),
        "calls": 4,
        "setup": {"build_s": 0.5, "trace_s": 0.25, "first_call_s": 1.0, "compile_s": 0.75},
        "gate": {"passed": True},
    }
    case = Case(backend, spec, work, device)
    return made_results.measured(case, seconds, run or a_run(), reasons, **(usual | changes))


def without_time(
    backend: str,
    outcome: str = "not_measured",
    reason: str = "no GPU is here",
    run: Run | None = None,
    *,
    work: Workload = INFERENCE,
    spec: LSTMSpec = SPEC,
    device: str = "gpu:0",
    advice: str = "",
) -> Outcome:
    case = Case(backend, spec, work, device)
    return Outcome(case, run or a_run(), outcome, recorded("", reason, advice), Path("a.json"))


def make_results(*items: Measurement | Outcome, notes: Sequence[str] = ()) -> Results:
    return replace(gather(*items), notes=tuple(notes))


def make_report(*items: Measurement | Outcome) -> Report:
    return build(gather(*items))


def replicated(number: int, *cases: tuple[str, float], **settings: Workload) -> list[Measurement]:
    """Return these backends measured in ``number`` processes that differ a little."""
    return [
        measured(backend, seconds * (1 + 0.001 * index), a_run(index), **settings)  # type: ignore[arg-type]
        for index in range(number)
        for backend, seconds in cases
    ]


def the_row(report: Report, backend: str) -> RankedRow:
    (found,) = [row for row in report.sections[0].rows if row.case.backend == backend]
    return found


def endless() -> Report:
    """Return the golden results with an infinite upper bound of the first interval."""
    (section,) = build(collect(REPLICATES)).sections
    first, *others = section.rows
    assert first.result.interval is not None
    unbounded = replace(first.result.interval, high=float("inf"))
    first = replace(first, result=replace(first.result, interval=unbounded))
    return Report((replace(section, rows=(first, *others)),))


def sentences(report: Report) -> list[str]:
    return [finding.text for section in report.sections for finding in findings(section)]


SNIPPETS = (*PAYLOADS, "漢字" * 40, "x" * 1_000_000, " " * 1_000_000 + "x", " ")

HOSTILE = st.one_of(
    st.sampled_from(SNIPPETS),
    st.text(min_size=1, max_size=30),
    st.builds(lambda a, b: a + b, st.sampled_from(SNIPPETS), st.text(max_size=10)),
)


def hostile_report(text: str) -> Report:
    run = a_run(host=text, suite=text, session=text, machine_id=text)
    run = replace(
        run,
        environment={
            "before": {
                "cpu": {"name": text},
                "gpus": [{"name": text, "driver": text}],
                "system": text,
                "python": text,
                "libraries": {"keras": text},
            }
        },
    )
    reason = recorded(text, text, text)
    return build(
        make_results(
            measured(text, 0.01, run, reasons=[reason]),
            measured(text + "2", 0.02, run),
            measured(text, 0.03, run, device=text, work=replace(TRAINING, window=5)),
            measured(text + "2", 0.03, run, device=text, work=replace(TRAINING, window=5)),
            without_time(text + "3", "failed", text, run, advice=text, device="cpu"),
            without_time(text + "3", "refused", text, run, advice=text, device=text),
            notes=[text],
        )
    )
