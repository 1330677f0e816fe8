"""The page in a real browser: what is shown, what filters change, and that no text acts on it.

A Chromium or Chrome is looked for in $LSTM_BROWSER, on the PATH, and where Playwright keeps its
own. Without one these tests are skipped with that reason, and fail in CI, where one must be.
"""

import itertools
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    Playwright,
    expect,
    sync_playwright,
)

import bench.ask
from bench.case.cases import Case
from bench.records.schema import Measurement, Outcome
from bench.render.messages import answer
from bench.render.page import page as explorable
from bench.verdicts.ranking import RankedRow
from bench.verdicts.sections import Report, Section, build
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload
from tests.bench import made_results
from tests.bench.made_pages import SPEEDS, a_run, measured, store
from tests.bench.made_reasons import recorded
from tests.bench.made_streams import streams

PLOTS = ("explore", "samples")
TABS = {"explore": "Scaling", "samples": "Processes", "latency": "Tail latency"}
"""The tab of each plot."""

PATIENCE = 120_000
"""Milliseconds, enough for a busy machine."""
expect.set_options(timeout=PATIENCE)


# The browser


def installed(playwright: Playwright) -> str | None:
    """Start Chromium or Chrome."""
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
            reason = (
                "the page was NOT tested: no Chromium or Chrome is on the PATH; install one "
                "(`playwright install chromium`, or Debian's package `chromium`) or name it in "
                "$LSTM_BROWSER"
            )
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        # Containers and CI often run as root, where Chromium's own sandbox cannot start.
        arguments = ["--no-sandbox", "--disable-gpu"]
        launched = playwright.chromium.launch(executable_path=path, args=arguments)
        yield launched
        launched.close()


class Opened:
    """A page in the browser, and its errors."""

    def __init__(self, context: BrowserContext, path: Path) -> None:
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self._wrong: list[str] = []
        self.page.on("console", lambda message: self._wrong.append(message.text))
        self.page.on("pageerror", lambda error: self._wrong.append(str(error)))
        self.page.on("dialog", self._dialog)
        self.page.on("request", self._asked)
        self.page.goto(path.as_uri())

    def _dialog(self, dialog: Any) -> None:
        self._wrong.append(dialog.message)
        dialog.dismiss()

    def _asked(self, request: Any) -> None:
        if not request.url.startswith("file:") or request.resource_type != "document":
            self._wrong.append(f"query for {request.url}")

    @property
    def wrong(self) -> list[str]:
        self.page.evaluate("0")
        return self._wrong

    def settle(self) -> None:
        """Wait until every plot is drawn: what is below it no longer moves.

        The page says it in a timer of no delay, and timers of one delay come in their order.
        """
        self.page.evaluate("() => new Promise((done) => setTimeout(done, 0))")

    def open_tab(self, name: str) -> None:
        """Press a tab."""
        self.page.get_by_role("tab", name=name, exact=True).click()

    def draw(self, *views: str) -> None:
        """Open the tab of each of these plots, and wait until the plot is drawn."""
        for view in views:
            self.open_tab(TABS[view])
            self.page.locator(f"#{view} :is(h2, h3)").scroll_into_view_if_needed()
            self.page.locator(f"#{view}[aria-busy=false]").wait_for()

    def look(self, width: int, scheme: Any = "light") -> None:
        """Set the width of the screen, and light or dark colours."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(color_scheme=scheme)
        # The page has received both changes before the next frame.
        self.page.wait_for_function(
            """([width, scheme]) => innerWidth === width &&
                 matchMedia(`(prefers-color-scheme: ${scheme})`).matches""",
            arg=[width, scheme],
        )
        self.settle()

    def narrower_than(self, width: int) -> None:
        """Wait until plots have followed the width of the page."""
        self.page.wait_for_function(
            "width => document.documentElement.scrollWidth <= width", arg=width
        )

    def unfold(self, what: str, inside: str = "tbody tr") -> Locator:
        """Open all folded parts, and wait for their contents."""
        self.settle()
        folded = self.page.locator(what).first
        folded.locator("> summary").click()
        folded.locator(inside).first.wait_for()
        return folded

    def plot(self, view: str) -> list[dict[str, Any]]:
        self.draw(view)
        found: list[dict[str, Any]] = self.page.evaluate(
            """view => document.querySelector(`#${view} .plot`).data.map((trace) => ({
                 type: trace.type, name: trace.name, x: Array.from(trace.x ?? []),
                 y: Array.from(trace.y ?? []), hover: [trace.hovertext ?? []].flat() }))""",
            view,
        )
        return found

    def description(self, view: str) -> str:
        self.draw(view)
        return str(self.page.locator(f"#{view} .description").inner_text())

    @property
    def shown(self) -> str:
        return str(self.page.locator("#shown").inner_text())

    @property
    def answer(self) -> str:
        """Return the paragraphs and offers of the answer, one per line."""
        parts = self.page.locator("#decision :is(p, li)").all_inner_texts()
        return "\n".join(" ".join(each.split()) for each in parts)

    def choose(self, label: str, option: str) -> None:
        """Choose an option of a filter or another selection, on a tab that has it."""
        places = self.page.locator("#filters, #compare, #scaling, #all-cases")
        control = places.get_by_label(label, exact=True)
        panel = control.evaluate("one => one.closest('.panel')?.id")
        if panel is not None or not control.is_visible():
            self.page.locator(f"#tab-{panel or 'compare'}").click()
        control.select_option(label=option)
        self.settle()

    def ask(self, **fields: str) -> str:
        """Fill in the form by its labels, and return the answer."""
        self.open_tab("Answer")
        for label, text in fields.items():
            control = self.page.locator("#question").get_by_label(label, exact=True)
            if control.evaluate("one => one.tagName") == "SELECT":
                control.select_option(label=text)
            else:
                control.fill(text)
                control.press("Enter")
        self.settle()
        return self.answer

    @property
    def backends(self) -> list[list[str]]:
        found: list[list[str]] = self.page.evaluate(
            """() => [...document.querySelectorAll('#picture .backends tbody tr')].map(
                 (row) => [...row.cells].map((cell) => cell.textContent))"""
        )
        return found

    def table(self) -> list[list[str]]:
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
    """Open the store's page, and check that it has no errors."""
    once.page.evaluate(
        "for (const one of document.querySelectorAll('details'))"
        " one.open = one.id === 'filter-fold'"
    )
    once.open_tab("Answer")
    once.page.get_by_role("button", name="Start again").click()
    once.settle()
    yield once
    assert once.wrong == []


