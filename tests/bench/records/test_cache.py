"""The cache beside results changes how long reading takes, and nothing of what is read."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench import records, report
from bench.machine.fields import LONGEST, SHORTEST
from bench.records import cache as result_cache
from bench.records import files as files_module
from bench.records.cache import (
    FOLDER,
    NAME,
    SEAL_NAME,
    SWITCH,
    _digest,
    _fingerprint,
    _seal,
    users_secret,
)
from bench.records.schema import OUTCOMES, ResultFile, Results
from tests.bench.made_store import SHAPES, make_store
from tests.places import GOLDEN, ROOT

GIBIBYTE = 2**30


@pytest.fixture(autouse=True)
def _secret_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's own is none of the tests'."""
    be_another_user(monkeypatch, tmp_path_factory.mktemp("home"))


def be_another_user(patch: pytest.MonkeyPatch, home: Path) -> None:
    patch.setattr(result_cache, "user_cache_path", lambda name: home / ".cache" / name)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small folder that a cache is kept of all the same."""
    monkeypatch.setattr(result_cache, "WORTH_KEEPING", 1)
    return Path(make_store(tmp_path / "store", files=4, cases=5, samples=3)[0].parent)


def plain(value: Any) -> Any:
    """Anything that was read, as what can be compared; every field of every type is in it."""
    if dataclasses.is_dataclass(value):
        return [
            type(value).__name__,
            {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)},
        ]
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.tolist()]
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return repr(value)


@contextlib.contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The files that are read from their JSON meanwhile."""
    found: list[Path] = []
    real = records.read

    def read(path: Path) -> ResultFile:
        found.append(path)
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(files_module, "read", read)
        yield found


def read_without(folder: Path) -> Results:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, "off")
        return records.collect([folder])


# -- the same with and without


labels = st.text(min_size=1, max_size=8).filter(str.strip)
times = st.floats(SHORTEST, LONGEST)
figures = st.none() | st.dictionaries(
    labels, st.none() | st.text(max_size=5) | st.just(0.0) | st.floats(1e-30, 1e30), max_size=3
)
free = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
        ),
        max_leaves=4,
    ),
    max_size=3,
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Result files as ours are, with whatever values the format allows."""
    golden: dict[str, Any] = json.loads((GOLDEN / "replicate-1.json").read_text())
    entries = []
    for entry in golden["benchmarks"][: draw(st.integers(0, 3))]:
        entry, ours = copy.deepcopy(entry), None
        ours = entry["extra_info"]["lstm"]
        samples = draw(st.lists(times, min_size=1, max_size=4))
        entry["stats"]["data"] = samples
        ours["blocks"]["round"] = draw(
            st.lists(st.integers(0, 2**53), min_size=len(samples), max_size=len(samples))
        )
        ours["blocks"]["warmup"] = draw(st.lists(times, max_size=3))
        ours["blocks"]["calls"] = draw(st.integers(1, 2**53))
        ours["blocks"]["stopped"] = draw(st.none() | st.text(max_size=4))
        ours["steady"] = draw(st.none() | st.booleans())
        ours["gate"]["passed"] = draw(st.sampled_from([True, True, True, False]))
        ours["evidence"] = draw(free)
        for kind in ("memory", "roofs", "energy"):
            ours[kind] = draw(figures)
        reasons = draw(
            st.lists(
                st.fixed_dictionaries({"code": labels, "text": labels, "advice": st.text()}),
                max_size=2,
            )
        )
        if draw(st.booleans()):  # files of before have none
            ours["remarks"] = draw(st.lists(st.text(max_size=9), max_size=2))
        ours["validity"] = {"valid": draw(st.booleans()) or not reasons, "reasons": reasons}
        entries.append(entry)
    golden["benchmarks"] = entries
    for outcome in golden["lstm"]["outcomes"]:
        outcome["outcome"] = draw(st.sampled_from(OUTCOMES))
        outcome["reason"], outcome["advice"] = draw(st.text(max_size=9)), draw(st.text(max_size=9))
    golden["commit_info"] = draw(
        st.just({}) | st.fixed_dictionaries({"id": st.text(max_size=9), "dirty": st.booleans()})
    )
    run = golden["lstm"]["run"]
    run["id"], run["options"], run["environment"] = draw(labels), draw(free), draw(free)
    run["complete"] = draw(st.booleans())
    run["finished"] = draw(st.sampled_from([None, run["finished"]]))
    return golden


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(files=st.lists(documents(), min_size=1, max_size=3))
def test_what_is_read_is_the_same_with_and_without_a_cache(
    files: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_cache, "WORTH_KEEPING", 1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for number, document in enumerate(files):
            (folder / f"{number}.json").write_text(json.dumps(document))
        (folder / "cut.journal.jsonl").write_bytes((GOLDEN / "cut.journal.jsonl").read_bytes())
        without = plain(read_without(folder))
        assert plain(records.collect([folder])) == without  # while it is made
        assert (folder / FOLDER / NAME).is_file()
        assert plain(records.collect([folder])) == without  # from it


def test_a_file_that_was_read_is_not_read_from_its_json_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with counted(monkeypatch) as read:
        records.collect([folder])
        assert len(read) == 4
        records.collect([folder])
        records.latest(folder)
    assert len(read) == 4


def test_a_file_whose_text_is_no_utf_8_is_read_from_its_json_each_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JSON can spell half of a surrogate pair; no column can hold one."""
    path = folder / "made-up-00001.json"
    path.write_text(path.read_text().replace('"precise"', r'"\ud800"'))
    records.collect([folder])
    with counted(monkeypatch) as read:
        found = records.collect([folder])
    assert read == [path]
    assert plain(found) == plain(read_without(folder))


