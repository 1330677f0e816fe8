"""Racing streams: each call ends when its output is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from lstm_impl import LSTMSpec, Workload, tune
from lstm_impl.backends.numpy_loop import NumPyModel


@pytest.mark.parametrize(("mode", "each"), [("streaming", True), ("inference", False)])
def test_each_call_of_a_stream_is_waited_for(
    mode: str, each: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LSTM_DECISIONS", str(tmp_path))
    counts = {"run": 0, "wait": 0}
    infer = NumPyModel._infer

    def run(self: NumPyModel, call: object) -> object:
        counts["run"] += 1
        return infer(self, call)  # type: ignore[arg-type]

    def wait(self: NumPyModel) -> None:
        counts["wait"] += 1

    monkeypatch.setattr(NumPyModel, "_infer", run)
    monkeypatch.setattr(NumPyModel, "synchronize", wait)
    found = tune(LSTMSpec(2, 3), Workload(1, 1, mode), candidates=["numpy"], seconds=0.2)
    assert found.backend == "numpy"
    # The gate makes some calls more; a block of a race has hundreds.
    assert (counts["wait"] >= counts["run"] - 20) is each