@pytest.fixture
def new(browser: Browser) -> Iterator[Any]:
    contexts = []

    def make(path: Path, **settings: Any) -> Opened:
        contexts.append(browser.new_context(**settings))
        return Opened(contexts[-1], path)

    yield make
    for context in contexts:
        context.close()


# Contents


def test_page_opened_has_no_errors_and_all_plots(opened: Opened) -> None:
    for view in PLOTS:
        assert opened.plot(view), view
        assert opened.description(view), view
    assert opened.page.evaluate("document.getAnimations().length") == 0
    opened.open_tab("Tail latency")
    assert opened.page.locator("#latency").is_hidden()
    assert opened.page.locator("#no-latency").inner_text() == (
        "No stream was measured. To measure streams:\npython -m bench.run streaming\nCopy"
    )


def test_page_answer_equals_the_terminals(opened: Opened) -> None:
    (section,) = store().sections
    for batch, device in ((8, "cpu"), (128, "cpu"), (32, "gpu:0")):
        case = Case("", LSTMSpec(64, 64), Workload(batch, 100), device)
        rows = tuple(row for row in section.rows if row.case.group == case.group)
        answered = opened.ask(
            Batch=str(batch), Steps="100", Input="", Units="64", Mode="inference", Device=device
        )
        for line in answer(replace(section, rows=rows)):
            assert line in answered


def test_page_opens_with_whose_results_and_one_decision(opened: Opened) -> None:
    source = opened.page.locator("#source").inner_text()
    assert "Measured on\nof machine d0423c, 2025-01-31 12:01 UTC, quick, 6 processes" in source
    assert "CPU\nCPU of machine, 2 cores" in source
    assert opened.page.locator("#decision .main").inner_text() == (
        "Use static_unroll: 2.00× as fast as keras (99.5% CI 2.00–2.00), "
        "and significantly faster than every other backend."
    )
    signs = opened.page.locator("#picture .good").evaluate_all(
        "all => all.map((one) => getComputedStyle(one, '::before').content)"
    )
    assert signs
    assert all("▲" in sign for sign in signs)
    assert opened.page.locator("#picture .whisker").count() == 3
    shape = opened.page.locator("#shape")
    assert "Batch 32 × 100 timesteps, 64 in, 64 hidden" in shape.inner_text()
    shape.get_by_role("button", name="Another shape").click()
    assert opened.page.evaluate("document.activeElement.id") == "want-batch"


def test_page_without_a_proven_winner_names_all_that_may_be(new: Any, tmp_path: Path) -> None:
    items = [
        measured(
            Case(backend, LSTMSpec(4, 4), Workload(8, 10)),
            1e-3 * (1 + 0.2 * ((number + place) % 3)),
            a_run(number),
        )
        for number in range(1, 7)
        for place, backend in enumerate(("keras", "scan"))
    ]
    path = tmp_path / "tied.html"
    path.write_text(explorable(build(made_results.gather(*items))), encoding="utf-8")
    found = new(path)
    decision = found.page.locator("#decision .main").inner_text()
    assert re.fullmatch(
        r"Use (keras or scan|scan or keras): the results do not show which is faster\.", decision
    )


def test_page_backends_are_ranked_with_the_reports_numbers(opened: Opened) -> None:
    opened.ask(Batch="32", Steps="100", Input="", Units="256", Mode="inference", Device="cpu")
    lines = opened.backends
    assert [line[0] for line in lines] == ["★ static_unroll", "keras", "while_loop"]
    assert lines[0][1:6] == ["32.1 ms", "32.0–32.2", "2.00×", "2.00–2.00", "FASTER"]
    assert lines[1][3:6] == ["1×", "", "baseline"]
    widths = opened.page.locator("#picture .bar").evaluate_all(
        "all => all.map((one) => parseFloat(one.style.width))"
    )
    assert widths == [100, pytest.approx(50, abs=1), pytest.approx(33, abs=1)]


