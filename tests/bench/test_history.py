"""What a history says: which sessions, in which order, against what, and what changed between."""

from __future__ import annotations

import csv
import io
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from bench import history, results
from bench.comparing import history_picture, history_words
from bench.comparing.comparison import parse_rule
from bench.comparing.history import History, build
from bench.comparing.history_data import comma_separated
from bench.comparing.history_moves import LONGEST, error_lines, gate_line, judge, with_moves
from bench.disk.writing import write
from bench.judging.movements import Scope
from bench.judging.verdict import Verdict
from bench.results.schema import Measurement, Outcome, Results, Run
from bench.suites.cases import Case
from bench.telling.command_line import UsageError
from bench.telling.deliver import plain_text
from bench.telling.quantities import times_as_fast
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload
from tests.bench.made_results import BUSY, a_run, gather, measured, save
from tests.places import ROOT

EXAMPLE = ROOT / "docs/examples/quick.json"


def case(backend: str = "keras", batch: int = 8) -> Case:
    return Case(backend, LSTMSpec(4, 8), Workload(batch, 10), "cpu")


def run(session: int, process: int = 0, *, host: str = "laptop", tensorflow: str = "2.20.0") -> Run:
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=session)
    before = {
        "python": "CPython 3.11.7",
        "libraries": {"tensorflow": tensorflow},
        "memory": {"swap_total_bytes": 0 if tensorflow == "2.20.0" else 2**30},
        "load": [float(session)],
    }
    return a_run(
        0,
        host,
        "quick",
        id=f"r{host}{session}-{process}",
        session=f"s{host}{session}",
        started=moment,
        finished=moment,
        machine_id=f"id-of-{host}",
        environment={"before": before, "after": {}},
    )


def session(
    number: int, times: Mapping[Case, float], *, processes: int = 6, tensorflow: str = "2.20.0"
) -> list[Measurement | Outcome]:
    factors = np.exp(0.004 * np.linspace(-1, 1, processes))
    return [
        measured(of, seconds * factor, run(number, process, tensorflow=tensorflow))
        for process, factor in enumerate(factors)
        for of, seconds in times.items()
    ]


def shown(found: History, *, sessions: bool) -> str:
    return plain_text(lambda console: history_words.terminal(found, console, sessions=sessions))


def upgrade() -> Results:
    """Three sessions, the files in another order; the second with another TensorFlow."""
    return gather(
        *session(3, {case(): 1.3}, tensorflow="2.21.0"),
        *session(1, {case(): 1.0}),
        *session(2, {case(): 1.3}, tensorflow="2.21.0"),
    )


def test_sessions_stand_in_the_order_of_time_each_against_the_one_before() -> None:
    (machine,) = build(upgrade()).machines
    assert [(each.number, each.id) for each in machine.sessions] == [
        *((1, "slaptop1"), (2, "slaptop2"), (3, "slaptop3"))
    ]
    (line,) = machine.lines
    first, second, third = line.points
    assert first.to_before is None
    assert second.to_before is not None
    assert second.to_before.verdict is Verdict.SLOWER
    assert second.to_before.ratio.mid == pytest.approx(1.3)
    assert third.to_before is not None
    assert third.to_before.verdict is Verdict.SAME
    assert [point.time.mid for point in line.measured if point.time] == pytest.approx(
        [1.0, 1.3, 1.3]
    )


def test_what_changed_is_marked_where_it_changed_versions_first() -> None:
    (machine,) = build(upgrade()).machines
    first, second, third = machine.sessions
    assert first.changes == third.changes == ()
    assert [(each.name, each.version) for each in second.changes] == [
        ("libraries.tensorflow", True),
        ("memory.swap_total_bytes", False),
    ]
    words = history_words.changed(second.changes, 2)
    assert words == "▲ tensorflow 2.20.0 → 2.21.0; 1 other"


def test_a_commit_that_changed_is_marked(tmp_path: Path) -> None:
    found = upgrade()
    commits = {"slaptop1": "a" * 40, "slaptop2": "a" * 40, "slaptop3": "b" * 40 + " with changes"}
    files = tuple(replace(file, commit=commits[file.run.session]) for file in found.files)
    (machine,) = build(replace(found, files=files)).machines
    changes = [[(c.name, c.before, c.after) for c in s.changes] for s in machine.sessions]
    assert changes[2] == [("commit", "a" * 10, "b" * 10 + " with changes")]
    assert "commit" not in {name for name, _, _ in changes[1]}


