"""`fit` against a slow version that knows nothing of it."""

import itertools

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.controllers.continuous.launch import Launch, all_sent, fit, fit_ratio, improved
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem

LAWS = {
    "paper": {},
    "tokens": {"verification_pieces": ((0.0, 0.002), (0.015, 0.0))},
    "padded": {"verification_pieces": ((0.0, 0.002),), "padded_verification": True},
    "round trip": {"round_trip_time": 0.03, "min_draft_length": 0},
}
AHEAD = {
    "paper": {"draft_ahead": True},
    "ids": {"draft_ahead": True, "min_draft_length": 0, "server": "a100-32b", "payload": "ids"},
}


def sent_slowly(uploads):
    """When uploads (release, air) are done: one after the other, as they come."""
    now = 0.0
    for release, air in sorted(uploads):
        now = max(now, release) + air
    return now


def value_slowly(scenario, devices, others, due, rho, air_price, lengths):
    """Tokens less costs, in plain Python; devices are (T, u, α, A)."""
    gain, uploads, tokens = 0.0, list(others), 0
    for (pace, air, alpha, chain), length in zip(devices, lengths, strict=True):
        gain += sum(alpha**power for power in range(length + 1)) - air_price * length * air
        uploads.append((scenario.round_trip_time + max(length - chain, 0.0) * pace, length * air))
        tokens += length + 1
    if scenario.padded_verification:
        tokens = len(devices) * (max(lengths) + 1)
    late = max(sent_slowly(uploads) - due, 0.0)
    if scenario.verification_pieces:
        late += scenario.pass_time(len(devices), tokens)
    return gain - rho * late


def launch_of(scenario, rng, copies, due):
    """A launch of the first devices, and the last one in the background where there are three."""
    users = scenario.num_users
    core = ContinuousCore(ContinuousSystem.of(scenario.replace(channel="static")), copies, drawn=False)
    core.hold(ms.sample_state(scenario, rng, copies))
    state = core.state
    if scenario.draft_ahead:
        state = state.changed(head_start=rng.uniform(0.0, 6.0, (copies, users)) * (rng.random((copies, users)) < 0.7))
    starts = np.arange(users) < (2 if users == 3 else users)
    shape = (copies, users)
    release, air = rng.uniform(0, 0.08, shape) * ~starts, rng.uniform(0, 0.03, shape) * ~starts
    rho = rng.uniform(30.0, 120.0, copies)
    starts, due = np.broadcast_to(starts, shape), np.full(copies, due)
    return Launch.of(scenario, state, starts, (release, air), due, rho, air_price=3.0, weight=1.0)


def slow_arguments(launch, copy):
    starts = launch.starts[copy]
    devices = list(
        zip(
            launch.draft_time[copy, starts],
            launch.token_air[copy, starts],
            launch.acceptance_rate[copy, starts],
            (launch.head_start if launch.head_start is not None else 0.0 * launch.gain[..., 0])[copy, starts],
            strict=True,
        )
    )
    others = [(r, a) for r, a, s in zip(launch.release[copy], launch.air[copy], starts, strict=True) if not s]
    return launch.scenario, devices, others, launch.due[copy], launch.delay_price[copy], launch.air_price


@pytest.mark.parametrize("users", [1, 2, 3])
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("due", [0.0, 0.06])
def test_values_and_brute_force(law, users, due):
    """Its value is that of the plain version; the lengths are the best of all, or nearly."""
    scenario = ms.Scenario.preset(
        "llama2", num_users=users, max_draft_length=9, total_bandwidth=1e6 * users, **LAWS[law]
    )
    launch = launch_of(scenario, np.random.default_rng(users), 6, due)
    lengths = fit(launch, thorough=True)
    reached = launch.value(lengths[:, None])[:, 0]
    exact = 0
    for copy in range(6):
        arguments = slow_arguments(launch, copy)
        starting = int(launch.starts[copy].sum())
        menu = range(scenario.min_draft_length, 10)
        best = max(value_slowly(*arguments, choice) for choice in itertools.product(menu, repeat=starting))
        assert reached[copy] == pytest.approx(value_slowly(*arguments, lengths[copy, :starting]), abs=1e-9)
        assert best - 0.02 * starting <= reached[copy] <= best + 1e-9
        exact += reached[copy] > best - 1e-9
    assert exact >= 5