def test_page_unmeasured_shape_names_near_ones_and_command(opened: Opened) -> None:
    answered = opened.ask(Batch="40", Steps="100", Input="", Units="300", Mode="inference")
    assert "This page has no results for this shape." in answered
    assert "Similar shapes (each number within a factor of 1.5):" in answered
    assert opened.backends == []
    opened.page.locator("#decision button").first.click()
    opened.settle()
    assert "Use static_unroll" in opened.answer
    answered = opened.ask(Batch="3", Steps="50", Input="7", Units="11", Window="5", Mode="training")
    assert "No similar shape was measured" in answered
    assert "The nearest measured shapes:" in answered
    nearest = opened.page.locator("#decision li button").all_inner_texts()
    assert len(nearest) == 3
    # Work in windows is nearer than work of similar sizes that takes the whole sequence.
    assert nearest[0].startswith("batch 32 × 480 timesteps, 64 in, 64 hidden")
    assert "windows of 5" in nearest[0]
    text = opened.page.locator("#decision .command").inner_text()
    opened.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened.page.get_by_role("button", name="Copy").click()
    opened.page.get_by_role("button", name="Copied").wait_for()
    assert opened.page.evaluate("navigator.clipboard.readText()") == text
    command = text.split()
    options = bench.ask._parser().parse_args(command[3:])
    assert (options.batch, options.steps, options.input, options.window) == (3, 50, 7, 5)
    assert options.cell == "lstm"
    for cell in ("gru", "gru_reset_before"):
        # The form keeps the cell when the mode changes.
        opened.ask(Batch="3", Steps="50", Units="11", Window="", Mode="training", Variant=cell)
        opened.ask(Mode="inference")
        command = opened.page.locator("#answer .command").inner_text().split()
        assert bench.ask._parser().parse_args(command[3:]).cell == cell


def test_page_opens_on_a_training_shape_of_several_backends(new: Any, tmp_path: Path) -> None:
    path = tmp_path / "mixed.html"
    streamed = build(streams({"keras": 5.0, "numpy": 3.0})).sections
    mixed = Report((*streamed, *store((8, 32), (64,), processes=2).sections))
    path.write_text(explorable(mixed), "utf-8")
    opened = new(path)
    assert "/training/cpu" in opened.answer
    opened.open_tab("Tail latency")
    assert opened.page.locator("#latency").is_hidden()
    opened.page.locator("#no-latency button").first.click()
    assert len(opened.plot("latency")) == 4
    # Each mode leaves what the others exclude.
    opened.ask(Optimizer="adam", Window="5", Mode="streaming")
    form = opened.page.locator("#question")
    assert form.get_by_label("Optimizer").evaluate("one => one.selectedOptions[0].text") == "none"
    assert form.get_by_label("Window").input_value() == ""
    assert "call" in form.get_by_label("Variant").evaluate("one => one.selectedOptions[0].text")
    assert "python -m bench.ask" in opened.ask(Batch="3", Mode="training")
    assert opened.wrong == []


def test_page_input_follows_units_until_it_is_edited(opened: Opened) -> None:
    field = opened.page.locator("#want-input_size")
    opened.ask(Units="256", Mode="inference")
    assert (field.input_value(), field.get_attribute("placeholder")) == ("", "256")
    opened.ask(Input="7", Units="64")
    assert field.input_value() == "7"
    assert "--input 7" in opened.answer
    assert "i64-h64" in opened.ask(Input="")


def test_page_lower_half_follows_the_shape(opened: Opened) -> None:
    opened.choose("Batch", "8")
    opened.ask(Batch="32", Units="256", Mode="inference", Device="cpu")
    assert "Selected: 18 of" in opened.shown  # of all batches again
    opened.open_tab("Compare")
    (row,) = opened.page.locator(".heat [aria-current=true] th").all_inner_texts()
    assert row == "32×100×256"
    assert {trace["name"] for trace in opened.plot("explore")} == set(SPEEDS)
    assert "Faint: lines that do not pass through the shape" in opened.description("explore")
    opened.ask(Batch="31")
    for view in ("samples", "latency"):
        opened.open_tab(TABS[view])
        assert opened.page.locator(f"#{view}").is_hidden()
        assert opened.page.locator(f"#no-{view}").is_visible()


def test_page_address_has_the_question(new: Any, written: Path) -> None:
    first = new(written)
    assert first.page.url == written.as_uri()
    opening = first.answer
    answered = first.ask(Batch="128", Units="256", Mode="inference")
    assert "b128-t100-i256-h256" in answered
    linked = new(written)
    linked.page.goto(first.page.url)
    linked.page.reload()
    assert linked.answer == answered
    assert "Selected: 18 of" in linked.shown
    linked.page.goto(f"{written.as_uri()}#batch=%3Cb%3E&hidden_size=1e3&device=<img src=x>")
    linked.page.reload()
    assert linked.answer.startswith("Fill in whole numbers")
    first.page.get_by_role("button", name="Start again").click()
    assert (first.page.url, first.answer) == (written.as_uri(), opening)
    first.page.go_back()
    assert first.answer == answered
    assert first.wrong == linked.wrong == []


