"""The command that proves the backends of a GPU, all of it run on the CPU with the reference."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import gpu_proof, records
from bench.machine import devices
from bench.machine.lock import MachineLock
from bench.session import proof as proof_module
from tests import quick_pytest
from tests.bench.session.made_proofs import members
from tests.outside import outside


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


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str, Path]:
    """Everything run once, as a user would run it where there is a GPU: code, output, folder."""
    output = tmp_path_factory.mktemp("proof")
    code = (
        "import sys; from pathlib import Path; from bench import gpu_proof\n"
        "from bench.session import proof\n"
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
    assert len(records.read(result).measurements) == 4
    (archive,) = whole[2].glob("gpu-proof-*.tar.gz")
    assert members(archive)[f"measured/{result.name}"] == result.read_text()


def test_nothing_else_is_left_behind(whole: tuple[int, str, Path]) -> None:
    assert len(list(whole[2].iterdir())) == 2


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
