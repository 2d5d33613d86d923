"""A server that verifies the drafts of real devices over a network (extra ``testbed``).

Importing it registers the environment ``MultiSpin/Testbed-v0`` with Gymnasium.
"""

import gymnasium as gym

_HOME = "multispin_env.apps.testbed.environment"

gym.register(
    "MultiSpin/Testbed-v0",
    f"{_HOME}:TestbedEnv",
    vector_entry_point=f"{_HOME}:refuse_vector",
    nondeterministic=True,  # times are measured
)
