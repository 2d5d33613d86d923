"""PPO in one file, in the style of CleanRL, on flat arrays or with each device as its own environment.

``python examples/cleanrl_style.py --action residual``; with ``--devices``, a policy acts for each device.
"""

import argparse
from time import process_time
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import nn
from torch.distributions import Normal

from multispin_env.wrappers import by_device, flat_vector

ENV = "MultiSpin/Heterogeneous-v0"
STEPS, EPOCHS, BATCH, CLIP, RATE = 16, 4, 256, 0.2, 1e-3


class Agent(nn.Module):
    """Actor and critic with two hidden layers each, and a standard deviation that starts at 1."""

    def __init__(self, numbers: int, columns: int) -> None:
        super().__init__()
        self.actor = nn.Sequential(
            nn.Linear(numbers, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, columns)
        )
        self.critic = nn.Sequential(nn.Linear(numbers, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
        nn.init.normal_(self.actor[-1].weight, std=0.01)  # type: ignore[arg-type]
        self.log_std = nn.Parameter(torch.zeros(columns))

    def law(self, observation: torch.Tensor) -> Normal:
        """Return the distribution of actions."""
        return Normal(self.actor(observation), self.log_std.exp())


def learn(agent: Agent, optimizer: torch.optim.Optimizer, *rollout: torch.Tensor) -> None:
    """Update the agent by clipped steps on observations, actions, their log probabilities, and returns."""
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(rollout[0])).split(BATCH):
            observation, action, before, gain = (part[rows] for part in rollout)
            value = agent.critic(observation).squeeze(-1)
            advantage = gain - value.detach()
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
            ratio = (agent.law(observation).log_prob(action).sum(-1) - before).exp()
            clipped = ratio.clamp(1.0 - CLIP, 1.0 + CLIP)
            loss = -torch.minimum(ratio * advantage, clipped * advantage).mean() + 0.5 * (value - gain).square().mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()


def main(minutes: float = 2.0, action: str = "residual", devices: bool = False, num_users: int = 8) -> float:
    """Train on one core for this many minutes of CPU time; return the share of the optimum on held-out states."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    envs: Any = gym.make_vec(ENV, num_envs=64, num_users=num_users, action=action, autoreset_mode="SameStep")
    envs = by_device(envs) if devices else flat_vector(envs)
    agent = Agent(envs.single_observation_space.shape[0], envs.single_action_space.shape[0])
    optimizer = torch.optim.Adam(agent.parameters(), lr=RATE, eps=1e-5)
    bound = float(envs.single_action_space.high[0])
    seen = torch.as_tensor(envs.reset(seed=0)[0])
    started, rounds = process_time(), 0
    while (used := (process_time() - started) / (60.0 * minutes)) < 1.0:
        optimizer.param_groups[0]["lr"] = RATE * max(0.05, 1.0 - used)
        steps = []
        for _ in range(STEPS):
            with torch.no_grad():
                law = agent.law(seen)
                actions = law.sample()
            after, reward, *_ = envs.step(actions.clamp(-bound, bound).numpy())
            gain = torch.as_tensor(reward, dtype=torch.float32)  # the return: decisions do not affect later rounds
            steps.append((seen, actions, law.log_prob(actions).sum(-1), gain))
            seen = torch.as_tensor(after)
        learn(agent, optimizer, *(torch.cat(parts) for parts in zip(*steps, strict=True)))
        rounds += 64 * STEPS

    def act(observation: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with torch.no_grad():
            return agent.actor(torch.as_tensor(observation)).numpy()

    share: float = envs.share_of_best(act)
    nothing: float = envs.share_of_best(lambda seen: np.zeros((len(seen), len(envs.single_action_space.low))))
    how = f"{action}, {'each device by itself' if devices else 'all devices at once'}"
    print(f"{how}: {share:.4f} of the optimum after {rounds} rounds, {rounds / (60.0 * minutes):.0f} a second")
    print(f"action 0 alone: {nothing:.4f}")
    return share


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--action", default="residual")
    parser.add_argument("--devices", action="store_true")
    main(**vars(parser.parse_args()))
