"""Predictions beside measurements that others published, before and after an anchor, two draft lengths and memory.

The measurements are cells of published tables: those of ``benchmarks/data/measurements.csv``, and of further files of
the same columns (``--more``), whose licences allow no copy. A cell from which a law was fitted is not judged by it.
``--out`` writes a file of ratios, without the measurements themselves, and the picture.
"""

import csv
from argparse import Namespace
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.tools import Options, Row, show
from multispin_env.baselines.systems import colocated_round_time
from multispin_env.evaluation.drawing import save
from multispin_env.registry import SERVERS
from multispin_env.scenario import Scenario
from multispin_env.server import Server
from multispin_lab.drawing import COLOURS, legend_below
from multispin_lab.models.passes import VERIFY, PassCell
from multispin_lab.models.tables import BATCHES, LENGTHS, Machine, make_table_profile
from multispin_lab.planning.schedule import measured_draft_times

DATA = Path(__file__).parents[1] / "data" / "measurements.csv"
HELD_OUT = 86  # seed that draws half of the sources

UNKNOWN = {"Qwen/Qwen3-VL-4B-Instruct": (8.04e9, 147456.0)}
"""Bytes of weights and of a token of a stand-in, those of the Qwen3-4B that was measured."""

VARIANTS = ("before", "anchored", "two lengths", "memory")
TOLERANCE = 0.1

OPTIONS: Options = {
    "more": (None, "further file of cells", {"type": Path}),
    "out": (None, "folder of predictions.csv and measurements.png", {"type": Path}),
}


@dataclass(frozen=True, eq=False)
class Cell:
    """Measured cell with its numbers as text; ``law`` and ``drafts`` say what it is predicted from."""

    values: Mapping[str, str]

    def __getattr__(self, name: str) -> Any:
        return self.values[name]

    @cached_property
    def size(self) -> tuple[int, int, int]:
        """Draft length, requests and tokens of context."""
        return int(self.k), int(self.batch), int(self.context)

    def number(self, name: str) -> float:
        """Return a number of the table, NaN if it is missing."""
        return float(self.values[name] or "nan")


@cache
def server_of(law: str, draft: str) -> Server:
    """Return the server of ``flat S``, ``edge S``, ``table GPU MODEL GPUS BYTES`` or a profile's name."""
    kind, *words = law.split()
    if kind in ("flat", "edge"):
        return Server(name=kind, model="", source="stated", pieces=((float(words[0]), 0.0),))
    if kind != "table":
        return SERVERS.load(law)
    gpu, model, gpus, memory = words
    cells = [PassCell(VERIFY, batch, length) for batch in BATCHES for length in LENGTHS]
    with TemporaryDirectory() as folder:
        machine = Machine(gpu, int(gpus))
        profile = make_table_profile("table", Path(folder) / "passes.csv", machine, model, draft or None, cells)
    weights, token_cache = UNKNOWN.get(draft, (profile.server.draft_weights, profile.server.draft_token_cache))
    sizes: dict[str, Any] = {"draft_weights": weights, "draft_token_cache": token_cache}
    return replace(profile.server, gpu_memory=float(memory), **sizes)