def test_what_is_broken_has_the_same_error_from_beside_a_cache(folder: Path) -> None:
    (folder / "broken.json").write_text("{")
    records.collect([folder])
    assert [str(each) for each in records.collect([folder]).errors] == [
        str(each) for each in read_without(folder).errors
    ]
    assert len(read_without(folder).errors) == 1


# -- stale


def test_a_file_that_changed_unseen_by_size_and_time_is_read_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.collect([folder])
    path = folder / "made-up-00002.json"
    was = path.stat()
    text = path.read_text()
    path.write_text(text.replace('"calls": 4', '"calls": 5'))
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert path.stat().st_size == was.st_size
    with counted(monkeypatch) as read:
        found = records.collect([folder])
    assert read == [path]
    assert {item.calls for item in found.measurements if item.path == path} == {5}
    assert plain(found) == plain(read_without(folder))


def test_a_file_that_changes_while_it_is_read_is_not_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, path = records.read, folder / "made-up-00001.json"

    def read(given: Path) -> ResultFile:
        found = real(given)
        if given == path:
            path.write_text(path.read_text().replace('"calls": 4', '"calls": 5'))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(files_module, "read", read)
        records.collect([folder])
    found = records.collect([folder])
    assert {item.calls for item in found.measurements if item.path == path} == {5}


def test_other_rules_of_checking_make_it_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.collect([folder])
    monkeypatch.setattr(result_cache, "_fingerprint", lambda: "of another version")
    with counted(monkeypatch) as read:
        records.collect([folder])
        records.collect([folder])
    assert len(read) == 4


def test_a_file_that_is_gone_goes_from_it_and_a_new_one_comes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.collect([folder])
    (folder / "made-up-00003.json").unlink()
    text = (folder / "made-up-00000.json").read_text().replace(f"{0:032x}", f"{9:032x}")
    (folder / "new.json").write_text(text)
    with counted(monkeypatch) as read:
        found = records.collect([folder])
    assert read == [folder / "new.json"]
    assert plain(found) == plain(read_without(folder)) == plain(records.collect([folder]))


# -- damaged, foreign, unwritable, switched off


def damages(folder: Path) -> Iterator[None]:
    """One damage after the other, each to a whole cache."""
    table, seal = folder / FOLDER / NAME, folder / FOLDER / SEAL_NAME
    rng = random.Random(0)
    whole, sealed = table.read_bytes(), seal.read_bytes()
    secret = users_secret()
    assert secret is not None

    def put(content: bytes, told: bytes | None = None) -> None:
        table.write_bytes(content)
        seal.write_bytes(_seal(content, secret).encode() if told is None else told)

    for _ in range(20):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        put(bytes(damaged), sealed)
        yield
    for content in (b"", b"PAR1", whole[:-100], b"not Parquet at all"):
        put(content)  # with its right seal
        yield
    for told in (b"", b"\xff\xfe", b"0" * 64):
        put(whole, told)
        yield
    put(whole)
    seal.unlink()
    yield
    put(whole)
    table.unlink()
    table.mkdir()
    yield
    table.rmdir()
    put(foreign())
    yield


def foreign() -> bytes:
    """A Parquet file that claims to be one of ours and has other columns."""
    import pyarrow as pa
    from pyarrow import parquet

    out = io.BytesIO()
    table = pa.table({"a": [1]}).replace_schema_metadata(
        {"lstm.rules": _fingerprint(), "lstm.files": "none"}
    )
    parquet.write_table(table, out)
    return out.getvalue()


def test_a_damaged_or_foreign_cache_changes_nothing(folder: Path) -> None:
    records.collect([folder])
    without = plain(read_without(folder))
    for number, _ in enumerate(damages(folder)):
        found = records.collect([folder])
        found = dataclasses.replace(found, notes=tuple(n for n in found.notes if FOLDER not in n))
        assert plain(found) == without, number


def test_a_damaged_cache_is_made_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records.collect([folder])
    (folder / FOLDER / NAME).write_bytes(b"PAR1")
    with counted(monkeypatch) as read:
        assert records.collect([folder]).notes == ()
        records.collect([folder])
    assert len(read) == 4


