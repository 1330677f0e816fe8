"""Install a package of backends that each misbehave in one way.

Their classes are made from one table of phases and deeds. The tests also measure ``numpy``, which
behaves.
"""

from pathlib import Path

from tests.bench import other_package
from tests.hostile.deeds import DEEDS, PLACES

NAME = "hostile_lstm"


def backends() -> list[str]:
    """Return the ids of all backends: ``exits_in_build`` and so on."""
    return [f"{deed}_in_{place}" for place in PLACES for deed in DEEDS]


def install(folder: Path) -> None:
    """Put the package into a folder for PYTHONPATH."""
    source = Path(__file__).with_name("deeds.py").read_text(encoding="utf-8")
    classes = {name: name for name in backends()}
    other_package.install(folder, NAME, source, classes)
