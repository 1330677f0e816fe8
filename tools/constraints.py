"""Run ``python -m tools.constraints [--upgrade]``: pin the versions of all extras' packages.

The command needs ``uv`` and a package index. Without ``--upgrade``, a version stays as long as it
satisfies ``pyproject.toml``. One file serves all platforms and versions of Python, so that nobody
has to choose.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "constraints.txt"

_HEADER = """\
# Versions with which the tests passed; made by: python -m tools.constraints [--upgrade]
# For Python 3.14, for which TensorFlow has no release, nothing is pinned.
"""


def resolve(*options: str) -> str:
    """Let uv write its pins to the file, and return them. Raise CalledProcessError if it fails."""
    subprocess.run(
        [
            *("uv", "pip", "compile", "pyproject.toml", "--universal", "--all-extras", "--quiet"),
            *("--python-version", "3.11", "--no-annotate", "--no-header", "-o", str(FILE)),
            *options,
        ],
        cwd=ROOT,
        check=True,
    )
    return FILE.read_text(encoding="utf-8")


def shorten(pins: str) -> str:
    """Return the pins with only the version of Python as their marker.

    A package that is pinned to several versions keeps its markers. For the others no marker is
    needed, because a constraint has no effect where its package is not installed.
    """
    lines = pins.splitlines()
    count = Counter(line.partition("==")[0] for line in lines)
    return _HEADER + "".join(
        f"{line.partition(' ; ')[0]} ; python_version < '3.14'\n"
        if count[line.partition("==")[0]] == 1
        else f"{line}\n"
        for line in lines
    )


if __name__ == "__main__":
    FILE.write_text(shorten(resolve(*sys.argv[1:])), encoding="utf-8")
