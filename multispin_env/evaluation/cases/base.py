"""Protocol of cases: states or episodes that contenders are compared on."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from multispin_env.arrays import FloatArray
from multispin_env.evaluation.comparison import Row
from multispin_env.evaluation.episode_stats import EpisodeStats
from multispin_env.evaluation.episodes import ReportProgress
from multispin_env.scenario import Scenario


class Cases(Protocol):
    """n cases, the same for everyone who is compared on them."""

    noun: ClassVar[str]
    """What they are, in plural."""

    default_size: ClassVar[int]
    """How many a table has unless told otherwise."""

    watched_size: ClassVar[int]
    """How many a training run watches itself on."""

    reference_title: ClassVar[str]
    """What the head of a table calls the reference."""

    @property
    def size(self) -> int:
        """n."""
        ...

    @property
    def seed(self) -> int:
        """Of the first."""
        ...

    @property
    def metric(self) -> str:
        """What they are compared by, one of `METRICS`."""
        ...

    @property
    def reference(self) -> str:
        """Name of the best that is known."""
        ...

    @property
    def best_known(self) -> str:
        """What the reference is, in words."""
        ...

    @property
    def contenders(self) -> tuple[str, ...]:
        """Names worth comparing."""
        ...

    @property
    def title(self) -> str:
        """What the cases are, in words."""
        ...

    @property
    def about(self) -> dict[str, Any]:
        """What they are, for a file."""
        ...

    def play(self, contender: Any, progress: ReportProgress | None = None) -> EpisodeStats:
        """Let a contender, or the one of a name, play every case."""
        ...

    def values(self, contender: Any) -> FloatArray:
        """The metric (n,) of a contender, or of the one of a name; more is better."""
        ...

    def table(self, contenders: Mapping[str, Any]) -> list[Row]:
        """Compare contenders by name, the reference among them, in the order of `compare`."""
        ...


def listed_contenders(cases: Cases) -> dict[str, str]:
    """The reference of cases and all that is worth comparing there, each once, for their ``table``."""
    return {name: name for name in (cases.reference, *cases.contenders)}


def heading(env_id: str, arguments: Mapping[str, Any], scenario: Scenario, what: str) -> str:
    """The system that a table is about, and what it shows of it, in a line."""
    chosen = "".join(f", {name}={value}" for name, value in arguments.items())
    megahertz = scenario.total_bandwidth / 1e6
    return f"{env_id}{chosen}, {scenario.label}, K = {scenario.num_users}, B = {megahertz:g} MHz, {what}"
