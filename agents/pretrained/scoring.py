"""Scores of agents and of what they are compared with, case by case, for any environment and seed."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from multispin_env.arrays import FloatArray
from multispin_env.controllers.factory import make_controller
from multispin_env.controllers.names import ContenderName
from multispin_env.envs.settings import Settings
from multispin_env.evaluation.comparison import METRICS, default_metric
from multispin_env.evaluation.contenders import default_contenders, default_reference
from multispin_env.evaluation.episodes import make_episode_env, play_episodes
from multispin_env.evaluation.scores import CERTIFICATE, score
from multispin_env.evaluation.seeds import EPISODE_SEED, HELD_OUT_SEED
from multispin_env.physics.dynamics import sample_state
from multispin_env.physics.types import SystemState

Values = dict[str, FloatArray]
"""One number (n,) for each case, by name; more is better."""


@dataclass(frozen=True)
class Trial:
    """States where everything is known and rounds are independent, else whole episodes, the same for everyone.

    Parameters
    ----------
    env
        Environment id.
    settings
        The environment.
    size
        Number of cases.
    offset
        Added to the seed of the held-out cases; 0 for those of tables.
    """

    env: str
    settings: Settings
    size: int
    offset: int = 0

    @property
    def on_states(self) -> bool:
        """Whether cases are states, and agents decide for them; else agents answer observations."""
        return self.settings.variant.independent_rounds

    @property
    def cases(self) -> str:
        """What a case is, in plural."""
        return "states" if self.on_states else "episodes"

    @property
    def seed(self) -> int:
        """Of the first case."""
        return self.offset + (HELD_OUT_SEED if self.on_states else EPISODE_SEED)

    @property
    def metric(self) -> str:
        """Name of the metric that fits the environment."""
        return default_metric(self._make(2, "residual"))

    @property
    def reference(self) -> str:
        """Name of the best that is known."""
        found = default_reference(self._make(2, "residual"))
        return ContenderName.parse(found).controller if self.on_states else found

    def contenders(self) -> tuple[str, ...]:
        """Names of all that agents are compared with, the reference first."""
        listed = default_contenders(self._make(2, "residual"))
        return tuple(dict.fromkeys((self.reference, *listed)))

    def references(self, names: Iterable[str] | None = None) -> Values:
        """Values of what agents are compared with: all of it, or those names."""
        chosen = self.contenders() if names is None else tuple(dict.fromkeys(names))
        if self.on_states:
            scenario = self.settings.scenario
            controllers = {name: make_controller(name, scenario) for name in chosen}
            if "optimal" in controllers:
                controllers["optimal"] = make_controller("optimal", scenario, certify=CERTIFICATE)
            return score(scenario, self._states(), controllers)
        env, values = self._make(self.size, "residual"), METRICS[self.metric].values
        return {name: values(play_episodes(env, name, self.seed)) for name in chosen}

    def values(self, agent: Any) -> FloatArray:
        """Values (n,) of an agent, which decides for states or answers observations, as the cases ask for."""
        if self.on_states:
            return score(self.settings.scenario, self._states(), {"agent": agent})["agent"]
        env = self._make(self.size, self.settings.action)
        return METRICS[self.metric].values(play_episodes(env, agent, self.seed))

    def _states(self) -> SystemState:
        return sample_state(self.settings.scenario, np.random.default_rng(self.seed), self.size)

    def _make(self, copies: int, action: str) -> VectorEnv[Any, Any, Any]:
        arguments = {"action": action, **self.settings.held_out.arguments}
        return make_episode_env(self.env, copies, self.settings.scenario, arguments)


def best_plug_in(values: Values) -> str:
    """Name of the best that is not told what an environment hides; where nothing is hidden, the optimum itself."""
    names = [name for name in values if name != ContenderName.parse(name).as_clairvoyant]
    return max(names, key=lambda name: float(values[name].mean()))
