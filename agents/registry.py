"""Tables of what can be trained and what is trained already, and agents from outside by ``module:ATTRIBUTE``.

A module is only imported when the user names it. A run names its agent too, but it may be the run of a stranger.
"""

import re

from multispin_env.checks import check_name
from multispin_env.registry import FORM, Registry, is_outside

AGENTS: Registry = Registry(
    "agent",
    "agents.base:AgentSettings",
    {
        "apg": "agents.apg:SETTINGS",
        "ppo": "agents.ppo:SETTINGS",
        "sac": "agents.sac:SETTINGS",
        "decentralised": "agents.ppo:DECENTRALISED",
        "evolution": "agents.evolution:SETTINGS",
        "generalist": "agents.apg:GENERALIST",
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
    "MultiSpin/Continuous-v0": "continuous",
    "MultiSpin/Serving-v0": "serving",
}
"""Environment ids with the folders in ``agents/pretrained`` of the agents trained for them."""


OPTION = f"{FORM}, an agent of your own"


def admit(name: str) -> None:
    """Let a name that the user gave stand for an agent: of `AGENTS`, or ``module:ATTRIBUTE``, which is imported.

    Modules of the present folder are found too. ``ValueError`` if it names none.
    """
    if not is_outside(name):
        check_name("agent", name, (*AGENTS.names(), FORM))
    AGENTS.admit(name)


def check_admitted(name: object) -> None:
    """``ValueError`` unless a run may have this agent: one of this package, or one that the user named."""
    if is_outside(name) and name not in AGENTS.names():
        raise ValueError(f"agent: expected that you name it, --agent {name}, since its module is not imported unasked")
    check_name("agent", name, AGENTS.names())


def to_file_name(name: str) -> str:
    """An agent's name as a part of names of files."""
    return re.sub(r"[^\w.-]+", "-", name)
