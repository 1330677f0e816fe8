"""The figures of docs/scale.md."""

from __future__ import annotations

import pytest

from bench.session.study import study, worlds


def test_the_study_s_worlds_hold_at_a_size_that_takes_seconds() -> None:
    sheet, broken = study(24)
    assert broken == []
    assert len(sheet.lines) == len(worlds())


@pytest.mark.slow
def test_a_thousand_machines_hold_too() -> None:
    _, broken = study()
    assert broken == []
