"""The page in a real browser: what is shown, what filters change, and that no text acts on it.

A Chromium or Chrome is looked for in $LSTM_BROWSER, on the PATH, and where Playwright keeps its
own. Without one these tests are skipped with that reason, and fail in CI, where one must be.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
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
from bench.records.files import collect
from bench.records.schema import Measurement, Outcome, Reason, Run
from bench.render import drawing, quantities
from bench.render.messages import answer
from bench.render.page import explorer, static
from bench.render.page.explorer import page as explorable
from bench.stats.ranking import build
from bench.stats.rows import Report, Row, Section
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload
from tests.bench import made_results
from tests.bench.made_streams import streams
from tests.places import GOLDEN

BUSY = Reason("busy", "the machine was busy", "close other programs")

PLOTS = ("windows", "spread", "samples", "roofline", "across", "first", "memory")

PATIENCE = 120_000
"""Milliseconds: a busy machine is no failure."""
expect.set_options(timeout=PATIENCE)


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


@functools.cache
def store(
    batches: tuple[int, ...] = BATCHES, sizes: tuple[int, ...] = UNITS, processes: int = 6
) -> Report:
    """Two devices, two modes, several shapes, windows, an invalid and a refused one.

    A step takes a millisecond a sequence for the fastest; training takes twice as long.
    """
    items: list[Measurement | Outcome] = []
    for number in range(1, 1 + processes):
        run = a_run(number)
        for backend, slower in SPEEDS.items():
            for batch in batches:
                for units in sizes:
                    for mode in MODES:
                        work = Workload(batch, 100, mode)
                        seconds = 1e-3 * slower * batch * (1 + (mode == "training"))
                        busy = (backend, batch) == ("while_loop", batches[-1])
                        doubt = (BUSY,) if busy else ()
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
            self._wrong.append(f"asked for {request.url}")

    @property
    def wrong(self) -> list[str]:
        """What went wrong so far: all that the page did before this is asked has been heard of."""
        self.page.evaluate("0")
        return self._wrong

    def settle(self) -> None:
        """Until every picture says what was last asked for: what stands below it moves no more.

        The page says it in a timer of no delay, and timers of one delay come in their order.
        """
        self.page.evaluate("() => new Promise((done) => setTimeout(done, 0))")

    def draw(self, *views: str) -> None:
        """Scroll to these plots, as a reader does, until they are drawn."""
        for view in views:
            self.page.locator(f"#{view} :is(h2, h3)").scroll_into_view_if_needed()
            self.page.locator(f"#{view}[aria-busy=false]").wait_for()

    def look(self, width: int, scheme: Any = "light") -> None:
        """On a screen of another width, in light or dark."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(color_scheme=scheme)
        # Asked in a frame, before which the page has heard of both.
        self.page.wait_for_function(
            """([width, scheme]) => innerWidth === width &&
                 matchMedia(`(prefers-color-scheme: ${scheme})`).matches""",
            arg=[width, scheme],
        )
        self.settle()

    def narrower_than(self, width: int) -> None:
        """Wait until nothing is wider: a plot follows its page a moment later."""
        self.page.wait_for_function(
            "width => document.documentElement.scrollWidth <= width", arg=width
        )

    def unfold(self, what: str, inside: str = "tbody tr") -> Locator:
        """Open what is folded, and wait for what is made inside a moment after it is opened."""
        self.settle()
        folded = self.page.locator(what).first
        folded.locator("> summary").click()
        folded.locator(inside).first.wait_for()
        return folded

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
        """What is answered, a paragraph or a thing offered a line."""
        parts = self.page.locator("#answer :is(p, li)").all_inner_texts()
        return "\n".join(" ".join(each.split()) for each in parts)

    def choose(self, label: str, option: str) -> None:
        """Of a filter, or of another choice below the question."""
        below = self.page.locator("#explorer")
        below.get_by_label(label, exact=True).select_option(label=option)
        self.settle()

    def ask(self, **fields: str) -> str:
        """Fill in the question's fields, by their labels, and return the answer."""
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
    def dots(self) -> list[str]:
        """The picture's lines, as they are read."""
        found = self.page.locator("#picture .dots li:not(.axis)").all_inner_texts()
        return [" ".join(each.split()) for each in found]

    def table(self) -> list[list[str]]:
        """The cells of the page of the table of every case, whether it is unfolded or not."""
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
    once.page.evaluate(
        "() => document.querySelectorAll('details').forEach((one) => one.removeAttribute('open'))"
    )
    once.page.get_by_role("button", name="Start again").click()
    once.settle()
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


