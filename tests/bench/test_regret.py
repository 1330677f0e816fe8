"""The command that says what ``backend="auto"`` loses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench import regret
from bench.worker.regret import RandomCase, Regret
from lstm_impl.tuning.decision import Raced

SHAPE = RandomCase(2, 3, 4, 5, "training")


def lost(tuned: float, rule: float) -> Regret:
    """Of a shape whose fastest takes a second."""
    return Regret(
        SHAPE, "best", Raced("scan", 1 + tuned, 1 + tuned), Raced("keras", 1 + rule, 1 + rule)
    )


def test_it_says_how_often_each_choice_is_near_the_fastest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, float, int]] = []

    def measured(count: int, seconds: float, seed: int) -> Iterator[Regret]:
        asked.append((count, seconds, seed))
        yield from (lost(0.0, 1.0), lost(0.02, 1.0), lost(0.01, 0.0), lost(0.1, 0.5))

    monkeypatch.setattr(regret, "measured", measured)
    options = ["--shapes", "4", "--seconds", "2", "--seed", "7", "--format", "markdown"]
    assert regret.main(options) == 0
    assert asked == [(4, 2.0, 7)]
    out, progress = capsys.readouterr()
    assert (
        "raced: within 3% of the fastest in 3 of 4 shapes; loses 1.5% in the median, 10.0% at most"
        in out
    )
    assert (
        "rule: within 3% of the fastest in 1 of 4 shapes; loses 75.0% in the median, 100.0% at most"
        in out
    )
    assert "training | `best` | 1.00 s | `scan` | 10.0% | `keras` | 50.0% |" in out
    assert progress.splitlines()[-1] == "4 of 4: b2-t3-i4-h5 training"


@pytest.mark.parametrize("options", [["--shapes", "0"], ["--seconds", "soon"]])
def test_bad_input_is_told(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        regret.main(options)
    assert ended.value.code == 2
    assert options[1] in capsys.readouterr().err
