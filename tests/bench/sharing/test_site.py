"""A site of many machines leads to each, shows what its files say, and runs nothing of it."""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench.machine.fields import ResultError
from bench.records import collect
from bench.render.data import parquet
from bench.sharing import site
from bench.sharing.site import file_of, is_of_shape
from bench.sharing.store import CASES
from bench.sharing.tables import Machine, Tables
from bench.stats.ranking import build
from tests.bench.made_store import make_store, three_machines
from tests.bench.mutations import saved
from tests.bench.sharing.conftest import Standing
from tests.places import ROOT

pytest.importorskip("pyarrow")

Json = dict[str, Any]
GIBIBYTE = 2**30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return three_machines(tmp_path / "community")


def made(folder: Path) -> Path:
    place = folder.parent / "site"
    site.make(folder, place)
    return place


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


def test_what_a_site_has_is_counted(standing: Standing) -> None:
    assert standing.made == site.Made(machines=3, cases=45, shapes=3, judged=3, errors=())


def test_every_link_leads_to_a_page_and_every_page_is_led_to(standing: Standing) -> None:
    place = standing.place
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
    mine = {row["time_s"]: row["host"] for row in times if row["shape"] == case.shape}
    assert len(mine) == 3
    assert best.time in mine
    assert re.findall(r"amd-epyc-\w+", text) == [mine[time] for time in sorted(mine)]
    first = (place / "index.html").read_text().split(f'{file_of(key)}">')[1]
    assert re.findall(r"amd-epyc-\w+", first)[0] == mine[min(mine)]


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


def test_a_bad_file_is_told_and_the_others_are_shown(folder: Path) -> None:
    (folder / "one" / "bad.json").write_text("{}")
    found = site.make(folder, folder.parent / "site")
    assert ["bad.json" in str(error) for error in found.errors] == [True]
    assert (found.machines, found.cases) == (3, 45)


def test_where_there_is_nothing_to_show_it_is_told_why(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, told in (("empty", "holds no results"), ("nowhere", "is no folder")):
        with pytest.raises(ResultError, match=told):
            site.make(tmp_path / name, tmp_path / "site")
    (tmp_path / "empty" / "bad.json").write_text("{}")
    with pytest.raises(ResultError, match=r"bad\.json"):
        site.make(tmp_path / "empty", tmp_path / "site")


def test_made_again_only_what_is_new_is_written_and_what_is_gone_deleted(
    folder: Path, standing: Standing
) -> None:
    place = folder.parent / "site"
    shutil.copytree(standing.place, place)
    gone = place / "shapes" / file_of("training b1 float32")
    gone.write_text("a shape that nobody has")
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*.html")}
    made(folder)
    del before[gone]
    index = (place / "index.html", place / "explorer.html")
    for path, when in before.items():
        assert (path.stat().st_mtime_ns == when) or path.parent.name == "machines"
    assert not gone.exists()
    assert all(path in before for path in index)
    shutil.rmtree(folder / "three")
    made(folder)
    assert "amd-epyc-three" not in (place / "index.html").read_text()


def test_a_shape_s_page_says_what_is_not_sure_and_whose_machine_has_no_name() -> None:
    row = {
        "machine": "0123456789ab",
        "host": None,
        "device": "cpu<b>",
        "backend": "a<b>",
        "time_s": 1e-3,
        "speedup": 2.0,
        "baseline": "b<i>",
        "verdict": "FASTER",
        "ratio_note": "it took 1.3 times as long",
    }
    text = site.of_shape("training", [row, {**row, "speedup": None}])
    assert '<a href="../machines/0123456789ab.html">unnamed</a>' in text
    assert text.count("2 times as fast as b&lt;i&gt; (FASTER); over an uneven bridge") == 1
    assert "<b>" not in text
    even = site.of_shape("training", [{**row, "ratio_note": None}])
    assert "uneven" not in even


def test_the_devices_of_a_machine_are_text() -> None:
    machine = Machine("0123456789ab", "", ("cpu", "<b>"), 1, 2, "2025-01-01T00:00:00")
    text = site.index([machine], {})
    assert "an unnamed machine</a>" in text
    assert "cpu, &lt;b&gt;" in text


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
