"""Qwen2.5-32B on four A100."""

from multispin_env.server import Server
from multispin_env.units import MS

SERVER = Server(
    name="a100-32b",
    model="Qwen2.5-32B, four A100: whole verification passes",
    source="tables of the AdaServe artefact (EuroSys 2026)",
    pieces=((27.35 * MS, 0.1526 * MS),),
)
"""Fitted by ``python -m benchmarks.fit_servers``: within 2.4 % of the eight passes of 128 to 1,024 tokens."""
