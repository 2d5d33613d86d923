"""Growth of the draft times of the shipped profiles: the numbers of `tools.context_times`, and facts by hand."""

import re
from pathlib import Path

import pytest

from multispin_env.registry import DEVICES
from tools.context_times import PROFILE_MODELS, comparisons, estimate, profiles, source

UNKNOWN = {
    "iphone-17-pro-ane",  # a context of bounded size
    "jetson-orin-nano-super",  # bits not stated
    "mac-m4-max-ane",
    "macbook-air-m3-cpu",
    "prompt-lookup",  # no model
}


def test_files_have_the_numbers_of_the_tool():
    for profile, time in profiles():
        model = PROFILE_MODELS.get(profile.name)
        expected = (estimate(profile, time), source(model)) if model else (0.0, "")
        assert (profile.draft_context_time, profile.context_source) == expected, profile.name
    assert {profile.name for profile, _ in profiles()} ^ set(PROFILE_MODELS) == UNKNOWN


@pytest.mark.parametrize(
    ("name", "draft_time", "cache", "weights"),
    [
        ("rk3588-npu", 0.05992, 2 * 2 * 28 * 2 * 128, 1.544e9 + 160 * 28_672),  # and its cache after 160 tokens
        ("pixel-8-q8", 0.0625, 2 * 2 * 4 * 256, 8.5 / 8 * 1.0e9),  # 4 of 26 layers have no window
        ("galaxy-s25-ultra-npu", 0.01111, 2 * 2 * 6 * 8 * 64, 4 / 8 * 1.17e9),  # 6 of 16 layers are attention
        ("snapdragon-8-elite-npu", 0.01559, 2 * 16 * 8 * 64, 0.749e9 + 4096 * 16_384),  # a cache of 8 bits
    ],
)
def test_growth_by_hand(name, draft_time, cache, weights):
    assert DEVICES.load(name).draft_context_time == pytest.approx(draft_time * cache / weights, rel=1e-3)


def test_the_page_has_the_ratios_of_devices_measured_twice():
    ratios = [row["estimated over measured"] for row in comparisons()]
    text = Path("docs/devices.md").read_text(encoding="utf-8").partition("after two contexts")[2]
    assert re.findall(r"\d\.\d\d", text.partition("tools.context_times")[0]) == ratios
    short, long = 1 / 163.0, 1 / 100.7  # s, Qwen3-4B on the M4 Max after 83 and 10,785 tokens
    estimated = short * 147_456 / (4.5 / 8 * 4.022e9 + 83 * 147_456)
    assert float(ratios[1]) == pytest.approx(estimated / ((long - short) / 10_702), abs=0.005)
