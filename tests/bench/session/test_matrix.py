from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.case.cases import Case
from bench.machine import devices
from bench.machine import processes as stages
from bench.machine.processes import Ended
from bench.session import matrix
from bench.session.matrix import Checked, Shard
from bench.worker import preparing
from bench.worker.preparing import Bench
from lstm_impl import LSTMSpec, Model, Workload, get_backend
from lstm_impl.backends.others.numpy_loop import NumPyModel
from lstm_impl.proof import GateResult

ONE, TWO, THREE = (
    Case("numpy", LSTMSpec(1, size), Workload(1, 2, "training")) for size in (2, 3, 4)
)
ALL = Shard("numpy-1", (ONE, TWO, THREE))


def check(shard: Shard, folder: Path, seconds: float = 60.0, case_seconds: float = 60.0) -> Any:
    return matrix.check([shard], seconds, folder, stages.run, case_seconds)


WORKER = """\
import json, os, sys, time
request, lines = json.load(open(sys.argv[1])), sys.argv[2]
def write(**data):
    with open(lines, "a") as file:
        file.write("\\n" + json.dumps(data) + "\\n")
def begin(number): write(begin=ids[number], at=time.time())
def end(number): write(case=ids[number], backend="numpy", outcome="passed")
"""


def worker(*scripts: str) -> matrix.Run:
    """Runs these scripts in place of the real worker, one a start, with its two arguments."""
    left = list(scripts)

    def run(command: Sequence[str], seconds: float, log: Path, *, stop: threading.Event) -> Ended:
        script = WORKER + f"ids = {[case.id for case in ALL.cases]!r}\n" + left.pop(0)
        return stages.run([sys.executable, "-c", script, *command[3:]], seconds, log, grace=1.0)

    return run


def outcomes(checked: Sequence[Checked]) -> list[str]:
    return [each.outcome for each in checked]


# -- which cases, and who does them


def test_every_backend_has_its_first_case_before_any_has_a_second() -> None:
    found = matrix.cases("cpu", ["while_loop", "static_unroll", "keras"])
    assert [case.backend for case in found[:3]] == ["while_loop", "static_unroll", "keras"]
    assert len({case.group for case in found[:3]}) == 1
    assert len({case.id for case in found}) == len(found)


def test_the_matrix_uses_the_whole_of_an_lstm() -> None:
    found = matrix.cases("gpu:0", ["cudnn"])
    specs, workloads = [case.spec for case in found], [case.workload for case in found]
    assert {case.device for case in found} == {"gpu:0"}
    assert {spec.dtype for spec in specs} >= {"float32", "tf32", "float16", "bfloat16", "float64"}
    assert any(spec.num_layers > 1 and spec.bidirectional for spec in specs)
    assert any(spec.hidden_size % 8 and spec.input_size != spec.hidden_size for spec in specs)
    assert {work.mode for work in workloads} == {"inference", "training"}
    assert any(work.min_length for work in workloads)
    assert any(work.window for work in workloads)
    assert any(work.dropout for work in workloads)
    assert any(work.batch_major for work in workloads)
    assert any(work.batch == work.timesteps == 1 for work in workloads)


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_each_case_is_dealt_once_and_no_process_meets_two_frameworks(processes: int) -> None:
    wanted = matrix.cases("cpu", ["numpy", "while_loop", "static_unroll", "keras", "scan"])
    dealt = matrix.shards(wanted, processes)
    assert sorted(case.id for shard in dealt for case in shard.cases) == sorted(
        case.id for case in wanted
    )
    for shard in dealt:
        assert len({get_backend(case.backend).framework for case in shard.cases}) == 1
        assert len({case.backend for case in shard.cases}) <= -(-5 // processes)
    assert len({shard.name for shard in dealt}) == len(dealt)


# -- what becomes of a case


def test_real_cases_pass_and_their_errors_and_evidence_are_kept(tmp_path: Path) -> None:
    checked = check(ALL, tmp_path)
    assert outcomes(checked) == ["passed"] * 3
    assert [each.case for each in checked] == [case.id for case in ALL.cases]
    assert set(checked[0].errors) >= {"y", "h", "c", "dx"}
    assert checked[0].evidence["kernels"] == ["numpy.matmul"]
    assert not list(tmp_path.glob("*.request.json"))


def test_what_the_gate_refuses_is_a_failure() -> None:
    def gate(model: Model, workload: Workload, seed: int) -> GateResult:
        return GateResult(False, "the judge", {"y": 0.5}, {"y": 1e-6})

    checked = matrix.check_case(ONE, Bench(gate=gate))
    assert checked.outcome == "failed"
    assert "y differs from the the judge by 5.00e-01" in checked.reason


def test_what_a_backend_refuses_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "get_backend", lambda name: Refusing(), raising=True)
    checked = matrix.check_case(ONE, Bench())
    assert (checked.outcome, checked.reason) == ("refused", "it has its reasons")


class Refusing(type(get_backend("numpy"))):  # type: ignore[misc]
    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        return "it has its reasons"


