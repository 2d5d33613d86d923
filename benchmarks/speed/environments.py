"""Env-steps (one round of one environment) per CPU-second of every environment, with random actions drawn beforehand.

Single environments of `gymnasium.make`, Gymnasium's sync vector of them, and the native vector; in the same run also
Gymnasium's native CartPole, mobile-env if installed, and the floor: the draw of one standard exponential for each user.
Whole episodes are timed, with their resets. All subjects take turns, so that a busy machine slows all of them, and the
best turn counts.
"""

from argparse import Namespace
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium as gym

from benchmarks.speed.subjects import (
    DEFAULT_ID,
    ENCODINGS,
    REFERENCE_K,
    REFERENCE_N,
    Subject,
    cart_pole,
    floor,
    native,
    playing,
    single,
    staggered,
    sync,
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
    subjects = [floor(num_envs, users)]
    for action in ENCODINGS:
        subjects.append(native(DEFAULT_ID, action, num_envs, users))
        if num_envs > 1:
            subjects.append(staggered(action, num_envs, users))
        if num_envs <= REFERENCE_N:
            subjects.append(sync(action, num_envs, users))
        if num_envs == 1:
            subjects.append(single(DEFAULT_ID, action, users))
    return subjects


def others() -> list[Subject]:
    """Return the other environments, and mobile-env (5 users, 3 stations)."""
    subjects = [native(env_id, action, REFERENCE_N, FEW) for env_id, action in PLAIN.items()]
    subjects.append(native(AHEAD, "shares", REFERENCE_N, REFERENCE_K))
    for env_id in ENVIRONMENTS.names():
        if env_id != DEFAULT_ID:
            action = PLAIN.get(env_id, "residual")
            subjects += [native(env_id, action, REFERENCE_N, REFERENCE_K), single(env_id, action, REFERENCE_K)]
    if find_spec("mobile_env"):
        env_id = "mobile-small-central-v0"
        subjects.append(Subject("mobile-env", env_id, "", 1, 5, playing(gym.make(f"mobile_env:{env_id}"))))
    return subjects


def groups(options: Namespace) -> Iterator[Callable[[], list[Subject]]]:
    """Yield groups of subjects that take turns together."""
    for num_envs in options.copies:
        yield lambda num_envs=num_envs: [cart_pole(num_envs)]  # type: ignore[misc]
        for users in options.users:
            yield lambda num_envs=num_envs, users=users: compared(num_envs, users)  # type: ignore[misc]
    yield others


def measure(options: Namespace) -> list[Subject]:
    done: list[Subject] = []
    for make in groups(options):
        subjects = make()
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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    colours = {"residual": "#0072B2", "shares": "#D55E00", "lengths": "#009E73"}
    lines = {"floor": "-", "CartPole": "--", "native": "-", "sync": ":", "single": "none"}
    figure = Figure(figsize=(3.6 * len(options.users) + 1.6, 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(options.users), sharey=True, squeeze=False)[0]
    for axes, users in zip(panels, options.users, strict=True):
        of = [s for s in subjects if (s.users == users and s.env_id in ("", DEFAULT_ID)) or s.name == "CartPole"]
        for name, line in lines.items():
            for action in dict.fromkeys(s.action for s in of if s.name == name):
                points = [s for s in of if (s.name, s.action) == (name, action)]
                style: dict[str, Any] = {"color": colours.get(action, "#555555"), "linestyle": line}
                style["marker"] = "*" if name == "single" else "o"
                axes.loglog([s.num_envs for s in points], [s.rate for s in points], label=f"{name} {action}", **style)
        axes.set_title(f"K = {users}")
        axes.set_xlabel("environments N")
        axes.set_xticks(options.copies, [str(n) for n in options.copies])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("env-steps per CPU-second")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize="small")
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
