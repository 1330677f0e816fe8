"""What the page is made of: its data, its policy, and what it is where there is no plotly."""

import base64
import hashlib
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench import report
from bench.judging.ranking import build
from bench.judging.rows import Report
from bench.judging.table import records
from bench.reporting.page import data, explorer, static
from bench.results.schema import Measurement, Outcome, Reason, Run
from bench.suites.cases import Case
from bench.telling import drawing
from bench.telling.inert import clean
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload
from tests.bench import made_results
from tests.bench.made_results import gather
from tests.places import GOLDEN, ROOT

PAGE = Path(static.__file__).parent

SPEC = LSTMSpec(3, 4)
WORK = Workload(2, 10)


def a_run(number: int = 1, host: str = "host") -> Run:
    at = datetime(2025, 1, 31, 12, tzinfo=UTC) + timedelta(minutes=number)
    return Run(f"run-{number}", "s", "quick", 1, at, at, True, host, "id", {}, {})


def measured(
    backend: str,
    seconds: float,
    run: Run | None = None,
    *,
    work: Workload = WORK,
    samples: int = 11,
    reasons: Sequence[Reason] = (),
    **figures: Any,
) -> Measurement:
    spread = np.linspace(0.9, 1.1, samples)
    np.random.default_rng(0).shuffle(spread)
    made = made_results.measured(Case(backend, SPEC, work), seconds, run or a_run(), reasons)
    return replace(
        made,
        samples=seconds * spread,
        rounds=np.arange(samples),
        setup={"build_s": 0.5, "trace_s": 0.25, "first_call_s": 1.0, "compile_s": 0.75},
        gate={"passed": True},
        memory=figures.get("memory"),
        roofs=figures.get("roofs"),
    )


def report_of(*items: Measurement | Outcome) -> Report:
    return build(gather(*items))


def read(found: Report) -> dict[str, Any]:
    """The data as the page's script gets it."""
    text: dict[str, Any] = json.loads(data.as_block(data.data(found)))
    assert not set(text["cases"]) & set(text["same"])
    for column, value in text["same"].items():
        text["cases"][column] = [value] * text["count"]
    return text


def in_words(found: dict[str, Any], column: str) -> list[str]:
    return [found["words"][column][n] if n >= 0 else "" for n in found["cases"][column]]


# The data


def test_the_page_has_the_numbers_of_the_tidy_table() -> None:
    made = report_of(
        measured("keras", 0.02, memory={"peak_bytes": 4096.0}),
        measured("torch", 0.01, roofs={"operations": 9.0, "bytes": 3.0, "matmul_per_s": 7.0}),
    )
    found = read(made)
    table = records(made)
    for column in ("time_s", "time_low_s", "timesteps_per_s", "speedup", "rank", "compile_s"):
        for value, row in zip(found["cases"][column], table, strict=True):
            assert value == (None if row[column] is None else pytest.approx(row[column], rel=1e-4))
    # What is told in words has every digit: else a page would round what is rounded already.
    for column in ("time_s", "time_low_s", "timesteps_per_s", "speedup", "speedup_high"):
        assert found["cases"][column] == [row[column] for row in table]
    assert in_words(found, "backend") == ["torch", "keras"]
    assert in_words(found, "verdict") == ["FASTER", ""]
    assert found["cases"]["peak_memory_bytes"] == [None, 4096]
    assert found["cases"]["operations"] == [9, None]
    assert found["cases"]["matmul_per_s"] == [7, None]
    assert found["words"]["backend"][found["sections"][0]["baseline"]] == "keras"
    assert found["works"]["text"] == ["batch 2 × 10 steps, 3 in, 4 hidden"]
    assert found["works"]["group"] == ["b2-t10-i3-h4/float32/inference/cpu"]
    assert found["works"]["variant"] == [""]
    ((use, inside, source),) = found["works"]["said"]
    assert use.startswith("Use torch, 10.0 ms a step (")
    assert inside == "Inside TensorFlow: keras itself, 20.0 ms."
    assert source == "From 1 process on host, 2025-01-31 12:01 UTC."
    # Columns that no case fills are left out, and what all have in common stands once.
    assert "energy_j" not in found["cases"]
    assert found["same"]["batch"] == 2
    assert "backend" not in found["same"]


def test_what_the_question_leaves_open_is_told_of_each_work() -> None:
    work = [
        Workload(2, 10, "training", gradients="weights"),
        Workload(2, 10, "training", gradients="weights+input"),
        Workload(2, 10, "training", batch_major=True, min_length=3),
    ]
    found = read(report_of(*(measured("keras", 0.01, work=each) for each in work)))
    assert found["works"]["variant"] == [
        "",
        "gradients of weights, input",
        "lengths from 3, batch-major, gradients of weights, input, state",
    ]


