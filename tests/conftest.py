"""Shared instances: named, small, seeded."""

import numpy as np
import pytest

import multispin_env as ms


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(params=["llama2", "qwen3.5"])
def preset(request):
    return request.param


@pytest.fixture
def scenario(preset):
    return ms.Scenario.preset(preset)
