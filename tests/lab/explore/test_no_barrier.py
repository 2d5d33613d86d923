import json
import shlex

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.apps.commands.main import main
from multispin_lab.explore.no_barrier import NoBarrierSettings, rush_start
from multispin_lab.explore.settings import ScenarioSources

PLACES = ScenarioSources()
SMALL = {"num_users": 3, "seconds": 2.0, "episodes": 2}
CHOSEN = (
    NoBarrierSettings(**SMALL, seed=4),
    NoBarrierSettings(**SMALL, requests="rush in azure-code", left="load-aware", server="a100-32b", snr_shift=3.0),
)


@pytest.fixture(scope="module", params=CHOSEN, ids=["endless", "rush"])
def case(request):
    return request.param, request.param.compute(PLACES)


def test_first_and_means_are_those_of_the_environment(case):
    settings, result = case
    scenario = settings.system(PLACES)
    assert len(json.dumps(result.record)) < 100_000
    assert (result.record["users"], len(result.record["sides"][0]["devices"])) == (3, 3)
    assert all(0.0 < facts["token_goodput"] < result.bound for facts in result.first.values())
    metric = "tokens_in_time" if settings.serving else "token_goodput"
    means = {name: float(mean) for name, mean, *_ in result.tables[0][1]}
    for name in result.first:
        controller = ms.make_controller(name, scenario)
        env = gym.make(
            settings.env_id, scenario=scenario, discipline=controller.discipline, action="full",
            **settings.arguments(scenario),
        )  # fmt: skip
        numbers = []
        for seed in range(settings.seed, settings.seed + settings.episodes):
            env.reset(seed=seed)
            if seed == settings.seed:
                assert ms.rate_bound(scenario, env.unwrapped.state.system).value == pytest.approx(result.bound)
            ended = False
            while not ended:
                decision = controller(env.unwrapped.state)
                _, _, _, ended, info = env.step(env.unwrapped.encode_action(decision))
            numbers.append(info)
        assert result.first[name] == {key: pytest.approx(numbers[0][key]) for key in result.first[name]}
        assert means[name] == pytest.approx(np.mean([info[metric] for info in numbers]), abs=0.0051)


def test_the_command_prints_the_tables(case, capsys):
    settings, result = case
    words = shlex.split(settings.as_command(PLACES))
    assert words[0] == "multispin"
    assert main(words[1:]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for header, rows in result.tables:
        assert " ".join(header) in lines
        for row in rows:
            assert " ".join(row) in lines


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"right": "groups"}, r"^right: expected a controller other than the left one, got 'groups'$"),
        ({"left": "grups"}, r"^left: expected one of .* did you mean 'groups'\?$"),
        ({"requests": "rush"}, r"^requests: expected one of "),
    ],
)
def test_bad_settings_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        NoBarrierSettings(**values)


@pytest.mark.parametrize("seed", range(5))
def test_a_rush_is_where_most_is_asked_for(seed):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0.0, 100.0, 60).round(3))
    trace = ms.requests.RequestTrace(times, prompt=np.zeros(60, int), output=rng.integers(1, 50, 60))
    asked = [trace.output[(begin <= times) & (times < begin + 10.0)].sum() for begin in times]
    assert rush_start(trace, 30.0) == sum(times < times[np.argmax(asked)] - 10.0)
