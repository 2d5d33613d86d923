"""Public functions refuse arguments of another kind, or of another unit, in one sentence that names the argument."""

import inspect
import json
import re
import tempfile
from functools import partial
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
import multispin_lab
from multispin_env.apps.commands.devices import read_devices
from multispin_env.baselines import (
    autoregressive_goodput,
    centralized_goodput,
    colocated_goodput,
    overlapping_goodput,
    p2p_goodput,
)
from multispin_env.bounds import rate_optimum
from multispin_env.checks import UNITS, check_plausible
from multispin_env.controllers import Assumptions
from multispin_env.device import DeviceProfile
from multispin_env.draft import DraftProfile
from multispin_env.requests import ServiceLevel, Workload, make_arrivals, make_lengths
from multispin_lab.planning.capacity import LoadSearch

pytestmark = pytest.mark.usefixtures("quick_prices")

SCENARIO = ms.Scenario.preset("llama2", num_users=3)
STATE = ms.sample_state(SCENARIO, 0)
OPTIMAL, GREEDY = (ms.make_controller(name, SCENARIO) for name in ("optimal", "greedy"))
DECISION = OPTIMAL(STATE)
WORKLOAD = Workload(
    arrivals=make_arrivals("poisson"),
    rate=1.0,
    lengths=make_lengths("geometric"),
    level=ServiceLevel(ttft=1),
)


def encode(env_id, decision):
    env = gym.make(env_id, num_users=3)
    env.reset(seed=0)
    return env.unwrapped.encode_action(decision)


OF_A_STATE = (
    ms.upper_bound, ms.sensitivities, ms.rate_bound, rate_optimum, p2p_goodput,
    autoregressive_goodput, centralized_goodput, colocated_goodput, overlapping_goodput,
)  # fmt: skip

KINDS = [
    ("path", lambda: ms.Scenario.load(3)),
    ("server", lambda: ms.Scenario.preset("llama2", server=None)),
    ("name", lambda: ms.make_controller(3, SCENARIO)),
    ("scenario", lambda: ms.make_controller("optimal", "llama2")),
    ("assumptions", lambda: ms.make_controller("optimal+filter", SCENARIO, 3)),
    ("scenario", lambda: ms.controller_names("rounds", "llama2")),
    ("scenario", lambda: Assumptions.of("llama2")),
    ("scenario", lambda: ms.sample_state("llama2", 0)),
    ("rng", lambda: ms.sample_state(SCENARIO, "x")),
    ("rng", lambda: ms.sampled_outcome(SCENARIO, STATE, DECISION, -1)),
    ("size", lambda: ms.sample_state(SCENARIO, 0, "x")),
    ("rng", lambda: WORKLOAD.open("x", 3)),
    ("state", lambda: OPTIMAL({})),
    ("observed", lambda: ms.make_controller("optimal+filter", SCENARIO)(STATE)),
    ("scenario", lambda: ms.expected_outcome(STATE, SCENARIO, DECISION)),
    ("state", lambda: ms.expected_outcome(SCENARIO, DECISION, STATE)),
    ("decision", lambda: ms.expected_outcome(SCENARIO, STATE, 3)),
    ("decision", lambda: encode("MultiSpin/Heterogeneous-v0", 3)),
    ("decision", lambda: encode("MultiSpin/Continuous-v0", DECISION)),
    ("controller", lambda: ms.serve("optimal", WORKLOAD)),
    ("workload", lambda: ms.serve(GREEDY, 3)),
    ("controller", lambda: ms.long_run("optimal", STATE)),
    ("state", lambda: ms.long_run(GREEDY, 3)),
    ("scenario", lambda: multispin_lab.capacity("llama2", tpot=0.1)),
    ("workload", lambda: multispin_lab.capacity(SCENARIO, workload=3)),
    ("controller", lambda: multispin_lab.capacity(SCENARIO, workload=WORKLOAD, controller=GREEDY)),
    *(("scenario", lambda function=function: function("llama2", STATE)) for function in OF_A_STATE),
    *(("state", lambda function=function: function(SCENARIO, 3)) for function in OF_A_STATE),
]