@pytest.mark.parametrize("text", ["", "1.5"])
def test_page_invalid_number_in_a_field_gives_no_answer(opened: Opened, text: str) -> None:
    assert opened.ask(Batch=text).startswith("Fill in whole numbers from 1 on.")
    assert opened.backends == []


def test_page_shows_several_machines_and_sessions(new: Any, tmp_path: Path) -> None:
    items = []
    for number, host in ((1, "first"), (5000, "second")):
        run = replace(a_run(number, host), session=host)
        for backend, seconds in (("keras", 2e-3), ("scan", 1e-3 * number**0.1)):
            case = Case(backend, LSTMSpec(4, 4), Workload(8, 10))
            items.append(measured(case, seconds, run))
    path = tmp_path / "two.html"
    path.write_text(explorable(build(made_results.gather(*items))), encoding="utf-8")
    found = new(path)
    assert "of second " in found.answer
    found.page.locator("#answer-of").select_option(index=1)
    found.settle()
    assert "of first " in found.answer
    assert found.page.get_by_role("heading", name=re.compile("quick on of first ")).count() >= 1
    found.choose("Session", found.page.locator("#answer-of option").nth(1).inner_text())
    assert "Selected: 2 of 4 cases" in found.shown
    assert found.wrong == []


def test_page_without_any_time_says_so(new: Any, tmp_path: Path) -> None:
    refused = Case("cudnn", LSTMSpec(4, 4), Workload(8, 10))
    path = tmp_path / "none.html"
    outcome = Outcome(refused, a_run(), "refused", recorded("", "needs a GPU", ""), Path("a.json"))
    path.write_text(explorable(build(made_results.gather(outcome))), encoding="utf-8")
    found = new(path)
    assert found.answer.startswith("No case on this page has a time")
    assert "needs a GPU" in (found.page.locator("main").text_content() or "")
    assert found.wrong == []


def test_page_filters_change_cases_shown(opened: Opened) -> None:
    opened.ask(Mode="inference")
    assert "Selected: 18 of 55 cases, 18 with a time, 2 INVALID." in opened.shown
    opened.choose("Mode", "all")
    opened.choose("Batch", "8")
    opened.open_tab("All cases")
    assert {line[1].split(" ×")[0] for line in opened.table()} == {"batch 8"}
    opened.page.get_by_label("only reliable measurements").check()
    opened.settle()
    assert " 0 INVALID" in opened.shown
    opened.unfold("#backend-field", "label")
    opened.page.get_by_role("button", name="None").click()
    opened.settle()
    assert "The selection of backends hides everything: without it" in opened.shown


def test_page_speedup_map_colours_verdicts(opened: Opened) -> None:
    opened.open_tab("Compare")
    heads = opened.page.locator(".heat thead th").all_inner_texts()
    assert heads == ["batch×timesteps×hidden", "static_unroll", "keras", "while_loop"]
    cells = opened.page.locator(".heat tbody tr").first.locator("td")
    assert cells.all_inner_texts() == ["2.00 ★", "1", "0.67"]
    assert "--faster" in str(cells.first.evaluate("one => one.style.background"))
    signs = "one => getComputedStyle(one, '::before').content"
    assert "▲" in str(cells.first.evaluate(signs))
    assert "▼" in str(cells.last.evaluate(signs))
    invalid = opened.page.locator(".heat td.invalid").first
    assert invalid.inner_text() == "INVALID"
    assert "busy" in str(invalid.get_attribute("title"))
    opened.page.locator(".heat button", has_text="128×").first.click()
    opened.settle()
    assert "b128" in opened.answer


def test_page_speedup_map_shows_one_mode_and_one_unit(opened: Opened) -> None:
    opened.choose("Mode", "all")
    opened.choose("Device", "all")
    opened.choose("Mode of the map", "inference")
    opened.choose("Cells show", "time of a step")
    assert opened.page.locator(".heat caption").inner_text() == "Time of a step (ms), inference"
    shapes = opened.page.locator(".heat tbody th").all_inner_texts()
    # A device that differs between the rows is in their names; on the GPU only keras has a time.
    assert "8×100×64, cpu" in shapes
    assert "8×100×64, gpu:0" in shapes
    shape = opened.page.get_by_role("button", name="8×100×64, cpu", exact=True)
    line = opened.page.locator(".heat tbody tr", has=shape).locator("td")
    assert line.all_inner_texts() == ["8.03 ★", "16.1", "24.1"]
    opened.choose("Cells show", "speedup")
    shapes = opened.page.locator(".heat tbody th").all_inner_texts()
    assert len(shapes) == 6
    assert "8×100×64" in shapes
    assert "6 shapes have no speedup" in opened.page.locator("#where").inner_text()


