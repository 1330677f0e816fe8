"""Make a folder for every command: two sessions, two devices, windows and a map."""

import json
import shutil
from pathlib import Path
from typing import Any

from bench import records
from bench.machine.fields import ResultError
from bench.records import maps
from tests.attack.commands import OLDER
from tests.bench.made_texts import write_store
from tests.payloads import Documents


def make(folder: Path) -> None:
    store = write_store(folder / "made", lambda document: document)
    for path in (*store.new.iterdir(), *store.windows.iterdir(), store.learning):
        path.rename(folder / path.name)
    store.old.rename(folder / OLDER)
    shutil.rmtree(folder / "made")


def _save(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")


def load(folder: Path) -> Documents:
    return {
        str(path.relative_to(folder)): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.json"))
    }


def save(folder: Path, documents: Documents) -> None:
    for name, document in documents.items():
        _save(folder / name, document)


def accepts(folder: Path, name: str, document: Any) -> bool:
    """Return whether a file with this content can be read. folder: where it is written."""
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
