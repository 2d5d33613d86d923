"""Subjects: who is compared, in which systems, and on which episodes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import agents
from multispin_env.envs.settings import Settings
from multispin_env.evaluation.cases.episodes import Episodes
from multispin_env.evaluation.policy import Policy
from multispin_env.evaluation.seeds import EPISODE_SEED
from multispin_env.scenario import Scenario

CLOSED, OPEN = "MultiSpin/Continuous-v0", "MultiSpin/Serving-v0"

SEED = EPISODE_SEED + 50_000_000
"""Of the first episode. No training, tuning or other table plays these."""

PRESETS = ("llama2", "qwen3.5")
LOAD = 0.85

AGENT = "agent"
"""Name of the agent in tables."""

RULES: Mapping[str, tuple[str, ...]] = {
    CLOSED: ("groups", "prices", "own-pace", "optimal"),
    OPEN: ("load-aware", "prices+deadlines", "greedy+deadlines", "optimal"),
}
"""By environment, the rules beside the agent."""


@dataclass(frozen=True, eq=False)
class Learned:
    """An agent and the environment that it learnt in.

    Parameters
    ----------
    env_id
        The environment.
    policy
        Its decisions.
    """

    env_id: str
    policy: Policy

    @property
    def reference(self) -> str:
        """Name of the rule whose options it sets, or whose orders it changes."""
        codec: Any = self.policy.settings.actions
        return codec.reference

    @property
    def contenders(self) -> dict[str, Policy | str]:
        """The agent, its reference rule, and the other rules, by name."""
        names = dict.fromkeys((self.reference, *RULES[self.env_id]))
        return {AGENT: self.policy, **{name: name for name in names}}

    @property
    def rivals(self) -> tuple[str, ...]:
        """Rules that may be the best; the barrier never is."""
        return tuple(name for name in self.contenders if name not in (AGENT, "optimal"))

    def episodes(self, system: "System", size: int) -> Episodes:
        """Episodes of a system, with what the agent's environment had of its own."""
        arguments = {**self.policy.settings.chosen_arguments, **system.arguments}
        return Episodes(self.env_id, size, system.scenario, arguments, SEED)

    def obstacle(self, system: "System") -> str | None:
        """Why the agent can't read the observations of a system; ``None`` if it can."""
        own = self.policy.settings.observations.space["shared"].shape
        here = Settings(system.scenario, self.policy.settings.variant, self.policy.settings.action)
        shared = here.observations.space["shared"].shape
        return None if own == shared else f"shared has {_count(shared)} numbers, and the agent reads {_count(own)}"


def _count(shape: tuple[int, ...] | None) -> int:
    return 0 if shape is None else shape[0]


@dataclass(frozen=True)
class System:
    """A scenario and arguments of an environment.

    Parameters
    ----------
    title
        As tables show it.
    scenario
        Devices, radio and server.
    arguments
        Of the environment.
    """

    title: str
    scenario: Scenario
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, preset: str, env_id: str, what: str = "", load: float = LOAD, **changes: Any) -> "System":
        """A preset, at a load where requests end; ``what`` says what is special about it.

        Parameters
        ----------
        preset
            Name of the scenario.
        env_id
            The environment.
        what
            Added to the title.
        load
            Of the system; endless requests have none.
        **changes
            Fields of `Scenario`, and arguments of the environment.
        """
        fields = {name: value for name, value in changes.items() if name in Scenario.field_names() or name == "server"}
        others = {name: value for name, value in changes.items() if name not in fields}
        scenario = Scenario.preset(preset, **fields)
        arguments = {"load": load, **others} if env_id == OPEN else others
        return cls(f"{preset}, K = {scenario.num_users}{what and ', '}{what}", scenario, arguments)


def shipped() -> list[Learned]:
    """Pretrained agents of the environments without the barrier, as far as there are any."""
    return [Learned(env_id, agents.load(env_id)) for env_id in RULES if env_id in agents.PRETRAINED]
