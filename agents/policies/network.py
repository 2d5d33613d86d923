"""Networks of Stable-Baselines3 in a `Policy`."""

from dataclasses import dataclass

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from multispin_env.envs.settings import Settings
from multispin_env.evaluation.policy import Entries, Policy


@dataclass(frozen=True, eq=False)
class TorchNetwork:
    """Network of a `Policy` that torch runs: the deterministic actions of a policy of Stable-Baselines3.

    ``predict`` of Stable-Baselines3 does the same, but insists on the number of users that the network was made with.
    """

    policy: BasePolicy

    def __call__(self, entries: Entries) -> NDArray[np.float32]:
        """Actions (n, K · columns) for entries, each (n, size)."""
        self.policy.set_training_mode(False)
        tensors = {name: th.tensor(array, device=self.policy.device) for name, array in entries.items()}
        with th.no_grad():
            action = self.policy._predict(tensors, deterministic=True)
        clamped: NDArray[np.float32] = action.clamp(-1.0, 1.0).cpu().numpy()
        return clamped


def policy_of(model: BaseAlgorithm, settings: Settings) -> Policy:
    """Deterministic decisions of a model in an environment with these settings."""
    return Policy(settings, TorchNetwork(model.policy))