class Group:
    """Cells of one source, GPU and target: the first without drafts is the anchor."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells = cells
        alone = sorted((cell for cell in cells if cell.k == "0" and cell.rate), key=lambda cell: cell.size[::-1])
        self.base = {cell.size[1:]: cell for cell in alone}
        self.anchor = alone[0] if alone else None
        self.measured = {
            draft: sorted((c for c in cells if c.draft == draft and c.batch == "1"), key=lambda c: c.size)
            for draft in {cell.draft for cell in cells if cell.drafts == "two"}
        }

    def fitted(self, cell: Cell, variant: str) -> bool:
        """Whether the cell was used for the law of this variant."""
        cells = self.measured.get(cell.draft, [])
        used = [cells[0], *([cells[-1]] if variant in VARIANTS[2:] else [])] if cells else []
        return cell in used or (cell is self.anchor and (variant != "before" or cell.law == "flat"))

    def scenario(self, cell: Cell, variant: str) -> Scenario:
        """Return the system of a cell, with its context."""
        draft = cell.drafts if "/" in cell.drafts else ""
        law = f"flat {1.0 / self.anchor.number('rate')}" if cell.law == "flat" and self.anchor else cell.law
        server = server_of(law, draft)
        if variant != "before" and self.anchor and law.split()[0] not in ("flat", "edge"):
            server = server.anchored(1.0 / self.anchor.number("rate"), *self.anchor.size[1:])
        scenario = Scenario.preset("qwen3.5", **server.fields | {"server": "", "context": cell.size[2]})
        if cell.drafts == "two":
            cells = self.measured[cell.draft]
            used = [cells[0], cells[-1]] if variant in VARIANTS[2:] else cells[:1]
            rounds = [(one.size[0], one.number("length") / self.rate(one)) for one in used]
            time, constant = measured_draft_times(scenario, rounds)
            return scenario.replace(server_draft_time=time, server_draft_round_time=constant)
        return scenario.replace(server_draft_time=float(cell.drafts)) if cell.drafts.startswith("0") else scenario

    def rate(self, cell: Cell) -> float:
        """Return the measured tokens/s of a request, from a speed-up if only that is stated."""
        if cell.rate:
            return cell.number("rate")
        base = self.base.get(cell.size[1:])
        return cell.number("speed_up") * base.number("rate") if base else np.nan

    def predicted(self, cell: Cell, variant: str, length: int) -> tuple[float, float]:
        """Return tokens/s of a request, and running requests, with drafts of a length."""
        scenario, running = self.scenario(cell, variant), cell.size[1]
        if variant == "memory":
            fitting = scenario.memory.requests(scenario.context, drafts=length > 0 and "/" in cell.drafts)
            running = int(max(1, min(running, fitting)))
        tokens = cell.number("length") if length else 1.0
        return tokens / float(colocated_round_time(scenario, running, np.array([length]))[0]), running

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield kind, measured number and predictions of each number of a cell; NaN of a fitted one."""
        for cell in self.cells:
            length, batch, _ = cell.size
            numbers: dict[str, tuple[float, dict[str, float]]] = {}
            for variant in VARIANTS:
                (with_drafts, running), (alone, all_running) = (
                    self.predicted(cell, variant, number) for number in (length, 0)
                )
                if cell.law.startswith("flat ") and len(cell.law.split()) > 2:
                    alone = 1.0 / float(cell.law.split()[2])  # the stated pass without drafts
                scenario = self.scenario(cell, variant)
                base = self.base.get(cell.size[1:])
                both = {
                    f"tokens/s, {'edge' if cell.law[:4] == 'edge' else 'drafts' if length else 'no drafts'}": (
                        cell.number("rate"),
                        with_drafts,
                    ),
                    "speed-up": (
                        cell.number("speed_up")
                        if cell.speed_up
                        else self.rate(cell) / base.number("rate")
                        if base and length
                        else np.nan,
                        with_drafts / alone,
                    ),
                    "speed-up of throughput": (
                        cell.number("throughput_speed_up"),
                        with_drafts * running / (alone * all_running),
                    ),
                    "pass": (
                        1e-3 * cell.number("milliseconds"),
                        float(scenario.law.time(batch, batch * (length + 1))),
                    ),
                }
                for kind, (measured, value) in both.items():
                    if not np.isnan(measured):
                        judged = np.nan if self.fitted(cell, variant) else value
                        numbers.setdefault(kind, (measured, {}))[1][variant] = judged
            for kind, (measured, values) in numbers.items():
                yield {"cell": cell, "kind": kind, "measured": measured, **values}


