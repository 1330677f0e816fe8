"""The tidy table's columns on bridges, over which backends of different environments are compared.

Empty where a ratio is over none. This room knows the report's rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.judging.comparison import Apart
from bench.judging.rows import Row


@dataclass(frozen=True)
class BridgeColumn:
    """A column; none has a unit. value: of a bridge of the row's ratio to the baseline."""

    meaning: str
    of_bridge: Callable[[Apart], str | float | None]
    kind: type[str | float]

    def value(self, row: Row) -> str | float | None:
        """What a row says."""
        apart = row.to_baseline and row.to_baseline.apart
        return self.of_bridge(apart) if apart else None


BRIDGE_COLUMNS: dict[str, BridgeColumn] = {
    "ratio_bridge": BridgeColumn(
        "the backend in the processes of both sides over which ratio is made, where these are of "
        "different environments",
        lambda apart: apart.bridge,
        str,
    ),
    "bridge_ratio": BridgeColumn(
        "that backend's time in the row's processes over its time in the baseline's, over all of "
        "its cases on the device; 1 where it is the same in both",
        lambda apart: apart.found.ratio.mid,
        float,
    ),
    "bridge_ratio_low": BridgeColumn(
        "lower bound of its 99.5% interval", lambda apart: apart.found.ratio.low, float
    ),
    "bridge_ratio_high": BridgeColumn(
        "upper bound of it", lambda apart: apart.found.ratio.high, float
    ),
    "ratio_note": BridgeColumn(
        "where that interval lies beyond 1%: by how much ratio's own is wider for it, and what to "
        "do",
        lambda apart: apart.note if apart.uneven else None,
        str,
    ),
}
"""By name, in their order."""
