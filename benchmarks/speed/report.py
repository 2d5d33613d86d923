"""Tables, targets and the picture."""

from pathlib import Path
from typing import Any

from benchmarks.speed.subjects import (
    DEFAULT_ID,
    ENCODINGS,
    FEW,
    REFERENCE_K,
    REFERENCE_N,
    SERVING,
    WITHOUT_BARRIER,
    Grid,
    Subject,
)


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
        (f"native, staggered, shares, N = {n}: {unit}", rates["staggered", "shares", n], 1e6),
        (f"native, staggered, residual, N = {n}: {unit}", rates["staggered", "residual", n], 5e5),
        (f"single residual: {unit}", rates["single", "residual", 1], 15e3),
    ]
    for env_id, what, least in ((WITHOUT_BARRIER, "without the barrier", 3e5), (SERVING, "requests", 1e5)):
        (found,) = (s for s in subjects if (s.name, s.env_id, s.users) == ("native", env_id, FEW))
        wanted.append((f"{what}, plain, K = {FEW}, N = {n}: {unit}", found.rate, least))
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