def read(more: Path | None) -> list[Cell]:
    cells = []
    for path in (DATA, *([more] if more else [])):
        with path.open(encoding="utf-8", newline="") as file:
            cells += [Cell(row) for row in csv.DictReader(file)]
    return cells


def _summary(rows: Sequence[Mapping[str, Any]], title: Mapping[str, Any]) -> Row:
    columns = dict(title)
    for variant in VARIANTS:
        ratios = np.array([row[variant] / row["measured"] for row in rows])
        ratios = ratios[~np.isnan(ratios)]
        within = int((np.abs(ratios - 1.0) <= TOLERANCE).sum())
        span = f" ({ratios.min():.2f}-{ratios.max():.2f})" if len(ratios) else ""
        columns[variant] = f"{within}/{len(ratios)}{span}"
    return columns


def _sorted(rows: Sequence[Mapping[str, Any]], *keys: Any) -> Iterator[Row]:
    groups = defaultdict(list)
    for row in rows:
        groups[tuple(str(key(row)) for key in keys)].append(row)
    for names in sorted(groups):
        yield _summary(groups[names], dict(zip(("source" if len(keys) > 1 else "", "kind"), names, strict=False)))


def run(options: Namespace) -> None:
    groups = defaultdict(list)
    for cell in read(options.more):
        groups[cell.source, cell.gpu, cell.target].append(cell)
    rows = [row for cells in groups.values() for row in Group(cells).rows()]
    sources = sorted({row["cell"].source for row in rows})
    drawn = np.random.default_rng(HELD_OUT).permutation(len(sources))[: len(sources) // 2]
    held_out = {sources[index] for index in drawn}
    source = {name: name.removeprefix("arXiv ").split(" ")[0] for name in sources}
    show("within 10 % (least to largest predicted / measured)", _sorted(rows, lambda row: row["kind"]))
    batches = [row for row in rows if row["cell"].size[1] >= 128]
    show("from 128 requests", _sorted(batches, lambda row: row["kind"]))
    half = [row for row in rows if row["cell"].source in held_out]
    show(f"held-out half: {len(held_out)} of {len(sources)} sources", _sorted(half, lambda row: row["kind"]))
    show("by source", _sorted(rows, lambda row: source[row["cell"].source], lambda row: row["kind"]))
    if options.out:
        lines = []
        for row in rows:
            cell = row["cell"]
            about = {name: cell.values[name] for name in ("source", "gpu", "target", "draft", "k", "batch")}
            ratios = {name: f"{row[name] / row['measured']:.3f}".replace("nan", "fitted") for name in VARIANTS}
            lines.append({**about, "kind": row["kind"], "held_out": int(cell.source in held_out), **ratios})
        options.out.mkdir(parents=True, exist_ok=True)
        with (options.out / "predictions.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
        save(lambda figure: _draw(rows, figure), (9.0, 4.6), options.out / "measurements", (".png",))


def _draw(rows: Sequence[Mapping[str, Any]], figure: Any) -> None:
    """Draw predictions before, and after all changes, against measurements by kind."""
    kinds = sorted({row["kind"] for row in rows if row["kind"] != "pass"})
    for axes, variant in zip(figure.subplots(1, 2, sharex=True, sharey=True), (VARIANTS[0], VARIANTS[-1]), strict=True):
        line = np.array([0.3, 500.0])
        axes.fill_between(line, 0.9 * line, 1.1 * line, color="0.85", label="within 10 %")
        for index, kind in enumerate(kinds):
            points = [(row["measured"], row[variant]) for row in rows if row["kind"] == kind]
            axes.plot(*np.array(points).T, "os^vD"[index % 5], color=COLOURS[index], markersize=3.0, label=kind)
        title = "as before" if variant == "before" else "anchored, two draft lengths, memory"
        axes.set(xscale="log", yscale="log", xlabel="measured", ylabel="predicted", title=title)
    legend_below(figure, axes, 3)
