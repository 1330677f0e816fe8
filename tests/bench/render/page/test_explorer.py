"""What the page to explore is made of: its scripts, and the policy that lets no other run."""

import base64
import hashlib
import re
import sys
from pathlib import Path

import pytest

from bench.render.page import data, explorer
from bench.stats.rows import Report
from tests.bench.made_reports import measured, report_of


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


def test_a_page_of_many_sets_says_what_it_is_and_has_their_way_back_above_the_question() -> None:
    found = data.data(report_of(measured("keras", 0.01)))
    page = explorer.page_of(Report(()), found, "many <machines>", "<p>back</p>")
    assert "<title>LSTM benchmark: many &lt;machines&gt;</title>" in page
    assert page.index("<h1>") < page.index("<p>back</p>") < page.index('<section id="asking"')


def test_every_file_of_the_script_is_in_it() -> None:
    assert {path.stem for path in (Path(explorer.__file__).parent / "script").glob("*.js")} == set(
        explorer.SCRIPT
    )
