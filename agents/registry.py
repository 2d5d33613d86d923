"""Tables of what can be trained and what is trained already."""

from multispin_env.registry import Registry

AGENTS: Registry = Registry(
    "agent",
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
    "MultiSpin/Continuous-v0": "continuous",
    "MultiSpin/Serving-v0": "serving",
}
"""Environment ids with the folders in ``agents/pretrained`` of the agents trained for them."""
