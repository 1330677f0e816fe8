"""Where results are written and looked for: one folder, said in one place, nothing to import."""

from __future__ import annotations

import os

DEFAULT_FOLDER = "results"

RESULTS_VARIABLE = "LSTM_RESULTS"
"""The environment variable that names another folder."""

LEARNING_PREFIX = "learning-"
"""How the files of ``bench.learning`` begin; they lie in the same folder and hold no times."""


def default_folder() -> str:
    """The folder, if nobody names one."""
    return os.environ.get(RESULTS_VARIABLE) or DEFAULT_FOLDER
