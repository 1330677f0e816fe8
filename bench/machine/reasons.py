"""Hold why something is unreliable, missing or wrong: a code, and the values of its sentence.

``render.messages`` has the sentence of each code, and the only place that turns reasons into words.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from bench.machine.fields import InputError


class HelpfulOption(enum.Enum):
    """What an option of the command line changes, whatever a command calls that option."""

    MORE_TIME = "more_time"
    THREADS = "threads"


Advice: TypeAlias = tuple[str | HelpfulOption, ...]
"""A sentence in parts; an option in it is shown by the name that the reader's command gives it."""


@dataclass(frozen=True)
class WrittenTexts:
    """The sentences that a file holds of a reason; text: None in files that have only values."""

    text: str | None
    advice: Advice = ()


@dataclass(frozen=True)
class Reason:
    """Why a number is unreliable or missing, or what it is based on.

    values: the numbers and names that the sentence needs; in files they are JSON scalars. written:
    of a reason from a file, the sentences there. They serve where the file has no values, or a code
    that this version does not know. managed: whether ``bench.run`` found it, whose options advice
    then names.
    """

    code: str
    values: Mapping[str, object] = field(default_factory=dict, hash=False)
    written: WrittenTexts | None = None
    managed: bool = False


NO_REASON = Reason("")


class ReasonedError(InputError):
    """Raised with a reason where a request cannot be answered."""

    def __init__(self, code: str, **values: object) -> None:
        super().__init__(f"{code}: {values}")
        self.reason = Reason(code, values)
