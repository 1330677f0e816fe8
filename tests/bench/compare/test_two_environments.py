"""Two environments side by side: what differs between them, and times that are paired by turns."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest

from bench.cli.output import plain_text
from bench.compare import compare_environments
from bench.machine.fields import ResultError
from bench.machine.packages import FILE, Environment, differences, labels, load, save
from bench.render import compare as output
from bench.render.compare import as_csv as comma_separated
from bench.render.messages import basis_text
from bench.stats.comparison import Pairing, Verdict
from tests.bench.harmless import assert_markdown, assert_plain, assert_sheet
from tests.bench.made_environments import NEW, OLD, environment, side
from tests.bench.made_texts import CLOSING, LINK, PAYLOADS


def line(base: Environment, new: Environment) -> str:
    found = differences(base.python, new.python)
    return output.differences_line(base.label, new.label, found)


def test_processes_in_turn_are_paired_so_that_a_machine_that_slows_down_slows_both() -> None:
    report = compare_environments(side("base", 1.0), side("new", 1.1), (OLD, NEW))
    for row in report.rows:
        assert row.comparison.pairing is Pairing.ADJACENT
        assert row.comparison.paired
        assert row.comparison.processes == 10
        assert row.comparison.verdict is Verdict.SLOWER
        assert row.comparison.ratio.low < 1.1 < row.comparison.ratio.high
    assert "right before or after it" in basis_text(report.rows[0].comparison.basis)
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
    assert line(OLD, OLD).startswith("No package differs from release to release")


def test_of_many_differences_the_first_are_named() -> None:
    many = environment("nightly", tensorflow="2.20.0", **{f"p{n}": "1" for n in range(30)})
    told = line(OLD, many)
    assert told.endswith("; 18 more.")
    assert told.count("→") == 12


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


def test_a_python_of_windows_is_called_by_its_environment_s_folder_too() -> None:
    paths = [Path("/a/release/Scripts/python.exe"), Path("/b/nightly")]
    assert labels(paths) == ["release", "nightly"]


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


def test_what_a_file_of_environments_says_is_text_in_every_form() -> None:
    base, new = side("base", 1.0, 2), side("new", 1.2, 2)
    for payload in (*PAYLOADS, LINK, CLOSING):
        hostile = environment(f"{payload}new", **{f"{payload}x": f"{payload}1"})
        report = compare_environments(base, new, (OLD, hostile))
        assert_plain(plain_text(functools.partial(output.terminal, report)))
        assert_markdown(output.markdown(report))
        assert_sheet("".join(comma_separated(report)))
