"""The command that copies results elsewhere: what it sends, what it says, and its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import upload
from tests.places import GOLDEN

pytest.importorskip("fsspec")

NAMES = ("replicate-1.json", "replicate-2.json")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    for name in NAMES:
        (tmp_path / "here" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "here" / name).write_bytes((GOLDEN / name).read_bytes())
    return str(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> Path:
    (tmp_path / "there").mkdir()
    return tmp_path / "there"


def test_each_file_is_copied_whole_and_named_where_it_is(
    folder: str, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert upload.main([folder, "--to", f"file://{there}"]) == 0
    out, err = capsys.readouterr()
    assert out.split() == [f"file://{there}/{name}" for name in NAMES]
    assert err == ""
    for name in NAMES:
        assert (there / name).read_bytes() == (GOLDEN / name).read_bytes()


def test_a_file_that_cannot_be_copied_is_code_3_and_the_others_are_copied(
    folder: str, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (there / NAMES[0]).write_text("somebody else's")
    assert upload.main([folder, "--to", f"file://{there}"]) == 3
    out, err = capsys.readouterr()
    assert out.split() == [f"file://{there}/{NAMES[1]}"]
    assert err.startswith(f"error: file://{there}/{NAMES[0]} is there with other contents")
    assert (there / NAMES[0]).read_text() == "somebody else's"


def test_nothing_is_sent_that_nobody_could_read_nor_to_what_is_no_place(
    folder: str, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(folder, "bad.json").write_text("{}")
    assert upload.main([folder, "--to", f"file://{there}"]) == 2
    assert "bad.json" in capsys.readouterr().err
    assert upload.main([folder, "--to", "no/url"]) == 2
    assert "--to no/url: expected a URL" in capsys.readouterr().err
    assert not [*there.iterdir()]
