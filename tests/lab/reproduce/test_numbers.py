"""Numbers of the figures' tables, computed another way."""

from dataclasses import replace

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.records import Records, load_records, prompt_rates
from multispin_env.scenario import Scenario
from multispin_lab.reproduce import allocations, optimum, sweeps
from multispin_lab.reproduce.figure import PRESETS, Scale
from multispin_lab.reproduce.page import PageFigure, markdown_table, render_page
from multispin_lab.reproduce.sweeps import replayed_tokens
from tests import reference

SCALE = Scale(quick=True, states=3, seed=5)


def rows_of(spec, scale):
    return [row for setting in spec.settings(scale) for row in spec.rows(scale, setting)]


def states(preset, **overrides):
    scenario = Scenario.preset(preset, **overrides)
    return scenario, ms.sample_state(scenario, np.random.default_rng(5), 3)


def mean_goodput(name, scenario, state):
    return float(ms.expected_outcome(scenario, state, ms.make_controller(name, scenario)(state)).goodput.mean())


def test_verification_is_a_fixed_time_and_one_for_each_draft():
    rows = rows_of(sweeps.VERIFICATION, SCALE)
    result = {(row["preset"], row["batch"]): (row["verification_ms"], row["per_draft_ms"]) for row in rows}
    assert result["llama2", 1] == pytest.approx((35.4, 35.4))
    assert result["llama2", 4] == pytest.approx((73.56, 18.39))
    qwen = Scenario.preset("qwen3.5")
    fixed, item = qwen.verification_fixed_time, qwen.verification_time_per_draft
    assert result["qwen3.5", 32] == pytest.approx((1e3 * (fixed + 32 * item), 1e3 * (fixed / 32 + item)))


def test_rows_of_devices_are_those_of_the_controllers():
    rows = [row for preset in PRESETS for row in allocations.device_rows(SCALE, (preset, 2))]
    for preset in PRESETS:
        scenario, state = states(preset)
        for case, name in (("homogeneous", "homogeneous"), ("heterogeneous", "optimal")):
            decision = ms.make_controller(name, scenario)(state[:2])
            mine = [row for row in rows if (row["preset"], row["case"]) == (preset, case)]
            columns = {
                "spectral_efficiency": state.spectral_efficiency[:2],
                "draft_time_ms": state.draft_time[:2] / 1e-3,
                "acceptance_rate": state.acceptance_rate[:2],
                "draft_length": decision.draft_length,
                "bandwidth_share": decision.bandwidth / 10e6,
            }
            for column, values in columns.items():
                assert np.allclose([row[column] for row in mine], values.ravel(), rtol=1e-6), column


def test_goodput_of_common_lengths():
    rows = rows_of(sweeps.DRAFT_LENGTH, SCALE)
    assert [(row["preset"], row["acceptance_rate"], row["draft_length"]) for row in rows] == [
        (preset, rate, length) for preset in PRESETS for rate in (0.95, 0.85, 0.75, 0.6) for length in range(1, 26)
    ]
    for preset in PRESETS:
        scenario, state = states(preset)
        token_time = scenario.bits_per_token / (scenario.total_bandwidth * state.spectral_efficiency)
        pairs = zip(state.draft_time, token_time, strict=True)
        latency = np.array([reference.equal_latency([1] * 20, *pair) for pair in pairs])
        for rate in (0.95, 0.6):
            mine = [row for row in rows if (row["preset"], row["acceptance_rate"]) == (preset, rate)]
            tokens = np.array([20 * reference.expected_tokens(row["draft_length"], rate) for row in mine])
            lengths = np.array([row["draft_length"] for row in mine])
            verification = scenario.verification_time
            item = tokens / (lengths * latency[:, None] + verification)
            assert [row["goodput"] for row in mine] == pytest.approx(item.mean(0))
            assert all(row["low"] <= row["goodput"] <= row["high"] and row["states"] == 3 for row in mine)
            best = int(lengths[(tokens / (lengths * latency.mean() + verification)).argmax()])
            assert [row["draft_length"] for row in mine if row["closed_form"]] == [best]


def test_tokens_of_replayed_rounds():
    accepted = np.array([1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1], dtype=bool)
    records = Records(np.array([0, 1]), np.array([8, 10]), np.where(accepted, 0.75, 0.25), accepted)
    for length in (1, 3):
        expected = []
        for text in (accepted[:8].tolist(), accepted[8:].tolist()):
            runs = []
            for position in range(len(text)):
                for _ in range(3):
                    ahead = [text[(position + step) % len(text)] for step in range(length)]
                    runs.append([*ahead, False].index(False))
                    position += runs[-1] + 1
            expected.append(np.mean(runs) + 1.0)
        assert replayed_tokens(records, length, 3) == pytest.approx(expected)


