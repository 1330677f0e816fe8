"""Test reports on streams: percentiles, deadlines and load."""

import pytest

from bench.render.data import records
from bench.render.page import PageData
from bench.verdicts.sections import Report, build
from bench.worker.timing import StreamConditions
from tests.bench.made_results import as_text, gather
from tests.bench.made_streams import a_run, a_stream, streamed, streams


@pytest.fixture(scope="module")
def report() -> Report:
    return build(streams({"keras": 5.0, "torch": 8.0, "numpy": 3.0}))


def test_report_of_streams_has_percentiles_and_p99_verdict(report: Report) -> None:
    (table,) = report.sections[0].tables
    assert (table.kind, table.mode) == ("streaming", "streaming")
    rows = {record["backend"]: record for record in records(report)}
    assert rows["torch"]["verdict"] == "SAME"
    assert rows["torch"]["latency_p99_verdict"] == "SLOWER"


def test_report_of_streams_counts_missed_deadlines() -> None:
    conditions = StreamConditions(deadline=3e-4)
    found = gather(
        *(
            streamed(a_stream(backend), a_run(number), 1e-4, tail, conditions=conditions)
            for number in range(6)
            for backend, tail in (("keras", 5.0), ("numpy", 2.0))
        )
    )
    text = as_text(build(found), width=200)
    assert "late" in text
    assert " of 42,000" in text


def test_report_of_streams_names_loaded_processors() -> None:
    def is_loaded(load: int) -> bool:
        found = streamed(
            a_stream("keras"), a_run(0), 1e-4, 5.0, conditions=StreamConditions(load=load)
        )
        return "The suite kept 2 processors busy" in as_text(build(gather(found)), width=200)

    assert is_loaded(2)
    assert not is_loaded(0)


def test_records_different_deadlines_give_none() -> None:
    found = gather(
        *(
            streamed(
                a_stream("keras"),
                a_run(n),
                1e-4,
                5.0,
                conditions=StreamConditions(deadline=1e-3 * (1 + n)),
            )
            for n in range(2)
        )
    )
    (record,) = records(build(found))
    assert record["deadline_s"] is None
    assert record["missed"] is None


def test_page_data_of_streams_has_histogram_of_all_calls(report: Report) -> None:
    carried = PageData(report).columns()
    latency = carried["latency"]
    assert isinstance(latency, dict)
    assert len(latency) == 3
    for each in latency.values():
        assert sum(calls for _, calls in each["bins"]) == each["calls"] == 42_000
        assert [part for part, *_ in each["parts"]] == [50.0, 90.0, 99.0, 99.9]
