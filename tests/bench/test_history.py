"""Test ``bench.history``: what it reads, where its answer goes, and its exit codes."""

import csv
import functools
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from bench import history
from bench.case.cases import Case
from bench.cli.filters import parse_rule
from bench.cli.output import render_text
from bench.records.schema import Measurement, Outcome, Results, Run
from bench.render import history as history_words
from bench.render.compare import threshold_text
from bench.render.history import CSV_COLUMNS, changes_table, gate_line, list_changes, what
from bench.render.history import as_csv as comma_separated
from bench.stats import change_points
from bench.stats.change_points import Scope
from bench.stats.trust import NOT_STEADY
from bench.verdicts.history import (
    History,
    LastingChange,
    MachineHistory,
    _between,
    build,
    judge,
    since,
)
from bench.verdicts.sections import NothingToReportError
from tests.bench.made_nodes import a_case
from tests.bench.made_reasons import recorded
from tests.bench.made_results import a_run, gather, measured, save


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


def upgrade() -> Results:
    """Return three sessions in mixed order; the second with another TensorFlow."""
    return gather(
        *session(3, {a_case(): 1.3}, tensorflow="2.21.0"),
        *session(1, {a_case(): 1.0}),
        *session(2, {a_case(): 1.3}, tensorflow="2.21.0"),
    )


def nights(
    count: int = 30,
    slower: Mapping[Case, float] | None = None,
    since: int = 18,
    until: int = 10**6,
    cases: Sequence[Case] = (),
    gradually: bool = False,
) -> Results:
    """Return a session per night; from one on ``slower`` cases take longer by their factor.

    gradually: only in the last night; before, a little more in each.
    """
    rng = np.random.default_rng(1)
    every = cases or [
        a_case(name, batch) for name in ("keras", "scan", "torch") for batch in (8, 16)
    ]
    items: list[Measurement | Outcome] = []
    for night in range(1, count + 1):
        luck = rng.normal(0, 0.02)
        times = {
            of: math.exp(luck + rng.normal(0, 0.01))
            * (slower or {}).get(of, 1.0)
            ** ((night - 1) / (count - 1) if gradually else since <= night < until)
            for of in every
        }
        version = "2.21.0" if night >= since else "2.20.0"
        items += session(night, times, processes=2, tensorflow=version)
    return gather(*items)


SLOW_SCAN = {a_case("scan"): 1.2, a_case("scan", 16): 1.2}


@functools.cache
def slow_scan() -> History:
    """Return thirty nights; from the eighteenth on one backend is slower."""
    return build(nights(slower=SLOW_SCAN))


def shown(found: History, *, sessions: bool) -> str:
    return render_text(history_words.document(found, sessions).terminal)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(scope="module")
def slow_files(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save(tmp_path_factory.mktemp("nights"), nights(slower=SLOW_SCAN)))


def test_history_reads_all_sessions_of_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "results", upgrade())
    assert history.main([]) == 0
    out = capsys.readouterr().out
    assert "History on laptop: 3 sessions, 1 case" in out
    assert "tensorflow 2.20.0 → 2.21.0" in out
    assert "▁██" in out
    assert max(map(len, out.splitlines())) <= 100