@pytest.mark.parametrize("width", [1200, 360])
def test_nothing_moves_under_a_reader_s_finger_when_a_plot_is_drawn(
    new: Any, written: Path, width: int
) -> None:
    """A click on what moves away misses."""
    found = new(written, viewport={"width": width, "height": 800})
    where = """() => [...document.querySelectorAll('h2, h3, summary')]
        .filter((one) => one.offsetParent)
        .map((one) => [one.textContent, Math.round(one.getBoundingClientRect().top + scrollY)])"""
    expect(found.page.locator(".view .says:empty")).to_have_count(0)
    assert found.page.evaluate("typeof window.Plotly") == "undefined"
    before = found.page.evaluate(where)
    found.draw(*PLOTS)
    assert found.page.evaluate(where) == before
    assert found.wrong == []


def test_a_stranger_reads_what_to_use_and_what_is_gained(opened: Opened) -> None:
    told = opened.ask(Batch="32", Steps="100", Input="", Units="256", Mode="inference")
    assert re.search(r"Use static_unroll, 32\.\d ms a step \(32\.\d–32\.\d\): ", told)
    assert "2.00 times as fast as keras (2.00–2.00, FASTER)" in told
    assert "From 6 processes on machine, 2025-01-31 12:01 UTC." in told
    assert "Case: b32-t100-i256-h256/float32/inference/cpu" in told
    assert opened.dots[0].startswith("★ static_unroll 32.1 ms · 2.00× FASTER")
    assert opened.dots[1].endswith("· 1× (baseline)")


def test_the_answer_is_the_terminal_s_to_the_letter(opened: Opened) -> None:
    (section,) = store().sections
    for batch, device in ((8, "cpu"), (128, "cpu"), (32, "gpu:0")):
        case = Case("", LSTMSpec(64, 64), Workload(batch, 100), device)
        rows = [row for row in section.rows if row.case.group == case.group]
        rows.sort(key=lambda row: row.rank or 99)
        expected = answer(replace(section, rows=tuple(rows)))
        told = opened.ask(Batch=str(batch), Units="64", Device=device, Mode="inference")
        assert told.splitlines()[0] == expected[0]
        assert all(line in told for line in expected)


def test_no_filter_hides_what_is_asked(opened: Opened) -> None:
    opened.choose("Mode", "training")
    opened.choose("Batch", "8")
    opened.unfold("#backend-field", "label")
    opened.page.get_by_role("button", name="None").click()
    told = opened.ask(Batch="32", Units="256", Mode="inference")
    assert "Use static_unroll" in told
    assert "b32-t100-i256-h256/float32/inference/cpu" in told


def test_near_shapes_are_named_as_such_with_their_own_answers(opened: Opened) -> None:
    told = opened.ask(Batch="40", Steps="100", Input="", Units="300", Mode="inference")
    assert "Not measured in what this page holds: batch 40 × 100 steps, 300 in, 300" in told
    assert "Near, and measured (each number within a factor of 1.5):" in told
    assert "batch 32 × 100 steps, 256 in, 256 hidden; inference on cpu, float32 Use " in told
    assert "batch 8" not in told
    assert "python -m bench.ask --batch 40 --steps 100 --hidden 300 --mode inference" in told
    assert opened.dots == []
    assert opened.says("spread") == "Nothing was measured of the shape that is asked for above."
    opened.page.locator("#answer").get_by_role("button").first.click()
    assert opened.answer.startswith("Use static_unroll")
    assert opened.page.locator("#want-batch").input_value() == "32"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"Batch": "13", "Units": "64"}, "up to 1.62 times as much or as little"),
        ({"Batch": "8", "Units": "64", "Layers": "2"}, "up to 2.00 times"),
        ({"Batch": "8", "Units": "64", "Window": "50"}, "(each number within a factor of 1.5)."),
    ],
)
def test_beyond_a_factor_of_1_5_nothing_is_near(
    opened: Opened, fields: dict[str, str], says: str
) -> None:
    base = {"Steps": "100", "Input": "", "Layers": "1", "Window": "", "Mode": "inference"}
    told = opened.ask(**(base | fields))
    assert "Nothing near it was measured" in told
    assert says in told
    assert "Near, and measured" not in told
    # Of another shape nothing is said: only of the same one, measured otherwise.
    before = told.partition("These very sizes were measured otherwise:")[0]
    assert not re.search("use |ms", before.partition("To measure it")[0])


def test_no_window_is_chosen_unseen(opened: Opened) -> None:
    """The stream was measured in windows of 5 and of 20 only."""
    fields = {"Batch": "32", "Steps": "480", "Input": "", "Units": "64", "Window": ""}
    told = opened.ask(**fields, Mode="training", Besides="gradients of weights, input, state")
    assert "Not measured" in told
    assert "These very sizes were measured otherwise:" in told
    assert "Windows of 20 Use static_unroll, 105 ms a step (105–105)." in told
    assert "Windows of 5 Use static_unroll, 120 ms" in told
    opened.page.locator("#answer").get_by_role("button", name="Windows of 20").click()
    assert opened.page.locator("#want-window").input_value() == "20"
    assert "b32-t480-i64-h64-w20" in opened.answer


