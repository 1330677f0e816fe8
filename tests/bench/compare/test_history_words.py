"""A history as it is shown: in a terminal and as Markdown."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console

from bench.records.schema import Outcome, Reason
from bench.render import history as history_words
from bench.stats.history import build
from bench.stats.trust import NOT_STEADY
from tests.bench.made_history import run, session, shown, slow_scan, upgrade
from tests.bench.made_nodes import a_case
from tests.bench.made_results import BUSY, gather, measured


def test_a_sparkline_shows_a_jump_and_no_noise() -> None:
    def drawn(*times: float) -> str:
        items = [item for n, s in enumerate(times, 1) for item in session(n, {a_case(): s})]
        machine = build(gather(*items)).machines[0]
        return history_words.sparkline(machine.lines[0], machine)

    assert drawn(1.0, 1.0, 2.0) == "▁▁█"
    assert set(drawn(1.0, 1.01, 1.0)) <= set("▄▅")
    assert drawn(1.0) == "▅"


def test_lasting_changes_come_before_the_sessions_and_the_cases() -> None:
    text = shown(slow_scan(), sessions=False)
    line = r"#18 2026-01-19  scan \(2 cases\) +0\.8\d\d .* SLOWER +tensorflow 2\.20"
    assert re.search(line, text)
    first = text.index("What changed for longer than a session")
    assert first < text.index("start (UTC)") < text.index("keras/")
    markdown = history_words.markdown(slow_scan())
    assert markdown.index("### What changed for longer") < markdown.index("start (UTC)")
    told = "| #18 2026-01-19 | scan (2 cases) |".replace("#", "\\#")
    assert told in history_words.markdown(slow_scan())
    assert "What changed for longer" not in shown(build(upgrade()), sessions=False)


def test_a_narrow_terminal_has_what_changed_below_the_table() -> None:
    out = io.StringIO()
    history_words.terminal(build(upgrade()), Console(file=out, width=60), sessions=True)
    lines = out.getvalue().splitlines()
    assert all(cell_len(line) <= 60 for line in lines)
    text = " ".join(out.getvalue().split())
    assert "#2 changed since: ▲ tensorflow 2.20.0 → 2.21.0" in text
    assert "SLOWER" in text
    wide = io.StringIO()
    history_words.terminal(build(upgrade()), Console(file=wide, width=120), sessions=True)
    assert "changed since" in wide.getvalue()
    assert "#2 changed since" not in wide.getvalue()


def test_a_terminal_has_a_line_a_case_and_those_that_changed_come_first() -> None:
    same, faster, slower = a_case("keras"), a_case("scan"), a_case("loop")
    found = gather(
        *session(1, {same: 1.0, faster: 1.0, slower: 1.0}),
        *session(2, {same: 1.0, faster: 0.9, slower: 2.0}),
    )
    lines = shown(build(found), sessions=False).splitlines()
    told = [line for line in lines if line.startswith(("keras/", "scan/", "loop/"))]
    assert [line.split("/")[0] for line in told] == ["loop", "scan", "keras"]
    assert "2.00 s" in told[0]
    assert "0.500" in told[0]
    assert "SLOWER" in told[0]
    assert "SAME" in told[2]
    whole = shown(build(found), sessions=True)
    assert "changed since" in whole
    assert len(whole.splitlines()) > len(lines)


def test_a_case_that_has_a_time_no_more_is_told_with_its_last() -> None:
    gone = Outcome(a_case(), run(2), "crashed", "killed by SIGSEGV", "", Path("a.json"))
    found = build(gather(*session(1, {a_case(): 1.0}), gone))
    text = shown(found, sessions=False)
    assert re.search(r"^keras/.* 1\.00 s \(#1\)", text, re.M)


def test_what_crashed_is_told_in_place_of_a_time() -> None:
    crash = Outcome(a_case(), run(2), "crashed", "out of memory", "", Path("a.json"))
    text = history_words.markdown(build(gather(*session(1, {a_case(): 1.0}), crash)))
    assert "| \\#2 | — |  |  |  | crashed: out of memory |  |" in text


def test_of_versions_that_changed_the_first_are_named_and_all_else_by_number() -> None:
    version, other = build(upgrade()).machines[0].sessions[1].changes
    assert history_words.changed([version, other], 2) == "▲ tensorflow 2.20.0 → 2.21.0; 1 other"
    assert history_words.changed([version] * 3, 2).endswith("2.21.0; 1 more")
    assert history_words.changed([other], 2) == "1 other than versions"
    assert history_words.changed([], 2) == ""


def test_what_was_allowed_for_is_marked_and_explained_and_of_enough_processes_nothing_is() -> None:
    few = build(gather(*session(1, {a_case(): 1.0}, processes=1), *session(2, {a_case(): 1.0})))
    text = shown(few, sessions=True)
    assert re.search(r"^ *#2 .* \d\.\d{3}\*", text, re.M)
    assert "* A session of fewer than 6 processes cannot show how much processes differ" in text
    assert "The interval of a time of one process is of its own samples" in text
    enough = shown(build(upgrade()), sessions=True)
    assert "*" not in enough
    assert "of one process" not in enough


def test_one_session_is_no_history_yet() -> None:
    told = "One session is no history yet"
    assert told in shown(build(gather(*session(1, {a_case(): 1.0}))), sessions=True)
    assert told not in shown(build(upgrade()), sessions=True)


def test_a_doubtful_time_is_marked_and_the_reasons_of_a_kind_are_told_together() -> None:
    reasons = [Reason(NOT_STEADY, f"it became {n}% slower", "wait") for n in (3, 4)]
    items = [
        measured(a_case(name), 1.0, run(n), [reasons[n - 2]] if n > 1 else [])
        for n in (1, 2, 3)
        for name in ("keras", "scan")
    ]
    text = shown(build(gather(*items)), sessions=True)
    assert re.search(r"^ *#2 +~1\.00 s", text, re.M)
    told = " ".join(text.split())
    assert "Doubtful times, and where" in told
    assert "4 times, for one it became 3% slower (wait): keras/" in told
    assert "UNCLEAR (INVALID)" in text  # a ratio of sessions has no rounds that both moved in


def test_machines_and_notes_stand_apart() -> None:
    here = session(1, {a_case(): 1.0})
    found = build(gather(*here, measured(a_case(), 1.0, run(1, host="server"))))
    found = replace(found, notes=("one file was cut off",))
    lines = shown(found, sessions=False).splitlines()
    titles = [n for n, line in enumerate(lines) if line.startswith("History on")]
    assert len(titles) == 2
    assert lines[titles[1] - 1] == ""
    assert any("one file was cut off" in line for line in lines)
    assert "- one file was cut off" in history_words.markdown(found)


def test_an_invalid_session_is_marked_and_its_reason_told() -> None:
    found = gather(measured(a_case(), 1.0, run(1)), measured(a_case(), 1.0, run(2), [BUSY]))
    text = history_words.markdown(build(found))
    assert "UNCLEAR (INVALID)" in text
    assert f"the cores were busy (close what runs): {a_case().id} in \\#2" in text
