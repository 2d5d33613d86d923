"""Scenarios and servers as files: TOML or JSON, a field a line, errors that name the line."""

import json
import re
from collections.abc import Callable, Mapping
from inspect import signature
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from multispin_env.checks import cut
from multispin_env.files import MIB, parse_json, parse_toml, read_bytes, write_text

Made = TypeVar("Made")

_PARSERS: Mapping[str, Callable[[str], Any]] = MappingProxyType({".toml": parse_toml, ".json": parse_json})

LARGEST = MIB  # Bytes of a file: hundreds of times what a scenario takes
_WIDEST = 80  # Letters of a line up to which the comments behind all such lines stand below one another
SCENARIO, SERVER = "scenario", "server"  # What a file describes, as errors call it

_MEANINGS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        SCENARIO: {
            "name": "label, shown in tables",
            "vocabulary_size": "tokens of the vocabulary",
            "verification_fixed_time": "s for each pass of the server",
            "verification_time_per_draft": "s for each draft of a pass",
            "mean_draft_time": "s of the small model for a token",
            "num_users": "devices",
            "total_bandwidth": "Hz of the uplink",
            "verification_pieces": "pairs [s, s/token]: the largest a + b n for the n tokens of a pass",
            "padded_verification": "whether a pass holds devices x (longest draft + 1) tokens",
            "context_time": "s that a token of context adds to a pass",
            "context": "tokens of context that each device has; requests that end have their own",
            "server": "profile that the law of verification is from",
            "round_trip_time": "s in each round",
            "payload": "what is uploaded for a token: distributions or ids",
            "kept_probabilities": "probabilities for a token",
            "bits_per_probability": "bit",
            "min_draft_length": "tokens, 0 or 1",
            "max_draft_length": "tokens",
            "draft_time_spread": "draft times lie within mean (1 - spread) to mean (1 + spread)",
            "mean_gain_low": "least mean power gain of a channel",
            "mean_gain_high": "largest mean power gain",
            "transmit_snr_db": "dB, transmit power over noise at gain 1",
            "noise_power": "W",
            "server_draft_time": "s of a small model on the server for a token",
            "server_draft_pieces": "pairs [s, s/request]: the largest a + b n for a token of each of n requests there",
            "channel": "fading model",
            "acceptance": "acceptance process",
            "draft_ahead": "whether devices draft on while their draft is sent and verified",
            "guess": "of the server's next token: greedy, shared-seed or independent",
        },
        SERVER: {
            "name": "label",
            "model": "what was measured",
            "source": "where the numbers are from",
            "fixed_time": "s for each pass",
            "time_per_draft": "s for each draft of a pass",
            "context_time": "s for each token of a draft's context",
            "pieces": "pairs [s, s/token]: the largest a + b n for the n tokens of a pass",
            "padded": "whether a pass holds drafts x (longest draft + 1) tokens",
            "draft_time": "s of a small model for a token",
            "draft_pieces": "pairs [s, s/request]: the largest a + b n for a token of each of n requests",
        },
    }
)
"""Meaning and unit of each plain field, as files say them."""


def is_file_name(name: object) -> bool:
    """Whether the name of a scenario or a server is that of a file."""
    return isinstance(name, str | PathLike) and str(name).lower().endswith(tuple(_PARSERS))


def read_fields(kind: str, path: str | PathLike[str], make: Callable[[dict[str, Any]], Made]) -> Made:
    """Read the fields of a file of this ``kind``, of `_MEANINGS`, and ``make`` a scenario or a server of them.

    ``ValueError`` if the file can't be read or a field is bad; it names the file, and the line where there is one.
    """
    path = Path(path)
    parse = _parser(kind, path)
    try:
        text = read_bytes(path, LARGEST).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise ValueError(f"{kind}: expected a file that can be read, got {str(path)!r} ({error})") from None
    try:
        content = parse(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: can't be read as JSON ({error.msg})") from None
    except ValueError as error:
        raise ValueError(f"{path}: can't be read as a {kind} ({cut(str(error))})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a table of fields, got {type(content).__name__}")
    try:
        return make(content)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path}{_line_of(str(error), text)}: {error}") from None


def make_from_fields(kind: type[Made], values: dict[str, Any], otherwise: str = "") -> Made:
    """What these fields describe; ``ValueError`` names those without a default that are missing."""
    parts = signature(kind).parameters.values()
    needed = [part.name for part in parts if part.default is part.empty and part.name not in values]
    if needed:
        raise ValueError(f"{needed[0]}: expected a value for each of {needed}{otherwise}, got none")
    return kind(**values)


def _parser(kind: str, path: Path) -> Callable[[str], Any]:
    parse = _PARSERS.get(path.suffix.lower())
    if parse is None:
        raise ValueError(f"{kind}: expected a file of {' or '.join(_PARSERS)}, got {str(path)!r}")
    return parse


def _line_of(message: str, text: str) -> str:
    named = [name for name in re.findall(r"\w+", message) if len(name) > 2]
    for name in named:
        found = re.search(rf"^[ \t]*[\"']?{re.escape(name)}[\"']?[ \t]*[=:]", text, re.MULTILINE)
        if found:
            return f", line {text.count(chr(10), 0, found.start()) + 1}"
    return ""


def write_fields(kind: str, path: str | PathLike[str], fields: Mapping[str, Any]) -> None:
    """Write fields as `read_fields` reads them; in TOML each with its meaning behind it."""
    path = Path(path)
    _parser(kind, path)
    as_json = path.suffix.lower() == ".json"
    text = json.dumps(fields, indent=2, ensure_ascii=False) + "\n" if as_json else _toml(fields, _MEANINGS[kind])
    write_text(path, text)


def _toml(fields: Mapping[str, Any], meanings: Mapping[str, str]) -> str:
    plain = [(name, _value(value)) for name, value in fields.items() if not _is_tables(value)]
    width = max((size for name, value in plain if (size := len(f"{name} = {value}")) <= _WIDEST), default=0)
    lines = [f"{f'{name} = {value}':{width}s}  # {meanings[name]}" for name, value in plain]
    for name, tables in fields.items():
        if _is_tables(tables):
            for table in tables:
                lines += ["", f"[[{name}]]", *(f"{key} = {_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _is_tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], dict)


def _value(value: Any) -> str:
    """A number, text, truth value or list as TOML writes it; JSON writes all of these the same way."""
    return json.dumps(value, ensure_ascii=False)