def test_page_speedup_map_hides_backends_without_a_value(opened: Opened) -> None:
    opened.choose("Device", "gpu:0")
    opened.choose("Cells show", "time of a step")
    heads = opened.page.locator(".heat thead th").all_inner_texts()
    assert heads == ["batch×timesteps×hidden", "keras"]


def test_page_scaling_opens_on_an_axis_that_has_lines(new: Any, tmp_path: Path) -> None:
    path = tmp_path / "units.html"
    path.write_text(explorable(store((8,), processes=2)), encoding="utf-8")
    opened = new(path, viewport={"width": 1200, "height": 900})
    assert opened.page.locator("#x-axis").input_value() == "hidden size"
    assert {len(trace["x"]) for trace in opened.plot("explore")} == {2}
    # Windows were measured with one hidden size alone.
    assert "Not drawn: 6 single points that no line joins." in opened.description("explore")


def test_page_pictures_give_each_backend_its_own_look(new: Any, tmp_path: Path) -> None:
    names = [f"backend_{number}" for number in range(20)]
    run = a_run()
    items = [
        measured(Case(name, LSTMSpec(units, units), Workload(8, 10)), 1e-3 * (1 + number), run)
        for number, name in enumerate(names)
        for units in (16, 32)
    ]
    path = tmp_path / "twenty.html"
    path.write_text(explorable(build(made_results.gather(*items))), encoding="utf-8")
    opened = new(path, viewport={"width": 1200, "height": 900})
    assert len(opened.plot("explore")) == 5
    assert "5 of 20 backends" in opened.description("explore")
    opened.choose("Show lines for", "all backends")
    assert len(opened.plot("explore")) == 20
    looks = opened.page.evaluate(
        """document.querySelector("#explore .plot").data.map(
             ({ marker }) => `${marker.color} ${marker.symbol[0]}`)"""
    )
    assert len(set(looks)) == 20
    bars = opened.page.locator("#picture .bar").evaluate_all(
        "all => all.map((one) => one.style.background)"
    )
    assert len(set(bars)) == 20
    opened.draw("samples")
    boxes = opened.page.evaluate(
        'document.querySelector("#samples .plot").data.map(({ marker }) => marker.color)'
    )
    assert len(set(boxes)) == 20
    assert opened.wrong == []


@pytest.mark.parametrize(
    ("up", "across"),
    [("peak memory (bytes)", "timesteps"), ("operations per second", "operations per byte")],
)
def test_page_explorer_draws_any_figure_on_any_axis(opened: Opened, up: str, across: str) -> None:
    opened.choose("Mode", "training")
    opened.choose("Vertical axis", up)
    opened.choose("Horizontal axis", across)
    traces = opened.plot("explore")
    assert {"static_unroll", "keras", "while_loop"} <= {trace["name"] for trace in traces}
    assert all(value > 0 for trace in traces for value in trace["y"])
    rows = opened.unfold("#explore details").locator("tbody tr")
    assert rows.count() == sum(len(trace["x"]) for trace in traces if trace["hover"])
    assert opened.description("explore").startswith(up[0].upper() + up[1:])


def test_page_samples_plot_shows_every_process(opened: Opened) -> None:
    boxes = opened.plot("samples")
    assert [(box["type"], len(box["y"])) for box in boxes] == [("box", 66)] * 3
    assert set(boxes[0]["x"]) == {1, 2, 3, 4, 5, 6}
    case = Case("static_unroll", LSTMSpec(64, 64), Workload(32, 100, "training"))
    (row,) = [each for each in store().sections[0].rows if each.case == case]
    samples = [seconds for run in row.result.runs for seconds in run.samples]
    assert boxes[0]["y"] == pytest.approx(samples, rel=1e-4)
    line = opened.unfold("#samples details").locator("tbody tr").first
    assert line.locator("td").all_inner_texts()[:2] == ["6", "66"]


def test_page_cases_without_time_have_reasons(opened: Opened) -> None:
    opened.choose("Mode", "training")
    opened.open_tab("All cases")
    opened.choose("Show", "without a time")
    (line,) = opened.table()
    assert line[0] == "onnxruntime"
    assert line[-1] == "computes no gradients"


def test_page_latency_plot_has_percentiles(new: Any, tmp_path: Path) -> None:
    path = tmp_path / "streaming.html"
    path.write_text(explorable(build(streams({"keras": 5.0, "numpy": 3.0}))), encoding="utf-8")
    opened = new(path, viewport={"width": 1200, "height": 900})
    *lines, first, second = opened.plot("latency")
    assert len(lines) == 2
    for line in lines:
        assert sum(line["y"]) == pytest.approx(1.0)
    for marks in (first, second):
        assert marks["x"] == sorted(marks["x"])
        assert len(marks["x"]) == 4
    cells = opened.unfold("#latency details").locator("tbody tr").first.locator("td")
    assert cells.first.inner_text() == "42,000"
    assert opened.wrong == []


# Tabs


ALL_TABS = ["Answer", "Compare", "Scaling", "Tail latency", "Processes", "All cases", "About"]
PANELS = ["answer", "compare", "scaling", "tail-latency", "processes", "all-cases", "about"]


