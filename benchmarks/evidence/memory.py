"""Tokens of cache that fit beside the weights, against the logs of servers.

The formula takes nothing off for activations and buffers of communication, which an engine measures when it starts, so
that it is larger. The last line compares how many times fewer fit if the server also loads Qwen3-0.6B.
"""

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from benchmarks.tools import Row, show
from multispin_env.registry import SERVERS
from multispin_env.server import USABLE_MEMORY, Memory, Server


class Log(NamedTuple):
    """Line "GPU KV cache size" of vLLM, and the share of the GPU that it was allowed to use."""

    server: str
    tokens: int
    share: float
    engine: str
    source: str


LOGS = (
    Log(
        "l40s-8b",
        170_944,
        0.9,
        "vLLM 0.10.2",
        "TechBroMoho/quantized-llm-serving@b158aeb results/perf/phase6/bf16-20260924T003034Z/server.log",
    ),
    Log(
        "h100-8b",
        418_688,
        0.95,
        "vLLM 0.19.0",
        "llm-d-incubation/llm-d-planner@d3121e0 accuracy/results/v0.19.0/logs, qwen-qwen3-8b--h100-80gb",
    ),
    Log(
        "rtx-pro-6000-32b",
        67_296,
        0.426,
        "vLLM 0.27.1",
        '"Running a single LLM across two GPUs with vLLM", S. Pathak, August 2026',
    ),
    Log(
        "h100-70b",
        420_208,
        0.9,  # assumed, the default
        "vLLM of 2025",
        "documentation of LMCache, KV Cache Sizes for Popular Models, github.com/LMCache/LMCache/pull/1769",
    ),
)

H200, H200_SHARE, ALONE, WITH_DRAFT = 141 * 2**30, 0.85, 712_256, 389_136
"""Bytes of an H200, and two logs of Qwen3-8B on it: AknA13/adaptive-specdec@f65dd0a RESULTS_SERVING.md, vLLM 0.12.0."""


def memory_at(server: Server, gpu_memory: float, share: float) -> Memory:
    """Return the memory of a server with other GPUs, of which it uses another share."""
    return replace(server, gpu_memory=gpu_memory * share / USABLE_MEMORY).memory


def rows() -> Iterator[Row]:
    for log in LOGS:
        server = SERVERS.load(log.server)
        computed = memory_at(server, server.gpu_memory, log.share).kv_tokens
        yield {
            "server": log.server,
            "share": log.share,
            "computed": f"{computed:,}",
            "log": f"{log.tokens:,}",
            "ratio": f"{computed / log.tokens:.3f}",
            "engine": log.engine,
            "source": log.source,
        }


def factors() -> Iterator[Row]:
    memory = memory_at(SERVERS.load("h100-8b"), H200, H200_SHARE)
    logged = ALONE / WITH_DRAFT
    yield {
        "server": "Qwen3-8B on an H200",
        "computed": f"{memory.draft_kv_factor:.3f}",
        "log": f"{logged:.3f}",
        "ratio": f"{memory.draft_kv_factor / logged:.3f}",
    }


def run(options: Namespace) -> None:
    show("tokens of cache", rows())
    show("tokens without over with a draft model", factors())
