"""Two environments side by side: what differs between them, and times that are paired by turns."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from bench import compare
from bench.comparing.two_environments import (
    FILE,
    SIDES,
    Environment,
    compare_environments,
    differences,
    differences_line,
    labels,
    load,
    save,
)
from bench.disk.fields import ResultError
from bench.judging.basis import Pairing
from bench.judging.verdict import Verdict
from bench.machine.packages import Python
from bench.results.schema import Results, Run
from bench.suites.cases import Case
from lstm_impl import LSTMSpec, Workload
from tests.bench import made_results
from tests.bench.made_results import gather, measured

KERAS = Case("keras", LSTMSpec(4, 8), Workload(8, 10), "cpu")
LOOP = Case("while_loop", LSTMSpec(4, 8), Workload(8, 10), "cpu")


def environment(label: str, **packages: str) -> Environment:
    known = {"pytest": "9.0", "zzz": "1", **packages}
    return Environment(label, Python(f"/{label}/bin/python", "3.11.7", known, "/bench"))


OLD, NEW = environment("release", tensorflow="2.20.0"), environment("nightly", tensorflow="2.21.0")


def run(side: str, turn: int) -> Run:
    """Both sides of a turn within minutes of each other, on a machine that becomes slower."""
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=turn, minutes=side == "new")
    return Run(
        *(f"{side}{turn}", side, "quick", 0, moment, moment, True, "laptop", "id", {}),
        {"before": {}, "after": {}},
    )


def side(name: str, factor: float, turns: int = 10, seed: int = 0) -> Results:
    """Whose times grow by half from first to last, and have a little luck of their own."""
    luck = np.random.default_rng([seed, len(name)]).normal(0, 0.01, turns)
    return gather(
        *(
            measured(case, factor * (1 + 0.05 * turn) * float(np.exp(luck[turn])), run(name, turn))
            for turn in (range(turns) if name == "new" else reversed(range(turns)))
            for case in (KERAS, LOOP)
        )
    )


def test_processes_in_turn_are_paired_so_that_a_machine_that_slows_down_slows_both() -> None:
    report = compare_environments(side("base", 1.0), side("new", 1.1), (OLD, NEW))
    for row in report.rows:
        assert row.comparison.pairing is Pairing.ADJACENT
        assert row.comparison.paired
        assert row.comparison.processes == 10
        assert row.comparison.verdict is Verdict.SLOWER
        assert row.comparison.ratio.low < 1.1 < row.comparison.ratio.high
    assert "right before or after it" in report.rows[0].comparison.how
    (mean,) = report.means
    assert mean.comparison.verdict is Verdict.SLOWER
    assert report.over_time


def test_the_same_versions_in_both_have_no_verdict() -> None:
    for seed in range(20):
        report = compare_environments(
            side("base", 1.0, seed=seed), side("new", 1.0, seed=seed), (OLD, OLD)
        )
        told = {row.comparison.verdict for row in report.rows}
        assert told <= {Verdict.UNCLEAR, Verdict.SAME}


def test_a_turn_that_only_one_side_came_to_does_not_count() -> None:
    report = compare_environments(side("base", 1.0, 8), side("new", 1.1, 6), (OLD, NEW))
    assert {row.comparison.processes for row in report.rows} == {6}


def test_fewer_than_six_turns_bring_the_allowance_of_separate_processes() -> None:
    report = compare_environments(side("base", 1.0, 3), side("new", 1.1, 3), (OLD, NEW))
    assert {row.comparison.allowance for row in report.rows} == {Pairing.ADJACENT.allowance}
    assert {row.comparison.verdict for row in report.rows} == {Verdict.UNCLEAR}


def test_what_differs_is_told_first_what_can_change_a_time_before_the_rest() -> None:
    new = environment("nightly", **{"aaa": "3", "tf-nightly-cpu": "2.22.0.dev1", "zzz": "2"})
    assert differences(OLD.python, new.python) == [
        ("tensorflow", "2.20.0", "not installed"),
        ("tf-nightly-cpu", "not installed", "2.22.0.dev1"),
        ("aaa", "not installed", "3"),
        ("zzz", "1", "2"),
    ]
    report = compare_environments(side("base", 1.0), side("new", 1.1), (OLD, NEW))
    assert report.opening == ("What differs from release to nightly: tensorflow 2.20.0 → 2.21.0.",)
    assert differences_line(OLD, OLD).startswith("No package differs from release to release")


def test_of_many_differences_the_first_are_named() -> None:
    many = environment("nightly", tensorflow="2.20.0", **{f"p{n}": "1" for n in range(30)})
    assert differences_line(OLD, many).endswith("; 18 more.")


@pytest.mark.parametrize(
    ("paths", "wanted"),
    [
        (("/a/release", "/a/nightly"), ["release", "nightly"]),
        (("/a/release/bin/python", "/b/nightly"), ["release", "nightly"]),
        (("/a/venv", "/b/venv"), ["/a/venv", "/b/venv"]),
        (("/a/venv", "/a/venv"), ["venv (A)", "venv (B)"]),
    ],
)
def test_a_side_is_called_by_its_folder(paths: tuple[str, str], wanted: list[str]) -> None:
    assert labels([Path(path) for path in paths]) == wanted


def test_what_the_sides_were_is_written_and_read(tmp_path: Path) -> None:
    save(tmp_path, (OLD, NEW))
    assert load(tmp_path) == (OLD, NEW)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema": 2}, "schema is 2; expected at most 1"),
        ({"sides": []}, "sides are 0; expected two environments"),
        ({"sides": [{"label": "a"}] * 2}, "sides[0].python"),
        ({"sides": 3}, "sides is 3; expected a list"),
    ],
)
def test_a_file_that_is_no_such_file_is_told(
    tmp_path: Path, change: dict[str, object], told: str
) -> None:
    save(tmp_path, (OLD, NEW))
    path = tmp_path / FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ResultError) as caught:
        load(tmp_path)
    assert told in str(caught.value)


# The command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a measurement has left."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    save(tmp_path / "left", (OLD, NEW))
    for name, factor in zip(SIDES, (1.0, 1.2), strict=True):
        made_results.save(tmp_path / "left" / name, side(name, factor))
    return tmp_path / "left"


def test_what_was_measured_is_shown_again_what_differs_before_the_table(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare.main(["environments", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "nightly against release, measured in turn"
    assert lines[1] == "What differs from release to nightly: tensorflow 2.20.0 → 2.21.0."
    assert sum("SLOWER" in line for line in lines[2:6] + lines[6:12]) >= 2


def test_a_rule_that_is_broken_is_code_1_and_a_filter_chooses(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["environments", str(folder), "--fail-on", "slower:5%", "--backend", "keras"]
    assert compare.main([*words, "--format", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["fail_on"]["failed"] == [KERAS.id]
    assert found["opening"] == ["What differs from release to nightly: tensorflow 2.20.0 → 2.21.0."]
    assert {case["pairing"] for case in found["cases"] if case["kind"] == "case"} == {"adjacent"}
    assert compare.main(["environments", str(folder), "--fail-on", "slower:50%"]) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "nowhere/environments.json does not exist"),
        (["a", "b", "c"], "two environments are compared: BASE and NEW"),
        (["nowhere", "there"], "nowhere is no Python and no virtual environment"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    words: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert compare.main(["environments", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert told in error
    assert error.count("\n") == 1


def test_what_a_file_of_environments_says_is_text_in_every_form(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.bench.harmless import assert_markdown, assert_plain, assert_sheet
    from tests.bench.made_texts import CLOSING, LINK, PAYLOADS

    for payload in (*PAYLOADS, LINK, CLOSING):
        hostile = environment(f"{payload}new", **{f"{payload}x": f"{payload}1"})
        save(folder, (OLD, hostile))
        for kind, check in (
            *(("terminal", assert_plain), ("markdown", assert_markdown), ("csv", assert_sheet)),
        ):
            assert compare.main(["environments", str(folder), "--format", kind]) == 0
            check(capsys.readouterr().out)
