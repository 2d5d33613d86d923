"""Steps per second of every environment: ``python -m benchmarks.env_speed --out results/env_speed``.

Counts env-steps (one round of one copy) per second of CPU time, on one core, with random actions drawn beforehand:
single environments as `gymnasium.make` gives them, Gymnasium's sync vector of them, and the native vector; beside
them in the same run Gymnasium's own native CartPole, mobile-env where it is installed (``pip install -e
".[benchmark]"``), and the floor: the bare draw of one standard exponential for each user, without which there is no
round of fading.

Whole episodes are timed, with their restarts. The things compared take turns, so that a busy machine slows all of
them, and the best of the turns counts. ``--quick`` is a smoke test of less than 20 s.
"""

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from importlib import import_module
from inspect import isclass, isfunction
from pathlib import Path
from time import perf_counter_ns, process_time
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import multispin_env as ms
from multispin_env.checks import FloatArray
from multispin_env.physics.streams import CopyStreams

DEFAULT_ID = "MultiSpin/Heterogeneous-v0"
ENCODINGS = ("residual", "shares", "lengths")
PERIOD = ms.MAX_EPISODE_STEPS + 1
"""Calls of `step` from restart to restart; whole periods are timed."""

DRAWN = 8
"""Actions drawn beforehand, played in turn."""

REFERENCE_N, REFERENCE_K = 256, 20

Play = Callable[[int], None]
UIntArray = NDArray[np.uint64]


@dataclass(frozen=True)
class Grid:
    """What is measured."""

    copies: tuple[int, ...] = (1, 16, 256, 4096)
    users: tuple[int, ...] = (8, 20, 100)
    most_sync: int = 256
    turns: int = 5
    seconds: float = 0.15  # of a turn, unless one period takes longer


QUICK = Grid((1, 16, 256), (20,), most_sync=16, turns=2, seconds=0.02)


@dataclass
class Subject:
    """One thing whose speed is measured; ``play(calls)`` makes so many calls, each worth ``copies`` env-steps."""

    name: str  # "native", "sync", "single", "floor", "CartPole", "mobile-env"
    env_id: str
    action: str
    copies: int
    users: int
    play: Play = field(repr=False)
    turns: list[float] = field(default_factory=list)  # CPU-seconds of an env-step

    @property
    def rate(self) -> float:
        """Env-steps per CPU-second, best turn."""
        return 1.0 / min(self.turns)


def play_vector(env: Any) -> Play:
    """Calls of a vector environment that restarts its copies itself."""
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(DRAWN)]

    def play(calls: int) -> None:
        for call in range(calls):
            env.step(actions[call % DRAWN])

    return play


def play_single(env: Any) -> Play:
    """Calls of a single environment, reset at the end of every episode."""
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(DRAWN)]

    def play(calls: int) -> None:
        for call in range(calls):
            _, _, terminated, truncated, _ = env.step(actions[call % DRAWN])
            if terminated or truncated:
                env.reset()

    return play


def play_floor(copies: int, users: int) -> Play:
    """The bare fading draw."""
    rng = np.random.default_rng(0)

    def play(calls: int) -> None:
        for _ in range(calls):
            rng.standard_exponential((copies, users))

    return play


def native(env_id: str, action: str, copies: int, users: int) -> Subject:
    """The native vector, as `gymnasium.make_vec` gives it."""
    env = gym.make_vec(env_id, copies, vectorization_mode="vector_entry_point", action=action, num_users=users)
    return Subject("native", env_id, action, copies, users, play_vector(env))


def staggered(env_id: str, action: str, copies: int, users: int) -> Subject:
    """The native vector with copies at all rounds of their episodes, so that some restart in every step."""
    env: Any = gym.make_vec(env_id, copies, vectorization_mode="vector_entry_point", action=action, num_users=users)
    play = play_vector(env)
    for phase in range(min(PERIOD, copies)):
        play(1)
        env.reset(options={"reset_mask": np.arange(copies) % PERIOD == phase})
    return Subject("staggered", env_id, action, copies, users, play)


def sync(env_id: str, action: str, copies: int, users: int) -> Subject:
    """Gymnasium's loop over single environments."""
    env = gym.make_vec(env_id, copies, vectorization_mode="sync", action=action, num_users=users)
    return Subject("sync", env_id, action, copies, users, play_vector(env))


