"""Each kind of attack can fail: given something broken, it reports it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import results
from tests.attack import attack_kills, attack_mutations, commands
from tests.attack.attack_mutations import Source, wrong_with
from tests.attack.commands import Ended, wrong_end
from tests.attack.trials import Attack
from tests.bench.mutations import BYTES, changed_bytes, changed_json

GOLDEN = attack_mutations.GOLDEN


# Trials


def test_what_fails_is_told_with_its_trial_and_the_seed() -> None:
    attack = Attack(7)
    with pytest.raises(AssertionError, match=r"(?s)kind:.*3: odd.*5: odd.*--attack-seed 7"):
        attack.run("kind", range(1, 7), lambda n: ["odd"] if n in (3, 5) else [])
    assert attack.counts == {"kind": {"trials": 6, "failed": 2}}


def test_what_does_not_end_is_told() -> None:
    def stuck(_: int) -> list[str]:
        raise subprocess.TimeoutExpired("a command", 300)

    with pytest.raises(AssertionError, match="1: did not end within 300 s"):
        Attack(0).run("kind", [1], stuck)


def test_a_seed_draws_the_same_trials_again() -> None:
    assert Attack(3).random("a").random() == Attack(3).random("a").random()
    assert Attack(3).random("a").random() != Attack(4).random("a").random()
    assert Attack(3).random("a").random() != Attack(3).random("b").random()


# Kills


def test_a_finished_case_that_no_reader_finds_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes((GOLDEN / "replicate-1.json").read_bytes())
    (case, *_) = (each.case.id for each in results.collect([tmp_path]).measurements)
    assert list(attack_kills.lost(Counter({case: 1}), tmp_path)) == []
    assert list(attack_kills.lost(Counter({case: 2}), tmp_path)) == [f"lost 1 of 2 times {case}"]
    (tmp_path / "b.json").write_text("{")
    assert "unreadable" in next(attack_kills.lost(Counter(), tmp_path))


def test_what_is_missing_or_left_over_in_the_end_is_reported(tmp_path: Path) -> None:
    folder, temporary = tmp_path / "results", tmp_path / "tmp"
    (temporary / "lstm-judged-x").mkdir(parents=True)
    (folder / ".sessions").mkdir(parents=True)
    (folder / ".sessions" / ".x.tmp").touch()
    (folder / "a.journal.jsonl").touch()
    assert len(list(attack_kills.left_over(folder, temporary))) == 3
    assert len(list(attack_kills.unfinished(folder))) == 1


WRITING = """
import sys
from bench.result_writer import LineFile
with LineFile(sys.argv[2]) as file:
    file.append({"schema": 1})
    for case in "ab":
        file.append({"benchmark": {"extra_info": {"lstm": {"case_id": case}}}})
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it asks /proc which file is open")
@pytest.mark.parametrize(
    ("at", "when", "promised"),
    [
        (7, "before", {}),
        (7, "after", {"a": 1}),
        (8, "after", {"a": 1}),
        (99, "after", {"a": 1, "b": 1}),
    ],
)
def test_a_strike_comes_at_its_change_and_promises_stand_written(
    tmp_path: Path, at: int, when: str, promised: dict[str, int]
) -> None:
    # make, sync the folder; then write and sync of each of three lines.
    session = attack_kills.Session(tmp_path)
    plan = {"role": "worker", "at": at, "when": when, "signal": signal.SIGKILL, "group": False}
    done = subprocess.run(
        [sys.executable, "-c", WRITING, "pytest", str(session.results / "a.journal.jsonl")],
        env=session.environ | {"ATTACK_PLAN": json.dumps(plan)},
        timeout=300,
    )
    assert session.struck is (at < 99)
    assert done.returncode == (-signal.SIGKILL if at < 99 else 0)
    assert session.promised == promised
    assert session.changes("worker") == min(at, 9)


# Mutations


def _raises(folder: Path, path: Path) -> list[str]:
    raise KeyError("schema")


def _warns(folder: Path, path: Path) -> list[str]:
    warnings.warn("overflow", RuntimeWarning, stacklevel=1)
    return []


def _never_ends(folder: Path, path: Path) -> list[str]:
    signal.raise_signal(signal.SIGALRM)  # as the clock would, after minutes
    return []


@pytest.mark.parametrize(
    ("read", "told"),
    [
        (_raises, "KeyError"),
        (_warns, "RuntimeWarning"),
        (_never_ends, "did not end"),
        (lambda folder, path: ["it is wrong"], "does not name the file"),
        (lambda folder, path: [f"{path} is\nwrong"], "no plain line"),
        (lambda folder, path: [f"{path} is \x1b[31mwrong"], "no plain line"),
    ],
)
def test_a_broken_reader_is_reported(
    tmp_path: Path, read: Callable[[Path, Path], list[str]], told: str
) -> None:
    (wrong,) = wrong_with(Source("results", "a.json", b"", read), tmp_path, b"{}")
    assert told in wrong


def test_every_kind_of_file_is_read_as_it_is(tmp_path: Path) -> None:
    for source in attack_mutations.sources(tmp_path / "made"):
        assert list(wrong_with(source, tmp_path, source.data)) == [], source.name


@pytest.mark.parametrize("how", BYTES)
def test_bytes_are_changed_and_by_a_seed(how: str) -> None:
    data = (GOLDEN / "cut.journal.jsonl").read_bytes()
    made = [changed_bytes(data, how, random.Random(seed)) for seed in range(20)]
    assert any(each != data for each in made)
    assert made == [changed_bytes(data, how, random.Random(seed)) for seed in range(20)]


def test_json_and_journals_are_changed_and_are_json_still() -> None:
    for name in ("replicate-1.json", "learning-1.json"):
        data = (GOLDEN / name).read_bytes()
        made = [changed_json(data, random.Random(seed)) for seed in range(20)]
        assert all(json.loads(each) != json.loads(data) for each in made[:1])
        assert len(set(made)) == 20
    lines = (GOLDEN / "cut.journal.jsonl").read_bytes().splitlines()
    changed = changed_json(b"\n".join(lines), random.Random(1)).splitlines()
    assert sum(old != new for old, new in zip(lines, changed, strict=True)) == 1


# Commands


def test_every_command_names_its_exit_codes() -> None:
    assert {0, 2, 141} <= commands.documented("bench.report")
    assert {0, 1, 2, 3, 4, 5, 130} <= commands.documented("bench.run")


@pytest.mark.parametrize(
    ("ended", "told"),
    [
        (Ended(1, b"", b"error: a\n"), "exit code 1"),
        (Ended(-11, b"", b""), "exit code -11"),
        (Ended(2, b"", b"Traceback (most recent call last)\n"), "a traceback"),
        (Ended(0, b"x", b"Exception ignored in: <stdout>"), "a traceback"),
        (Ended(0, b"x", b"a.py:1: RuntimeWarning: overflow"), "a warning"),
        (Ended(2, b"", b""), "without a word"),
    ],
)
def test_a_command_that_breaks_its_promise_is_reported(ended: Ended, told: str) -> None:
    assert told in next(wrong_end("bench.report", ended))


def test_a_command_that_keeps_its_promise_is_not() -> None:
    assert list(wrong_end("bench.report", Ended(2, b"", b"error: a\n"))) == []
    assert list(wrong_end("bench.report", Ended(0, b"a table", b""))) == []


def test_a_module_that_fails_is_seen_to(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise KeyError('HOME')")
    ended = commands.start(["broken"], os.environ | {"PYTHONPATH": str(tmp_path)})
    assert any("a traceback" in wrong for wrong in wrong_end("bench.report", ended))
