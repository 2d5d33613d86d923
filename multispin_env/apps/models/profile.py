"""A server's profile from measured passes: the law that fits them, as a table, in words, and as a picture."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from multispin_env.apps.models.counts import COLOURS
from multispin_env.apps.models.passes import DRAFT, Fit, PassCell, Passes, Setting, fit_cells, law_times
from multispin_env.apps.reproduce.drawing import BLACK, legend_below
from multispin_env.arrays import FloatArray
from multispin_env.evaluation.statistics import Cells
from multispin_env.server import Server
from multispin_env.units import MS

DRAFT_CELL = PassCell(DRAFT, 1, 8)  # how drafting is measured: so many tokens, one after the other

HEADER: Cells = ("batch", "length", "tokens", "pass (ms)", "spread (ms)", "fit (ms)", "error")


@dataclass(frozen=True, eq=False)
class Profile:
    """A server with the passes that its law was fitted to."""

    server: Server
    cells: Sequence[PassCell]  # verifications that were measured, by batch and length
    passes: Passes  # of these and of `DRAFT_CELL`
    context: int = 0  # tokens of each draft in the cells, where the law has a time for them

    @cached_property
    def measured(self) -> FloatArray:
        """Median seconds of each cell, (m,)."""
        return np.array([self.passes.median(cell) for cell in self.cells])

    @cached_property
    def fitted(self) -> FloatArray:
        """Seconds of each cell by the server's law, (m,)."""
        drafts, tokens = cell_sizes(self.cells)
        return law_times(self.time_per_draft, np.array(self.server.pieces), drafts, tokens)

    @property
    def time_per_draft(self) -> float:
        """Seconds that each draft of a cell adds besides its tokens."""
        return self.server.time_per_draft + self.server.context_time * self.context

    @property
    def errors(self) -> FloatArray:
        """Relative errors of the law, (m,)."""
        return self.fitted / self.measured - 1.0

    def describe(self) -> str:
        """The law, how well it fits, how steady the passes were, and the time of a drafted token."""
        passes, length = self.passes.count(DRAFT_CELL), DRAFT_CELL.length
        factor = float(np.median([max(one) / min(one) for one in map(self.passes.seconds.__getitem__, self.cells)]))
        busy = "; the machine was busy: measure again when it is quiet" if factor > 1.5 else ""
        drafted = (self.server.draft_time or 0.0) / MS
        return (
            f"{describe_law(self)}\n"
            f"The longest pass of a cell takes {factor:.2f} times the shortest (median of the cells){busy}.\n"
            f"A drafted token takes {drafted:.4g} ms (median of {passes} times {length} tokens)."
        )


def make_profile(name: str, cells: Sequence[PassCell], passes: Passes, setting: Setting) -> Profile:
    """Fit the law and describe the server; the cells and `DRAFT_CELL` must have been measured."""
    drafts, tokens = cell_sizes(cells)
    found = fit_cells(drafts, tokens, np.array([passes.median(cell) for cell in cells]))
    least = min(passes.count(cell) for cell in cells)
    same = setting["target"] == setting["draft"]
    law = make_server(
        found,
        name=name,
        model=f"{setting['target']} in {setting['dtype']}, drafts by {'itself' if same else setting['draft']}",
        source=f"multispin profile on {setting['device']}, after {setting['context']} tokens: {len(cells)} cells of "
        f"batch and length, {least} passes each, within {found.error:.1%}",
        padded=True,
        draft_time=_short(passes.median(DRAFT_CELL) / DRAFT_CELL.length),
    )
    return Profile(law, cells, passes)


def make_server(found: Fit, *, by: str = "time_per_draft", draft_pieces: Iterable[Any] = (), **about: Any) -> Server:
    """The server of a law that was fitted, with five digits of each number, which are more than are known.

    ``by`` is the field of the server whose counts the fit had as drafts.
    """
    pieces, drafting = (tuple((_short(a), _short(b)) for a, b in lines) for lines in (found.pieces, draft_pieces))
    about[by] = _short(found.time_per_draft)
    return Server(pieces=pieces, draft_pieces=drafting, **about)


