"""Test ``bench.compare``: what it reads, where its answer goes, and its exit codes."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from bench import compare
from bench.cli import filters
from bench.cli.command_line import UsageError
from bench.cli.output import render_text
from bench.compare import compare_environments
from bench.machine import packages as two_environments
from bench.machine.fields import ResultError
from bench.machine.packages import FILE, SIDES, LabelledPython, Python, differences, labels, load
from bench.records.schema import Results, Run
from bench.render import compare as output
from bench.render.compare import as_csv as comma_separated
from tests.bench.harmless import assert_csv, assert_markdown, assert_plain
from tests.bench.made_grids import STEPS, grid
from tests.bench.made_nodes import a_case
from tests.bench.made_results import a_run, gather, measured, run, save
from tests.bench.made_streams import streams
from tests.bench.made_texts import CLOSING, LINK, PAYLOADS
from tests.places import ROOT


def environment(label: str, **packages: str) -> LabelledPython:
    known = {"pytest": "9.0", "zzz": "1", **packages}
    return LabelledPython(label, Python(f"/{label}/bin/python", "3.11.7", known, "/bench"))


OLD, NEW = environment("release", tensorflow="2.20.0"), environment("nightly", tensorflow="2.21.0")


def take_turn(side: str, turn: int) -> Run:
    """Return processes of two sides in turn, on a machine that becomes slower."""
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=turn, minutes=side == "new")
    return a_run(turn, id=f"{side}{turn}", session=side, started=moment, finished=moment)


def side(name: str, factor: float, turns: int = 10, seed: int = 0) -> Results:
    luck = np.random.default_rng([seed, len(name)]).normal(0, 0.01, turns)
    return gather(
        *(
            measured(
                case, factor * (1 + 0.05 * turn) * float(np.exp(luck[turn])), take_turn(name, turn)
            )
            for turn in (range(turns) if name == "new" else reversed(range(turns)))
            for case in (a_case("keras"), a_case("while_loop"))
        )
    )


@pytest.fixture(autouse=True)
def _elsewhere(in_a_folder_of_its_own: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def test_compare_bad_file_gives_one_line_and_code_2(
    slower: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(slower[2], "z.json").write_text("{")
    assert compare.main([*slower, "--fail-on", "slower"]) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert err.startswith(f"error: {slower[2]}/z.json")
    assert "SLOWER" in out


def test_compare_without_paths_reads_latest_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = [measured(a_case(name), 1.0, run("a")) for name in ("keras", "scan")]
    save(tmp_path / "results", gather(*items))
    assert compare.main(["backends"]) == 0
    assert "scan" in capsys.readouterr().out
    assert compare.main(["devices"]) == 0
    assert "No two devices have results (cpu)" in capsys.readouterr().out


def test_compare_output_unwritable_file_is_an_error(
    slower: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare.main([*slower, "--output", "out.txt"]) == 0
    assert capsys.readouterr().out == ""
    message = Path("out.txt").read_text()
    assert "SLOWER" in message
    assert "\x1b" not in message
    assert compare.main([*slower, "--output", "a/new/folder.txt"]) == 0  # as of every command
    assert Path("a/new/folder.txt").read_text() == message
    assert compare.main([*slower, "--output", "out.txt/folder.txt"]) == 2
    assert "out.txt/folder.txt cannot be written" in capsys.readouterr().err


def test_compare_published_without_results_names_a_suite(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert compare.main(["published"]) == 2
    assert "pytest --benchmark-only --lstm-suite braun" in capsys.readouterr().err


def test_compare_published_with_fail_on_is_refused() -> None:
    with pytest.raises(SystemExit) as raised:
        compare.main(["published", "--fail-on", "slower"])
    assert raised.value.code == 2


def test_compare_as_main_unwritable_file_is_one_line(tmp_path: Path) -> None:
    # The command runs as __main__, and its errors are bench.compare's.
    save(tmp_path, gather(measured(a_case(), 1.0, run("a"))))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bench.compare", "published", str(tmp_path / "a.json")),
            *("--output", str(tmp_path / "a.json" / "x")),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "cannot be written: Not a directory" in done.stderr


# Two environments


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere/environments.json does not exist"),
        (["old", "new"], "python -m bench.run SUITE --python BASE --python NEW"),
    ],
)
def test_compare_environments_other_folder_is_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare.main(["environments", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


# Starting


def test_compare_documented_exit_codes_are_the_commands() -> None:
    """The texts are equal without the marks of code."""
    page = (ROOT / "docs/comparing.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (\d) \| (.*) \|$", page, re.MULTILINE)
    message = compare.EPILOG.split("exit codes:\n")[1].split("\n\n")[0]
    codes = re.findall(r"^  (\d)  (.*(?:\n     .*)*)", message, re.MULTILINE)
    assert [(code, " ".join(words.split())) for code, words in codes] == [
        (code, words.replace("`", "")) for code, words in table
    ]


def ask(words: list[str]) -> int:
    return compare._compare(compare._parser().parse_args(words))


def test_compare_fail_on_slower_is_code_1_in_one_direction(
    slower: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(slower) == 0
    assert ask([*slower, "--fail-on", "slower"]) == 1
    assert "--fail-on slower: FAILED, 1 SLOWER: keras/b8" in capsys.readouterr().out
    assert ask([*slower, "--fail-on", "slower:50%"]) == 0
    out = capsys.readouterr().out
    assert "--fail-on slower:50%: passed, no case is SLOWER by more than 50%" in out
    with pytest.raises(UsageError, match="--fail-on"):
        ask([*slower, "--fail-on", "faster"])
    assert ask([*slower[::2], slower[1], "--fail-on", "slower"]) == 0  # the other way


def test_compare_fail_on_without_shared_case_is_an_error(tmp_path: Path) -> None:
    base = save(tmp_path / "old", gather(measured(a_case(batch=1), 1.0, run("b"))))
    new = save(tmp_path / "new", gather(measured(a_case(batch=2), 1.0, run("n"))))
    assert ask(["runs", str(base), str(new)]) == 0
    with pytest.raises(UsageError, match="share no case, so there is nothing to judge"):
        ask(["runs", str(base), str(new), "--fail-on", "slower"])


def test_compare_slower_device_annotates_only_with_a_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(save(tmp_path / "made", gather(*grid(STEPS))))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    assert ask(["devices", folder]) == 0
    assert "::warning" not in capsys.readouterr().out
    assert "wins from hidden size" in Path("summary.md").read_text(encoding="utf-8")
    assert ask(["devices", folder, "--fail-on", "slower"]) == 1
    assert capsys.readouterr().out.count("::error title=SLOWER") == 3


def test_compare_percentile_is_judged(
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
def interleaved(tmp_path: Path) -> Path:
    two_environments.save(tmp_path / "left", (OLD, NEW))
    for name, factor in zip(SIDES, (1.0, 1.2), strict=True):
        save(tmp_path / "left" / name, side(name, factor))
    return tmp_path / "left"


def test_compare_environments_shows_package_changes_first(
    interleaved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(["environments", str(interleaved)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "nightly against release, measured interleaved"
    assert lines[1] == "What differs from release to nightly: tensorflow 2.20.0 → 2.21.0."
    assert sum("SLOWER" in line for line in lines[2:12]) >= 2


def test_compare_environments_filter_limits_the_rule(
    interleaved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["environments", str(interleaved), "--fail-on", "slower:5%", "--backend", "keras"]
    assert ask([*words, "--format", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["fail_on"]["failed"] == [a_case().id]
    assert found["opening"] == ["What differs from release to nightly: tensorflow 2.20.0 → 2.21.0."]
    assert {case["pairing"] for case in found["cases"] if case["kind"] == "case"} == {"adjacent"}
    assert ask(["environments", str(interleaved), "--fail-on", "slower:50%"]) == 0


def test_package_differences_have_frameworks_first() -> None:
    new = environment("nightly", **{"aaa": "3", "tf-nightly-cpu": "2.22.0.dev1", "zzz": "2"})
    assert differences(OLD.python, new.python) == [
        ("tensorflow", "2.20.0", "not installed"),
        ("tf-nightly-cpu", "not installed", "2.22.0.dev1"),
        ("aaa", "not installed", "3"),
        ("zzz", "1", "2"),
    ]
    report = compare_environments(side("base", 1.0), side("new", 1.1), (OLD, NEW))
    assert report.opening == ("What differs from release to nightly: tensorflow 2.20.0 → 2.21.0.",)
    same = compare_environments(side("base", 1.0), side("new", 1.1), (OLD, OLD))
    assert same.opening[0].startswith("No package differs from release to release")


@pytest.mark.parametrize(
    ("paths", "wanted"),
    [
        (("/a/release", "/a/nightly"), ["release", "nightly"]),
        (("/a/release/bin/python", "/b/nightly"), ["release", "nightly"]),
        (("/a/venv", "/b/venv"), ["/a/venv", "/b/venv"]),
        (("/a/venv", "/a/venv"), ["venv (A)", "venv (B)"]),
        (("/a/release/Scripts/python.exe", "/b/nightly"), ["release", "nightly"]),
    ],
)
def test_environment_label_is_its_folder(paths: tuple[str, str], wanted: list[str]) -> None:
    assert labels([Path(path) for path in paths]) == wanted


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema is 2; expected at most 1"),
        ({"sides": []}, "sides are 0; expected two environments"),
        ({"sides": [{"label": "a"}] * 2}, "sides[0].python"),
        ({"sides": 3}, "sides is 3; expected a list"),
    ],
)
def test_environments_file_invalid_is_reported(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    two_environments.save(tmp_path, (OLD, NEW))
    path = tmp_path / FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ResultError) as caught:
        load(tmp_path)
    assert message in str(caught.value)


def test_environments_file_hostile_text_is_text() -> None:
    base, new = side("base", 1.0, 2), side("new", 1.2, 2)
    for payload in (*PAYLOADS, LINK, CLOSING):
        hostile = environment(f"{payload}new", **{f"{payload}x": f"{payload}1"})
        report = compare_environments(base, new, (OLD, hostile))
        assert_plain(render_text(output.document(report).terminal))
        assert_markdown(output.document(report).markdown())
        assert_csv("".join(comma_separated(report)))
