"""Registration of environments with Gymnasium."""

from inspect import get_annotations

import gymnasium as gym

from multispin_env.envs.config import EnvConfig
from multispin_env.registry import ENVIRONMENTS


def register_environment(config: type[EnvConfig]) -> None:
    """Register your own environment for ``gym.make``, ``gym.make_vec`` and all commands.

    ``ValueError`` if the class has no ``env_id`` of its own, has fields but is no dataclass, or the id is taken.

    Parameters
    ----------
    config
        Frozen dataclass derived from `EnvConfig` with a new ``env_id``, such as ``"Mine/Fast-v0"``; its fields are the
        environment's own arguments.

    Examples
    --------
    >>> import gymnasium as gym, multispin_env as ms
    >>> class Own(ms.RoundsConfig):
    ...     env_id = "Mine/Own-v0"
    >>> ms.register_environment(Own)
    >>> gym.make("Mine/Own-v0", num_users=2).action_space.shape
    (2, 2)
    >>> ms.envs.unregister_environment("Mine/Own-v0")
    """
    if not isinstance(vars(config).get("env_id") if isinstance(config, type) else None, str):
        raise ValueError(f"config: expected a class derived from EnvConfig with its own env_id, got {config!r}")
    if get_annotations(config) and "__dataclass_fields__" not in vars(config):  # else its defaults would be ignored
        raise ValueError(f"config: expected @dataclass(frozen=True, kw_only=True) for new fields, got {config!r}")
    ENVIRONMENTS.register(config.env_id, config)
    _register(config.env_id, "multispin_env.envs.base:MultiSpinEnv")


def unregister_environment(env_id: str) -> None:
    """Remove an environment from Gymnasium and from `ENVIRONMENTS`; ``ValueError`` if it is unknown.

    Examples
    --------
    >>> import multispin_env as ms
    >>> class Gone(ms.RoundsConfig):
    ...     env_id = "Mine/Gone-v0"
    >>> ms.register_environment(Gone)
    >>> ms.envs.unregister_environment("Mine/Gone-v0")
    >>> "Mine/Gone-v0" in ms.registry.ENVIRONMENTS.names()
    False
    """
    ENVIRONMENTS.unregister(env_id)
    gym.registry.pop(env_id, None)


def register_packaged_environments() -> None:
    """Register the environments of this package with Gymnasium."""
    for env_id in ENVIRONMENTS.names():
        if env_id not in gym.registry:
            _register(env_id, f"{ENVIRONMENTS.target(env_id)}Env")


def _register(env_id: str, entry_point: str) -> None:
    vector = "multispin_env.envs.base:MultiSpinVectorEnv"
    gym.register(env_id, entry_point=entry_point, vector_entry_point=vector, kwargs={"env_id": env_id})
