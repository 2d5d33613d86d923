"""What both shells share: a class for each variant, so that its help is the variant's page, and pickles of it."""

from functools import cache
from typing import Any, ClassVar, Self

from multispin_env.envs.settings import Variant


class Shell:
    """Base of the single and the vector environments."""

    variant_type: ClassVar[type[Variant]]
    suffix: ClassVar[str]
    """End of the names of its classes; they begin with the variant's."""

    @classmethod
    def of(cls, variant: type[Variant]) -> type[Self]:
        """Return the class for a variant, always the same one."""
        found: type[Self] = _class_of(cls, variant)  # type: ignore[arg-type]
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        """Classes are made from variants, so that is how pickles name them."""
        return _blank, (type(self).__base__, self.variant_type), self.__dict__


@cache
def _class_of(shell: Any, variant: Any) -> Any:
    fields = {"variant_type": variant, "__doc__": variant.page(), "__module__": variant.__module__}
    return type(f"{variant.__name__}{shell.suffix}", (shell,), fields)


def _blank(shell: type[Shell], variant: type[Variant]) -> Any:
    return object.__new__(_class_of(shell, variant))  # type: ignore[arg-type]
