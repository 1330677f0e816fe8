"""A site of many machines leads to each, shows what its files say, and runs nothing of it."""

from __future__ import annotations

import copy
import json
import re
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench import site
from bench.judging.columns import COLUMNS
from bench.judging.ranking import build
from bench.judging.table import records
from bench.reporting.data import parquet
from bench.reporting.page import data
from bench.results import collect
from bench.sharing import tables
from bench.sharing.site import file_of, is_of_shape
from bench.sharing.store import CASES, INDEX
from bench.sharing.tables import Tables
from bench.suites.cases import Case
from tests.bench.made_store import make_store
from tests.bench.mutations import saved
from tests.places import REFERENCE, ROOT

pytest.importorskip("pyarrow")

Json = dict[str, Any]
GIBIBYTE = 2**30


def three_machines(found: Path) -> Path:
    """Of two processes each, as ``bench.submit`` puts them."""
    for number, machine in enumerate(("one", "two", "three")):
        for path in make_store(found / machine, files=2, cases=15, samples=7, seed=number):
            document = json.loads(path.read_text())
            document["lstm"]["run"] |= {
                "id": f"{machine}-{path.stem}",
                "session": f"session-{machine}",
                "machine_id": machine,
                "host": f"amd-epyc-{machine}",
            }
            saved(path, document)
    return found


def made(folder: Path, code: int = 0) -> Path:
    place = folder.parent / "site"
    assert site.main([str(folder), "--output", str(place)]) == code
    return place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return three_machines(tmp_path / "community")


@dataclass(frozen=True)
class Standing:
    """A site of three machines that nobody changes."""

    folder: Path
    place: Path


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Standing:
    folder = three_machines(tmp_path_factory.mktemp("standing") / "community")
    return Standing(folder, made(folder))


def works(place: Path) -> Json:
    text = (place / "explorer.html").read_text()
    (found,) = re.findall(r'id="results">(.*?)</script>', text)
    document: Json = json.loads(found)
    return document


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [value for key, value in attrs if key in ("href", "src") and value]


def links(path: Path) -> Links:
    found = Links()
    found.feed(path.read_text())
    return found


