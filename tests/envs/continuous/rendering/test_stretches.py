"""Stretches of a trace against what the steps say, by hand."""

import pytest

from multispin_env.envs.continuous.rendering.stretches import Doing, of_device, of_server
from tests.envs.continuous.rendering.test_traces import trace

D, U, W, V = Doing


def seen(user, start=0.0, clock=9.0):
    return [(one.doing, one.begin, one.end) for one in of_device(trace(), user, start, clock)]


def near(*stretches):
    return [(doing, pytest.approx(begin), pytest.approx(end)) for doing, begin, end in stretches]


def test_every_phase_of_a_device_that_is_verified_twice():
    first = (D, 0.0, 0.2), (W, 0.2, 0.3), (V, 0.3, 0.4)  # its upload takes no time
    assert seen(1) == near(*first, (D, 0.4, 0.5), (U, 0.5, 0.6), (W, 0.6, 0.8), (V, 0.8, 1.0))


def test_a_device_that_drafts_on_while_others_are_verified():
    assert seen(2)[:2] == near((D, 0.0, 0.4), (D, 0.4, 0.5))


def test_what_is_under_way_is_cut_off_at_both_ends():
    assert seen(1, 0.25, 0.35) == near((W, 0.25, 0.3), (V, 0.3, 0.35))


def test_passes_of_the_server_with_their_drafts():
    passes = [(one.begin, one.end, one.drafts) for one in of_server(trace(), 0.0, 9.0)]
    assert passes == [(pytest.approx(0.3), pytest.approx(0.4), 2), (pytest.approx(0.8), pytest.approx(1.0), 2)]
