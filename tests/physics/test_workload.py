import copy
import itertools
import pickle
from functools import partial

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics import lengths
from multispin_env.registry import ARRIVALS, LENGTHS
from tests.refusals import refusals


def drawn(law):
    prompt, output = law.draw(np.random.default_rng(3), 4000, 50)
    return prompt.reshape(-1), output.reshape(-1)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("geometric", {}),
        ("geometric", {"mean_output": 1.0}),
        ("geometric", {"mean_output": 1.5, "mean_prompt": 40.0}),
        ("log-normal", {}),
        ("log-normal", {"median_output": 0.8, "sigma_output": 1.0}),
        ("log-normal", {"median_output": 6.4, "sigma_output": 0.0, "median_prompt": 0.0}),
        ("trace", {}),
        ("trace", {"trace": "azure-code"}),
    ],
)
def test_means_are_those_of_the_draws(name, options):
    law = ms.requests.make_lengths(name, **options)
    prompt, output = drawn(law)
    assert output.min() >= 1
    assert prompt.min() >= 0
    assert output.mean() == pytest.approx(law.mean_output, abs=5.0 * output.std() / np.sqrt(output.size) + 1e-12)
    if name == "geometric":
        for longest in (1, 5, 40):
            chance = 1.0 - (1.0 - 1.0 / law.mean_output) ** longest
            assert (output <= longest).mean() == pytest.approx(chance, abs=5.0 * (chance / output.size) ** 0.5)
        assert law.mean_prompt == 0.0 or abs(np.corrcoef(prompt, output)[0, 1]) < 5.0 / np.sqrt(output.size)
    if name == "trace":  # recorded pairs stay together
        pairs = zip(law.record.prompt.tolist(), law.record.output.tolist(), strict=True)
        assert set(zip(prompt.tolist(), output.tolist(), strict=True)) <= set(pairs)


def test_logarithms_are_normal_and_the_mean_does_not_depend_on_the_end_of_the_sum(monkeypatch):
    law = ms.requests.make_lengths(
        "log-normal", median_output=500.0, sigma_output=0.5, median_prompt=9000.0, sigma_prompt=1.2
    )
    for tokens, median, sigma in zip(drawn(law), (9000.0, 500.0), (1.2, 0.5), strict=True):
        assert np.log(tokens).mean() == pytest.approx(np.log(median), abs=5.0 * sigma / np.sqrt(tokens.size))
        assert np.log(tokens).std() == pytest.approx(sigma, rel=0.01)
    for median, sigma in ((0.5, 3.0), (129.0, 0.86), (30_000.0, 0.5), (1e6, 3.0)):
        law = ms.requests.make_lengths("log-normal", median_output=median, sigma_output=sigma)
        means = []
        for summed in (20_000, 300_000):
            monkeypatch.setattr(lengths, "SUMMED", summed)
            means.append(law.mean_output)
        assert means[1] == pytest.approx(means[0], rel=1e-9)
        assert means[0] >= 0.99 * median * np.exp(sigma**2 / 2.0)


def gaps_of(arrivals, rate, users, rows, seed=0):
    lengths = ms.requests.make_lengths("geometric")
    return arrivals.open(np.random.default_rng(seed), np.full(users, rate), lengths)(rows).gap


def counts_until(gap, times):
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
    gap = gaps_of(ms.requests.make_arrivals(name, **options), 4.0, 100, 4000)[1:]
    assert gap.mean() == pytest.approx(0.25, abs=5.0 * 0.25 * variation / np.sqrt(gap.size))
    assert gap.std() / gap.mean() == pytest.approx(variation, rel=0.02)
    assert np.corrcoef(gap[:-1].reshape(-1), gap[1:].reshape(-1))[0, 1] == pytest.approx(0.0, abs=5.0 / 400**0.5 / 30)


