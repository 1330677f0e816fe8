"""Install a package with backends in entry points, for one test."""

from collections.abc import Mapping
from pathlib import Path


def install(folder: Path, name: str, source: str, backends: Mapping[str, str]) -> None:
    """Write the module ``name`` into a folder of PYTHONPATH.

    backends: the class of each strategy, by its registered name.
    """
    info = folder / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    (folder / f"{name}.py").write_text(source)
    points = "\n".join(f"{strategy} = {name}:{cls}" for strategy, cls in backends.items())
    (info / "entry_points.txt").write_text(f"[lstm_impl.backends]\n{points}\n")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