@pytest.mark.parametrize(("field", "call"), KINDS)
def test_another_kind_is_refused(field, call):
    with pytest.raises(ValueError, match=rf"^{field}: expected [^\n]*, got [^\n]*$"):
        call()


def server(**fields):
    return ms.Server(name="a", model="m", source="s", **{"fixed_time": 0.01, "time_per_draft": 0.01} | fields)


def draft(**fields):
    texts = dict.fromkeys(("name", "model", "target_model", "source", "licence"), "a")
    return DraftProfile(**texts, acceptance=0.8, **fields)


def device(**fields):
    texts = dict.fromkeys(("name", "chip", "model", "source", "licence", "date"), "a")
    return DeviceProfile(**{"draft_time": 0.02, **texts} | fields)


def fleet(**numbers):
    row = {"draft_time": 0.02, "sustained_time": 0.02, "joules_per_token": 0.1} | numbers
    return SCENARIO.replace(fleet=[["mine", 1.0, *row.values()]])


def devices(**columns):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "state.json")
        file.write_text(json.dumps([{"snr_db": 15, "acceptance_rate": 0.8, **columns}]), encoding="utf-8")
        return read_devices(file)


def pair(number):
    return ((0.0, 1e-4), (number, 1e-4))


serving = partial(ms.EnvConfig.of, "MultiSpin/Serving-v0")
optimal = partial(ms.make_controller, "optimal", SCENARIO)

WRONG_UNITS = [  # fields, a number in the unit that is mistaken for theirs, the number meant, an extreme one, the doors
    ("mean_draft_time server_draft_time server_draft_round_time", 13, 0.013, 1.0, SCENARIO.replace),
    ("server_draft_pieces", pair(1.0874), pair(0.0010874), pair(0.5), SCENARIO.replace),
    ("verification_fixed_time verification_time_per_draft", 12.72, 0.01272, 3.0, SCENARIO.replace),
    ("verification_pieces", pair(6.4451), pair(0.0064451), pair(3.0), SCENARIO.replace),
    ("context_time draft_context_time server_draft_context_time", 0.09, None, 1e-4, SCENARIO.replace),
    ("round_trip_time access_delay repeat_time", 20, 0.02, 1.2, SCENARIO.replace),
    ("total_bandwidth power_bandwidth", 10, 1e7, 1e3, SCENARIO.replace),
    ("draft_energy", 100, 0.1, 7.0, SCENARIO.replace),
    ("transmit_power", 200, None, 2.0, SCENARIO.replace),
    ("transmit_power", 23, None, 0.0, SCENARIO.replace),
    ("efficiency_limit", 1e9, None, 7.4, partial(SCENARIO.replace, link="power")),
    ("energy_price", 1e308, None, 10.0, optimal),
    ("budget_time", 3_600_000, 3600, 86_400.0, SCENARIO.replace),
    ("fixed_time time_per_draft", 8.608, 0.008608, 3.0, server),
    ("context_time draft_context_time", 0.09, None, 1e-4, server),
    ("draft_context_time", 0.09, None, 1e-4, draft),
    ("draft_context_time", 0.09, None, 1e-4, device),
    ("pieces", pair(8.608), pair(0.008608), pair(3.0), server),
    ("draft_time draft_round_time", 4, 0.004, 1.0, server),
    ("measured_tpot", 18.1, 0.0181, 4.0, lambda measured_tpot: server().anchored(measured_tpot)),
    ("draft_pieces", pair(2.1241), pair(0.0021241), pair(0.5), server),
    ("draft_time", 3.61, 0.00361, 1e-4, draft),
    ("draft_pieces", pair(2.1241), pair(0.0021241), pair(0.5), draft),
    ("joules_per_token", 50, 0.05, 7.0, draft),
    *(("draft_time sustained_time", 24, 0.024, 1.0, door) for door in (device, fleet)),
    *(("joules_per_token", 50, 0.05, 7.0, door) for door in (device, fleet)),
    ("draft_time_s", 13, 0.013, 1e-9, devices),
    ("draft_time_ms", 0.013, 13, 1000, devices),
    ("draft_time_ms", 13_000, 13, 0.1, devices),
    ("tpot", 50, 0.05, 20.0, optimal),
    ("tpot", 50, 0.05, 20.0, partial(ms.oracle, SCENARIO)),
    ("tpot", 50, 0.05, 20.0, partial(multispin_lab.capacity, SCENARIO, system="autoregressive", states=1)),
    ("need", 40, 0.04, 20.0, partial(ms.make_controller, "greedy+deadlines", SCENARIO)),
    ("ttft", 500, 0.5, 90.0, ServiceLevel),
    ("tpot", np.float32(65.0), 0.065, 7.39, ServiceLevel),
    ("e2el", 20_000, 20, 3600, ServiceLevel),
    ("e2el_per_token", 80, 0.08, 5.0, ServiceLevel),
    ("tpot e2el_per_token", 80, 0.08, 5.0, serving),
    ("load", 85, 0.85, (0.5, 3.0), serving),
    ("load", (0.5, 85), (0.5, 0.85), 10, serving),
    ("percent", 0.95, 95, 99.9, partial(LoadSearch, SCENARIO, WORKLOAD)),
]


