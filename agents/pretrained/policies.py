"""Networks that are read from the package, and what decides with them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray

from agents.base import AgentSettings, tuning_for
from agents.checkpoints import MODEL, load_checkpoint
from agents.policies.equivariant import EquivariantActorCritic
from agents.registry import AGENTS
from agents.runs import RunConfig, load_config
from agents.vec_env import make_vec_env
from multispin_env.envs.engine import Observation
from multispin_env.envs.rounds.observations import SHARED
from multispin_env.envs.settings import Settings
from multispin_env.files import read_json
from multispin_env.physics.types import Decision, SystemState
from multispin_env.physics.validation import checked_state
from multispin_env.scenario import Scenario

SCORE = "score.json"

ROOT = Path(__file__).parent


@dataclass(frozen=True, eq=False)
class PretrainedAgent:
    """Deterministic actions of a shipped network, from observations of any number of users.

    Parameters
    ----------
    config
        How it was trained.
    policy
        The network.
    score
        What `agents.load` found in ``score.json``: the command, the commit, the measured score.
    """

    config: RunConfig
    policy: EquivariantActorCritic
    score: Mapping[str, Any]

    @cached_property
    def settings(self) -> Settings:
        """The environment it was trained in."""
        return self.config.settings

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of ``gymnasium.make`` with which an environment shows what it reads and takes what it answers."""
        return {"action": self.config.action, **self.settings.arguments}

    def act(self, observation: Observation) -> NDArray[np.float32]:
        """Actions (..., K, columns) for observations (..., entries).

        Raises
        ------
        ValueError
            If entries are missing.
        """
        wanted = list(self.settings.observations.space.spaces)
        if not set(wanted) <= set(observation):
            raise ValueError(f"observation: got {sorted(observation)}, allowed are entries {wanted}")
        batch = np.shape(observation[SHARED])[:-1]
        arrays = {key: np.asarray(observation[key], np.float32) for key in wanted}
        with th.no_grad():
            action = self.policy.deterministic(
                {key: th.tensor(array.reshape(-1, array.shape[-1])) for key, array in arrays.items()}
            )
        columns = self.policy.action_space.shape[-1]  # type: ignore[index]
        found: NDArray[np.float32] = action.clamp(-1.0, 1.0).numpy().reshape(*batch, -1, columns)
        return found

    def __call__(self, observation: Any) -> Any:
        """Actions for observations, as `act`."""
        return self.act(observation)


class PretrainedDecider(PretrainedAgent):
    """Where the environment shows the whole state: called with a state it decides, as a controller does."""

    def on(self, scenario: Scenario) -> "PretrainedDecider":
        """Return the same network for another scenario."""
        return PretrainedDecider(replace(self.config, scenario=scenario), self.policy, self.score)

    def __call__(self, state: SystemState) -> Decision:
        """Decide for one state (K,) or a batch (..., K); K may differ from the scenario's."""
        settings = self._for_users(np.shape(state.draft_time)[-1])
        checked = checked_state(settings.scenario, state)
        return settings.actions.decode(self.act(settings.observations.encode(checked)), checked)

    def _for_users(self, users: int) -> Settings:
        scenario = self.settings.scenario
        if users == scenario.num_users:
            return self.settings
        return replace(self.settings, scenario=scenario.replace(num_users=users))


def read(folder: Path) -> PretrainedAgent:
    """Read an agent of a folder; numbers and JSON alone, so that nothing is executed.

    Raises
    ------
    ValueError
        If a file is missing, damaged, or not one of this project.
    """
    config, _ = load_config(folder)
    policy = _network(config, folder)
    score = _read_score(folder / SCORE)
    kind = PretrainedDecider if config.settings.variant.fully_observed else PretrainedAgent
    return kind(config, policy, score)


def _network(config: RunConfig, folder: Path) -> EquivariantActorCritic:
    """The network alone; its file holds no optimiser."""
    settings = config.settings
    agent: AgentSettings = AGENTS.load(config.agent)
    env = make_vec_env(config.env, settings, agent.num_envs, max_episode_steps=1, seed=0)
    policy = agent.build(env, lambda progress: progress, seed=0, device="cpu", tuning=tuning_for(settings)).policy
    assert isinstance(policy, EquivariantActorCritic)
    try:
        policy.load_state_dict(load_checkpoint(folder, MODEL).parameters["policy"])
    except (RuntimeError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{folder / MODEL}: got a network that does not fit its configuration ({reason})") from None
    policy.set_training_mode(False)
    return policy


def _read_score(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
        if not isinstance(found, dict):
            raise ValueError("it is no table")
        return found
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: can't be read as the score of an agent ({error})") from None
