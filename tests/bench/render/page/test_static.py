"""The page without a script: what stands open on it, what is folded, its colours, hostile text."""

import html.parser
import itertools
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings

from bench.case.cases import Case
from bench.records.schema import Outcome, Reason
from bench.render import drawing
from bench.render.page import explorer, static
from bench.render.page.static import page
from bench.stats.rows import Report
from lstm_impl.workload import Workload
from tests.bench.made_reports import (
    BUSY,
    HOSTILE,
    INFERENCE,
    SPEC,
    a_run,
    hostile_report,
    measured,
    report_of,
    sentences,
    without_time,
)
from tests.places import ROOT

PAGE = Path(static.__file__).parent


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
    refused = Outcome(Case("keras", SPEC, INFERENCE), a_run(), "refused", "why", "", Path("a.json"))
    assert "Bars show" not in static.page(report_of(refused))


def test_at_most_three_lines_a_session_stand_open() -> None:
    """Eight tables and warnings: the rest is folded, and so are the sessions after the fourth."""
    busy = Reason("busy", "the machine was busy", "close other programs")
    items = [
        measured(name, 0.01, replace(a_run(n), session=f"{n}"), work=work, reasons=[busy])
        for n in range(6)
        for name in ("keras", "torch")
        for work in [INFERENCE, *(Workload(2 * k, 100, "training", window=5) for k in range(1, 8))]
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


def test_doubts_are_listed_once_and_no_more_than_can_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(static, "_MOST_SKIPPED", 2)
    busy = [measured(name, 0.01, reasons=[BUSY]) for name in ("a", "b", "c")]
    page = static.page(report_of(measured("keras", 0.02), *busy))
    listed = page.partition("<summary>3 measurements INVALID, and why</summary>")[2]
    assert listed.partition("</details>")[0].count("<code>") == 2
    assert listed.partition("</details>")[0].count("And 1 more case; --format csv") == 1
    # Their ratios are as INVALID, which goes without saying.
    assert "whose ratio is INVALID" not in page
    skipped = [without_time(name) for name in ("a", "b", "c")]
    page = static.page(report_of(measured("keras", 0.02), *skipped))
    listed = page.partition("<summary>3 cases without a time, and why</summary>")[2]
    assert listed.partition("</details>")[0].count("no GPU is here") == 2


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
def test_text_can_be_read_in_light_and_dark(few: Report, scheme: int) -> None:
    style = page(few).partition("</style>")[0]
    for text, back in itertools.product(("text", "dim", "good", "bad", "doubt"), ("back", "band")):
        found = (re.findall(rf"--{name}: #([0-9a-f]+)", style)[scheme] for name in (text, back))
        # WCAG 2.2, success criterion 1.4.3, level AA.
        assert contrast(*found) >= 4.5, (text, back)


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


class Page(html.parser.HTMLParser):
    """A page's elements and its text; any element that is not closed in order is an error."""

    empty = ("meta", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.opened: list[str] = []
        self.feed(text)
        self.close()
        assert self.opened == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.empty:
            self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_the_page_is_accessible_and_needs_nothing_from_elsewhere(few: Report) -> None:
    text = page(few)
    found = Page(text)
    tables = found.of("table")
    assert len(tables) == len(found.of("caption")) == 4
    assert all(each["scope"] in ("col", "row", "rowgroup") for each in found.of("th"))
    assert found.of("html") == [{"lang": "en"}]
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    assert {"http-equiv": "Content-Security-Policy", "content": policy} in found.of("meta")
    assert "<code>b2-t10-i3-h4</code>" in text
    assert len(found.of("h1")) == len(found.of("main")) == 1
    tags = {name for name, _ in found.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "form"}
    assert not re.search(r"https?:|url\(|@import|\bsrc=|\bhref=", text)
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = [a["aria-labelledby"] for _, a in found.elements if "aria-labelledby" in a]
    assert set(labels) == set(ids)
    assert "prefers-color-scheme: dark" in text
    shown = "".join(found.text)
    for sentence in sentences(few):
        assert sentence in shown
    assert "Golden CPU" in shown
    assert "no GPU is seen by TensorFlow" in shown


@settings(max_examples=30, deadline=None)
@given(HOSTILE)
@example('"><script>alert(1)</script>')
def test_hostile_text_is_harmless_in_html(text: str) -> None:
    shown = page(hostile_report(text))
    assert len(shown) < 200_000
    shown.encode("utf-8")
    found = Page(shown)
    plain = Page(page(hostile_report("plain")))
    # Tables stand in another order where the device's name sorts otherwise, and of the machine
    # nothing is listed that is blank.
    counts = [
        Counter((tag, *sorted(a)) for tag, a in each.elements if tag not in ("dt", "dd"))
        for each in (found, plain)
    ]
    assert counts[0] == counts[1]
