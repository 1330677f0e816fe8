"""Golden files made wrong, for the tests that a reader survives any bytes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

ODD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    st.sampled_from(
        [-1, 0, 1, 2**63, -0.0, 5e-324, 1.7e308, "", "cpu", "copy", "\ud800", "<script>"]
    ),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)


def _places(document: object) -> Iterator[tuple[Any, Any]]:
    """Every place of a document: its container and the key in it."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield document, key
            yield from _places(value)
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield document, index
            yield from _places(value)


def mutate(document: object, data: st.DataObject, count: int) -> None:
    """Replace, delete or double what stands in ``count`` places of a document, drawn from data."""
    for _ in range(count):
        places = list(_places(document))
        if not places:
            break
        container, key = data.draw(st.sampled_from(places))
        action = data.draw(st.sampled_from(["replace", "delete", "double"]))
        if action == "delete":
            del container[key]
        elif action == "double" and isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
        else:
            container[key] = data.draw(ODD_VALUES)


def patched(source: Path, folder: Path, where: float, length: int, patch: bytes) -> Path:
    """A copy in a folder, of which ``length`` bytes at a part ``where`` of the file are others."""
    whole = source.read_bytes()
    start = int(where * len(whole))
    path = folder / source.name
    path.write_bytes(whole[:start] + patch + whole[start + length :])
    return path