def test_what_the_command_cannot_measure_is_said(opened: Opened) -> None:
    fields = {"Batch": "9", "Steps": "77", "Input": "5", "Units": "64"}
    told = opened.ask(**fields, Mode="training", Besides="gradients of weights, input, state")
    assert "takes a suite file" in told
    assert "bench.ask" not in told
    told = opened.ask(Besides="nothing", Window="10")
    assert "A window has to divide the 77 steps" in told
    told = opened.ask(Window="11", Optimizer="adam", Device="gpu:0", Precision="bfloat16")
    assert (
        "python -m bench.ask --batch 9 --steps 77 --hidden 64 --input 5 --window 11 "
        "--dtype bfloat16 --optimizer adam --device gpu:0 --mode training"
    ) in told


@pytest.mark.parametrize("text", ["", "0", "-3", "2.5"])
def test_what_is_no_number_is_not_asked(opened: Opened, text: str) -> None:
    assert opened.ask(Batch=text).startswith("Fill in whole numbers from 1 on.")
    assert opened.dots == []


def test_the_command_of_the_page_is_one_that_is_there(opened: Opened) -> None:
    told = opened.ask(Batch="3", Steps="50", Input="7", Units="11", Window="5", Mode="training")
    command = told[told.index("python -m bench.ask") :].splitlines()[0].split()
    options = bench.ask._parser().parse_args(command[3:])
    asked = (options.batch, options.steps, options.input, options.hidden, options.window)
    assert asked == (3, 50, 7, 11, 5)
    assert options.mode == "training"


def test_one_of_the_measured_shapes_can_be_taken(opened: Opened) -> None:
    control = opened.page.locator("#work")
    control.select_option(
        label="batch 8 × 100 steps, 64 in, 64 hidden; inference on gpu:0, float32"
    )
    assert opened.answer.startswith("Only keras was measured: 1.60 ms a step")
    assert opened.page.locator("#want-device").input_value() == "gpu:0"
    # It is one point: there is nothing to compare it with, and no star.
    assert opened.dots == ["keras 1.60 ms · 1× (baseline)"]


def test_of_several_sessions_the_newest_answers_and_the_others_are_there(
    new: Any, tmp_path: Path
) -> None:
    items = []
    for number, hours in ((1, 0), (2, 5)):
        run = replace(a_run(number), session=f"session {number}")
        run = replace(run, started=run.started + timedelta(hours=hours))
        for backend, seconds in (("keras", 0.02 * number), ("scan", 0.01)):
            items.append(measured(Case(backend, LSTMSpec(4, 4), Workload(8, 10)), seconds, run))
    path = tmp_path / "two.html"
    path.write_text(explorable(build(made_results.gather(*items))), encoding="utf-8")
    found = new(path)
    assert "4.00 times as fast as keras" in found.answer
    found.page.get_by_label("Measured in 2 sessions; shown is").select_option(index=1)
    assert "2.00 times as fast as keras" in found.answer
    assert "12:01 UTC" in found.answer
    # Every picture of the shape follows.
    assert found.page.locator("#picture .dots").inner_text().count("2.00×") == 1
    assert found.wrong == []


def test_a_page_on_which_nothing_has_a_time_says_so_and_how_to_measure(
    new: Any, tmp_path: Path
) -> None:
    case = Case("cudnn", LSTMSpec(4, 4), Workload(8, 10))
    refused = Outcome(case, a_run(), "refused", "no GPU", "use one", Path("a.json"))
    path = tmp_path / "none.html"
    path.write_text(explorable(build(made_results.gather(refused))), encoding="utf-8")
    found = new(path)
    assert found.answer.startswith("Nothing on this page has a time")
    assert found.page.locator("#where").inner_text() == "Nothing was measured."
    found.draw("spread", "windows")
    told = found.ask(Batch="8", Steps="10", Units="4", Mode="inference")
    assert "Not measured in what this page holds: batch 8 × 10 steps" in told
    assert "python -m bench.ask --batch 8 --steps 10 --hidden 4 --mode inference" in told
    assert found.wrong == []


def test_where_there_are_windows_alone_the_question_shows_its_own(new: Any, tmp_path: Path) -> None:
    items = [
        measured(Case(name, LSTMSpec(4, 4), Workload(8, 20, "training", window=k)), 0.1, a_run())
        for name in ("keras", "scan")
        for k in (5, 10)
    ]
    path = tmp_path / "windows.html"
    path.write_text(explorable(build(made_results.gather(*items))), encoding="utf-8")
    found = new(path)
    assert found.page.locator("#want-window").input_value() == "5"
    assert "Case: b8-t20-i4-h4-w5/float32/training/cpu" in found.answer
    assert found.wrong == []


