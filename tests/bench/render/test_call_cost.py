"""What a call costs: lines over the timesteps, one a backend, from a report's rows."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from bench.case.cases import Case
from bench.render import along
from bench.render.along import Calls, call_words, calls
from bench.stats.ranking import build
from bench.stats.verdict import Verdict
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_results import a_run, gather, measured

Time = Callable[[int], float]


run = functools.partial(a_run, suite="call-paths")


def case(backend: str, timesteps: int, **more: object) -> Case:
    return Case(backend, LSTMSpec(4, 8), Workload(2, timesteps, **more), "cpu")  # type: ignore[arg-type]


def found(
    times: dict[str, Time], lengths: tuple[int, ...] = (5, 50, 150), baseline: str | None = None
) -> tuple[Calls, ...]:
    items = [
        # Each process has a speed of its own, which is in all of its times.
        measured(case(backend, length), time(length) * (1 + 0.01 * number), run(number))
        for number in range(6)
        for backend, time in times.items()
        for length in lengths
    ]
    return calls(build(gather(*items)).sections, baseline)


def line(fixed: float, per_timestep: float) -> Time:
    return lambda timesteps: fixed + per_timestep * timesteps


CALL, PREDICT = line(1e-3, 1e-5), line(30e-3, 1e-5)


def test_a_call_costs_what_its_line_has_at_no_timestep() -> None:
    (one,) = found({"keras_model+predict": PREDICT, "keras_model": CALL})
    assert [cost.backend for cost in one.costs] == ["keras_model", "keras_model+predict"]
    for cost, fixed in zip(one.costs, (1e-3, 30e-3), strict=True):
        assert cost.fit is not None
        assert cost.fit.fixed is not None
        assert cost.fit.per_timestep is not None
        assert cost.fit.fixed.low < 1.025 * fixed < cost.fit.fixed.high
        assert cost.fit.per_timestep.low < 1.025e-5 < cost.fit.per_timestep.high


def test_the_shortest_calls_are_compared_with_the_plain_ones() -> None:
    (one,) = found({"keras_model+predict": PREDICT, "keras_model": CALL})
    plain, predict = one.costs
    assert one.baseline == "keras_model"
    assert plain.shortest is None
    assert predict.shortest is not None
    assert predict.shortest.ratio.mid == pytest.approx(PREDICT(5) / CALL(5), rel=1e-3)
    assert predict.shortest.verdict is Verdict.SLOWER


def test_the_baseline_can_be_named_and_where_there_is_none_nothing_is_compared() -> None:
    times = {"keras_model+predict": PREDICT, "keras_model": CALL}
    (one,) = found(times, baseline="keras_model+predict")
    assert one.baseline == "keras_model+predict"
    (other,) = found({"torch": CALL, "scan": PREDICT})
    assert other.baseline == ""
    assert not any(cost.shortest for cost in other.costs)


def test_two_lengths_are_no_line_and_say_how_many_are_missing() -> None:
    assert found({"keras_model": CALL}, (5, 50)) == ()
    three = [measured(case("keras_model", t), CALL(t), run(0)) for t in (5, 50, 150)]
    two = [measured(case("scan", t), CALL(t), run(0)) for t in (5, 50)]
    (one,) = calls(build(gather(*three, *two)).sections)
    table = along.call_table(one).markdown()
    assert "2 of 3 lengths" in table


def test_what_is_no_line_has_no_numbers() -> None:
    def bent(timesteps: int) -> float:
        return 1e-3 if timesteps < 100 else 0.2

    (one,) = found({"keras_model": CALL, "scan": bent})
    text = along.call_table(one).markdown()
    assert "no line" in text
    assert " steps cost " in text


def test_windows_and_padded_sequences_are_other_questions() -> None:
    items = [
        measured(case("keras_model", length, **more), CALL(length), run(0))
        for length in (5, 50, 150)
        for more in ({"window": 5}, {"min_length": 2})
    ]
    assert calls(build(gather(*items)).sections) == ()


def test_a_call_is_told_in_words_and_an_unknown_name_in_none() -> None:
    assert call_words("keras_model+fit") == "model.fit on one batch"
    assert call_words("lstm_impl_model") == "model(x)"
    assert call_words("torch") == call_words("no such <backend>") == ""


def test_the_data_has_a_flat_row_a_backend_with_columns_that_are_named() -> None:
    rows = along.call_records(found({"keras_model+predict": PREDICT, "keras_model": CALL}))
    assert all(row.keys() <= set(along.RECORD) for row in rows)
    assert rows[1]["baseline"] == "keras_model"
    assert rows[1]["lengths"] == "5 50 150"
