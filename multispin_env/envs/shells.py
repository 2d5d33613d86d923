"""What both shells share: the engine of a variant, and a class for it, so that its help is the variant's page."""

from functools import cache
from typing import Any, ClassVar, Self

from multispin_env.controllers.assumptions import Assumptions
from multispin_env.envs.engine import Observation
from multispin_env.envs.settings import Settings, Variant
from multispin_env.physics.types import Observed


class Shell:
    """Base of the single and the vector environments."""

    variant_type: ClassVar[type[Variant]]
    suffix: ClassVar[str]
    """End of the names of its classes; they begin with the variant's."""

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

    @property
    def assumptions(self) -> Assumptions:
        """What an engineer may know of this environment from past data; plug-in controllers start from it."""
        return self.variant.assumptions(self.scenario)

    def decode_observation(self, observation: Observation) -> Observed:
        """Return what an observation shows in physical units: arrays (K,), or (n, K) of a vector."""
        return self._engine.decode_observation(observation)

    def __reduce__(self) -> tuple[Any, ...]:
        """Classes are made from variants, so that is how pickles name them."""
        return _blank, (type(self).__base__, self.variant_type), self.__dict__


@cache
def _class_of(shell: Any, variant: Any) -> Any:
    fields = {"variant_type": variant, "__doc__": variant.page(), "__module__": variant.__module__}
    return type(f"{variant.__name__}{shell.suffix}", (shell,), fields)


def _blank(shell: type[Shell], variant: type[Variant]) -> Any:
    return object.__new__(_class_of(shell, variant))  # type: ignore[arg-type]