def cell_sizes(cells: Sequence[PassCell]) -> tuple[FloatArray, FloatArray]:
    """K and n of each cell, (m,)."""
    return np.array([cell.batch for cell in cells], float), np.array([cell.tokens for cell in cells], float)


def _short(seconds: float) -> float:
    return float(f"{seconds:.5g}")


def table_lines(profile: Profile) -> list[Cells]:
    """A line for each cell, under `HEADER`; the spread is from the shortest pass to the longest."""
    lines: list[Cells] = []
    for cell, measured, fitted, error in zip(
        profile.cells, profile.measured, profile.fitted, profile.errors, strict=True
    ):
        passes = profile.passes.seconds[cell]
        spread = f"{min(passes) / MS:.2f} to {max(passes) / MS:.2f}"
        sizes = str(cell.batch), str(cell.length), str(cell.tokens)
        lines.append((*sizes, f"{measured / MS:.2f}", spread, f"{fitted / MS:.2f}", f"{error:+.1%}"))
    return lines


def describe_pieces(lines: Iterable[Any]) -> str:
    """Which of lines (a_j, b_j) is the larger at n."""
    each = [f"{start / MS:.4g} ms + {slope / MS:.4g} ms n" for start, slope in lines]
    return each[0] if len(each) == 1 else f"the larger of {' and of '.join(each)}"


def formula(server: Server) -> str:
    """The law by K drafts, n tokens and C tokens of context, those of all drafts."""
    drafts = f"{server.time_per_draft / MS:.4g} ms K + " if server.time_per_draft else ""
    context = f"{1e9 * server.context_time:.4g} ns C + " if server.context_time else ""
    return f"{drafts}{context}{describe_pieces(server.pieces)}"


def describe_law(profile: Profile) -> str:
    """The law, and how well it fits."""
    server, errors = profile.server, np.abs(profile.errors)
    drafts = f"K drafts{' that have C tokens of context' if server.context_time else ''}"
    padded = "K (longest draft + 1): shorter drafts are filled up (padded = true)"
    return (
        f"A pass of {drafts} takes {formula(server)}.\n"
        f"Its tokens are n = {padded if server.padded else 'Σ (draft + 1)'}.\n"
        f"The law is off by {errors.max():.1%} at most and by {np.median(errors):.1%} in the median, "
        f"of {len(errors)} cells."
    )


PICTURE_SIZE = (7.0, 4.6)  # of the picture of a profile, in inches


def draw_profile(profile: Profile, figure: Any) -> None:
    """Draw measured times, from the shortest pass to the longest, and the law, by tokens and batch size."""
    axes = figure.subplots()
    sizes = [cell.tokens for cell in profile.cells]
    batches = sorted({cell.batch for cell in profile.cells})
    for index, batch in enumerate(batches):
        colour, marker = COLOURS[index % 7], "os^vDXP"[(index + index // 7) % 7]
        own = [(cell, time) for cell, time in zip(profile.cells, profile.measured, strict=True) if cell.batch == batch]
        tokens = np.array([cell.tokens for cell, _ in own], float)
        passes = [profile.passes.seconds[cell] for cell, _ in own]
        axes.vlines(tokens, [min(one) / MS for one in passes], [max(one) / MS for one in passes], colour, linewidth=1.0)
        axes.plot(tokens, [time / MS for _, time in own], marker, color=colour, markersize=6, label=f"batch {batch}")
        line = np.geomspace(tokens.min(), tokens.max(), 200)
        law = law_times(profile.time_per_draft, np.array(profile.server.pieces), np.full_like(line, batch), line)
        axes.plot(line, law / MS, color=colour, linewidth=1.2)
    axes.plot([], [], color=BLACK, linewidth=1.2, label="the law")
    axes.set_xlabel("tokens of the pass, batch x (draft length + 1)")
    axes.set_ylabel("verification (ms)")
    if max(sizes) > 1_000 * min(sizes):  # as in profiles from tables
        axes.set(xscale="log", yscale="log")
    else:
        axes.set_ylim(bottom=0.0)
    axes.set_title(f"{profile.server.name}: passes and the law, within {np.abs(profile.errors).max():.1%}")
    legend_below(figure, axes, min(len(batches) + 1, 6))
