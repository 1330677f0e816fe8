"""The sizes of a case: what a user spells, and with what the id of a case begins."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.disk.fields import InputError

SIZES = ("batch", "timesteps", "inputs", "hidden")

SPELLING = "b64-t25-i512-h512"

_SPELLED = re.compile(r"b(\d+)-t(\d+)-i(\d+)-h(\d+)")


@dataclass(frozen=True)
class Shape:
    """Sizes of a layer and its batch: input ``[batch, timesteps, inputs]``, ``hidden`` units."""

    batch: int
    timesteps: int
    inputs: int
    hidden: int

    @classmethod
    def parse(cls, text: str) -> Shape:
        """The shape spelled ``b64-t25-i512-h512``. Raises InputError for anything else."""
        match = _SPELLED.fullmatch(text)
        if match is None or "0" in match.groups():
            raise InputError(f"{text!r} is no shape; expected one such as {SPELLING}")
        return cls(*map(int, match.groups()))

    def __str__(self) -> str:
        return f"b{self.batch}-t{self.timesteps}-i{self.inputs}-h{self.hidden}"
