"""Env-steps (one round of one environment) per CPU-second of every environment, with random actions drawn beforehand.

Single environments of `gymnasium.make`, Gymnasium's sync vector of them, and the native vector; in the same run also
Gymnasium's native CartPole, mobile-env if installed, and the floor: the draw of one standard exponential for each user.
Whole episodes are timed, with their resets. All subjects take turns, so that a busy machine slows all of them, and the
best turn counts.
"""

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import gymnasium as gym

from benchmarks.speed.subjects import (
    DEFAULT_ID,
    ENCODINGS,
    REFERENCE_K,
    REFERENCE_N,
    Subject,
    cart_pole,
    floor,
    playing,
    subject,
    take_turns,
)
from benchmarks.tools import Options, Row, show
from multispin_env.registry import ENVIRONMENTS

WITHOUT_BARRIER, SERVING = "MultiSpin/Continuous-v0", "MultiSpin/Serving-v0"

AHEAD = "MultiSpin/DraftAhead-v0"

PLAIN = dict.fromkeys((WITHOUT_BARRIER, SERVING), "plain")
"""Encodings for environments whose residuals are relative to a slow rule."""

FEW = 8
"""Users in the targets without the barrier."""

MANY = 4096
"""Environments at which an env-step must cost no more than at `REFERENCE_N`."""


OPTIONS: Options = {
    "copies": [1, 16, REFERENCE_N, MANY],
    "users": [8, REFERENCE_K, 100],
    "turns": 5,
    "seconds": 0.15,
    "picture": (None, "file of the picture", {"type": Path}),
}


def compared(num_envs: int, users: int) -> list[Subject]:
    """Return the subjects of one N and K."""
    names = ["native", *(["staggered"] if num_envs > 1 else ["single"]), *(["sync"] if num_envs <= REFERENCE_N else [])]
    made = [subject(name, DEFAULT_ID, action, num_envs, users) for action in ENCODINGS for name in names]
    return [floor(num_envs, users), *made]


def others() -> list[Subject]:
    """Return the other environments, and mobile-env (5 users, 3 stations)."""
    subjects = [subject("native", env_id, action, REFERENCE_N, FEW) for env_id, action in PLAIN.items()]
    subjects.append(subject("native", AHEAD, "shares", REFERENCE_N, REFERENCE_K))
    for env_id in ENVIRONMENTS.names():
        if env_id != DEFAULT_ID:
            for name, num_envs in (("native", REFERENCE_N), ("single", 1)):
                subjects.append(subject(name, env_id, PLAIN.get(env_id, "residual"), num_envs, REFERENCE_K))
    if find_spec("mobile_env"):
        env_id = "mobile-small-central-v0"
        subjects.append(Subject("mobile-env", env_id, "", 1, 5, playing(gym.make(f"mobile_env:{env_id}"))))
    return subjects


def groups(options: Namespace) -> Iterator[list[Subject]]:
    """Yield groups of subjects that take turns together."""
    for num_envs in options.copies:
        yield [cart_pole(num_envs)]
        yield from (compared(num_envs, users) for users in options.users)
    yield others()


def measure(options: Namespace) -> list[Subject]:
    done: list[Subject] = []
    for subjects in groups(options):
        take_turns(subjects, options.turns, options.seconds)
        done += subjects
    return done


def table(subjects: list[Subject], users: int) -> Iterator[Row]:
    of = {(s.name, s.action, s.num_envs): s.rate for s in subjects if s.users == users and s.env_id in ("", DEFAULT_ID)}
    num_envs = sorted({n for *_, n in of})
    for name, action in dict.fromkeys((name, action) for name, action, _ in of):
        cells = {n: f"{of[name, action, n]:,.0f} ({of[name, action, n] / of['floor', '', n]:.4f})"
                 for n in num_envs if (name, action, n) in of}  # fmt: skip
        yield {"": f"{name} {action}", **{f"N = {n}": cells.get(n, "") for n in num_envs}}


def costs(subjects: list[Subject]) -> Iterator[Row]:
    of = {(s.users, s.action, s.num_envs): s.rate for s in subjects if (s.name, s.env_id) == ("native", DEFAULT_ID)}
    num_envs = sorted({n for *_, n in of})
    for users, action in dict.fromkeys((users, action) for users, action, _ in of):
        yield {"": f"K = {users}, {action}", **{f"N = {n}": 1e9 / of[users, action, n] for n in num_envs}}


