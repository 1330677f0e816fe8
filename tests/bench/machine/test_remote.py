"""Test copies of files elsewhere, which are complete or missing, and uploads."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bench.machine import remote, upload
from bench.machine.reading import LARGEST_FILE


@pytest.fixture(autouse=True)
def _of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class Files:
    """A file system of a few files with the given information on them."""

    protocol = "fake"

    def __init__(self, contents: Mapping[str, bytes], **infos: Mapping[str, Any]) -> None:
        self.contents = dict(contents)
        self.infos = {name.replace("_", "."): info for name, info in infos.items()}
        self.read: list[str] = []

    def invalidate_cache(self) -> None:
        pass

    def info(self, path: str) -> dict[str, Any]:
        name = path.rpartition("/")[2]
        if name not in self.contents:
            raise FileNotFoundError(path)
        found = {"name": path, "type": "file", "size": len(self.contents[name])}
        return {**found, **self.infos.get(name, {})}

    def ls(self, root: str, detail: bool) -> list[dict[str, Any]]:
        return [self.info(f"{root}/{name}") for name in self.contents]

    def cat_file(self, path: str) -> bytes:
        self.read.append(path)
        return self.contents[path.rpartition("/")[2]]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Callable[[Files], str]:
    def put(files: Files) -> str:
        for module in (remote, upload):
            monkeypatch.setattr(
                module,
                "open_place",
                lambda url: remote.RemotePath(url, files, url[len("fake://") :]),
            )
        return "fake://there"

    return put


def all_of(names: Any) -> Any:
    return names


def test_fetched_cut_off_or_large_file_is_not_kept(place: Callable[[Files], str]) -> None:
    infos = {"a_json": {"size": 4}, "c_json": {"size": LARGEST_FILE + 1}}
    files = Files(dict.fromkeys(("a.json", "b.json", "c.json"), b"{}"), **infos)
    found = remote.fetch_copy(place(files), all_of)
    cut, large = sorted(map(str, found.errors))
    assert cut == "fake://there/a.json is cut off: only 2 of 4 bytes arrived; try again"
    assert "c.json is larger than" in large
    assert not [path for path in files.read if path.endswith("c.json")]
    assert [path.name for path in found.path.iterdir() if path.name[0] != "."] == ["b.json"]


@pytest.mark.parametrize(
    ("info", "again"),
    [
        ({"ETag": '"1"'}, 0),
        ({"mtime": 5.0}, 0),
        ({"LastModified": "now"}, 0),
        ({}, 1),
        ({"ETag": '"1"', "size": None}, 0),
    ],
)
def test_fetched_unchanged_file_uses_copy(
    place: Callable[[Files], str], info: dict[str, Any], again: int
) -> None:
    files = Files({"a.json": b"{}"}, a_json=info)
    url = place(files)
    remote.fetch_copy(url, all_of)
    assert len(files.read) == 1
    remote.fetch_copy(url, all_of)
    assert len(files.read) == 1 + again
    files.infos["a.json"] = {**info, "ETag": '"2"'}
    files.contents["a.json"] = b"[]"
    assert (remote.fetch_copy(url, all_of).path / "a.json").read_bytes() == b"[]"


@pytest.mark.parametrize(
    "name", ["..", ".copies.json", "a\\b.json", "../../a.json", "/etc/a.json", "a\0.json"]
)
def test_fetched_hostile_name_stays_in_folder(
    place: Callable[[Files], str], tmp_path: Path, name: str
) -> None:
    class Hostile(Files):
        def ls(self, root: str, detail: bool) -> list[dict[str, Any]]:
            return [{"name": name, "type": "file", "size": 2, "ETag": "1"}]

        def cat_file(self, path: str) -> bytes:
            return b"{}"

    def results(names: Any) -> list[str]:
        return [each for each in names if not each.startswith(".")]

    found = remote.fetch_copy(place(Hostile({})), results)
    made = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert all(path.parent == found.path for path in made)
    assert {path.name for path in made} <= {remote.INDEX, "a.json"}


def test_fetched_url_of_file_copies_it(place: Callable[[Files], str]) -> None:
    files = Files({"a.json": b"{}"}, a_json={"ETag": "1"})
    url = place(files) + "/a.json"
    found = remote.fetch_copy(url, all_of)
    assert (found.path.name, found.path.read_bytes()) == ("a.json", b"{}")
    files.contents["a.json"], files.infos["a.json"] = b"[]", {"ETag": "2"}
    assert remote.fetch_copy(url, all_of).path.read_bytes() == b"[]"
    assert remote.replace_paths(f"{found.path}: is odd") == f"{url}: is odd"
    del files.contents["a.json"]
    with pytest.raises(remote.PlaceError, match=r"a\.json cannot be read: it does not exist"):
        remote.fetch_copy(url, all_of)


class Written(Files):
    """A writable file system. most: bytes of a file that it keeps."""

    most = 100
    denied = False

    def pipe_file(self, path: str, data: bytes) -> None:
        self.contents[path.rpartition("/")[2]] = data[: self.most]

    def cat_file(self, path: str) -> bytes:
        if self.denied:
            raise PermissionError(path)
        if path.rpartition("/")[2] not in self.contents:
            raise FileNotFoundError(path)
        return super().cat_file(path)


def test_upload_existing_name_is_never_replaced(
    place: Callable[[Files], str], tmp_path: Path
) -> None:
    files = Written({"b.json": b"another"})
    url = place(files)
    paths = [tmp_path / name for name in ("a.json", "b.json", "no.json")]
    for path in paths[:2]:
        path.write_bytes(b"0123456789")
    there, errors = upload.upload(paths, url)
    assert there == ["fake://there/a.json"]
    assert [str(error).partition(".json ")[2] for error in errors] == [
        "exists with other contents and was not changed",
        "does not exist",
    ]
    assert files.contents == {"a.json": b"0123456789", "b.json": b"another"}
    files.most = 4
    assert upload.upload(paths[:1], url) == (there, [])  # it is not written again
    del files.contents["a.json"]
    (error,) = upload.upload(paths[:1], url)[1]
    assert str(error).endswith("was not written completely: 4 of 10 bytes are there")
    files.denied = True
    (error,) = upload.upload(paths[:1], url)[1]
    assert "a.json cannot be written: access is denied" in str(error)


def test_upload_simultaneous_writer_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If two writers see a free name, one learns that its file is not there."""
    pytest.importorskip("fsspec")
    there = tmp_path / "there"
    there.mkdir()
    (tmp_path / "a.json").write_bytes(b"mine")
    real, looks = upload._read_existing, []

    def look(place: remote.RemotePath, target: str) -> bytes | None:
        looks.append(target)
        if len(looks) == 1:
            (there / "a.json").write_bytes(b"another's")
            return None
        return real(place, target)

    monkeypatch.setattr(upload, "_read_existing", look)
    done, (error,) = upload.upload([tmp_path / "a.json"], f"file://{there}")
    assert done == []
    assert "a.json exists with other contents" in str(error)
    assert (there / "a.json").read_bytes() == b"another's"


