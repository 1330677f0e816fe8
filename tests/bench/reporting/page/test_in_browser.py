"""The page in a real browser: what is shown, what filters change, and that no text acts on it.

A Chromium or Chrome is looked for in $LSTM_BROWSER, on the PATH, and where Playwright keeps its
own. Without one these tests are skipped with that reason, and fail in CI, where one must be.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from bench.judging.ranking import build
from bench.judging.rows import Report, Row, Section
from bench.reporting.page.explorer import page as explorable
from bench.results.files import collect
from bench.results.schema import Measurement, Outcome, Reason, Run
from bench.suites.cases import Case
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload
from tests.bench import made_results
from tests.places import GOLDEN

BUSY = Reason("busy", "the machine was busy", "close other programs")

PLOTS = ("ranked", "first", "memory", "samples", "across", "windows", "roofline")


def a_run(number: int = 1, host: str = "machine") -> Run:
    at = datetime(2025, 1, 31, 12, tzinfo=UTC) + timedelta(minutes=number)
    environment = {"before": {"cpu": {"name": f"CPU of {host}", "cores": 2}}}
    return Run(
        f"run-{number}", "s", "quick", 1, at, at, True, host, f"id of {host}", {}, environment
    )


def measured(case: Case, seconds: float, run: Run, reasons: tuple[Reason, ...] = ()) -> Measurement:
    """With all the figures that a page can show."""
    return replace(
        made_results.measured(case, seconds, run, reasons),
        setup={"build_s": 0.5, "trace_s": 0.25, "first_call_s": 1 + seconds, "compile_s": 1.0},
        memory={"peak_bytes": 1e8 * seconds},
        roofs={
            "operations": 1e9,
            "bytes": 1e7,
            "matmul_per_s": 4e11,
            "bandwidth_per_s": 4e9,
            "of_matmul": 1 / 400 / seconds,
            "of_bandwidth": 1 / 400 / seconds,
            "of_chain": 0.001 / seconds,
        },
    )


SPEEDS = {"keras": 2.0, "static_unroll": 1.0, "while_loop": 3.0}
BATCHES, UNITS, MODES, WINDOWS = (8, 32, 128), (64, 256), ("inference", "training"), (5, 20)


def store() -> Report:
    """Two devices, two modes, six shapes in six processes, windows, an invalid and a refused one.

    A step takes a millisecond a sequence for the fastest; training takes twice as long.
    """
    items: list[Measurement | Outcome] = []
    for number in range(1, 7):
        run = a_run(number)
        for backend, slower in SPEEDS.items():
            for batch in BATCHES:
                for units in UNITS:
                    for mode in MODES:
                        work = Workload(batch, 100, mode)
                        seconds = 1e-3 * slower * batch * (1 + (mode == "training"))
                        doubt = (BUSY,) if (backend, batch) == ("while_loop", 128) else ()
                        case = Case(backend, LSTMSpec(units, units), work)
                        items.append(measured(case, seconds * (1 + 1e-3 * number), run, doubt))
                        if backend == "keras":
                            items.append(measured(case.on("gpu:0"), seconds / 10, run))
            for window in WINDOWS:
                work = Workload(32, 480, "training", window=window)
                case = Case(backend, LSTMSpec(64, 64), work)
                items.append(measured(case, 0.1 * slower * (1 + 1 / window), run))
        refused = Case("onnxruntime", LSTMSpec(64, 64), Workload(8, 100, "training"))
        reason = "computes no gradients"
        items.append(Outcome(refused, run, "refused", reason, "", Path("a.json")))
    return build(made_results.gather(*items))


# The browser


def installed(playwright: Playwright) -> str | None:
    """A Chromium or Chrome of this machine."""
    named = os.environ.get("LSTM_BROWSER")
    if named:
        return named
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"):
        if found := shutil.which(name):
            return found
    own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        path = installed(playwright)
        if path is None:
            told = (
                "the page was NOT tested: no Chromium or Chrome is on the PATH; install one "
                "(`playwright install chromium`, or Debian's package `chromium`) or name it in "
                "$LSTM_BROWSER"
            )
            if os.environ.get("CI"):
                pytest.fail(told)
            pytest.skip(told)
        # Containers and CI often run as root, where Chromium's own sandbox cannot start.
        arguments = ["--no-sandbox", "--disable-gpu"]
        launched = playwright.chromium.launch(executable_path=path, args=arguments)
        yield launched
        launched.close()


class Opened:
    """A page in the browser, and everything that went wrong on it."""

    def __init__(self, context: BrowserContext, path: Path) -> None:
        self.page: Page = context.new_page()
        self.page.set_default_timeout(10_000)
        self.wrong: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", self._asked)
        self.page.goto(path.as_uri())

    def _asked(self, request: Any) -> None:
        if not request.url.startswith("file:") or request.resource_type != "document":
            self.wrong.append(f"asked for {request.url}")

    def draw(self, *views: str) -> None:
        """Scroll to these plots, as a reader does, until they are drawn."""
        for view in views:
            self.page.locator(f"#{view} h3").scroll_into_view_if_needed()
            self.page.locator(f"#{view}[aria-busy=false]").wait_for()

    def plot(self, view: str) -> list[dict[str, Any]]:
        """What Plotly shows there: the traces."""
        self.draw(view)
        found: list[dict[str, Any]] = self.page.evaluate(
            """view => document.querySelector(`#${view} .plot`).data.map((trace) => ({
                 type: trace.type, x: Array.from(trace.x ?? []), y: Array.from(trace.y ?? []),
                 hover: [trace.hovertext ?? []].flat() }))""",
            view,
        )
        return found

    def says(self, view: str) -> str:
        self.draw(view)
        return str(self.page.locator(f"#{view} .says").inner_text())

    @property
    def shown(self) -> str:
        return str(self.page.locator("#shown").inner_text())

    @property
    def answer(self) -> str:
        return str(self.page.locator("#answer").inner_text())

    def choose(self, label: str, option: str) -> None:
        self.page.get_by_label(label, exact=True).select_option(label=option)

    def table(self) -> list[list[str]]:
        """The cells of the page of the table of every case."""
        found: list[list[str]] = self.page.evaluate(
            """() => [...document.querySelectorAll('#cases tbody tr')].map(
                 (row) => [...row.cells].map((cell) => cell.textContent))"""
        )
        return found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(explorable(store()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def once(browser: Browser, written: Path) -> Iterator[Opened]:
    context = browser.new_context(viewport={"width": 1200, "height": 800}, color_scheme="light")
    yield Opened(context, written)
    context.close()


@pytest.fixture
def opened(once: Opened) -> Iterator[Opened]:
    """The store's page as it opens; nothing may go wrong on it."""
    once.page.get_by_role("button", name="Start again").click()
    once.page.wait_for_function("window.Plotly")
    yield once
    assert once.wrong == []


