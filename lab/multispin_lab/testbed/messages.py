"""Messages between the server of a testbed and its devices.

A message is one part: the length of its header (`uint32`, little-endian), the header, and the body, raw numbers. The
header is a JSON object with the ``kind`` and exactly the fields of `FROM_DEVICE` or `FROM_SERVER`. Both ends refuse
anything else.
"""

import json
import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from multispin_env.arrays import IntArray
from multispin_env.checks import (
    check_bool,
    check_complete,
    check_integer,
    check_label,
    check_name,
    check_real,
    located,
    require,
    shown,
)
from multispin_env.files import checksum, parse_json
from multispin_env.units import index_bits

PROTOCOL = 1
MAX_SEATS = 8  # contenders that share the devices
MAX_TOKEN_TIME = 1.0  # seconds, as in scenarios
MAX_TEXT = 2**24  # tokens, also of a vocabulary
LARGEST_HEADER = 4096  # bytes
LONGEST_REASON = 256  # characters
CHUNK = 0.005  # seconds between the pieces of a paced upload

_LENGTH = struct.Struct("<I")


def _check_reason(field: str, value: Any) -> None:
    if not (isinstance(value, str) and len(value) <= LONGEST_REASON and value.isprintable()):
        raise ValueError(f"{field}: expected one line of at most {LONGEST_REASON} characters, got {shown(value)}")


_CHECKS: dict[str, tuple[Any, ...]] = {
    "protocol": (check_integer, PROTOCOL, PROTOCOL),
    "seat": (check_integer, 0, MAX_SEATS - 1),
    "seats": (check_integer, 1, MAX_SEATS),
    "bits": (check_integer, 1, 16),  # Q_B
    "draft_seed": (check_integer, 0, 2**64 - 1),
    # s/token: of `hello` measured, of `welcome` to emulate, 0 for none
    "token_time": (check_real, 0.0, MAX_TOKEN_TIME),
    "ended": (check_bool,),
    "reason": (_check_reason,),
    **dict.fromkeys(("name", "instance", "vocabulary", "draft"), (check_label,)),
    **dict.fromkeys(("size", "kept", "context", "length"), (check_integer, 1, MAX_TEXT)),
    **dict.fromkeys(("number", "round", "piece", "accepted", "token"), (check_integer, 0)),
    **dict.fromkeys(("temperature", "seconds", "upload"), (check_real, 0.0)),
}
"""Check of each field: a function of `multispin_env.checks` and its limits."""

Table = Mapping[str, tuple[str, ...]]
"""Fields of each kind of message."""

FROM_DEVICE: Table = {
    "hello": ("protocol", "name", "instance", "vocabulary", "size", "context", "draft", "token_time"),
    "ready": ("seat",),  # the text of `begin` has been read
    "drafted": ("seat", "round", "seconds"),  # of drafting by the device's clock; sent before the upload
    "draft": ("seat", "round", "piece"),  # body: a piece of `DraftForm.pack`
}

FROM_SERVER: Table = {
    "welcome": ("seats", "size", "context", "temperature", "kept", "bits", "draft_seed", "token_time"),
    "begin": ("seat", "number"),  # of the request; body: the text so far, `uint32` each
    "decide": ("seat", "round", "length", "upload"),  # L, and the seconds over which the draft is sent
    "verdict": ("seat", "accepted", "token", "ended"),
    "end": (),  # the server ends
    "again": (),  # the device was silent; it may say `hello` on a new connection
    "refused": ("reason",),
}


class Message(NamedTuple):
    """A received message."""

    kind: str
    fields: dict[str, Any]
    body: bytes


def pack(kind: str, body: bytes = b"", **fields: Any) -> bytes:
    """Return the bytes of a message."""
    header = json.dumps({"kind": kind, **fields}).encode()
    return _LENGTH.pack(len(header)) + header + body


def unpack(part: bytes, table: Table) -> Message:
    """Return the message in ``part``; ``ValueError`` unless it is one of ``table``."""
    size = _LENGTH.unpack_from(part)[0] if len(part) >= _LENGTH.size else 0
    if not 0 < size <= min(LARGEST_HEADER, len(part) - _LENGTH.size):
        raise ValueError(f"header: expected 1 to {LARGEST_HEADER} bytes, got {size} of a message of {len(part)}")
    body = part[_LENGTH.size + size :]
    with located("header"):
        fields = parse_json(part[_LENGTH.size : _LENGTH.size + size])
    if not isinstance(fields, dict):
        raise ValueError(f"header: expected a JSON object, got {shown(fields)}")
    kind = fields.pop("kind", None)
    check_name("kind", kind, table)
    check_complete(kind, fields, table[kind])
    for name, value in fields.items():
        check, *limits = _CHECKS[name]
        check(f"{kind}: {name}", value, *limits)
    return Message(kind, fields, body)