def test_what_binds_the_fastest_stands_under_the_answer_where_it_is_known(
    new: Any, tmp_path: Path
) -> None:
    cases = [Case(name, LSTMSpec(4, 4), Workload(8, 20)) for name in ("keras", "scan")]
    known = replace(measured(cases[0], 0.1, a_run()), roofs={"of_chain": 0.7})
    path = tmp_path / "why.html"
    items = [known, measured(cases[1], 0.2, a_run())]
    path.write_text(explorable(build(made_results.gather(*items))), encoding="utf-8")
    found = new(path)
    assert "Why it takes that long: bound by the chain of products: " in found.answer
    items[0] = measured(cases[0], 0.1, a_run())
    path.write_text(explorable(build(made_results.gather(*items))), encoding="utf-8")
    again = new(path)
    assert "Why it takes that long" not in again.answer
    assert found.wrong == again.wrong == []


def test_the_dots_stand_where_their_numbers_say(opened: Opened) -> None:
    opened.ask(Batch="128", Steps="100", Input="", Units="64", Mode="inference")
    opened.page.locator("#picture").scroll_into_view_if_needed()
    rows = opened.page.locator("#picture .dots li:not(.axis)")
    places = {}
    for row in rows.all():
        box = row.locator(".swatch").bounding_box()
        assert box is not None
        places[row.locator(".who").inner_text()] = box["x"] + box["width"] / 2
    # 2, 1 and 2/3 times as fast as keras, on a logarithmic axis.
    fast, base, slow = (places[each] for each in ("★ static_unroll", "keras", "while_loop"))
    assert (fast - base) / (base - slow) == pytest.approx(0.693 / 0.405, rel=0.03)
    line = rows.first.locator(".track .one").bounding_box()
    assert line is not None
    assert line["x"] + line["width"] / 2 == pytest.approx(base, abs=1.5)
    # What is INVALID is hollow, and says so.
    fills = rows.locator(".swatch path").evaluate_all("all => all.map((one) => one.style.fill)")
    assert [fill == "var(--back)" for fill in fills] == [False, False, True]
    assert opened.dots[2].endswith("SLOWER · INVALID")
    assert "Hollow: INVALID." in opened.page.locator("#picture .says").inner_text()


def test_filters_change_what_is_shown(opened: Opened) -> None:
    assert "Chosen: 18 of 55 cases, 18 with a time, 2 INVALID; 3 backends" in opened.shown
    assert len(opened.table()) == 18
    assert len(opened.plot("across")) == 6

    opened.choose("Mode", "training")
    assert "Chosen: 25 of 55 cases, 24 with a time" in opened.shown
    assert len(opened.page.locator(".heat tbody tr").all()) == 8

    opened.unfold("#backend-field", "label")
    opened.page.get_by_role("checkbox", name="static_unroll").uncheck()
    assert not any("static_unroll" in row[0] for row in opened.table())
    assert "static_unroll" not in opened.page.locator(".heat thead").inner_text()

    opened.page.get_by_label("only measurements to be trusted").check()
    assert "0 INVALID" in opened.shown

    opened.choose("Batch", "128")
    assert {row[1] for row in opened.table()} == {
        "batch 128 × 100 steps, 64 in, 64 hidden, gradients of weights, input, state",
        "batch 128 × 100 steps, 256 in, 256 hidden, gradients of weights, input, state",
    }
    opened.page.get_by_role("button", name="Start again").click()
    assert "Chosen: 18 of 55 cases" in opened.shown


def test_the_filter_that_hides_everything_is_named(opened: Opened) -> None:
    opened.choose("Steps", "480")
    both = (
        'Mode "inference" hides everything: without it 6 cases. '
        'Steps "480" hides everything: without it 18 cases.'
    )
    assert both in opened.shown
    assert opened.page.locator("#where").inner_text() == both
    assert opened.says("roofline") == both
    opened.choose("Device", "gpu:0")
    # Without the mode alone there is still the device, which has no windows.
    assert 'Steps "480" hides everything: without it 6 cases.' in opened.shown
    assert 'Mode "inference"' not in opened.shown
    opened.unfold("#backend-field", "label")
    opened.page.get_by_role("button", name="None").click()
    together = "and the choice of no backend together hide everything: 55 cases without them."
    assert together in opened.shown
    assert opened.table() == []
    opened.page.get_by_role("button", name="Start again").click()
    # What a session has none of is not a filter's doing.
    opened.choose("Up", "Energy of a step")
    assert opened.says("across") == "No energy of a step was recorded for what is chosen."


