"""Rate curves of links against formulas written anew, and the check of a link before its use."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import lambertw

import multispin_env as ms
from multispin_env.physics.links import Power, RateCurves, lambert_excess
from multispin_env.registry import LINKS
from tests import reference
from tests.refusals import refusals

EPS = 2.0**-52


class Lossy(ms.Link):
    """Three lines, as users write them."""

    def rate(self, share, snr):
        return 0.9 * share * np.minimum(4.4, np.log2(1.0 + 0.5 * snr / share))


class Envelope(ms.Link):
    """Least of three lines through modulations, each with its own overhead: kinks, and a slope at 0."""

    def rate(self, share, snr):
        top = np.log1p(snr)
        return np.minimum(np.minimum(4.0 * share, 0.1 + 2.0 * share), 0.5 + share) * top


LOSSY, ENVELOPE, POWER, CAPPED = Lossy(), Envelope(), Power(), Power(3.0)
EVERY = (*(LINKS.load(name) for name in LINKS.names()), LOSSY, ENVELOPE, CAPPED)


@pytest.mark.parametrize("link", EVERY, ids=lambda link: type(link).__name__)
def test_links_pass_their_own_check(link):
    link.verify()


@pytest.mark.parametrize("link", EVERY, ids=lambda link: type(link).__name__)
def test_devices_alone_and_in_a_batch_are_the_same_to_the_last_bit(link, rng):
    shape = (7, 5)
    share, snr = 10.0 ** rng.uniform(-6, 0, shape), 10.0 ** rng.uniform(-3, 5, shape)
    share[0, 0], share[1, 1] = 1.0, 1e-9
    rate = link.rate(share, snr) * (rng.random(shape) < 0.9)
    whole = rate, link.slope(share, snr), *link.allocate(rate, snr)
    for index in np.ndindex(shape):
        one = tuple(slice(i, i + 1) for i in index)
        part = link.rate(share[one], snr[one]), link.slope(share[one], snr[one])
        assert part[0] == rate[one] or rate[one] == 0.0
        for alone, batch in zip((part[1], *link.allocate(rate[one], snr[one])), whole[1:], strict=True):
            assert alone == batch[one]
    for alone, batch in zip(link.allocate(rate[:, ::2], snr[:, ::2]), whole[2:], strict=True):
        assert (alone == batch[:, ::2]).all()


def off(**methods):
    return type("Off", (Lossy,), methods)()


def broken(factor, of):
    method = getattr(Lossy, of)
    return off(**{of: lambda self, value, snr: np.asarray(method(self, value, snr)) * factor(value)})


def grown(allocation, factor):
    share, growth = allocation
    return share, growth * factor


test_broken_links_are_refused = refusals(
    *(
        (lambda link=link: LINKS.register("broken", link), rf"^link: expected {words}.* ratio of ")
        for words, link in {
            "a rate that rises": off(rate=lambda self, b, snr: b * np.floor(1.0 + np.log2(1.0 + snr / b))),
            "a rate that rises with": off(rate=lambda self, b, snr: np.minimum(b, 0.5) * np.log1p(snr)),
            "a rate that rises with the": off(rate=lambda self, b, snr: np.sin(3.0 * b) * snr),
            "a rate that is concave": off(rate=lambda self, b, snr: b**1.001 * np.log1p(snr)),
            "a rate that is concave in": off(rate=lambda self, b, snr: (b + 1e-3 * np.sin(20.0 * b)) * snr),
            "rates of the shape": off(rate=lambda self, b, snr: b.sum() * snr[:1]),
            "the rate b r": off(constant_density=True),
            "finite rates > 0": off(rate=lambda self, b, snr: b - 0.5),
            "finite rates > 0,": off(rate=lambda self, b, snr: b * np.nan),
            "slopes between": broken(lambda b: 0.9995, "slope"),
            "slopes between those": broken(lambda b: 1.01, "slope"),
            "the inverse": broken(lambda y: 1.0 + 1e-7, "inverse"),
            "the inverse rate": broken(lambda y: 1.0 - 1e-7, "inverse"),
            "the same numbers for a device alone": broken(lambda b: 1.0 + 2.0 * EPS * (b.size == 1), "rate"),
            "growth of at most": off(allocate=lambda self, y, snr: grown(Lossy.allocate(self, y, snr), 1.001)),
            "growth of at least": off(allocate=lambda self, y, snr: grown(Lossy.allocate(self, y, snr), 0.5)),
        }.items()
    ),
)


FALLING = off(rate=lambda self, b, snr: np.sin(3.0 * b) * snr)


def test_a_link_registered_as_a_string_is_verified_at_its_first_use():
    LINKS.register("late", f"{__name__}:FALLING")
    try:
        scenario = ms.Scenario.preset("llama2", num_users=3, link="late")
        with pytest.raises(ValueError, match=r"^link: expected a rate that rises with the share.* ratio of "):
            ms.make_controller("optimal", scenario)(ms.sample_state(scenario, 0))
    finally:
        LINKS.unregister("late")


def test_a_link_that_is_not_concave_says_so():
    link = type("Convex", (Lossy,), {"rate": lambda self, b, snr: b**1.5 * np.log1p(snr), "concave": False})()
    link.verify()
    link.rate = lambda share, snr: -share
    with pytest.raises(ValueError, match=r"^link: expected finite rates > 0"):
        link.verify()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("limit", [0.0, 7.4, 0.01])
def test_shares_of_total_power_are_inverted_over_all_decades(limit):
    link = Power(limit)
    for decade in range(-6, 131):
        for share in (1e-9, 3e-7, 1e-4, 0.03, 0.4, 0.97, 1.0):
            snr = 10.0**decade
            rate = share * min(limit or math.inf, math.log1p(snr / share) / math.log(2.0))
            found, growth = link.allocate(np.array([rate]), np.array([snr]))
            ratio = snr / share
            fall = ratio / (1.0 + ratio)  # 1 − fall / ln(1 + ratio) is b R' / R
            elasticity = 1.0
            if not limit or rate < limit * share:
                short = min(ratio, 1.0) ** 2 * (0.5 - 2.0 * min(ratio, 1.0) / 3.0 + 0.75 * min(ratio, 1.0) ** 2)
                elasticity = (short if ratio < 1e-5 else math.log1p(ratio) - fall) / math.log1p(ratio)
            assert found[0] == pytest.approx(share, rel=16.0 * EPS / elasticity)
            assert growth[0] == pytest.approx(share / elasticity, rel=1e-13 + 32.0 * EPS / elasticity)
            assert growth[0] * link.slope(found, np.array([snr]))[0] == pytest.approx(rate, rel=1e-9)


def test_lambert_excess_solves_its_equation():
    u = np.concatenate([[0.0], np.geomspace(1e-30, 700.0, 500)])
    expected = -lambertw(-np.exp(-1.0 - u[u > 1e-3]), -1).real - 1.0
    assert lambert_excess(u)[u > 1e-3] == pytest.approx(expected, rel=1e-11)  # scipy loses digits near the branch point
    small = u[u < 1e-6]
    assert lambert_excess(small) == pytest.approx(np.sqrt(2.0 * small) * (1.0 + np.sqrt(2.0 * small) / 3.0), rel=1e-5)
    large = np.geomspace(1e3, 1e140, 200)
    found = lambert_excess(large)
    assert found - np.log1p(found) == pytest.approx(large, rel=4.0 * EPS)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("link", [LOSSY, ENVELOPE])
@given(share=st.floats(-9.0, 0.0), snr=st.floats(-2.0, 6.0))
def test_shares_of_your_own_link_are_below_the_root_and_slopes_are_not_too_small(link, share, snr):
    share, snr = 10.0**share, 10.0**snr
    if link is LOSSY:
        cap = min(4.4, math.log1p(0.5 * snr / share) / math.log(2.0))
        rate, x = 0.9 * share * cap, 0.5 * snr / share
        slope = rate / share if cap == 4.4 else 0.9 * (math.log1p(x) - x / (1.0 + x)) / math.log(2.0)
    else:
        values = (4.0 * share, 0.1 + 2.0 * share, 0.5 + share)
        rate, slope = min(values) * math.log1p(snr), (4.0, 2.0, 1.0)[int(np.argmin(values))] * math.log1p(snr)
    found, growth = (array[0] for array in link.allocate(np.array([rate]), np.array([snr])))
    loose = 3e-12 * rate / (share * slope)
    assert share * (1.0 - loose) <= found <= share
    assert growth <= rate / slope * (1.0 + 1e-12)
    assert growth >= share * (1.0 - 1e-6)
    assert link.slope(np.array([share]), np.array([snr]))[0] >= slope * (1.0 - 1e-12)


class Rounded(Lossy):
    """Rates with relative errors of 4e-13 that look random."""

    def rate(self, share, snr):
        return super().rate(share, snr) * (1.0 + 4e-13 * np.sin(1e16 * share))


def test_rounding_errors_of_a_rate_do_not_make_slopes_too_small(rng):
    share, snr = 10.0 ** rng.uniform(-4.0, 0.0, 4000), 10.0 ** rng.uniform(-1.5, 3.0, 4000)
    x = 0.5 * snr / share
    efficiency = np.log1p(x) / np.log(2.0)
    slope = np.where(efficiency < 4.4, 0.9 * (np.log1p(x) - x / (1.0 + x)) / np.log(2.0), 0.9 * 4.4)
    link = Rounded()
    assert (link.slope(share, snr) >= slope).all()
    rate = 0.9 * share * np.minimum(4.4, efficiency)
    found, growth = link.allocate(rate, snr)
    assert (found <= share).all()
    assert (growth <= rate / slope).all()


@pytest.mark.parametrize("link", EVERY, ids=lambda link: type(link).__name__)
def test_no_bits_need_no_share(link):
    snr = 10.0 ** np.linspace(-3.0, 3.0, 40)
    share, growth = link.allocate(np.zeros(40), snr)
    assert not share.any()
    assert not growth.any()
    share, _ = link.allocate(1e-20 * link.rate(np.ones(40), snr), snr)
    assert (share <= 1e-20 * (1.0 + EPS)).all()


@pytest.mark.parametrize("name", ["power", "lossy"])
def test_curves_continue_above_the_whole_band(name, lossy):
    scenario = ms.Scenario.preset("llama2", num_users=3, link=name)
    curves = RateCurves.of(scenario, np.array([0.3, 2.0, 9.0]))
    needs = curves.whole * np.linspace(0.9, 1.5, 601)[:, None]
    share, growth = curves.allocate(needs)
    assert share[needs <= curves.whole].max() <= 1.0 + EPS
    assert (share[needs > curves.whole * (1.0 + 1e-9)] > 1.0).all()
    rises = np.diff(share, axis=0)
    assert (np.diff(rises, axis=0) >= -1e-9 * rises[1:]).all()  # convex
    assert (growth[1:] >= (rises / np.diff(np.log(needs), axis=0)) * (1.0 - 1e-3)).all()


@pytest.fixture
def lossy():
    LINKS.register("lossy", LOSSY)
    yield
    LINKS.unregister("lossy")


@pytest.mark.parametrize("limit", [0.0, 5.0])
def test_an_equal_share_over_its_bandwidth_takes_the_time_of_constant_density(limit):
    scenario = ms.Scenario.preset("llama2", num_users=8, link="power", power_bandwidth=1e7 / 8, efficiency_limit=limit)
    efficiency = np.array([1e-3, 0.1, 1.0, 2.0, 4.9, 5.0, 8.0, 400.0])
    length, bits = np.arange(8.0), scenario.bits_per_token * np.arange(8.0)
    time = scenario.uplink.upload_time(length, efficiency, np.full(8, 1e7 / 8))
    assert time == pytest.approx(bits / (1e7 / 8 * np.minimum(efficiency, limit or np.inf)), rel=4e-15)


def test_with_a_limit_infinite_power_is_constant_density():
    state = ms.SystemState(np.linspace(0.005, 0.02, 5), np.full(5, 500.0), np.linspace(0.5, 0.9, 5))
    limited = ms.Scenario.preset("qwen3.5", num_users=5, link="power", efficiency_limit=7.4)
    density, at_limit = limited.replace(link="density", efficiency_limit=0.0), np.full(5, 7.4)
    other = ms.SystemState(state.draft_time, at_limit, state.acceptance_rate)
    first = ms.make_controller("optimal", limited, certify=1e-9)(state)
    second = ms.make_controller("optimal", density, certify=1e-9)(other)
    assert (first.draft_length == second.draft_length).all()
    assert first.bandwidth == pytest.approx(second.bandwidth, rel=1e-12)
    assert float(first.value) == pytest.approx(float(second.value), rel=1e-13)


def test_density_is_the_paper_and_has_no_curves():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    assert RateCurves.of(scenario, np.ones(3)) is None
    share, r = np.array([0.1, 0.4, 1.0]), np.array([0.01, 3.0, 12.0])
    link = scenario.uplink.rate_law
    assert link.rate(share, link.snr(scenario, r)) == pytest.approx(share * r, rel=1e-14)
    assert link.inverse(share * r, link.snr(scenario, r)) == pytest.approx(share, rel=1e-14)


@pytest.mark.parametrize(("users", "expected"), [(8, 0.65565), (20, 1.08255)])
def test_mean_of_the_most_repetitions(users, expected):
    scenario = ms.Scenario.preset("llama2", num_users=users, upload_loss=0.1, repeat_time=1.0)
    assert scenario.uplink.repeat_delay == pytest.approx(expected, abs=5e-6)


@given(loss=st.floats(1e-12, 0.9), users=st.integers(1, 300))
def test_mean_of_the_most_repetitions_is_its_series(loss, users):
    scenario = ms.Scenario.preset("llama2", num_users=users, upload_loss=loss, repeat_time=0.25)
    assert scenario.uplink.repeat_delay == pytest.approx(0.25 * reference.mean_repetitions(loss, users), rel=1e-13)
    assert scenario.uplink.round_wait == scenario.round_trip_time + scenario.uplink.repeat_delay


def test_mean_of_the_most_repetitions_is_that_of_draws(rng):
    for loss, users in ((0.1, 8), (0.6, 3), (0.9, 20)):
        draws = rng.geometric(1.0 - loss, (40_000, users)).max(-1) - 1
        scenario = ms.Scenario.preset("llama2", num_users=users, upload_loss=loss, repeat_time=1.0)
        assert scenario.uplink.repeat_delay == pytest.approx(draws.mean(), abs=4.5 * draws.std() / 200.0)


def test_a_loss_needs_a_time_and_the_label_has_both():
    time = ms.Scenario.preset("llama2", num_users=2, repeat_time=0.3)  # as a sweep over losses begins
    assert (time.uplink.repeat_delay, time.label) == (0.0, "llama2, 0 % of uploads repeated after 300 ms")
    both = time.replace(upload_loss=0.125)
    assert (both.uplink.repeat_delay > 0.0, both.label) == (True, "llama2, 12.5 % of uploads repeated after 300 ms")
    with pytest.raises(ValueError, match=r"^repeat_time: expected seconds > 0 with upload_loss=0.3, got 0$"):
        ms.Scenario.preset("llama2", upload_loss=0.3)
