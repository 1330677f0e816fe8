"""Test ``python -m bench.check``: exit codes, formats, summaries."""

import json
from pathlib import Path

import pytest

from bench.check import main
from lstm_impl.checking import TargetError

SIZES = ["--batch", "3", "--steps", "4", "--input", "2", "--hidden", "5"]

KERNELS = """\
import numpy as np


def right(x, h, c, kernel, recurrent_kernel, bias):
    outputs = []
    for x_t in x:
        z = x_t @ kernel + h @ recurrent_kernel + bias
        i, f, g, o = np.split(z, 4, axis=-1)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        outputs.append(h)
    return np.stack(outputs), h, c


def wrong(x, h, c, kernel, recurrent_kernel, bias):
    return right(x, 0 * h, 0 * c, kernel, recurrent_kernel, bias)
"""


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    path = tmp_path / "own_kernels.py"
    path.write_text(KERNELS, encoding="utf-8")
    return str(path)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_right_function_ends_with_0_and_a_wrong_one_with_1(
    kernels: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"{kernels}:right", *SIZES]) == 0
    assert capsys.readouterr().out.startswith("RIGHT")
    assert main([f"{kernels}:wrong", *SIZES]) == 1
    out = capsys.readouterr().out
    assert out.startswith("WRONG")
    assert "every call begins with zeros" in " ".join(out.split())


def test_bad_input_ends_with_2_and_one_line(
    kernels: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ([f"{kernels}:nothing"], [f"{kernels}:right", "--layout", "torch"]):
        assert main(words) == 2
        written = capsys.readouterr()
        assert written.out == ""
        assert written.err.startswith("error: ")
        assert written.err.count("\n") == 1
    assert issubclass(TargetError, ValueError)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_json_has_the_verdict_and_markdown_goes_to_the_job_summary(
    kernels: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    summary, file = tmp_path / "summary.md", tmp_path / "check.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert main([f"{kernels}:wrong", "--json", "--markdown", str(file), *SIZES]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["passed"] is False
    assert data["networks"][0]["causes"][0]["name"] == "state"
    text = file.read_text(encoding="utf-8")
    assert text.startswith("### ❌")
    assert summary.read_text(encoding="utf-8").strip() == text.strip()


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_wrong_function_is_not_measured(
    kernels: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.session.timing.measure_target", None)
    assert main([f"{kernels}:wrong", "--time", *SIZES]) == 1
    assert "It was not measured, because its results are wrong." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--json"], "--time cannot be combined with --format json"),
        (["--device", "gpu:7"], "gpu:7"),
    ],
)
def test_measurement_that_is_impossible_is_refused_before_the_check(
    kernels: str, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"{kernels}:right", "--time", *words]) == 2
    written = capsys.readouterr()
    assert said in written.err
    assert written.out == ""


@pytest.mark.slow  # four frameworks are started, and each backend is judged
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_right_function_is_measured_beside_the_built_in_backends(
    kernels: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LSTM_RESULTS", str(tmp_path / "results"))
    words = ["--time", "--processes", "1", "--budget", "5m", "--force", *SIZES]
    assert main([f"{kernels}:right", *words]) == 0
    out = capfd.readouterr().out
    assert "own_kernels_right" in out
    assert "vs own_kernels_right" in out
    assert "fused_cpu" in out
