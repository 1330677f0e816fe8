from __future__ import annotations

import pytest

from bench.machine.writing import Closing


class Held(Closing):
    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_it_is_closed_when_its_block_ends_and_what_was_raised_goes_on() -> None:
    held = Held()
    with held as used:
        assert used is held
        assert held.closed == 0
    assert held.closed == 1
    with pytest.raises(KeyError), held:
        raise KeyError
    assert held.closed == 2