@pytest.mark.parametrize(
    ("name", "options"),
    [("poisson", {}), ("gamma", {"burstiness": 0.25}), ("gamma", {"burstiness": 9.0}), ("ramp", {"phase": None})],
)
def test_as_many_come_early_as_late(name, options):
    """Expected counts are rate · t from the start; a gamma process that began with a whole gap fails this."""
    times = np.array([0.1, 0.5, 2.0, 5.0])
    arrivals = ms.requests.make_arrivals(name, **options)
    users = 1 if name == "ramp" else 3000  # one phase for all devices
    episodes = [gaps_of(arrivals, 2.0, users, 120, seed) for seed in range(3000 // users)]
    counts = np.concatenate([counts_until(gap, times) for gap in episodes], 1)
    error = 5.0 * counts.std(1) / np.sqrt(counts.shape[1])
    assert (np.abs(counts.mean(1) - 2.0 * times) < error).all()


@pytest.mark.parametrize("options", [{}, {"low": 0.0}, {"low": 1e-6}, {"low": 1.5}, {"phase": 0.3}])
def test_counts_follow_the_integrated_rate(options):
    ramp = ms.requests.make_arrivals("ramp", period=8.0, **options)
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
    area = np.concatenate([np.linspace(0.0, 24.0, 1001), np.arange(7) * 4.0, [3600.0, 1e-12]])
    assert ramp.integrated(ramp.inverse(area)) == pytest.approx(area, rel=1e-14, abs=1e-14)
    assert (np.diff(ramp.inverse(np.sort(area))) >= 0.0).all()


def replay(arrivals, rows, shares=None, users=1, rate=None, seed=0):
    """Times, prompts, outputs and devices of a replay, sorted by time, until a device has no further request."""
    workload = ms.requests.Workload(arrivals=arrivals, rate=rate, shares=shares)
    drawn = workload.open(np.random.default_rng(seed), users)(rows)
    times = np.cumsum(drawn.gap, axis=0)
    device = np.broadcast_to(np.arange(users), times.shape)
    flat = np.array([array.reshape(-1) for array in (times, drawn.prompt, drawn.output, device)])
    return flat[:, np.argsort(flat[0], kind="stable")][:, : int((times <= times[-1].min()).sum())]


@pytest.mark.parametrize("name", ["azure-chat", "azure-code"])
def test_a_replay_is_the_file_to_the_microsecond(name):
    trace = ms.requests.load_trace(name)
    n, shares = len(trace.output), (1.0, 2.0, 3.0, 4.0)
    arrivals = ms.requests.make_arrivals("trace", trace=name, start=0)
    times, prompt, output, device = replay(arrivals, int(0.15 * n), shares, 4)  # more than once round for the first
    assert len(times) > 1.2 * n / 4
    request = np.arange(len(times))
    expected = trace.arrived_at[request % n] + request // n * trace.period
    assert np.abs(times - expected).max() < 1e-9
    for ours, theirs in ((prompt, trace.prompt), (output, trace.output)):  # no request is lost or doubled
        assert (np.sort(times.round(6) * 1e5 + ours) == np.sort(expected.round(6) * 1e5 + theirs[request % n])).all()
    count = np.bincount(device.astype(int))
    share = np.array(shares) / 10.0
    assert (np.abs(count - share * len(times)) < 5.0 * np.sqrt(share * len(times))).all()
    drawn = ms.requests.Workload(arrivals=arrivals, shares=(1000.0, 1.0)).open(np.random.default_rng(0), 2)(16)
    assert 100.0 < drawn.gap[:, 1].sum() / drawn.gap[:, 0].sum() < 10_000.0


SMALL = ms.requests.RequestTrace([0.0, 0.5, 0.5, 4.0], prompt=[0, 1, 2, 3], output=[1, 2, 3, 4])
"""Goes round in 4 + 4/3 s."""


def test_a_trace_goes_round_at_the_rate_of_the_workload():
    assert SMALL.period == pytest.approx(16.0 / 3.0, abs=1e-6)
    times, prompt, *_ = replay(ms.requests.make_arrivals("trace", trace=SMALL, start=1), 9, rate=2.0 * SMALL.rate)
    once = np.array([0.0, 0.0, 3.5, SMALL.period - 0.5]) / 2.0
    assert times[:8] == pytest.approx([*once, *(once + SMALL.period / 2.0)], abs=1e-12)
    assert prompt.tolist() == [1, 2, 3, 0, 1, 2, 3, 0, 1]
    parts = {
        "arrivals": ms.requests.make_arrivals("trace", trace=SMALL, start=0),
        "lengths": ms.requests.make_lengths("geometric"),
    }
    drawn = ms.requests.Workload(**parts).open(np.random.default_rng(0), 1)(4)
    assert drawn.gap[:, 0].tolist() == [0.0, 0.5, 0.0, 3.5]
    assert drawn.output.max() > 4  # lengths of another law


def test_an_episode_begins_at_any_time_of_the_trace():
    arrivals = ms.requests.make_arrivals("trace", trace=SMALL)
    times = np.array([0.2, 1.0, 3.0])
    counts = np.array([counts_until(gaps_of(arrivals, 1.5, 2, 40, seed), times).sum(1) for seed in range(1500)])
    expected = 3.0 * times
    assert (np.abs(counts.mean(0) - expected) < 5.0 * counts.std(0) / np.sqrt(len(counts))).all()


PROCESSES, LAWS = ARRIVALS.names(), LENGTHS.names()


def workload(arrivals="poisson", lengths="geometric", **fields):
    arrivals = ms.requests.make_arrivals(arrivals) if isinstance(arrivals, str) else arrivals
    lengths = None if lengths is None else ms.requests.make_lengths(lengths)
    return ms.requests.Workload(**{"arrivals": arrivals, "rate": 3.0, "lengths": lengths} | fields)


def same(first, second):
    assert all(map(np.array_equal, first, second))


@pytest.mark.parametrize(("arrivals", "lengths"), [*itertools.product(PROCESSES, LAWS), ("trace", None)])
def test_sources(arrivals, lengths):
    """A source read in parts, a copy of a source, and that of an equal workload give the same requests."""
    first, second = (workload(arrivals, lengths, shares=(1.0, 2.0, 4.0)) for _ in range(2))
    assert {first, second, pickle.loads(pickle.dumps(first))} == {first}
    assert first != workload(arrivals, lengths, rate=3.5)
    assert first.closed == (arrivals == "think")
    whole = first.open(np.random.default_rng(4), 3)(40)
    assert whole.gap.shape == whole.prompt.shape == whole.output.shape == (40, 3)
    assert whole.gap.dtype == np.float64
    assert whole.prompt.dtype == whole.output.dtype == np.int64
    assert min(whole.gap.min(), whole.prompt.min(), whole.output.min() - 1) >= 0
    source = second.open(np.random.default_rng(4), 3)
    parts = [source(rows) for rows in (1, 0, 2, 30)]
    for twin in (copy.deepcopy(source), pickle.loads(pickle.dumps(source)), source):
        same(whole, [np.concatenate(arrays) for arrays in zip(*parts, twin(7), strict=True)])


@pytest.mark.parametrize("arrivals", PROCESSES)
def test_mean_rates_are_those_of_the_shares(arrivals):
    users, rows, shares = 30, 400, tuple(1.0 + 0.1 * k for k in range(30))
    trace = (
        {"trace": ms.requests.RequestTrace(np.arange(500) * 0.7, np.zeros(500), np.ones(500))}
        if arrivals == "trace"
        else {}
    )
    requests = workload(ms.requests.make_arrivals(arrivals, **trace), rate=6.0, shares=shares)
    gap = requests.open(np.random.default_rng(8), users)(rows).gap
    scaled = gap * 6.0 * np.array(shares)[None] / sum(shares)  # in mean gaps of each device
    error = 5.0 * scaled.std() / np.sqrt(gap.size)
    assert scaled.mean() == pytest.approx(1.0, abs=error)
    assert error < 0.1
    assert np.abs(scaled.mean(0) - 1.0).max() < 5.0 * scaled.std() / np.sqrt(rows)


def test_each_episode_draws_a_rate_of_the_pair():
    requests = workload(rate=(2.0, 6.0))
    means = np.array([requests.open(np.random.default_rng(seed), 4)(400).gap.mean() for seed in range(60)])
    rates = 4.0 / means
    assert rates.min() < 2.6
    assert rates.max() > 5.4
    assert rates.mean() == pytest.approx(4.0, abs=5.0 * 4.0 / np.sqrt(12.0 * 60.0))


def test_a_load_becomes_a_rate():
    parts = {
        "arrivals": ms.requests.make_arrivals("poisson"),
        "lengths": ms.requests.make_lengths("geometric", mean_output=50.0),
    }
    assert ms.requests.Workload.at_load(100.0, **parts).rate == 2.0
    assert ms.requests.Workload.at_load((100.0, 200.0), **parts).rates == (2.0, 4.0)
    assert ms.requests.Workload.at_load((100.0, 200.0), **parts).tokens_per_second == 150.0
    trace = ms.requests.Workload.at_load(100.0, arrivals=ms.requests.make_arrivals("trace"))
    assert trace.mean_output == ms.requests.load_trace("azure-chat").output.mean()
    drawn = trace.open(np.random.default_rng(0), 1)(19366)
    assert drawn.output.sum() / drawn.gap.sum() == pytest.approx(100.0, rel=1e-3)  # once round, but for one gap


def test_levels():
    level = ms.requests.ServiceLevel(ttft=1.0, tpot=0.1, e2el=5.0)
    assert level.first_due(10.0) == 11.0
    assert level.due(10.0, 21) == pytest.approx(13.0)
    assert level.due(10.0, 101) == 15.0
    due = level.due(np.array([10.0, 10.0]), np.array([21, 21]), np.array([10.5, 12.0]))
    assert due == pytest.approx([12.5, 11.0])  # the second was late, and it was over at 11
    met = level.met(np.array([1.0, 1.1, 0.5, 0.5]), np.array([0.1, 0.1, 0.11, 0.1]), np.full(4, 4.9), np.full(4, 9))
    assert met.tolist() == [True, False, False, True]
    assert ms.requests.ServiceLevel().met(np.array([1e9]), np.array([1e9]), np.array([1e9]), np.array([1])).all()


OPTIONS = [
    (
        ms.requests.make_arrivals,
        "gamma",
        {"burstiness": 0.0},
        r"expected a finite number in \[0\.001, 1e\+06\], got 0\.0",
    ),
    (ms.requests.make_arrivals, "ramp", {"low": -0.1}, r"expected a finite number in \[0, 1e\+06\], got -0\.1"),
    (ms.requests.make_arrivals, "ramp", {"high": 0.2}, r"expected a finite number in \[0\.5, 1e\+06\], got 0\.2"),
    (ms.requests.make_arrivals, "ramp", {"period": 0.0}, r"expected a finite number in .*, got 0\.0"),
    (ms.requests.make_arrivals, "ramp", {"phase": 1.0}, r"expected a finite number in \[0, 1\), got 1\.0"),
    (ms.requests.make_arrivals, "trace", {"start": 19366}, r"expected an integer in 0\.\.19365, got 19366"),
    (ms.requests.make_arrivals, "trace", {"trace": "azure-chats"}, r".*got 'azure-chats'; did you mean 'azure-chat'\?"),
    (
        ms.requests.make_lengths,
        "geometric",
        {"mean_output": 0.5},
        r"expected a finite number in \[1, 1e\+06\], got 0\.5",
    ),
    (
        ms.requests.make_lengths,
        "geometric",
        {"mean_prompt": 0.5},
        r"expected a finite number in \[1, 1e\+06\], got 0\.5",
    ),
    (
        ms.requests.make_lengths,
        "log-normal",
        {"median_output": 0.0},
        r"expected a finite number in \(0, 1e\+06\], got 0",
    ),
    (
        ms.requests.make_lengths,
        "log-normal",
        {"median_prompt": -1.0},
        r"expected a finite number in \[0, 1e\+06\], got -1",
    ),
    (ms.requests.make_lengths, "log-normal", {"sigma_output": 4.0}, r"expected a finite number in \[0, 3\], got 4\.0"),
    (
        ms.requests.make_lengths,
        "log-normal",
        {"sigma_prompt": -0.1},
        r"expected a finite number in \[0, 3\], got -0\.1",
    ),
]
WORKLOADS = [
    ({"rate": 0.0}, r"rate: expected a finite number in \[1e-09, 1e\+09\], got 0\.0"),
    ({"rate": "fast"}, r"rate: expected a finite number in .*, got 'fast'"),
    ({"rate": (3.0, 1.0)}, r"rate: expected a number or a pair \(low, high\) .*, got \(3\.0, 1\.0\)"),
    ({"rate": (1.0,)}, r"rate: expected a number or a pair \(low, high\) .*, got \(1\.0,\)"),
    ({"rate": None}, "rate: expected requests/s, since these arrivals have no rate, got None"),
    ({"lengths": None}, "lengths: expected a length law, since these arrivals have no lengths, got None"),
    ({"lengths": "geometric"}, "lengths: expected an object made by make_lengths, or None, got 'geometric'"),
    ({"arrivals": "poisson"}, "arrivals: expected an object made by make_arrivals, got 'poisson'"),
    ({"arrivals": ARRIVALS.load("poisson")}, "arrivals: expected an object made by make_arrivals, got <class"),
    ({"level": 3.0}, r"level: expected a ServiceLevel, got 3\.0"),
    ({"shares": (1.0, 0.0)}, r"shares\[1\]: expected a finite number in \(0, inf\), got 0\.0"),
    ({"shares": (2e3, 1.0)}, r"shares\[1\]: expected at least 1/1000 of the largest, 2000\.0, got 1\.0"),
    ({"shares": ()}, r"shares: expected a tuple of one number for each device, got \(\)"),
    ({"shares": [1.0, 2.0]}, "shares: expected one number for each of 3 devices, got 2"),
]
LIMITS = itertools.product(("ttft", "tpot", "e2el"), (0.0, -np.inf))


def opened(**fields):
    parts = {
        "arrivals": ms.requests.make_arrivals("poisson"),
        "rate": 1.0,
        "lengths": ms.requests.make_lengths("geometric"),
    }
    return ms.requests.Workload(**parts | fields).open(np.random.default_rng(0), 3)


test_refusals = refusals(
    *((partial(make, name, **bad), f"^{next(iter(bad))}[^:]*: {message}") for make, name, bad, message in OPTIONS),
    *((partial(opened, **fields), f"^{message}") for fields, message in WORKLOADS),
    *((partial(ms.requests.ServiceLevel, **{name: x}), rf"^{name}: .* \(0, inf\), got {x}") for name, x in LIMITS),
    (
        lambda: ms.requests.make_arrivals("trace", trace=ms.requests.RequestTrace([1.0, 1.0], [0, 0], [1, 1])),
        "arrived_at: expected at least two different times, got 2 equal times",
    ),
)
