from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench import gpu_proof, results
from bench.machine import devices, environment, processes
from bench.machine.lock import MachineLock
from bench.machine.processes import Ended
from bench.machine.survey import Entry, Survey
from bench.results.schema import Outcome, Run
from bench.running import matrix, proven
from bench.running import proof as proof_module
from bench.running.diagnosis import Diagnosis
from bench.running.matrix import Checked
from bench.running.proof import (
    RESERVE,
    TESTS,
    Workplace,
    _judge_matrix,
    _judge_measured,
    _measure,
    _tests,
    gpu_tests,
    measured_backends,
    prove,
)
from bench.running.proven import Budget, Proof
from bench.suites.cases import Case
from lstm_impl import Availability, LSTMSpec, Workload
from tests import quick_pytest
from tests.outside import outside

YES, NO = Availability(True), Availability(False, "CUDA libraries are not found", "pip install x")
HERE = environment.read()
CASE = Case("cudnn", LSTMSpec(1, 4), Workload(5, 15), "gpu:0")
IN_TIME, LATE = Ended(0, True, 1.0), Ended(-2, False, 99.0)


def survey_of(available: Mapping[str, Availability], device: str = "gpu:0") -> Survey:
    entries = tuple(
        Entry(name, "numpy" if name == "numpy" else "imaginary", "", {device: each})
        for name, each in available.items()
    )
    return Survey((device,), entries, {"imaginary": "1.0"})


def proof_on(
    available: Mapping[str, Availability] | None = None, device: str = "gpu:0", suite: str = "quick"
) -> Proof:
    found = survey_of({"cudnn": YES} if available is None else available, device)
    started = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    return Proof(device, suite, started, Diagnosis(found, HERE, ()))


def outcome(kind: str, case: Case = CASE) -> Outcome:
    run = Run(
        *("id", "session", "quick", 0, datetime.now(UTC), None, False, "host", "machine"), {}, {}
    )
    return Outcome(case, run, kind, "for a reason", "", Path("a.json"))


def words(proof: Proof) -> str:
    return "\n".join(proven.conclusion(proof))


def members(archive: Path) -> dict[str, str]:
    """The files of an archive, by their path in its one folder."""
    with tarfile.open(archive) as tar:
        found = {}
        for member in tar.getmembers():
            if member.isfile():
                file = tar.extractfile(member)
                assert file is not None
                top, _, rest = member.name.partition("/")
                assert top == archive.name.removesuffix(".tar.gz")
                found[rest] = file.read().decode()
        return found


@pytest.fixture
def no_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof_module, "TESTS", tmp_path / "no-such-folder")


def test_beside_another_run_it_says_who_measures_and_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(devices, "explain_missing", lambda device: "")
    monkeypatch.setattr(proof_module, "prove", lambda *_: pytest.fail("it began all the same"))
    with MachineLock() as lock:
        lock.acquire("another")
        assert gpu_proof.main(["--output", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: another run measures on this machine: process ")
    assert "another; run this again when it has ended" in told


# -- the whole of it, on the CPU with the reference


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str, Path]:
    """Everything run once, as a user would run it where there is a GPU: code, output, folder."""
    output = tmp_path_factory.mktemp("proof")
    code = (
        "import sys; from pathlib import Path; from bench import gpu_proof\n"
        "from bench.running import proof\n"
        "assert proof.TESTS.is_dir()\n"
        "proof.TESTS = Path('no-such-folder')\n"
        "sys.exit(gpu_proof.main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-c", code, "--device", "cpu", "--backends", "numpy"),
            *("--suite", "smoke", "--seconds", "600", "--output", str(output)),
        ],
        env=outside(LSTM_LOCK=str(tmp_path_factory.mktemp("lock") / "lock"), **quick_pytest.USED),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr, output


def test_where_all_is_right_it_says_so_and_exits_with_0(whole: tuple[int, str, Path]) -> None:
    code, said, _ = whole
    assert code == 0, said
    assert "PROVEN: every backend that is available here is right" in said
    assert "4 of 4 cases measured" in said
    assert "13 passed" in said


def test_on_the_cpu_it_says_that_it_proves_nothing_about_a_gpu(
    whole: tuple[int, str, Path],
) -> None:
    assert "on the CPU: this proves nothing about a GPU" in whole[1]