def visible_panels(page: Page) -> list[str]:
    found: list[str] = page.evaluate(
        """[...document.querySelectorAll("[role=tabpanel]")].filter(
             (one) => one.checkVisibility() && !one.hidden).map((one) => one.id)"""
    )
    return found


def test_page_tabs_follow_arrow_keys_home_and_end(opened: Opened) -> None:
    page = opened.page
    assert page.get_by_role("tab").all_inner_texts() == ALL_TABS
    assert visible_panels(page) == ["answer"]
    page.get_by_role("tab", name="Answer", exact=True).focus()
    for key, place in (
        *(("ArrowRight", place) for place in range(1, 7)),
        *(("ArrowRight", 0), ("ArrowLeft", 6), ("Home", 0), ("End", 6)),
    ):
        page.keyboard.press(key)
        tab = page.get_by_role("tab", name=ALL_TABS[place], exact=True)
        assert tab.evaluate("one => one === document.activeElement")
        assert tab.get_attribute("aria-selected") == "true"
        assert page.locator("[role=tab][aria-selected=true]").count() == 1
        # One tab at a time is in the order of the Tab key.
        assert page.locator("[role=tab][tabindex='0']").count() == 1
        assert visible_panels(page) == [PANELS[place]]
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "about"


@pytest.mark.parametrize(("panel", "name"), [*zip(PANELS[1:], ALL_TABS[1:], strict=True)])
def test_page_address_opens_the_tab_that_it_names(
    opened: Opened, written: Path, panel: str, name: str
) -> None:
    opened.page.goto(f"{written.as_uri()}#{panel}")
    assert visible_panels(opened.page) == [panel]
    assert opened.page.get_by_role("tab", selected=True).inner_text() == name
    assert opened.page.evaluate("scrollY") == 0


def test_page_address_keeps_tab_and_question(opened: Opened, written: Path) -> None:
    page = opened.page
    answered = opened.ask(Batch="128", Units="256", Mode="inference")
    opened.open_tab("Processes")
    address = page.url
    assert address.startswith(f"{written.as_uri()}#processes&batch=128&")
    opened.open_tab("Compare")
    page.locator(".heat button", has_text="8×100×64").first.click()
    assert visible_panels(page) == ["answer"]
    assert "#batch=8&" in page.url
    page.go_back()
    assert visible_panels(page) == ["compare"]
    page.goto(address)
    assert visible_panels(page) == ["processes"]
    opened.open_tab("Answer")
    assert opened.answer == answered
    page.goto(f"{written.as_uri()}#no-such-tab")
    assert visible_panels(page) == ["answer"]


def test_page_text_found_in_another_tab_opens_it(opened: Opened) -> None:
    panel = opened.page.locator("#about")
    assert panel.get_attribute("hidden") == "until-found"
    # What a browser does before it shows what its own search has found.
    panel.dispatch_event("beforematch")
    assert visible_panels(opened.page) == ["about"]
    assert opened.page.url.endswith("#about")


def test_page_printed_has_all_tabs_and_their_plots(new: Any, written: Path) -> None:
    found = new(written)
    # Printing cannot wait for the plots' script, so it is unpacked before.
    # It is a function, since the page's policy forbids the evaluation of text.
    found.page.wait_for_function("() => performance.getEntriesByName('printable').length > 0")
    found.page.emulate_media(media="print")
    found.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for panel in ("answer", "compare", "scaling", "processes", "all-cases", "about"):
        assert found.page.locator(f"#{panel} h2:visible").count(), panel
    for view in PLOTS:
        assert found.page.locator(f"#{view} .plot svg").first.is_visible(), view
    assert not found.page.get_by_role("tablist").is_visible()
    assert found.wrong == []


# Keyboard, screen reader, phone, print, dark colours, no scripts


def focus_in_turn(page: Page) -> list[str]:
    """Press the Tab key from the tabs on, and return what has the focus, with a visible outline."""
    page.get_by_role("tab", selected=True).focus()
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.value"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", seen
    return seen


def test_page_controls_have_names_and_keyboard_focus(opened: Opened) -> None:
    page = opened.page
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('main :is(select, input, button)')].filter(
             (one) => !(one.textContent.trim() && one.matches('button')) &&
               ![...(one.labels ?? [])].some((label) => label.textContent.trim())).length"""
    )
    assert unnamed == 0
    seen = focus_in_turn(page)
    for control in ("want-window", "want-mode", "work", "answer"):
        assert control in seen
    opened.open_tab("Compare")
    for control in ("filter-mode", "valid-only", "compare"):
        assert control in focus_in_turn(page)
    opened.open_tab("Answer")
    page.locator("#want-batch").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("32")
    page.keyboard.press("Tab")
    assert "/b32-" in f"/{opened.answer.partition('Case: ')[2]}"
    for region in ("#shown", "#decision"):
        assert page.locator(region).get_attribute("aria-live") == "polite"
    levels = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3')].map((one) => Number(one.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a smaller page with all parts, for the checker."""
    path = tmp_path_factory.mktemp("few") / "report.html"
    path.write_text(explorable(store((8, 32), (64,), processes=2)), encoding="utf-8")
    return path