@pytest.mark.parametrize(
    ("evidence", "outcome"),
    [({"kernels": {}}, "failed"), ({}, "failed"), ({"kernels": {"sgemm": 3}}, "passed")],
)
def test_a_case_on_a_gpu_without_a_kernel_there_is_a_failure(
    evidence: Mapping[str, Any], outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "explain_missing", lambda device: "")
    monkeypatch.setattr(preparing, "get_backend", lambda name: OnAnyDevice())
    monkeypatch.setattr(NumPyModel, "evidence", lambda self, workload: dict(evidence))
    checked = matrix.check_case(ONE.on("gpu:0"), Bench())
    assert checked.outcome == outcome
    assert ("no kernel was seen on gpu:0" in checked.reason) == (outcome == "failed")


class OnAnyDevice(type(get_backend("numpy"))):  # type: ignore[misc]
    def availability(self, device: str = "cpu") -> Any:
        return get_backend("numpy").availability("cpu")


# -- what becomes of a process


def test_a_crash_costs_one_case_and_the_rest_goes_on_in_a_new_process(tmp_path: Path) -> None:
    run = worker("begin(0); end(0); begin(1); os.abort()", "begin(2); end(2)")
    checked = matrix.check([ALL], 60.0, tmp_path, run)
    assert outcomes(checked) == ["passed", "failed", "passed"]
    assert "its process was ended by SIGABRT" in checked[1].reason


def test_a_case_that_hangs_is_ended_at_its_limit(tmp_path: Path) -> None:
    hung = "write(begin=ids[0], at=time.time() - 3600); os._exit(1)"
    run = worker(hung, "begin(1); end(1); begin(2); end(2)")
    checked = matrix.check([ALL], 60.0, tmp_path, run, case_seconds=3600.0)
    assert outcomes(checked) == ["failed", "passed", "passed"]
    assert "not done within 3600 s" in checked[0].reason


def test_the_real_process_ends_itself_in_a_case_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Python starts it, so that what hangs there can be put in from here.
    (tmp_path / "sitecustomize.py").write_text(
        "import time\n"
        "from lstm_impl.backends.others import numpy_loop\n"
        "numpy_loop.NumPyLoop.refusal = lambda *rest: time.sleep(60)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path.cwd()}")
    checked = check(Shard("numpy-1", (ONE,)), tmp_path, case_seconds=1.0)
    assert outcomes(checked) == ["failed"]
    assert "not done within 1 s" in checked[0].reason
    # Where it hung is in the log, and that it was no interruption from outside.
    log = (tmp_path / "numpy-1.log").read_text()
    assert "Timeout (0:00:01)" in log
    assert "sitecustomize.py" in log


def test_a_process_that_cannot_start_fails_all_its_cases_with_what_it_said(tmp_path: Path) -> None:
    run = worker("sys.exit('no such driver')")
    checked = matrix.check([ALL], 60.0, tmp_path, run)
    assert outcomes(checked) == ["failed"] * 3
    assert (
        checked[0].reason
        == "its process could not start: it ended with exit code 1: no such driver"
    )


def test_what_time_does_not_suffice_for_is_not_reached(tmp_path: Path) -> None:
    checked = check(ALL, tmp_path, seconds=0.0)
    assert outcomes(checked) == ["not_reached"] * 3


def test_a_worker_looks_at_the_time_between_cases(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.touch()
    matrix.work(ALL.cases, lines, 0.0, 60.0, Bench())
    assert matrix.read(lines) == ({}, None)


def test_a_case_that_is_under_way_when_the_time_is_up_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], time=lambda: now[0])
    monkeypatch.setattr(matrix, "time", clock)

    def run(command: Sequence[str], seconds: float, log: Path, *, stop: threading.Event) -> Ended:
        lines = Path(command[-1])
        matrix._append(lines, {"begin": ONE.id, "at": 1.0})
        matrix._append(lines, {"case": ONE.id, "backend": "numpy", "outcome": "passed"})
        matrix._append(lines, {"begin": TWO.id, "at": 2.0})
        now[0] += seconds
        return Ended(-9, False, seconds)

    checked = matrix.check([ALL], 20.0, tmp_path, run)
    assert outcomes(checked) == ["passed", "not_reached", "not_reached"]
    assert checked[1].reason == "the time was up while it was checked"


def test_a_line_that_was_cut_is_passed_over_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text('{"begin": "' + ONE.id)
    matrix._append(lines, {"begin": TWO.id, "at": 1.0})
    assert matrix.read(lines) == ({}, (TWO.id, 1.0))


def test_an_interruption_ends_the_processes_at_once(tmp_path: Path) -> None:
    begun = threading.Event()
    stopped: list[bool] = []

    def run(command: Sequence[str], seconds: float, log: Path, *, stop: threading.Event) -> Ended:
        if log.name == "a.log":
            begun.wait(timeout=300)
            raise KeyboardInterrupt
        begun.set()
        stopped.append(stop.wait(timeout=300))
        return Ended(-2, False, 0.0)

    with pytest.raises(KeyboardInterrupt):
        matrix.check([Shard("a", (ONE,)), Shard("b", (TWO,))], 60.0, tmp_path, run)
    assert stopped == [True]


def test_results_are_plain_data(tmp_path: Path) -> None:
    check(Shard("numpy-1", (ONE,)), tmp_path)
    kinds = [
        sorted(json.loads(line))
        for line in (tmp_path / "numpy-1.jsonl").read_text().split("\n")
        if line
    ]
    assert kinds == [
        ["at", "begin"],
        ["backend", "case", "errors", "evidence", "outcome", "reason"],
    ]
