"""Write reasons into result files as codes and values, and read those of every version.

Files of schema 1 and 2 also hold the sentences of a reason. If such a file has no values, or a code
that this version does not know, its sentences are kept as they are. Their advice names options of
the command that measured. These options are recognized here, and nowhere else.
"""

import re
from collections.abc import Iterator, Mapping

from bench.case.cases import Case
from bench.machine.reasons import Advice, HelpfulOption, Reason, WrittenTexts

WITHOUT_CODE = "recorded"
"""The code of a reason of which only the text is known."""

_OPTIONS = {
    "--lstm-budget SECONDS": HelpfulOption.MORE_TIME,
    "--seconds TIME": HelpfulOption.MORE_TIME,
    "--lstm-threads": HelpfulOption.THREADS,
    "--threads": HelpfulOption.THREADS,
}
"""The names of options in the advice of older files.

They are options of pytest and of ``bench.run``.
"""

_NAMES = re.compile("|".join(map(re.escape, _OPTIONS)))


def as_recorded(reason: Reason) -> dict[str, object]:
    """Return what a file holds of a reason: its code and its values."""
    return {"code": reason.code, "values": dict(reason.values)}


def outcome_as_recorded(case: Case, outcome: str, reason: Reason) -> dict[str, object]:
    """Return what a file holds of a case without a time."""
    about = {"outcome": outcome, **as_recorded(reason)}
    return {"case": case.to_dict(), "case_id": case.id, **about}


def read_reason(
    code: str | None,
    values: Mapping[str, object] | None,
    text: str | None,
    advice: str | None,
    managed: bool,
) -> Reason:
    """Return the reason in the fields of a file of any version.

    code: None in the oldest files, which have only the text. text, advice: None in files of this
    version. managed: whether ``bench.run`` measured; advice then names options of ``bench.run``.
    """
    written = WrittenTexts(text, _find_options(advice or ""))
    return Reason(code or WITHOUT_CODE, values or {}, written, managed)


def _find_options(advice: str) -> Advice:
    """Return a sentence of an older file in parts: texts, and the options that it names."""

    def parts() -> Iterator[str | HelpfulOption]:
        end = 0
        for found in _NAMES.finditer(advice):
            yield advice[end : found.start()]
            yield _OPTIONS[found[0]]
            end = found.end()
        yield advice[end:]

    return tuple(part for part in parts() if part)