def test_each_backend_looks_as_in_the_pictures() -> None:
    found = read(report_of(*(measured(name, 0.01) for name in ("torch", "keras", "my_own"))))
    for name, (colour, shape) in zip(found["words"]["backend"], found["looks"], strict=True):
        assert (colour, shape) == (drawing.look(name).colour, drawing.look(name).shape)


def test_every_sample_is_there_with_its_process() -> None:
    runs = [a_run(1), a_run(2)]
    items = [measured("keras", 0.02 * (1 + n), run) for n, run in enumerate(runs)]
    found = read(report_of(*items))
    ((first, second),) = found["samples"]
    assert found["whole_samples"] is True
    assert (first[0], second[0]) == (1, 2)
    time = found["cases"]["time_s"][0]
    for process, item in zip((first, second), items, strict=True):
        assert process[1] == np.median(item.samples)
        assert np.array(process[2]) * time / 1e4 == pytest.approx(item.samples, rel=1e-3)


def test_of_too_many_samples_each_process_keeps_its_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "MOST_SAMPLES", 40)
    items = [measured("keras", 0.02, a_run(n), samples=200) for n in (1, 2)]
    found = read(report_of(*items))
    assert found["whole_samples"] is False
    for _, _, parts in found["samples"][0]:
        assert len(parts) == 20
        assert parts == sorted(parts)
        assert (parts[0], parts[-1]) == (9000, 11000)


def test_cases_that_do_not_fit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "MOST_CASES", 2)
    found = read(report_of(*(measured(name, 0.01) for name in "abcde")))
    assert found["left_out"] == 3
    assert len(found["cases"]["time_s"]) == len(found["samples"]) == 2


def test_names_that_look_alike_stay_apart() -> None:
    long = "x" * 500
    found = read(report_of(measured(long + "1", 0.01), measured(long + "2", 0.02)))
    assert found["cases"]["backend"] == [0, 1]
    assert found["words"]["backend"][0] == found["words"]["backend"][1]


HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    "\"quoted\" 'single' \\ &lt;",
    "\x1b[31m\x00\u202e\u2028\ud800",
    "x" * 1_000_000,
    "constructor",
    "__proto__",
]


@settings(max_examples=40, deadline=None)
@given(st.one_of(st.sampled_from(HOSTILE), st.text(min_size=1, max_size=30)))
@example(HOSTILE[1])
@example(HOSTILE[5])
def test_no_text_can_end_the_data_or_grow_it(text: str) -> None:
    run = a_run(host=text)
    outcome = Outcome(Case(text + "2", SPEC, WORK), run, "failed", text, text, Path("a.json"))
    reason = Reason("busy", text, text)
    made = report_of(measured(text, 0.01, run, reasons=[reason]), outcome)
    written = data.as_block(data.data(made))
    assert not re.search("[<>&\u2028\u2029\ud800]", written)
    assert len(written) < 20_000
    assert in_words(read(made), "backend")[0] == clean(text, 60)


# The page


def scripts_of(page: str) -> list[tuple[str, str]]:
    return re.findall(r"<script([^>]*)>(.*?)</script>", page, re.DOTALL)


def test_the_policy_lets_only_the_page_s_own_scripts_run() -> None:
    page = explorer.page(report_of(measured("keras", 0.01)))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    kinds = dict(scripts_of(page))
    assert list(kinds) == [
        ' type="application/json" id="results"',
        ' type="text/plain" id="plotly"',
        "",
    ]
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for attributes, text in kinds.items()
        if "json" not in attributes
    ]
    assert sorted(rules["script-src"].split()) == sorted(hashes)
    assert rules["default-src"] == "'none'"
    assert rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe-inline" not in rules["script-src"]
    # Nothing is asked for from elsewhere.
    without = page.replace(kinds[' type="text/plain" id="plotly"'], "")
    assert not re.search(r"https?:|url\(|@import|\bsrc=|\bhref=", without)


def test_without_plotly_the_page_has_its_tables_and_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    page = explorer.page(report_of(measured("keras", 0.01)))
    assert "pip install &#x27;plotly&gt;=6&#x27;" in page
    assert page.count("<table>") == 1
    # Question, answer and what needs no plot are there, and nothing of plotly's.
    assert [attributes for attributes, _ in scripts_of(page)] == [
        ' type="application/json" id="results"',
        "",
    ]
    assert len(page) < 150_000


