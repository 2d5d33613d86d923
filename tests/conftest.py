"""Shared instances: named, small, seeded."""

import os

import numpy as np
import pytest
from hypothesis import settings

import multispin_env as ms

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # windows of tests are not seen

# the same examples in every run; explore others with --hypothesis-profile=default
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(params=ms.SCENARIOS.names())
def preset(request):
    return request.param


@pytest.fixture
def scenario(preset):
    return ms.Scenario.preset(preset)
