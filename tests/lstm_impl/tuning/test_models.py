"""``lstm_impl.tune`` on models that need no framework."""

from __future__ import annotations

from pathlib import Path

import pytest

import lstm_impl
from lstm_impl import LSTMSpec, UnsupportedError, Workload
from lstm_impl.tuning import load

SPEC, WORK = LSTMSpec(2, 3), Workload(2, 4, "training")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LSTM_DECISIONS", str(tmp_path / "decisions"))
    return tmp_path / "decisions"


def test_what_can_run_races_and_the_rest_has_its_reason() -> None:
    found = lstm_impl.tune(SPEC, WORK, candidates=["numpy", "cudnn"], seconds=0.2)
    assert found.backend == "numpy"
    cudnn = found.result_of("cudnn")
    assert cudnn is not None
    assert "GPU" in cudnn.problem
    assert load() == [found]


def test_what_is_known_does_not_race_again() -> None:
    first = lstm_impl.tune(SPEC, WORK, candidates=["numpy"], seconds=0.1)
    assert lstm_impl.tune(SPEC, WORK, candidates=["numpy"]) == first
    again = lstm_impl.tune(SPEC, WORK, candidates=["numpy"], seconds=0.1, again=True)
    assert again.raced != first.raced
    # one more candidate is another race
    more = lstm_impl.tune(SPEC, WORK, candidates=["numpy", "cudnn"], seconds=0.1)
    assert {each.backend for each in more.raced} == {"numpy", "cudnn"}


def test_bad_input_is_told_before_anything_runs(folder: Path) -> None:
    with pytest.raises(ValueError, match="seconds is 0"):
        lstm_impl.tune(SPEC, WORK, seconds=0)
    with pytest.raises(UnsupportedError, match="did you mean numpy"):
        lstm_impl.tune(SPEC, WORK, candidates=["nunpy"])
    with pytest.raises(UnsupportedError, match=r"none of the candidates can run: cudnn: .*GPU"):
        lstm_impl.tune(SPEC, WORK, candidates=["cudnn"])
    assert not folder.exists()