def test_who_is_fastest_where_stands_in_a_map(opened: Opened) -> None:
    heads = opened.page.locator(".heat thead th").all_inner_texts()
    assert [each.strip() for each in heads] == ["shape", "static_unroll", "keras", "while_loop"]
    lines = opened.page.evaluate(
        """() => [...document.querySelectorAll('.heat tbody tr')].map(
             (row) => [...row.cells].map((cell) => cell.textContent))"""
    )
    assert lines[0] == ["Batch 8 × 100 steps, 64 in, 64 hidden", "2.00 ★", "1", "0.67"]
    assert lines[-1][1:] == ["2.00 ★", "1", "INVALID"]
    colours = (
        opened.page.locator(".heat tbody tr")
        .first.locator("td")
        .evaluate_all("all => all.map((one) => getComputedStyle(one).backgroundColor)")
    )
    clear = "rgba(0, 0, 0, 0)"
    assert colours[0].startswith("rgba(42, 150, 212")
    assert colours[1] == clear
    assert colours[2].startswith("rgba(213, 94, 0")
    opened.page.locator(".heat").get_by_role("button", name="Batch 128").last.click()
    assert "b128-t100-i256-h256/float32/inference/cpu" in opened.answer
    assert opened.page.evaluate("document.activeElement.id") == "answer"


def test_backends_look_as_in_every_picture(opened: Opened) -> None:
    looks = opened.page.locator("#backends label").evaluate_all(
        """all => all.map((one) => [one.textContent, one.querySelector('path').style.fill])"""
    )
    assert {name for name, _ in looks} == {*SPEEDS, "onnxruntime"}
    for name, fill in looks:
        colour = drawing.look(name).colour
        assert fill == f"rgb({', '.join(str(int(colour[n : n + 2], 16)) for n in (1, 3, 5))})"


def test_lines_tell_modes_and_devices_apart_where_several_are_chosen(opened: Opened) -> None:
    assert "Lines:" not in opened.says("across")
    opened.choose("Mode", "all")
    opened.draw("across")
    assert "Lines: inference on cpu solid, training on cpu dashed." in opened.says("across")
    dashes = opened.page.evaluate(
        "document.querySelector('#across .plot').data.map((trace) => trace.line.dash)"
    )
    # In training there are six series, and a stream in two kinds of windows of each backend.
    assert sorted(dashes) == ["dash"] * 12 + ["solid"] * 6


def test_memory_is_marked_in_powers_of_two(opened: Opened) -> None:
    opened.draw("memory")
    marks = opened.page.locator("#memory .plot .xtick text")
    expect(marks).to_have_text(["0", "512 KiB", "1 MiB", "1.5 MiB", "2 MiB"])


def test_throughput_goes_against_batch_units_and_shape(opened: Opened) -> None:
    opened.draw("across")
    for axis, expected in (("batch", [8, 32, 128]), ("hidden size", [64, 256])):
        opened.choose("Across", axis)
        assert f"against {axis}" in opened.page.locator("#across-title").inner_text()
        for trace in opened.plot("across"):
            # Backends stand a little aside of each other.
            assert trace["x"] == pytest.approx(expected, rel=0.04)
    opened.choose("Across", "window")
    assert opened.says("across") == 'Mode "inference" hides everything: without it 6 cases.'
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
    opened.choose("Backend", "while_loop")
    assert "while_loop" in opened.says("samples")
    assert min(opened.plot("samples")[0]["y"]) == pytest.approx(24e-3, rel=0.01)


def test_medians_of_an_even_number_of_samples_are_true(new: Any, tmp_path: Path) -> None:
    """Of 1, 1, 2 and 9 s it is 1.5 s, and of the two processes' medians 2.25 s."""
    items = [
        replace(
            made_results.measured(Case("keras", LSTMSpec(4, 4), Workload(8, 10)), 1.0, a_run(n)),
            samples=np.array(values),
            rounds=np.arange(len(values)),
        )
        for n, values in ((1, [9.0, 1.0, 2.0, 1.0]), (2, [3.0, 3.0]))
    ]
    path = tmp_path / "even.html"
    path.write_text(explorable(build(made_results.gather(*items))), encoding="utf-8")
    found = new(path)
    assert "2.25 s a step" in found.answer
    found.draw("samples", "spread")
    cells = found.unfold("#samples details").locator("tbody tr").first.locator("th, td")
    assert cells.all_inner_texts() == [
        *("1", "4", "1.00 s", "1.00 s", "1.50 s", "3.75 s", "9.00 s"),
    ]
    assert sorted(x for trace in found.plot("spread") for x in trace["x"]) == [1.5, 3.0]


def test_each_process_has_its_mark(opened: Opened) -> None:
    spread = opened.plot("spread")
    assert [len(trace["x"]) for trace in spread] == [6, 6, 6]
    # The processes of the store are each 0.1% slower than the one before.
    assert "by up to 0.5%" in opened.says("spread")
    assert max(spread[0]["x"]) == pytest.approx(8e-3 * 1.006)


def test_truncation_and_the_roofs_are_shown(opened: Opened) -> None:
    opened.draw("windows", "roofline")
    assert len(opened.plot("windows")) == 6  # of each backend its time and its memory
    for trace in opened.plot("windows"):
        assert trace["x"] == pytest.approx(WINDOWS, rel=0.04)
    assert "static_unroll, 219 µs in windows of 20" in opened.says("windows")
    roof, *_, marks = opened.plot("roofline")
    assert max(roof["y"]) == 4e11
    assert set(marks["x"]) == {100}
    assert "31% of the matrix products roof" in opened.says("roofline")


