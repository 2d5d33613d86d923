"""The system of a view: a scenario with what the sliders change, the same as text of Python and of a command line."""

import shlex
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from multispin_env.explore.places import Places
from multispin_env.explore.settings import Choice, Slider, ViewSettings, controlled
from multispin_env.registry import SCENARIOS, SERVERS
from multispin_env.scenario import PAYLOADS, Scenario
from multispin_env.units import MHZ

MOST_DEVICES = 40
"""Largest K of a page: one answer stays quick, whoever asks."""

OWN_LAW = "own law"
"""Choice that keeps the scenario's own law of verification."""

AS_IS = "as in the scenario"
"""Choice that keeps the scenario's own value."""

WIDEST = 0.99
"""Largest spread of anything."""


@dataclass(frozen=True)
class SystemSettings(ViewSettings):
    """What views over one system have in common."""

    always: ClassVar[tuple[str, ...]] = ("scenario",)

    scenario: str = controlled("llama2", Choice("scenario", Places.scenarios))
    num_users: int = controlled(20, Slider("devices K", 1, MOST_DEVICES))
    megahertz: float = controlled(10.0, Slider("bandwidth B", 0.5, 40.0, 0.5, "MHz"))
    snr_shift: float = controlled(0.0, Slider("mean SNR, against the scenario's", -20.0, 20.0, 0.5, "dB"))
    spread: float = controlled(1.0, Slider("spread of the devices, times the scenario's", 0.0, 2.0, 0.05))
    draft_factor: float = controlled(1.0, Slider("draft time, times the scenario's", 0.1, 4.0, 0.1))
    server: str = controlled(OWN_LAW, Choice("server", lambda places: (OWN_LAW, *SERVERS.names())))
    payload: str = controlled(AS_IS, Choice("payload", (AS_IS, *PAYLOADS)))
    shortest: str = controlled(AS_IS, Choice("shortest draft", (AS_IS, "0", "1")))

    @classmethod
    def start(cls, places: Places) -> Self:
        """What a page begins with: the user's own scenario file as it is, or the defaults.

        Raises
        ------
        ValueError
            For a bad file, or one with more devices or bandwidth than a page shows.
        """
        if places.scenario_file is None:
            return cls()
        own = places.scenario(str(places.scenario_file))
        return cls(scenario=str(places.scenario_file), num_users=own.num_users, megahertz=own.total_bandwidth / MHZ)

    def overrides(self, base: Scenario) -> dict[str, Any]:
        """Fields of the scenario that the settings change."""
        wanted: dict[str, Any] = {"num_users": self.num_users, "total_bandwidth": round(self.megahertz * MHZ, 3)}
        if self.snr_shift:
            wanted["transmit_snr_db"] = round(base.transmit_snr_db + self.snr_shift, 6)
        if self.spread != 1.0:
            wanted |= self._spread(base)
        if self.draft_factor != 1.0:
            wanted["mean_draft_time"] = round(base.mean_draft_time * self.draft_factor, 9)
        if self.server != OWN_LAW:
            wanted["server"] = self.server
        if self.payload != AS_IS:
            wanted["payload"] = self.payload
        if self.shortest != AS_IS:
            wanted["min_draft_length"] = int(self.shortest)
        return wanted

    def _spread(self, base: Scenario) -> dict[str, float]:
        """Draft times and mean gains further from their means, or nearer."""
        mean = (base.mean_gain_high + base.mean_gain_low) / 2.0
        half = min(self.spread * (base.mean_gain_high - base.mean_gain_low) / 2.0, WIDEST * mean)
        return {
            "draft_time_spread": round(min(self.spread * base.draft_time_spread, WIDEST), 6),
            "mean_gain_low": round(mean - half, 9),
            "mean_gain_high": round(mean + half, 9),
        }

    def system(self, places: Places) -> Scenario:
        """The scenario with all of it.

        Raises
        ------
        ValueError
            For a scenario that the page may not read, or values that do not go together.
        """
        base = places.scenario(self.scenario)
        return base.replace(**self.overrides(base))

    def python_system(self, places: Places) -> str:
        """A line of Python that makes `system`."""
        changed = self.overrides(places.scenario(self.scenario))
        words = ", ".join(f"{name}={value!r}" for name, value in changed.items())
        if self.scenario in SCENARIOS.names():
            return f"scenario = ms.Scenario.preset({self.scenario!r}, {words})"
        return f"scenario = ms.Scenario.load({self.scenario!r}).replace({words})"

    def print_command(self, view: str, places: Places, *more: str) -> str:
        """The command that prints the numbers of a view, with ``more`` options that it needs."""
        file = [] if places.scenario_file is None else ["--scenario", str(places.scenario_file)]
        return shlex.join(["multispin", "explore", *file, *more, "--print", f"/{view}?{self.query()}"]) + "\n"

    def option_words(self, places: Places, *without: str) -> list[str]:
        """Options of a command that make `system`, without some fields."""
        changed = {
            name: value for name, value in self.overrides(places.scenario(self.scenario)).items() if name not in without
        }
        words = ["--scenario", self.scenario]
        for name, option in (
            ("total_bandwidth", "--total-bandwidth"),
            ("num_users", "--num-users"),
            ("server", "--server"),
        ):
            if name in changed:
                words += [option, f"{changed.pop(name)}"]
        return words + [word for name, value in changed.items() for word in ("--set", f"{name}={value}")]
