"""Registration with Gymnasium, single and vector, and the files that arguments of an environment name."""

import filecmp
from collections.abc import Mapping
from dataclasses import fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

import gymnasium as gym

from multispin_env.checks import shown
from multispin_env.envs.variant import Variant
from multispin_env.files import beside
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


def file_names(variant: type[Variant] | Variant) -> dict[str, str]:
    """Arguments that may be paths, each with the name that its file has beside a configuration."""
    return {entry.name: entry.metadata["file"] for entry in fields(variant) if "file" in entry.metadata}


def named_files(variant: type[Variant], arguments: Mapping[str, Any]) -> dict[str, Path]:
    """Paths of the files that arguments name, each by the name that its copy has beside a configuration."""
    given = {copy: arguments.get(name) for name, copy in file_names(variant).items()}
    return {copy: Path(value) for copy, value in given.items() if isinstance(value, str | PathLike)}


def saved_arguments(variant: type[Variant], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as a configuration holds them: names of the copies beside it instead of paths of this machine."""
    names = file_names(variant)
    copies = {name: copy for name, copy in names.items() if isinstance(arguments.get(name), str | PathLike)}
    return {**arguments, **copies}


def loaded_arguments(
    variant: type[Variant], arguments: Mapping[str, Any], folder: Path, given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Arguments of a configuration in a folder, which may come from a stranger, with paths instead of names.

    What the user has ``given`` himself may be any path; ``None`` where he can't. ``ValueError`` for arguments that are
    no table, or another name that is not one of a file in the folder.
    """
    if not isinstance(arguments, Mapping):
        raise ValueError(f"arguments: expected a table of names and values, got {shown(arguments)}")
    loaded = dict(arguments)
    for name in file_names(variant):
        if loaded.get(name) is None:
            continue
        path = beside(folder, loaded[name])
        if path is None and name not in (given or {}):
            way = "" if given is None else f", or your own path by --set {name}=PATH"
            raise ValueError(f"{name}: expected a file beside the configuration{way}, got {shown(loaded[name])}")
        loaded[name] = given[name] if path is None and given is not None else str(path)
    return loaded


def with_same_files(variant: Variant, other: Variant) -> Variant:
    """A variant with the paths of another, as long as the same bytes are there."""
    paths = {name: (getattr(variant, name), getattr(other, name, None)) for name in file_names(variant)}
    return replace(variant, **{name: theirs for name, (own, theirs) in paths.items() if _same(own, theirs)})


def _same(path: object, other: object) -> bool:
    try:
        return isinstance(path, str) and isinstance(other, str) and filecmp.cmp(path, other, shallow=False)
    except OSError:
        return False
