"""Files that a page may read: one scenario file, and the folder of runs."""

from dataclasses import dataclass
from pathlib import Path

from multispin_env.checks import check_name, shown
from multispin_env.registry import SCENARIOS
from multispin_env.scenario import Scenario

RUNS = Path("runs")
"""Where training writes its runs."""


@dataclass(frozen=True)
class Places:
    """What the command line allows the page to read; a name that comes from the page is looked up here.

    Parameters
    ----------
    scenario_file
        A scenario file, or ``None``.
    runs
        Folder of runs.
    """

    scenario_file: Path | None = None
    runs: Path = RUNS

    def scenarios(self) -> tuple[str, ...]:
        """Names of scenarios: the file first, then the presets."""
        own = () if self.scenario_file is None else (str(self.scenario_file),)
        return (*own, *SCENARIOS.names())

    def scenario(self, name: str) -> Scenario:
        """The scenario of a name.

        Raises
        ------
        ValueError
            For a name that is not in `scenarios`, whatever file it may be the path of, or a bad file.
        """
        check_name("scenario", name, self.scenarios())
        return Scenario.resolve(name) if name in SCENARIOS.names() else Scenario.load(name)

    def run_names(self) -> tuple[str, ...]:
        """Names of the runs in the folder, by their ``config.json``."""
        if not self.runs.is_dir():
            return ()
        found = (path.parent for path in self.runs.glob("*/config.json"))
        return tuple(sorted(folder.name for folder in found if self._inside(folder)))

    def run(self, name: str) -> Path:
        """Folder of a run.

        Raises
        ------
        ValueError
            For a name that is not in `run_names`, as one with ``..`` in it.
        """
        names = self.run_names()
        if name not in names:
            raise ValueError(f"run: expected one of {list(names)}, got {shown(name)}")
        return self.runs / name

    def _inside(self, folder: Path) -> bool:
        """Whether a folder is in that of the runs itself, and not behind a link to another one."""
        return folder.resolve().parent == self.runs.resolve()
