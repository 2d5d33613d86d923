"""Registries of algorithms and pretrained agents, and agents from other modules by ``module:ATTRIBUTE``.

A module is imported only if the user names it, not if only a run names it: the run may be from an untrusted source.
"""

from multispin_env.checks import check_name
from multispin_env.registry import FORM, Registry, is_outside

AGENTS: Registry = Registry(
    "agent",
    "multispin_agents.base:AgentSettings",
    {
        "apg": "multispin_agents.apg:SETTINGS",
        "ppo": "multispin_agents.ppo:SETTINGS",
        "decentralised": "multispin_agents.ppo:DECENTRALISED",
        "evolution": "multispin_agents.evolution:SETTINGS",
        "generalist": "multispin_agents.apg:GENERALIST",
    },
)

PRETRAINED = {
    "MultiSpin/Homogeneous-v0": "homogeneous",
    "MultiSpin/Heterogeneous-v0": "heterogeneous",
    "MultiSpin/HiddenAcceptance-v0": "hidden_acceptance",
    "MultiSpin/DelayedChannel-v0": "delayed_channel",
    "MultiSpin/RecordedAcceptance-v0": "recorded_acceptance",
    "MultiSpin/Fair-v0": "fair",
    "MultiSpin/DraftAhead-v0": "draft_ahead",
    "MultiSpin/Energy-v0": "energy",
    "MultiSpin/Continuous-v0": "continuous",
    "MultiSpin/Serving-v0": "serving",
}
"""Names of folders in ``agents/multispin_agents/pretrained`` by environment id."""

OPTION = f"{FORM}, your own agent"


def admit(name: str) -> None:
    """Accept an agent that the user names: one of `AGENTS`, or ``module:ATTRIBUTE``, which is imported.

    The module may also be in the current folder. Raises ``ValueError`` for any other name.
    """
    if not is_outside(name):
        check_name("agent", name, (*AGENTS.names(), FORM))
    AGENTS.admit(name)


def check_admitted(name: object) -> None:
    """Raise ``ValueError`` unless a run may use the agent: one of this package, or one that the user has admitted."""
    if is_outside(name) and name not in AGENTS.names():
        raise ValueError(f"agent: expected --agent {name} too, since runs cannot import modules, got no such option")
    check_name("agent", name, AGENTS.names())
