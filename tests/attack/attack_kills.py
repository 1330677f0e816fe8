"""Attack a session with signals: no finished case may be lost, and ``--resume`` must complete it.

Before or after a call that creates, writes, syncs, renames or removes a file, the manager or a
worker gets a signal, alone or with its process group. The process itself records finished cases
outside of the attacked code (``interposed``): a case is finished when its line of the journal is on
disk.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench import records
from bench.machine.lock import HeldError, MachineLock
from tests.attack.trials import PATIENCE, Attack
from tests.bench.made_suites import small_suite
from tests.outside import outside

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it asks /proc which file is open")

KIND = "kills"
STRIKES = 48

SUITE = small_suite(seconds=0.05)
CASES, PROCESSES = 2, 2

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class Strike:
    """role: of the process; at: number of the change among those of the role; when: before or after
    it; group: whether its process group gets the signal."""

    role: str
    at: int
    when: str
    number: int
    group: bool

    def __str__(self) -> str:
        whom = f"the {self.role}'s group" if self.group else f"the {self.role}"
        return f"{signal.Signals(self.number).name} to {whom} {self.when} change {self.at}"


class Session:
    """A folder with a session and its results."""

    def __init__(self, folder: Path) -> None:
        self.results, self.notes = folder / "results", folder / "notes"
        self.temporary, site = folder / "tmp", folder / "site"
        for each in (self.notes, self.temporary, site):
            each.mkdir(parents=True)
        shutil.copy(Path(__file__).with_name("interposed.py"), site / "sitecustomize.py")
        self.suite = folder / "mine.toml"
        self.suite.write_text(SUITE)
        self.environ = outside(site) | {
            "TMPDIR": str(self.temporary),
            "LSTM_ROOFS": "off",
            "LSTM_LOCK": str(folder / "lock"),
            "ATTACK_FOLDER": str(self.results),
            "ATTACK_NOTES": str(self.notes),
        }

    def run(self, *arguments: str, strike: Strike | None = None) -> tuple[int, str]:
        """Run ``bench.run`` in its own process group; return its code and output."""
        plan = None
        if strike is not None:
            plan = {"role": strike.role, "at": strike.at, "when": strike.when}
            plan |= {"signal": strike.number, "group": strike.group}
        command = [sys.executable, "-m", "bench.run", "--results", str(self.results), *arguments]
        with subprocess.Popen(
            command,
            cwd=self.suite.parent,
            env=self.environ | {"ATTACK_PLAN": json.dumps(plan)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                out, _ = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        self._all_ended()
        return process.returncode, out

    def _all_ended(self) -> None:
        """Wait for the workers, which end shortly after their manager and hold the lock."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                with MachineLock(Path(self.environ["LSTM_LOCK"])) as lock:
                    lock.acquire("the attack")
                return
            except HeldError:
                if time.monotonic() > end:
                    raise subprocess.TimeoutExpired("the workers", PATIENCE) from None
            time.sleep(0.05)

    def changes(self, role: str) -> int:
        """Return the number of changes of this role."""
        return self._noted(f"changes-{role}").count(".")

    @property
    def struck(self) -> bool:
        return bool(self._noted("struck"))

    @property
    def promised(self) -> Counter[str]:
        """Return how often each case was finished."""
        of_journals = dict(map(json.loads, self._noted("promised").splitlines()))
        return Counter(case for cases in of_journals.values() for case in cases)

    def _noted(self, name: str) -> str:
        path = self.notes / name
        return path.read_text() if path.exists() else ""


def list_results(folder: Path) -> list[Path]:
    """Return the readable results; a session may have none yet."""
    return [path for path in folder.glob("*.json*") if not path.name.startswith(".")]


def lost(promised: Counter[str], folder: Path) -> Iterator[str]:
    """Return finished cases that readers do not find in a results folder."""
    found = records.collect(list_results(folder))
    for error in found.errors:
        yield f"unreadable: {error}"
    there = Counter(each.case.id for each in found.measurements)
    for case, number in (promised - there).items():
        yield f"lost {number} of {promised[case]} times {case}"


def unfinished(folder: Path) -> Iterator[str]:
    """Return cases of the suite with too few measurements."""
    there = Counter(each.case.id for each in records.collect([folder]).measurements)
    if len(there) != CASES or min(there.values()) < PROCESSES:
        yield f"measured in the end: {sorted(there.values())}; wanted: {[PROCESSES] * CASES}"


def left_over(folder: Path, temporary: Path) -> Iterator[str]:
    """Return files and folders that only a running process has."""
    for path in folder.rglob("*"):
        if path.suffix in (".tmp", ".part", ".sum") or path.name.endswith(".journal.jsonl"):
            yield f"left over: {path.relative_to(folder)}"
    for path in temporary.iterdir():
        if path.is_dir():
            yield f"left over in the temporary folder: {path.name}"


def attempt(folder: Path, strike: Strike, attack: Attack) -> Iterator[str]:
    """Strike one session once, resume it and return errors."""
    session = Session(folder)
    arguments = (str(session.suite), "--processes", str(PROCESSES))
    code, out = session.run(*arguments, strike=strike)
    attack.count(KIND, "struck" if session.struck else "not reached")
    killed = strike.number == signal.SIGKILL and strike.role == "manager"
    if code not in ((-signal.SIGKILL,) if killed and session.struck else (0, 1, 130)):
        yield f"ended with code {code}: {out[-300:]!r}"
    if "Traceback" in out:
        yield f"a traceback: {out[-1000:]!r}"
    promised = session.promised
    attack.count(KIND, "finished cases before", promised.total())
    yield from lost(promised, session.results)
    if code == 0:
        yield from unfinished(session.results)
    code, out = session.run("--resume")
    if code == 2 and "there is no unfinished session" in out:
        # It was struck before it began, or completed nevertheless.
        attack.count(KIND, "started again")
        code, out = session.run(*arguments)
    else:
        attack.count(KIND, "gone on with")
    if code != 0:
        yield f"--resume ended with code {code}: {out[-300:]!r}"
    yield from lost(session.promised, session.results)
    yield from unfinished(session.results)
    yield from left_over(session.results, session.temporary)
    shutil.rmtree(folder)


def drawn(draw: random.Random, changes: dict[str, int], number: int) -> list[Strike]:
    """Draw strikes over the session: half of them kills, equally of both roles."""
    strikes = []
    for index in range(number):
        role = ("manager", "worker")[index % 2]
        kind = SIGNALS[0] if draw.random() < 0.5 else draw.choice(SIGNALS[1:])
        at = draw.randrange(changes[role]) + 1
        when = draw.choice(["before", "after"])
        strikes.append(Strike(role, at, when, kind, draw.random() < 0.25))
    return strikes


def test_run_any_kill_loses_no_finished_case(attack: Attack, tmp_path: Path) -> None:
    complete = Session(tmp_path / "complete")
    code, out = complete.run(str(complete.suite), "--processes", str(PROCESSES))
    assert code == 0, out
    assert complete.promised.total() == CASES * PROCESSES
    changes = {role: complete.changes(role) for role in ("manager", "worker")}
    attack.count(KIND, "changes of an undisturbed session", sum(changes.values()))
    strikes = drawn(attack.random(KIND), changes, attack.times(STRIKES))
    attack.run(
        KIND,
        list(enumerate(strikes)),
        lambda each: attempt(tmp_path / str(each[0]), each[1], attack),
    )
