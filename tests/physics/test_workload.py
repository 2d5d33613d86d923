import copy
import pickle

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.registry import ARRIVALS, LENGTHS

PROCESSES = ARRIVALS.names()
LAWS = LENGTHS.names()


def workload(arrivals="poisson", lengths="geometric", **fields):
    lengths = None if lengths is None else ms.make_lengths(lengths)
    return ms.Workload(**{"arrivals": ms.make_arrivals(arrivals), "rate": 3.0, "lengths": lengths} | fields)


def joined(parts):
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def same(ours, theirs):
    assert all((one == other).all() for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("lengths", [*LAWS, None])
@pytest.mark.parametrize("arrivals", PROCESSES)
def test_parts_are_the_whole(arrivals, lengths):
    if lengths is None and arrivals != "trace":
        return
    given = workload(arrivals, lengths, shares=(1.0, 2.0, 4.0))
    whole = given.open(np.random.default_rng(4), 3)(40)
    assert whole.gap.shape == whole.prompt.shape == whole.output.shape == (40, 3)
    assert whole.gap.dtype == np.float64
    assert whole.prompt.dtype == whole.output.dtype == np.int64
    assert (whole.gap >= 0.0).all()
    assert whole.prompt.min() >= 0
    assert whole.output.min() >= 1
    more = given.open(np.random.default_rng(4), 3)
    same(whole, joined([more(rows) for rows in (1, 0, 2, 30, 7)]))


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda source: pickle.loads(pickle.dumps(source))])
@pytest.mark.parametrize("arrivals", PROCESSES)
def test_a_copied_source_goes_on_by_itself(arrivals, twin_of):
    more = workload(arrivals).open(np.random.default_rng(0), 2)
    more(3)
    twin = twin_of(more)
    same(more(5), twin(5))
    same(more(5), twin(5))


@pytest.mark.parametrize("lengths", LAWS)
@pytest.mark.parametrize("arrivals", PROCESSES)
def test_equal_workloads_are_one_key(arrivals, lengths):
    one, other = workload(arrivals, lengths), workload(arrivals, lengths)
    assert {one: "found"}[other] == "found"
    again = pickle.loads(pickle.dumps(one))
    assert again == one
    assert hash(again) == hash(one)
    assert one != workload(arrivals, lengths, rate=3.5)
    same(again.open(np.random.default_rng(1), 2)(4), one.open(np.random.default_rng(1), 2)(4))


@pytest.mark.parametrize("arrivals", PROCESSES)
def test_mean_rates_are_those_of_the_shares(arrivals):
    users, rows, shares = 30, 400, tuple(1.0 + 0.1 * k for k in range(30))
    options = (
        {"trace": ms.RequestTrace(np.arange(500) * 0.7, np.zeros(500), np.ones(500))} if arrivals == "trace" else {}
    )
    given = ms.Workload(
        arrivals=ms.make_arrivals(arrivals, **options), rate=6.0, shares=shares, lengths=ms.make_lengths("geometric")
    )
    gap = given.open(np.random.default_rng(8), users)(rows).gap
    scaled = gap * 6.0 * np.array(shares)[None] / sum(shares)  # in mean gaps of each device
    error = 5.0 * scaled.std() / np.sqrt(gap.size)
    assert scaled.mean() == pytest.approx(1.0, abs=error)
    assert error < 0.1
    assert np.abs(scaled.mean(0) - 1.0).max() < 5.0 * scaled.std() / np.sqrt(rows)


def test_each_episode_draws_a_rate_of_the_pair():
    given = workload(rate=(2.0, 6.0))
    means = np.array([given.open(np.random.default_rng(seed), 4)(400).gap.mean() for seed in range(60)])
    rates = 4.0 / means
    assert rates.min() < 2.6
    assert rates.max() > 5.4
    assert rates.mean() == pytest.approx(4.0, abs=5.0 * 4.0 / np.sqrt(12.0 * 60.0))


def test_a_load_becomes_a_rate():
    parts = {"arrivals": ms.make_arrivals("poisson"), "lengths": ms.make_lengths("geometric", mean_output=50.0)}
    assert ms.Workload.at_load(100.0, **parts).rate == 2.0
    assert ms.Workload.at_load((100.0, 200.0), **parts).rates == (2.0, 4.0)
    assert ms.Workload.at_load((100.0, 200.0), **parts).tokens_per_second == 150.0
    trace = ms.Workload.at_load(100.0, arrivals=ms.make_arrivals("trace"))
    assert trace.mean_output == ms.load_trace("azure-chat").output.mean()
    drawn = trace.open(np.random.default_rng(0), 1)(19366)
    assert drawn.output.sum() / drawn.gap.sum() == pytest.approx(100.0, rel=1e-3)  # once round, but for one gap


