"""Test ``bench.gpu_proof``, run on the CPU with the reference."""

import contextlib
import json
import re
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from bench import gpu_proof, records
from bench.case.cases import Case
from bench.gpu_proof import GPU_TEST, Proof
from bench.machine import devices
from bench.machine.lock import MachineLock
from bench.records.schema import Measurement, Outcome
from lstm_impl import LSTMSpec, Workload
from tests import quick_pytest
from tests.bench import fake_gpu
from tests.bench.made_results import a_run, gather, measured, unmeasured
from tests.outside import outside
from tests.places import ROOT

CASE, OTHER = (Case(name, LSTMSpec(1, 4), Workload(5, 15), "gpu:0") for name in ("cudnn", "keras"))


@pytest.fixture
def proof(tmp_path: Path) -> Proof:
    (tmp_path / "gpu-proof-1").mkdir()
    return Proof("gpu:0", tmp_path / "gpu-proof-1", time.monotonic() + 60.0)


def right(case: Case, *kernels: str) -> Measurement:
    evidence = {"kernels": dict.fromkeys(kernels, 4)}
    return replace(measured(case, 1.0, a_run(1)), evidence=evidence)


def no_time(kind: str, case: Case = OTHER) -> Outcome:
    return unmeasured(case, a_run(1), kind, "for a reason")


