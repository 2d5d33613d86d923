"""Settings of a view: controls, checks, the query of a link, and the scenario; scenario files that it may read."""

from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import parse_qsl, urlencode

from typing_extensions import override

from multispin_env.checks import check_integer, check_keywords, check_name, check_real, shown
from multispin_env.draft import PAYLOADS
from multispin_env.registry import FLEETS, SCENARIOS, SERVERS
from multispin_env.scenario import Scenario
from multispin_env.units import MHZ, MS
from multispin_lab.explore.markup import Markup


@dataclass(frozen=True)
class ScenarioSources:
    """Scenarios that the page may read: the presets and the file of the command line."""

    scenario_file: Path | None = None

    def scenarios(self) -> tuple[str, ...]:
        """Names of scenarios: the file first, then the presets."""
        files = () if self.scenario_file is None else (str(self.scenario_file),)
        return (*files, *SCENARIOS.names())

    def scenario(self, name: str) -> Scenario:
        """Load a scenario by a name in `scenarios`; ``ValueError`` for any other name, also of a file."""
        check_name("scenario", name, self.scenarios())
        return Scenario.resolve(name) if name in SCENARIOS.names() else Scenario.load(name)


MAX_QUERY_LENGTH = 8192  # characters


@dataclass(frozen=True)
class Control:
    """Input element of a setting; without a label a hidden text, written by another part of the page."""

    label: str = ""

    def read(self, name: str, text: str, default: Any) -> Any:
        """Parse the value of a link."""
        return text

    def check(self, name: str, value: Any, default: Any) -> None:
        """Raise ``ValueError`` for a value that the control can't have."""


@dataclass(frozen=True)
class Slider(Control):
    """Slider of a number in [low, high]; an integer if the default is one."""

    low: float = 0.0
    high: float = 1.0
    step: float = 1
    unit: str = ""

    @override
    def read(self, name: str, text: str, default: Any) -> float | int:
        try:
            return int(text) if isinstance(default, int) else float(text)
        except (ValueError, TypeError):
            expected = f"a number from {self.low:g} to {self.high:g}"
            raise ValueError(f"{name}: expected {expected}, got {shown(text)}") from None

    @override
    def check(self, name: str, value: Any, default: Any) -> None:
        if isinstance(default, int):
            check_integer(name, value, int(self.low), int(self.high))
        else:
            check_real(name, value, self.low, self.high)


@dataclass(frozen=True)
class Choice(Control):
    """Menu of names; those of a function are checked by `check_choices`."""

    options: Callable[[ScenarioSources], Sequence[str]] | Sequence[str] = ()
    scenario_value: Callable[[Scenario], Any] | None = None  # value of the scenario, if the first option keeps it

    def names(self, sources: ScenarioSources) -> Sequence[str]:
        """Return the names of the menu."""
        return self.options(sources) if callable(self.options) else self.options

    @override
    def check(self, name: str, value: Any, default: Any) -> None:
        if not callable(self.options):
            check_name(name, value, self.options)


def control_field(default: Any, control: Control) -> Any:
    """Return a dataclass field with its control."""
    return field(default=default, metadata={"control": control})


MAX_DEVICES = 40  # so that answers are quick

AS_IS = "as in the scenario"  # option that keeps the scenario's value

CONTEXTS = tuple(str(1024 * 2**power) for power in range(8))  # tokens


def law_label(scenario: Scenario) -> str:
    """Return the name of a scenario's server, or the formula of its verification time for K drafts and n tokens."""
    if scenario.server:
        return scenario.server
    law = scenario.law
    drafts = {"": law.fixed_time, " K": law.time_per_draft}
    terms = [f"{time / MS:.4g} ms{unit}" for unit, time in drafts.items() if time]
    lines = [f"{start / MS:.4g} ms + {slope / MS:.4g} ms n" for start, slope in law.pieces]
    return " + ".join([*terms, *([f"max({', '.join(lines)})"] if lines else [])])


