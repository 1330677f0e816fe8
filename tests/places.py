"""Name the folders of the project that tests read."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The clone."""

REFERENCE = ROOT / "results" / "reference"
"""The committed results."""

GOLDEN = ROOT / "tests" / "bench" / "golden"
"""Files of results as old versions wrote them."""