def targets(subjects: list[Subject]) -> Iterator[Row]:
    of = {(s.name, s.env_id, s.action, s.users, s.num_envs): s.rate for s in subjects}
    n, k = REFERENCE_N, REFERENCE_K
    limits = [
        (("native", DEFAULT_ID, "shares", k, n), 1e6),
        (("native", DEFAULT_ID, "residual", k, n), 5e5),
        (("native", DEFAULT_ID, "lengths", k, n), 5e5),
        (("staggered", DEFAULT_ID, "shares", k, n), 1e6),
        (("staggered", DEFAULT_ID, "residual", k, n), 5e5),
        (("single", DEFAULT_ID, "residual", k, 1), 15e3),
        (("native", WITHOUT_BARRIER, "plain", FEW, n), 3e5),
        (("native", SERVING, "plain", FEW, n), 1e5),
        (("native", AHEAD, "shares", k, n), 5e5),
    ]
    goals = [(f"{' '.join(key[:3])}, K = {key[3]}, N = {key[4]}", of[key], least) for key, least in limits if key in of]
    if ("floor", "", "", k, n) in of:
        share = of["native", DEFAULT_ID, "shares", k, n] / of["floor", "", "", k, n]
        goals.append((f"native shares, K = {k}, N = {n}, share of the floor", share, 0.1))
    for users in sorted({key[3] for key in of if key[0] == "floor" and key[4] == MANY}):
        rates = [[of["native", DEFAULT_ID, action, users, num_envs] for num_envs in (MANY, n)] for action in ENCODINGS]
        worst = min(many / few for many, few in rates)
        goals.append((f"native, K = {users}: cost at N = {n} over that at {MANY}, worst", worst, 1.0))
    for text, got, least in goals:
        yield {"target": text, "measured": got, "wanted": least, "": "met" if got >= least else "MISSED"}


def draw(subjects: list[Subject], options: Namespace) -> None:
    """Draw env-steps per CPU-second over N, one panel for each K."""
    from matplotlib.figure import Figure

    from multispin_lab.drawing import Series, Sweep

    colours = {"residual": "#0072B2", "shares": "#D55E00", "lengths": "#009E73"}
    lines = {"floor": "-", "CartPole": "--", "native": "-", "sync": ":", "single": "none"}
    rows = [entry for entry in subjects if entry.env_id in ("", DEFAULT_ID)]
    rows += [replace(entry, users=users) for entry in subjects if entry.name == "CartPole" for users in options.users]
    series = []
    for name, action in dict.fromkeys((row.name, row.action) for row in rows if row.name in lines):
        style = (colours.get(action, "#555555"), "*" if name == "single" else "o", lines[name])
        series.append(Series(f"{name} {action}", style, "rate", {"name": name, "action": action}))
    figure = Figure(figsize=(max(3.6 * len(options.users) + 1.6, 10.0), 4.4), dpi=150, layout="constrained")
    y, least = "env-steps per CPU-second", 0.5 * min(row.rate for row in rows)
    sweep = Sweep("num_envs", "environments N", series, y, lambda row: f"K = {row['users']}", options.copies)
    sweep.draw([{**vars(row), "rate": row.rate} for row in rows], figure)
    for axes in figure.axes:
        axes.set_ylim(least, None)
        axes.set_yscale("log")
    figure.savefig(options.picture)


def run(options: Namespace) -> None:
    subjects = measure(options)
    for users in options.users:
        show(f"{DEFAULT_ID}, K = {users}: env-steps per CPU-second (share of the floor)", table(subjects, users))
    show("ns of an env-step, native", costs(subjects))
    rest = [s for s in subjects if s.env_id not in ("", DEFAULT_ID)]
    show(
        "others: env-steps per CPU-second",
        ({"": s.env_id, "by": s.name, "N": s.num_envs, "K": s.users, "rate": s.rate} for s in rest),
    )
    show("targets, env-steps per CPU-second", targets(subjects))
    if options.picture:
        draw(subjects, options)
