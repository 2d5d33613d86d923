"""Settings of a view: what its controls say, checked, as the query of a link, and as a system; files it may read."""

from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode

from typing_extensions import override

from multispin_env.checks import check_integer, check_keywords, check_name, check_real, shown
from multispin_env.registry import SCENARIOS, SERVERS
from multispin_env.scenario import PAYLOADS, Scenario
from multispin_env.units import MHZ, MS


@dataclass(frozen=True)
class ScenarioSources:
    """What the command line allows the page to read; a name that comes from the page is looked up here."""

    scenario_file: Path | None = None

    def scenarios(self) -> tuple[str, ...]:
        """Names of scenarios: the file first, then the presets."""
        own = () if self.scenario_file is None else (str(self.scenario_file),)
        return (*own, *SCENARIOS.names())

    def scenario(self, name: str) -> Scenario:
        """The scenario of a name in `scenarios`; any other is refused, whatever file it may be the path of."""
        check_name("scenario", name, self.scenarios())
        return Scenario.resolve(name) if name in SCENARIOS.names() else Scenario.load(name)


MAX_QUERY_LENGTH = 8192  # letters; more are refused


@dataclass(frozen=True)
class Control:
    """What gives a setting its value."""

    label: str = ""

    def read(self, name: str, text: str, default: Any) -> Any:
        """The value that a text stands for."""
        return text

    def check(self, name: str, value: Any, default: Any) -> None:
        """``ValueError`` for a value that this could not give."""
        raise NotImplementedError


@dataclass(frozen=True)
class Slider(Control):
    """A number between two others; whole where its default is whole."""

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
    """One of some names; those that a function gives are known only where the page is served, see `check_choices`."""

    options: Callable[[ScenarioSources], Sequence[str]] | Sequence[str] = ()
    kept: Callable[[Scenario], Any] | None = None  # the scenario's own value, where the first option keeps it

    def names(self, sources: ScenarioSources) -> Sequence[str]:
        """What can be chosen."""
        return self.options(sources) if callable(self.options) else self.options

    @override
    def check(self, name: str, value: Any, default: Any) -> None:
        if not callable(self.options):
            check_name(name, value, self.options)
        elif not isinstance(value, str):
            raise ValueError(f"{name}: expected a text, got {shown(value)}")


@dataclass(frozen=True)
class HiddenText(Control):
    """A text that has no control of its own: something else on the page writes it. The view itself checks it."""

    @override
    def check(self, name: str, value: Any, default: Any) -> None:
        if not isinstance(value, str) or len(value) > 4096:
            raise ValueError(f"{name}: expected a text of at most 4096 letters, got {shown(value)}")


def control_field(default: Any, control: Control) -> Any:
    """A field of settings with its control."""
    return field(default=default, metadata={"control": control})


MAX_DEVICES = 40  # of a page, so that an answer stays quick, whoever asks

OWN_LAW, AS_IS = "own law", "as in the scenario"
"""Choices that keep the scenario's own law of verification, or its own value."""


def law_label(scenario: Scenario) -> str:
    """Name of the server of a scenario, or its time of a pass of K drafts with n tokens as a formula."""
    if scenario.server:
        return scenario.server
    law = scenario.law
    drafts = {"": law.fixed_time, " K": law.time_per_draft}
    terms = [f"{time / MS:.4g} ms{unit}" for unit, time in drafts.items() if time]
    lines = [f"{start / MS:.4g} ms + {slope / MS:.4g} ms n" for start, slope in law.pieces]
    return " + ".join([*terms, *([f"max({', '.join(lines)})"] if lines else [])])


