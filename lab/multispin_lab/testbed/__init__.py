"""A server that verifies the drafts of real devices over a network (extra ``testbed``).

Importing it registers the environment ``MultiSpin/Testbed-v0`` with Gymnasium.
"""

import gymnasium as gym

from multispin_env.checks import missing_package

try:
    from multispin_lab.models.loading import load_model
    from multispin_lab.models.prompts import read_prompts
    from multispin_lab.testbed.device import draft_for
    from multispin_lab.testbed.server import Settings, Testbed
    from multispin_lab.testbed.transport import new_key
except ModuleNotFoundError as error:
    raise missing_package(str(error.name), "testbed") from error

__all__ = ["Settings", "Testbed", "draft_for", "load_model", "new_key", "read_prompts"]

_HOME = "multispin_lab.testbed.environment"

gym.register(
    "MultiSpin/Testbed-v0",
    f"{_HOME}:TestbedEnv",
    vector_entry_point=f"{_HOME}:refuse_vector",
    nondeterministic=True,  # times are measured
)
