"""Hold what a check found: for each network the gate's result, where arrays differ, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lstm_impl.checking.causes import Cause
from lstm_impl.checking.deviation import Deviation
from lstm_impl.proof.check import GateResult
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload

SCHEMA = 1
"""Version of the plain data."""


@dataclass(frozen=True)
class CheckedNetwork:
    """One network and workload.

    result: the gate's. deviations: each array of each call that is wrong. causes: likely ones.
    """

    spec: LSTMSpec
    workload: Workload
    result: GateResult
    deviations: Sequence[Deviation] = ()
    causes: Sequence[Cause] = ()


@dataclass(frozen=True)
class CheckFindings:
    """What a check found, as data; ``CheckResult`` has the words too.

    target: as it was named. how: how it was called, in words. networks: in the order in which they
    were checked. notes: what was not checked, and why.
    """

    target: str
    how: str
    networks: Sequence[CheckedNetwork]
    notes: Sequence[str] = ()

    @property
    def passed(self) -> bool:
        """Whether every result is within its bound."""
        return all(network.result.passed for network in self.networks)

    def __bool__(self) -> bool:
        return self.passed

    @property
    def causes(self) -> list[Cause]:
        """The likely causes of all networks, each mistake once."""
        found: dict[str, Cause] = {}
        for network in self.networks:
            for cause in network.causes:
                found.setdefault(cause.name, cause)
        return list(found.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as ``--json`` prints it."""
        return {
            "schema": SCHEMA,
            "target": self.target,
            "how": self.how,
            "passed": self.passed,
            "notes": list(self.notes),
            "networks": [
                {
                    "spec": network.spec.to_dict(),
                    "batch": network.workload.batch,
                    "timesteps": network.workload.timesteps,
                    "mode": network.workload.mode,
                    "passed": network.result.passed,
                    "judge": network.result.judge,
                    "errors": {
                        name: {
                            "found": found if math.isfinite(found) else None,
                            "allowed": network.result.bounds[name],
                        }
                        for name, found in network.result.errors.items()
                    },
                    "deviations": [each.to_dict() for each in network.deviations],
                    "causes": [
                        {
                            "name": cause.name,
                            "details": list(cause.details),
                            "sentence": cause.sentence,
                        }
                        for cause in network.causes
                    ],
                }
                for network in self.networks
            ],
        }
