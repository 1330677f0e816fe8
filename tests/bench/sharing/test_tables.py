"""What a site asks of its tables: machines, who is fastest where, and what the explorer reads."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.case.cases import Case
from bench.records import collect
from bench.render.page import data
from bench.sharing.store import DATA, Store
from bench.sharing.tables import Tables, _said, case_of
from bench.stats.ranking import build
from bench.stats.table import records
from tests.bench.made_nodes import a_case, on
from tests.bench.made_results import BUSY, gather, measured, save
from tests.bench.made_store import three_machines
from tests.bench.mutations import saved
from tests.bench.sharing.conftest import Standing
from tests.places import REFERENCE

pytest.importorskip("pyarrow")

Json = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return three_machines(tmp_path / "community")


def tables_of(folder: Path) -> Tables:
    store = Store(folder.parent / "site")
    store.update(folder)
    return Tables(store.folder)


def test_the_explorer_over_all_says_what_the_pages_of_the_machines_say(
    standing: Standing,
) -> None:
    folder, place = standing.folder, standing.place
    (text,) = re.findall(
        r'id="results">(.*?)</script>', (place / "explorer.html").read_text(encoding="utf-8")
    )
    found: Json = json.loads(text)
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
        assert case_of(row).id == row["case_id"]


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
    assert {each.devices for each in tables_of(folder).machines()} == {("cpu",)}


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
    rows = tables_of(folder).fastest()
    mine = [row for row in rows if row["host"] == "amd-epyc-one"]
    assert {row["session"] for row in mine} == {"session-again"}
    assert len(mine) == 3


def test_the_site_says_it_with_the_answer_of_a_work() -> None:
    row = {
        "backend": "a",
        "time_s": 1e-3,
        "fastest": True,
        "speedup": 1.3,
        "baseline": "b",
        "verdict": "FASTER",
        "invalid_reasons": None,
        "ratio_reasons": None,
        "host": "h",
        "started": "2025-01-01T00:00:00",
        "processes": 6,
    }
    assert not any("Uneven" in line for line in _said({**row, "ratio_note": None}))
    told = _said({**row, "ratio_note": "\x1b[2Jit took 1.3 times as long"})
    assert "Uneven bridge: ?[2Jit took 1.3 times as long." in told


def sessions(tmp_path: Path) -> Tables:
    """Two sessions of one machine, under two names; in the second another is the fastest."""
    items = [
        measured(a_case(name), seconds, on(host, number, session=session, hours=hours))
        for session, host, hours, times in (
            ("first", "old-name", 0.0, {"keras": 2.0, "scan": 1.0, "torch": 0.5}),
            ("second", "new-name", 5.0, {"keras": 2.0, "scan": 1.5}),
        )
        for name, seconds in times.items()
        for number in range(2)
    ]
    here = [replace(each, run=replace(each.run, machine_id="here")) for each in items]
    save(tmp_path / "results", gather(*here))
    return tables_of(tmp_path / "results")


def test_a_machine_is_called_as_it_was_the_last_time_and_counts_all_its_sessions(
    tmp_path: Path,
) -> None:
    (machine,) = sessions(tmp_path).machines()
    assert (machine.host, machine.sessions, machine.cases) == ("new-name", 2, 5)
    assert machine.newest.startswith("2025-01-01T05:00")


def test_of_a_work_nothing_of_an_older_session_is_shown_though_it_had_more_backends(
    tmp_path: Path,
) -> None:
    tables = sessions(tmp_path)
    (row,) = tables.fastest()
    assert (row["backend"], row["session"]) == ("scan", "second")
    found, shown = tables.explored()
    assert shown == found["count"] == 2
    words: Any = found["words"]
    assert set(words["backend"]) == {"keras", "scan"}  # the fastest and the baseline


def test_what_is_invalid_is_nobody_s_fastest(tmp_path: Path) -> None:
    during = on("here", 0)
    items = [measured(a_case(name), 1.0, during, [BUSY]) for name in ("keras", "scan")]
    save(tmp_path / "results", gather(*items))
    assert tables_of(tmp_path / "results").fastest() == []


def test_machines_stand_by_their_names(standing: Standing) -> None:
    hosts = [each.host for each in Tables(standing.place / DATA).machines()]
    assert hosts == ["amd-epyc-one", "amd-epyc-three", "amd-epyc-two"]


def test_an_answer_says_who_is_surely_the_fastest_and_what_is_doubtful() -> None:
    row: dict[str, Any] = {
        "backend": "a",
        "time_s": 1e-3,
        "fastest": False,
        "speedup": None,
        "invalid_reasons": "it was busy",
        "ratio_reasons": None,
        "ratio_note": None,
        "host": None,
        "started": "2025-01-01T00:00:00",
        "processes": 1,
    }
    assert _said(row) == [
        "a has the shortest times, 1.00 ms a step.",
        "INVALID: it was busy.",
        "From 1 process on an unnamed machine, 2025-01-01 00:00 UTC.",
    ]
    sure = {**row, "fastest": True, "speedup": 2.0, "baseline": "b", "verdict": "FASTER"}
    assert _said(sure)[0] == "Use a, 1.00 ms a step: 2 times as fast as b (FASTER)."
