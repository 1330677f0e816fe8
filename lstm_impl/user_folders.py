"""Find the user's folders for caches and data, where platformdirs finds them too.

This library needs nothing except NumPy, and so it does not use platformdirs itself. A folder can be
relative, if the user has no home folder.
"""

import os
import sys
from pathlib import Path

NAME = "lstm-benchmark-suite"
"""The name of this project's folder. The library and the benchmark suite share it."""


def find_cache_folder() -> Path:
    """Return this project's folder for files that can be made again.

    Only Linux has such files: the libraries that a compiler has made.
    """
    return _find("XDG_CACHE_HOME", "~/.cache") / NAME


def find_data_folder() -> Path:
    """Return this project's folder for files that should be kept."""
    if sys.platform == "win32":
        # Windows expects a folder for the author around that of the program.
        return _find("LOCALAPPDATA", "~/AppData/Local") / NAME / NAME
    if sys.platform == "darwin":
        return _find("XDG_DATA_HOME", "~/Library/Application Support") / NAME
    return _find("XDG_DATA_HOME", "~/.local/share") / NAME


def _find(variable: str, default: str) -> Path:
    """Return the folder that an environment variable names, or the default below the home folder.

    A relative path in a variable is ignored, as the XDG Base Directory Specification demands.
    """
    named = Path(os.environ.get(variable, ""))
    return named if named.is_absolute() else Path(os.path.expanduser(default))  # noqa: PTH111