def single(env_id: str, action: str, users: int) -> Subject:
    """One environment with the default wrappers."""
    return Subject("single", env_id, action, 1, users, play_single(gym.make(env_id, action=action, num_users=users)))


def cart_pole(copies: int) -> Subject:
    """Gymnasium's own native vector of a far smaller system."""
    env = gym.make_vec("CartPole-v1", copies, vectorization_mode="vector_entry_point")
    return Subject("CartPole", "CartPole-v1", "", copies, 0, play_vector(env))


def mobile_env() -> list[Subject]:
    """The small scenario of mobile-env (5 users, 3 stations), where it is installed."""
    try:
        import_module("mobile_env")
    except ImportError:
        return []
    env_id = "mobile-small-central-v0"
    return [Subject("mobile-env", env_id, "", 1, 5, play_single(gym.make(env_id)))]


def groups(grid: Grid) -> Iterator[Callable[[], list[Subject]]]:
    """What takes turns together: everything of one N and K; other ids; other packages."""
    for copies in grid.copies:
        yield lambda copies=copies: [cart_pole(copies)]  # type: ignore[misc]
        for users in grid.users:

            def compared(copies: int = copies, users: int = users) -> list[Subject]:
                found = [Subject("floor", "", "", copies, users, play_floor(copies, users))]
                for action in ENCODINGS:
                    found.append(native(DEFAULT_ID, action, copies, users))
                    if copies == REFERENCE_N:
                        found.append(staggered(DEFAULT_ID, action, copies, users))
                    if copies <= grid.most_sync:
                        found.append(sync(DEFAULT_ID, action, copies, users))
                    if copies == 1:
                        found.append(single(DEFAULT_ID, action, users))
                return found

            yield compared
    others = [env_id for env_id in ms.ENVIRONMENTS.names() if env_id != DEFAULT_ID]
    yield lambda: [
        subject
        for env_id in others
        for subject in (
            native(env_id, "residual", REFERENCE_N, REFERENCE_K),
            single(env_id, "residual", REFERENCE_K),
        )
    ]
    yield mobile_env


def seconds_of(play: Play, calls: int) -> float:
    """CPU time of so many calls."""
    start = process_time()
    play(calls)
    return process_time() - start


def time_in_turns(subjects: list[Subject], grid: Grid) -> None:
    """Fill ``turns`` of these subjects, one after the other in every turn."""
    calls = []
    for subject in subjects:
        once = max(seconds_of(subject.play, PERIOD), 1e-6)  # also the first block of random numbers
        calls.append(PERIOD * max(1, round(grid.seconds / once)))
    for _ in range(grid.turns):
        for subject, count in zip(subjects, calls, strict=True):
            subject.turns.append(seconds_of(subject.play, count) / (count * subject.copies))


def measure(grid: Grid) -> list[Subject]:
    """Everything of the grid."""
    done: list[Subject] = []
    todo = list(groups(grid))
    for index, make in enumerate(todo):
        print(f"\r{index + 1}/{len(todo)} groups", end="", file=sys.stderr, flush=True)
        subjects = make()
        time_in_turns(subjects, grid)
        done += subjects
    print(file=sys.stderr)
    return done


PARTS = {
    "equal-latency root": ("equal_latency",),
    "rest of decode": ("*Codec.decode", "decode"),
    "tokens": ("expected_tokens", "tokens_from_exponential"),
    "price": ("price",),
    "random numbers": ("*Streams.read",),
    "fading and rate": ("*.next_gain", "spectral_efficiency"),
    "observation": ("ObservationCodec.*", "*._observe*", "_first", "*._handed_out"),
}
"""Names of the functions whose own time is a part of a step; what none of them takes is the rest."""

REST = "infos, counters, wrappers"