def test_the_commit_is_read_from_the_file_whatever_stands_there(tmp_path: Path) -> None:
    document = {
        "benchmarks": [],
        "lstm": {"schema": 1, "run": run(1).to_dict(), "outcomes": []},
    }
    for info, wanted in (
        ({"id": "abc", "dirty": False}, "abc"),
        ({"id": "abc", "dirty": True}, "abc with changes"),
        ({"id": 3}, ""),
        ([], ""),
        (None, ""),
    ):
        path = tmp_path / "a.json"
        write(path, {**document, "commit_info": info})
        assert results.read(path).commit == wanted
    write(path, document)
    assert results.read(path).commit == ""


def test_a_session_without_the_case_is_passed_over_and_its_changes_still_count() -> None:
    """The third session is compared with the first, so what changed in the second may be why."""
    other = case("scan")
    found = gather(
        *session(1, {case(): 1.0, other: 1.0}),
        *session(2, {other: 1.0}, tensorflow="2.21.0"),
        *session(3, {case(): 1.3, other: 1.0}, tensorflow="2.21.0"),
    )
    line = build(found).machines[0].lines[0]
    assert [point.session.number for point in line.points] == [1, 3]
    assert line.points[1].changes[0].name == "libraries.tensorflow"
    assert build(found).machines[0].sessions[2].changes == ()


def test_a_case_that_crashed_is_in_its_line_without_a_time() -> None:
    crash = Outcome(case(), run(2), "crashed", "out of memory", "", Path("a.json"))
    found = gather(*session(1, {case(): 1.0}), crash, *session(3, {case(): 1.0}))
    (line,) = build(found).machines[0].lines
    assert [point.outcome for point in line.points] == ["", "crashed: out of memory", ""]
    assert line.points[2].to_before is not None
    assert line.points[2].to_before.ratio.mid == pytest.approx(1.0)
    text = history_words.markdown(build(found))
    assert "crashed: out of memory" in text


def test_machines_are_never_compared_with_each_other() -> None:
    found = gather(
        measured(case(), 1.0, run(1)),
        measured(case(), 0.1, run(2, host="server")),
    )
    machines = build(found).machines
    assert [machine.name for machine in machines] == ["server", "laptop"]
    assert all(p.to_before is None for m in machines for line in m.lines for p in line.points)


def test_cases_are_chosen_and_what_fits_nothing_is_told() -> None:
    found = gather(*session(1, {case(): 1.0, case("scan"): 1.0, case(batch=16): 1.0}))

    def ids(pattern: str = "*") -> list[str]:
        return [line.case.id for line in build(found, pattern=pattern).machines[0].lines]

    assert len(ids()) == 3
    assert ids("*/b16-*") == [case(batch=16).id]
    assert ids("scan/*") == [case("scan").id]
    with pytest.raises(UsageError, match="no measured case fits --case x; a case is named"):
        ids("x")


def test_a_sparkline_shows_a_jump_and_no_noise() -> None:
    def drawn(*times: float) -> str:
        items = [item for n, s in enumerate(times, 1) for item in session(n, {case(): s})]
        machine = build(gather(*items)).machines[0]
        return history_words.sparkline(machine.lines[0], machine)

    assert drawn(1.0, 1.0, 2.0) == "▁▁█"
    assert set(drawn(1.0, 1.01, 1.0)) <= set("▄▅")
    assert drawn(1.0) == "▅"


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
    same, faster, slower = case("keras"), case("scan"), case("loop")
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
    gone = Outcome(case(), run(2), "crashed", "killed by SIGSEGV", "", Path("a.json"))
    found = build(gather(*session(1, {case(): 1.0}), gone))
    text = shown(found, sessions=False)
    assert re.search(r"^keras/.* 1\.00 s \(#1\)", text, re.M)


def test_an_invalid_session_is_marked_and_its_reason_told() -> None:
    found = gather(measured(case(), 1.0, run(1)), measured(case(), 1.0, run(2), [BUSY]))
    text = history_words.markdown(build(found))
    assert "UNCLEAR (INVALID)" in text
    assert f"the cores were busy (close what runs): {case().id} in \\#2" in text


