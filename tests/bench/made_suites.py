"""A suite of NumPy's own backend that takes moments, for tests that start the suite itself."""

from __future__ import annotations

from collections.abc import Sequence


def small_suite(seconds: float = 0.1, timesteps: Sequence[int] = (2, 3)) -> str:
    """A case for each number of timesteps, as TOML; seconds: of measuring each."""
    return f"""\
schema = 1
name = "mine"
backends = ["numpy"]
devices = ["cpu"]
modes = ["inference"]
seconds = {seconds}

[[groups]]
shapes = [{{ batch = 1, timesteps = {list(timesteps)}, input_size = 1, hidden_size = 2 }}]
"""