def forge(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Put a cache beside the results whose every hash is right and whose times are not theirs."""
    with tempfile.TemporaryDirectory() as place:
        for path in folder.glob("*.json"):
            document = json.loads(path.read_text())
            for entry in document["benchmarks"]:
                entry["stats"]["data"] = [0.5 * each for each in entry["stats"]["data"]]
            (Path(place) / path.name).write_text(json.dumps(document))
        real = _digest
        with patch.context() as claims:
            claims.setattr(result_cache, "_digest", lambda path: real(folder / path.name))
            records.collect([place])
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        shutil.copytree(Path(place) / FOLDER, folder / FOLDER)


def test_a_cache_that_somebody_else_has_made_is_not_believed_over_the_results(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = plain(read_without(folder))
    with monkeypatch.context() as patch:
        be_another_user(patch, tmp_path / "forger")
        forge(folder, patch)
        # Whoever made it is shown what stands in it: the forgery is a whole one.
        assert plain(records.collect([folder])) != without
    with counted(monkeypatch) as read:
        assert plain(records.collect([folder])) == without
        assert len(read) == 4
        assert plain(records.collect([folder])) == without
    assert len(read) == 4  # it was made anew


def test_the_secret_is_the_users_alone_and_stays_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_another_user(monkeypatch, tmp_path / "home")
    records.collect([folder])
    first = users_secret()
    assert first is not None
    assert first == users_secret()
    (path,) = (each for each in (tmp_path / "home").rglob("*") if each.is_file())
    assert path.stat().st_mode & 0o777 == 0o600
    assert first not in b"".join(
        each.read_bytes() for each in folder.parent.rglob("*") if each.is_file() and each != path
    )


def test_without_a_place_for_the_secret_files_are_read_as_without_a_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", Path("~")):
        be_another_user(monkeypatch, home)
        assert plain(records.collect([folder])) == plain(read_without(folder))
    assert not (folder / FOLDER).exists()
    assert not Path("~").exists()


def test_where_no_cache_can_be_written_a_note_says_so(folder: Path) -> None:
    (folder / FOLDER).write_text("a file, not a folder")
    found = records.collect([folder])
    assert len(found.measurements) == 20
    [note] = found.notes
    assert note.startswith(str(folder / FOLDER / NAME))
    assert f"{SWITCH}=off" in note


def test_nothing_is_made_where_it_is_off_or_pyarrow_is_missing_or_the_folder_is_small(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_without(folder)
    with monkeypatch.context() as patch:
        patch.setattr(result_cache, "find_spec", lambda name: None)
        records.collect([folder])
    with monkeypatch.context() as patch:
        patch.setattr(result_cache, "WORTH_KEEPING", 10**9)
        records.collect([folder])
    assert not (folder / FOLDER).exists()
    records.collect([folder])
    assert (folder / FOLDER / ".gitignore").read_text() == "*\n"
    assert {each.name for each in (folder / FOLDER).iterdir()} == {".gitignore", NAME, SEAL_NAME}


# -- at scale


@pytest.mark.parametrize("shape", SHAPES)
def test_a_small_part_of_the_scale_is_reported_the_same_without_reading_its_json_again(
    shape: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No time is asserted: what makes it quick is that the work is bounded, which is counted."""
    monkeypatch.setattr(result_cache, "WORTH_KEEPING", 1)
    make_store(tmp_path / "store", shape, files=12)  # of distinct ones two sessions
    told: dict[str, set[str]] = {"terminal": set(), "csv": set()}
    for kind, cache, expected in (
        ("terminal", "off", 12),
        ("csv", "off", 12),
        ("csv", "on", 12),
        ("csv", "on", 0),
        ("terminal", "on", 0),
    ):
        with counted(monkeypatch) as read, monkeypatch.context() as patch:
            patch.setenv(SWITCH, cache)
            assert report.main([str(tmp_path / "store"), "--format", kind]) == 0
        told[kind].add(capsys.readouterr().out)
        assert len(read) == expected
    assert [len(texts) for texts in told.values()] == [1, 1]
    # A terminal is given a screenful of tables, a spreadsheet every case.
    assert len(told["terminal"].pop().splitlines()) < 2000
    assert len(told["csv"].pop().splitlines()) == 1 + (1200 if shape == "distinct" else 100)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_a_million_samples_in_a_thousand_files_are_reported_within_a_gibibyte(
    shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The time is printed and not asserted: it is the machine's as much as ours."""
    make_store(tmp_path / "store", shape)
    for kind in ("csv", "csv", "terminal"):
        command = [sys.executable, "-m", "bench.report", str(tmp_path / "store"), "--format", kind]
        began = time.perf_counter()
        with (tmp_path / "out").open("wb") as out:
            process = subprocess.Popen(command, stdout=out, cwd=ROOT)
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        took, peak = time.perf_counter() - began, used.ru_maxrss * 1024
        with capsys.disabled():
            print(
                f"\n{shape}, {kind}: {took:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of "
                f"processor, {peak / 2**20:.0f} MiB"
            )
        assert process.returncode == 0
        assert isinstance(used, resource.struct_rusage)
    # The last one read from the cache; ru_maxrss is in KiB on Linux.
    assert sys.platform != "linux" or peak < GIBIBYTE


def test_a_file_that_is_too_large_to_be_read_is_not_looked_through(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(2**40)
    assert _digest(path) is None
    (error,) = records.collect([path]).errors
    assert "a.json is larger than" in str(error)
