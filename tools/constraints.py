"""Pin what the extras bring, for all platforms: ``python -m tools.constraints [--upgrade]``.

It needs ``uv`` and an index. Without ``--upgrade`` a version stays for as long as it satisfies
``pyproject.toml``. One file serves every platform and Python, so that nobody must choose.
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
    """Write uv's pins to the file and return them. Raises CalledProcessError if it fails."""
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
    """Return the pins with the Python as their marker, but for a name with several versions.

    A constraint on a package that a platform does not need says nothing there.
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
