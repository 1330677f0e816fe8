"""How the periods of streams are spelled."""

from __future__ import annotations

import pytest

from bench.case import periods


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10ms", 0.01), ("10 ms", 0.01), ("0.5s", 0.5), ("1s", 1.0), ("20us", 2e-5), ("20µs", 2e-5)],
)
def test_a_period_is_a_time_with_its_unit(text: str, seconds: float) -> None:
    assert periods.parse(text) == seconds
    assert periods.parse(periods.words(seconds)) == seconds


def test_back_to_back_is_no_period() -> None:
    assert periods.parse("back-to-back") is None
    assert periods.words(None) == "back-to-back"


@pytest.mark.parametrize("text", ["", "10", "ms", "-1ms", "0s", "1h", "2e3s", "10msx", "7200s"])
def test_what_is_no_period_says_what_is_one(text: str) -> None:
    with pytest.raises(ValueError, match='"10ms"'):
        periods.parse(text)
