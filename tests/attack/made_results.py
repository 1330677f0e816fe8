"""A folder that has something for every command: two sessions, two devices, windows and a map."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench import records
from bench.machine.fields import ResultError
from bench.records import maps
from tests.attack.commands import OLDER
from tests.bench.made_windows import Cost, write_learning, write_windows
from tests.payloads import Documents, Texts, replaced
from tests.places import GOLDEN

COSTS = {
    "while_loop": Cost(2e-3, 4e-4),
    "static_unroll": Cost(4e-4, 3e-4, reaches=10),
}


def make(folder: Path) -> None:
    """Write it."""
    for number in (1, 2):
        document = json.loads((GOLDEN / f"replicate-{number}.json").read_text())
        _save(folder / f"golden-{number}.json", document)
        _save(folder / OLDER / f"golden-{number}.json", _a_year_before(document))
    for device in ("cpu", "gpu:0"):
        session = f"windows-{device[:3]}"
        write_windows(
            folder,
            COSTS,
            (3, 10, 30, None),
            processes=2,
            session=session,
            device=device,
            timesteps=60,
        )
    write_learning(folder, {3: 1, 10: 3, 30: 8})


def _a_year_before(document: Any) -> Any:
    """The same run in another session, with another version of a library."""
    run = document["lstm"]["run"]
    return replaced(
        document,
        Texts(
            {
                run["id"]: f"{run['id']}-older",
                run["session"]: f"{run['session']}-older",
                run["started"]: run["started"].replace("2025", "2024", 1),
                run["finished"]: run["finished"].replace("2025", "2024", 1),
            }
        ),
    )


def _save(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")


def load(folder: Path) -> Documents:
    """All of its files by their names, relative to it."""
    return {
        str(path.relative_to(folder)): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.json"))
    }


def save(folder: Path, documents: Documents) -> None:
    """Write documents under their names."""
    for name, document in documents.items():
        _save(folder / name, document)


def accepts(folder: Path, name: str, document: Any) -> bool:
    """Whether the file with this content is read. folder: where it is written for that."""
    path = folder / Path(name).name
    _save(path, document)
    try:
        if "learning" in document:
            maps.read(path)
        else:
            records.read(path)
    except ResultError:
        return False
    finally:
        path.unlink()
    return True