def test_every_link_leads_to_a_page_and_every_page_is_led_to(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = made(folder)
    assert capsys.readouterr().out.startswith("45 cases of 3 machines (3 read anew), 3 shapes: ")
    led = {"index.html"}
    for page in place.rglob("*.html"):
        for link in links(page).found:
            there = (page.parent / link).resolve()
            assert there.is_file(), f"{page} leads to {link}"
            led.add(str(there.relative_to(place.resolve())))
    assert led == {str(path.relative_to(place)) for path in place.rglob("*.html")}
    index = (place / "index.html").read_text()
    for machine in ("one", "two", "three"):
        assert f"amd-epyc-{machine}</a>" in index


def test_a_shape_tells_of_each_machine_who_is_fastest_the_shortest_time_first(
    standing: Standing,
) -> None:
    place = standing.place
    report = build(collect([standing.folder / "two"]))
    best = next(row for row in report.sections[0].rows if row.rank == 1)
    case = best.case
    key = f"{case.workload.mode} {case.shape} {case.spec.dtype}"
    text = (place / "shapes" / file_of(key)).read_text()
    (line,) = re.findall(r"<tr>[^\n]*amd-epyc-two.*?</tr>", text)
    assert f"<code>{case.backend}</code>" in line
    times = Tables(place / "data").fastest()
    mine = sorted(row["time_s"] for row in times if row["shape"] == case.shape)
    assert len(mine) == 3
    assert best.time in mine


def test_the_explorer_over_all_says_what_the_pages_of_the_machines_say(
    standing: Standing,
) -> None:
    folder, place = standing.folder, standing.place
    found = works(place)
    report = data.data(build(collect([folder / "one", folder / "two", folder / "three"])))
    assert found.keys() == report.keys()
    assert found["works"].keys() == report["works"].keys()  # type: ignore[attr-defined]
    assert f"{found['count']} of 45 cases" in (place / "explorer.html").read_text()
    assert sorted(set(found["works"]["text"])) == sorted(set(report["works"]["text"]))  # type: ignore[index]
    # The report holds machines of one kind in one table; here each is one that somebody may have.
    decided = {
        said[0].partition(" a step")[0]
        for name in ("one", "two", "three")
        for said in data.data(build(collect([folder / name])))["works"]["said"]  # type: ignore[index]
    }
    for said in found["works"]["said"]:
        assert said[0].partition(" a step")[0] in decided
        assert said[-1].startswith("From 2 processes on amd-epyc-")
    assert len(found["sections"]) == 3
    assert set(found["words"]["backend"]) <= set(report["words"]["backend"])  # type: ignore[index]


def test_a_case_of_the_tables_is_the_case_that_was_measured() -> None:
    paths = [next(REFERENCE.glob(f"{suite}-*.json")) for suite in ("quick", "truncation", "fused")]
    rows = records(build(collect(paths)))
    assert {row["kind"] for row in rows} == {"throughput", "truncation"}
    for row in rows:
        assert tables.case_of(row).id == row["case_id"]


def test_the_tables_are_one_for_whoever_asks_in_sql(standing: Standing) -> None:
    duckdb = pytest.importorskip("duckdb")
    place = standing.place
    counted = duckdb.sql(
        f"SELECT count(*), count(DISTINCT machine) FROM read_parquet('{place}/data/*/{CASES}')"
    ).fetchall()
    assert counted == [(45, 3)]


def test_made_again_only_what_changed_is_read(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = made(folder)
    before = {path: path.stat().st_mtime_ns for path in place.glob("machines/*.html")}
    made(folder)
    path = next((folder / "two").glob("*.json"))
    document = json.loads(path.read_text())
    document["lstm"]["run"]["host"] = "amd-epyc-renamed"
    saved(path, document)
    shutil.rmtree(folder / "three")
    made(folder)
    told = [line.split("(")[1].split(" read")[0] for line in capsys.readouterr().out.splitlines()]
    assert told == ["3", "0", "1"]
    after = {path: path.stat().st_mtime_ns for path in place.glob("machines/*.html")}
    assert len(after) == 2
    assert sum(before[path] == after[path] for path in after) == 1
    assert "amd-epyc-three" not in (place / "index.html").read_text()


def test_tables_with_other_columns_are_made_anew(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = made(folder)
    index = place / "data" / INDEX
    document = json.loads(index.read_text())
    document["columns"].pop()
    saved(index, document)
    made(folder)
    assert "(3 read anew)" in capsys.readouterr().out.splitlines()[-1]


HOSTILE_INDEX = json.dumps(
    {"columns": list(COLUMNS), "files": {"x": {"machine": "x/../../../keep", "mark": ""}}}
).encode()


@pytest.mark.parametrize("index", [b"", b"{}", HOSTILE_INDEX])
def test_a_damaged_index_costs_time_and_no_file(folder: Path, index: bytes) -> None:
    place = made(folder)
    (place / "data" / INDEX).write_bytes(index)
    (place / "data" / "machine=x").mkdir()
    keep = folder.parent / "keep" / "mine.txt"
    keep.parent.mkdir()
    keep.write_text("mine")
    made(folder)
    assert keep.exists()
    assert len(list(place.glob("machines/*.html"))) == 3


def test_a_file_of_somebody_elses_in_the_sites_folder_stays(folder: Path) -> None:
    place = folder.parent / "site"
    (place / "shapes").mkdir(parents=True)
    (place / "shapes" / "mine.html").write_text("mine")
    made(folder)
    assert (place / "shapes" / "mine.html").read_text() == "mine"


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'\x1b[31m"


def test_texts_of_files_are_text_on_every_page(folder: Path) -> None:
    for path in folder.rglob("*.json"):
        document = json.loads(path.read_text())
        document["lstm"]["run"] |= {"host": HOSTILE, "suite": HOSTILE}
        document["lstm"]["run"]["machine_id"] += "/../../" + HOSTILE
        for entry in document["benchmarks"]:
            ours = entry["extra_info"]["lstm"]
            backend = ours["case"]["backend"]
            ours["case"]["backend"] = f"{backend}{HOSTILE}"
            ours["case_id"] = ours["case_id"].replace(backend, f"{backend}{HOSTILE}", 1)
        saved(path, document)
    place = made(folder)
    pages = list(place.rglob("*.html"))
    assert len(pages) == 3 + 3 + 2
    for page in pages:
        text = page.read_text()
        assert "<script>alert" not in text
        assert "<img" not in text
        assert "\x1b" not in text
        allowed = (
            {"script"} if page.name == "explorer.html" or page.parent.name == "machines" else set()
        )
        assert not ({"script", "img"} - allowed) & set(links(page).tags)
        assert "Content-Security-Policy" in text
    assert not list(folder.parent.glob("*alert*"))


def test_names_of_shapes_are_plain_and_differ() -> None:
    keys = ["training b1 float32", "training b1-float32", "../../x", "", "é" * 500, "A", "a"]
    names = [file_of(key) for key in keys]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9-]{1,90}\.html", name) for name in names)
    assert all(map(is_of_shape, names[:2]))


def test_a_bad_file_is_told_and_the_others_are_shown(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "one" / "bad.json").write_text("{}")
    place = made(folder, code=2)
    assert "bad.json" in capsys.readouterr().err
    assert len(list(place.glob("machines/*.html"))) == 3


def test_nothing_to_show_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    made(tmp_path / "empty", code=2)
    assert "holds no results" in capsys.readouterr().err
    made(tmp_path / "nowhere", code=2)
    assert "is no folder" in capsys.readouterr().err


def test_a_device_that_a_machine_has_not_is_none_of_its(folder: Path) -> None:
    path = sorted((folder / "one").glob("*.json"))[0]
    document = json.loads(path.read_text())
    case = document["benchmarks"][0]["extra_info"]["lstm"]["case"] | {"device": "gpu:0"}
    document["lstm"]["outcomes"] = [
        {
            "case": case,
            "case_id": Case.from_dict(case).id,
            "outcome": "not_measured",
            "reason": "no GPU",
            "advice": "",
        }
    ]
    saved(path, document)
    assert {each.devices for each in Tables(made(folder) / "data").machines()} == {("cpu",)}


def test_of_a_machine_that_was_measured_again_the_newest_counts(folder: Path) -> None:
    path = sorted((folder / "one").glob("*.json"))[0]
    document = copy.deepcopy(json.loads(path.read_text()))
    document["lstm"]["run"] |= {
        "id": "again",
        "session": "session-again",
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T01:00:00+00:00",
    }
    for entry in document["benchmarks"]:
        entry["stats"]["data"] = [1e-3 * each for each in entry["stats"]["data"]]
    saved(path.with_name("made-up-again.json"), document)
    rows = Tables(made(folder) / "data").fastest()
    mine = [row for row in rows if row["host"] == "amd-epyc-one"]
    assert {row["session"] for row in mine} == {"session-again"}
    assert len(mine) == 3


def million(folder: Path, machines: int, cases: int) -> None:
    """The tables of a site of so many machines: one that was judged, under other names."""
    import pyarrow as pa
    from pyarrow import parquet as file

    made = make_store(folder / "one", "distinct", files=1, cases=cases, samples=6)
    table = file.read_table(pa.BufferReader(parquet(build(collect(made)))))
    names = table.column_names
    for number in range(machines):
        for name, value in (("host", f"machine-{number}"), ("session", f"session-{number}")):
            column = pa.array([value] * table.num_rows)
            table = table.set_column(names.index(name), table.schema.field(name), column)
        place = folder / "site" / "data" / f"machine={number:012x}"
        place.mkdir(parents=True)
        file.write_table(table, place / CASES, compression="zstd")


WRITE = """
import sys, time
from pathlib import Path
from bench.sharing import site
from bench.sharing.store import Store
start = time.monotonic()
made = site._written(Store(Path(sys.argv[1])))
print(made.cases, round(time.monotonic() - start, 1))
"""


@pytest.mark.slow
def test_a_million_cases_are_a_site_within_two_gibibytes(tmp_path: Path) -> None:
    million(tmp_path, machines=200, cases=5000)
    done = subprocess.run(
        [sys.executable, "-c", WRITE, str(tmp_path / "site")],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    cases, took = done.stdout.split()
    peak = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    page = (tmp_path / "site" / "explorer.html").stat().st_size
    print(f"{cases} cases: {took} s, {peak / GIBIBYTE:.2f} GiB, explorer {page / 2**20:.0f} MiB")
    assert cases == "1000000"
    assert peak < 2 * GIBIBYTE