@pytest.mark.parametrize(("number", "invalid"), [(1, False), (2, True)])
def test_of_six_processes_of_a_session_one_that_was_disturbed_spoils_nothing_and_two_do(
    number: int, invalid: bool
) -> None:
    items = [measured(case(), 1.0, run(1, n), [BUSY] if n < number else []) for n in range(6)]
    (machine,) = build(gather(*items)).machines
    (point,) = machine.lines[0].points
    told = f"the cores were busy (close what runs) [in {number} of 6 runs]"
    assert tuple(map(str, point.reasons)) == ((told,) if invalid else ())


def test_one_crash_among_many_processes_spoils_nothing_and_a_failure_does() -> None:
    crashed = Outcome(case(), run(1, 6), "crashed", "killed by SIGSEGV", "", Path("a.json"))
    (machine,) = build(gather(*session(1, {case(): 1.0}), crashed)).machines
    (point,) = machine.lines[0].points
    assert point.time is not None
    assert point.reasons == ()  # one of seven, and the median over the others does not follow it
    failed = replace(crashed, outcome="failed", reason="the outputs differ")
    (machine,) = build(gather(*session(1, {case(): 1.0}), failed)).machines
    (reason,) = machine.lines[0].points[0].reasons
    assert str(reason) == "failed: the outputs differ [in 1 of 7 runs]"


# What changed for longer than a session


def nights(
    count: int = 30,
    slower: Mapping[Case, float] | None = None,
    since: int = 18,
    until: int = 10**6,
    cases: Sequence[Case] = (),
) -> Results:
    """A session a night; from one on ``slower`` cases take so many times as long."""
    rng = np.random.default_rng(1)
    every = cases or [case(name, batch) for name in ("keras", "scan", "torch") for batch in (8, 16)]
    items: list[Measurement | Outcome] = []
    for night in range(1, count + 1):
        luck = rng.normal(0, 0.02)
        times = {
            of: math.exp(luck + rng.normal(0, 0.01))
            * ((slower or {}).get(of, 1.0) if since <= night < until else 1.0)
            for of in every
        }
        version = "2.21.0" if night >= since else "2.20.0"
        items += session(night, times, processes=2, tensorflow=version)
    return gather(*items)


def watched(found: Results) -> History:
    return with_moves(build(found))


SLOW_SCAN = {case("scan"): 1.2, case("scan", 16): 1.2}


@pytest.fixture(scope="module")
def slow_scan() -> History:
    """Thirty nights, of which from the eighteenth on one backend was slower."""
    return watched(nights(slower=SLOW_SCAN))