def test_history_fail_on_names_what_became_slower(
    slow_files: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert history.main([slow_files, "--fail-on", "slower:5%"]) == 1
    assert "FAILED, SLOWER by more than 5%: scan (2 cases) since #18" in capsys.readouterr().out
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert history.main([slow_files, "--format", "csv", "--fail-on", "slower:5%"]) == 1
    out, err = capsys.readouterr()
    assert "FAILED" in err
    assert "::error title=SLOWER since 2026-01-19::scan (2 cases): 0.8" in err
    rows = [row for row in csv.DictReader(io.StringIO(out)) if row["moved"]]
    assert [(row["number"], row["moved"], row["moved_verdict"]) for row in rows] == [
        ("18", "backends", "SLOWER")
    ] * 2


def test_history_since_leaves_out_earlier_sessions(
    slow_files: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert history.main([slow_files, "--fail-on", "slower", "--since", "2026-01-19"]) == 0
    assert "13 sessions" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        history.main([slow_files, "--since", "yesterday"])
    assert "is not a time; write 2026-01-31" in capsys.readouterr().err


def test_history_bad_input_is_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save(tmp_path / "some", upgrade())
    for arguments, message in (
        ([], "there are no results in results/; measure some with"),
        (
            [str(folder), "--case", "nothing"],
            "--case nothing: no measured case matches;",
        ),
        ([str(folder), "--output", f"{next(folder.iterdir())}/x"], "cannot be"),
    ):
        assert history.main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert message in error
        assert error.count("\n") == 1


def test_history_changed_commit_is_marked() -> None:
    found = upgrade()
    commits = {"slaptop1": "a" * 40, "slaptop2": "a" * 40, "slaptop3": "b" * 40 + " with changes"}
    files = tuple(replace(file, commit=commits[file.run.session]) for file in found.files)
    (machine,) = build(replace(found, files=files)).machines
    changes = [[(c.name, c.before, c.after) for c in s.changes] for s in machine.sessions]
    assert changes[2] == [("commit", "a" * 10, "b" * 10 + " with changes")]
    assert "commit" not in {name for name, _, _ in changes[1]}


def test_since_time_keeps_sessions_from_then_on() -> None:
    """Some processes of a session may start after that time."""
    third = run(3).started
    late = measured(a_case(), 1.3, replace(run(2, 9), started=third + timedelta(hours=1)))
    found = since(gather(*upgrade().measurements, late), third)
    assert {file.run.session for file in found.files} == {"slaptop3"}
    with pytest.raises(NothingToReportError, match="no_session_since"):
        since(upgrade(), third + timedelta(days=1))


def test_history_session_without_the_case_keeps_its_changes() -> None:
    """The third session is compared with the first, so changes in the second count."""
    other = a_case("scan")
    found = gather(
        *session(1, {a_case(): 1.0, other: 1.0}),
        *session(2, {other: 1.0}, tensorflow="2.21.0"),
        *session(3, {a_case(): 1.3, other: 1.0}, tensorflow="2.21.0"),
    )
    line = build(found).machines[0].lines[0]
    assert [point.session.number for point in line.points] == [1, 3]
    assert line.points[1].changes[0].name == "libraries.tensorflow"
    assert build(found).machines[0].sessions[2].changes == ()


def test_history_machines_are_not_compared() -> None:
    found = gather(measured(a_case(), 1.0, run(1)), measured(a_case(), 0.1, run(2, host="server")))
    machines = build(found).machines
    assert [machine.name for machine in machines] == ["server", "laptop"]
    points = [point for each in machines for line in each.lines for point in line.points]
    assert all(point.to_previous is None for point in points)


def find_changes(history: History) -> tuple[MachineHistory, tuple[LastingChange, ...]]:
    """Return the only machine of a history, and its changes."""
    (machine,) = history.machines
    assert machine.lasting is not None
    return machine, machine.lasting


def test_history_slower_backend_has_session_and_changes() -> None:
    machine, (moved,) = find_changes(slow_scan())
    assert (moved.before.number, moved.session.number) == (17, 18)
    assert moved.event.scope is Scope.BACKENDS
    assert {each.backend for each in moved.cases} == {"scan"}
    assert moved.event.ratio.mid == pytest.approx(1.2, rel=0.02)
    ((since, *cells),) = changes_table(machine).lines
    assert since.text == "#18 2026-01-19"
    assert [cell.text for cell in cells if not cell.text.startswith("0.")] == [
        *("scan (2 cases)", "SLOWER", "tensorflow 2.20.0 → 2.21.0; 1 other")
    ]


def test_history_change_on_one_device_leaves_the_other() -> None:
    here = [a_case("keras"), a_case("scan")]
    gpu = [replace(each, device="gpu:0") for each in here]
    found = build(nights(slower=dict.fromkeys(gpu, 1.2), cases=[*here, *gpu]))
    machine, (moved,) = find_changes(found)
    assert moved.event.scope is Scope.ALL
    assert set(moved.cases) == set(gpu)
    assert what(machine, moved) == "all 2 cases on gpu:0"


@pytest.mark.parametrize(
    ("rule", "fails"), [("slower", True), ("slower:5%", True), ("slower:30%", False)]
)
def test_judge_lasting_slowdown_breaks_the_rule(rule: str, fails: bool) -> None:
    guard = judge(parse_rule(rule), slow_scan())
    assert bool(guard.failed) is fails
    assert guard.judged == 1
    assert gate_line(guard) == (
        f"--fail-on {rule}: FAILED, SLOWER{threshold_text(guard.rule)}: scan (2 cases) since #18."
        if fails
        else f"--fail-on {rule}: passed, no case has become SLOWER by more than 30% and stayed so."
    )


def test_judge_reverted_slowdown_passes() -> None:
    found = build(nights(slower=SLOW_SCAN, since=10, until=20))
    machine, moved = find_changes(found)
    assert [(each.session.number, each.reverted and each.reverted.number) for each in moved] == [
        *((10, 20), (20, None))
    ]
    assert not judge(parse_rule("slower"), found).failed
    assert [line[4].text for line in changes_table(machine).lines] == ["SLOWER until #20", "FASTER"]


def test_judge_short_history_passes_and_says_so() -> None:
    found = build(nights(10, SLOW_SCAN, since=5))
    (machine,) = found.machines
    assert machine.lasting is None
    guard = judge(parse_rule("slower"), found)
    assert (guard.failed, guard.judged) == ((), 0)
    assert "passed without a check, because the history is too short" in gate_line(guard)
    message, *_ = history_words.method(machine)
    assert "takes 11 sessions with the same case. There are at most 10 here" in message


def test_judge_slow_drift_is_one_gradual_change() -> None:
    creeping = {a_case("scan"): 1.1, a_case("scan", 16): 1.1}
    found = build(nights(200, creeping, gradually=True))
    (machine,) = found.machines
    assert machine.lasting is not None
    (moved,) = machine.lasting
    assert (moved.before.number, moved.session.number) == (1, 200)
    assert moved.event.ratio.mid == pytest.approx(1.1, rel=0.01)
    guard = judge(parse_rule("slower:5%"), found)
    assert guard.failed == ((machine, moved),)
    assert "scan (2 cases) gradually from #1 to #200" in gate_line(guard)
    assert "a little in each session" in history_words.error_lines(guard)[0]
    assert not judge(parse_rule("slower:12%"), found).failed
    ((when, *_, why),) = changes_table(machine).lines
    assert (when.text, why.text) == ("#1 to #200, gradually", "a little in each session")


def test_history_searches_only_the_last_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (change_points, history_words):
        monkeypatch.setattr(module, "LONGEST", 15)
    found = build(nights(35, SLOW_SCAN, since=12, cases=[*SLOW_SCAN, a_case()]))
    machine, moved = find_changes(found)
    assert moved == ()
    looked, _, _ = history_words.method(machine)
    assert "in the last 15 sessions" in looked
    assert looked.endswith("None was found.")


def test_history_changes_are_relative_to_the_session_before() -> None:
    """A change is from the first session to the last, whatever was between."""
    versions = ("2.20.0", "2.21.0", "2.22.0", "2.20.0")
    items = [measured(a_case(), 1.0, run(n, tensorflow=each)) for n, each in enumerate(versions, 1)]
    _, second, third, fourth = build(gather(*items)).machines[0].sessions
    assert list_changes(_between([second, third])).startswith("tensorflow 2.20.0 → 2.22.0")
    assert _between([second, third, fourth]) == ()


def parse_rows(history: History) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(comma_separated(history)))))