@pytest.mark.parametrize(
    ("field", "wrong", "meant", "extreme", "door"),
    [(field, *case) for fields, *case in WRONG_UNITS for field in fields.split()],
)
def test_another_unit_is_refused(field, wrong, meant, extreme, door):
    number, hint = (np.ravel(value).astype(float)[-1 - (np.size(value) > 2)] for value in (wrong, meant))
    unit, got = re.escape(UNITS[field].name), re.escape(f"{number:g}")
    words = rf"{field}[\d\[\]]*: expected {unit}, at (least|most) .*, got {got}"
    with pytest.raises(ValueError, match=words) as refused:
        door(**{field: wrong})
    assert str(refused.value).endswith(f"got {number:g}" if meant is None else f"; did you mean {hint:g}?")
    for value in (extreme, *(() if meant is None else (meant,))):
        door(**{field: value})


def test_every_field_of_a_scenario_with_a_unit_is_tried():
    entries = re.findall(r"^(\w+(?:, \w+)*)\n((?:    .*\n?|\n)+)", inspect.getdoc(ms.Scenario), re.MULTILINE)
    meanings = {name: meaning for names, meaning in entries for name in names.split(", ")}
    assert meanings.keys() >= set(ms.Scenario.field_names())
    words = re.compile(r"\b(seconds?|Hz|watts?|joules?)\b", re.IGNORECASE)
    with_unit = {name for name in ms.Scenario.field_names() if words.search(meanings[name])}
    assert with_unit - UNITS.keys() == {"fleet"}, "checks.py: expected the unit of each field in UNITS"


def test_every_unit_is_tried_and_shipped_values_have_it():
    assert {field for fields, *_ in WRONG_UNITS for field in fields.split()} == UNITS.keys()
    for table in (ms.registry.SCENARIOS, ms.registry.SERVERS, ms.registry.DRAFTS):
        for name in table.names():
            check_plausible(vars(table.load(name)))


def test_states_have_no_limits_of_plausibility():
    slow = ms.SystemState(np.full(3, 13.0), np.full(3, 50.0), np.full(3, 0.9))
    assert ms.expected_outcome(SCENARIO, slow, OPTIMAL(slow)).round_latency > 13.0


def test_a_seed_stands_for_its_generator():
    drawn = [ms.sample_state(SCENARIO, rng, 4).draft_time for rng in (3, np.random.default_rng(3))]
    assert (drawn[0] == drawn[1]).all()
    drawn = [ms.sampled_outcome(SCENARIO, STATE, DECISION, rng).tokens for rng in (3, np.random.default_rng(3))]
    assert (drawn[0] == drawn[1]).all()