@pytest.fixture(scope="module")
def slow_files(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The files of these nights."""
    return str(save(tmp_path_factory.mktemp("nights"), nights(slower=SLOW_SCAN)))


def test_a_backend_that_became_slower_is_named_with_since_when_and_what_was_new(
    slow_scan: History,
) -> None:
    (machine,) = slow_scan.machines
    assert machine.moved is not None
    (moved,) = machine.moved
    assert (moved.before.number, moved.session.number) == (17, 18)
    assert moved.movement.scope is Scope.BACKENDS
    assert {each.backend for each in moved.cases} == {"scan"}
    assert moved.movement.ratio.mid == pytest.approx(1.2, rel=0.02)
    text = shown(slow_scan, sessions=False)
    line = r"#18 2026-01-19  scan \(2 cases\) +0\.8\d\d .* SLOWER +tensorflow 2\.20"
    assert re.search(line, text)
    markdown = history_words.markdown(slow_scan)
    assert "| #18 2026-01-19 | scan (2 cases) |".replace("#", "\\#") in markdown


def test_where_all_cases_moved_it_is_said_what_that_may_be() -> None:
    every = {case(name, batch): 1.2 for name in ("keras", "scan", "torch") for batch in (8, 16)}
    text = shown(watched(nights(slower=every)), sessions=False)
    assert re.search(r"#18 .* all 6 cases .* SLOWER", text)
    assert "it is the machine, or something that all of them use" in text


def test_a_change_of_one_device_is_nothing_to_the_other() -> None:
    here = [case("keras"), case("scan")]
    there = [replace(each, device="gpu:0") for each in here]
    (machine,) = watched(nights(slower=dict.fromkeys(there, 1.2), cases=[*here, *there])).machines
    assert machine.moved is not None
    (moved,) = machine.moved
    assert moved.movement.scope is Scope.ALL
    assert set(moved.cases) == set(there)
    assert "all 2 cases on gpu:0" in shown(History((machine,)), sessions=False)


def test_a_rule_fails_on_what_became_slower_and_stayed_so(slow_scan: History) -> None:
    for text, fails in (("slower", True), ("slower:5%", True), ("slower:30%", False)):
        guard = judge(parse_rule(text), slow_scan)
        assert bool(guard.failed) is fails
        assert guard.judged == 1
    assert "FAILED, SLOWER by more than 5%: scan (2 cases) since #18" in gate_line(
        judge(parse_rule("slower:5%"), slow_scan)
    )
    faster = watched(nights(slower=dict.fromkeys(SLOW_SCAN, 0.8)))
    assert not judge(parse_rule("slower"), faster).failed


def test_a_rule_passes_what_was_taken_back() -> None:
    found = watched(nights(slower=SLOW_SCAN, since=10, until=20))
    moved = found.machines[0].moved
    assert moved is not None
    assert [(each.session.number, each.back and each.back.number) for each in moved] == [
        *((10, 20), (20, None))
    ]
    assert not judge(parse_rule("slower"), found).failed
    assert "SLOWER until #20" in shown(found, sessions=False)


def test_too_short_a_history_says_so_and_breaks_no_rule() -> None:
    found = watched(nights(10, SLOW_SCAN, since=5))
    assert found.machines[0].moved is None
    guard = judge(parse_rule("slower"), found)
    assert (guard.failed, guard.judged, guard.short) == ((), 0, 1)
    assert "not judged, the history is too short" in gate_line(guard)
    assert "11 sessions with the same case can tell; here are at most 10" in shown(
        found, sessions=False
    )


def test_only_the_last_sessions_are_searched() -> None:
    found = watched(nights(LONGEST + 20, SLOW_SCAN, since=12, cases=[*SLOW_SCAN, case()]))
    assert found.machines[0].moved == ()
    assert f"in the last {LONGEST} sessions" in shown(found, sessions=False)


def test_what_changed_on_the_way_between_two_sessions_of_a_case_is_told_as_one() -> None:
    """The case is not measured in the session in which TensorFlow is new."""
    items = [
        item
        for item in nights(slower=SLOW_SCAN, since=18).measurements
        if item.case.backend == "keras" or item.run.id.split("-")[0] != "rlaptop18"
    ]
    (machine,) = watched(gather(*items)).machines
    assert machine.moved is not None
    (moved,) = machine.moved
    assert (moved.before.number, moved.session.number) == (17, 19)
    assert "tensorflow 2.20.0 → 2.21.0" in [change.words for change in moved.changes]


# The command


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LSTM_RESULTS", raising=False)
    monkeypatch.setenv("COLUMNS", "100")


def test_the_command_reads_all_sessions_of_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "results", upgrade())
    assert history.main([]) == 0
    out = capsys.readouterr().out
    assert "History on laptop: 3 sessions, 1 case" in out
    assert "▲ tensorflow 2.20.0 → 2.21.0" in out
    assert "▁██" in out
    assert max(map(len, out.splitlines())) <= 100


def test_csv_has_a_row_a_case_and_session(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save(tmp_path / "results", upgrade())
    assert history.main([str(folder), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["number"] for row in rows] == ["1", "2", "3"]
    assert rows[1]["verdict"] == "SLOWER"
    assert rows[1]["versions_changed"] == "tensorflow 2.20.0 → 2.21.0"
    assert float(rows[1]["ratio"]) == pytest.approx(1.3)
    assert rows[0]["ratio"] == rows[0]["versions_changed"] == ""


def test_the_command_fails_on_a_rule_and_names_what_broke_it(
    slow_files: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = slow_files
    assert history.main([folder, "--fail-on", "slower:5%"]) == 1
    assert "FAILED, SLOWER by more than 5%: scan (2 cases) since #18" in capsys.readouterr().out
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert history.main([folder, "--format", "csv", "--fail-on", "slower:5%"]) == 1
    out, err = capsys.readouterr()
    assert "FAILED" in err
    assert "::error title=SLOWER since 2026-01-19::scan (2 cases): 0.8" in err
    rows = [row for row in csv.DictReader(io.StringIO(out)) if row["moved"]]
    assert {(row["number"], row["moved"], row["moved_verdict"]) for row in rows} == {
        ("18", "backends", "SLOWER")
    }
    assert len(rows) == 2
    assert history.main([folder, "--fail-on", "slower:40%"]) == 0


def test_what_is_accepted_is_left_out_by_its_time(
    slow_files: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = slow_files
    assert history.main([folder, "--fail-on", "slower", "--since", "2026-01-19"]) == 0
    assert "13 sessions" in capsys.readouterr().out
    assert history.main([folder, "--since", "2027-01-01"]) == 2
    assert "no session began since 2027-01-01" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        history.main([folder, "--since", "yesterday"])
    assert "is no time; write 2026-01-31" in capsys.readouterr().err


def texts(path: Path) -> list[str]:
    found = ET.parse(path).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(each.itertext()).strip() for each in found]


def test_the_picture_marks_the_sessions_whose_versions_changed(tmp_path: Path) -> None:
    folder = save(tmp_path / "results", upgrade())
    path = tmp_path / "history.svg"
    assert history.main([str(folder), "--format", "svg", "--output", str(path)]) == 0
    words = texts(path)
    assert "#2  tensorflow 2.20.0 → 2.21.0" in words
    assert "Time of a step on laptop · 2026-01-02 to 2026-01-04 · 3 sessions" in words
    # On the axis each has its number; where a dashed line stands, there is another.
    assert [words.count(f"#{number}") for number in (1, 2, 3)] == [1, 2, 1]


def test_the_picture_shades_what_changed_for_longer_than_a_session() -> None:
    found = watched(nights(slower=SLOW_SCAN))
    (moved,) = found.machines[0].moved or ()
    drawn = history_picture.picture(found, "svg").decode()
    words = ["".join(each.itertext()).strip() for each in ET.fromstring(drawn).iter()]
    speed = times_as_fast(moved.movement.ratio.mid, 3)
    (note,) = {each for each in words if each.startswith("shaded since")}
    assert note == f"shaded since #18: scan (2 cases), {speed} times as fast, SLOWER"
    # In the panels of the two cases that moved, of six.
    assert len(found.machines[0].lines) == 6
    assert len([each for each in words if each == f"{speed}×"]) in (2, 4)  # a text and its group


def test_bad_input_is_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save(tmp_path / "some", upgrade())
    for arguments, told in (
        ([], "there are no results in results/; make some with"),
        ([str(folder), "--case", "nothing"], "no measured case fits --case nothing"),
        ([str(folder), "--format", "png"], "--format png needs --output FILE.png"),
        ([str(folder), "--output", f"{next(folder.iterdir())}/x"], "cannot be"),
    ):
        assert history.main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert told in error
        assert error.count("\n") == 1


def test_the_name_of_what_moved_stays_text() -> None:
    from tests.bench.harmless import assert_markdown, assert_plain, assert_sheet
    from tests.bench.made_texts import PAYLOADS

    for payload in PAYLOADS[:: max(1, len(PAYLOADS) // 5)]:
        hostile = case(f"{payload}x")
        found = watched(
            nights(16, {hostile: 1.5}, since=9, cases=[hostile, case(), case(batch=16)])
        )
        assert found.machines[0].moved
        assert_plain(shown(found, sessions=False))
        assert_markdown(history_words.markdown(found, judge(parse_rule("slower"), found)))
        assert_plain(gate_line(judge(parse_rule("slower"), found)))
        assert_sheet("".join(comma_separated(found)))
        assert_plain("".join(error_lines(judge(parse_rule("slower"), found))))


def test_text_from_a_file_stays_text(tmp_path: Path) -> None:
    name = "[red]x[/] $\\frac{$ <b>|`a`\x1b[31m"
    hostile = Case(name, LSTMSpec(4, 8), Workload(8, 10), "cpu:\x1b]52;\x07\ud800")
    items = [*session(1, {hostile: 1.0}), *session(2, {hostile: 1.0}, tensorflow="<i>|$x$")]
    found = build(gather(*items))
    plain = shown(found, sessions=True)
    assert "[red]x[/]" in plain
    assert "\x1b" not in plain
    text = history_words.markdown(found)
    assert "<b>" not in text.replace("\\<b\\>", "")
    assert text.count("\\<i\\>\\|\\$x\\$") == 2
    with_name = history_picture.picture(found, "svg").decode()
    ET.fromstring(with_name)
    assert "$\\frac{$ &lt;b&gt;" in with_name
    assert "tensorflow 2.20.0 → &lt;i&gt;|$x$" in with_name
