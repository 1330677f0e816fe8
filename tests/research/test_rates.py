"""A table of rates."""

from __future__ import annotations

import pytest

from research.rates import beside, percent, table


def test_a_table_names_its_lines_and_has_its_numbers_to_the_right() -> None:
    sheet = table(["of these", "1", "2"], [["a", "10.0%", "0.5%"]])
    assert [column.right for column in sheet.columns] == [False, True, True]
    assert sheet.markdown() == "| of these | 1 | 2 |\n| --- | ---: | ---: |\n| a | 10.0% | 0.5% |"


@pytest.mark.parametrize(("rate", "told"), [(0.005, "0.5%"), (0.99996, "100.0%"), (0, "0.0%")])
def test_a_rate_is_told_to_a_tenth_of_a_per_cent(rate: float, told: str) -> None:
    assert percent(rate) == told
    assert beside(rate, 0.25) == f"{told} (25.0%)"
