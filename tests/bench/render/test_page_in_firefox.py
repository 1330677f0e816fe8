"""Test the page in Firefox: light, dark, on a phone, by the keyboard and printed.

``test_page_in_browser.py`` tests everything in Chromium. These tests find what only Firefox does
otherwise. Mozilla's Marionette drives the Firefox that users have, which Playwright cannot. Firefox
is looked for in $LSTM_FIREFOX and on the PATH. Without it these tests are skipped with that reason.
"""

import gc
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.render.page import TABS
from bench.render.page import page as explorable
from tests.bench.made_pages import SPEEDS, store

with warnings.catch_warnings():
    # Its package ``mozinfo`` asks ``distro`` for the system in a deprecated way.
    warnings.filterwarnings("ignore", "distro.linux_distribution", DeprecationWarning)
    driver = pytest.importorskip(
        "marionette_driver", reason="the page was NOT tested in Firefox: no marionette_driver here"
    )
    from marionette_driver.keys import Keys

# The driver leaves sockets and files to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PATIENCE = 120
"""Seconds, enough for a busy machine."""


def installed() -> str | None:
    """Return the path of Firefox; scripts that start it, as Debian's ``firefox``, do not count."""
    named = os.environ.get("LSTM_FIREFOX")
    found = filter(None, (shutil.which(name) for name in ("firefox", "firefox-esr")))
    programs = (
        each for each in found if Path(each).resolve().with_name("application.ini").exists()
    )
    return named or next(programs, None)


class Firefox:
    """A page in Firefox."""

    def __init__(self, path: str, log: Path) -> None:
        self._driver = driver.marionette.Marionette(
            bin=path, headless=True, gecko_log=str(log), startup_timeout=PATIENCE
        )
        self._driver.start_session()
        self._driver.timeout.script = PATIENCE

    def close(self) -> None:
        self._driver.quit()
        self._driver.cleanup()
        del self._driver
        gc.collect()

    def open(self, path: Path, width: int = 1200, scheme: str = "light", tab: str = "") -> None:
        """Open a page in a frame of this width: a window of Firefox is at least 500 pixels wide."""
        frame = path.with_name("frame.html")
        frame.write_text(
            f'<!doctype html><iframe src="{path.name}#{tab}" style="width: {width}px; '
            'height: 900px; border: 0"></iframe>',
            encoding="utf-8",
        )
        self._driver.navigate("about:blank")
        self._driver.navigate(frame.as_uri())
        self.override("mediumOverride", "")
        self.override("prefersColorSchemeOverride", scheme)
        self._driver.switch_to_frame(self.find("iframe"))
        dark = "matchMedia('(prefers-color-scheme: dark)').matches"
        self.wait_for(f"{dark} === {'true' if scheme == 'dark' else 'false'}")
        assert self.run("return innerWidth") == width

    def override(self, what: str, value: str) -> None:
        """Let Firefox show pages as for another medium or with other colours, as its tools do."""
        with self._driver.using_context("chrome"):
            self._driver.execute_script(
                "gBrowser.selectedBrowser.browsingContext[arguments[0]] = arguments[1]",
                (what, value),
            )

    def find(self, selector: str) -> Any:
        return self._driver.find_element("css selector", selector)

    def run(self, script: str) -> Any:
        return self._driver.execute_script(script)

    def wait_for(self, condition: str) -> None:
        """Wait until an expression of JavaScript is true."""
        driver.Wait(self._driver, timeout=PATIENCE).until(lambda _: self.run(f"return {condition}"))

    def press(self, key: str) -> None:
        """Press a key where the focus is."""
        self._driver.get_active_element().send_keys(key)

    @property
    def shown_panels(self) -> list[str]:
        found: list[str] = self.run(
            "return [...document.querySelectorAll('.panel')].filter((one) => !one.hidden)"
            ".map((one) => one.id)"
        )
        return found


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    path = installed()
    if path is None:
        pytest.skip(
            "the page was NOT tested in Firefox: none is on the PATH; install one (Debian's "
            "package `firefox-esr`) or name it in $LSTM_FIREFOX"
        )
    started = Firefox(path, tmp_path_factory.mktemp("firefox") / "log.txt")
    yield started
    started.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small page with all parts."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(explorable(store((8, 32), (64,), processes=2)), encoding="utf-8")
    return path


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (1200, "dark"), (390, "dark")])
def test_page_in_firefox_shows_decision_ranking_and_plot(
    firefox: Firefox, written: Path, width: int, scheme: str
) -> None:
    firefox.open(written, width, scheme)
    assert firefox.find("#decision .main").text.startswith("Use static_unroll")
    assert firefox.run("return document.querySelectorAll('#picture .whisker').length") == len(
        SPEEDS
    )
    back = firefox.run("return getComputedStyle(document.body).backgroundColor")
    assert back == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 20, 20)"}[scheme]
    for tab, view in (("scaling", "explore"), ("processes", "samples")):
        firefox.find(f"#tab-{tab}").click()
        firefox.wait_for(f"document.querySelector('#{view}').ariaBusy === 'false'")
        assert firefox.run(f"return document.querySelector('#{view} .plot svg') !== null")
    for tab in TABS:
        firefox.find(f"#tab-{tab}").click()
        assert firefox.run("return document.documentElement.scrollWidth <= innerWidth"), tab


def test_page_in_firefox_tabs_follow_the_keyboard_and_the_address(
    firefox: Firefox, written: Path
) -> None:
    firefox.open(written, tab="compare")
    assert firefox.shown_panels == ["compare"]
    firefox.run("document.querySelector('#tab-compare').focus()")
    for key, panel in (
        (Keys.ARROW_RIGHT, "scaling"),
        (Keys.ARROW_LEFT, "compare"),
        (Keys.HOME, "answer"),
        (Keys.ARROW_LEFT, "about"),
        (Keys.HOME, "answer"),
        (Keys.END, "about"),
    ):
        firefox.press(key)
        assert firefox.shown_panels == [panel]
        assert firefox.run("return document.activeElement.id") == f"tab-{panel}"
        assert firefox.run("return location.hash") == ("" if panel == "answer" else f"#{panel}")


def test_page_in_firefox_printed_has_all_tabs_unfolded_and_light(
    firefox: Firefox, written: Path
) -> None:
    firefox.open(written, scheme="dark")
    firefox.wait_for("performance.getEntriesByName('printable').length > 0")
    firefox.override("mediumOverride", "print")
    firefox.run("dispatchEvent(new Event('beforeprint'))")
    heights = firefox.run(
        "return Object.fromEntries([...document.querySelectorAll('.panel')].map("
        "(one) => [one.id, one.checkVisibility() ? one.getBoundingClientRect().height : 0]))"
    )
    assert all(height > 0 for panel, height in heights.items() if panel != "tail-latency"), heights
    assert firefox.run("return getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    for view in ("explore", "samples"):
        assert firefox.run(f"return document.querySelector('#{view} .plot svg') !== null"), view
    # Folded parts are shown: the table of all numbers is in one.
    folded = firefox.run("return document.querySelector('#all-cases details table').offsetHeight")
    assert folded > 0
    assert not firefox.find("#tabs").is_displayed()