@pytest.fixture
def new(browser: Browser) -> Iterator[Any]:
    """Opens a page in a context of its own."""
    contexts = []

    def make(path: Path, **settings: Any) -> Opened:
        contexts.append(browser.new_context(**settings))
        return Opened(contexts[-1], path)

    yield make
    for context in contexts:
        context.close()


# What it shows


def test_it_opens_with_nothing_wrong_and_draws_every_plot(opened: Opened) -> None:
    opened.draw(*PLOTS)
    for view in PLOTS:
        assert opened.plot(view), view
        assert opened.says(view), view
    # Nothing on it moves, so there is nothing to reduce.
    assert opened.page.evaluate("document.getAnimations().length") == 0


def test_a_stranger_reads_what_to_use_and_what_is_gained(opened: Opened) -> None:
    opened.page.get_by_label("Batch, sequences").fill("32")
    opened.page.get_by_label("Steps of time").last.fill("100")
    opened.page.get_by_label("Units (hidden size)").last.fill("256")
    opened.page.get_by_label("Units (hidden size)").last.press("Enter")
    told = opened.answer
    assert "Batch 32 × 100 steps, 256 in, 256 hidden; inference on cpu" in told
    assert re.search(r"use static_unroll, 32\.\d ms a step", told)
    assert re.search(r"2× as fast as keras \(2× to 2×; FASTER\)", told)
    assert "FASTER than each of the others" in told
    assert "from 6 processes" in told
    assert "No result for" not in told


def test_of_a_shape_that_was_not_measured_the_nearest_is_told_as_such(opened: Opened) -> None:
    for label, number in (("Batch, sequences", "40"), ("Units (hidden size)", "300")):
        opened.page.get_by_label(label).last.fill(number)
        opened.page.get_by_label(label).last.press("Enter")
    told = opened.answer
    assert "No result for batch 40 × 100 steps with 300 units. The nearest" in told
    assert "Batch 32 × 100 steps, 256 in, 256 hidden" in told
    opened.choose("or one that was measured", "batch 8 × 100 steps, 64 in, 64 hidden")
    assert "No result for" not in opened.answer
    assert opened.page.get_by_label("Batch, sequences").input_value() == "8"