def violations(page: Page, where: str | None = None) -> list[tuple[str, str]]:
    """Return what axe finds wrong in a part of the page, or in all that is shown."""
    wrong = Axe().run(page, context=where).response["violations"]
    return [(each["id"], each["nodes"][0]["html"][:200]) for each in wrong]


LOOKS = ((1200, "light"), (390, "dark"))
"""Widths and colours, of one page in turn: loading Plotly takes a second."""


@pytest.mark.parametrize(
    "looks", [LOOKS, pytest.param(((1200, "dark"), (390, "light")), marks=pytest.mark.slow)]
)
def test_page_passes_accessibility_checks(new: Any, few: Path, looks: Any) -> None:
    """Check names, roles, contrast, headings and tables with axe, all parts unfolded."""
    # The page's policy would block the checker's script.
    found = new(few, viewport={"width": 1200, "height": 900}, bypass_csp=True)
    found.draw(*PLOTS)
    folded = "details:not(#latency *)"
    found.page.locator(folded).evaluate_all("all => all.forEach((one) => (one.open = true))")
    # Some contents are made a moment later.
    expect(found.page.locator(f"{folded} > :last-child:is(summary, :empty)")).to_have_count(0)
    for width, scheme in looks:
        found.ask(Batch="8")
        found.look(width, scheme)
        found.draw(*PLOTS)
        # As it opens, and then without an answer.
        for batch, where in (("8", None), ("9", "#asking"), ("5000", "#asking")):
            answered = found.ask(Batch=batch)
            assert ("no results" in answered) == (batch != "8")
            assert violations(found.page, where) == []
        # Then all tabs at once, of which the plots are drawn.
        found.ask(Batch="8")
        found.draw(*PLOTS)
        found.page.locator("#filters").evaluate("one => one.hidden = false")
        panels = found.page.locator("[role=tabpanel]")
        panels.evaluate_all("all => all.forEach((one) => one.removeAttribute('hidden'))")
        assert violations(found.page) == []


