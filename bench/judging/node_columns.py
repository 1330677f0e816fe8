"""The tidy table's columns on nodes, machines of one kind that measured together.

Empty where it is one machine. This room knows the report's rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from bench.judging.rows import Row, Section


@dataclass(frozen=True)
class NodeColumn:
    """A column; unit is empty for what has none."""

    unit: str
    meaning: str
    value: Callable[[Row], float | int | None]
    kind: type[int | float]


NODE_COLUMNS: dict[str, NodeColumn] = {
    "nodes": NodeColumn(
        "machines",
        "of one kind that measured the case, over which the interval of time_s is; empty where "
        "machines are not told apart",
        lambda row: (row.interval and row.interval.nodes) or None,
        int,
    ),
    "spread_between_nodes": NodeColumn(
        "",
        "how far the nodes' times spread beyond what their processes explain (standard deviation "
        "of logarithms: 0.06 is 6%); empty with one node, and where none has two processes",
        lambda row: None if row.interval is None else row.interval.between,
        float,
    ),
    "spread_within_nodes": NodeColumn(
        "",
        "how far the times of one node's processes spread",
        lambda row: None if row.interval is None else row.interval.within,
        float,
    ),
    "ratio_nodes": NodeColumn(
        "machines",
        "of one kind that measured both sides of the ratio, over which its interval is",
        lambda row: None if row.to_baseline is None else row.to_baseline.nodes or None,
        int,
    ),
    "ratio_spread_between_nodes": NodeColumn(
        "",
        "how far the nodes' ratios spread beyond what their processes explain; ratio_spread then "
        "is of the processes of one node",
        lambda row: None if row.to_baseline is None else row.to_baseline.between,
        float,
    ),
}
"""By name, in their order."""


def host(section: Section) -> str:
    """The machine's name, or the names of all nodes."""
    return ", ".join(section.nodes.values()) or section.run.host


def machine_id(section: Section) -> str:
    """The machine's id, or one for all nodes: the same for the same ones."""
    if not section.nodes:
        return section.run.machine_id
    text = "\0".join(sorted(section.nodes))
    return "nodes-" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]