def test_filters_change_what_is_shown(opened: Opened) -> None:
    assert "Chosen: 18 of 55 cases, 18 with a time, 2 INVALID; 3 backends" in opened.shown
    assert len(opened.table()) == 18
    opened.draw("ranked", "across")
    assert opened.plot("ranked")[0]["x"] == pytest.approx([8e-3, 16e-3, 24e-3], rel=0.01)
    assert len(opened.plot("across")) == 6

    opened.choose("Mode", "training")
    assert "Chosen: 19 of 55 cases, 18 with a time" in opened.shown
    assert "training on cpu" in opened.answer
    assert opened.plot("ranked")[0]["x"] == pytest.approx([16e-3, 32e-3, 48e-3], rel=0.01)

    opened.page.get_by_role("checkbox", name="static_unroll").uncheck()
    assert "use keras" in opened.answer
    assert len(opened.plot("across")) == 4
    assert not any("static_unroll" in row[0] for row in opened.table())

    opened.page.get_by_label("only measurements to be trusted").check()
    assert "0 INVALID" in opened.shown

    opened.choose("Batch", "128")
    assert {row[1] for row in opened.table()} == {
        "batch 128 × 100 steps, 64 in, 64 hidden, gradients of weights, input, state",
        "batch 128 × 100 steps, 256 in, 256 hidden, gradients of weights, input, state",
    }
    opened.choose("Device", "gpu:0")
    assert "training on gpu:0" in opened.answer
    opened.page.get_by_role("button", name="None").click()
    assert "Nothing that is chosen was measured" in opened.answer
    assert opened.table() == []
    assert opened.says("ranked") == "Nothing that is chosen has a time here."
    opened.page.get_by_role("button", name="Start again").click()
    assert "Chosen: 18 of 55 cases" in opened.shown


def test_the_baseline_can_be_chosen(opened: Opened) -> None:
    assert "2× as fast as keras" in opened.answer
    opened.choose("Speed-up over", "while_loop")
    assert "3× as fast as while_loop" in opened.answer
    # Of the report's own baseline the paired ratios are there; of another only the two intervals.
    assert "paired less well" in opened.answer
    opened.choose("Up", "Speed-up over the baseline")
    opened.draw("across")
    assert "static_unroll, 3×" in opened.says("across")
    assert max(y for trace in opened.plot("across") for y in trace["y"]) == pytest.approx(3)


def test_the_answer_names_the_other_devices_with_their_fastest_backend(opened: Opened) -> None:
    assert "gpu:0 or cpu, inference: gpu:0 is 5.02 times as fast" in (
        opened.page.locator(".answers").first.inner_text()
    )
    assert "On gpu:0: keras, 1.6 ms a step" in opened.answer
    assert "5.02× as fast" in opened.answer
    opened.choose("Device", "gpu:0")
    assert "On cpu: static_unroll, 8.03 ms a step" in opened.answer
    opened.page.get_by_role("checkbox", name="static_unroll").uncheck()
    assert "On cpu: keras" in opened.answer


def test_lines_tell_modes_and_devices_apart_where_several_are_chosen(opened: Opened) -> None:
    assert "Lines:" not in opened.says("across")
    opened.choose("Mode", "all")
    opened.draw("across")
    assert "Lines: inference on cpu solid, training on cpu dashed." in opened.says("across")
    dashes = opened.page.evaluate(
        "document.querySelector('#across .plot').data.map((trace) => trace.line.dash)"
    )
    assert sorted(dashes) == ["dash"] * 6 + ["solid"] * 6


def test_memory_is_marked_in_powers_of_two(opened: Opened) -> None:
    opened.draw("memory")
    marks = opened.page.locator("#memory .plot .xtick text").all_text_contents()
    assert marks == ["0", "512 KiB", "1 MiB", "1.5 MiB", "2 MiB"]


