from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import case as suites
from bench import records
from bench.machine.fields import ResultError
from bench.machine.reading import journal_lines, parse_json, regular_bytes
from bench.records import maps

READERS: dict[str, Callable[[Path], object]] = {
    "bytes": regular_bytes,
    "result": records.read,
    "map": maps.read,
    "cases": lambda path: suites.load_cases(path, suites.load("smoke")),
}


@pytest.mark.parametrize("name", sorted(READERS))
def test_a_pipe_without_a_writer_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(ValueError, match=r"pipe\.json is not a regular file"):
        READERS[name](tmp_path / "pipe.json")


@pytest.mark.parametrize("name", sorted(READERS))
@pytest.mark.parametrize("place", ["/dev/zero", "/dev/null"])
def test_a_device_is_refused(place: str, name: str) -> None:
    with pytest.raises(ValueError, match=f"{place} is not a regular file"):
        READERS[name](Path(place))


def test_a_file_is_read_up_to_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert regular_bytes(path, 5) == b"12345"
    with pytest.raises(ResultError, match="a is larger than 4 bytes, the most that is read"):
        regular_bytes(path, 4)


def test_a_terabyte_of_nothing_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.json"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ResultError, match="is larger than 1,000 bytes"):
        regular_bytes(path, 1000)


@pytest.mark.parametrize(
    ("name", "told"),
    [("nothing", "does not exist"), ("", "is a folder"), ("x" * 5000, "name too long")],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(ResultError, match=told):
        regular_bytes(tmp_path / name)


def test_a_path_with_a_null_is_told() -> None:
    with pytest.raises(ResultError, match="cannot be read: embedded null byte"):
        regular_bytes(Path("a\0b"))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\xff", "is not UTF-8 text (byte 0)"),
        (b"{", "is cut off or not JSON"),
        (b"1" * 5000, "holds a number of too many digits"),
        (b'{"b": [{"a\\u001b": 1, "a\\u001b": 1}]}', 'has the key "a\\u001b" twice in one object'),
    ],
)
def test_what_is_no_json_is_told_with_its_place(data: bytes, told: str) -> None:
    with pytest.raises(ResultError) as caught:
        parse_json(Path("a.json"), data, "line 3:")
    assert told in str(caught.value)
    assert "line 3:" in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_the_json() -> None:
    assert parse_json(Path("a.json"), b"\xef\xbb\xbf[1]") == [1]


def test_a_journal_is_its_whole_lines_each_with_its_number() -> None:
    data = b'{"run": 1}\n\n{"a": {"b": 2}}\n{"cut'
    lines, notes = journal_lines(Path("a.jsonl"), data, "run", "anything")
    assert [line.value for line in lines] == [{"run": 1}, {"a": {"b": 2}}]
    assert lines[1]["a"]["b"].name == "line 3: a.b"
    assert notes == ["a.jsonl: the last line is cut off and was dropped"]
    assert journal_lines(Path("a.jsonl"), data[: data.rindex(b"{")], "run", "it")[1] == []


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "a.jsonl holds no whole line"),
        (b'{"run": 1}', "a.jsonl holds no whole line"),
        (b"\n \n", "a.jsonl holds no whole line"),
        (b"[1]\n", "a.jsonl is no journal of maps: its first line holds no run"),
        (b'{"walk": 1}\n{"run": 1}\n', "is no journal of maps: its first line holds no run"),
        (b'{"run": 1}\n{"cut\n', "a.jsonl: line 2: is cut off or not JSON"),
    ],
)
def test_what_is_no_journal_is_told(data: bytes, told: str) -> None:
    with pytest.raises(ResultError) as error:
        journal_lines(Path("a.jsonl"), data, "run", "maps")
    assert told in str(error.value)