def test_history_csv_has_row_per_case_and_session() -> None:
    rows = parse_rows(build(upgrade()))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row["number"] for row in rows] == ["1", "2", "3"]
    assert rows[1]["verdict"] == "SLOWER"
    assert rows[1]["versions_changed"] == "tensorflow 2.20.0 → 2.21.0"
    assert float(rows[1]["ratio"]) == pytest.approx(1.3)
    assert float(rows[1]["speedup_low"]) == pytest.approx(1 / float(rows[1]["ratio_high"]))
    assert rows[0]["ratio"] == rows[0]["versions_changed"] == rows[2]["versions_changed"] == ""
    assert rows[2]["verdict"] == "SAME"


def test_history_unsteady_time_and_its_ratio_have_reasons() -> None:
    moved = recorded(NOT_STEADY, "it became slower", "wait")
    items = [measured(a_case(), 1.0, run(n), [moved] if n == 2 else []) for n in (1, 2)]
    first, second = parse_rows(build(gather(*items)))
    assert (first["valid"], first["time_valid"], first["ratio_valid"]) == ("true", "true", "")
    assert (second["valid"], second["time_valid"], second["ratio_valid"]) == (
        *("true", "false", "false"),
    )
    assert second["time_reasons"] == second["ratio_reasons"] == "it became slower (wait)"


def test_sparkline_shows_a_jump_and_no_noise() -> None:
    def drawn(*times: float) -> str:
        items = [item for n, s in enumerate(times, 1) for item in session(n, {a_case(): s})]
        machine = build(gather(*items)).machines[0]
        return history_words.sparkline(machine.lines[0], machine)

    assert drawn(1.0, 1.0, 2.0) == "▁▁█"
    assert set(drawn(1.0, 1.01, 1.0)) <= set("▄▅")
    assert drawn(1.0) == "▅"


def test_history_document_has_lasting_changes_first() -> None:
    text = shown(slow_scan(), sessions=False)
    first = text.index("What changed for longer than a session")
    assert first < text.index("start (UTC)") < text.index("keras/")
    markdown = history_words.document(slow_scan()).markdown()
    assert markdown.index("### What changed for longer") < markdown.index("start (UTC)")
    assert "| \\#18 2026-01-19 | scan (2 cases) |" in markdown
    assert "What changed for longer" not in shown(build(upgrade()), sessions=False)


def test_history_terminal_has_changed_cases_first() -> None:
    same, faster, slower = a_case("keras"), a_case("scan"), a_case("loop")
    found = gather(
        *session(1, {same: 1.0, faster: 1.0, slower: 1.0}),
        *session(2, {same: 1.0, faster: 0.9, slower: 2.0}),
    )
    lines = shown(build(found), sessions=False).splitlines()
    message = [line for line in lines if line.startswith(("keras/", "scan/", "loop/"))]
    assert [line.split("/")[0] for line in message] == ["loop", "scan", "keras"]
    assert "2.00 s" in message[0]
    assert "0.500" in message[0]
    assert "SLOWER" in message[0]
    assert "SAME" in message[2]
    whole = shown(build(found), sessions=True)
    assert "changed since" in whole
    assert len(whole.splitlines()) > len(lines)
