"""The file of the best roofs: what it keeps, how long, and damaged contents."""

import json
from pathlib import Path

import pytest

from bench.worker import roofs
from bench.worker.roofs import RoofFile, default_path

ROOF = json.dumps(("matmul", "cpu", "float32", 2))
DAY = 86400.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "roofs.json"


def saw(file: Path, seconds: float, library: str = "a 1", when: float = 0.0) -> None:
    seen = RoofFile(file, lambda: when)
    seen.add(("here", ROOF, library), seconds, library)
    seen.save()


def best(file: Path, when: float = 0.0, machine: str = "here") -> float | None:
    found = RoofFile(file, lambda: when).best(machine, ROOF)
    return None if found.by == "" else found.seconds


def test_best_several_processes_is_the_fastest(file: Path) -> None:
    for seconds, library in ((3.0, "a 1"), (2.0, "a 1"), (4.0, "a 1"), (2.5, "b 1")):
        saw(file, seconds, library)
    assert best(file) == 2.0
    assert best(file, machine="elsewhere") is None
    assert RoofFile(file, lambda: 0.0).best("here", "chain") is roofs.NO_ROOF


def test_best_roof_older_than_a_month_does_not_count(file: Path) -> None:
    saw(file, 1.0)
    assert best(file, 29 * DAY) == 1.0
    assert best(file, 31 * DAY) is None
    saw(file, 2.0, when=31 * DAY)
    assert best(file, 31 * DAY) == 2.0
    # a time in the future does not count
    assert best(file, 30 * DAY) is None


def test_settled_three_processes_is_true(file: Path) -> None:
    for number in range(3):
        assert not RoofFile(file, lambda: 0.0).is_settled(("here", ROOF, "a 1"))
        seen = RoofFile(file, lambda: 0.0)
        for _ in range(5):  # however often in one process
            seen.add(("here", ROOF, "a 1"), 2.0 + number, "a")
            seen.save()
    seen = RoofFile(file, lambda: 0.0)
    assert seen.is_settled(("here", ROOF, "a 1"))
    assert not seen.is_settled(("here", ROOF, "a 2"))
    assert not RoofFile(file, lambda: 31 * DAY).is_settled(("here", ROOF, "a 1"))


def test_settled_in_a_session_after_one_process(file: Path, tmp_path: Path) -> None:
    place = ("here", ROOF, "a 1")

    def opened(session: str) -> RoofFile:
        return RoofFile(file, lambda: 0.0, tmp_path / session / "roofs.json")

    first = opened("one")
    assert not first.is_settled(place)
    first.add(place, 2.0, "a")
    first.save()
    assert opened("one").is_settled(place)
    assert opened("one").best("here", ROOF).seconds == 2.0
    assert not opened("one").is_settled(("here", ROOF, "a 2"))
    # A later session measures it again, until enough processes have.
    second = opened("two")
    assert not second.is_settled(place)
    assert second.best("here", ROOF).seconds == 2.0


def test_session_without_a_file_of_the_machine_shares_its_own(tmp_path: Path) -> None:
    place, session = ("here", ROOF, "a 1"), tmp_path / "roofs.json"
    first = RoofFile(None, lambda: 0.0, session)
    first.add(place, 2.0, "a")
    first.save()
    second = RoofFile(None, lambda: 0.0, session)
    assert second.is_settled(place)
    assert second.best("here", ROOF).seconds == 2.0


VALID = {
    "machine": "here",
    "roof": ROOF,
    "library": "a 1",
    "seconds": 1.0,
    "by": "a",
    "processes": 1,
    "when": 0.0,
}


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00{",
        *("", "{", "null", "[" * 100_000, '{"schema": 2, "seen": []}', '{"schema": 1}'),
        '{"schema": 1, "seen": [3, null, {}, {"machine": "here"}]}',
        *(
            json.dumps({"schema": 1, "seen": [{**VALID, key: value}]})
            for key, value in (
                *(("seconds", 0), ("seconds", float("nan")), ("seconds", "fast")),
                *(("processes", 1.5), ("when", "today"), ("machine", 3)),
            )
        ),
    ],
)
def test_file_damaged_is_replaced(
    file: Path, content: str | bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.parent.mkdir()
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert best(file) is None
    saw(file, 2.0)
    assert best(file) == 2.0
    monkeypatch.setattr(roofs, "LARGEST", 10)
    assert best(file) is None


def test_save_unwritable_path_is_no_error(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("no folder")
    saw(in_the_way / "roofs.json", 1.0)
    assert best(in_the_way / "roofs.json") is None
    folder = tmp_path / "roofs.json"
    folder.mkdir()
    saw(folder, 1.0)
    assert best(folder) is None
    assert not list(folder.iterdir())
    # no unfinished file is left
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "roofs.json"]


def test_default_path_is_in_the_cache_folder_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def somewhere(name: str) -> Path:
        return tmp_path / name

    named = tmp_path / "mine.json"
    assert default_path({"LSTM_ROOFS": str(named)}) == named
    assert default_path({"LSTM_ROOFS": "off"}) is None
    assert default_path({"LSTM_CACHE": "off", "LSTM_ROOFS": str(named)}) is None
    monkeypatch.setattr(roofs, "user_cache_path", somewhere)
    assert default_path({}) == tmp_path / "lstm-benchmark-suite" / "roofs.json"
    # What platformdirs returns without a home.
    monkeypatch.setattr(roofs, "user_cache_path", lambda name: Path("~/.cache") / name)
    assert default_path({}) is None

    def nowhere(name: str) -> Path:
        raise RuntimeError("could not determine home directory")

    monkeypatch.setattr(roofs, "user_cache_path", nowhere)
    assert default_path({}) is None
