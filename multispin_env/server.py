"""Laws of verification, and servers: those that were measured."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import check_bool, check_keywords, check_label, check_real, shown
from multispin_env.field_files import SERVER, is_file_name, make_from_fields, read_fields, write_fields
from multispin_env.files import sibling_file
from multispin_env.registry import SERVERS

LAW = (
    "verification_fixed_time",
    "verification_time_per_draft",
    "verification_pieces",
    "padded_verification",
    "context_time",
)

DRAFTING = ("server_draft_time", "server_draft_pieces")


@dataclass(frozen=True)
class VerificationLaw:
    """Law of verification, the time of a pass: T_fix + K T_lin + max_j (a_j + b_j n) for K drafts and n tokens (ours).

    The paper's law ([MS] 7) is the one with a single flat line, as no pieces are. Times are in s, and b_j in s/token;
    where passes are ``padded``, drafts are filled up to the longest. Where the server drafts before a pass, the largest
    a_j + b_j K of ``drafting`` is added, whose b_j are in s a draft.
    """

    fixed_time: float
    time_per_draft: float
    pieces: tuple[tuple[float, float], ...] = ()
    padded: bool = False
    drafting: tuple[tuple[float, float], ...] = ()

    @cached_property
    def lines(self) -> tuple[tuple[float, float], ...]:
        """Pairs (a_j, b_j), at least one."""
        return self.pieces or ((0.0, 0.0),)

    @cached_property
    def flat(self) -> bool:
        """Whether a pass takes as long whatever the tokens in it."""
        return all(slope == 0.0 for _, slope in self.lines)

    @cached_property
    def start(self) -> float:
        """max_j a_j in seconds, what the lines add where a pass has no tokens; of a flat law, to any pass."""
        return max(start for start, _ in self.lines)

    def time_of_drafts(self, num_drafts: FloatArray | IntArray | float) -> Any:
        """T_fix + K T_lin in seconds, and drafting: what a pass of K drafts takes besides its tokens."""
        time = self.fixed_time + num_drafts * self.time_per_draft
        return time + line_time(self.drafting, num_drafts) if self.drafting else time

    def time(self, num_drafts: FloatArray | IntArray | float, num_tokens: FloatArray | IntArray | float) -> FloatArray:
        """T_ver in seconds of passes of K drafts and n tokens, which broadcast with each other."""
        return self.time_of_drafts(num_drafts) + line_time(self.lines, num_tokens)

    def tokens(self, draft_length: FloatArray | IntArray, num_drafts: IntArray | int) -> FloatArray | IntArray:
        """Tokens n (...) of a pass of drafts (..., K), so many of them verified and the others 0: one more for each."""
        if self.padded:
            return num_drafts * (draft_length.max(-1) + 1)
        return np.add.reduce(draft_length, -1) + num_drafts


@dataclass(frozen=True, kw_only=True)
class Server:
    """A law of verification that was measured: how long a pass takes, and how it is known.

    ``ValueError`` for a value out of range, and for a law in which a pass takes no time.

    Parameters
    ----------
    name
        As in `SERVERS`; of a file a label.
    model, source
        What was measured, and where the numbers are from.
    fixed_time, time_per_draft
        T_fix and T_lin in seconds: for each pass, and for each of its K drafts.
    context_time
        Seconds for each token of a draft's context, where the others were measured without any; 0: they were with it.
    pieces
        (a_j, b_j) in seconds and seconds per token: the largest a_j + b_j n is added.
    padded
        Whether a pass holds K (max L + 1) tokens.
    draft_time
        T_srv in seconds, where the server was measured with a small model too; ``None`` leaves the scenario's.
    draft_pieces
        (a_j, b_j) in seconds a token and seconds a token and request, where T_srv was measured by batch: it is the
        largest a_j + b_j n for n requests.
    """

    name: str
    model: str
    source: str
    fixed_time: float = 0.0
    time_per_draft: float = 0.0
    context_time: float = 0.0
    pieces: tuple[tuple[float, float], ...] = ()
    padded: bool = False
    draft_time: float | None = None
    draft_pieces: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        check_label("name", self.name)
        for field in ("model", "source"):
            if not isinstance(getattr(self, field), str):
                raise ValueError(f"{field}: expected text, got {shown(getattr(self, field))}")
        object.__setattr__(self, "pieces", check_pieces(self.pieces, "pieces"))
        object.__setattr__(self, "draft_pieces", check_draft_pieces(self.draft_pieces, "draft_pieces"))
        for field in ("fixed_time", "time_per_draft"):
            check_real(field, getattr(self, field), 0.0, open_low=not self.pieces)
        check_real("context_time", self.context_time, 0.0)
        check_bool("padded", self.padded)
        if self.draft_time is not None:
            check_real("draft_time", self.draft_time, 0.0, open_low=True)
        if VerificationLaw(self.fixed_time, self.time_per_draft, self.pieces).time(1, 1) <= 0.0:
            raise ValueError(f"pieces: expected a law in which a pass takes time, got {shown(self.pieces)}")

    @property
    def fields(self) -> dict[str, Any]:
        """Fields of `Scenario` with this law."""
        law: dict[str, Any] = {
            "verification_fixed_time": self.fixed_time,
            "verification_time_per_draft": self.time_per_draft,
            "verification_pieces": self.pieces,
            "padded_verification": self.padded,
            "context_time": self.context_time,
            "server": self.name,
            "server_draft_pieces": self.draft_pieces,
        }
        return law if self.draft_time is None else law | {"server_draft_time": self.draft_time}

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "Server":
        """Read a server from a TOML or JSON file, as `save` and ``multispin profile`` write it.

        ``ValueError`` if the file can't be read or a field is unknown or bad; it names the file and the line.

        Examples
        --------
        >>> import tempfile, multispin_env as ms
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = f"{folder}/mine.toml"
        ...     ms.registry.SERVERS.load("a100-32b").save(file)
        ...     ms.Server.load(file).name
        'a100-32b'
        """
        return read_fields(SERVER, path, cls._from_table)

    @classmethod
    def _from_table(cls, values: dict[str, Any]) -> "Server":
        check_keywords("Server", values, (entry.name for entry in fields(cls)))
        return make_from_fields(cls, values)

    def save(self, path: str | PathLike[str]) -> None:
        """Write every field to a TOML or JSON file, by the end of its name; in TOML with its meaning and unit."""
        write_fields(SERVER, path, {name: value for name, value in asdict(self).items() if value is not None})


def check_pieces(pieces: Any, field: str = "verification_pieces") -> tuple[tuple[float, float], ...]:
    """Return pieces (a_j, b_j) as floats; ``ValueError`` where one is no pair of finite numbers ≥ 0."""
    if not isinstance(pieces, tuple | list):
        raise ValueError(f"{field}: expected pairs (s, s/token), got {shown(pieces)}")
    for index, piece in enumerate(pieces):
        if not isinstance(piece, tuple | list) or len(piece) != 2:
            raise ValueError(f"{field}[{index}]: expected a pair (s, s/token), got {shown(piece)}")
        for part in piece:
            check_real(f"{field}[{index}]", part, 0.0)
    return tuple((float(start), float(slope)) for start, slope in pieces)


def check_draft_pieces(pieces: Any, field: str = "server_draft_pieces") -> tuple[tuple[float, float], ...]:
    """Return pieces as `check_pieces` does; ``ValueError`` also where a drafted token takes no time."""
    checked = check_pieces(pieces, field)
    if checked and line_time(checked, 1) <= 0.0:
        raise ValueError(f"{field}: expected a law in which a token takes time, got {shown(pieces)}")
    return checked


def line_time(lines: Iterable[Any], x: FloatArray | IntArray | float) -> FloatArray:
    """max_j (a_j + b_j x) in seconds at x (...), for pairs (a_j, b_j) of which there is at least one."""
    (start, slope), *others = lines
    time: FloatArray = np.add(start, slope * x)
    for start, slope in others:
        time = np.maximum(time, start + slope * x)
    return time


def _find_server(name: Any) -> Server:
    return Server.load(name) if is_file_name(name) else SERVERS.load(name)


def with_law(given: Mapping[str, Any], find: Callable[[Any], Server] = _find_server) -> dict[str, Any]:
    """Fields of a scenario, with the law of the server, a profile or a file, that they name.

    A field of the law that is given counts more, and one draft time more than those by batch. Where that makes another
    law than the server's, it has no name, and neither has the law of a file: a scenario does not depend on the file
    that its law was in. ``find`` is ``SERVERS.load`` where no file may be opened. ``ValueError`` for an unknown server,
    or a file that can't be read.
    """
    if "server_draft_time" in given:
        given = {"server_draft_pieces": (), **given}
    named = given.get("server")
    if not named:
        return dict(given)
    profile = find(named).fields
    law = {**profile, **given}
    law["verification_pieces"] = check_pieces(law["verification_pieces"])
    keeps_name = not is_file_name(named) and all(law[name] == profile[name] for name in LAW)
    return law if keeps_name else law | {"server": ""}


def resolve_server_file(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Fields of a scenario's file, with the path of the server's file that they name: one of the same folder."""
    name = values.get("server")
    if not is_file_name(name):
        return values
    path = sibling_file(folder, name)
    if path is None:
        raise ValueError(f"server: expected a profile's name, or a file beside the scenario's, got {shown(name)}")
    return {**values, "server": str(path)}
