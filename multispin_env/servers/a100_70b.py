"""Llama-3.1-70B on several A100."""

from multispin_env.server import Server
from multispin_env.units import MS

SERVER = Server(
    name="a100-70b",
    model="Llama-3.1-70B, several A100: whole verification passes",
    source="tables of the AdaServe artefact (EuroSys 2026)",
    pieces=((35.35 * MS, 0.1763 * MS),),
)
"""Fitted by ``python -m benchmarks.fit_servers``: within 5.4 % of the eight passes of 128 to 1,024 tokens."""
