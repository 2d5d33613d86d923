"""Registration of environments with Gymnasium."""

from typing import Any

import gymnasium as gym

from multispin_env.envs.variant import Variant
from multispin_env.registry import ENVIRONMENTS


def register_environment(env_id: str, variant: type[Variant]) -> None:
    """Register your own environment for ``gym.make``, ``gym.make_vec`` and all commands.

    ``ValueError`` if the id is taken.

    Parameters
    ----------
    env_id
        New id, such as ``"Mine/Fast-v0"``.
    variant
        Frozen dataclass derived from `Variant`; its fields are the environment's own arguments.

    Examples
    --------
    >>> import gymnasium as gym, multispin_env as ms
    >>> from multispin_env.envs.rounds.variants import Heterogeneous
    >>> ms.register_environment("Mine/Own-v0", Heterogeneous)
    >>> gym.make("Mine/Own-v0", num_users=2).action_space.shape
    (2, 2)
    >>> ms.unregister_environment("Mine/Own-v0")
    """
    ENVIRONMENTS.register(env_id, variant)
    _register(env_id, "multispin_env.envs.base:Custom", env_id=env_id)


def unregister_environment(env_id: str) -> None:
    """Remove an environment from Gymnasium and from `ENVIRONMENTS`; ``ValueError`` if it is unknown.

    Examples
    --------
    >>> import multispin_env as ms
    >>> from multispin_env.envs.rounds.variants import Heterogeneous
    >>> ms.register_environment("Mine/Gone-v0", Heterogeneous)
    >>> ms.unregister_environment("Mine/Gone-v0")
    >>> "Mine/Gone-v0" in ms.registry.ENVIRONMENTS.names()
    False
    """
    ENVIRONMENTS.unregister(env_id)
    gym.registry.pop(env_id, None)


def register_packaged_environments() -> None:
    """Register the environments of this package with Gymnasium."""
    for env_id in ENVIRONMENTS.names():
        if env_id not in gym.registry:
            _register(env_id, ENVIRONMENTS.target(env_id))


def _register(env_id: str, classes: str, /, **kwargs: Any) -> None:
    gym.register(env_id, entry_point=f"{classes}Env", vector_entry_point=f"{classes}VectorEnv", kwargs=kwargs)
