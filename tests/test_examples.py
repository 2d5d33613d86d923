"""Every example runs; what it returns is what it claims."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name, **options):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main(**options)


CHECKS = {
    "random_play": (lambda goodput: 0 < goodput < 130, {}),
    "oracle": (lambda regret: regret < 1e-6, {}),
    "partial_knowledge": (
        lambda goodput: goodput["task-mean"] < goodput["filter"] < goodput["clairvoyant"],
        {"episodes": 4},
    ),
    "training": (lambda reward: reward > 1.0, {"timesteps": 512}),
    "cleanrl_style": (lambda share: 0.5 < share <= 1.0, {"minutes": 0.03, "devices": True, "action": "lengths"}),
    "own_agent": (lambda share: 0.9 < share <= 1.0, {"timesteps": 4096}),
    "own_controller": (
        lambda rows: {row.name: row.share for row in rows}["same-time"] <= 1 + 1e-12 and rows[1].name == "optimal",
        {},
    ),
    "own_scheduler": (lambda rates: rates["in-time"] > rates["optimal"], {}),
    "serving": (
        lambda goodput: goodput["optimal"] < goodput["greedy"] < goodput["load-aware"],
        {"copies": 8, "horizon": 15.0},
    ),
    "own_environment": (lambda rows: [row.name for row in rows][:2] == ["homogeneous", "optimal"], {}),
    "real_server": (  # the first device's drafts are refused, the last one's are not; behind 16 rounds all is new
        lambda lengths: lengths[15][0] < lengths[0][0] and lengths[15][3] > lengths[0][3] and lengths[16] == lengths[0],
        {},
    ),
    "own_scenario": (lambda goodput: goodput > 12 / (0.030 + 12 * 0.008), {}),
}


def test_every_example_is_checked():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(CHECKS)


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_example(name, tmp_path):
    check, options = CHECKS[name]
    placed = {key: value.format(folder=tmp_path) if isinstance(value, str) else value for key, value in options.items()}
    assert check(run(name, **placed))