@pytest.mark.parametrize("users", [2, 3, 4])
@pytest.mark.parametrize("law", AHEAD)
@pytest.mark.parametrize("due", [0.0, 0.06])
def test_head_starts_and_brute_force(law, users, due):
    """Steps of a token miss the best of all in a few cases more than without, by little in the mean."""
    scenario = ms.Scenario.preset(
        "llama2", **{"num_users": users, "max_draft_length": 7, "total_bandwidth": 1e6 * users, **AHEAD[law]}
    )
    copies, low = 30, scenario.min_draft_length
    launch = launch_of(scenario, np.random.default_rng(users), copies, due)
    lengths = fit(launch, thorough=True)
    reached = launch.value(lengths[:, None])[:, 0]
    starting = int(launch.starts[0].sum())
    menu = np.array(list(itertools.product(range(low, 8), repeat=starting)))
    every = np.full((copies, len(menu), users), low)
    every[..., :starting] = menu
    best = launch.value(every).max(-1)
    for copy in range(0, copies, 10):
        slow = value_slowly(*slow_arguments(launch, copy), lengths[copy, :starting])
        assert reached[copy] == pytest.approx(slow, abs=1e-9)
    lost = best - reached
    assert (lost < 1e-9).mean() >= 0.9
    assert lost.mean() < 0.01


def test_lengths_of_others_stay_least():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    lengths = fit(launch_of(scenario, np.random.default_rng(0), 5, 0.1))
    assert (lengths[:, 2] == 1).all()
    assert (lengths[:, :2] > 1).any()


@pytest.mark.parametrize("ahead", [False, True])
def test_ratio_is_the_greatest(ahead):
    scenario = ms.Scenario.preset("llama2", num_users=2, max_draft_length=12, draft_ahead=ahead)
    launch = launch_of(scenario, np.random.default_rng(5), 6, 0.0)
    launch = Launch(**{**{n: getattr(launch, n) for n in launch.__dataclass_fields__}, "air_price": 0.0})
    lengths = fit_ratio(launch)

    def ratio(copy, choice):
        scenario, devices, others, *_ = slow_arguments(launch, copy)
        tokens = value_slowly(scenario, devices, others, 1e9, 0.0, 0.0, choice)
        uploads = [
            (max(n - chain, 0.0) * pace, n * air) for (pace, air, _, chain), n in zip(devices, choice, strict=True)
        ]
        return tokens / (sent_slowly(uploads) + scenario.pass_time(2, 0))

    for copy in range(6):
        best = max(ratio(copy, choice) for choice in itertools.product(range(1, 13), repeat=2))
        assert ratio(copy, lengths[copy]) == pytest.approx(best, rel=1e-9)


def test_fill_and_pairs_are_not_lost():
    """Against many climbs from elsewhere, for devices of the same kind, where lengths should be staggered."""
    scenario = ms.Scenario.preset("llama2", num_users=8, draft_time_spread=0.0, total_bandwidth=2.5e6)
    rng = np.random.default_rng(2)
    launch = launch_of(scenario, rng, 8, 0.12)
    reached = launch.value(fit(launch)[:, None])[:, 0]
    best = reached.copy()
    for _ in range(15):
        start = rng.integers(1, 12, launch.starts.shape)
        best = np.maximum(best, launch.value(improved(launch, start)[:, None])[:, 0])
    lost = (best - reached) / launch.gains(fit(launch)).sum(-1)
    assert lost.mean() < 0.005
    assert lost.max() < 0.01
    assert len({*fit(launch)[0].tolist()}) > 1


def test_when_all_is_sent():
    rng = np.random.default_rng(0)
    release, air = np.round(rng.random((200, 6)), 1), rng.random((200, 6)) * (rng.random((200, 6)) < 0.7)
    slowly = [sent_slowly(zip(*row, strict=True)) for row in zip(release, air, strict=True)]
    assert all_sent(release, air) == pytest.approx(np.array(slowly), rel=1e-12)
    alone = [float(all_sent(release[row], air[row])) for row in range(200)]
    assert alone == all_sent(release, air).tolist()