@pytest.mark.parametrize(
    ("items", "code", "failure", "unfinished"),
    [
        ([right(CASE, "RNN_LSTM"), right(OTHER, "gemm")], 0, "", ""),
        ([right(CASE, "a"), right(OTHER)], 0, "matrix: keras/.* no kernel was seen on gpu:0", ""),
        ([right(CASE, "a"), no_time("failed")], 1, "matrix: keras/.*: for a reason", ""),
        ([right(CASE, "a"), no_time("not_measured")], 0, "keras/.*: for a reason", ""),
        ([right(CASE, "a"), no_time("refused")], 0, "keras computed none of its cases", ""),
        ([right(CASE, "a"), no_time("refused")], None, "", "the time was up; see matrix-0.log"),
        ([right(CASE, "a"), no_time("interrupted")], 5, "", "the time was up"),
        ([], -11, "bench.run ended with exit code -11: it printed nothing; see matrix-0.log", ""),
        ([], 1, "bench.run ended with exit code 1", ""),
    ],
)
def test_judge_results_of_a_suite_gives_failures_and_what_is_unfinished(
    items: list[Measurement | Outcome],
    code: int | None,
    failure: str,
    unfinished: str,
    proof: Proof,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(records, "collect", lambda paths: gather(*items))
    (proof.folder / "matrix-0.log").touch()
    proof.judge("matrix", ["cudnn", "keras"], {"matrix-0": code})
    for message, found in ((failure, proof.failures), (unfinished, proof.unfinished)):
        assert len(found) >= bool(message)
        assert bool(found) == bool(message)
        assert re.search(message, "\n".join(found))


def test_run_with_a_module_that_is_late_ends_it_with_its_children(proof: Proof) -> None:
    (proof.folder / "late.py").write_text(
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\ntime.sleep(600)\n"
    )
    (proof.folder / "done.py").write_text("import sys; sys.exit(7)\n")
    code = (
        "import sys, time; from pathlib import Path; from bench.gpu_proof import Proof\n"
        "print(Proof('cpu', Path('.'), 0.0).run({'late': ['late'], 'done': ['done']}, 5.0))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=proof.folder,
        env=outside(),
        capture_output=True,
        check=True,
    ).stdout
    assert printed.strip() == b"{'late': None, 'done': 7}"
    child = int((proof.folder / "late.log").read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie"


@pytest.mark.parametrize(
    ("code", "verdict", "message"),
    [
        ("def test_on_a_gpu_all_is_well(): pass\n", 0, ""),
        ("def test_on_a_gpu_it_breaks(): assert 1 == 2\n", 1, "tests: 1 failed"),
        ("import no_such\ndef test_on_a_gpu_it_runs(): pass\n", 5, "installs what tests need"),
        ("def test_other(): assert 1 == 2\n", 0, ""),
    ],
)
def test_run_tests_counts_failures_of_tests_for_a_gpu(
    code: str, verdict: int, message: str, proof: Proof, tmp_path: Path
) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_imaginary.py").write_text(code)
    (tmp_path / "tests/test_other.py").write_text("def test_other(): raise SystemError\n")
    proof.run_tests(tmp_path / "tests")
    assert (bool(proof.failures), bool(proof.unfinished)) == (verdict == 1, verdict == 5)
    assert message in "\n".join([*proof.failures, *proof.unfinished])


def test_tests_for_a_gpu_have_names_that_gpu_proof_finds() -> None:
    pattern = re.compile(rf"^def (test_\w*{GPU_TEST}\w+)", re.MULTILINE)
    texts = (path.read_text(encoding="utf-8") for path in (ROOT / "tests/lstm_impl").rglob("*.py"))
    found = {name for text in texts for name in pattern.findall(text)}
    assert len(found) >= 8, "a test that was renamed is no longer run on GPUs"


def members(archive: Path) -> dict[str, str]:
    with tarfile.open(archive) as tar:
        files = {each.name: tar.extractfile(each) for each in tar.getmembers() if each.isfile()}
        return {
            name.removeprefix(f"{archive.name.removesuffix('.tar.gz')}/"): file.read().decode()
            for name, file in files.items()
            if file is not None
        }


def start(tmp_path: Path, wrong: str, seconds: int) -> subprocess.Popen[str]:
    """Start it as a user does, on a machine with a made-up GPU."""
    if not (packages := tmp_path / "packages").exists():
        fake_gpu.install(packages)
    code = (
        "import sys; from pathlib import Path; from bench import gpu_proof\n"
        "assert gpu_proof.TESTS.is_dir()\n"
        "gpu_proof.TESTS = Path('no-such-folder')\n"
        "sys.exit(gpu_proof.main(sys.argv[1:]))"
    )
    words = ["--backends", f"{fake_gpu.NAME},cudnn,numpy", "--suite", "smoke"]
    words += ["--seconds", str(seconds), "--output", str(tmp_path / "results")]
    own = {"LSTM_LOCK": str(tmp_path / "lock"), "FAKE_GPU": wrong, **quick_pytest.USED}
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        env=outside(packages, **own),
        stdout=subprocess.PIPE,
        text=True,
    )


def test_gpu_proof_writes_one_archive_of_results_and_logs(tmp_path: Path) -> None:
    """Run everything once; half of the backends are missing."""
    process = start(tmp_path, "nothing", 600)
    printed, _ = process.communicate()
    assert process.returncode == 0, printed
    assert "PROVEN: every backend that is available here is right" in printed
    assert "numpy: NumPy computes on the CPU only" in printed
    assert re.search("^cudnn: .*no NVIDIA GPU is visible|^cudnn: TensorFlow is not", printed, re.M)
    (archive,) = (tmp_path / "results").glob("gpu-proof-*.tar.gz")
    assert f"archive: {archive}" in printed
    files = members(archive)
    assert set(files) >= {
        *("summary.txt", "doctor.json", "matrix-0.log", "measured.log", "report.log")
    }
    assert "tests.log" not in files  # there were none to run
    assert files["summary.txt"].startswith("PROVEN")
    assert "  13 cases right and measured, 0 FAILED" in printed
    found = {each["name"]: each["devices"] for each in json.loads(files["doctor.json"])["backends"]}
    assert {name for name in found if found[name]["gpu:0"]["available"]} == {fake_gpu.NAME}
    assert "Imaginary A" in files["doctor.json"]
    assert fake_gpu.NAME in files["report.log"]
    (result,) = (tmp_path / "results").glob("smoke-*.json")
    measurements = records.read(result).measurements
    assert [each.case.device for each in measurements] == ["gpu:0"] * 4
    assert files[f"measured/{result.name}"] == result.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "seconds", "code", "message"),
    [
        ("memory", 600, 1, "failed: matrix: fake_cudnn/.*CUDA_ERROR_OUT_OF_MEMORY"),
        ("kernel", 600, 1, "no cuDNN kernel ran on gpu:0; the profiler saw gemm"),
        ("time", 60, 5, r"not done: \S+: the time was up; see \S+.log"),
    ],
)
def test_gpu_proof_where_a_gpu_fails_says_so_in_its_archive(
    tmp_path: Path, wrong: str, seconds: int, code: int, message: str
) -> None:
    process = start(tmp_path, wrong, seconds)
    printed, _ = process.communicate()
    assert process.returncode == code, printed
    assert re.search(message, printed)
    (archive,) = (tmp_path / "results").glob("gpu-proof-*.tar.gz")
    assert re.search(message, members(archive)["summary.txt"])


