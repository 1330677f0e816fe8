"""Test that a shared file's age is that of its commit, and not what its author says."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bench import submit
from bench.machine.fields import InputError
from bench.sharing import submission
from bench.sharing.acceptance import ProjectBranch
from bench.sharing.proofs import HERE, LASTS
from bench.sharing.submission import FOLDER
from tests.bench.mutations import signed
from tests.places import REFERENCE

SESSION = min(REFERENCE.glob("fused-*.json"))
STARTED = datetime.fromisoformat(json.loads(SESSION.read_text())["lstm"]["run"]["started"])
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
LATER = STARTED + 320 * DAY
"""Today, in these tests: the file's own dates are 320 days old and its seed has expired."""


@pytest.fixture(autouse=True)
def _of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "user_cache_path", lambda name: tmp_path / "home" / name)
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))  # without the user's settings of git
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv(HERE, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def shared() -> Path:
    """A shared file with an old seed, in a clone that has no commit yet."""
    Path("results").mkdir()
    publish(STARTED - DAY)
    document = json.loads(SESSION.read_text())
    document["lstm"]["run"]["seed"] = 7
    measured = signed(Path("measured.json"), document)
    (written,) = submission.submit([measured], Path(FOLDER), STARTED + DAY).written
    git("init", "-q", "-b", "main")
    return written


def publish(when: datetime) -> None:
    Path("results/seeds.csv").write_text(f"published,seed\n{when.isoformat()},7\n")


def git(*words: str, when: datetime = LATER, place: Path | None = None) -> str:
    """Run git as an author and committer who says that it is ``when``."""
    named = {
        f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    dates = {f"GIT_{who}_DATE": when.isoformat() for who in ("AUTHOR", "COMMITTER")}
    done = subprocess.run(
        ["git", *words],
        env={**os.environ, **named, **dates},
        cwd=place,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def commit(when: datetime, *paths: object) -> None:
    for path in paths:
        git("add", "--", str(path))
    git("commit", "-q", "--allow-empty", "-m", "a change", when=when)


def refusals(now: datetime, capsys: pytest.CaptureFixture[str], *more: str) -> list[str]:
    """Return the reasons for which the command refuses the files on a day."""
    capsys.readouterr()
    code = submit.main(["--check", FOLDER, *more], clock=lambda: now)
    lines = capsys.readouterr().err.splitlines()
    found = [line for line in lines if line.startswith("refused: ")]
    assert code == bool(found)
    return found


def test_check_file_dated_back_with_an_expired_seed_is_refused(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusals(STARTED + DAY, capsys) == []
    (line,) = refusals(LATER, capsys)
    assert f"{shared}: lstm.run.seed is 7; " in line
    assert f"since {LATER - LASTS:%Y-%m-%d}" in line
    commit(STARTED, ".")  # by its author, in a branch of the author's own
    assert len(refusals(LATER, capsys)) == 1


def test_check_accepted_file_is_judged_by_the_day_of_its_commit(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commit(STARTED - DAY, "results/seeds.csv")
    commit(STARTED + DAY, shared)
    commit(LATER - DAY)
    assert refusals(LATER, capsys, "--accepted", "main") == []
    assert len(refusals(LATER, capsys)) == 1
    moved = shared.with_name("renamed.json")
    git("mv", str(shared), str(moved))
    commit(LATER - DAY)
    assert refusals(LATER, capsys, "--accepted", "main") == []


def test_check_commit_dates_of_a_contributor_do_not_count(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commit(STARTED - DAY, "results/seeds.csv")
    git("checkout", "-q", "-b", "theirs")
    commit(STARTED + MINUTE, shared)  # a date of their choice
    (line,) = refusals(LATER, capsys, "--accepted", "main")
    assert "lstm.run.seed is 7" in line
    git("checkout", "-q", "main")
    commit(LATER - DAY)
    git("merge", "-q", "--no-ff", "-m", "merged", "theirs", when=LATER)
    assert len(refusals(LATER, capsys, "--accepted", "main")) == 1  # merged today


def test_check_commits_dated_back_are_as_late_as_those_before(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commit(LATER - DAY, "results/seeds.csv")
    commit(STARTED)  # forged, and merged without a merge commit
    commit(STARTED + MINUTE, shared)
    assert len(refusals(LATER, capsys, "--accepted", "main")) == 1


def test_check_changed_accepted_file_is_judged_today(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commit(STARTED, ".")
    assert refusals(LATER, capsys, "--accepted", "main") == []
    shared.write_text(shared.read_text() + "\n")  # its digest still holds
    assert len(refusals(LATER, capsys, "--accepted", "main")) == 1


def test_check_seeds_are_those_of_the_branch(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(STARTED - 2 * LASTS)
    commit(STARTED - DAY, "results/seeds.csv")
    publish(STARTED - DAY)  # a contributor gives the expired seed another date
    assert refusals(STARTED + DAY, capsys) == []
    (line,) = refusals(STARTED + DAY, capsys, "--accepted", "main")
    assert "lstm.run.seed is 7" in line


def test_check_without_a_list_of_seeds_says_so(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("results/seeds.csv").unlink()
    assert submit.main(["--check", FOLDER], clock=lambda: LATER) == 0
    err = capsys.readouterr().err
    assert "there is no list of seeds" in err
    assert "the age of the files was not checked" in err
    commit(STARTED, shared)
    assert submit.main(["--check", FOLDER, "--accepted", "main"], clock=lambda: LATER) == 0
    assert "results/seeds.csv of main)" in capsys.readouterr().err


def test_check_wrong_clock_of_a_committer_is_ignored(shared: Path) -> None:
    commit(LATER + 900 * DAY, "results/seeds.csv")
    commit(STARTED + DAY, shared)
    git("commit", "-q", "--allow-empty", "-m", "far", when=datetime(2099, 1, 1, tzinfo=UTC))
    accepted = ProjectBranch(Path(FOLDER), "main").acceptance(LATER)
    assert accepted(shared.read_bytes()) == (STARTED + DAY).replace(microsecond=0)
    assert accepted(b"unknown") is None


@pytest.mark.parametrize("branch", ["nowhere", "--all", "", "-n1", "main\033[31m"])
def test_check_unknown_branch_is_bad_input(
    branch: str, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commit(STARTED, ".")
    assert submit.main(["--check", FOLDER, f"--accepted={branch}"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: the history of ")
    assert err.count("\n") == 1
    assert "\033" not in err


def test_check_incomplete_history_is_bad_input(shared: Path) -> None:
    commit(STARTED, ".")
    commit(LATER)
    git("clone", "-q", "--depth", "1", f"file://{Path.cwd()}", "shallow")
    with pytest.raises(InputError, match="git fetch --unshallow"):
        ProjectBranch(Path("shallow") / FOLDER, "HEAD").acceptance(LATER)


def test_check_outside_of_a_clone_is_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="cannot be read in"):
        ProjectBranch(tmp_path, "main").acceptance(LATER)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="git is not installed"):
        ProjectBranch(tmp_path, "main").acceptance(LATER)


def test_submit_accepted_without_check_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert submit.main([str(SESSION), "--accepted", "main"]) == 2
    assert "add --check" in capsys.readouterr().err
