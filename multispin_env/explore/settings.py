"""Settings of a view: what its controls say, checked, and as the query of a link."""

from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, Self
from urllib.parse import parse_qsl, urlencode

from multispin_env.checks import check_integer, check_keywords, check_name, check_real, shown
from multispin_env.explore.places import Places

LONGEST_QUERY = 8192
"""Letters of a query; more are refused."""

CONTROL = "control"
"""Key of the metadata of a field."""


@dataclass(frozen=True)
class Slider:
    """A number between two others; whole where its default is whole."""

    label: str
    low: float
    high: float
    step: float = 1
    unit: str = ""

    def read(self, name: str, text: str, default: Any) -> float | int:
        """The number of a text."""
        try:
            return int(text) if isinstance(default, int) else float(text)
        except (ValueError, TypeError):
            raise ValueError(
                f"{name}: expected a number from {self.low:g} to {self.high:g}, got {shown(text)}"
            ) from None

    def check(self, name: str, value: Any, default: Any) -> None:
        """``ValueError`` for what is outside."""
        if isinstance(default, int):
            check_integer(name, value, int(self.low), int(self.high))
        else:
            check_real(name, value, self.low, self.high)


@dataclass(frozen=True)
class Choice:
    """One of some names; those that a function gives are known only where the page is served: `Settings.look_up`."""

    label: str
    options: Callable[[Places], Sequence[str]] | Sequence[str]

    def names(self, places: Places) -> Sequence[str]:
        """What can be chosen."""
        return self.options(places) if callable(self.options) else self.options

    def read(self, name: str, text: str, default: Any) -> str:
        """The text itself."""
        return text

    def check(self, name: str, value: Any, default: Any) -> None:
        """``ValueError`` for what is no name, or not one of names that are known."""
        if callable(self.options):
            if not isinstance(value, str):
                raise ValueError(f"{name}: expected a text, got {shown(value)}")
        else:
            check_name(name, value, self.options)


@dataclass(frozen=True)
class Kept:
    """A text that has no control of its own: something else on the page writes it. The view itself checks it."""

    longest: int = 4096

    def read(self, name: str, text: str, default: Any) -> str:
        """The text itself."""
        return text

    def check(self, name: str, value: Any, default: Any) -> None:
        """``ValueError`` for what is too long."""
        if not isinstance(value, str) or len(value) > self.longest:
            raise ValueError(f"{name}: expected a text of at most {self.longest} letters, got {shown(value)}")


Control = Slider | Choice | Kept


def controlled(default: Any, control: Control) -> Any:
    """A field of settings with its control."""
    return field(default=default, metadata={CONTROL: control})


@dataclass(frozen=True)
class ViewSettings:
    """Base of the settings of a view: every field is made by `controlled`, and has a default.

    Raises
    ------
    ValueError
        For a value that its control could not give.
    """

    always: ClassVar[tuple[str, ...]] = ()
    """Fields that a link names even where they have their default."""

    def __post_init__(self) -> None:
        for entry, control in self.controls():
            control.check(entry.name, getattr(self, entry.name), entry.default)

    @classmethod
    def controls(cls) -> list[tuple[Field[Any], Control]]:
        """Fields, each with its control."""
        return [(entry, entry.metadata[CONTROL]) for entry in fields(cls)]

    @classmethod
    def read(cls, texts: dict[str, Any]) -> Self:
        """Settings from texts by the names of fields; what is missing keeps its default.

        Raises
        ------
        ValueError, TypeError
            For an unknown name or a bad value, in one sentence.
        """
        known = {entry.name: (entry, control) for entry, control in cls.controls()}
        check_keywords("link", texts, known)
        values = {}
        for name, text in texts.items():
            entry, control = known[name]
            values[name] = control.read(name, str(text), entry.default)
        return cls(**values)

    @classmethod
    def from_query(cls, query: str) -> Self:
        """Settings from the query of a link, with or without its question mark.

        Raises
        ------
        ValueError, TypeError
            For an unknown name, one that is there twice, a bad value, or a query that is too long.
        """
        if len(query) > LONGEST_QUERY:
            raise ValueError(f"link: expected at most {LONGEST_QUERY} letters, got {len(query)}")
        pairs = parse_qsl(query.removeprefix("?"), keep_blank_values=True)
        if len(dict(pairs)) < len(pairs):
            raise ValueError(f"link: expected each name once, got {shown(query)}")
        return cls.read(dict(pairs))

    def look_up(self, places: Places) -> None:
        """``ValueError`` for a name that cannot be chosen here, as that of a file."""
        for entry, control in self.controls():
            if isinstance(control, Choice):
                check_name(entry.name, getattr(self, entry.name), control.names(places))

    def query(self) -> str:
        """What `from_query` reads: the settings that are not the default, and those that a link always names."""
        values = {entry.name: (getattr(self, entry.name), entry.default) for entry, _ in self.controls()}
        return urlencode(
            {name: value for name, (value, default) in values.items() if value != default or name in self.always}
        )
