"""What a profile's events add up to."""

from __future__ import annotations

from lstm_impl.profile import Event, by_name, covered, own_seconds

LOOP = Event("loop", 0.0, 10.0, "a")
INNER = [Event("product", 1.0, 3.0, "a"), Event("product", 5.0, 4.0, "a")]
DEEP = Event("pack", 5.5, 1.0, "a")
BESIDE = Event("product", 2.0, 7.0, "b")


def test_an_operator_has_no_share_in_what_it_called() -> None:
    own = {(event.name, event.start): seconds for event, seconds in own_seconds([*INNER, LOOP])}
    assert own == {("loop", 0.0): 3.0, ("product", 1.0): 3.0, ("product", 5.0): 4.0}
    own = {(event.name, event.start): s for event, s in own_seconds([LOOP, DEEP, *INNER])}
    assert own["product", 5.0] == 3.0
    assert own["loop", 0.0] == 3.0


def test_what_another_thread_did_meanwhile_is_its_own() -> None:
    found = by_name([LOOP, *INNER, BESIDE])
    assert list(found) == ["product", "loop"]
    assert (found["product"].count, found["product"].seconds) == (3, 14.0)
    assert found["product"].tracks == {"a", "b"}


def test_no_time_is_less_than_none_where_a_clock_is_off_by_its_last_digit() -> None:
    late = Event("inner", 0.5, 1.0, "a")
    own = {event.name: s for event, s in own_seconds([Event("outer", 0.0, 1.0, "a"), late])}
    assert own == {"outer": 0.5, "inner": 1.0}


def test_time_in_which_several_ran_is_covered_once() -> None:
    events = [Event("x", 0.0, 2.0, "a"), Event("y", 1.0, 2.0, "b"), Event("z", 5.0, 1.0, "a")]
    assert covered(events) == 4.0
    assert covered([LOOP, *INNER]) == 10.0
    assert covered([]) == 0.0