def test_throughput_goes_against_batch_units_and_shape(opened: Opened) -> None:
    opened.draw("across")
    for axis, expected in (("batch", [8, 32, 128]), ("hidden size", [64, 256])):
        opened.choose("Across", axis)
        assert f"against {axis}" in opened.page.locator("#across-title").inner_text()
        for trace in opened.plot("across"):
            # Backends stand a little aside of each other.
            assert trace["x"] == pytest.approx(expected, rel=0.04)
    opened.choose("Across", "window")
    assert "No throughput" in opened.says("across")
    opened.choose("Across", "shape")
    opened.choose("Up", "Peak memory")
    assert {y for trace in opened.plot("across") for y in trace["y"]}
    opened.choose("Across", "batch")
    opened.choose("Shapes", "only as yours, but for what goes across")
    assert len(opened.plot("across")) == 3


def test_the_first_result_is_split_into_its_parts(opened: Opened) -> None:
    opened.draw("first")
    build, trace, compile_, step = opened.plot("first")
    assert build["x"] == [0.5] * 3
    assert trace["x"] == [0.25] * 3
    assert compile_["x"] == [1.0] * 3
    assert step["x"] == pytest.approx([8e-3, 16e-3, 24e-3], rel=0.01)


def test_every_sample_is_shown_with_its_process(opened: Opened) -> None:
    opened.draw("samples")
    boxes = opened.plot("samples")
    assert [(box["type"], len(box["y"])) for box in boxes] == [("box", 11)] * 6
    assert "66 samples in 6 processes" in opened.says("samples")
    page = opened.page
    page.locator("#samples").get_by_label("Backend").select_option(label="while_loop")
    assert "while_loop" in opened.says("samples")
    assert min(opened.plot("samples")[0]["y"]) == pytest.approx(24e-3, rel=0.01)


def test_truncation_and_the_roofs_are_shown(opened: Opened) -> None:
    opened.draw("windows", "roofline")
    assert len(opened.plot("windows")) == 3
    for trace in opened.plot("windows"):
        assert trace["x"] == pytest.approx(WINDOWS, rel=0.04)
    assert "static_unroll, 219 µs in windows of 20" in opened.says("windows")
    roof, *_, marks = opened.plot("roofline")
    assert max(roof["y"]) == 4e11
    assert set(marks["x"]) == {100}
    assert "31.1% of the matrix products roof" in opened.says("roofline")


def test_behind_each_plot_is_its_table(opened: Opened) -> None:
    opened.draw(*PLOTS)
    for view in PLOTS:
        details = opened.page.locator(f"#{view} details")
        details.locator("summary").click()
        details.locator("tbody tr").first.wait_for()
        label = opened.page.locator(f"#{view} .plot").get_attribute("aria-label") or ""
        assert opened.says(view) in label
        details.locator("summary").click()
    opened.page.locator("#ranked summary").click()
    cells = opened.page.locator("#ranked tbody tr").first.locator("th,td").all_inner_texts()
    assert cells[0] == "static_unroll"
    assert cells[-2:] == ["FASTER", "trusted"]


def test_cases_without_a_time_and_invalid_ones_have_their_reasons(opened: Opened) -> None:
    opened.choose("Mode", "training")
    opened.choose("Show", "without a time")
    ((backend, *_, trust, why),) = opened.table()
    assert (backend, trust, why) == ("onnxruntime", "refused", "computes no gradients")
    opened.choose("Show", "INVALID")
    assert {(row[0], row[-1]) for row in opened.table()} == {
        ("while_loop", "the machine was busy (close other programs)")
    }
    opened.choose("Show", "all")
    opened.choose("Sort by", "time of a step")
    assert [row[3] for row in opened.table()][:2] == ["16.1 ms", "16.1 ms"]


def test_what_older_results_lack_is_said_in_words(new: Any, tmp_path: Path) -> None:
    path = tmp_path / "old.html"
    path.write_text(explorable(build(collect([GOLDEN / "replicate-1.json"]))), encoding="utf-8")
    found = new(path)
    for view, words in (("memory", "No memory was"), ("roofline", "The roofs (rate of matrix")):
        assert words in found.says(view)
        assert not found.page.locator(f"#{view} .plot").is_visible()
    assert found.wrong == []


# With a keyboard, a screen reader, a phone, on paper, in the dark, without scripts


