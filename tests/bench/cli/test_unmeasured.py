"""What has no time: counted in one line, listed by reason, and what went wrong left out of both."""

from __future__ import annotations

from bench.case.cases import Case
from bench.render.messages import gathered, headline, one_line
from lstm_impl.workload import Workload
from tests.bench.made_reports import SPEC

NO_GPU = ("not_measured", "no GPU is here", "add one")


def case(backend: str, batch: int = 2, device: str = "gpu:0") -> Case:
    return Case(backend, SPEC, Workload(batch, 10), device)


def test_cases_that_share_outcome_reason_and_advice_stand_together_each_once() -> None:
    first, second = case("keras"), case("torch")
    items = [
        (first, *NO_GPU),
        (second, *NO_GPU),
        (first, *NO_GPU),
        (first, "refused", "no GPU is here", "add one"),
        (first, "not_measured", "no GPU is here", "buy one"),
    ]
    found = gathered(items)
    assert [group.cases for group in found] == [(first, second), (first,), (first,)]
    assert [group.advice for group in found] == ["add one", "add one", "buy one"]


def test_one_reason_is_told_with_whose_it_is() -> None:
    (group,) = gathered((case(name, batch), *NO_GPU) for name in "ab" for batch in (1, 2))
    assert one_line([group]) == (
        "4 cases have no time, not measured: no GPU is here. add one (a and b on gpu:0)"
    )
    assert headline(group) == "4 cases not measured: no GPU is here. add one"
    (alone,) = gathered([(case("a"), "refused", "", "")])
    assert one_line([alone]) == (
        "1 case has no time, refused by the backend: no reason was recorded (a on gpu:0)"
    )


def test_of_several_reasons_there_is_the_number_of_each_outcome_the_largest_first() -> None:
    reasons = [("refused", "odd", ""), *(("not_measured", f"reason {n}", "") for n in range(3))]
    found = gathered((case(f"b{n}"), *why) for n, why in enumerate(reasons))
    assert one_line(found) == (
        "4 cases have no time: 3 not measured, 1 refused by the backend (--unmeasured lists them)"
    )
    assert one_line(found, "bench.x").endswith("(bench.x lists them)")


def test_what_went_wrong_is_not_in_the_line() -> None:
    wrong = gathered((case("a"), each, "", "") for each in ("failed", "crashed", "timed_out"))
    assert all(group.loud for group in wrong)
    assert one_line(wrong) == ""
    (quiet,) = gathered([(case("a"), *NO_GPU)])
    assert not quiet.loud
    assert one_line([*wrong, quiet]).startswith("1 case has no time, not measured")


def test_what_a_file_says_is_one_short_line() -> None:
    (group,) = gathered([(case("a\x1b[31m\n" * 9), "odd_\noutcome", "x" * 999, "\x9b31m")])
    for told in (one_line([group]), headline(group)):
        assert told.isprintable()
        assert len(told) < 900