def test_rows_of_recorded_tasks():
    rows = rows_of(sweeps.RECORDED, SCALE)
    assert [(row["task"], row["draft_length"]) for row in rows] == [
        (task, length) for length in (1, 2, 4, 8, 12, 16) for task in ("code", "mathematics", "chat", "reading")
    ]
    records = load_records()
    begin = np.append(records.start, len(records.accepted))
    for row in (rows[6], rows[9]):
        prompts = np.flatnonzero(records.task == sweeps.TASKS.index(row["task"]))
        rates = [records.probability[begin[p] : begin[p + 1]].mean() for p in prompts]
        plain = [reference.expected_tokens(row["draft_length"], rate) for rate in rates]
        fitted = [reference.expected_tokens(row["draft_length"], rate) for rate in prompt_rates(records)[prompts]]
        assert (row["prompts"], row["plain"], row["fitted"]) == pytest.approx(
            (len(prompts), np.mean(plain), np.mean(fitted))
        )
        assert row["replayed"] == pytest.approx(replayed_tokens(records, row["draft_length"])[prompts].mean())
        assert row["low"] < row["replayed"] < row["high"]


def test_losses_of_controllers(monkeypatch):
    """Algorithm 1 is replaced, as it takes most of the time."""
    other = {"algorithm1": "random"}
    monkeypatch.setattr(optimum, "make_controller", lambda name, s: ms.make_controller(other.get(name, name), s))
    rows = rows_of(optimum.REGRETS, SCALE)
    assert [(row["preset"], row["state"]) for row in rows] == [(preset, i) for preset in PRESETS for i in range(3)]
    for preset in PRESETS:
        scenario, state = states(preset)
        mine = [row for row in rows if row["preset"] == preset]
        best = ms.make_controller("optimal", scenario, certify=1e-6)(state)
        assert [row["optimum"] for row in mine] == pytest.approx(best.value)
        assert [row["gap"] for row in mine] == pytest.approx(best.gap, abs=1e-9)
        for column, name in {"uniform_bandwidth": "uniform-bandwidth", "fixed": "fixed"}.items():
            decision = ms.make_controller(name, scenario)(state)
            loss = 1.0 - ms.expected_outcome(scenario, state, decision).goodput / best.value
            assert [row[column] for row in mine] == pytest.approx(loss, abs=1e-9)


def test_ratios_of_the_calibration(monkeypatch):
    monkeypatch.setattr(optimum, "QUICK_GRID", 2)
    rows = rows_of(optimum.CALIBRATION, SCALE)
    assert [(row["preset"], row["draft_time_ms"], row["snr_db"]) for row in rows] == [
        (preset, time, ratio) for preset in PRESETS for time in (4.0, 24.0) for ratio in (14.0, 32.0)
    ]
    wide, state = states("qwen3.5", mean_draft_time=24e-3, transmit_snr_db=14.0)
    narrow = wide.replace(total_bandwidth=5e6)
    best = mean_goodput("optimal", wide, state)
    assert (rows[6]["states"], rows[6]["goodput"]) == (3, pytest.approx(best))
    over_fixed = mean_goodput("optimal", narrow, state) / mean_goodput("fixed", narrow, state)
    assert rows[6]["over_fixed"] == pytest.approx(over_fixed)
    assert rows[6]["over_p2p"] == pytest.approx(best / ms.baselines.p2p_goodput(wide, state).mean())
    leads = mean_goodput("uniform-bandwidth", wide, state) / mean_goodput("homogeneous", wide, state)
    assert rows[6]["uniform_over_homogeneous"] == pytest.approx(leads)


def test_the_page_shows_and_links_every_figure():
    spec = replace(sweeps.VERIFICATION, title="A & B", caption="It is < 1.")
    table = ("a", "<b>"), [("1", "2"), ("3", "4")]
    text = render_page(
        "All", "seed 5", [PageFigure("one", spec, "run it", None), PageFigure("two", spec, "run", table)]
    )
    for name, command in (("one", "run it"), ("two", "run")):
        linked = {f'href="#{name}"', f'id="{name}"', *(f'"{name}.{kind}"' for kind in ("csv", "svg", "png"))}
        assert all(entry in text for entry in (*linked, f"<code>{command}</code>"))
    assert "A & B" not in text
    rows = "<tr><th>a</th><th>&lt;b&gt;</th></tr>\n<tr><td>1</td><td>2</td></tr>\n<tr><td>3</td><td>4</td></tr>"
    assert text.count(f"<table>\n{rows}\n</table>") == text.count("<table>") == 1
    assert text.count("<figcaption>It is &lt; 1.</figcaption>") == 2
    assert markdown_table(*table) == "| a | <b> |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |"
