"""What goes into a call, comes out and flows back, put together and taken apart."""

from __future__ import annotations

import pytest

from lstm_impl.call import Call, Outputs, RawGradients
from lstm_impl.workload import GRADIENTS, differentiated


def test_a_call_names_what_it_was_given() -> None:
    assert Call("x", "h", "c").given() == {"x": "x", "h": "h", "c": "c"}
    assert Call("x", "h", "c", masks="m").given() == {"x": "x", "h": "h", "c": "c", "masks": "m"}


@pytest.mark.parametrize(
    "left", [Outputs("y", "h1", "c1"), RawGradients("y", "h1", "c1", "dx", "dh", "dc", "dw")]
)
def test_the_next_call_goes_on_from_the_state_that_one_has_left(
    left: Outputs | RawGradients,
) -> None:
    assert Call("x", "h0", "c0", "lengths", "masks").after(left) == Call(
        "x", "h1", "c1", "lengths", "masks"
    )


@pytest.mark.parametrize("of", GRADIENTS)
def test_gradients_that_were_not_asked_for_are_none(of: str) -> None:
    found = differentiated(of, "dx", "dh", "dc")
    raw = RawGradients.of(Outputs("y", "h", "c"), found, "dw")
    assert (raw.y, raw.h, raw.c, raw.weights) == ("y", "h", "c", "dw")
    assert tuple(each for each in (raw.dx, raw.dh, raw.dc) if each is not None) == found