def test_behind_each_plot_is_its_table(opened: Opened) -> None:
    opened.draw(*PLOTS)
    for view in PLOTS:
        details = opened.unfold(f"#{view} details")
        label = opened.page.locator(f"#{view} .plot").get_attribute("aria-label") or ""
        assert opened.says(view) in label
        details.locator("summary").click()
    table = opened.unfold("#picture details")
    cells = table.locator("tbody tr").first.locator("th,td").all_inner_texts()
    assert cells[0] == "static_unroll"
    assert cells[-4:] == ["2.00", "2.00–2.00", "FASTER", "trusted"]


def test_cases_without_a_time_and_invalid_ones_have_their_reasons(opened: Opened) -> None:
    opened.choose("Mode", "training")
    opened.unfold("#case-fold")
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


# Words


@pytest.fixture(scope="module")
def words_of(browser: Browser) -> Iterator[Any]:
    """Tells numbers with the page's own words, which stand in one file."""
    page = browser.new_page()
    text = static.part("script/words.js")

    def tell(name: str, numbers: list[float]) -> list[str]:
        found: list[str] = page.evaluate(
            f"numbers => {{ {text}; return numbers.map((each) => ({name})(each)); }}", numbers
        )
        return found

    yield tell
    page.close()


TIES = [eighths / 8 for eighths in range(1, 4000, 7)] + [
    halves / 2 for halves in range(1, 25_000, 17)
]
EDGES = [*(999.5, 999.49, 0.9995, 0.99949, 9.995, 9995.0, 9994.0, 1220.5, 1221.5, 2.125, 0.0095)]


@pytest.mark.parametrize(
    ("name", "told", "powers"),
    [
        ("seconds", quantities.seconds, (-9, 6)),
        ("rate", quantities.rate, (-3, 14)),
        ("ratio", quantities.ratio, (-4, 6)),
        ("percent", quantities.percent, (-4, 2)),
        ("bytes", quantities.size, (0, 13)),
    ],
)
def test_numbers_are_told_to_the_digit_as_in_the_terminal(
    words_of: Any, name: str, told: Any, powers: tuple[float, float]
) -> None:
    spread = 10 ** np.random.default_rng(0).uniform(*powers, 2000)
    numbers = [*map(float, spread), *TIES, *EDGES]
    if name == "seconds":
        numbers += [each * 1e-3 for each in EDGES]
    for number, word in zip(numbers, words_of(name, numbers), strict=True):
        assert word == told(number), number


def test_an_interval_is_told_in_the_unit_of_its_time(words_of: Any) -> None:
    assert words_of("(v) => secondsRange(v / 2, v * 4, v)", [1e-3, 0.4]) == [
        quantities.seconds_range(5e-4, 4e-3, 1e-3),
        quantities.seconds_range(0.2, 1.6, 0.4),
    ]


# With a keyboard, a screen reader, a phone, on paper, in the dark, without scripts


def test_every_control_has_a_name_and_can_be_reached_with_a_keyboard(opened: Opened) -> None:
    page = opened.page
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('main :is(select, input, button)')].filter(
             (one) => !(one.textContent.trim() && one.matches('button')) &&
               ![...(one.labels ?? [])].some((label) => label.textContent.trim())).length"""
    )
    assert unnamed == 0
    page.locator("#want-batch").focus()
    seen = []
    for _ in range(45):
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.value"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        if len(seen) > 1:
            assert outline == "solid", seen
        page.keyboard.press("Tab")
    for control in ("want-window", "want-mode", "work", "filter-mode", "valid-only", "reset"):
        assert control in seen
    page.locator("#want-batch").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("32")
    page.keyboard.press("Tab")
    assert "/b32-" in f"/{opened.answer.partition('Case: ')[2]}"
    for region in ("#shown", "#answer"):
        assert page.locator(region).get_attribute("aria-live") == "polite"
    levels = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3')].map((one) => Number(one.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with all that there is on the store's, and less of each: the checker looks at all."""
    path = tmp_path_factory.mktemp("few") / "report.html"
    path.write_text(explorable(store((8, 32), (64,), processes=2)), encoding="utf-8")
    return path


LOOKS = ((1200, "light"), (390, "dark"))
"""Widths and colours. To run Plotly's script takes a second: a page has one after the other."""


