"""Record what really ran: kernels, ops and devices, by a profiler or by what was compiled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MOST = 40
"""Names kept of each kind, the most frequent first; the total is kept next to them."""

LAUNCHERS = ("tensorflow", "xla", "python")
"""What starts operators one by one: TensorFlow's executor, XLA's program, a Python program."""


def most(counts: Counter[str]) -> dict[str, int]:
    """Return the most frequent names and how often each ran."""
    return dict(counts.most_common(MOST))


@dataclass(frozen=True, eq=False)
class Evidence(Mapping[str, Any]):
    """What a model ran for a workload; it reads as the mapping that is recorded.

    source: whose record it is, such as ``torch profiler``. ops, kernels: how often each ran, on the
    host and on the device; None if not recorded. details: other plain data. launches: operators of
    one step that are started one by one, by ``launched_by``, one of ``LAUNCHERS``; None if not
    known. operations: multiplications and additions of a step's products; None if not known.
    """

    source: str
    ops: Counter[str] | None = None
    kernels: Counter[str] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    launches: int | None = None
    launched_by: str = ""
    operations: float | None = None

    def __getitem__(self, name: str) -> Any:
        return self._record()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._record())

    def __len__(self) -> int:
        return len(self._record())

    def _record(self) -> dict[str, Any]:
        record = {"source": self.source, **self.details}
        for kind, counts in (("ops", self.ops), ("kernels", self.kernels)):
            if counts is not None:
                record |= {kind: most(counts), f"{kind}_total": counts.total()}
        if self.launches is not None:
            record |= {"launches": self.launches, "launched_by": self.launched_by}
        if self.operations is not None:
            record["operations"] = self.operations
        return record
