"""The regret of a choice: which shapes are drawn, and what is said of two races."""

from __future__ import annotations

import pytest

from bench.worker.regret import MOST_WORK, RandomCase, regret, shapes
from lstm_impl import LSTMSpec, Workload
from lstm_impl.tuning import Decision, Machine, Question
from lstm_impl.tuning.decision import of_race
from lstm_impl.tuning.race import Ran

SHAPE = RandomCase(2, 3, 4, 5, "training")


def decided(rule: str = "keras", **seconds: float) -> Decision:
    asked = Question(
        LSTMSpec(4, 5), Workload(2, 3, "training"), "keras", Machine("a processor", {})
    )
    ran = {name: Ran((each,) * 20) for name, each in seconds.items()}
    return of_race(asked, ran, {}, rule, "", "a test")


def test_random_shapes_differ_can_be_drawn_again_and_are_no_more_work_than_allowed() -> None:
    found = shapes(60, 3)
    assert found == shapes(60, 3) != shapes(60, 4)
    assert len({str(each) for each in found}) > 55
    assert all(0 < each.work <= MOST_WORK for each in found)
    assert {each.mode for each in found} == {"inference", "training"}
    assert {each.batch for each in found} >= {1, 128}
    assert str(SHAPE) == "b2-t3-i4-h5 training"


def test_only_the_second_race_says_what_is_lost() -> None:
    first = decided(keras=2.0, scan=1.0, block_lstm=1.5)
    found = regret(SHAPE, first, decided(keras=3.0, scan=1.2, block_lstm=1.0))
    assert (found.best, found.tuned.backend, found.rule.backend) == ("block_lstm", "scan", "keras")
    assert found.tuned_loss == pytest.approx(0.2)
    assert found.rule_loss == pytest.approx(2.0)


def test_one_without_a_time_in_the_second_race_is_told() -> None:
    with pytest.raises(ValueError, match="scan or keras has no time in the second race"):
        regret(SHAPE, decided(keras=2.0, scan=1.0), decided(keras=1.0))