def test_every_control_has_a_name_and_can_be_reached_with_a_keyboard(opened: Opened) -> None:
    page = opened.page
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('#explorer :is(select, input, button)')].filter(
             (one) => !(one.textContent.trim() && one.matches('button')) &&
               ![...(one.labels ?? [])].some((label) => label.textContent.trim())).length"""
    )
    assert unnamed == 0
    page.get_by_label("Device", exact=True).focus()
    seen = []
    for _ in range(40):
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.value"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        if len(seen) > 1:
            assert outline == "solid", seen
        page.keyboard.press("Tab")
    for control in ("filter-mode", "valid-only", "backends-none", "reset", "want-batch", "work"):
        assert control in seen
    page.get_by_label("Mode", exact=True).focus()
    page.keyboard.press("ArrowDown")
    assert "training" in opened.answer
    for region in ("#shown", "#answer"):
        assert page.locator(region).get_attribute("aria-live") == "polite"
    levels = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3')].map((one) => Number(one.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_an_accessibility_checker_finds_nothing_wrong(
    new: Any, written: Path, scheme: str, width: int
) -> None:
    """By axe's rules (names, roles, contrast, headings, tables), with every table open."""
    found = new(
        written,
        color_scheme=scheme,
        viewport={"width": width, "height": 900},
        bypass_csp=True,  # the checker is a script, which the page's own policy would not let run
    )
    found.draw(*PLOTS)
    for summary in found.page.locator("summary").all():
        summary.click()
    wrong = Axe().run(found.page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in wrong] == []