def pack_text(tokens: list[int]) -> bytes:
    """Return the body of `begin`."""
    return np.array(tokens, dtype="<u4").tobytes()


def unpack_text(body: bytes, size: int) -> list[int]:
    """Return the tokens in the body of `begin`; ``ValueError`` unless all are below ``size``."""
    if not body or len(body) % 4:
        raise ValueError(f"text: expected a positive multiple of 4 bytes, got {len(body)}")
    tokens = np.frombuffer(body, dtype="<u4")
    require("text", tokens, tokens < size, f"tokens below {size}")
    return tokens.tolist()


def vocabulary_digest(vocabulary: Mapping[str, int]) -> str:
    """Return the SHA-256 of a tokenizer's vocabulary, from tokens to ids, as 64 hexadecimal digits."""
    return checksum(json.dumps(dict(vocabulary), sort_keys=True).encode())


class Draft(NamedTuple):
    """Drafted tokens with the counts c (`uint16`) that they were drawn from: q = c / Σ c."""

    tokens: IntArray  # (L,)
    ids: IntArray  # tokens with a count, ascending, (L, V̂)
    counts: IntArray  # (L, V̂)


class DraftForm(NamedTuple):
    """Form of the drafts of a testbed; the token alone is sent if only its probability is kept."""

    size: int  # V
    kept: int  # V̂ ≤ V
    bits: int  # Q_B of a count

    def _columns(self, length: int) -> list[tuple[int, int]]:
        """Return how many numbers of how many bits follow each other: tokens, ids, counts."""
        index, entries = index_bits(self.size), length * self.kept * (self.kept > 1)
        return [(length, index), (entries * (self.kept < self.size), index), (entries, self.bits)]

    def bytes_of(self, length: int) -> int:
        """Return the bytes of a draft of L tokens."""
        return sum(-(-count * bits // 8) for count, bits in self._columns(length))

    def pack(self, draft: Draft) -> bytes:
        """Return a draft as bytes, each number with the bits that it needs."""
        columns = zip(draft, self._columns(len(draft.tokens)), strict=True)
        return b"".join(_pack_numbers(numbers.ravel()[:count], bits) for numbers, (count, bits) in columns)

    def unpack(self, body: bytes, length: int) -> Draft:
        """Return a draft of L tokens; ``ValueError`` unless its tokens can have been drawn from its counts."""
        if len(body) != self.bytes_of(length):
            raise ValueError(f"draft: expected {self.bytes_of(length)} bytes, got {len(body)}")
        parts, begin = [], 0
        for count, bits in self._columns(length):
            end = begin + -(-count * bits // 8)
            parts.append(_unpack_numbers(body[begin:end], count, bits))
            begin = end
        tokens, ids, counts = parts
        require("tokens", tokens, tokens < self.size, f"tokens below {self.size}")
        if self.kept == 1:
            return Draft(tokens, tokens[:, None], np.ones((length, 1), dtype=np.int64))
        counts = counts.reshape(length, self.kept)
        if self.kept == self.size:
            ids = np.broadcast_to(np.arange(self.size), counts.shape)
        ids = ids.reshape(length, self.kept)
        require("ids", ids, ids < self.size, f"tokens below {self.size}")
        require("ids", ids[:, 1:], np.diff(ids) > 0, "ascending tokens")
        drawn = np.where(ids == tokens[:, None], counts, 0).sum(-1)
        require("tokens", tokens, drawn > 0, "tokens with a positive count")
        return Draft(tokens, ids, counts)


def _pack_numbers(numbers: IntArray, bits: int) -> bytes:
    """Return integers (n,) of 1 to 32 bits, without gaps between them, the highest bit first."""
    digits = np.unpackbits(numbers.astype(">u4").view(np.uint8).reshape(-1, 4), axis=-1)
    return np.packbits(digits[:, 32 - bits :]).tobytes()


def _unpack_numbers(body: bytes, count: int, bits: int) -> IntArray:
    digits = np.unpackbits(np.frombuffer(body, dtype=np.uint8), count=count * bits).reshape(count, bits)
    padded = np.pad(digits, ((0, 0), (32 - bits, 0)))
    return np.packbits(padded, axis=-1).view(">u4")[:, 0].astype(np.int64)


def pieces(size: int, upload: float, chunk: float) -> Iterator[tuple[float, int, int]]:
    """Yield time (s after the upload began), first and last byte of each piece of a body of ``size`` bytes.

    The last piece leaves at ``upload`` seconds, the others at most ``chunk`` seconds before the next one.
    """
    count = max(1, math.ceil(upload / chunk))
    for number in range(1, count + 1):
        yield upload * number / count, size * (number - 1) // count, size * number // count
