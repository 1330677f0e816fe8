"""Where results are written and looked for: one folder, said in one place."""

from __future__ import annotations

import os
import re
from pathlib import Path

from bench.machine.fields import InputError, printable

DEFAULT_FOLDER = "results"

REFERENCE = "reference"
"""The folder beside a person's own results that holds the committed ones."""

RESULTS_VARIABLE = "LSTM_RESULTS"
"""The environment variable that names another folder, or a URL."""

LEARNING_PREFIX = "learning-"
"""The prefix of files of ``bench.echo windows``. They lie in the same folder and hold no times;
which they are stands in them (``meant_for_learning``): a suite may be called so, too."""

_FIRST_KEY = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"(\w+)"\s*:')


def default_folder() -> str:
    """The folder, if nobody names one."""
    return os.environ.get(RESULTS_VARIABLE) or DEFAULT_FOLDER


def holds_study(path: Path) -> bool:
    """Whether a file is a study's (``results.study``), by how it begins."""
    return _first_key(path) == "study"


def holds_no_cases(path: Path) -> bool:
    """Whether a file lies among results and holds none of cases."""
    return _first_key(path) in ("learning", "study")


def meant_for_learning(path: Path) -> bool:
    """Whether it is one of these, or is named so and cannot be told: then its reader says why."""
    key = _first_key(path)
    return key == "learning" or (not key and path.name.startswith(LEARNING_PREFIX))


def _first_key(path: Path) -> str:
    try:
        if not path.is_file():
            return ""  # a pipe may never end
        with path.open("rb") as file:
            found = _FIRST_KEY.match(file.read(256))
    except (OSError, ValueError):
        return ""
    return "" if found is None else found[1].decode()


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]+://")


def is_url(path: object) -> bool:
    """Whether a path of a command line is a URL, which ``Path`` cannot hold: it halves the ``//``.

    ``machine.remote`` knows such places.
    """
    return isinstance(path, str) and _URL.match(path) is not None


class FolderError(InputError):
    """A path cannot be made out; one line."""


def expanded(text: str) -> Path:
    """A path, with ``~`` at its beginning as the home that it stands for.

    Raises FolderError where nobody knows that home, and for a URL.
    """
    if is_url(text):
        raise FolderError(
            f"{printable(text)}: here a folder of this machine is needed; what reads results, and "
            "`python -m bench.run --results`, take a URL"
        )
    try:
        return Path(text).expanduser()
    except RuntimeError:
        home = text.partition("/")[0]
        raise FolderError(
            f"{printable(text)}: it is not known where {home} is; write the path in full"
        ) from None
