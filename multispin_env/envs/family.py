"""Common properties of the environments of a family, and keys of their infos."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from multispin_env.envs.rendering.renderers import Film, Renderer, Sheet
from multispin_env.registry import Registry


@dataclass(frozen=True)
class Family:
    """Common properties of all environments of a family."""

    name: str  # "rounds" or "continuous", an argument of `controller_names`
    encodings: Registry  # allowed values of ``action``
    universal_encoding: str  # the encoding that can express every decision
    renderer: type[Renderer]
    sheet: Callable[[], Sheet]  # draws the views of a renderer
    film: Callable[[list[Any], list[Any]], Film]  # from the views of two episodes, one view for each step


@dataclass(frozen=True)
class InfoKeys:
    """Keys of ``info`` that comparisons sum over steps."""

    tokens: str  # (K,) gained tokens
    drafted: str  # (K,) drafted tokens
    time: str  # s
    goodput: str | None  # tokens/s of a step; None if steps are not averaged
    episode: tuple[str, ...] = ()  # (n,), totals of the episode so far
