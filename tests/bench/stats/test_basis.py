"""On what a comparison stands, and that in words."""

from __future__ import annotations

import itertools

import pytest

from bench.render.messages import basis_text
from bench.stats.comparison import Pairing, basis_of, loosest, nodes_apart_basis, nodes_basis
from bench.stats.intervals import ALONE, ENOUGH_PROCESSES


@pytest.mark.parametrize("pairing", Pairing)
def test_what_six_processes_show_needs_no_allowance_and_one_needs_more_than_two(
    pairing: Pairing,
) -> None:
    processes, same, none, how = basis_of(pairing, ENOUGH_PROCESSES)
    assert (processes, same, none) == (6, pairing, None)
    assert "allowance" not in basis_text(how)
    assert basis_of(pairing, 5)[2] == basis_of(pairing, 2)[2] == pairing.allowance
    assert basis_of(pairing, 1)[2] == pytest.approx(ALONE * pairing.allowance)


def test_the_side_with_fewer_processes_is_what_it_stands_on() -> None:
    assert basis_of(Pairing.UNPAIRED, 9, 7)[:3] == (7, Pairing.UNPAIRED, None)
    assert basis_of(Pairing.UNPAIRED, 3, 7)[:3] == (3, Pairing.UNPAIRED, 0.16)
    assert basis_of(Pairing.UNPAIRED, 7, 3)[0] == 3


@pytest.mark.parametrize(
    ("pairing", "counts", "how"),
    [
        (
            Pairing.ALTERNATING,
            (6,),
            "6 processes, alternating blocks: t-interval on their log ratios, outlying processes "
            "left out",
        ),
        (
            Pairing.SEQUENTIAL,
            (2,),
            "2 processes, one side after the other: allowance of 8% for the spread between "
            "processes added",
        ),
        (
            Pairing.ADJACENT,
            (1,),
            "1 process, each with one of the other side right before or after it: allowance of 22% "
            "for what one process can be off by",
        ),
        (
            Pairing.BRIDGED,
            (8, 6),
            "8 against 6 processes, each measured with the same third case: Welch's interval on "
            "their log ratios to it, outlying processes left out",
        ),
        (
            Pairing.UNPAIRED,
            (6, 9),
            "6 against 9 processes, unpaired: Welch's interval on their log medians, outlying "
            "processes left out",
        ),
    ],
)
def test_it_is_told_in_a_line(pairing: Pairing, counts: tuple[int, ...], how: str) -> None:
    assert basis_text(basis_of(pairing, *counts)[3]) == how


def test_of_nodes_it_is_told_how_many_and_what_too_few_of_them_are_allowed() -> None:
    *stands_on, basis = nodes_basis(6, 12, Pairing.ALTERNATING, 0.03)
    assert stands_on == [12, Pairing.ALTERNATING, None]
    assert basis_text(basis) == (
        "6 nodes, 12 processes, alternating blocks in each node: t-interval on their log ratios, "
        "outlying processes left out"
    )
    *_, allowance, basis = nodes_basis(1, 12, Pairing.ALTERNATING, 0.042)
    assert allowance == 0.042
    assert basis_text(basis) == (
        "1 node, 12 processes, alternating blocks in each node: t-interval on their log ratios, "
        "allowance of 4.2% for the spread between nodes added"
    )
    # Of nodes apart, the fewer ones count.
    apart = nodes_apart_basis((7, 2), 12, Pairing.UNPAIRED, 0.1)
    assert apart[2] == 0.1
    assert basis_text(apart[3]).startswith(
        "7 against 2 nodes, none with both, unpaired: Welch's interval on "
    )
    assert nodes_apart_basis((7, 6), 12, Pairing.UNPAIRED, 0.1)[2] is None


def test_the_less_noise_cancels_the_looser_a_pairing_is() -> None:
    for tight, loose in itertools.combinations(Pairing, 2):
        assert loosest([tight, loose]) is loosest([loose, tight]) is loose
    # Blocks in turn have the least noise; processes next to each other share no luck.
    assert Pairing.ALTERNATING.allowance == min(each.allowance for each in Pairing)
    assert Pairing.ADJACENT.allowance == Pairing.UNPAIRED.allowance
