"""The command that makes a site: what it says of it, and its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import site
from tests.bench.made_store import three_machines

pytest.importorskip("pyarrow")


def test_a_site_is_made_and_what_it_has_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(three_machines(tmp_path / "community")), "--output", str(tmp_path / "site")]
    assert site.main(words) == 0
    index = tmp_path / "site" / "index.html"
    told = f"45 cases of 3 machines (3 read anew), 3 shapes: {index}\n"
    assert capsys.readouterr().out == told
    (tmp_path / "community" / "one" / "bad.json").write_text("{}")
    assert site.main(words) == 2
    out, err = capsys.readouterr()
    assert "bad.json" in err
    assert out == told.replace("3 read", "0 read")


def test_nothing_to_show_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for name, told in (("empty", "holds no results"), ("nowhere", "is no folder")):
        assert site.main([str(tmp_path / name), "--output", str(tmp_path / "site")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert told in line
