import numpy as np
import pytest

import multispin_env as ms


def gaps_of(arrivals, rate, users, rows, seed=0):
    """Gaps (rows, K) of devices with the same requests/s each."""
    lengths = ms.make_lengths("geometric")
    return arrivals.open(np.random.default_rng(seed), np.full(users, rate), lengths)(rows).gap


def counts_until(gap, times):
    """Requests of each device until each of the times, (times, K)."""
    arrived = np.cumsum(gap, axis=0)
    assert arrived[-1].min() > max(times)
    return np.array([(arrived <= time).sum(0) for time in times])


@pytest.mark.parametrize(
    ("name", "options", "variation"),
    [
        ("poisson", {}, 1.0),
        ("think", {}, 1.0),
        ("gamma", {"burstiness": 1.0}, 1.0),
        ("gamma", {"burstiness": 0.25}, 2.0),
        ("gamma", {"burstiness": 0.05}, 4.47),
        ("gamma", {"burstiness": 16.0}, 0.25),
    ],
)
def test_variation_of_gaps(name, options, variation):
    gap = gaps_of(ms.make_arrivals(name, **options), 4.0, 100, 4000)[1:]
    assert gap.mean() == pytest.approx(0.25, abs=5.0 * 0.25 * variation / np.sqrt(gap.size))
    assert gap.std() / gap.mean() == pytest.approx(variation, rel=0.02)
    assert np.corrcoef(gap[:-1].reshape(-1), gap[1:].reshape(-1))[0, 1] == pytest.approx(0.0, abs=5.0 / 400**0.5 / 30)


