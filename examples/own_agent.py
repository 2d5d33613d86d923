"""An agent of your own, here TRPO of sb3-contrib: ``multispin train --agent examples.own_agent:AGENT``."""

from dataclasses import dataclass

from sb3_contrib import TRPO
from stable_baselines3.common.vec_env import VecEnv

from agents.base import PLAIN, AnyEnvironment, Remaining, Tuning
from agents.measures import Measure
from agents.policies.equivariant import EquivariantActorCritic
from agents.vec_env import make_vec_env
from multispin_env.envs.rounds.variants.heterogeneous import Heterogeneous
from multispin_env.envs.settings import Settings
from multispin_env.scenario import Scenario


@dataclass(frozen=True)
class TRPOSettings(AnyEnvironment):
    """Trust region policy optimisation (Schulman et al. 2015) with the policy of this project."""

    num_envs: int = 128
    timesteps: int = 500_000
    rollout_rounds: int = 16

    def build(self, env: VecEnv, remaining: Remaining, seed: int, device: str, tuning: Tuning = PLAIN) -> TRPO:
        """Build the untrained model."""
        return TRPO(
            EquivariantActorCritic,
            env,
            n_steps=self.rollout_rounds,
            batch_size=512,
            gamma=tuning.gamma,
            policy_kwargs={"width": 32, "log_std_init": -2.5 + tuning.log_std},
            seed=seed,
            device=device,
        )


AGENT = TRPOSettings()

ENV = "MultiSpin/Heterogeneous-v0"


def main(timesteps: int = 100_000) -> float:
    """Train without the command; returns the share of the optimum on held-out states."""
    settings = Settings(Scenario.preset("llama2", num_users=8), Heterogeneous(), "lengths")
    envs = make_vec_env(ENV, settings, AGENT.num_envs, max_episode_steps=64, seed=0)
    model = AGENT.build(envs, lambda progress: progress, seed=0, device="cpu").learn(timesteps)
    report = Measure(ENV, settings).report(model, "TRPO", 100)
    share = next(row.share or 0.0 for row in report.rows if row.name == "TRPO")
    print(f"after {timesteps} rounds TRPO reaches {share:.4f} of the optimum")
    return share


if __name__ == "__main__":
    main()
