"""Write a small suite of the backend numpy, for tests that run the suite."""

from collections.abc import Sequence


def small_suite(seconds: float = 0.1, timesteps: Sequence[int] = (2, 3)) -> str:
    """Return TOML with a case for each number of timesteps; seconds: of measuring each."""
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