def test_only_people_who_think_wait_for_the_end():
    assert [name for name in PROCESSES if workload(name).closed] == ["think"]


def test_levels():
    level = ms.ServiceLevel(ttft=1.0, tpot=0.1, e2el=5.0)
    assert level.first_due(10.0) == 11.0
    assert level.due(10.0, 21) == pytest.approx(13.0)
    assert level.due(10.0, 101) == 15.0
    due = level.due_after_first(np.array([10.5, 12.0]), np.array([10.0, 10.0]), np.array([21, 21]))
    assert due == pytest.approx([12.5, 11.0])  # the second was late, and it was over at 11
    met = level.met(np.array([1.0, 1.1, 0.5, 0.5]), np.array([0.1, 0.1, 0.11, 0.1]), np.full(4, 4.9), np.full(4, 9))
    assert met.tolist() == [True, False, False, True]
    assert ms.ServiceLevel().met(np.array([1e9]), np.array([1e9]), np.array([1e9]), np.array([1])).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rate": 0.0}, r"rate: expected a finite number in \[1e-09, 1e\+09\], got 0\.0"),
        ({"rate": "fast"}, r"rate: expected a finite number in .*, got 'fast'"),
        ({"rate": (3.0, 1.0)}, r"rate\[1\]: expected a finite number in \[3, 1e\+09\], got 1\.0"),
        ({"rate": (1.0,)}, r"rate: expected a number or a pair \(low, high\), got \(1\.0,\)"),
        ({"rate": None}, "rate: expected requests/s, as these arrivals have no pace of their own, got None"),
        ({"lengths": None}, "lengths: expected a law of lengths, as these arrivals have none of their own, got None"),
        ({"lengths": "geometric"}, "lengths: expected an object that make_lengths makes, or None, got 'geometric'"),
        ({"arrivals": "poisson"}, "arrivals: expected an object that make_arrivals makes, got 'poisson'"),
        ({"arrivals": ARRIVALS.load("poisson")}, "arrivals: expected an object that make_arrivals .*, got <class"),
        ({"level": 3.0}, r"level: expected a ServiceLevel, got 3\.0"),
        ({"shares": (1.0, 0.0)}, r"shares\[1\]: expected a finite number in \(0, inf\), got 0\.0"),
        ({"shares": (2e3, 1.0)}, r"shares\[1\]: expected at least 1/1000 of the largest, 2000\.0, got 1\.0"),
        ({"shares": ()}, r"shares: expected a tuple of one number for each device, got \(\)"),
    ],
)
def test_bad_workloads(fields, message):
    parts = {"arrivals": ms.make_arrivals("poisson"), "rate": 1.0, "lengths": ms.make_lengths("geometric")}
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        ms.Workload(**parts | fields)
    assert "\n" not in str(caught.value)


def test_shares_are_one_for_each_device():
    with pytest.raises(ValueError, match=r"^shares: expected one number for each of 3 devices, got 2$"):
        workload(shares=[1.0, 2.0]).open(np.random.default_rng(0), 3)


@pytest.mark.parametrize("name", ["ttft", "tpot", "e2el"])
@pytest.mark.parametrize("value", [0.0, -np.inf])
def test_bad_levels(name, value):
    with pytest.raises(ValueError, match=rf"^{name}: expected a finite number in \(0, inf\), got {value}"):
        ms.ServiceLevel(**{name: value})


def test_unknown_names():
    with pytest.raises(ValueError, match=r"^arrivals: expected one of .*, got 'poison'; did you mean 'poisson'\?"):
        ms.make_arrivals("poison")
    with pytest.raises(ValueError, match=r"^lengths: expected one of .*, got 'lognormal'; did you mean 'log-normal'\?"):
        ms.make_lengths("lognormal")
    with pytest.raises(TypeError, match=r"^arrivals 'gamma': got an unexpected .* 'burstines',.*'burstiness'\?"):
        ms.make_arrivals("gamma", burstines=1.0)
    with pytest.raises(TypeError, match=r"^lengths 'geometric': .*'mean_outputs',.*'mean_output'\?"):
        ms.make_lengths("geometric", mean_outputs=1.0)
