"""Hold the findings of a check: for each network, the gate's result, the differences and causes."""

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
"""The version of the plain data that ``CheckFindings.to_dict`` returns."""


@dataclass(frozen=True)
class CheckedNetwork:
    """Hold the findings for one network and workload.

    Attributes
    ----------
    spec, workload
        The network, and what was computed with it.
    result
        The errors and bounds that the gate measured.
    deviations
        A description of each wrong array of each call.
    causes
        The likely causes, the best match first.
    """

    spec: LSTMSpec
    workload: Workload
    result: GateResult
    deviations: Sequence[Deviation] = ()
    causes: Sequence[Cause] = ()


@dataclass(frozen=True)
class CheckFindings:
    """Hold the findings of a check as data. ``CheckResult`` adds the words.

    Attributes
    ----------
    target
        The name of the target, as the user gave it.
    how
        The way in which the target was called, in words.
    networks
        The networks, in the order in which they were checked.
    notes
        What was not checked, and why.
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
        """The likely causes of all networks, with each mistake listed once."""
        found: dict[str, Cause] = {}
        for network in self.networks:
            for cause in network.causes:
                found.setdefault(cause.name, cause)
        return list(found.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the findings as plain data, which ``--json`` prints."""
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
