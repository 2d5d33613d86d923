"""Cost of a row of fading (N, K), by the assignment of random numbers to environments."""

from argparse import Namespace
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.subjects import REFERENCE_K, REFERENCE_N
from benchmarks.tools import Options, cpu_seconds, show
from multispin_env.arrays import FloatArray
from multispin_env.physics.streams import EnvStreams

UIntArray = NDArray[np.uint64]


def philox(keys: UIntArray, counter: int, users: int) -> FloatArray:
    """Return standard exponentials (N, K) from Philox 4x32-10 for all environments at once in NumPy."""
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    shape = (len(keys), (users + 1) // 2)
    a, b = np.broadcast_to(np.arange(shape[1], dtype=np.uint64), shape), np.full(shape, counter, np.uint64)
    c = d = np.zeros(shape, np.uint64)
    key, other = keys[:, None], np.zeros((len(keys), 1), np.uint64)
    for _ in range(10):
        first, second = np.uint64(0xD2511F53) * a, np.uint64(0xCD9E8D57) * c
        a, b, c, d = (second >> half) ^ b ^ key, second & low, (first >> half) ^ d ^ other, first & low
        key, other = (key + np.uint64(0x9E3779B9)) & low, (other + np.uint64(0xBB67AE85)) & low
    return exponential(np.concatenate([(a << half) | b, (c << half) | d], axis=1)[:, :users])


def split_mix(keys: UIntArray, counter: int, users: int) -> FloatArray:
    """Return standard exponentials (N, K) from the SplitMix64 hash of key and counter, the cheapest and weakest."""
    z = (keys[:, None] + np.uint64(counter << 32)) + np.arange(users, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return exponential(z ^ (z >> np.uint64(31)))


def exponential(bits: UIntArray) -> FloatArray:
    """Return standard exponentials by inversion, from 64 random bits each."""
    return -np.log1p(-((bits >> np.uint64(11)) * 2.0**-53))


OPTIONS: Options = {"turns": 5}


def run(options: Namespace) -> None:
    num_envs, users, calls = REFERENCE_N, REFERENCE_K, 640  # whole blocks
    rng = np.random.default_rng(0)
    keys = np.arange(num_envs, dtype=np.uint64)
    counters = [np.random.Philox(key=i) for i in range(num_envs)]
    positions = [counter.state for counter in counters]
    generators = [np.random.Generator(counter) for counter in counters]

    def ahead(block: int) -> EnvStreams:
        read = EnvStreams(lambda rng, rows: rng.standard_exponential((rows, users)), num_envs, block)
        for env in range(num_envs):
            read.seed(env, np.random.default_rng(env))
        return read

    def counted() -> None:
        rows = np.empty((num_envs, users))
        for env in range(num_envs):
            counters[env].state = positions[env]
            rows[env] = generators[env].standard_exponential(users)

    def repeat(draw: Callable[[], object]) -> None:
        for _ in range(calls):
            draw()

    ways: dict[str, Callable[[], object]] = {
        "one generator for the batch": lambda: rng.standard_exponential((num_envs, users)),
        **{f"a generator per environment, blocks of {block}": ahead(block).read for block in (1, 8, 64)},
        "counter-based, Philox, one by one": counted,
        "counter-based, Philox in NumPy": lambda: philox(keys, 7, users),
        "counter-based, SplitMix64 in NumPy": lambda: split_mix(keys, 7, users),
    }
    spent: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(options.turns + 1):  # the first fills the blocks
        for way, draw in ways.items():
            spent[way].append(cpu_seconds(partial(repeat, draw)) / calls * 1e6)
    least = {way: min(times[1:]) for way, times in spent.items()}
    show(
        f"one row of fading, N = {num_envs}, K = {users}",
        ({"": way, "µs": time, "ns a number": time * 1e3 / (num_envs * users)} for way, time in least.items()),
    )
