"""An environment that hides acceptance: a stand-in for those of the registry, to test what is around them."""

import gymnasium as gym
import numpy as np

from multispin_env.controllers.assumptions import Assumptions
from multispin_env.envs.vector import HeterogeneousVectorEnv
from multispin_env.physics.types import Observed
from multispin_env.registry import ENVIRONMENTS

ENV_ID = "MultiSpin/StandIn-v0"


class HiddenVectorEnv(HeterogeneousVectorEnv):
    """Shows the counts of the last round instead of acceptance rates; task 0 for everyone."""

    shows_throughput = False

    @property
    def assumptions(self):
        return Assumptions.of(self.scenario, spread=0.2)

    def reset(self, *, seed=None, options=None):
        self.drafted = self.accepted = np.zeros((self.num_envs, self.scenario.num_users), dtype=np.int64)
        self.age = 0
        return super().reset(seed=seed, options=options)

    def step(self, actions):
        found = super().step(actions)
        info = found[4]
        self.drafted = info["draft_length"]
        self.accepted = np.rint(info["accepted_tokens"]).astype(np.int64) - 1
        self.age += 1
        return found

    def decode_observation(self, observation):
        seen = self._batch.observations.decode(observation)
        zeros = np.zeros(seen.draft_time.shape, dtype=np.int64)
        return Observed(
            seen.draft_time,
            seen.spectral_efficiency,
            None,
            task=zeros,
            drafted=self.drafted,
            accepted=self.accepted,
            age=zeros + self.age,
            throughput=np.ones(zeros.shape) if self.shows_throughput else None,
        )


class ShowingVectorEnv(HiddenVectorEnv):
    """Shows a throughput too, as an environment for fairness does."""

    shows_throughput = True


def register(vector_env=HiddenVectorEnv):
    """Add the stand-in to Gymnasium and to the registry."""
    gym.register(ENV_ID, vector_entry_point=vector_env, max_episode_steps=6)
    ENVIRONMENTS.register(ENV_ID, vector_env)


def unregister():
    """Take it away again."""
    del gym.registry[ENV_ID]
    ENVIRONMENTS.unregister(ENV_ID)


def make(copies=3, users=4):
    """One stand-in with drawn tokens and short episodes."""
    return HiddenVectorEnv(copies, num_users=users, reward="sampled", max_episode_steps=6)