def test_on_a_phone_nothing_is_wider_than_the_screen(new: Any, written: Path) -> None:
    found = new(written, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    found.draw(*PLOTS)
    assert found.page.evaluate("document.documentElement.scrollWidth") <= 360
    # Who and how long can be read without moving the tables.
    tables = found.page.locator("table:has(th[scope=rowgroup])")
    for cell in tables.first.locator("td.time").all()[:3]:
        box = cell.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 360
    # A finger that drags over a plot scrolls the page.
    assert found.page.evaluate("document.querySelector('#across .plot').layout.dragmode") is False
    assert found.wrong == []


def test_paper_has_answers_and_plots_in_the_colours_of_light(new: Any, written: Path) -> None:
    found = new(written, color_scheme="dark")
    found.draw("ranked")
    colour = "document.querySelector('#{} .plot').layout.font.color"
    assert found.page.evaluate(colour.format("ranked")) == "#ececec"
    found.page.emulate_media(media="print")
    found.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for view in PLOTS:
        assert found.page.evaluate(colour.format(view)) == "#1b1b1b"
        width = "document.querySelector('#{} .plot .main-svg').getBoundingClientRect().width"
        assert found.page.evaluate(width.format(view)) == 680
    assert not found.page.locator("#filters").is_visible()
    assert not found.page.locator("#cases").is_visible()
    assert found.page.locator("#answer").is_visible()
    # On paper nothing can be opened: the reasons stand there, and are folded again afterwards.
    reasons = found.page.locator("details li", has_text="the machine was busy").first
    assert reasons.is_visible()
    found.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not reasons.is_visible()
    assert found.page.pdf(format="A4").startswith(b"%PDF")
    found.page.emulate_media(media="screen", color_scheme="light")
    found.page.wait_for_function(f"{colour.format('ranked')} === '#1b1b1b'")
    assert found.wrong == []


def test_without_scripts_the_answers_and_the_tables_are_there(new: Any, written: Path) -> None:
    found = new(written, java_script_enabled=False)
    text = found.page.locator("main").inner_text()
    assert "static_unroll is the fastest: 2.00 times as fast as keras" in text
    assert "CPU of machine" in text
    assert not found.page.locator("#explorer").is_visible()
    assert found.page.get_by_role("table").first.is_visible()


# Hostile text

NASTY = [
    "<script>window.hit=1</script>",
    "</script><img src=x onerror=window.hit=1>",
    "<b>bold</b><br><a href='javascript:window.hit=1'>a</a>",
    "\"quotes\" & 'more' &lt;i&gt; \\",
    "%{x} $y$ __proto__ {{z}}",
    "\x1b[31m\u202e",
    "w" * 1_000_000,
]


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page on which every name, host, device and reason is hostile."""
    host = NASTY[0] + NASTY[1]
    run = replace(a_run(1, host), suite=host, session=host)
    items: list[Measurement | Outcome] = []
    for number, text in enumerate(NASTY):
        doubt = (Reason(text, text, text),)
        for work in (Workload(8, 10), Workload(8, 10, "training", window=5)):
            case = Case(text, LSTMSpec(4, 4), work, NASTY[2])
            items.append(measured(case, 0.01 * (1 + number), run, doubt if number else ()))
        failed = Case(text + "2", LSTMSpec(4, 4), Workload(8, 10), NASTY[2])
        items.append(Outcome(failed, run, "failed", text, text, Path("a.json")))
    text = explorable(build(made_results.gather(*items)))
    assert len(text) < 5_500_000
    path = tmp_path_factory.mktemp("nasty") / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


def test_hostile_text_is_shown_as_text(new: Any, nasty: Path) -> None:
    found = new(nasty, viewport={"width": 1200, "height": 800})
    page = found.page
    found.draw(*PLOTS)
    inside = page.locator("main")
    assert inside.locator("script, img, iframe, svg a, b").count() == 0
    told = inside.inner_text()
    backends = [row[0] for row in found.table()]
    for text in NASTY[:5]:
        assert text[:60] in told
        assert any(name.startswith(text[:60]) for name in backends)
    assert not re.search("[\x1b\u202e]", told)
    # In the plots too: as it stands, not as markup, and not as Plotly's own signs.
    found.draw("ranked")
    labels = page.locator("#ranked .plot .ytick text").all_text_contents()
    for text in NASTY[:5]:
        assert any(label.startswith(text[:39]) for label in labels), labels
    page.mouse.move(*middle(page, "#ranked .plot .bars .point"))
    page.locator("#ranked .hoverlayer text").first.wait_for()
    pointed = page.locator("#ranked .hoverlayer").text_content() or ""
    assert NASTY[0] in pointed
    assert NASTY[2] in pointed
    for width in (1200, 360):
        page.set_viewport_size({"width": width, "height": 800})
        found.draw(*PLOTS)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("window.hit") is None
    assert found.wrong == []


def middle(page: Page, selector: str) -> tuple[float, float]:
    box = page.locator(selector).first.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_the_policy_stops_a_script_that_slipped_through(opened: Opened) -> None:
    opened.page.evaluate(
        """() => { const made = document.createElement('script');
             made.textContent = 'window.hit = 1'; document.body.append(made); }"""
    )
    assert opened.page.evaluate("window.hit") is None
    assert any("Content Security Policy" in each for each in opened.wrong)
    opened.wrong.clear()


# Size


@pytest.fixture(scope="module")
def large_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "report.html"
    path.write_text(explorable(large()), encoding="utf-8")
    return path


def test_ten_thousand_cases_open_in_pages(new: Any, large_page: Path) -> None:
    assert large_page.stat().st_size < 12_000_000
    found = new(large_page, viewport={"width": 1200, "height": 800})
    assert "of 10,000 cases" in found.shown
    assert found.page.locator("#page-of").inner_text() == "Page 1 of 200"
    first = found.table()
    assert len(first) == 50
    found.page.get_by_role("button", name="Next page").click()
    assert found.page.locator("#page-of").inner_text() == "Page 2 of 200"
    assert found.table() != first
    found.draw("across")
    marks = sum(len(trace["x"]) for trace in found.plot("across"))
    assert 0 < marks <= 1500
    assert found.wrong == []


@pytest.mark.slow  # of the clock's sort: another program may make it late
def test_ten_thousand_cases_are_there_within_two_seconds(new: Any, large_page: Path) -> None:
    """From the click until answers, filters and tables stand; the shortest of three."""
    usable = "performance.getEntriesByName('page usable')[0].startTime"
    took = [new(large_page).page.evaluate(usable) for _ in range(3)]
    print(f"usable after {min(took):.0f} ms")
    assert min(took) < 2000


def large() -> Report:
    """Ten backends on a thousand shapes: pooled once, then the same numbers under other shapes."""
    shapes = [
        (batch, steps, units)
        for batch in range(1, 11)
        for steps in range(10, 110, 10)
        for units in range(32, 352, 32)
    ]
    run = a_run()
    items = [
        measured(Case(f"backend_{n}", LSTMSpec(32, 32), Workload(1, 10)), 1e-3 * (1 + n), run)
        for n in range(10)
    ]
    (section,) = build(made_results.gather(*items)).sections
    rows: list[Row] = [
        replace(
            row,
            case=replace(row.case, spec=LSTMSpec(units, units), workload=Workload(batch, steps)),
        )
        for batch, steps, units in shapes
        for row in section.rows
    ]
    return Report((Section(section.runs, tuple(rows), section.baseline),))
