"""A trained network as an agent and as a controller, whatever runs it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multispin_env.envs.observations import SHARED, Observation
from multispin_env.envs.settings import Settings
from multispin_env.scenario import Scenario

Entries = dict[str, NDArray[np.float32]]
"""The entries that a network reads, each (n, size)."""

Network = Callable[[Entries], NDArray[np.float32]]
"""Entries of n observations to n actions within [-1, 1], (n, K, columns) or flat, (n, K · columns)."""


@dataclass(frozen=True, eq=False)
class Policy:
    """Deterministic decisions of a network, through the observation and action codecs of its environment.

    `act` answers observations of any environment of this project. Called with a state, the policy is a controller;
    this needs an environment that shows the whole state. Any number of users will do.

    Parameters
    ----------
    settings
        The environment that it decides for.
    network
        From observations to actions.
    """

    settings: Settings
    network: Network

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of ``gymnasium.make`` for an environment whose observations and actions are the policy's."""
        return {"action": self.settings.action, **self.settings.arguments}

    def on(self, scenario: Scenario) -> Self:
        """Return the same policy for another scenario.

        Raises
        ------
        ValueError
            For a scenario in which other numbers are observed than the network reads.
        """
        own = self.settings.scenario
        if bool(own.verification_pieces) != bool(scenario.verification_pieces):
            law = "depends" if own.verification_pieces else "does not depend"
            got = scenario.server or "another law"
            raise ValueError(f"server: expected one whose time {law} on tokens, as the agent's own, got {got!r}")
        if len(own.tasks) != len(scenario.tasks) and "task" in self._wanted:
            raise ValueError(
                f"tasks: expected {len(own.tasks)}, as in the agent's own scenario, got {len(scenario.tasks)}"
            )
        return replace(self, settings=replace(self.settings, scenario=scenario))

    def act(self, observation: Observation) -> NDArray[np.float32]:
        """Actions (..., K, columns) for observations (..., entries).

        Raises
        ------
        ValueError
            If entries are missing.
        """
        wanted = self._wanted
        if not set(wanted) <= set(observation):
            raise ValueError(f"observation: expected the entries {wanted}, got {sorted(observation)}")
        batch = np.shape(observation[SHARED])[:-1]
        arrays = {name: np.asarray(observation[name], np.float32) for name in wanted}
        action = self.network({name: array.reshape(-1, array.shape[-1]) for name, array in arrays.items()})
        return action.reshape(*batch, -1, self.settings.actions.columns)

    def __call__(self, state: Any) -> Any:
        """Decide for one state (K,) or a batch (..., K); K may differ from the scenario's.

        Raises
        ------
        ValueError
            For a bad state, or where the environment does not show the whole state.
        """
        if not self.settings.variant.learning.sees_state:
            raise ValueError(
                f"state: expected observations, by act(), for a policy of {type(self.settings.variant).__name__}, "
                "got a SystemState"
            )
        settings = self._for_users(np.shape(state.draft_time)[-1])
        actions = settings.actions
        checked = actions.checked_state(state)
        return actions.decode(self.act(settings.observations.encode(checked)), checked)

    @cached_property
    def _wanted(self) -> list[str]:
        """Names of the entries that it reads; the space, which knows them, takes longer to make than a decision."""
        return list(self.settings.observations.space.spaces)

    def _for_users(self, users: int) -> Settings:
        scenario = self.settings.scenario
        if users == scenario.num_users:
            return self.settings
        return replace(self.settings, scenario=scenario.replace(num_users=users))
