"""Attack with one misbehaving backend at a time: ``numpy`` must keep its time and not be blamed.

Their package is ``tests/hostile``, whose own tests measure many at once.
"""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.attack.trials import Attack
from tests.hostile.deeds import DEEDS, PLACES
from tests.hostile.place import Place
from tests.hostile.test_hostile import RAISED, processes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="daemons are found on Linux alone")

KIND = "hostile backends"
TRIALS = 32

FATAL = ("vanishes", "signals", "threads")
"""Deeds that end plain pytest or keep it from ending, since it is the user's process."""

DURING = {
    "build": "while it was built",
    "prepare": "while it was built",
    "call": "in its first call",
    "gate": "while the gate compared it with the reference",
    "timing": "while ",  # during warm-up, measurement or the count of a block's calls
}
"""Where an exception is a failure of the case, and how its reason begins."""


@dataclass(frozen=True)
class Trial:
    """deed: the misbehaviour; where: its phase; command: ``pytest`` or ``run``."""

    deed: str
    where: str
    command: str

    @property
    def backend(self) -> str:
        return f"{self.deed}_in_{self.where}"

    def __str__(self) -> str:
        return f"{self.backend} under {self.command}"


def wrong_with(trial: Trial, place: Place) -> Iterator[str]:
    """Return errors of the results about the hostile backend and ``numpy``."""
    remarks, reasons = place.remarks, place.reasons
    if "numpy" not in remarks:
        yield f"numpy has no time: {reasons.get('numpy', 'it is not named')}"
    elif remarks["numpy"]:
        yield f"numpy is blamed: {remarks['numpy']}"
    message = reasons.get(trial.backend)
    if message is None and trial.backend not in remarks:
        yield "the hostile backend is not named"
    if trial.deed in RAISED and trial.where in DURING:
        raised = RAISED[trial.deed]
        begins: tuple[str, ...] = (DURING[trial.where],)
        if raised == "ImportsChangedError":
            # The case fails in the phase of the change, or in the next one, which needs what is
            # lost.
            begins = ("while ", "in ")
        expected = tuple(f"failed: {raised} {each}" for each in begins)
        if message is None or not message.startswith(expected):
            yield f"the reason of the hostile backend is {message}; expected: {expected}"
    if len(place.found.measurements) != len(remarks):
        yield "a case stands there twice"
    for error in place.found.errors:
        yield f"unreadable: {error}"


def attempt(folder: Path, trial: Trial) -> Iterator[str]:
    """Measure one backend and ``numpy``."""
    folder.mkdir()
    place = Place(folder)
    place.environ |= {"LSTM_ROOFS": "off", "HOSTILE_MEGABYTES": "16"}
    # The hostile backend first, so that it can harm the other.
    place.measures(trial.backend, "numpy")
    try:
        done = place.pytest() if trial.command == "pytest" else place.run()
        if done.returncode not in (0, 1):
            yield f"ended with code {done.returncode}: {(done.stdout + done.stderr)[-300:]!r}"
        yield from wrong_with(trial, place)
        if trial.command == "run":
            if left := processes(place):
                yield f"{len(left)} of its processes live on"
            again = place.start(["bench.run", "--results", str(place.results), "--resume"])
            over = "there is no unfinished session" in again.stderr
            if not over and again.returncode not in (0, 1):
                yield f"--resume ended with code {again.returncode}: {again.stderr[-300:]!r}"
    finally:
        for number in processes(place):
            os.kill(number, signal.SIGKILL)
    shutil.rmtree(folder)


def test_run_hostile_neighbour_leaves_honest_times(attack: Attack, tmp_path: Path) -> None:
    every = [
        Trial(deed, where, command)
        for deed in DEEDS
        for where in PLACES
        for command in ("run", "pytest")
        if command == "run" or deed not in FATAL
    ]
    trials = attack.random(KIND).sample(every, min(attack.times(TRIALS), len(every)))
    attack.count(KIND, "that there are", len(every))
    # Processes are found by their folder, so no name may be a prefix of another.
    attack.run(
        KIND, list(enumerate(trials)), lambda each: attempt(tmp_path / f"{each[0]:04}", each[1])
    )
