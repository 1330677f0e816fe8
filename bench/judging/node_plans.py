"""Whether more nodes or more processes on each would find a difference, and how many."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bench.judging.basis import Pairing
from bench.judging.between import RATIO_ALLOWANCE, means_over_nodes
from bench.judging.process_means import ENOUGH_PROCESSES, VERDICT_CONFIDENCE

MOST_NODES, MOST_PROCESSES = 50, 100
"""What somebody may be told to find: more is no plan."""


@dataclass(frozen=True)
class Plan:
    """What finds an effect: so many processes on each of the nodes there are, or so many nodes.

    Each None where not even the most of them would.
    """

    processes: int | None
    nodes: int | None


def plan(effect: float, nodes: int, processes: int, between: float, within: float) -> Plan:
    """What finds a true ``effect`` (0.05 is 5%) in about nine of ten cases.

    nodes, processes: how many there are, the latter on each node. between, within: how far the
    ratios of nodes spread, and those of one node's processes (standard deviations of logs). Each
    number asked for is the smallest, with the other left as it is, and no smaller than it is now.
    """
    wanted = math.log1p(effect)

    def finds(on: int, of_each: int) -> bool:
        return findable(on, of_each, between, within) <= wanted

    more = (n for n in range(processes, MOST_PROCESSES + 1) if finds(nodes, n))
    further = (n for n in range(nodes, MOST_NODES + 1) if finds(n, processes))
    return Plan(next(more, None), next(further, None))


def findable(
    nodes: int, processes: int, between: float, within: float, power: float = 0.9
) -> float:
    """The log of the least effect that nodes which spread just like that find so often.

    By the rule itself (``between.means_over_nodes``), with the spread taken as known: no plan for a
    single verdict, but it says what helps.
    """
    from scipy import special

    known = within if processes >= ENOUGH_PROCESSES else max(within, Pairing.ALTERNATING.allowance)
    shape = np.linspace(-1.0, 1.0, nodes)
    spread = math.hypot(between, within / math.sqrt(processes))
    values = spread * shape / np.std(shape, ddof=1) if nodes > 1 else np.zeros(1)
    errors = np.full((1, nodes), known / math.sqrt(processes))
    degrees = np.full((1, nodes), max(processes - 1.0, 1.0))
    means = means_over_nodes(values[None], errors, degrees, RATIO_ALLOWANCE)
    quantile = special.stdtrit(means.degrees[0], (1 + VERDICT_CONFIDENCE) / 2)
    return float((quantile + special.ndtri(power)) * means.errors[0])