@pytest.mark.slow
def test_gpu_proof_killed_can_be_run_again(tmp_path: Path) -> None:
    with start(tmp_path, "nothing", 600) as process:
        assert process.stdout is not None
        while "the suite matrix" not in process.stdout.readline():
            assert process.poll() is None
        left = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    for each in left:  # what it had started has a session of its own
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    again = start(tmp_path, "nothing", 600)
    assert "PROVEN" in again.communicate()[0]


def test_gpu_proof_interrupted_writes_its_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(proof: Proof, *rest: object) -> None:
        (proof.folder / "doctor.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(gpu_proof, "prove", interrupted)
    assert gpu_proof.main(["--device", "cpu", "--output", str(tmp_path)]) == 130
    assert "INTERRUPTED" in capsys.readouterr().out
    (archive,) = tmp_path.glob("gpu-proof-*.tar.gz")
    files = members(archive)
    assert files["doctor.json"] == "{}"
    assert files["summary.txt"].startswith("INTERRUPTED")


def test_gpu_proof_during_another_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(devices, "explain_missing", lambda device: None)
    monkeypatch.setattr(gpu_proof, "prove", lambda *_: pytest.fail("it began all the same"))
    with MachineLock() as lock:
        lock.acquire("another")
        assert gpu_proof.main(["--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: another run measures on this machine: process ")
    assert "another; run this again when it has ended" in error


def test_judge_other_suite_that_a_backend_refuses_has_no_failure(
    proof: Proof, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "collect", lambda paths: gather(no_time("refused")))
    proof.judge("quick", ["keras"], {"measured": 0})
    assert (proof.failures, proof.unfinished) == ([], [])


def test_gpu_proof_with_too_little_time_for_doctor_is_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Proof, "run", lambda *_: {"doctor": None})
    assert gpu_proof.main(["--device", "cpu", "--output", str(tmp_path)]) == 5
    assert "not done: bench.doctor: the time was up; see doctor.log" in capsys.readouterr().out


def test_gpu_proof_without_a_usable_gpu_exits_with_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(devices, "gpu_facts", lambda: devices.GpuFacts(1, 0, hidden_by=""))
    assert gpu_proof.main(["--output", str(tmp_path / "results")]) == 3
    captured = capsys.readouterr()
    assert captured.out.startswith("no gpu:0: CUDA_VISIBLE_DEVICES='' hides it")
    assert (captured.out.count("\n"), captured.err) == (1, "")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "tpu:0"], "'tpu:0' is not a device"),
        (["--backends", "cudn"], "did you mean cudnn"),
        (["--suite", "quik"], "did you mean quick"),
        (["--device", "cpu", "--output", "{file}/results"], "Not a directory"),
    ],
)
def test_gpu_proof_with_bad_input_prints_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    filled = [argument.format(file=tmp_path / "file") for argument in arguments]
    assert gpu_proof.main(filled) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
