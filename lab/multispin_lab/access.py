"""Address and access key of a testbed, as users give them; without torch and ZeroMQ."""

import re

from multispin_env.checks import shown

ACCESS = "MULTISPIN_ACCESS"
"""Environment variable with the access key."""

_KEY = re.compile(r"[0-9a-f]{64}")
_ADDRESS = re.compile(rf"tcp://({_KEY.pattern})@(.+:\d{{1,5}})")


def check_key(field: str, key: str) -> str:
    """Return a key; ``ValueError`` unless it has 64 hexadecimal digits."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"{field}: expected 64 hexadecimal digits, got {len(key)} characters")
    return key


def parse_address(text: str) -> tuple[str, str]:
    """Return endpoint and public key of ``tcp://HEX@HOST:PORT``; ``ValueError`` for another text."""
    match = _ADDRESS.fullmatch(text)
    if not match:
        raise ValueError(f"connect: expected tcp://HEX@HOST:PORT as the server printed it, got {shown(text)}")
    return f"tcp://{match[2]}", match[1]
