"""The tables of a site: what is judged anew, what is forgotten, and what a damaged index costs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bench.records.files import read
from bench.records.schema import ResultFile
from bench.sharing import store
from bench.sharing.store import CASES, DATA, INDEX, MACHINES, Store, identity, identity_of
from bench.stats.columns import COLUMNS
from tests.bench.mutations import saved
from tests.bench.sharing.conftest import Standing
from tests.places import REFERENCE

pytest.importorskip("pyarrow")


@pytest.fixture
def folder(tmp_path: Path, standing: Standing) -> Path:
    """Results of three machines, beside the site that was made of them."""
    shutil.copytree(standing.place, tmp_path / "site")
    return shutil.copytree(standing.folder, tmp_path / "community", copy_function=shutil.copy2)


def updated(folder: Path) -> Store:
    found = Store(folder.parent / "site")
    found.update(folder)
    return found


def pages(folder: Path) -> dict[str, int]:
    """The page of each machine, and when it was written."""
    found = (folder.parent / "site" / MACHINES).glob("*.html")
    return {path.stem: path.stat().st_mtime_ns for path in found}


def test_the_tables_are_one_for_whoever_asks_in_sql(standing: Standing) -> None:
    duckdb = pytest.importorskip("duckdb")
    counted = duckdb.sql(
        "SELECT count(*), count(DISTINCT machine) "
        f"FROM read_parquet('{standing.place}/{DATA}/*/{CASES}')"
    ).fetchall()
    assert counted == [(45, 3)]


def test_only_machines_whose_files_have_changed_are_judged_again(folder: Path) -> None:
    before = pages(folder)
    assert updated(folder).judged == 0
    path = next((folder / "two").glob("*.json"))
    document = json.loads(path.read_text())
    document["lstm"]["run"]["host"] = "amd-epyc-renamed"
    saved(path, document)
    assert updated(folder).judged == 1
    changed = {machine for machine, when in pages(folder).items() if before[machine] != when}
    assert changed == {identity("two")}


def test_a_machine_whose_results_are_gone_is_forgotten(folder: Path) -> None:
    shutil.rmtree(folder / "three")
    found = updated(folder)
    assert found.judged == 0
    kept = {identity("one"), identity("two")}
    assert set(pages(folder)) == kept
    assert {path.name for path in found.folder.glob("machine=*")} == {
        f"machine={each}" for each in kept
    }


def test_a_machine_that_lost_a_file_or_its_table_is_judged_again(folder: Path) -> None:
    next((folder / "one").glob("*.json")).unlink()
    (folder.parent / "site" / DATA / f"machine={identity('two')}" / CASES).unlink()
    assert updated(folder).judged == 2


def test_tables_with_other_columns_are_made_anew(folder: Path) -> None:
    index = folder.parent / "site" / DATA / INDEX
    document = json.loads(index.read_text())
    document["columns"].pop()
    saved(index, document)
    assert updated(folder).judged == 3


HOSTILE_INDEX = json.dumps(
    {"columns": list(COLUMNS), "files": {"x": {"machine": "x/../../../keep", "mark": ""}}}
).encode()


@pytest.mark.parametrize("index", [b"", b"{}", HOSTILE_INDEX])
def test_a_damaged_index_costs_time_and_no_file(folder: Path, index: bytes) -> None:
    data = folder.parent / "site" / DATA
    (data / INDEX).write_bytes(index)
    (data / "machine=x").mkdir()
    keep = folder.parent / "keep" / "mine.txt"
    keep.parent.mkdir()
    keep.write_text("mine")
    assert updated(folder).judged == 3
    assert keep.exists()
    assert len(pages(folder)) == 3


@pytest.mark.parametrize("text", ["", "0123456789a", "0123456789aG", "../../../../x", 12, None])
def test_what_is_no_machine_s_name_is_refused(text: object) -> None:
    assert identity_of(identity("anything")) == identity("anything")
    with pytest.raises(ValueError, match="no machine's"):
        identity_of(text)


def test_what_is_hidden_holds_no_case_or_cannot_be_read_is_passed_over(folder: Path) -> None:
    shutil.copytree(folder / "one", folder / ".hidden" / "four")
    for path in (folder / ".hidden").rglob("*.json"):
        document = json.loads(path.read_text())
        document["lstm"]["run"]["machine_id"] = "four"
        saved(path, document)
    shutil.copy(next(REFERENCE.glob("learning-*.json")), folder / "one")
    (folder / "one" / "bad.json").write_text("{}")
    assert ["bad.json" in str(error) for error in updated(folder).errors] == [True]
    assert len(pages(folder)) == 3


def test_a_file_that_did_not_change_is_not_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []

    def reading(path: Path) -> ResultFile:
        seen.append(path)
        return read(path)

    monkeypatch.setattr(store, "read", reading)
    path = next((folder / "two").glob("*.json"))
    path.write_text(path.read_text() + "\n")
    updated(folder)
    assert seen == [path]


def test_a_machine_that_has_nothing_to_report_any_more_is_forgotten(folder: Path) -> None:
    for path in (folder / "one").glob("*.json"):
        document = json.loads(path.read_text())
        document["benchmarks"] = []
        saved(path, document)
    assert updated(folder).judged == 0
    assert set(pages(folder)) == {identity("two"), identity("three")}