@dataclass(frozen=True)
class SystemSettings:
    """Base of the views of the page, each a function of its settings: the scenario; each field is a `control_field`."""

    title: ClassVar[str]
    about: ClassVar[str]  # purpose, in one or two sentences
    scripts: ClassVar[tuple[str, ...]] = ()  # further files of ``assets``, which listen to the event ``drawn``

    scenario: str = control_field("llama2", Choice("scenario", ScenarioSources.scenarios))
    num_users: int = control_field(20, Slider("devices K", 1, MAX_DEVICES))
    megahertz: float = control_field(10.0, Slider("bandwidth B", 0.5, 40.0, 0.5, "MHz"))
    snr_shift: float = control_field(0.0, Slider("mean SNR offset", -20.0, 20.0, 0.5, "dB"))
    spread: float = control_field(1.0, Slider("spread of devices, factor", 0.0, 2.0, 0.05, "×"))
    draft_factor: float = control_field(1.0, Slider("draft time, factor", 0.1, 4.0, 0.1, "×"))
    server: str = control_field(AS_IS, Choice("server", lambda sources: (AS_IS, *SERVERS.names()), law_label))
    fleet: str = control_field(
        AS_IS, Choice("fleet", (AS_IS, *FLEETS.names()), lambda s: s.devices.fleet_name or "none")
    )
    context: str = control_field(AS_IS, Choice("context, tokens", (AS_IS, *CONTEXTS), lambda base: base.context))
    payload: str = control_field(AS_IS, Choice("payload", (AS_IS, *PAYLOADS), lambda base: base.payload))
    shortest: str = control_field(AS_IS, Choice("min. draft length", (AS_IS, "0", "1"), lambda s: s.min_draft_length))

    def __post_init__(self) -> None:
        for entry, control in self.controls():
            control.check(entry.name, getattr(self, entry.name), entry.default)

    @classmethod
    def controls(cls) -> list[tuple[Field[Any], Control]]:
        """Return the fields, each with its control."""
        return [(entry, entry.metadata["control"]) for entry in fields(cls)]

    @classmethod
    def from_query(cls, query: str) -> Self:
        """Parse the query of a link, with or without its question mark; ``ValueError`` or ``TypeError`` if bad."""
        if len(query) > MAX_QUERY_LENGTH:
            raise ValueError(f"link: expected at most {MAX_QUERY_LENGTH} characters, got {len(query)}")
        pairs = parse_qsl(query.removeprefix("?"), keep_blank_values=True)
        if len(dict(pairs)) < len(pairs):
            raise ValueError(f"link: expected each name once, got {shown(query)}")
        known = {entry.name: (entry, control) for entry, control in cls.controls()}
        check_keywords("link", dict(pairs), known)
        return cls(**{name: known[name][1].read(name, text, known[name][0].default) for name, text in pairs})

    def compute(self, sources: ScenarioSources) -> Any:
        """Compute the numbers of the page."""
        raise NotImplementedError

    def draw(self, results: Any) -> Markup:
        """Return the HTML of the numbers."""
        raise NotImplementedError

    def as_command(self, sources: ScenarioSources) -> str:
        """Return the command that prints the numbers."""
        raise NotImplementedError

    def check_choices(self, sources: ScenarioSources) -> None:
        """Raise ``ValueError`` for a name that is in no menu, such as that of another file."""
        for entry, control in self.controls():
            if isinstance(control, Choice):
                check_name(entry.name, getattr(self, entry.name), control.names(sources))

    def query(self) -> str:
        """Return the query for `from_query`: the scenario and all settings that differ from the default."""
        values = [(entry.name, getattr(self, entry.name), entry.default) for entry, _ in self.controls()]
        return urlencode({name: value for name, value, default in values if value != default or name == "scenario"})

    def option_labels(self, sources: ScenarioSources) -> dict[str, str]:
        """Return labels with the scenario's value, for menus with an option that keeps it, by the setting's name."""
        base = sources.scenario(self.scenario)
        return {
            entry.name: f"scenario: {control.scenario_value(base)}"
            for entry, control in self.controls()
            if isinstance(control, Choice) and control.scenario_value
        }

    @classmethod
    def start(cls, sources: ScenarioSources) -> Self:
        """Return the initial settings: the scenario file, if there is one, or the defaults."""
        if sources.scenario_file is None:
            return cls()
        name = str(sources.scenario_file)
        base = sources.scenario(name)
        return cls(scenario=name, num_users=base.num_users, megahertz=base.total_bandwidth / MHZ)

    def overrides(self, base: Scenario) -> dict[str, Any]:
        """Return the fields of the scenario that the settings change."""
        changes: dict[str, Any] = {"num_users": self.num_users, "total_bandwidth": round(self.megahertz * MHZ, 3)}
        if self.snr_shift:
            changes["transmit_snr_db"] = round(base.transmit_snr_db + self.snr_shift, 6)
        if self.spread != 1.0:
            mean = (base.mean_gain_high + base.mean_gain_low) / 2.0
            half = min(self.spread * (base.mean_gain_high - base.mean_gain_low) / 2.0, 0.99 * mean)
            changes["draft_time_spread"] = round(min(self.spread * base.draft_time_spread, 0.99), 6)
            changes |= {"mean_gain_low": round(mean - half, 9), "mean_gain_high": round(mean + half, 9)}
        if self.draft_factor != 1.0:
            changes["mean_draft_time"] = round(base.mean_draft_time * self.draft_factor, 9)
            if base.draft_context_time:
                changes["draft_context_time"] = base.draft_context_time * self.draft_factor
        changes |= {name: value for name in ("server", "fleet", "payload") if (value := getattr(self, name)) != AS_IS}
        menus = {"context": self.context, "min_draft_length": self.shortest}
        return changes | {name: int(value) for name, value in menus.items() if value != AS_IS}

    def system(self, sources: ScenarioSources) -> Scenario:
        """Return the scenario with all changes; ``ValueError`` if not allowed or inconsistent."""
        base = sources.scenario(self.scenario)
        return base.replace(**self.overrides(base))

    def option_words(self, sources: ScenarioSources, *without: str) -> list[str]:
        """Return the command-line options for `system`, except those of some fields."""
        words, last = ["--scenario", self.scenario], []
        for name, value in self.overrides(sources.scenario(self.scenario)).items():
            if name in ("total_bandwidth", "num_users", "server", "fleet") and name not in without:
                words += [f"--{name.replace('_', '-')}", f"{value}"]
            elif name not in without:
                last += ["--set", f"{name}={value}"]
        return words + last
