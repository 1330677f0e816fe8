"""Hold why something is unreliable, missing or wrong: a code, and the values of its sentence.

``render.messages`` has the sentence of each code, and is the only module that turns reasons into
words.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from bench.machine.fields import InputError


class HelpfulOption(enum.Enum):
    """What an option of the command line changes, regardless of its name in a command."""

    MORE_TIME = "more_time"
    THREADS = "threads"


Advice: TypeAlias = tuple[str | HelpfulOption, ...]
"""A sentence in parts.

An option in it is shown under the name that it has in the reader's command.
"""


@dataclass(frozen=True)
class WrittenTexts:
    """Hold why a measurement is invalid or a case has no time, as the sentences in a result file.

    text: the sentence for people, or None in a file that holds only the values from which it is
    made.
    """

    text: str | None
    advice: Advice = ()


@dataclass(frozen=True)
class Reason:
    """Why a number is unreliable or missing, or what it is based on.

    values: the numbers and names that the sentence needs; in files they are JSON scalars. written:
    the sentences of a reason that comes from a file. They are used if the file has no values, or a
    code that this version does not know. managed: whether ``bench.run`` found the reason; advice
    then names options of ``bench.run``.
    """

    code: str
    values: Mapping[str, object] = field(default_factory=dict, hash=False)
    written: WrittenTexts | None = None
    managed: bool = False


NO_REASON = Reason("")


class ReasonedError(InputError):
    """A request cannot be answered, for a reason with a code and values."""

    def __init__(self, code: str, **values: object) -> None:
        super().__init__(f"{code}: {values}")
        self.reason = Reason(code, values)
