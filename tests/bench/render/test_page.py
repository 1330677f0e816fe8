"""Test the HTML of the page: escaping, policy, and missing optional packages."""

import base64
import gzip
import hashlib
import json
import re
import struct
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import report
from bench.machine import fields
from bench.records.files import collect
from bench.render import page as pages
from bench.render.page import PackedSamples, PageData, pack_samples, page
from bench.verdicts.sections import Report, build
from tests.bench.made_reports import REPLICATES, a_run, make_results, measured
from tests.places import ROOT

REFERENCE = ROOT / "results/reference"


class Read(HTMLParser):
    VOID = ("meta", "br", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.scripts: list[str] = []
        self.links: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag == "a":
            self.links.append(dict(attrs)["href"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)


def test_page_html_is_well_formed_and_loads_nothing(few: Report) -> None:
    text = page(few)
    read = Read(text)
    assert read.open == []
    assert not {"img", "link", "iframe", "object"} & set(read.seen)
    # The only links are the tabs.
    assert read.links == [f"#{tab}" for tab in pages.TABS]
    assert "default-src 'none'" in text


def test_page_policy_allows_exactly_its_scripts(few: Report) -> None:
    text = page(few)
    allowed = set(re.findall(r"'sha256-([^']+)'", text.partition("<style>")[0]))
    data, packed, script = Read(text).scripts
    plotly = gzip.decompress(base64.b64decode(packed))
    assert allowed == {
        base64.b64encode(hashlib.sha256(each).digest()).decode()
        for each in (plotly, script.encode())
    }
    assert plotly == pages.PLOTLY.read_bytes()
    assert json.loads(data)["backends"]


def test_page_data_columns_have_a_value_per_case(few: Report) -> None:
    found = PageData(few).columns()
    number = sum(len(section.rows) for section in few.sections)
    cases, works = found["cases"], found["works"]
    assert isinstance(cases, dict)
    assert isinstance(works, dict)
    assert {len(column) for column in cases.values()} == {number}
    assert len({len(column) for column in works.values()}) == 1
    assert json.loads(json.dumps(found, allow_nan=False))


def test_page_data_beyond_the_limit_counts_cases_left_out(
    few: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MOST_CASES", 3)
    found = PageData(few).columns()
    assert found["left_out"] == sum(len(section.rows) for section in few.sections) - 3


def test_page_large_table_counts_rows_left_out(
    few: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_MOST_ROWS", 1)
    monkeypatch.setattr(pages, "_FEWEST_ROWS", 1)
    assert re.search(r"And \d+ more \w+; --format csv has all of them\.", page(few))


def test_report_html_without_jinja_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fields, "find_spec", lambda name: None)
    out = tmp_path / "a.html"
    words = [*map(str, REPLICATES), "--format", "html", "--output", str(out)]
    assert report.main(words) == 2
    assert capsys.readouterr().err == (
        "error: --format html needs jinja2, which is not installed; "
        "pip install 'lstm-benchmark-suite[html]'\n"
    )
    assert not out.exists()


def test_page_of_the_reference_results_takes_at_most_two_megabytes() -> None:
    report = build(collect(sorted(REFERENCE.glob("*.json"))))
    assert len(page(report).encode()) <= 2_000_000


def test_plotly_is_the_file_that_its_readme_describes() -> None:
    digest = hashlib.sha256(pages.PLOTLY.read_bytes()).hexdigest()
    assert digest in pages.PLOTLY.with_name("README.md").read_text("utf-8")


def test_page_has_the_licence_of_plotly(few: Report) -> None:
    assert "Copyright (c) 2016-2024 Plotly Technologies Inc." in page(few)


def unpacked(packed: PackedSamples) -> list[list[float]]:
    low, high, sizes, text = packed
    steps = iter(struct.unpack(f"<{sum(sizes)}H", base64.b64decode(text)))
    return [[low * (high / low) ** (next(steps) / 65535) for _ in range(size)] for size in sizes]


@given(st.lists(st.lists(st.floats(1e-7, 1e-3)), max_size=4))
def test_packed_samples_are_exact_to_a_step_of_their_scale(processes: list[list[float]]) -> None:
    found = unpacked(pack_samples([np.array(each, dtype=np.float64) for each in processes]))
    # Half a step of a scale from 1 to 10,000 is 0.007%.
    assert found == [pytest.approx(each, rel=1e-4) for each in processes]


def test_packed_samples_of_equal_times_keep_the_time() -> None:
    assert unpacked(pack_samples([np.full(3, 0.25), np.full(1, 0.25)])) == [[0.25] * 3, [0.25]]


def test_packed_samples_of_zero_seconds_have_the_smallest_time() -> None:
    assert unpacked(pack_samples([np.array([0.0, 1.0])])) == [pytest.approx([1e-12, 1.0])]


def machine_details(environment: dict[str, object]) -> list[tuple[str, str]]:
    found = build(make_results(measured("a", 0.1, a_run(environment=environment))))
    return pages._details(found.sections[0])


def test_details_of_recorded_values_have_names_and_units() -> None:
    before: dict[str, object] = {
        "kernel": "Linux-6.1",
        "cpu": {"name": "A CPU", "turbo": False, "governor": None, "clock_hz": 2.596e9},
        "memory": {"total_bytes": 2**34, "swap_used_bytes": 0},
        "gpus": [{"name": "A GPU", "memory_total_bytes": 80 * 2**30, "power_limit_w": 700.0}],
        "threads": {"requested": None},
        "variables": {"OMP_NUM_THREADS": "2"},
    }
    after = {"threads": {"tensorflow_inter": 0}, "tensorflow": {"build": {"cuda_version": "12.5"}}}
    assert dict(machine_details({"before": before, "after": after})) == {
        "kernel": "Linux-6.1",
        "cpu": "name A CPU, turbo False",
        "memory": "total_bytes 16 GiB",
        "gpus": "name A GPU, memory_total_bytes 80 GiB, power_limit_w 700.0",
        "threads": "tensorflow_inter 0",
        "tensorflow": "build.cuda_version 12.5",
        "variables": "OMP_NUM_THREADS 2",
    }


@pytest.mark.parametrize(
    "odd", [None, [], {"a": {}}, "x", -1, 10**400, float("nan"), True, [[[[[[1]]]]]]]
)
def test_details_of_values_of_any_type_are_short_text(odd: object) -> None:
    inner = {"cpu": {"clock_hz": odd}, "memory": {"total_bytes": odd}, "gpus": [{"a": odd}]}
    parts = {"cpu": odd, "memory": odd, "gpus": [odd], "threads": odd}
    for before in (inner, parts, odd):
        for _, text in machine_details({"before": before, "after": {"tensorflow": odd}}):
            assert text.isprintable()
            assert len(text) < 2000
