"""Items are grouped in the order in which they came."""

from __future__ import annotations

from bench.records.grouping import grouped


def test_keys_and_their_items_keep_the_order_in_which_they_came() -> None:
    found = grouped(["pear", "apple", "plum", "apricot"], lambda word: word[0])
    assert list(found.items()) == [("p", ["pear", "plum"]), ("a", ["apple", "apricot"])]


def test_without_items_there_is_no_group() -> None:
    assert grouped([], len) == {}
