"""The usual windows, read once for all tests of this room."""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.stats.along import Stream
from bench.windows.answer import Place
from tests.bench import made_windows as made


@pytest.fixture(scope="session")
def stream(usual_windows: Path) -> Stream:
    """The usual stream."""
    (found,) = made.read_streams([usual_windows])
    return found


@pytest.fixture(scope="session")
def usual(usual_windows: Path) -> list[Place]:
    """What the usual windows can answer."""
    return made.read_places([usual_windows])


@pytest.fixture(scope="session")
def learning(stream: Stream) -> Callable[..., Stream]:
    """The usual stream with what was learned at some windows; at the others nothing was."""

    @functools.cache
    def learn(*distances: tuple[int, int]) -> Stream:
        furthest = {k: dict(distances).get(k, 0) for k in made.WINDOWS}
        return replace(stream, learned=made.learned_through(furthest))

    return learn