class Timers:
    """Own time of `PARTS` in ns, while inside ``with``; functions are found by name, wherever they stand."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys([*PARTS, REST], 0)
        self.calls = dict.fromkeys(PARTS, 0)
        self._running = [REST]
        self._since = 0
        self._restore: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> "Timers":
        modules = [module for name, module in sys.modules.items() if name.split(".")[0] == ms.__name__]
        owners: list[Any] = [*modules, *(x for module in modules for x in vars(module).values() if isclass(x))]
        for owner in dict.fromkeys(owners):
            for name, found in list(vars(owner).items()):
                part = self._part(found)
                if part is not None:
                    self._restore.append((owner, name, found))
                    setattr(owner, name, self._timed(found, part))
        self._since = perf_counter_ns()
        return self

    def __exit__(self, *_: object) -> None:
        self._charge()
        for owner, name, found in reversed(self._restore):
            setattr(owner, name, found)

    @staticmethod
    def _part(found: Any) -> str | None:
        if not isfunction(found) or not found.__module__.startswith(ms.__name__):
            return None
        matching = (part for part, names in PARTS.items() if any(fnmatch(found.__qualname__, name) for name in names))
        return next(matching, None)

    def _charge(self) -> None:
        now = perf_counter_ns()
        self.spent[self._running[-1]] += now - self._since
        self._since = now

    def _timed(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def timed(*args: Any, **keywords: Any) -> Any:
            self._charge()
            self._running.append(part)
            self.calls[part] += 1
            try:
                return function(*args, **keywords)
            finally:
                self._charge()
                self._running.pop()

        return timed


def profile(copies: int, action: str, turns: int) -> dict[str, float]:
    """µs of a call of `step` by part (best of the turns), and ``"step"`` without timers."""

    def make() -> Play:
        users = REFERENCE_K
        return (native(DEFAULT_ID, action, copies, users) if copies > 1 else single(DEFAULT_ID, action, users)).play

    calls = PERIOD * (2 if copies > 1 else 8)
    plain = make()
    whole = []
    timed: list[dict[str, int]] = []
    with Timers():
        play = make()  # what is bound when it is built is bound to the timed functions
    for _ in range(turns):
        whole.append(seconds_of(plain, calls) / calls * 1e6)
        with Timers() as timers:
            play = make()
            play(PERIOD)
            timers.spent = dict.fromkeys(timers.spent, 0)
            timers._since = perf_counter_ns()
            play(calls)
        timed.append(timers.spent)
    parts = {part: min(spent[part] for spent in timed) / calls * 1e-3 for part in timed[0]}
    return {"step": min(whole), **parts}


def philox(keys: UIntArray, counter: int, users: int) -> FloatArray:
    """Standard exponentials (N, K) from Philox 4x32-10, counted instead of kept, all copies at once in NumPy."""
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
    """Standard exponentials (N, K) from the SplitMix64 hash of key and counter: the cheapest, and the weakest."""
    z = (keys[:, None] + np.uint64(counter << 32)) + np.arange(users, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return exponential(z ^ (z >> np.uint64(31)))


def exponential(bits: UIntArray) -> FloatArray:
    """Standard exponentials by inversion, from 64 random bits each."""
    return -np.log1p(-((bits >> np.uint64(11)) * 2.0**-53))


def streams(turns: int) -> dict[str, float]:
    """µs to draw one row (N, K) of fading, by how the numbers are divided among the copies."""
    copies, users = REFERENCE_N, REFERENCE_K
    keys = np.arange(copies, dtype=np.uint64)
    counters = [np.random.Philox(key=i) for i in range(copies)]
    positions = [counter.state for counter in counters]
    generators = [np.random.Generator(counter) for counter in counters]

    def ahead(block: int) -> CopyStreams:
        read = CopyStreams(lambda rng, rows: rng.standard_exponential((rows, users)), copies, block)
        for copy in range(copies):
            read.seed(copy, np.random.default_rng(copy))
        return read

    def counted() -> None:
        rows = np.empty((copies, users))
        for copy in range(copies):
            counters[copy].state = positions[copy]
            rows[copy] = generators[copy].standard_exponential(users)

    def play(draw: Callable[[], object]) -> Play:
        def play(calls: int) -> None:
            for _ in range(calls):
                draw()

        return play

    ways: dict[str, tuple[Play, int]] = {
        "one generator for the batch": (play_floor(copies, users), 640),
        **{f"a generator a copy, blocks of {b}": (play(ahead(b).read), max(64, 10 * b)) for b in (1, 8, 64)},
        "counter-based, Philox, copy by copy": (play(counted), 64),
        "counter-based, Philox in NumPy": (play(lambda: philox(keys, 7, users)), 128),
        "counter-based, SplitMix64 in NumPy": (play(lambda: split_mix(keys, 7, users)), 640),
    }
    spent: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(turns + 1):  # the first fills the blocks
        for way, (draw, calls) in ways.items():
            spent[way].append(seconds_of(draw, calls) / calls * 1e6)
    return {way: min(times[1:]) for way, times in spent.items()}


def table(subjects: list[Subject], users: int) -> None:
    """Print env-steps per CPU-second and the share of the floor, for one K."""
    rows = [s for s in subjects if s.users == users and s.name not in ("CartPole", "mobile-env")]
    rows = [s for s in rows if s.name == "floor" or s.env_id == DEFAULT_ID]
    copies = sorted({s.copies for s in rows})
    floor = {s.copies: s.rate for s in rows if s.name == "floor"}
    print(f"\n{DEFAULT_ID}, K = {users}: env-steps per CPU-second (share of the floor)")
    print(f"{'':20}" + "".join(f"{'N = ' + str(n):>22}" for n in copies))
    for name, action in dict.fromkeys((s.name, s.action) for s in rows):
        cells = {s.copies: s for s in rows if (s.name, s.action) == (name, action)}
        texts = (f"{cells[n].rate:,.0f} ({cells[n].rate / floor[n]:.4f})" if n in cells else "" for n in copies)
        print(f"{name + ' ' + action:20}" + "".join(f"{text:>22}" for text in texts))


def show(subjects: list[Subject], grid: Grid) -> None:
    """Print all tables."""
    for users in grid.users:
        table(subjects, users)
    rates = {(s.action, s.users, s.copies): s.rate for s in subjects if s.name == "native" and s.env_id == DEFAULT_ID}
    few, many = REFERENCE_N, max(grid.copies)
    print(f"\ncost of an env-step, native: ns at N = {few}, at {many}" if many > few else "")
    for (action, users, copies), rate in rates.items():
        if copies == many > few:
            before, after = 1e9 / rates[action, users, few], 1e9 / rate
            change = "falls" if after < before else "RISES"
            print(f"K = {users:<4}{action:10}{before:10.0f}{after:10.0f}  {change}")
    print("\nothers: env-steps per CPU-second")
    for s in subjects:
        if s.env_id not in ("", DEFAULT_ID):
            print(f"{s.env_id:40}{s.name:12}N = {s.copies:<6}K = {s.users or '-':<5}{s.rate:14,.0f}")


def show_profiles(profiles: dict[str, dict[str, float]]) -> None:
    """Print µs and share of every part of a step."""
    print(f"\nparts of one call of step, K = {REFERENCE_K}: µs (share)")
    print(f"{'':28}" + "".join(f"{label:>22}" for label in profiles))
    for part in (*PARTS, REST):
        cells = []
        for parts in profiles.values():
            total = sum(parts.values()) - parts["step"]
            cells.append(f"{parts[part]:.1f} ({parts[part] / total:.0%})" if parts[part] else "-")
        print(f"{part:28}" + "".join(f"{cell:>22}" for cell in cells))
    print(f"{'the step without timers':28}" + "".join(f"{parts['step']:>22.1f}" for parts in profiles.values()))


def show_streams(found: dict[str, float]) -> None:
    """Print µs and ns a number of every way to draw."""
    print(f"\none row of fading, N = {REFERENCE_N}, K = {REFERENCE_K}: µs (ns a number)")
    for way, spent in found.items():
        print(f"{way:40}{spent:8.1f} ({spent * 1e3 / (REFERENCE_N * REFERENCE_K):.1f})")


def targets(subjects: list[Subject]) -> list[dict[str, Any]]:
    """Every target with what was measured."""
    same = [s for s in subjects if s.users == REFERENCE_K and s.env_id in ("", DEFAULT_ID)]
    rates = {(s.name, s.action, s.copies): s.rate for s in same}
    n, many, unit = REFERENCE_N, 4096, "env-steps per CPU-s"
    wanted = [
        (f"native shares, N = {n}: {unit}", rates["native", "shares", n], 1e6),
        (f"native shares, N = {n}: share of the floor", rates["native", "shares", n] / rates["floor", "", n], 0.1),
        (f"native residual, N = {n}: {unit}", rates["native", "residual", n], 5e5),
        (f"native lengths, N = {n}: {unit}", rates["native", "lengths", n], 5e5),
        (f"single residual: {unit}", rates["single", "residual", 1], 15e3),
    ]
    natives = [s for s in subjects if (s.name, s.env_id) == ("native", DEFAULT_ID)]
    native_rates = {(s.users, s.action, s.copies): s.rate for s in natives}
    for users in sorted({users for users, _, copies in native_rates if copies == many}):
        gain = min(native_rates[users, action, many] / native_rates[users, action, n] for action in ENCODINGS)
        wanted.append((f"native, K = {users}: cost of an env-step at N = {n}, over that at {many}, worst", gain, 1.0))
    return [{"target": text, "measured": got, "at_least": least, "met": got >= least} for text, got, least in wanted]


COLOURS = {"residual": "#0072B2", "shares": "#D55E00", "lengths": "#009E73"}


def draw(subjects: list[Subject], grid: Grid, path: Path) -> None:
    """Env-steps per CPU-second over N, one panel for each K."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(grid.users) + 1.6, 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(grid.users), sharey=True, squeeze=False)[0]
    order = ("floor", "CartPole", "native", "sync", "single")
    for axes, users in zip(panels, grid.users, strict=True):
        curves: dict[tuple[str, str], list[Subject]] = {}
        for s in subjects:
            if s.name == "CartPole" or (s.users == users and s.env_id in ("", DEFAULT_ID) and s.name in order):
                curves.setdefault((s.name, s.action), []).append(s)
        for (name, action), points in sorted(curves.items(), key=lambda curve: order.index(curve[0][0])):
            style: dict[str, Any] = {"color": COLOURS.get(action, "#555555"), "marker": "o", "markersize": 4}
            if name == "single":
                style |= {"marker": "*", "markersize": 9, "linestyle": "none", "markeredgecolor": "white"}
                style |= {"markeredgewidth": 0.5, "zorder": 3}
            elif name != "native":
                style["linestyle"] = {"sync": ":", "floor": "-", "CartPole": "--"}[name]
            label = {"floor": "floor: the fading draw alone", "CartPole": "CartPole-v1, native vector"}.get(name)
            label = label or f"{name}, {action}"
            axes.loglog([s.copies for s in points], [s.rate for s in points], label=label, **style)
        axes.set_title(f"K = {users}")
        axes.set_xlabel("copies N")
        axes.set_xticks(grid.copies, [str(n) for n in grid.copies])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("env-steps per CPU-second")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize="small")
    figure.savefig(path)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke test: few N, one K, short turns")
    parser.add_argument("--out", type=Path, default=Path("results/env_speed"))
    options = parser.parse_args()
    grid = QUICK if options.quick else Grid()
    subjects = measure(grid)
    show(subjects, grid)
    profiles = {
        "single residual": profile(1, "residual", grid.turns),
        **{f"N = {REFERENCE_N} {action}": profile(REFERENCE_N, action, grid.turns) for action in ENCODINGS},
    }
    show_profiles(profiles)
    drawn = streams(grid.turns)
    show_streams(drawn)
    found = targets(subjects)
    print(f"\ntargets, K = {REFERENCE_K}")
    for row in found:
        met = "met   " if row["met"] else "MISSED"
        print(f"{met} {row['measured']:14,.3f} of {row['at_least']:>11,.1f}  {row['target']}")
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [{k: v for k, v in vars(s).items() if k != "play"} | {"steps_per_cpu_second": s.rate} for s in subjects]
    versions = {"python": platform.python_version(), "numpy": np.__version__, "gymnasium": gym.__version__}
    report = {"versions": versions, "grid": asdict(grid), "subjects": rows, "profiles": profiles, "streams": drawn}
    report["targets"] = found
    (options.out / "env_speed.json").write_text(json.dumps(report, indent=2))
    draw(subjects, grid, options.out / "env_speed.png")
    print(f"written: {options.out}/env_speed.json, {options.out}/env_speed.png")


if __name__ == "__main__":
    main()
