"""Which inputs a step works on, by their seed."""

from __future__ import annotations

from lstm_impl.step import INPUTS, input_seed


def test_the_first_set_of_inputs_is_the_seed_s_and_no_two_sets_of_near_seeds_are_one() -> None:
    assert [input_seed(seed, 0) for seed in range(5)] == list(range(5))
    found = {input_seed(seed, number) for seed in range(1000) for number in range(INPUTS + 1)}
    assert len(found) == 1000 * (INPUTS + 1)