def test_one_archive_holds_results_logs_and_the_machine(whole: tuple[int, str, Path]) -> None:
    (archive,) = whole[2].glob("gpu-proof-*.tar.gz")
    assert f"archive: {archive}" in whole[1]
    files = members(archive)
    assert "tests.log" not in files  # there were none to run
    assert set(files) >= {
        *("summary.json", "summary.txt", "doctor.json", "doctor.txt", "packages.txt"),
        *("nvidia-smi.txt", "matrix/numpy-1.jsonl", "matrix/numpy-1.log", "measure.log"),
        "report.md",
    }
    summary = json.loads(files["summary.json"])
    assert (summary["exit_code"], summary["device"]) == (0, "cpu")
    assert summary["matrix"] == {"passed": 13}
    assert summary["measured"] == summary["wanted"] == 4
    assert summary["seconds"] < summary["budget_seconds"] == 600.0
    assert "4 passed" in files["measure.log"]
    assert "pytest==" in files["packages.txt"]
    assert json.loads(files["doctor.json"])["backends"][0]["name"] == "numpy"
    assert "numpy" in files["report.md"]


def test_the_result_file_is_in_the_archive_and_where_the_report_looks(
    whole: tuple[int, str, Path],
) -> None:
    (result,) = whole[2].glob("smoke-*.json")
    assert len(results.read(result).measurements) == 4
    (archive,) = whole[2].glob("gpu-proof-*.tar.gz")
    assert members(archive)[f"measured/{result.name}"] == result.read_text()


def test_nothing_else_is_left_behind(whole: tuple[int, str, Path]) -> None:
    assert len(list(whole[2].iterdir())) == 2


# -- no GPU, and bad input


