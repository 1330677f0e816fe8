"""Hold why something is unreliable, missing or wrong: a code, and the values of its sentence.

``render.messages`` has the sentence of each code.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.machine.fields import InputError


@dataclass(frozen=True)
class Reason:
    """Why a number is unreliable or missing, or what it is based on.

    values: the numbers and names that the sentence needs; in files they are JSON scalars. A reason
    that a file holds also has ``text`` and ``advice``, as the program that wrote it said them.
    """

    code: str
    values: Mapping[str, object] = field(default_factory=dict, hash=False)


NO_REASON = Reason("")


class ReasonedError(InputError):
    """Raised with a reason where a request cannot be answered."""

    def __init__(self, code: str, **values: object) -> None:
        super().__init__(f"{code}: {values}")
        self.reason = Reason(code, values)