@pytest.mark.parametrize(
    "looks", [LOOKS, pytest.param(((1200, "dark"), (390, "light")), marks=pytest.mark.slow)]
)
def test_an_accessibility_checker_finds_nothing_wrong(new: Any, few: Path, looks: Any) -> None:
    """By axe's rules: names, roles, contrast, headings, tables; every plot drawn, all unfolded."""
    # The checker is a script, which the page's own policy would not let run.
    found = new(few, viewport={"width": 1200, "height": 900}, bypass_csp=True)
    found.draw(*PLOTS)
    # Nothing streams on this page, and what would be said of it is hidden.
    folded = "details:not(#latency *)"
    found.page.locator(folded).evaluate_all("all => all.forEach((one) => (one.open = true))")
    # What is inside some of them is made a moment later.
    expect(found.page.locator(f"{folded} > :last-child:is(summary, :empty)")).to_have_count(0)
    for width, scheme in looks:
        found.look(width, scheme)
        found.draw(*PLOTS)
        # As it opens; then with no answer but what else there is, which changes one section.
        for batch, where in (("8", None), ("9", "#asking"), ("5000", "#asking")):
            told = found.ask(Batch=batch)
            assert ("Not measured" in told) == (batch != "8")
            wrong = Axe().run(found.page, context=where).response["violations"]
            assert [(each["id"], each["nodes"][0]["html"][:200]) for each in wrong] == []


