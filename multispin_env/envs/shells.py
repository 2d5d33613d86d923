"""Base of both shells: the engine of a variant, and a class for it, so that its help is the variant's page."""

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from multispin_env.checks import check_name
from multispin_env.controllers.base import Assumptions
from multispin_env.envs.objectives import Objective
from multispin_env.envs.observations import Observation
from multispin_env.envs.rendering.renderers import Renderer
from multispin_env.envs.settings import Settings, Variant


class Shell:
    """Base of the single and the vector environments."""

    variant_type: ClassVar[type[Variant]]
    suffix: ClassVar[str]
    """End of the names of its classes; they begin with the variant's."""
    renderers: ClassVar[Mapping[str, type[Renderer]]]
    """By render mode."""
    metadata: dict[str, Any]

    @classmethod
    def of(cls, variant: type[Variant]) -> type[Self]:
        """Return the class for a variant, always the same one."""
        made: type[Self] = _class_of(cls, variant)  # type: ignore[arg-type]
        return made

    def _start_engine(self, settings: Settings, num_copies: int) -> None:
        """What every shell holds; ``ValueError`` where the scenario does not allow the variant."""
        self.settings = settings
        self.scenario = settings.scenario
        self.variant = settings.variant
        self._engine = settings.engine(num_copies)
        self._told: dict[str, NDArray[Any]] | None = None  # by a step

    def _make_renderer(self, mode: str | None, num_copies: int) -> Renderer | None:
        """What a render mode asks for; ``None`` if nothing is to be drawn, ``ValueError`` for an unknown mode."""
        if mode is None:
            return None
        check_name("render_mode", mode, self.renderers)
        family = self.variant.family
        return self.renderers[mode](family.recorder(self.settings, num_copies), family.drawing())

    def _own(self, batched: Any) -> Any:
        """What is handed out of the arrays (n, ...) of all copies."""
        raise NotImplementedError

    def _check_seeded(self, what: str) -> None:
        """``RuntimeError`` before `reset`."""
        raise NotImplementedError

    def _check_shape(self, action: NDArray[Any]) -> None:
        """``ValueError`` for an action of another shape."""
        raise NotImplementedError

    @property
    def state(self) -> Any:
        """What prices the next action, arrays (K,) or (n, K) in physical units; parts of it may be hidden from agents.

        Raises
        ------
        RuntimeError
            Before `reset` of all copies.
        """
        self._check_seeded("state")
        return self._own(self._engine.state).copy()

    @property
    def observed(self) -> Any:
        """What plug-ins may know before the next action: what the observation shows, but not rounded.

        `Observed`, arrays (K,) or (n, K), and without the barrier a `ContinuousObserved`.

        Raises
        ------
        RuntimeError
            Before `reset` of all copies.
        """
        self._check_seeded("observed")
        return self._own(self._engine.observed).copy()

    @property
    def objective(self) -> Objective:
        """What steps are rewarded for."""
        return self._engine.objective

    def encode_action(self, decision: Any) -> NDArray[np.float32]:
        """Return the action that decodes to this decision (K,) or (n, K) now."""
        return self._engine.actions.encode(decision, self._own(self._engine.planned))

    def decode_action(self, action: NDArray[Any]) -> Any:
        """Return the decision (K,) or (n, K) that an action means now."""
        self._check_shape(action)
        return self._engine.actions.decode(action, self._own(self._engine.planned))

    @property
    def assumptions(self) -> Assumptions:
        """What an engineer may know of this environment from past data; plug-in controllers start from it."""
        return self.variant.assumptions(self.scenario)

    def _unplayed(self, copies: int) -> dict[str, NDArray[Any]]:
        """Info of so many copies that have not played: the arrays of a step's, all 0. Some libraries want them.

        A step of a copy that nobody sees says which there are.
        """
        if self._told is None:
            engine = self.settings.engine(1)
            engine.seed(0, np.random.default_rng(0))
            engine.reset()
            self._told = engine.step(np.zeros((1, *engine.actions.space.shape))).info
        return {key: np.zeros((copies, *value.shape[1:]), value.dtype) for key, value in self._told.items()}

    def decode_observation(self, observation: Observation) -> Any:
        """Return what an observation shows in physical units: arrays (K,), or (n, K) of a vector."""
        return self._engine.observations.decode(observation)

    def __reduce__(self) -> tuple[Any, ...]:
        """Classes are made from variants, so that is how pickles name them."""
        return _blank, (type(self).__base__, self.variant_type), self.__dict__


@cache
def _class_of(shell: Any, variant: Any) -> Any:
    about = {"__doc__": variant.page(), "__module__": variant.__module__}
    return type(f"{variant.__name__}{shell.suffix}", (shell,), {"variant_type": variant, **about})


def _blank(shell: type[Shell], variant: type[Variant]) -> Any:
    return object.__new__(_class_of(shell, variant))  # type: ignore[arg-type]