@dataclass(frozen=True)
class SystemSettings:
    """Settings of a view over one system: every field is `control_field`, and has a value that its control can give."""

    scenario: str = control_field("llama2", Choice("scenario", ScenarioSources.scenarios))
    num_users: int = control_field(20, Slider("devices K", 1, MAX_DEVICES))
    megahertz: float = control_field(10.0, Slider("bandwidth B", 0.5, 40.0, 0.5, "MHz"))
    snr_shift: float = control_field(0.0, Slider("mean SNR, against the scenario's", -20.0, 20.0, 0.5, "dB"))
    spread: float = control_field(1.0, Slider("spread of the devices, times the scenario's", 0.0, 2.0, 0.05))
    draft_factor: float = control_field(1.0, Slider("draft time, times the scenario's", 0.1, 4.0, 0.1))
    server: str = control_field(OWN_LAW, Choice("server", lambda sources: (OWN_LAW, *SERVERS.names()), law_label))
    payload: str = control_field(AS_IS, Choice("payload", (AS_IS, *PAYLOADS), lambda own: own.payload))
    shortest: str = control_field(AS_IS, Choice("shortest draft", (AS_IS, "0", "1"), lambda own: own.min_draft_length))

    def __post_init__(self) -> None:
        for entry, control in self.controls():
            control.check(entry.name, getattr(self, entry.name), entry.default)

    @classmethod
    def controls(cls) -> list[tuple[Field[Any], Control]]:
        """Fields, each with its control."""
        return [(entry, entry.metadata["control"]) for entry in fields(cls)]

    @classmethod
    def from_query(cls, query: str) -> Self:
        """Settings from the query of a link, with or without its question mark; a bad one is refused in a sentence."""
        if len(query) > MAX_QUERY_LENGTH:
            raise ValueError(f"link: expected at most {MAX_QUERY_LENGTH} letters, got {len(query)}")
        pairs = parse_qsl(query.removeprefix("?"), keep_blank_values=True)
        if len(dict(pairs)) < len(pairs):
            raise ValueError(f"link: expected each name once, got {shown(query)}")
        known = {entry.name: (entry, control) for entry, control in cls.controls()}
        check_keywords("link", dict(pairs), known)
        return cls(**{name: known[name][1].read(name, text, known[name][0].default) for name, text in pairs})

    def check_choices(self, sources: ScenarioSources) -> None:
        """``ValueError`` for a name that cannot be chosen here, as that of a file."""
        for entry, control in self.controls():
            if isinstance(control, Choice):
                check_name(entry.name, getattr(self, entry.name), control.names(sources))

    def query(self) -> str:
        """What `from_query` reads: the scenario, and the settings that are not the default."""
        values = [(entry.name, getattr(self, entry.name), entry.default) for entry, _ in self.controls()]
        return urlencode({name: value for name, value, default in values if value != default or name == "scenario"})

    def kept(self, sources: ScenarioSources) -> dict[str, str]:
        """Options that keep a value of the scenario, with this value, by the name of the setting."""
        base = sources.scenario(self.scenario)
        choices = ((entry, control) for entry, control in self.controls() if isinstance(control, Choice))
        return {entry.name: f"{entry.default}: {control.kept(base)}" for entry, control in choices if control.kept}

    @classmethod
    def start(cls, sources: ScenarioSources) -> Self:
        """What a page begins with: the user's own scenario file, if the page can show it as it is, or the defaults."""
        if sources.scenario_file is None:
            return cls()
        own = sources.scenario(str(sources.scenario_file))
        return cls(scenario=str(sources.scenario_file), num_users=own.num_users, megahertz=own.total_bandwidth / MHZ)

    def overrides(self, base: Scenario) -> dict[str, Any]:
        """Fields of the scenario that the settings change."""
        wanted: dict[str, Any] = {"num_users": self.num_users, "total_bandwidth": round(self.megahertz * MHZ, 3)}
        if self.snr_shift:
            wanted["transmit_snr_db"] = round(base.transmit_snr_db + self.snr_shift, 6)
        if self.spread != 1.0:
            wanted |= self._spread(base)
        if self.draft_factor != 1.0:
            wanted["mean_draft_time"] = round(base.mean_draft_time * self.draft_factor, 9)
        wanted |= {} if self.server == OWN_LAW else {"server": self.server}
        wanted |= {} if self.payload == AS_IS else {"payload": self.payload}
        return wanted | ({} if self.shortest == AS_IS else {"min_draft_length": int(self.shortest)})

    def _spread(self, base: Scenario) -> dict[str, float]:
        mean = (base.mean_gain_high + base.mean_gain_low) / 2.0
        half = min(self.spread * (base.mean_gain_high - base.mean_gain_low) / 2.0, 0.99 * mean)
        return {
            "draft_time_spread": round(min(self.spread * base.draft_time_spread, 0.99), 6),
            "mean_gain_low": round(mean - half, 9),
            "mean_gain_high": round(mean + half, 9),
        }

    def system(self, sources: ScenarioSources) -> Scenario:
        """The scenario with all of it; refused where the page may not read it, or values do not go together."""
        base = sources.scenario(self.scenario)
        return base.replace(**self.overrides(base))

    def option_words(self, sources: ScenarioSources, *without: str) -> list[str]:
        """Options of a command that make `system`, without some fields."""
        words, last = ["--scenario", self.scenario], []
        for name, value in self.overrides(sources.scenario(self.scenario)).items():
            if name in ("total_bandwidth", "num_users", "server") and name not in without:
                words += [f"--{name.replace('_', '-')}", f"{value}"]
            elif name not in without:
                last += ["--set", f"{name}={value}"]
        return words + last
