"""What ``bench.compare`` is asked: its verdict's rule, a percentile, two environments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import compare
from bench.cli import filters
from bench.cli.command_line import UsageError
from bench.machine import packages as two_environments
from bench.machine.packages import SIDES
from tests.bench.made_environments import NEW, OLD, side
from tests.bench.made_grids import STEPS, grid
from tests.bench.made_nodes import a_case
from tests.bench.made_results import gather, measured, run, save
from tests.bench.made_streams import streams


@pytest.fixture(autouse=True)
def _elsewhere(in_a_folder_of_its_own: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.setenv("COLUMNS", "100")


def ask(words: list[str]) -> int:
    return compare._compare(compare._parser().parse_args(words))


def test_a_rule_that_is_broken_is_code_1_and_another_way_round_none(
    slower: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(slower) == 0
    assert ask([*slower, "--fail-on", "slower"]) == 1
    assert "--fail-on slower: FAILED, 1 slower: keras/b8" in capsys.readouterr().out
    assert ask([*slower, "--fail-on", "slower:50%"]) == 0
    out = capsys.readouterr().out
    assert "--fail-on slower:50%: passed, none is SLOWER by more than 50%" in out
    with pytest.raises(UsageError, match="--fail-on"):
        ask([*slower, "--fail-on", "faster"])
    assert ask([*slower[::2], slower[1], "--fail-on", "slower"]) == 0  # the other way


def test_a_gate_without_a_shared_case_is_an_error_not_a_pass(tmp_path: Path) -> None:
    base = save(tmp_path / "old", gather(measured(a_case(batch=1), 1.0, run("b"))))
    new = save(tmp_path / "new", gather(measured(a_case(batch=2), 1.0, run("n"))))
    assert ask(["runs", str(base), str(new)]) == 0
    with pytest.raises(UsageError, match="there is no shared case to judge"):
        ask(["runs", str(base), str(new), "--fail-on", "slower"])


def test_a_device_that_loses_is_no_alarm_in_ci_unless_a_rule_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(save(tmp_path / "made", gather(*grid(STEPS))))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    assert ask(["devices", folder]) == 0
    assert "::warning" not in capsys.readouterr().out
    assert "wins from hidden size" in Path("summary.md").read_text(encoding="utf-8")
    assert ask(["devices", folder, "--fail-on", "slower"]) == 1
    assert capsys.readouterr().out.count("::error title=SLOWER") == 3


def test_an_unknown_baseline_and_one_run_on_both_sides_are_refused_with_what_there_is(
    tmp_path: Path,
) -> None:
    items = [measured(a_case(name), 1.0, run("a")) for name in ("keras", "scan")]
    folder = str(save(tmp_path / "made", gather(*items)))
    for what, known in (("backends", "backend .*keras, scan"), ("devices", "device .*cpu")):
        with pytest.raises(UsageError, match=f"--baseline tpu: no {known}"):
            ask([what, folder, "--baseline", "tpu"])
    with pytest.raises(UsageError, match=r"holds the same run as .* must be different runs"):
        ask(["runs", folder, folder])


def test_a_percentile_is_compared_and_judged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = streams({"keras": 5.0, "torch": 8.0})
    monkeypatch.setattr(filters, "read_results", lambda paths: made)
    words = ["backends", str(Path("somewhere")), "--percentile", "99", "--format", "json"]
    assert ask([*words, "--fail-on", "slower"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert "p99 of the latency" in document["title"]
    assert [case["verdict"] for case in document["cases"]] == ["SLOWER"]


@pytest.fixture
def in_turn(tmp_path: Path) -> Path:
    """What a measurement of two environments has left."""
    two_environments.save(tmp_path / "left", (OLD, NEW))
    for name, factor in zip(SIDES, (1.0, 1.2), strict=True):
        save(tmp_path / "left" / name, side(name, factor))
    return tmp_path / "left"


def test_what_was_measured_is_shown_again_what_differs_before_the_table(
    in_turn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(["environments", str(in_turn)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "nightly against release, measured in turn"
    assert lines[1] == "What differs from release to nightly: tensorflow 2.20.0 → 2.21.0."
    assert sum("SLOWER" in line for line in lines[2:12]) >= 2


def test_of_two_environments_a_filter_chooses_what_the_rule_judges(
    in_turn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["environments", str(in_turn), "--fail-on", "slower:5%", "--backend", "keras"]
    assert ask([*words, "--format", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["fail_on"]["failed"] == [a_case().id]
    assert found["opening"] == ["What differs from release to nightly: tensorflow 2.20.0 → 2.21.0."]
    assert {case["pairing"] for case in found["cases"] if case["kind"] == "case"} == {"adjacent"}
    assert ask(["environments", str(in_turn), "--fail-on", "slower:50%"]) == 0


def test_a_file_that_cannot_be_read_is_code_2_whatever_the_rule_says(slower: list[str]) -> None:
    Path(slower[2], "z.json").write_text("{")
    assert ask(slower) == 2
    assert ask([*slower, "--fail-on", "slower"]) == 2
