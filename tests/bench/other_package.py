"""A package of somebody else's that brings backends by entry points, there for one test only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def install(folder: Path, name: str, source: str, backends: Mapping[str, str]) -> None:
    """Put the module ``name`` into a folder that is to stand in PYTHONPATH.

    backends: the class of each strategy, by the name it is registered under.
    """
    info = folder / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    (folder / f"{name}.py").write_text(source)
    points = "\n".join(f"{strategy} = {name}:{cls}" for strategy, cls in backends.items())
    (info / "entry_points.txt").write_text(f"[lstm_impl.backends]\n{points}\n")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
