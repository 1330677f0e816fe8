"""Install a package with backends or cells in entry points, for one test."""

from collections.abc import Mapping
from pathlib import Path


def install(
    folder: Path,
    name: str,
    source: str,
    backends: Mapping[str, str],
    cells: Mapping[str, str] | None = None,
) -> None:
    """Write the module ``name`` into a folder of PYTHONPATH.

    backends: the class of each strategy, by its registered name. cells: the instance of each cell,
    by its registered name.
    """
    info = folder / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    (folder / f"{name}.py").write_text(source)
    groups = {"lstm_impl.backends": backends, "lstm_impl.cells": cells or {}}
    lines = []
    for group, points in groups.items():
        lines += [f"[{group}]", *(f"{point} = {name}:{place}" for point, place in points.items())]
    (info / "entry_points.txt").write_text("\n".join([*lines, ""]))
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
