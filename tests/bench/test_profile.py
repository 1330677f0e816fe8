"""Test ``python -m bench.profile``: what binds a case, its operators, and its timeline."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench import profile
from bench.case.cases import Case
from bench.cli.command_line import BAD_INPUT
from bench.profile import (
    FEWEST_CALLS,
    MOST,
    SECONDS,
    CaseProfile,
    compose_trace,
    profile_case,
    write_profile,
)
from bench.render.messages import reason_line, reason_texts
from bench.stats.bound import Bound
from bench.worker.group import Unmeasured
from lstm_impl import Event, LSTMSpec, Profile, UnsupportedError, Workload
from tests.bench.made_reasons import recorded
from tests.bench.worker import modelled_backends
from tests.bench.worker.modelled_backends import LARGE, MACHINE, SMALL, WIDE, ModelledModel, bench


@pytest.fixture(autouse=True)
def _modelled(monkeypatch: pytest.MonkeyPatch) -> None:
    modelled_backends.register(monkeypatch)


def seen(backend: str, shape: tuple[LSTMSpec, Workload]) -> CaseProfile:
    found = profile_case(Case(backend, *shape), bench=bench())
    assert isinstance(found, CaseProfile), found
    return found


def unseen(case: Case) -> Unmeasured:
    found = profile_case(case, bench=bench())
    assert isinstance(found, Unmeasured), found
    return found


@pytest.mark.parametrize(
    ("backend", "shape", "kind"),
    [
        ("modelled", SMALL, "host"),
        ("modelled", LARGE, "chain"),
        ("modelled", WIDE, "products"),
        ("sleeps", LARGE, "waiting"),
        ("sleeps", SMALL, "waiting"),
        ("copies", LARGE, "copies"),
    ],
)
def test_profile_case_bound_agrees_with_the_roofs(
    backend: str, shape: tuple[LSTMSpec, Workload], kind: str
) -> None:
    assert seen(backend, shape).bound.kind == kind


def test_profile_case_step_time_is_the_median_without_profiler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = {3: 10.0}
    calls = 0
    watched = ModelledModel._infer

    def infer(model: ModelledModel, call: object) -> object:
        nonlocal calls
        calls += 1
        MACHINE.pause(slow.get(calls, 1.0))
        return watched(model, call)  # type: ignore[arg-type]

    monkeypatch.setattr(modelled_backends.ModelledModel, "_infer", infer)
    found = seen("modelled", SMALL)
    assert found.seconds == pytest.approx(1.0, rel=0.1)
    assert found.seconds * FEWEST_CALLS > SECONDS


def test_profile_case_that_cannot_run_gives_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        reason_line(unseen(Case("numpy", *SMALL)).reason)
        == "numpy: no profiler of numpy is known here"
    )
    assert (
        "no gpu:77"
        in reason_texts(unseen(replace(Case("modelled", *SMALL), device="gpu:77")).reason)[0]
    )

    def nothing(model: ModelledModel, workload: Workload) -> Profile:
        return Profile("the test's profiler", ())

    monkeypatch.setattr(ModelledModel, "_profiled", nothing)
    found = unseen(Case("modelled", *SMALL))
    assert (found.outcome, reason_line(found.reason)) == (
        "refused",
        "the test's profiler saw no operator of modelled",
    )


@pytest.mark.parametrize(
    ("error", "outcome"), [(UnsupportedError("no"), "refused"), (ValueError("no"), "failed")]
)
def test_profile_case_with_an_error_of_the_profiler_reports_it(
    error: Exception, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(model: ModelledModel, workload: Workload) -> Profile:
        raise error

    monkeypatch.setattr(ModelledModel, "_profiled", fail)
    assert unseen(Case("modelled", *SMALL)).outcome == outcome


# -- what is shown

CASE = Case.from_id("while_loop/b2-t3-i4-h5/float32/inference/cpu")
EVENTS = (
    Event("While", 0.0, 1.0, "main"),
    Event("MatMul", 0.1, 0.5, "main"),
    Event("Tanh", 0.7, 0.1, "main"),
    Event("<b>=1+1", 0.8, 0.1, "main"),
)
BOUND = Bound("copies", 0.6, "copies", profiled=True)


def found(*events: Event) -> CaseProfile:
    return CaseProfile(CASE, Profile("a profiler", events), 0.9, BOUND, {})


def test_write_prints_bound_operators_and_timeline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "timeline.json"
    write_profile(found(*EVENTS), file, "terminal")
    out = capsys.readouterr().out
    assert "900 ms per step without a profiler" in out
    assert "bound by copies: the profile shows 60% of the step" in out
    assert out.index("MatMul") < out.index("While") < out.index("Tanh")
    assert "and 0 more" not in out
    data = json.loads(file.read_text())
    assert data["otherData"]["case"] == CASE.id
    assert len([each for each in data["traceEvents"] if each["ph"] == "X"]) == len(EVENTS)


def test_write_csv_has_the_own_time_of_every_operator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_profile(found(*EVENTS), tmp_path / "timeline.json", "csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["operator"]: row["kind"] for row in rows} == {
        "MatMul": "products",
        "While": "overhead",
        "Tanh": "gates",
        "<b>=1+1": "gates",
    }
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1.0)
    assert float(rows[0]["seconds"]) == pytest.approx(0.5)


def test_write_with_many_operators_shortens_the_table_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = [Event(f"op{n}", float(n), 0.1 + 0.01 * n, "main") for n in range(MOST + 3)]
    write_profile(found(*many), tmp_path / "timeline.json", "markdown")
    out = capsys.readouterr().out
    assert "and 3 more operators; --format csv lists all" in out
    assert f"`op{MOST + 2}`" in out
    assert "`op2`" not in out
    write_profile(found(*many), tmp_path / "timeline.json", "csv")
    assert len(capsys.readouterr().out.splitlines()) == 1 + MOST + 3


def test_trace_has_a_complete_event_for_each_operator() -> None:
    events = (
        Event("MatMul", 100.5, 0.25, "thread 7", "while/body/MatMul:MatMul"),
        Event("While", 100.0, 1.0, "thread 7"),
        Event("</script>", 100.25, 0.5, "stream 1"),
    )
    data = json.loads(compose_trace(Profile("a profiler", events), {"case": "x"}))
    names = {e["tid"]: e["args"]["name"] for e in data["traceEvents"] if e["name"] == "thread_name"}
    found = [e for e in data["traceEvents"] if e["ph"] == "X"]
    assert [(e["name"], e["ts"], e["dur"], names[e["tid"]]) for e in found] == [
        ("While", 0.0, 1e6, "thread 7"),
        ("</script>", 250000.0, 500000.0, "stream 1"),
        ("MatMul", 500000.0, 250000.0, "thread 7"),
    ]
    assert found[2]["args"]["detail"] == "while/body/MatMul:MatMul"
    assert (found[2]["cat"], data["otherData"]) == ("products", {"case": "x"})
    nothing = json.loads(compose_trace(Profile("a profiler", ()), {}))
    assert [e["ph"] for e in nothing["traceEvents"]] == ["M"]


# -- the command

CASE_ID = CASE.id


def test_profile_command_writes_table_and_timeline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile, "profile_case", lambda case: found(*EVENTS))
    file = tmp_path / "timeline.json"
    assert profile.main([CASE_ID, "--output", str(file), "--format", "csv"]) == profile.PROFILED
    assert capsys.readouterr().out.startswith("operator,kind,count,seconds,share")
    assert json.loads(file.read_text())["otherData"]["case"] == CASE_ID
    assert profile.main([CASE_ID, "--output", str(tmp_path)]) == BAD_INPUT
    assert "error: " in capsys.readouterr().err


def test_profile_command_without_a_profiler_writes_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "numpy: no profiler of numpy is known here"
    monkeypatch.setattr(
        profile, "profile_case", lambda case: Unmeasured("refused", recorded("", reason, ""))
    )
    file = tmp_path / "timeline.json"
    assert profile.main([CASE_ID, "--output", str(file)]) == profile.NOT_PROFILED
    assert "no profiler of numpy is known here" in capsys.readouterr().err
    assert not file.exists()
    with pytest.raises(SystemExit) as ended:
        profile.main(["keras", "--output", "x.json"])
    assert ended.value.code == BAD_INPUT
    assert "write backend/b32" in capsys.readouterr().err
