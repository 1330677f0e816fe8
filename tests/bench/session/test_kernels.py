"""Test that the kernels are compiled before a measurement, where they are needed and missing."""

import subprocess
import sys

import pytest

from bench.session import kernels


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the commands that are run instead of a compiler."""
    found: list[list[str]] = []

    def run(command: list[str], **more: object) -> subprocess.CompletedProcess[bytes]:
        found.append(command)
        return subprocess.CompletedProcess(command, 1)  # A failure is reported with the case.

    monkeypatch.setattr(subprocess, "run", run)
    return found


@pytest.mark.parametrize("missing", [True, False])
def test_kernels_that_are_missing_are_compiled_for_the_backends_that_use_them(
    monkeypatch: pytest.MonkeyPatch, commands: list[list[str]], missing: bool
) -> None:
    told: list[str] = []
    monkeypatch.setattr(kernels, "must_compile", lambda: missing)
    kernels.compile_kernels(["while_loop", "numpy_fused", "no_such", "numpy_fused"], told.append)
    assert commands == [[sys.executable, "-m", "lstm_impl.build", "numpy_fused"]] * missing
    assert told == [kernels.TOLD] * missing


def test_nothing_is_compiled_for_backends_without_kernels(
    monkeypatch: pytest.MonkeyPatch, commands: list[list[str]]
) -> None:
    told: list[str] = []
    monkeypatch.setattr(kernels, "must_compile", lambda: True)
    kernels.compile_kernels(["while_loop", "keras", "torch", "no_such"], told.append)
    assert not commands
    assert not told


def test_another_interpreter_compiles_for_itself(
    monkeypatch: pytest.MonkeyPatch, commands: list[list[str]]
) -> None:
    monkeypatch.setattr(kernels, "must_compile", lambda: False)
    kernels.compile_kernels(["fused_cpu"], print, "/opt/other/bin/python")
    assert commands == [["/opt/other/bin/python", "-m", "lstm_impl.build", "fused_cpu"]]


def test_compiling_that_takes_too_long_is_left_to_the_case(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never_end(command: list[str], timeout: float, **more: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", never_end)
    monkeypatch.setattr(kernels, "must_compile", lambda: True)
    kernels.compile_kernels(["numpy_fused"], lambda text: None)
