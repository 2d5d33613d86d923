"""Profile of a server from measured passes: the fitted verification time as a table, as text, and as a picture."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.evaluation.drawing import BLACK
from multispin_env.evaluation.statistics import Cells
from multispin_env.server import Server
from multispin_env.units import MS
from multispin_lab.drawing import COLOURS, legend_below
from multispin_lab.models.passes import (
    DRAFT,
    LONG_DRAFT,
    VERIFY,
    Fit,
    PassCell,
    Passes,
    Setting,
    fit_cells,
    law_times,
)

DRAFT_CELL = PassCell(DRAFT, 1, 8)  # drafting is measured on eight consecutive tokens
LONG_DRAFT_CELL = DRAFT_CELL._replace(what=LONG_DRAFT)

_MORE_CONTEXT = 4096  # tokens of context more, after which drafting is measured again

HEADER: Cells = ("batch", "length", "tokens", "pass (ms)", "spread (ms)", "fit (ms)", "error")


@dataclass(frozen=True, eq=False)
class Profile:
    """Server with the measured passes that its verification time was fitted to."""

    server: Server
    cells: Sequence[PassCell]  # measured verifications, by batch and length
    passes: Passes  # of the cells, of `DRAFT_CELL` and, if it was measured, of `LONG_DRAFT_CELL`
    context: int = 0  # tokens of context per draft, if the times are from tables
    drafting: Fit | None = None  # of T_srv by number of requests, if the times are from tables

    @cached_property
    def measured(self) -> FloatArray:
        """Median seconds of each cell, (m,)."""
        return self.passes.medians(self.cells)

    @cached_property
    def fitted(self) -> FloatArray:
        """Fitted seconds of each cell, (m,)."""
        drafts, tokens = cell_sizes(self.cells)
        return law_times(self.time_per_draft, np.array(self.server.pieces), drafts, tokens)

    @property
    def time_per_draft(self) -> float:
        """Seconds per draft in addition to its tokens."""
        return self.server.time_per_draft + self.server.context_time * self.context

    @property
    def errors(self) -> FloatArray:
        """Relative errors of the fit, (m,)."""
        return self.fitted / self.measured - 1.0

    def describe(self) -> str:
        """Return text on the fitted verification time, its errors, and the draft time; for tables also the source."""
        server, errors = self.server, np.abs(self.errors)
        growth = f"of context beyond {server.draft_context} adds {1e9 * server.draft_context_time:.4g} ns."
        padded = "K (longest draft + 1), as shorter drafts are padded (padded = true)"
        lines = [
            f"A pass of K drafts{' with C tokens of context' if server.context_time else ''} takes {formula(server)}.",
            f"Its tokens are n = {padded if server.padded else 'Σ (draft + 1)'}.",
            f"The fit has relative errors of at most {errors.max():.1%} (median {np.median(errors):.1%}) "
            f"in {len(errors)} cells.",
        ]
        memory = server.memory
        fewer = f", {memory.tokens(drafts=True):,.0f} if the server also drafts" * bool(memory.draft_kv_factor)
        fitting = f"{memory.kv_tokens:,} tokens of cache fit into the GPUs beside the weights{fewer}."
        lines.append(fitting if memory.kv_tokens else "How many tokens of cache fit is unknown.")
        if self.context:  # from tables
            lines += [
                f"1000 tokens of context add {1e3 * server.context_time / MS:.3g} ms to each draft.",
                f"Model: {server.model}.",
                f"Source: {server.source}.",
            ]
            if self.drafting is not None:
                time, error = describe_pieces(server.draft_pieces), self.drafting.error
                lines[3:3] = [
                    f"A drafted token for each of n requests takes {time} (errors at most {error:.1%}).",
                    f"Each of their tokens {growth}",
                ]
            return "\n".join(lines)
        ratios = [max(self.passes.seconds[cell]) / min(self.passes.seconds[cell]) for cell in self.cells]
        busy = "; the machine was busy: measure again when it is idle" if np.median(ratios) > 1.5 else ""
        passes, draft_time = self.passes.count(DRAFT_CELL), (server.draft_time or 0.0) / MS
        lines += [
            f"The longest pass of a cell takes {np.median(ratios):.2f} times the shortest (median over cells){busy}.",
            f"A drafted token takes {draft_time:.4g} ms (median of {passes} passes of {DRAFT_CELL.length} tokens).",
        ]
        if self.passes.count(LONG_DRAFT_CELL):
            lines.append(f"Each token {growth}")
        return "\n".join(lines)


def describe_pieces(lines: Iterable[Any]) -> str:
    """Return the maximum of lines (a_j, b_j) at n as text."""
    terms = [f"{start / MS:.4g} ms + {slope / MS:.4g} ms n" for start, slope in lines]
    return terms[0] if len(terms) == 1 else f"the larger of {' and of '.join(terms)}"


def formula(server: Server) -> str:
    """Return the verification time as a formula of K drafts, n tokens and C tokens of context of all drafts."""
    drafts = f"{server.fixed_time / MS:.4g} ms + " if server.fixed_time else ""
    drafts += f"{server.time_per_draft / MS:.4g} ms K + " if server.time_per_draft else ""
    context = f"{1e9 * server.context_time:.4g} ns C + " if server.context_time else ""
    return f"{drafts}{context}{describe_pieces(server.pieces)}"


def pass_contexts(context: int, longest: int) -> dict[str, int]:
    """Return the tokens of context of each kind of pass, for a draft model that reads at most ``longest`` tokens.

    `LONG_DRAFT` is missing if its context could not be twice as long.
    """
    longer = min(context + _MORE_CONTEXT, longest - DRAFT_CELL.length)
    return {VERIFY: context, DRAFT: context} | ({LONG_DRAFT: longer} if longer >= 2 * context else {})


def make_profile(
    name: str, cells: Sequence[PassCell], passes: Passes, setting: Setting, contexts: Mapping[str, int]
) -> Profile:
    """Fit the verification time and make the server; the cells and drafts of all ``contexts`` must have been measured.

    ``contexts`` are those of `pass_contexts`.
    """
    fit = fit_cells(*cell_sizes(cells), passes.medians(cells))
    least = min(passes.count(cell) for cell in cells)
    same = setting["target"] == setting["draft"]
    draft_time, growth, also = passes.medians([DRAFT_CELL])[0] / DRAFT_CELL.length, 0.0, ""
    if LONG_DRAFT in contexts:
        long_time = passes.medians([LONG_DRAFT_CELL])[0] / DRAFT_CELL.length
        growth = max((long_time - draft_time) / (contexts[LONG_DRAFT] - contexts[DRAFT]), 0.0)
        also = f", drafts also after {contexts[LONG_DRAFT]} tokens"
    server = make_server(
        fit,
        name=name,
        model=f"{setting['target']} in {setting['dtype']}, drafts by {'itself' if same else setting['draft']}",
        source=f"multispin profile on {setting['device']}, after {setting['context']} tokens: {len(cells)} cells of "
        f"batch and length, {least} passes each, within {fit.error:.1%}{also}",
        padded=True,
        draft_time=round_digits(draft_time),
        draft_context_time=round_digits(growth),
        draft_context=contexts[DRAFT],
    )
    return Profile(server, cells, passes)


def make_server(fit: Fit, *, by: str = "time_per_draft", draft_pieces: Iterable[Any] = (), **fields: Any) -> Server:
    """Make the server of a fit, with numbers rounded to five digits.

    ``by`` is the field of the server that the fit's time per draft belongs to.
    """
    pieces, drafting = (
        tuple((round_digits(a), round_digits(b)) for a, b in lines) for lines in (fit.pieces, draft_pieces)
    )
    fields[by] = round_digits(fit.time_per_draft)
    return Server(pieces=pieces, draft_pieces=drafting, **fields)


def cell_sizes(cells: Sequence[PassCell]) -> tuple[FloatArray, FloatArray]:
    """Return K and n of each cell, (m,)."""
    return np.array([cell.batch for cell in cells], float), np.array([cell.tokens for cell in cells], float)


def round_digits(seconds: float) -> float:
    """Return seconds with five digits."""
    return float(f"{seconds:.5g}")


def table_lines(profile: Profile) -> list[Cells]:
    """Return a row for each cell, for `HEADER`; the spread is from the shortest pass to the longest."""
    lines: list[Cells] = []
    for cell, measured, fitted, error in zip(
        profile.cells, profile.measured, profile.fitted, profile.errors, strict=True
    ):
        passes = profile.passes.seconds[cell]
        spread = f"{min(passes) / MS:.2f} to {max(passes) / MS:.2f}"
        sizes = str(cell.batch), str(cell.length), str(cell.tokens)
        lines.append((*sizes, f"{measured / MS:.2f}", spread, f"{fitted / MS:.2f}", f"{error:+.1%}"))
    return lines


PICTURE_SIZE = (7.0, 4.6)  # inches


def draw_profile(profile: Profile, figure: Any) -> None:
    """Draw measured times (shortest to longest) and the fit, by tokens and batch size."""
    axes = figure.subplots()
    sizes = [cell.tokens for cell in profile.cells]
    batches = sorted({cell.batch for cell in profile.cells})
    for index, batch in enumerate(batches):
        colour, marker = COLOURS[index % 7], "os^vDXP"[(index + index // 7) % 7]
        cells = [cell for cell in profile.cells if cell.batch == batch]
        tokens = np.array([cell.tokens for cell in cells], float)
        seconds = [profile.passes.seconds[cell] for cell in cells]
        low, high = ([extreme(values) / MS for values in seconds] for extreme in (min, max))
        axes.vlines(tokens, low, high, colour, linewidth=1.0)
        axes.plot(
            tokens, profile.passes.medians(cells) / MS, marker, color=colour, markersize=6, label=f"batch {batch}"
        )
        line = np.geomspace(tokens.min(), tokens.max(), 200)
        law = law_times(profile.time_per_draft, np.array(profile.server.pieces), np.full_like(line, batch), line)
        axes.plot(line, law / MS, color=colour, linewidth=1.2)
    axes.plot([], [], color=BLACK, linewidth=1.2, label="fit")
    axes.set(xlabel="tokens of the pass, batch x (draft length + 1)", ylabel="verification time (ms)")
    if max(sizes) > 1_000 * min(sizes):  # profiles from tables
        axes.set(xscale="log", yscale="log")
    else:
        axes.set_ylim(bottom=0.0)
    axes.set_title(
        f"{profile.server.name}: measured passes and fit (errors at most {np.abs(profile.errors).max():.1%})"
    )
    legend_below(figure, axes, min(len(batches) + 1, 6))