class Slow(Written):
    """A store in which another uploader, who was first, writes a file in steps."""

    def __init__(self, *steps: bytes) -> None:
        super().__init__({})
        self.steps = list(steps)

    def pipe_file(self, path: str, data: bytes, mode: str = "") -> None:
        self.step()
        raise FileExistsError(path)

    def step(self) -> None:
        if self.steps:
            self.contents["a.json"] = self.steps.pop(0)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let no time pass but that of the waits, which are kept."""
    found: list[float] = []
    monkeypatch.setattr(upload, "_clock", lambda: sum(found))
    monkeypatch.setattr(upload, "_pause", found.append)
    return found


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([b"", b"01", b"0123456789"], ""),
        ([b"0123456789"], ""),
        ([b"", b"ABCDEFGHIJKL"], "exists with other contents and was not changed"),
        ([b"0123456789+"], "exists with other contents and was not changed"),
        ([b"", b"0123"], "is incomplete: 4 of 10 bytes are there; another upload has not finished"),
    ],
    ids=["same", "at once", "another", "longer", "cut off"],
)
@pytest.mark.parametrize("first", [False, True], ids=["after the look", "before the look"])
def test_upload_that_loses_a_race_reports_the_finished_file(
    steps: list[bytes],
    message: str,
    first: bool,
    place: Callable[[Files], str],
    waits: list[float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = Slow(*steps)
    if first:
        files.step()

    def pause(seconds: float) -> None:
        waits.append(seconds)
        files.step()

    monkeypatch.setattr(upload, "_pause", pause)
    (tmp_path / "a.json").write_bytes(b"0123456789")
    done, errors = upload.upload([tmp_path / "a.json"], place(files))
    assert done == ([] if message else ["fake://there/a.json"])
    assert [str(error).partition("a.json ")[2][: len(message)] for error in errors] == (
        [message] if message else []
    )
    assert files.contents["a.json"] == steps[-1]
    assert (sum(waits) >= upload.QUIET) == ("incomplete" in message)


def test_upload_by_two_processes_at_once_succeeds_for_both(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    (tmp_path / "a.json").write_bytes(b"0123456789" * 100_000)
    url, barrier = f"file://{tmp_path / 'there'}", threading.Barrier(4)

    def one(_: int) -> tuple[list[str], list[Any]]:
        barrier.wait()
        return upload.upload([tmp_path / "a.json"], url)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(4))) == [([f"{url}/a.json"], [])] * 4


def test_upload_store_without_conditions_compares_contents(
    place: Callable[[Files], str], tmp_path: Path
) -> None:
    class Overtaken(Written):
        def pipe_file(self, path: str, data: bytes) -> None:
            super().pipe_file(path, b"another's")

    (tmp_path / "a.json").write_bytes(b"mine")
    done, (error,) = upload.upload([tmp_path / "a.json"], place(Overtaken({})))
    assert done == []
    assert "a.json exists with other contents" in str(error)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://me:secret@a.b/c.json?X-Amz-Signature=secret", "https://a.b/c.json"),
        ("s3://key:secret@team/lstm", "s3://team/lstm"),
        ("s3://team/l\x1b[31m", "s3://team/l"),
        ("https://[secret?secret", "https://[secret"),
    ],
)
def test_safe_url_any_url_has_no_secret_or_escape(url: str, message: str) -> None:
    assert remote.safe_url(url) == message


def test_is_gone_denied_access_is_not_missing() -> None:
    class RefusedError(Exception):
        status = 403

    error = FileNotFoundError("a.json")
    error.__cause__ = RefusedError()
    assert remote.reason(error).startswith("access is denied")
    assert not remote.is_gone(error)
    assert remote.is_gone(FileNotFoundError("a.json"))
    assert not remote.is_gone(OSError("a.json"))
    assert remote.reason(FileNotFoundError("a.json")) == "it does not exist"
    for status, denied in ((401, True), (403, True), (404, False), (500, False)):
        RefusedError.status = status
        assert remote.reason(RefusedError()).startswith("access is denied") is denied
    circle = OSError("a")
    circle.__cause__ = OSError("b")
    circle.__cause__.__cause__ = circle
    assert remote.reason(circle) == "OSError: a"


def test_answer_within_limit_slow_call_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(remote.LIMIT_VARIABLE, "0.05")
    ended = threading.Event()
    with pytest.raises(TimeoutError):  # although the answer would come
        remote.answer_within_limit(ended.wait, 300)
    ended.set()
    for odd in ("", "nan", "-1", "inf", "soon"):
        monkeypatch.setenv(remote.LIMIT_VARIABLE, odd)
        assert remote.limit() == remote.LIMIT
