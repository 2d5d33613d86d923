"""Registration with Gymnasium, single and vector."""

import gymnasium as gym

from multispin_env.envs.variant import Variant
from multispin_env.registry import ENVIRONMENTS


def register_environment(env_id: str, variant: type[Variant], max_episode_steps: int | None = None) -> None:
    """Register your own environment for ``gym.make``, ``gym.make_vec`` and everything that lists environments.

    Parameters
    ----------
    env_id
        A new id, such as ``"Mine/Fast-v0"``.
    variant
        A frozen dataclass derived from `Variant`; its fields are the environment's own arguments.
    max_episode_steps
        Steps after which ``gym.make`` truncates an episode; ``None`` for what the variant says.

    Raises
    ------
    ValueError
        If the id is taken.

    Examples
    --------
    >>> import gymnasium as gym, multispin_env as ms
    >>> from multispin_env.envs.rounds.variants import Heterogeneous
    >>> ms.register_environment("Mine/Short-v0", Heterogeneous, max_episode_steps=8)
    >>> gym.make("Mine/Short-v0", num_users=2).action_space.shape
    (2, 2)
    >>> ms.unregister_environment("Mine/Short-v0")
    """
    ENVIRONMENTS.register(env_id, variant)
    tell_gymnasium(env_id, max_episode_steps)


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


def tell_gymnasium(env_id: str, max_episode_steps: int | None = None) -> None:
    """Register an id of `ENVIRONMENTS` with Gymnasium, unless it is known there."""
    if env_id not in gym.registry:
        steps = ENVIRONMENTS.load(env_id).family.max_episode_steps if max_episode_steps is None else max_episode_steps
        gym.register(
            env_id,
            entry_point="multispin_env.envs.shells:make_single",
            vector_entry_point="multispin_env.envs.shells:make_vector",
            max_episode_steps=steps,
            kwargs={"env_id": env_id},
        )
