"""The environment of a process that a test starts as a stranger would."""

from __future__ import annotations

import os
from pathlib import Path

from tests.places import ROOT


def outside(*folders: Path, **more: str) -> dict[str, str]:
    """Without what pytest and these tests have set; modules from the folders, then the clone's.

    What it measures of the machine and decides is kept where the tests have their own, for the next
    process of a test, and never among what the user's runs know.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "LSTM_"))}
    path = os.pathsep.join(map(str, (*folders, ROOT)))
    tests = Path(os.environ["LSTM_LOCK"]).parent  # as tests/conftest.py has it
    kept = {"LSTM_ROOFS": str(tests / "roofs.json"), "LSTM_DECISIONS": str(tests / "decisions")}
    return {**inherited, "PYTHONPATH": path, **kept, **more}
