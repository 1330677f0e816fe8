"""Make the environment of a process that a test starts as a user would."""

import os
from pathlib import Path

from tests.places import ROOT


def outside(*folders: Path, **more: str) -> dict[str, str]:
    """Return the environment variables without those of pytest and of these tests.

    Modules are found in the folders, then in the clone and in ``tests/quick``. Roofs and decisions
    are kept in the tests' own folder, for the next process of a test.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "LSTM_"))}
    path = os.pathsep.join(map(str, (*folders, ROOT, ROOT / "tests" / "quick")))
    tests = Path(os.environ["LSTM_LOCK"]).parent  # as tests/conftest.py has it
    kept = {"LSTM_ROOFS": str(tests / "roofs.json"), "LSTM_DECISIONS": str(tests / "decisions")}
    return {**inherited, "PYTHONPATH": path, **kept, **more}
