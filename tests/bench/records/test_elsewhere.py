"""Test reading and writing of results elsewhere, and places that fail."""

import functools
import json
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bench import compare, history, plot, records, report, submit
from bench.machine.remote import LIMIT_VARIABLE
from bench.records.schema import Results
from tests.bench.object_store import Faults, object_store
from tests.places import GOLDEN

# Warnings of aiobotocore and moto are not about this project.
pytestmark = pytest.mark.filterwarnings("ignore")

NAMES = ("replicate-1.json", "replicate-2.json")
TEAM = "s3://team/lstm"


@pytest.fixture(scope="module")
def store() -> Iterator[tuple[Faults, Any]]:
    with object_store("team") as found:
        yield found


@pytest.fixture
def faults(store: tuple[Faults, Any]) -> Iterator[Faults]:
    """Faults of a store that holds only the golden results."""
    found, files = store
    if files.exists("team/lstm"):
        files.rm("team/lstm", recursive=True)
    for name in NAMES:
        files.pipe_file(f"team/lstm/{name}", (GOLDEN / name).read_bytes())
    found.requests.clear()
    yield found
    found.none()


@pytest.fixture
def files(store: tuple[Faults, Any]) -> Any:
    return store[1]


@pytest.fixture(autouse=True)
def _of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def runs(found: Results) -> list[str]:
    return sorted(file.run.id for file in found.files)


def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        (folder / name).write_bytes((GOLDEN / name).read_bytes())
    return folder


# -- reading


@pytest.mark.parametrize("kind", ["terminal", "csv"])
def test_report_of_url_equals_report_of_files(
    faults: Faults, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    assert report.main([str(here(tmp_path)), "--format", kind]) == 0
    wanted = capsys.readouterr().out
    assert report.main([TEAM, "--format", kind]) == 0
    assert capsys.readouterr().out == wanted


def test_commands_url_is_accepted(faults: Faults, tmp_path: Path) -> None:
    mine = str(here(tmp_path) / "replicate-2.json")
    assert compare.main(["runs", f"{TEAM}/replicate-1.json", mine]) == 0
    assert compare.main(["runs", TEAM, mine]) == 2  # one run is on both sides
    assert compare.main(["backends", f"{TEAM}/replicate-1.json"]) == 0
    assert history.main([TEAM]) == 0
    assert plot.main([TEAM, "--output", str(tmp_path / "a.svg")]) == 0


def test_results_variable_url_is_accepted(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSTM_RESULTS", TEAM)
    assert report.main([]) == 0


def test_collect_url_journal_is_read_only_without_json(files: Any, faults: Faults) -> None:
    files.pipe_file("team/lstm/replicate-1.journal.jsonl", b"not read")
    files.pipe_file("team/lstm/cut.journal.jsonl", (GOLDEN / "cut.journal.jsonl").read_bytes())
    found = records.collect([TEAM])
    assert len(found.files) == 3
    assert any(note.startswith(f"{TEAM}/cut.journal.jsonl") for note in found.notes)


# -- faults


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            "slow",
            f"cannot be read: no answer within 1 s (set {LIMIT_VARIABLE}=SECONDS to wait longer)",
        ),
        ("cut", ""),
        ("denied", "cannot be read: access is denied"),
        ("gone", "was listed but no longer exists"),
    ],
)
def test_collect_url_unreadable_file_is_named_and_others_read(
    faults: Faults, monkeypatch: pytest.MonkeyPatch, fault: str, message: str
) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, "1" if fault == "slow" else "20")
    getattr(faults, fault).add(NAMES[0])
    found = records.collect([TEAM])
    assert len(found.files) == 1
    (error,) = found.errors
    assert str(error).startswith(f"{TEAM}/{NAMES[0]} {message}")
    assert str(error).isprintable()
    if fault != "slow":  # which would only wait again
        assert report.main([TEAM]) == 2
    faults.none()
    assert len(records.collect([TEAM]).files) == 2


@pytest.mark.parametrize(
    ("fault", "message"), [("denied", "access is denied"), ("slow", "no answer")]
)
def test_collect_url_failed_listing_uses_no_copies(
    faults: Faults, monkeypatch: pytest.MonkeyPatch, fault: str, message: str
) -> None:
    records.collect([TEAM])
    monkeypatch.setenv(LIMIT_VARIABLE, "1" if fault == "slow" else "20")
    getattr(faults, fault).add("team")
    found = records.collect([TEAM])
    assert found.files == ()
    (error,) = found.errors
    assert str(error).startswith(f"{TEAM} cannot be read: {message}")


def test_collect_url_unreadable_file_uses_no_old_copy(files: Any, faults: Faults) -> None:
    records.collect([TEAM])
    document = json.loads((GOLDEN / NAMES[0]).read_text())
    files.pipe_file(f"team/lstm/{NAMES[0]}", json.dumps(document, indent=3).encode())
    faults.denied.add(NAMES[0])
    found = records.collect([TEAM])
    assert len(found.files) == len(found.errors) == 1
    faults.none()
    files.rm_file(f"team/lstm/{NAMES[0]}")
    assert (len(records.collect([TEAM]).files), records.collect([TEAM]).errors) == (1, ())


# -- writing


def sent(path: Path, url: str) -> int:
    return submit.main([str(path), "--unchanged", "--to", url, "--yes"])


def test_submit_to_url_uploads_complete_files_once(
    files: Any, faults: Faults, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = here(tmp_path)
    assert sent(folder, "s3://team/lstm/mine/") == 0
    assert capsys.readouterr().out.split()[-2:] == [f"{TEAM}/mine/{name}" for name in NAMES]
    for name in NAMES:
        assert files.cat_file(f"team/lstm/mine/{name}") == (GOLDEN / name).read_bytes()
    faults.requests.clear()
    assert sent(folder, "s3://team/lstm/mine") == 0
    assert not [name for method, name in faults.requests if method == "PUT"]


def test_submit_to_url_existing_file_is_not_replaced(
    files: Any, faults: Faults, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files.pipe_file(f"team/lstm/{NAMES[0]}", b"somebody else's")
    assert sent(here(tmp_path), TEAM) == 3
    err = capsys.readouterr().err
    assert err == f"error: {TEAM}/{NAMES[0]} exists with other contents and was not changed\n"
    assert files.cat_file(f"team/lstm/{NAMES[0]}") == b"somebody else's"


# -- the web


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        if "denied" in self.path:
            self.send_error(403)
        else:
            super().do_GET()

    def do_HEAD(self) -> None:
        if "denied" in self.path:
            self.send_error(403)
        else:
            super().do_HEAD()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    folder = here(tmp_path)
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder.parent))
    )
    # It checks fifty times a second whether to end.
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/here"
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_web_url_is_read_only(web: str, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    assert len(records.collect([f"{web}/"]).files) == 2
    assert len(records.collect([f"{web}/{NAMES[0]}"]).files) == 1
    (tmp_path / "here" / "denied.json").write_text("{}")
    found = records.collect([f"{web}/"])
    assert len(found.files) == 2
    assert [str(error).split(": ")[0] for error in found.errors] == [
        f"{web}/denied.json cannot be read"
    ]
    assert "denied; check the credentials" in str(found.errors[0])
    assert sent(GOLDEN / NAMES[0], web) == 2
