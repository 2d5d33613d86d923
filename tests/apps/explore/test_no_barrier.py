"""Numbers of the view without the barrier, and the texts that print them again."""

import contextlib
import io
import json
import shlex

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.apps.commands.main import main
from multispin_env.apps.explore.no_barrier import NoBarrierSettings, as_command, as_python, compute, rush_start
from multispin_env.apps.explore.settings import Places

PLACES = Places()
SMALL = {"num_users": 3, "seconds": 2.0, "episodes": 2}
CHOSEN = (
    NoBarrierSettings(**SMALL, seed=4),
    NoBarrierSettings(**SMALL, requests="rush in azure-code", left="load-aware", server="a100-32b", snr_shift=3.0),
)


@pytest.fixture(scope="module", params=CHOSEN, ids=["endless", "rush"])
def case(request):
    return request.param, compute(request.param, PLACES)


def printed(text):
    """What Python prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(text, {})
    return out.getvalue()


def test_python_prints_the_numbers(case):
    settings, found = case
    lines = printed(as_python(settings, PLACES)).splitlines()
    for side, first in zip(found["sides"], lines[::2], strict=True):
        facts = " ".join(f"{name} {value:.3f}" for name, value in side["facts"].items())
        assert first == f"{side['name']} first episode, bound {found['bound']:.2f} {facts}"
    metric = "tokens_in_time" if settings.serving else "token_goodput"
    means = {row[0]: float(row[1]) for row in found["tables"][0]["lines"]}
    for line in lines[1::2]:
        words = line.split()
        assert float(words[words.index(metric) + 1]) == pytest.approx(means[words[0]], abs=0.0051)


def test_the_command_prints_the_tables(case, capsys):
    settings, found = case
    words = shlex.split(as_command(settings, PLACES))
    assert words[0] == "multispin"
    assert main(words[1:]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for table in found["tables"]:
        assert " ".join(table["header"]) in lines
        for row in table["lines"]:
            assert " ".join(row) in lines


def test_a_record_is_small_and_json(case):
    """And no rule exceeds the bound."""
    _, found = case
    assert len(json.dumps(found)) < 100_000
    assert (found["users"], len(found["sides"][0]["devices"])) == (3, 3)
    assert all(0.0 < side["facts"]["token_goodput"] < found["bound"] for side in found["sides"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"right": "load-aware"}, r"^right: expected another controller than on the left, got 'load-aware'$"),
        ({"left": "grups"}, r"^left: expected one of .* did you mean 'groups'\?$"),
        ({"requests": "rush"}, r"^requests: expected one of "),
    ],
)
def test_bad_settings_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        NoBarrierSettings(**values)


@pytest.mark.parametrize("seed", range(5))
def test_a_rush_is_where_most_is_asked_for(seed):
    """Of all thirds that begin with a request, none has more tokens."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0.0, 100.0, 60).round(3))
    trace = ms.RequestTrace(times, prompt=np.zeros(60, int), output=rng.integers(1, 50, 60))
    part, start = 10.0, rush_start(trace, 30.0)
    asked = [
        sum(out for at, out in zip(trace.arrived_at, trace.output, strict=True) if begin <= at < begin + part)
        for begin in trace.arrived_at.tolist()
    ]
    busiest = float(trace.arrived_at[int(np.argmax(asked))])
    assert start == sum(trace.arrived_at < busiest - part)