def test_without_a_gpu_it_says_so_in_one_line_and_exits_with_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(devices, "gpu_facts", lambda: devices.GpuFacts())
    assert gpu_proof.main(["--output", str(tmp_path / "results")]) == 3
    said = capsys.readouterr()
    assert said.out.startswith("no gpu:0: this machine has no NVIDIA GPU")
    assert (said.out.count("\n"), said.err) == (1, "")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--device", "tpu:0"], "'tpu:0' is no device"),
        (["--backends", "cudn"], "did you mean cudnn"),
        (["--suite", "quik"], "did you mean quick"),
        (["--device", "cpu", "--output", "{file}/results"], "Not a directory"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    filled = [argument.format(file=tmp_path / "file") for argument in arguments]
    assert gpu_proof.main(filled) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("seconds", ["nan", "-1", "5", "soon", "inf"])
def test_a_time_that_is_none_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        gpu_proof.main([f"--seconds={seconds}"])
    assert stopped.value.code == 2
    assert "no number of seconds of at least 10" in capsys.readouterr().err


# -- the verdict


def test_a_gpu_that_no_backend_can_use_is_told_with_what_to_install() -> None:
    proof = proof_on({"numpy": NO, "cudnn": NO, "keras": NO})
    assert proof.code == 4
    assert "cudnn and keras: CUDA libraries are not found: pip install x" in words(proof)


@pytest.mark.parametrize("kind", [matrix.FAILED, matrix.NOT_MEASURED])
def test_a_case_of_the_matrix_that_fails_is_a_failure(kind: str) -> None:
    proof = proof_on()
    proof.checked = [
        Checked("a", "cudnn", matrix.PASSED),
        Checked("b", "cudnn", kind, "no cuDNN kernel ran on gpu:0; the profiler saw sgemm"),
    ]
    _judge_matrix(proof)
    assert proof.code == 1
    assert "failed: matrix: b: no cuDNN kernel ran on gpu:0" in words(proof)


def test_a_case_that_its_backend_refuses_is_no_failure() -> None:
    proof = proof_on()
    proof.checked = [Checked("a", "cudnn", "passed"), Checked("b", "cudnn", "refused", "no bf16")]
    _judge_matrix(proof)
    assert proof.code == 0


def test_a_backend_that_computes_nothing_of_the_matrix_is_not_proven() -> None:
    proof = proof_on({"cudnn": YES, "keras": YES})
    proof.checked = [Checked("a", "cudnn", "passed"), Checked("b", "keras", "refused", "no")]
    _judge_matrix(proof)
    assert proof.failures == ["matrix: keras computed no case of it"]


def test_cases_that_were_not_reached_make_it_incomplete_not_failed() -> None:
    proof = proof_on()
    proof.checked = [Checked("a", "cudnn", "passed"), Checked("b", "cudnn", "not_reached")]
    _judge_matrix(proof)
    assert proof.code == 5
    assert "not done: matrix: 1 of 2 cases were not reached" in words(proof)


@pytest.mark.parametrize("kind", ["failed", "not_measured", "crashed", "timed_out"])
def test_a_case_of_the_suite_that_has_no_time_is_a_failure(kind: str) -> None:
    proof = proof_on()
    proof.wanted, proof.outcomes = 1, [outcome(kind)]
    _judge_measured(proof, [], IN_TIME)
    assert proof.failures == [f"measured: {CASE.id}: for a reason"]


def test_a_suite_that_its_time_was_too_short_for_is_incomplete() -> None:
    proof = proof_on()
    proof.wanted, proof.outcomes = 3, [outcome("refused"), outcome("interrupted")]
    _judge_measured(proof, [], LATE)
    assert proof.code == 5
    assert proof.unfinished == ["measured: 2 of 3 cases were not reached"]


def test_a_suite_that_was_late_but_has_all_its_results_is_done() -> None:
    proof = proof_on()
    proof.wanted, proof.outcomes = 1, [outcome("refused")]
    _judge_measured(proof, [], LATE)
    assert proof.code == 0


def test_a_pytest_that_fails_where_every_case_has_a_result_is_a_failure() -> None:
    proof = proof_on()
    proof.wanted, proof.outcomes = 1, [outcome("refused")]
    _judge_measured(proof, [], Ended(3, True, 1.0))
    assert proof.code == 1


def test_a_pytest_that_dies_is_a_failure() -> None:
    proof = proof_on()
    proof.wanted = 3
    _judge_measured(proof, [], Ended(-11, True, 1.0))
    assert "pytest ended with exit code -11 and 3 of 3 cases have no result" in proof.failures[0]


def test_the_kernels_that_cudnn_ran_are_named() -> None:
    proof = proof_on()
    kernels = {"kernels": {"RNN_blockPersist_fp_LSTM": 4}}
    proof.checked = [
        Checked("a", "cudnn", "passed", evidence=dict(kernels)),
        Checked("b", "keras", "passed", evidence={"kernels": {"sgemm": 1}}),
    ]
    assert proven.cudnn_kernels(proof.checked) == ["RNN_blockPersist_fp_LSTM"]
    assert "cuDNN's kernels were seen: RNN_blockPersist_fp_LSTM" in words(proof)


def test_many_failures_are_cut_and_counted() -> None:
    proof = proof_on()
    proof.failures = [f"number {number}" for number in range(30)]
    said = words(proof)
    assert "number 19" in said
    assert "number 20" not in said
    assert "10 more; see summary.json" in said


# -- what is measured, and with how much time


def test_the_suites_backends_are_measured_and_what_users_have_beside_them() -> None:
    here = ["numpy", "while_loop", "cudnn", "scan", "keras", "torch"]
    found = measured_backends("quick", "gpu:0", here)
    assert sorted(found) == ["cudnn", "keras", "torch", "while_loop"]


def test_a_machine_with_none_of_them_measures_what_it_has() -> None:
    assert measured_backends("quick", "gpu:0", ["scan"]) == ["scan"]


@pytest.mark.parametrize(("seconds", "options"), [(1000.0, 0), (1.0, 1)])
def test_the_suite_is_given_less_time_a_case_where_its_own_would_not_fit(
    seconds: float, options: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[Sequence[str]] = []

    def run(command: Sequence[str], seconds: float, *rest: object) -> Ended:
        commands.append(command)
        (tmp_path / "measure.log").write_text("collected\nERROR: the folder is full\n")
        return Ended(1, True, 0.0)

    monkeypatch.setattr(processes, "run", run)
    place = Workplace(tmp_path, tmp_path, {}, lambda text: None)
    proof = proof_on({"numpy": YES}, "cpu", "smoke")
    _measure(proof, seconds, place)
    assert "ERROR: the folder is full" in words(proof)
    (command,) = commands
    assert "--benchmark-only" in command
    assert "--lstm-device=cpu" in command
    budgets = [float(each.partition("=")[2]) for each in command if "--lstm-budget" in each]
    assert len(budgets) == options
    # Four cases; 0.4 of the stage's time is for samples.
    assert budgets == [pytest.approx(0.1)] * options


def test_all_stages_together_stay_within_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stage takes all that it is given, on a clock that moves by that much."""
    time = [0.0]
    given: list[float] = []

    def stage(proof: Proof, *rest: Any) -> None:
        seconds = rest[-2]
        given.append(seconds)
        time[0] += seconds
        proof.diagnosis = proof_on().diagnosis

    for name in ("_survey", "_matrix", "_tests", "_measure"):
        monkeypatch.setattr(proof_module, name, stage)
    budget = Budget(gpu_proof.SECONDS, RESERVE * gpu_proof.SECONDS, lambda: time[0])
    proof = Proof("gpu:0", "quick", datetime.now(UTC))
    assert prove(proof, None, tmp_path, budget) == 0
    assert len(given) == 4
    assert sum(given) == pytest.approx((1 - RESERVE) * 480)
    # What the suite is left with in the worst case; quick takes about that on a CPU's one device.
    assert given[3] > 140


def test_stages_after_a_survey_that_finds_no_backend_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def survey(proof: Proof, *rest: Any) -> None:
        proof.diagnosis = proof_on({"cudnn": NO}).diagnosis

    monkeypatch.setattr(proof_module, "_survey", survey)
    monkeypatch.setattr(proof_module, "_matrix", lambda *rest: pytest.fail("it was run"))
    proof = Proof("gpu:0", "quick", datetime.now(UTC))
    assert prove(proof, None, tmp_path, Budget(60.0, 5.0)) == 4
    assert "NO BACKEND can use gpu:0" in capsys.readouterr().out
    assert len(list(tmp_path.glob("gpu-proof-*.tar.gz"))) == 1


def test_ctrl_c_leaves_an_archive_of_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def survey(proof: Proof, names: object, seconds: float, place: Workplace) -> None:
        proof.diagnosis = proof_on().diagnosis
        (place.folder / "doctor.json").write_text("{}")

    def interrupted(*rest: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(proof_module, "_survey", survey)
    monkeypatch.setattr(proof_module, "_matrix", interrupted)
    proof = Proof("gpu:0", "quick", datetime.now(UTC))
    assert prove(proof, None, tmp_path, Budget(60.0, 5.0)) == 130
    assert "INTERRUPTED" in capsys.readouterr().out
    (archive,) = tmp_path.glob("gpu-proof-*.tar.gz")
    files = members(archive)
    assert files["doctor.json"] == "{}"
    assert json.loads(files["summary.json"])["exit_code"] == 130


def test_an_archive_is_whole_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        proven.pack(tmp_path / "no-such-folder", tmp_path / "a.tar.gz")
    assert list(tmp_path.iterdir()) == []


# -- the tests that need a GPU


def run_tests(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> Proof:
    tests = folder / "tests"
    tests.mkdir()
    (tests / "test_imaginary.py").write_text(code)
    (tests / "test_other.py").write_text("def test_other(): raise SystemError\n")
    monkeypatch.setattr(proof_module, "TESTS", tests)
    proof = proof_on()
    _tests(proof, 60.0, Workplace(folder, folder, {}, lambda text: None))
    return proof


@pytest.mark.parametrize(
    ("code", "verdict", "said"),
    [
        ("def test_on_a_gpu_all_is_well(): pass\n", 0, ""),
        ("def test_on_a_gpu_it_breaks(): assert 1 == 2\n", 1, "tests: 1 failed"),
        ("import no_such\ndef test_on_a_gpu_it_runs(): pass\n", 5, "pytest could not run them"),
    ],
)
def test_the_projects_own_tests_for_a_gpu_are_run_and_count(
    code: str,
    verdict: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proof = run_tests(tmp_path, code, monkeypatch)
    assert proof.code == verdict
    assert said in words(proof)
    assert (tmp_path / "tests.log").exists()


def test_an_installed_copy_without_tests_leaves_them_out(tmp_path: Path, no_tests: None) -> None:
    proof = proof_on()
    _tests(proof, 60.0, Workplace(tmp_path, tmp_path, {}, pytest.fail))
    assert proof.code == 0


def test_the_project_has_tests_for_a_gpu() -> None:
    assert gpu_tests(TESTS)
