"""Find how few of 512 timesteps pass a check that looks only at the last result.

Two problems of KernelBench, level 3, run an LSTM of six layers over 512 timesteps and compare only
its last result. Problem 35 compares a linear layer of the last output, and problem 36 the final
hidden states. An LSTM forgets, so a kernel that computes only the end of the sequence passes.
``python -m research.skipped_steps`` finds the smallest number of last steps that passes, with the
sizes, inputs and initial weights of the problems. It needs PyTorch.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.cli import command_line

TRIALS = 5
"""The number of draws of weights and inputs. A kernel must pass all of them, as in KernelBench."""

TOLERANCES = {"older versions": 1e-2, "newer versions, float32": 1e-4}
"""The absolute and relative tolerance that versions of KernelBench give to ``torch.allclose``."""


@dataclass(frozen=True)
class Problem:
    """A problem of KernelBench: its sizes, and what it compares.

    Attributes
    ----------
    name
        The number of the problem, and what it compares.
    compared
        A function that takes the outputs ``[B, T, H]``, the final hidden states ``[layers, B, H]``
        and a linear layer, and returns what the problem compares.
    drawn
        The name of the function of ``torch`` that draws the initial state.
    """

    name: str
    compared: Callable[[Any, Any, Any], Any]
    drawn: str
    batch: int = 10
    timesteps: int = 512
    input_size: int = 128
    hidden_size: int = 256
    num_layers: int = 6
    output_size: int = 10


PROBLEMS = (
    Problem("35, a linear layer of the last output", lambda y, h, fc: fc(y[:, -1]), "randn"),
    Problem("36, the final hidden states", lambda y, h, fc: h, "rand"),
)


@dataclass(frozen=True)
class Trial:
    """One draw of a problem.

    Attributes
    ----------
    expected
        The result of the whole sequence.
    compute_last
        A function that returns the result of the given number of last steps.
    """

    expected: Any
    compute_last: Callable[[int], Any]


def draw(problem: Problem, seed: int) -> Trial:
    """Draw weights and inputs in the same way as the problem."""
    import torch

    torch.manual_seed(seed)
    sizes = problem.input_size, problem.hidden_size, problem.num_layers
    lstm = torch.nn.LSTM(*sizes, batch_first=True)
    fc = torch.nn.Linear(problem.hidden_size, problem.output_size)
    x = torch.rand(problem.batch, problem.timesteps, problem.input_size)
    shape = problem.num_layers, problem.batch, problem.hidden_size
    state = tuple(getattr(torch, problem.drawn)(shape) for _ in range(2))

    def compute_last(steps: int) -> Any:
        with torch.no_grad():
            y, (h, _) = lstm(x[:, -steps:], state)
            return problem.compared(y, h, fc)

    return Trial(compute_last(problem.timesteps), compute_last)


def is_close(trial: Trial, steps: int, tolerance: float) -> bool:
    """Return whether the given number of last steps passes the check."""
    import torch

    found = trial.compute_last(steps)
    return bool(torch.allclose(trial.expected, found, atol=tolerance, rtol=tolerance))


def fewest_steps(trials: Sequence[Trial], timesteps: int, tolerance: float) -> int:
    """Return the smallest number of last steps that passes in all trials.

    The effect of the initial state decays from step to step. So if some number of steps passes,
    every larger number does too, and a bisection finds the smallest.
    """
    low, high = 1, timesteps
    while low < high:
        middle = (low + high) // 2
        if all(is_close(trial, middle, tolerance) for trial in trials):
            high = middle
        else:
            low = middle + 1
    return high


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, and return 0."""
    parser = argparse.ArgumentParser(prog="python -m research.skipped_steps", description=__doc__)
    parser.parse_args(argv)
    print("| problem | tolerance | enough of 512 steps |")
    print("|---|---|---|")
    for problem in PROBLEMS:
        trials = [draw(problem, seed) for seed in range(TRIALS)]
        for version, tolerance in TOLERANCES.items():
            steps = fewest_steps(trials, problem.timesteps, tolerance)
            print(f"| {problem.name} | {tolerance:g} ({version}) | {steps} |")
    return 0


if __name__ == "__main__":
    command_line.run_and_exit(main)
