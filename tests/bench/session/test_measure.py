"""Test results for a URL: measured here, copied at the end, and kept if copying fails."""

import io
import re
import shlex
from pathlib import Path

import pytest
from rich.console import Console

from bench import run, submit
from bench.cli.command_line import UsageError
from bench.machine.writing import Writer
from bench.render.escape import text_console
from bench.session import measure as measured_module
from bench.session.exit_codes import MEASURED, UNWRITABLE
from bench.session.session import Session
from tests.places import GOLDEN

pytest.importorskip("fsspec")


@pytest.fixture(autouse=True)
def _of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def console() -> Console:
    return text_console(file=io.StringIO(), soft_wrap=True)


def read_text(shown: Console) -> str:
    assert isinstance(shown.file, io.StringIO)
    return shown.file.getvalue()


def test_folder_and_place_of_a_url_gives_the_usual_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured_module.folder_and_place("mine") == (Path("mine"), None)
    assert measured_module.folder_and_place(None) == (Path("results"), None)
    assert measured_module.folder_and_place("memory://team") == (Path("results"), "memory://team")
    monkeypatch.setenv("LSTM_RESULTS", "kept")
    assert measured_module.folder_and_place("memory://team") == (Path("kept"), "memory://team")
    monkeypatch.setenv("LSTM_RESULTS", "memory://team")
    assert measured_module.folder_and_place(None) == (Path("results"), "memory://team")


@pytest.mark.parametrize("url", ["https://a.b/c", "nothing://there"])
def test_folder_and_place_with_an_unwritable_url_raises_usage_error(url: str) -> None:
    with pytest.raises(UsageError, match=url):
        measured_module.folder_and_place(url)
    assert run.main(["smoke", "--results", url]) == 2


@pytest.mark.parametrize("well", [True, False])
def test_run_with_a_url_copies_its_files_or_prints_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, well: bool
) -> None:
    """Replace measuring by files of its session and of another."""
    monkeypatch.setenv("LSTM_LOCK", str(tmp_path / "lock"))
    text = (GOLDEN / "replicate-1.json").read_text()
    place = f"file://{tmp_path}/team" if well else "s4://team"
    shown = console()

    def measure(session: Session, suite: object, folder: Path, *more: object, **_: object) -> int:
        folder.mkdir(exist_ok=True)
        mine = text.replace('"session-golden"', f'"{session.id}"')
        (folder / "smoke-1.json").write_text(mine)
        (folder / "smoke-2.json").write_text(text.replace('"run-1"', '"run-2"'))
        return MEASURED

    monkeypatch.setattr(measured_module, "_measure", measure)
    monkeypatch.setattr(measured_module, "check", lambda url: None)
    options = run._parser().parse_args(["smoke", "--results", place, "--force"])
    code = measured_module.run(options, shown)
    there = [path.name for path in (tmp_path / "team").glob("*")]
    if well:
        assert (code, there) == (MEASURED, ["smoke-1.json"])
        assert f"copied: 1 file to {place}" in read_text(shown)
        return
    assert (code, there) == (UNWRITABLE, [])
    assert "error: s4://team cannot be reached" in read_text(shown)
    (again,) = re.findall(r"copy them later with: (.*)", read_text(shown))
    words = shlex.split(again)
    assert words[1:3] == ["-m", "bench.submit"]
    words[-1] = f"file://{tmp_path}/team"
    assert submit.main([*words[3:], "--yes"]) == 0
    assert (tmp_path / "team" / "smoke-1.json").read_text() == (
        tmp_path / "results" / "smoke-1.json"
    ).read_text()


def test_shared_folder_deletes_those_of_killed_managers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    pid, started, boot, space = Writer.this_process().token.split("-")
    dead = tmp_path / f"lstm-judged-{pid}-{int(started) + 1}-{boot}-{space}-abc"
    running = tmp_path / f"lstm-judged-{pid}-{started}-{boot}-{space}-abc"
    elsewhere = tmp_path / f"lstm-judged-{pid}-{started}-00000000-{space}-abc"
    for each in (dead, running, elsewhere):
        (each / "a").mkdir(parents=True)
    with measured_module.shared_folder() as shared:
        assert shared is not None
        assert set(tmp_path.iterdir()) == {shared, running, elsewhere}
    assert set(tmp_path.iterdir()) == {running, elsewhere}
