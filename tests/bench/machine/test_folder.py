"""Which folder holds results, what else lies in it, and what is no folder of this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.machine.reading import (
    FolderError,
    expanded,
    holds_no_cases,
    holds_study,
    is_url,
    meant_for_learning,
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        *(("s3://team/lstm", True), ("https://a.b/c.json", True), ("memory://x", True)),
        *(("results", False), ("a:b", False), ("/s3://x", False), ("C:\\results", False)),
    ],
)
def test_a_url_is_told_from_a_path(text: str, wanted: bool) -> None:
    assert is_url(text) is wanted
    assert is_url(Path(text)) is False


def test_where_a_folder_is_needed_a_url_is_refused_and_no_folder_of_its_name_made() -> None:
    with pytest.raises(FolderError, match="s3://team/lstm: here a folder of this machine"):
        expanded("s3://team/lstm")
    assert expanded("results") == Path("results")


@pytest.mark.parametrize(
    ("name", "data", "study", "learning"),
    [
        ("a.json", b'{"study": {}}', True, False),
        ("a.json", b'\xef\xbb\xbf\n{ "study" : {}}', True, False),
        ("a.json", b'{"learning": {}}', False, True),
        ("learning-a.json", b'{"study": {}}', True, False),
        # A suite may be called so; only of what cannot be told does the name decide.
        ("learning-a.json", b'{"machine_info": {}}', False, False),
        ("learning-a.json", b"{", False, True),
        ("a.json", b'{"machine_info": {"study": {}}}', False, False),
        ("a.json", b'["study"]', False, False),
        ("a.json", b"", False, False),
    ],
)
def test_what_a_file_holds_is_told_by_its_first_key(
    tmp_path: Path, name: str, data: bytes, study: bool, learning: bool
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert holds_study(path) is study
    assert meant_for_learning(path) is learning
    assert holds_no_cases(path) is (study or (learning and data != b"{"))


def test_a_pipe_is_not_waited_for_to_tell_what_it_holds(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "learning-a.json")
    assert not holds_no_cases(tmp_path / "learning-a.json")
    assert not holds_study(tmp_path / "nothing.json")
    assert not holds_study(Path("a\0b"))
