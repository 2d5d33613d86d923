"""Llama-2-7B on one A100: matrix products alone, which no server is faster than."""

from multispin_env.server import Server
from multispin_env.units import MS

SERVER = Server(
    name="a100-7b-gemm",
    model="Llama-2-7B in bf16, one A100: matrix products alone, a floor",
    source="kernel tables of aiconfigurator-core 0.12.0 (Apache-2.0), summed over the layers",
    pieces=((8.608 * MS, 0.03203 * MS), (2.690 * MS, 0.05552 * MS)),
)
"""Fitted by ``python -m benchmarks.fit_servers``: within 9.1 % of the ten passes of 1 to 1,024 tokens."""