def test_the_command_writes_the_page_to_explore(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    arguments = [str(GOLDEN / "replicate-1.json"), "--format", "html", "--output", str(path)]
    assert report.main(arguments) == 0
    assert 'id="explorer"' in path.read_text()


def test_answers_of_all_sessions_come_before_any_table() -> None:
    runs = [replace(a_run(n), session=f"session {n}") for n in (1, 2)]
    page = static.page(report_of(*(measured("keras", 0.01, run) for run in runs)))
    # Once as a decision, and once among the findings.
    assert page.count("only keras was measured") == 4
    assert page.count("only keras was measured", 0, page.index("<details>")) == 2
    assert page.index("<details>") < page.index("<table>")


def test_bars_are_as_long_as_the_speeds_and_it_is_said_once_a_session() -> None:
    page = static.page(report_of(measured("keras", 0.02), measured("torch", 0.005)))
    assert re.findall(r"width:([\d.]+)%", page) == ["100.0", "25.0"]
    assert page.count("Bars show speed: the longer the faster.") == 1
    refused = Outcome(Case("keras", SPEC, WORK), a_run(), "refused", "why", "", Path("a.json"))
    assert "Bars show" not in static.page(report_of(refused))


def test_at_most_three_lines_a_session_stand_open() -> None:
    """Eight tables and warnings: the rest is folded, and so are the sessions after the fourth."""
    busy = Reason("busy", "the machine was busy", "close other programs")
    items = [
        measured(name, 0.01, replace(a_run(n), session=f"{n}"), work=work, reasons=[busy])
        for n in range(6)
        for name in ("keras", "torch")
        for work in [WORK, *(Workload(2 * k, 100, "training", window=5) for k in range(1, 8))]
    ]
    page = static.page(report_of(*items))
    opened = page[: page.index("<details>")]
    assert opened.count("<h2") == 4
    assert opened.count("<li") == 12
    assert page.count("<summary>2 older sessions</summary>") == 1
    assert page.count("<summary>2 older sessions in full</summary>") == 1
    assert page.count("<summary>Findings: ") == 6


def test_a_page_of_many_cases_shows_whole_groups_and_says_how_many_more() -> None:
    work = [Workload(2, 10 + n) for n in range(800)]
    items = [measured(b, 0.01, work=w, samples=1) for b in ("keras", "torch") for w in work]
    made = report_of(*items)
    page = static.page(made)
    shown = page.count('<th scope="rowgroup" rowspan="2">')
    assert shown == 750
    assert page.count('<th scope="row">') == 2 * shown
    assert "And 50 more shapes; --format csv has all of them." in page


def test_the_installed_package_has_the_parts_of_the_page() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (patterns,) = re.findall(r"^bench = \[(.*)\]$", text, re.M)
    packed = {
        path
        for pattern in re.findall(r'"([^"]*)"', patterns)
        for path in (ROOT / "bench").glob(pattern)
    }
    parts = {path for path in PAGE.rglob("*") if path.suffix in (".html", ".css", ".js")}
    assert len(parts) > 10
    assert parts <= packed


def test_every_file_of_the_script_is_in_it() -> None:
    assert {path.stem for path in (PAGE / "script").glob("*.js")} == set(explorer.SCRIPT)


# Colours


def luminance(colour: str) -> float:
    digits = colour if len(colour) == 6 else "".join(2 * each for each in colour)
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


STYLE = (PAGE / "page.css").read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", [0, 1])
def test_marks_edges_and_focus_stand_out_in_light_and_dark(scheme: int) -> None:
    page = static.page(report_of(measured("keras", 0.01)))
    back = re.findall(r"--back: #([0-9a-f]+)", page)[scheme]
    edges = [re.findall(rf"--{name}: #([0-9a-f]+)", STYLE)[scheme] for name in ("edge", "focus")]
    for colour in (*(each[1:] for each in drawing.COLOURS), *edges):
        # WCAG 2.2, success criterion 1.4.11: graphics and controls.
        assert contrast(colour, back) >= 3, colour


def test_paper_has_the_colours_of_light() -> None:
    style = re.findall(r"--(\w+): (#[0-9a-f]+)", static.page(report_of(measured("a", 1.0))))
    light: dict[str, str] = {}
    for name, colour in [*style, *re.findall(r"--(\w+): (#[0-9a-f]+)", STYLE)]:
        light.setdefault(name, colour)
    paper = dict(re.findall(r"--(\w+): (#[0-9a-f]+)", STYLE.partition("@media print")[2]))
    assert paper == {name: light[name] for name in paper}
    assert set(light) - set(paper) == {"focus"}
    # The script has none of its own.
    assert not re.search(r"#[0-9a-fA-F]{6}", explorer.script())
