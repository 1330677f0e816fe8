"""The environment of a process that a test starts as a stranger would."""

from __future__ import annotations

import os
from pathlib import Path

from tests.places import ROOT


def outside(*folders: Path, **more: str) -> dict[str, str]:
    """Without what pytest and these tests have set; modules from the folders, then the clone's."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "LSTM_"))}
    path = os.pathsep.join(map(str, (*folders, ROOT)))
    return {**inherited, "PYTHONPATH": path, **more}
