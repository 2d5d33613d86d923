"""A server that verifies the drafts of real devices over a network (extra ``testbed``).

Importing it registers the environment ``MultiSpin/Testbed-v0`` with Gymnasium.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from multispin_env.checks import missing_package

if TYPE_CHECKING:
    from multispin_lab.models.loading import load_model
    from multispin_lab.models.prompts import read_prompts
    from multispin_lab.testbed.device import draft_for
    from multispin_lab.testbed.server import Settings, Testbed
    from multispin_lab.testbed.transport import new_key

__all__ = ["Settings", "Testbed", "draft_for", "load_model", "new_key", "read_prompts"]

_LATE = {
    "Settings": "testbed.server",
    "Testbed": "testbed.server",
    "draft_for": "testbed.device",
    "load_model": "models.loading",
    "new_key": "testbed.transport",
    "read_prompts": "models.prompts",
}
"""Modules of the names, imported at first use: a device needs neither SciPy nor Numba."""


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"multispin_lab.{_LATE[name]}"), name)
    except ModuleNotFoundError as error:
        raise missing_package(str(error.name), "testbed") from error


_HOME = "multispin_lab.testbed.environment"

gym.register(
    "MultiSpin/Testbed-v0",
    f"{_HOME}:TestbedEnv",
    vector_entry_point=f"{_HOME}:refuse_vector",
    nondeterministic=True,  # times are measured
)
