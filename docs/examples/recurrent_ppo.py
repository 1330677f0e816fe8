"""Train recurrent PPO on CartPole without velocities, with sb3-contrib's LSTM and with resets.

Recurrent PPO of sb3-contrib calls its LSTM once for each timestep, because the state must become
zero where an episode begins. With resets one call computes the complete sequence.

    pip install sb3-contrib
    python docs/examples/recurrent_ppo.py --timesteps 40000
"""

import argparse
import time
from typing import Any

import gymnasium
import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.env_util import make_vec_env

import lstm_impl.torch


class PositionsOnly(gymnasium.ObservationWrapper[Any, Any, Any]):
    """CartPole whose observations have the cart's position and the pole's angle alone."""

    def __init__(self) -> None:
        super().__init__(gymnasium.make("CartPole-v1"))
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def observation(self, observation: Any) -> Any:
        """Return the observation without the two velocities."""
        return observation[[0, 2]]


def process_sequence(
    features: torch.Tensor, states: Any, episode_starts: torch.Tensor, lstm: Any
) -> tuple[torch.Tensor, Any]:
    """Compute what the policy's method of this name computes, in one call of the LSTM.

    features: ``[sequences * time, features]``. states: h and c ``[layers, sequences, units]``.
    """
    sequences = states[0].shape[1]
    x = features.reshape(sequences, -1, lstm.input_size).swapaxes(0, 1)
    resets = episode_starts.reshape(sequences, -1).swapaxes(0, 1) > 0
    y, states = lstm(x, states, resets=resets)
    return torch.flatten(y.transpose(0, 1), start_dim=0, end_dim=1), states


def train(timesteps: int, seed: int, with_resets: bool) -> tuple[list[float], float]:
    """Train, and return the mean return after each update and the seconds of an update."""
    environments = make_vec_env(PositionsOnly, n_envs=8, seed=seed)
    policy = {"lstm_hidden_size": 64, "enable_critic_lstm": True}
    how: Any = {"n_steps": 128, "batch_size": 256, "n_epochs": 4, "seed": seed}
    model = RecurrentPPO("MlpLstmPolicy", environments, policy_kwargs=policy, device="cpu", **how)
    if with_resets:
        lstm_impl.torch.accelerate(model.policy)
        model.policy._process_sequence = process_sequence
    seconds: list[float] = []
    returns: list[float] = []
    update = model.train

    def timed_update() -> None:
        started = time.perf_counter()
        update()
        seconds.append(time.perf_counter() - started)
        returns.append(float(np.mean([each["r"] for each in model.ep_info_buffer or ()])))

    model.train = timed_update
    model.learn(timesteps)
    return returns, float(np.median(seconds))


def main() -> None:
    """Print the returns and the time of an update for both LSTMs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timesteps", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for with_resets in (False, True):
        returns, seconds = train(options.timesteps, options.seed, with_resets)
        name = "one call with resets" if with_resets else "sb3-contrib's loop"
        places = np.linspace(0, len(returns) - 1, 8).round().astype(int)
        shown = ", ".join(f"{returns[place]:.0f}" for place in places)
        print(f"{name}: {1e3 * seconds:.0f} ms per update; mean return {shown}", flush=True)


if __name__ == "__main__":
    main()
