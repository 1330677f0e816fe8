"""Fixtures of several test files, most of them made once."""

import functools
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.verdicts.along import AxisSeries
from bench.verdicts.recommend import MeasuredWindows
from tests.bench import made_windows as made
from tests.bench.made_nodes import a_case
from tests.bench.made_results import replicates, save
from tests.bench.measured_project import SUITE, WITHOUT, Project
from tests.bench.warm_pytest import WarmPytest


@pytest.fixture(scope="session")
def usual_windows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the default windows."""
    path = tmp_path_factory.mktemp("windows")
    made.write_windows(path)
    return path


@pytest.fixture(scope="session")
def usual(usual_windows: Path) -> list[MeasuredWindows]:
    """The measured shapes of the default windows."""
    return made.read_places([usual_windows])


@pytest.fixture(scope="session")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default windows of one process."""
    path = tmp_path_factory.mktemp("one")
    made.write_windows(path, processes=1)
    return path


@pytest.fixture
def signals() -> Iterator[None]:
    """Restore the signal handlers that a command replaces."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmPytest]:
    """A pytest that has imported the suite; each run is a fork of it."""
    project = Project(tmp_path_factory.mktemp("warm"))
    # It measures other cases than its forks.
    project.suite.write_text(SUITE.replace("hidden_size = 2", "hidden_size = 3"))
    with WarmPytest(project.folder, [*WITHOUT, *project.suited]) as warm:
        yield warm


@pytest.fixture
def project(tmp_path: Path, warm: WarmPytest) -> Project:
    """This project, measured in forks."""
    return Project(tmp_path, warm)


@pytest.fixture
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder without results."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def slower(tmp_path: Path) -> list[str]:
    """Arguments that compare six runs with six that are slower in one of two cases."""
    times = {a_case("keras"): 1.3, a_case("scan"): 1.0}
    base = save(tmp_path / "old", replicates("b", dict.fromkeys(times, 1.0), jitter=0.005))
    new = save(tmp_path / "new", replicates("n", times, jitter=0.005))
    return ["runs", str(base), str(new)]


@pytest.fixture(scope="session")
def stream(usual_windows: Path) -> AxisSeries:
    (found,) = made.read_streams([usual_windows])
    return found


@pytest.fixture(scope="session")
def learning(stream: AxisSeries) -> Callable[..., AxisSeries]:
    """Return the default stream with distances learned at some windows only."""

    @functools.cache
    def learn(*distances: tuple[int, int]) -> AxisSeries:
        furthest = {k: dict(distances).get(k, 0) for k in made.WINDOWS}
        return replace(stream, learned=made.make_learned_map(furthest))

    return learn
