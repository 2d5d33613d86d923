"""The league in one process, in several, and on a Ray cluster that loses a node: ``python -m benchmarks.spread``.

Plays a small league three times: serially, with ``--workers 2``, and on three emulated nodes of Ray, of which one is
killed while cells run (left out where Ray, extra ``cluster``, is not installed). Compares every file of cells and
references byte by byte, and prints wall times and their ratios.
"""

import argparse
import importlib.util
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

from benchmarks.league.cells import Cell, Contest
from benchmarks.league.command import PACKAGES, do, tasks_of
from multispin_env.evaluation.table import aligned
from multispin_env.executors.base import Executor
from multispin_env.executors.cluster import Cluster
from multispin_env.executors.processes import Processes
from multispin_env.executors.serial import Serial

ENVS = ("MultiSpin/Heterogeneous-v0", "MultiSpin/HiddenAcceptance-v0", "MultiSpin/Continuous-v0")
USERS = 3
ROUNDS = {"ppo": 30_000, "apg": 20_000, "evolution": 20_000}
"""Agents and their budgets."""

KILL_AFTER = 30.0
"""Seconds after which a node is lost."""


@dataclass(frozen=True)
class Row:
    """One way to play the league."""

    name: str
    seconds: float
    done: int
    failed: int
    same: bool  # every file as in the serial league


def cells(seeds: int, size: int) -> list[Cell]:
    """Of three environments and both presets, with the agents that can learn there."""
    contests = [Contest(env, preset, USERS) for env in ENVS for preset in ("llama2", "qwen3.5")]
    fitting = {env: ("evolution",) if "Continuous" in env else ("ppo", "apg") for env in ENVS}
    return [
        Cell(contest, agent, seed, ROUNDS[agent], size)
        for contest in contests
        for agent in fitting[contest.env]
        for seed in range(seeds)
    ]


def contents(folder: Path) -> dict[Path, bytes]:
    """Files of cells and references."""
    return {
        path.relative_to(folder): path.read_bytes()
        for part in ("cells", "references")
        for path in sorted((folder / part).iterdir())
    }


def played(name: str, executor: Executor, chosen: Sequence[Cell], folder: Path, serial: Path) -> Row:
    """Play the league in an empty folder."""
    folder.mkdir()
    start = monotonic()
    failed = do(tasks_of(chosen), folder, executor)
    seconds = monotonic() - start
    found = contents(folder)
    return Row(name, seconds, len(found), len(failed), found == contents(serial))


def on_cluster(chosen: Sequence[Cell], folder: Path, serial: Path) -> Row:
    """Play it on three nodes, of which one is killed."""
    emulated: Any = importlib.import_module("ray.cluster_utils").Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1}
    )
    _, lost = (emulated.add_node(num_cpus=1) for _ in range(2))
    killer = threading.Timer(KILL_AFTER, emulated.remove_node, [lost], {"allow_graceful": False})
    killer.start()
    try:
        row = played("3 nodes of Ray, 1 lost", Cluster(emulated.address, PACKAGES), chosen, folder, serial)
        if killer.is_alive():
            raise RuntimeError(f"all cells were done before a node was lost, after {row.seconds:.0f} s")
        return row
    finally:
        killer.cancel()
        importlib.import_module("ray").shutdown()
        emulated.shutdown()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="of each agent in each contest (default 3)")
    parser.add_argument("--size", type=int, default=20, help="held-out cases (default 20)")
    options = parser.parse_args()
    chosen = cells(options.seeds, options.size)
    with TemporaryDirectory() as name:
        serial = Path(name, "serial")
        rows = [played("serial", Serial(), chosen, serial, serial)]
        rows.append(played("--workers 2", Processes(2), chosen, Path(name, "workers"), serial))
        if importlib.util.find_spec("ray") is not None:
            rows.append(on_cluster(chosen, Path(name, "ray"), serial))
    header = (f"{len(chosen)} cells", "seconds", "serial over it", "files", "failed", "all as serial")
    lines = [
        (one.name, f"{one.seconds:.0f}", f"{rows[0].seconds / one.seconds:.2f}", str(one.done), str(one.failed),
         "yes" if one.same else "NO")
        for one in rows
    ]  # fmt: skip
    print(aligned(header, lines))


if __name__ == "__main__":
    main()