@pytest.mark.parametrize(
    ("name", "options"),
    [("poisson", {}), ("gamma", {"burstiness": 0.25}), ("gamma", {"burstiness": 9.0}), ("ramp", {"phase": None})],
)
def test_as_many_come_early_as_late(name, options):
    """Expected counts are rate · t from the start on; a gamma process that began with a whole gap fails this."""
    times = np.array([0.1, 0.5, 2.0, 5.0])
    arrivals = ms.make_arrivals(name, **options)
    users = 1 if name == "ramp" else 3000  # one phase for all devices
    episodes = [gaps_of(arrivals, 2.0, users, 120, seed) for seed in range(3000 // users)]
    counts = np.concatenate([counts_until(gap, times) for gap in episodes], 1)
    error = 5.0 * counts.std(1) / np.sqrt(counts.shape[1])
    assert (np.abs(counts.mean(1) - 2.0 * times) < error).all()


@pytest.mark.parametrize("options", [{}, {"low": 0.0, "high": 3.0}, {"low": 2.0, "high": 2.0}, {"phase": 0.3}])
def test_counts_follow_the_integrated_rate(options):
    ramp = ms.make_arrivals("ramp", period=8.0, **options)
    times = np.linspace(0.5, 20.0, 40)
    counts = counts_until(gaps_of(ramp, 2.0, 4000, 120), times)
    begin = 8.0 * ramp.phase
    expected = 2.0 * (ramp.integrated(begin + times) - ramp.integrated(np.array(begin)))
    assert (np.abs(counts.mean(1) - expected) < 5.0 * np.sqrt(expected / 4000)).all()
    assert counts.var(1) == pytest.approx(expected, rel=0.15)  # a Poisson process, whatever its rate does
    density = np.diff(ramp.integrated(np.linspace(0.0, 8.0, 8001))) / 1e-3
    centre = (ramp.low + ramp.high) / 2.0
    assert (density.min(), density.max()) == pytest.approx((ramp.low / centre, ramp.high / centre), abs=1e-3)
    assert density.mean() == pytest.approx(1.0)


@pytest.mark.parametrize(("low", "high"), [(0.5, 1.5), (0.0, 1.0), (1.0, 1.0), (1e-6, 1.0)])
def test_the_inverse_of_the_integrated_rate(low, high):
    ramp = ms.make_arrivals("ramp", low=low, high=high, period=7.0)
    time = np.concatenate([np.linspace(0.0, 21.0, 1001), np.arange(7) * 3.5, [3600.0, 1e-12]])
    assert ramp.integrated(ramp.inverse(time)) == pytest.approx(time, rel=1e-14, abs=1e-14)
    assert (np.diff(ramp.inverse(np.sort(time))) >= 0.0).all()


def replay(arrivals, rows, shares=None, users=1, rate=None, seed=0):
    """Times, prompts, outputs and devices of a replay, in the order of the times, as far as all devices have some."""
    workload = ms.Workload(arrivals=arrivals, rate=rate, shares=shares)
    drawn = workload.open(np.random.default_rng(seed), users)(rows)
    times = np.cumsum(drawn.gap, axis=0)
    device = np.broadcast_to(np.arange(users), times.shape)
    flat = np.array([array.reshape(-1) for array in (times, drawn.prompt, drawn.output, device)])
    return flat[:, np.argsort(flat[0], kind="stable")][:, : int((times <= times[-1].min()).sum())]


@pytest.mark.parametrize("name", ["azure-chat", "azure-code"])
def test_a_replay_is_the_file_to_the_microsecond(name):
    trace = ms.load_trace(name)
    n, shares = len(trace.output), (1.0, 2.0, 3.0, 4.0)
    arrivals = ms.make_arrivals("trace", trace=name, start=0)
    times, prompt, output, device = replay(arrivals, int(0.15 * n), shares, 4)  # more than once round for the first
    assert len(times) > 1.2 * n / 4
    request = np.arange(len(times))
    expected = trace.arrived_at[request % n] + request // n * trace.period
    assert np.abs(times - expected).max() < 1e-9
    for ours, theirs in ((prompt, trace.prompt), (output, trace.output)):  # nobody's request is lost or given twice
        assert (np.sort(times.round(6) * 1e5 + ours) == np.sort(expected.round(6) * 1e5 + theirs[request % n])).all()
    count = np.bincount(device.astype(int))
    share = np.array(shares) / 10.0
    assert (np.abs(count - share * len(times)) < 5.0 * np.sqrt(share * len(times))).all()


def test_an_hour_of_one_device_is_the_file():
    trace = ms.load_trace("azure-chat")
    times, prompt, output, _ = replay(ms.make_arrivals("trace", start=0), len(trace.output))
    assert np.abs(times - trace.arrived_at).max() < 1e-9
    assert (prompt == trace.prompt).all()
    assert (output == trace.output).all()


SMALL = ms.RequestTrace([0.0, 0.5, 0.5, 4.0], prompt=[0, 1, 2, 3], output=[1, 2, 3, 4])
"""Goes round in 4 + 4/3 s."""


def test_a_trace_goes_round_at_the_rate_of_the_workload():
    assert SMALL.period == pytest.approx(16.0 / 3.0, abs=1e-6)
    times, prompt, *_ = replay(ms.make_arrivals("trace", trace=SMALL, start=1), 9, rate=2.0 * SMALL.rate)
    once = np.array([0.0, 0.0, 3.5, SMALL.period - 0.5]) / 2.0
    assert times[:8] == pytest.approx([*once, *(once + SMALL.period / 2.0)], abs=1e-12)
    assert prompt.tolist() == [1, 2, 3, 0, 1, 2, 3, 0, 1]


def test_an_episode_begins_at_any_time_of_the_trace():
    """Expected counts are rate · t: requests of a burst are met as often as they should be."""
    arrivals = ms.make_arrivals("trace", trace=SMALL)
    counts = np.array(
        [counts_until(gaps_of(arrivals, 1.5, 2, 40, seed), (0.2, 1.0, 3.0)).sum(1) for seed in range(1500)]
    )
    expected = 3.0 * np.array([0.2, 1.0, 3.0])
    assert (np.abs(counts.mean(0) - expected) < 5.0 * counts.std(0) / np.sqrt(len(counts))).all()


def test_a_rare_device_gets_its_requests():
    times, _, _, device = replay(ms.make_arrivals("trace", start=0), 16, (1000.0, 1.0), 2)
    assert times[device == 0].size == 16
    drawn = ms.Workload(arrivals=ms.make_arrivals("trace"), shares=(1000.0, 1.0)).open(np.random.default_rng(0), 2)(16)
    assert 100.0 < drawn.gap[:, 1].sum() / drawn.gap[:, 0].sum() < 10_000.0


def test_a_trace_can_have_other_lengths():
    drawn = ms.Workload(
        arrivals=ms.make_arrivals("trace", trace=SMALL, start=0), lengths=ms.make_lengths("geometric", mean_output=1.0)
    ).open(np.random.default_rng(0), 1)(4)
    assert drawn.gap[:, 0].tolist() == [0.0, 0.5, 0.0, 3.5]
    assert drawn.output.tolist() == [[1]] * 4


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gamma", {"burstiness": 0.0}, r"burstiness: expected a finite number in \[0\.001, 1e\+06\], got 0\.0"),
        ("ramp", {"low": -0.1}, r"low: expected a finite number in \[0, 1e\+06\], got -0\.1"),
        ("ramp", {"low": 2.0, "high": 1.0}, r"high: expected a finite number in \[2, 1e\+06\], got 1\.0"),
        ("ramp", {"period": 0.0}, r"period: expected a finite number in .*, got 0\.0"),
        ("ramp", {"phase": 1.0}, r"phase: expected a finite number in \[0, 1\), got 1\.0"),
        ("trace", {"start": 19366}, r"start: expected an integer in 0\.\.19365, got 19366"),
        ("trace", {"trace": "azure-chats"}, r"trace, by its name .*got 'azure-chats'; did you mean 'azure-chat'\?"),
        ("trace", {"trace": ms.RequestTrace([1.0, 1.0], [0, 0], [1, 1])}, "arrived_at: expected requests at two times"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ms.make_arrivals(name, **options)
