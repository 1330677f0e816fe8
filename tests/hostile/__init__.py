"""A package of backends that misbehave, each in one way, and how to install it for a test.

What they do is done by classes made from one table: where in a case's life, and what. Beside them
the tests measure ``numpy``, which is innocent.
"""

from __future__ import annotations

from pathlib import Path

from tests.bench import other_package
from tests.hostile.deeds import DEEDS, PLACES

NAME = "hostile_lstm"


def backends() -> list[str]:
    """The ids of all of them: ``exits_in_build`` and so on."""
    return [f"{deed}_in_{place}" for place in PLACES for deed in DEEDS]


def install(folder: Path) -> None:
    """Put the package into a folder that is to stand in PYTHONPATH."""
    source = Path(__file__).with_name("deeds.py").read_text(encoding="utf-8")
    classes = {name: name for name in backends()}
    other_package.install(folder, NAME, source, classes)