def test_page_on_a_phone_fits_the_width(new: Any, written: Path) -> None:
    found = new(written, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    found.draw(*PLOTS)
    found.narrower_than(360)
    # Cards: no table is wider than the screen, and each value has its heading.
    for tab, table in (("Answer", "#picture"), ("Compare", "#where"), ("All cases", "#cases")):
        found.open_tab(tab)
        box = found.page.locator(f"{table} .scroll")
        assert box.evaluate("one => one.scrollWidth <= one.clientWidth"), tab
        label = box.locator("tbody td").first.get_attribute("data-label")
        assert label in box.locator("thead th").all_text_contents()
    found.draw("explore")
    # Dragging over a plot scrolls the page.
    assert found.page.evaluate("document.querySelector('#explore .plot').layout.dragmode") is False
    assert found.wrong == []


def test_page_printed_has_answers_and_light_plots(new: Any, written: Path) -> None:
    found = new(written, color_scheme="dark")
    found.draw(*PLOTS)
    colour = "document.querySelector('#explore .plot').layout.font.color"
    assert found.page.evaluate(colour) == "#ececec"
    found.page.emulate_media(media="print")
    found.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert found.page.evaluate(colour) == "#1b1b1b"
    for hidden in ("#filters", "#cases", "#question"):
        assert not found.page.locator(hidden).is_visible()
    assert found.page.locator("#decision").is_visible()
    assert found.page.locator("#picture .backends").is_visible()
    assert found.page.pdf(format="A4").startswith(b"%PDF")
    found.page.emulate_media(media="screen")
    found.page.evaluate("dispatchEvent(new Event('afterprint'))")
    found.draw("explore")
    assert found.page.evaluate(colour) == "#ececec"
    assert found.wrong == []


def test_page_without_scripts_has_answers_and_tables(new: Any, written: Path) -> None:
    found = new(written, java_script_enabled=False)
    text = found.page.locator("main").inner_text()
    assert "static_unroll is the fastest: 2.00 times as fast as keras" in text
    assert "CPU of machine" in found.page.locator("#source").inner_text()
    for hidden in ("#asking", "#filters", "#compare", "#scaling"):
        assert not found.page.locator(hidden).is_visible()
    # The tabs are links to the parts, all of which are shown.
    assert found.page.locator("#tabs a:visible").all_inner_texts() == [
        "Answer",
        "All cases",
        "About",
    ]
    for panel in ("#answer", "#all-cases", "#about"):
        assert found.page.locator(panel).is_visible()
    # Folded parts open without a script.
    for summary, words in (
        ("Findings:", "4 measurements of 54"),
        ("All numbers:", "b32-t100-i64-h64"),
        ("The machine", "CPU of machine"),
    ):
        inside = found.page.locator("details").get_by_text(words).first
        assert not inside.is_visible()
        found.page.locator("summary", has_text=summary).first.click()
        inside.wait_for()
    assert found.page.get_by_role("table").first.is_visible()


def test_page_in_an_old_browser_still_answers(new: Any, written: Path) -> None:
    found = new(written)
    found.page.add_init_script("delete window.DecompressionStream")
    found.page.reload()
    assert found.answer.startswith("Use static_unroll")
    found.draw("samples")
    assert found.page.get_by_text("This browser cannot unpack the script").is_visible()
    assert not found.page.locator("#samples .plot").is_visible()
    assert found.unfold("#samples details").locator("tbody tr").count() == 3
    found.open_tab("Compare")
    assert found.page.locator(".heat td").first.is_visible()
    assert found.wrong == []


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
    """Return a page on which every name, host, device and reason is hostile."""
    host = NASTY[0] + NASTY[1]
    run = replace(a_run(1, host), suite=host, session=host)
    items: list[Measurement | Outcome] = []
    for number, text in enumerate(NASTY):
        problem = (recorded(text, text, text),)
        for work in (Workload(8, 10), Workload(8, 10, "training", window=5)):
            case = Case(text, LSTMSpec(4, 4), work, NASTY[2])
            items.append(measured(case, 0.01 * (1 + number), run, problem if number else ()))
        failed = Case(text + "2", LSTMSpec(4, 4), Workload(8, 10), NASTY[2])
        items.append(Outcome(failed, run, "failed", recorded("", text, text), Path("a.json")))
    text = explorable(build(made_results.gather(*items)))
    assert len(text) < 1_500_000
    path = tmp_path_factory.mktemp("nasty") / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


def test_page_hostile_text_is_shown_as_text(new: Any, nasty: Path) -> None:
    found = new(nasty, viewport={"width": 1200, "height": 800})
    page = found.page
    found.draw(*PLOTS)
    inside = page.locator("main")
    assert inside.locator("script, img, iframe, svg a, b").count() == 0
    displayed = ""
    for tab in ALL_TABS:
        found.open_tab(tab)
        displayed += inside.inner_text()
    found.draw("explore")
    for text in NASTY[:5]:
        assert text[:60] in displayed
    assert not re.search("[\x1b\u202e]", displayed)
    # Plots show it as text too, not as markup.
    legend = page.locator("#explore .legendtext")
    for text in NASTY[:5]:
        legend.filter(has_text=text[:39]).first.wait_for()
    for width in (1200, 360):
        found.look(width)
        found.draw(*PLOTS)
        found.narrower_than(width)
    assert page.evaluate("window.hit") is None
    assert found.wrong == []


def test_page_policy_blocks_an_injected_script(opened: Opened) -> None:
    opened.page.evaluate(
        """() => { const made = document.createElement('script');
             made.textContent = 'window.hit = 1'; document.body.append(made); }"""
    )
    assert opened.page.evaluate("window.hit") is None
    (displayed,) = opened.wrong
    assert "Content Security Policy" in displayed
    opened.wrong.clear()


# Size


@pytest.mark.parametrize("shapes", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_page_thousands_of_cases_answer_before_plots(new: Any, tmp_path: Path, shapes: int) -> None:
    cases = 10 * shapes
    path = tmp_path / "report.html"
    path.write_text(explorable(large(shapes)), encoding="utf-8")
    assert path.stat().st_size < 900_000 + 900 * cases
    found = new(path, viewport={"width": 1200, "height": 800})
    usable = found.page.evaluate("performance.getEntriesByName('usable')[0].startTime")
    print(f"usable after {usable:.0f} ms")
    assert "backend_0" in found.answer
    assert len(found.backends) == 10
    # Plotly's script is not read before a plot is near.
    assert found.page.evaluate("typeof window.Plotly") == "undefined"
    assert f"of {cases:,} cases" in found.shown
    found.open_tab("All cases")
    expect(found.page.locator("#page-of")).to_have_text(f"Page 1 of {cases // 50}")
    first = found.table()
    assert len(first) == 50
    found.page.get_by_role("button", name="Next page").click()
    expect(found.page.locator("#page-of")).to_have_text(f"Page 2 of {cases // 50}")
    assert found.table() != first
    found.draw("explore")
    marks = sum(len(trace["x"]) for trace in found.plot("explore"))
    assert 0 < marks <= 1500
    assert found.wrong == []


def large(count: int) -> Report:
    """Return ten backends on ``count`` shapes, with the same numbers for each shape."""
    shapes = [
        (batch, steps, units)
        for batch in range(1, 11)
        for steps in range(10, 110, 10)
        for units in range(32, 352, 32)
    ][:count]
    run = a_run()
    items = [
        measured(Case(f"backend_{n}", LSTMSpec(32, 32), Workload(1, 10)), 1e-3 * (1 + n), run)
        for n in range(10)
    ]
    (section,) = build(made_results.gather(*items)).sections
    rows: list[RankedRow] = [
        replace(
            row,
            result=replace(
                row.result,
                case=replace(
                    row.case, spec=LSTMSpec(units, units), workload=Workload(batch, steps)
                ),
            ),
        )
        for batch, steps, units in shapes
        for row in section.rows
    ]
    return Report((Section(section.runs, tuple(rows), section.baseline),))
