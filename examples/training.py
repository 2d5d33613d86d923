"""Training with Stable-Baselines3 alone, without ``train.py``: PPO on the Dict observations of an environment."""

import gymnasium as gym
from stable_baselines3 import PPO

import multispin_env  # noqa: F401  (registers the environments)
from multispin_agents.policies import DevicePolicy


def main(timesteps: int = 20_000) -> float:
    """Train; return the mean reward of one deterministic episode."""
    env = gym.make("MultiSpin/Heterogeneous-v0", scenario="llama2", num_users=4, action="lengths")
    model = PPO(DevicePolicy, env, gamma=0.0, n_steps=512, learning_rate=1e-3, seed=0, device="cpu")
    model.learn(timesteps)
    observation, _ = env.reset(seed=1)
    rewards, over = [], False
    while not over:
        action, _ = model.predict(observation, deterministic=True)
        observation, reward, terminated, truncated, _ = env.step(action)
        rewards.append(float(reward))
        over = terminated or truncated
    mean = sum(rewards) / len(rewards)
    print(f"after {timesteps} rounds: {mean:.2f} times the goodput of the server alone")
    return mean


if __name__ == "__main__":
    main()
