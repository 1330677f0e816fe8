"""Test the search for the fewest last steps that pass a check of the end of a sequence."""

import pytest

from research.skipped_steps import PROBLEMS, Problem, Trial, draw, fewest_steps, is_close

TINY = {"batch": 2, "timesteps": 40, "input_size": 3, "hidden_size": 4, "num_layers": 2}


@pytest.mark.parametrize("number", range(len(PROBLEMS)))
def test_last_steps_of_a_small_problem_pass_and_one_fewer_fails(number: int) -> None:
    pytest.importorskip("torch")
    usual = PROBLEMS[number]
    problem = Problem(usual.name, usual.compared, usual.drawn, **TINY)
    trials: list[Trial] = [draw(problem, seed) for seed in range(2)]
    steps = fewest_steps(trials, problem.timesteps, 1e-2)
    assert 1 < steps < problem.timesteps
    assert all(is_close(trial, steps, 1e-2) for trial in trials)
    assert not all(is_close(trial, steps - 1, 1e-2) for trial in trials)
    assert fewest_steps(trials, problem.timesteps, 1e-4) > steps
