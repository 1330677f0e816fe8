"""Reasons as codes with values; ``render.messages`` writes the sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Reason:
    """Why a number is not to be trusted, or a verdict not firmer.

    code: what kind of reason. values: the numbers and names that a sentence about it needs.
    """

    code: str
    values: Mapping[str, object] = field(default_factory=dict)