def test_on_a_phone_nothing_is_wider_than_the_screen(new: Any, written: Path) -> None:
    found = new(written, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    found.draw(*PLOTS)
    found.narrower_than(360)
    # Every backend's name stands in the picture once and whole, and so do its numbers.
    names = found.page.locator("#picture .who")
    assert names.all_inner_texts() == ["★ static_unroll", "keras", "while_loop"]
    for part in (*names.all(), *found.page.locator("#picture .much").all()):
        assert part.evaluate("one => one.scrollWidth <= one.clientWidth")
        box = part.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
    # Who and how long can be read without moving the tables.
    table = found.unfold("details:has(> summary:text('All numbers:'))")
    for cell in table.locator("td.time").all()[:3]:
        box = cell.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 360
    # A finger that drags over a plot scrolls the page.
    assert found.page.evaluate("document.querySelector('#across .plot').layout.dragmode") is False
    assert found.wrong == []


def test_paper_has_answers_and_plots_in_the_colours_of_light(new: Any, written: Path) -> None:
    found = new(written, color_scheme="dark")
    found.draw("windows")
    colour = "document.querySelector('#{} .plot').layout.font.color"
    assert found.page.evaluate(colour.format("windows")) == "#ececec"
    found.page.emulate_media(media="print")
    found.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for view in PLOTS:
        assert found.page.evaluate(colour.format(view)) == "#1b1b1b"
        width = "document.querySelector('#{} .plot .main-svg').getBoundingClientRect().width"
        assert found.page.evaluate(width.format(view)) == 680
    assert not found.page.locator("#filters").is_visible()
    assert not found.page.locator("#cases").is_visible()
    assert not found.page.locator("#question").is_visible()
    assert found.page.locator("#answer").is_visible()
    assert found.page.locator("#picture .dots").is_visible()
    # On paper nothing can be opened: the reasons stand there, and are folded again afterwards.
    reasons = found.page.locator("details li", has_text="the machine was busy").first
    assert reasons.is_visible()
    found.page.emulate_media(media="screen")
    found.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not reasons.evaluate("one => one.closest('details').open")
    found.draw("windows")
    assert found.page.evaluate(colour.format("windows")) == "#ececec"
    assert found.page.pdf(format="A4").startswith(b"%PDF")
    found.look(1200)
    found.draw("windows")
    assert found.page.evaluate(colour.format("windows")) == "#1b1b1b"
    assert found.wrong == []


def test_without_scripts_the_answers_and_the_tables_are_there(new: Any, written: Path) -> None:
    found = new(written, java_script_enabled=False)
    text = found.page.locator("main").inner_text()
    assert "use static_unroll, 2.00 times as fast as keras (2.00–2.00, FASTER)" in text
    for hidden in ("#asking", "#explorer"):
        assert not found.page.locator(hidden).is_visible()
    # Folded, and opened without a script.
    for summary, words in (
        ("Findings:", "static_unroll is the fastest: 2.00 times as fast as keras"),
        ("All numbers:", "b32-t100-i64-h64"),
        ("The machine", "CPU of machine"),
    ):
        inside = found.page.get_by_text(words).first
        assert not inside.is_visible()
        found.page.locator("summary", has_text=summary).first.click()
        inside.wait_for()
    assert found.page.get_by_role("table").first.is_visible()


def test_on_paper_what_is_folded_stands_there_without_a_script(new: Any, written: Path) -> None:
    found = new(written, java_script_enabled=False)
    found.page.emulate_media(media="print")
    found.page.get_by_text("static_unroll is the fastest").first.wait_for()
    found.page.get_by_role("table").first.wait_for()


def test_without_plotly_there_is_still_the_answer(
    new: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explorer, "_plotly", lambda: None)
    path = tmp_path / "plain.html"
    path.write_text(explorable(store()), encoding="utf-8")
    assert path.stat().st_size < 300_000
    found = new(path)
    assert found.answer.startswith("Use static_unroll")
    assert "There are no plots on this page" in found.page.locator("main").inner_text()
    assert found.page.locator(".heat td").first.is_visible()
    found.draw("spread")
    assert not found.page.locator("#spread .plot").is_visible()
    assert found.unfold("#spread details").locator("tbody tr").count() == 3
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
    found.draw("memory")
    labels = page.locator("#memory .plot .ytick text")
    for text in NASTY[:5]:
        labels.filter(has_text=text[:39]).first.wait_for()
    # What is pointed at lies below what Plotly hears the mouse with.
    page.locator("#memory .plot .bars .point").first.hover(force=True)
    page.locator("#memory .hoverlayer text").first.wait_for()
    pointed = page.locator("#memory .hoverlayer").text_content() or ""
    assert NASTY[0] in pointed
    assert NASTY[2] in pointed
    for width in (1200, 360):
        found.look(width)
        found.draw(*PLOTS)
        found.narrower_than(width)
    assert page.evaluate("window.hit") is None
    assert found.wrong == []


def test_the_policy_stops_a_script_that_slipped_through(opened: Opened) -> None:
    opened.page.evaluate(
        """() => { const made = document.createElement('script');
             made.textContent = 'window.hit = 1'; document.body.append(made); }"""
    )
    assert opened.page.evaluate("window.hit") is None
    (told,) = opened.wrong
    assert "Content Security Policy" in told
    opened.wrong.clear()


# Size


@pytest.mark.parametrize("shapes", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_thousands_of_cases_open_in_pages_and_the_answer_does_not_wait_for_plots(
    new: Any, tmp_path: Path, shapes: int
) -> None:
    cases = 10 * shapes
    path = tmp_path / "report.html"
    path.write_text(explorable(large(shapes)), encoding="utf-8")
    assert path.stat().st_size < 5_000_000 + 700 * cases
    found = new(path, viewport={"width": 1200, "height": 800})
    usable = found.page.evaluate("performance.getEntriesByName('page usable')[0].startTime")
    print(f"usable after {usable:.0f} ms")
    assert "backend_0" in found.answer
    assert len(found.dots) == 10
    # Their script is not even read before a reader comes near to one of them.
    assert found.page.evaluate("typeof window.Plotly") == "undefined"
    assert f"of {cases:,} cases" in found.shown
    found.unfold("#case-fold")
    expect(found.page.locator("#page-of")).to_have_text(f"Page 1 of {cases // 50}")
    first = found.table()
    assert len(first) == 50
    found.page.get_by_role("button", name="Next page").click()
    expect(found.page.locator("#page-of")).to_have_text(f"Page 2 of {cases // 50}")
    assert found.table() != first
    found.draw("across")
    marks = sum(len(trace["x"]) for trace in found.plot("across"))
    assert 0 < marks <= 1500
    assert found.wrong == []


def large(count: int) -> Report:
    """Ten backends on so many shapes: pooled once, then the same numbers under other shapes."""
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
    rows: list[Row] = [
        replace(
            row,
            case=replace(row.case, spec=LSTMSpec(units, units), workload=Workload(batch, steps)),
        )
        for batch, steps, units in shapes
        for row in section.rows
    ]
    return Report((Section(section.runs, tuple(rows), section.baseline),))


# Streams


@pytest.fixture(scope="module")
def streaming(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("streaming") / "report.html"
    path.write_text(explorable(build(streams({"keras": 5.0, "numpy": 3.0}))), encoding="utf-8")
    return path


def test_a_stream_s_latencies_are_drawn_with_their_percentiles(new: Any, streaming: Path) -> None:
    # bypass_csp: for the checker, as above.
    opened = new(streaming, viewport={"width": 1200, "height": 900}, bypass_csp=True)
    *lines, first, second = opened.plot("latency")
    assert len(lines) == 2
    for line in lines:
        assert sum(share for share in line["y"] if share) == pytest.approx(1.0)
    # The 50th, 90th, 99th and 99.9th, each later and rarer than the one before.
    for marks in (first, second):
        assert marks["x"] == sorted(marks["x"])
        assert len(marks["x"]) == 4
    assert "Shortest p99: numpy" in opened.says("latency")
    row = opened.unfold("#latency details").locator("tbody tr").first
    cells = row.locator("td, th").all_inner_texts()
    assert cells[1] == "42,000"
    assert all(cells[2:6])
    for width, scheme in LOOKS:
        opened.look(width, scheme)
        opened.draw("latency")
        found = Axe().run(opened.page, context="#latency").response["violations"]
        assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == []
        opened.narrower_than(width)
    assert opened.wrong == []


def test_where_nothing_streams_nothing_is_said_of_it(opened: Opened) -> None:
    assert opened.page.locator("#latency").is_hidden()
