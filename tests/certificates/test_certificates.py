"""Certificates: brute force, mutations, attacks and refusals."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.certificates import check as checker
from multispin_env.certificates import write
from multispin_env.certificates.check import check
from tests.certificates.rounds import every_goodput, is_true
from tests.hostile import extreme_instance, hostile_instance, hostile_law, hostile_tpot_instance, unchecked
from tests.strategies import KINDS


def certified(scenario, state, certify=1e-6, **options):
    """A certificate of the optimum."""
    decision = unchecked(ms.make_controller("optimal", scenario, **options), certify=certify)(state)
    return ms.certificate(scenario, state, decision, **options)


def cases(kind, seeds, most=150):
    pieces, padded = KINDS[kind]
    for seed in seeds:
        rng = np.random.default_rng([seed, pieces, padded])
        scenario, state, weights = hostile_instance(rng, max_decisions=most)
        scenario = hostile_law(rng, scenario, pieces, padded) if pieces else scenario
        options = {"weights": np.where(weights.any(), weights, 1.0)}
        if rng.random() < 0.3:
            options["fixed_length"] = np.where(rng.random(scenario.num_users) < 0.5, scenario.max_draft_length, -1)
        yield scenario, state, options


def rewritten(record, value, bound):
    """The claim with other numbers, and a proof of it by a new search; ``ValueError`` if there is none."""
    claim = {**record, "value": float(value).hex(), "bound": float(bound).hex(), "proof": []}
    fields = checker.read(claim)
    table, whole = checker.tabulate(fields, fields["bound"], checker.ceil, checker.floor)
    claim["proof"] = write._Search(table).proof(whole)
    check(claim)
    return claim


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("certify", [1e-6, 1e-9])
def test_the_bound_is_that_of_brute_force(kind, certify):
    for scenario, state, options in cases(kind, range(8)):
        record = certified(scenario, state, certify, **options)
        lengths, goodput, _ = every_goodput(record)
        best = goodput.max()
        assert is_true(record)
        assert checker.read(record)["bound"] <= best * (1.0 + 1.01 * certify)
        rewritten(record, best * (1.0 - 1e-9), best * (1.0 + 1e-9))
        for gap in (1e-12, 1e-9, 1e-3):
            low = {"value": (0.9 * best).hex(), "bound": (best * (1.0 - gap)).hex()}
            with pytest.raises(ValueError, match=r"proof|bound"):
                check({**record, **low})
            with pytest.raises(ValueError, match=r"bound: draft lengths \[.*\] may exceed it") as refused:
                rewritten(record, 0.9 * best, best * (1.0 - gap))
            found = json.loads(str(refused.value).removeprefix("bound: draft lengths ").removesuffix(" may exceed it"))
            assert goodput[(lengths == found).all(-1)] > best * (1.0 - gap) * (1.0 - 1e-11)


@pytest.mark.parametrize("seeds", [range(8), pytest.param(range(8, 80), marks=pytest.mark.slow)], ids=str)
def test_decisions_in_time_equal_brute_force(seeds):
    for seed in seeds:
        scenario, state, weights, part = hostile_tpot_instance(np.random.default_rng(seed))
        weights = np.where(weights.any(), weights, 1.0)
        free = certified(scenario, state, weights=weights)
        _, goodput, waits = every_goodput(free)
        tpot = float((waits.min() + part * (waits[goodput.argmax()] - waits.min())) * (1.0 + 1e-6))
        record = certified(scenario, state, weights=weights, tpot=tpot)
        best = goodput[waits <= tpot * (1.0 + 1e-12)].max()
        assert is_true(record)
        rewritten(record, best * (1.0 - 1e-9), best * (1.0 + 1e-9))
        with pytest.raises(ValueError, match="may exceed it"):
            rewritten(record, 0.9 * best, best * (1.0 - 1e-11))


def test_a_wrong_bound_is_found():
    from tests.solver.test_pace import steep_tokens

    scenario, state, tpot = steep_tokens()
    decision = ms.make_controller("optimal", scenario, certify=1e-6, tpot=tpot)(state)
    wrong = replace(decision, draft_length=np.array([2, 0, 2]), value=np.array(1.504157), bound=np.array(1.504158))
    with pytest.raises(ValueError, match=r"bound: draft lengths \[4, 0, 3\] may exceed it"):
        ms.certificate(scenario, state, wrong, tpot=tpot)


def test_prices_and_head_starts():
    rng = np.random.default_rng(5)
    for _ in range(20):
        scenario, state, _ = hostile_instance(rng, max_decisions=150)
        record = certified(scenario, state)
        users, longest = scenario.num_users, scenario.max_draft_length
        price = rng.choice([0.0, 0.01, 0.3], users)
        start = rng.uniform(0.0, longest, users) * (rng.random(users) < 0.5)
        record["system"] |= {
            "token_price": [number.hex() for number in price.tolist()],
            "head_start": [number.hex() for number in start.tolist()],
        }
        lengths, goodput, _ = every_goodput(record)
        record["draft_length"], best = lengths[goodput.argmax()].tolist(), goodput.max()
        assert is_true(rewritten(record, best * (1.0 - 1e-9), best * (1.0 + 1e-9)))
        with pytest.raises(ValueError, match="may exceed it"):
            rewritten(record, 0.9 * best, best * (1.0 - 1e-11))


def test_energy_price():
    scenario = ms.Scenario.preset("qwen3.5", num_users=3, max_draft_length=6, server="a100-32b", min_draft_length=0)
    record = certified(scenario, ms.sample_state(scenario, 3), energy_price=0.05)
    assert min(map(float.fromhex, record["system"]["token_price"])) > 0.0
    assert is_true(record)


@pytest.mark.parametrize(
    "options",
    [
        {"num_users": 20},
        {"num_users": 8, "server": "a100-32b", "payload": "ids", "min_draft_length": 0},
        {"num_users": 8, "server": "cpu-1.5b", "payload": "ids", "min_draft_length": 0},
    ],
    ids=str,
)
def test_presets_are_proven(options):
    scenario = ms.Scenario.preset("qwen3.5", **options)
    record = certified(scenario, ms.sample_state(scenario, 1), 1e-9)
    assert 1 < len(record["proof"]) < 300
    assert json.loads(json.dumps(record)) == record


def leaves(item, path=()):
    if isinstance(item, dict | list):
        for key in item if isinstance(item, dict) else range(len(item)):
            yield from leaves(item[key], (*path, key))
    else:
        yield path


def mutants(record, rng, most):
    """Copies of a certificate with one field changed, and with lists cut, turned or repeated."""
    texts = ["0x0p+0", "0x1p+0", "0x1.8p-3", "0x1p+999", "0.1", "", "0x1", "nan", "-0x1p+0"]
    others = [None, True, -1, 0, 1, 2, 30, 1.5, 2**70, [], {}, [1, 2]]
    for path in leaves(record):
        *parents, last = path
        owner = record
        for key in parents:
            owner = owner[key]
        old = owner[last]
        if isinstance(old, str) and old.startswith("0x"):
            number = float.fromhex(old)
            near = [
                (number * factor).hex() for factor in (1 + 1e-13, 1 - 1e-13, 1 + 1e-9, 1 - 1e-9, 0.9, 1.1, 0.5, 2.0)
            ]
        else:
            near = [old + step for step in (-2, -1, 1, 2, -(2**40), 2**40)] if type(old) is int else []
        pool = [*near, *texts, *others]
        for choice in rng.permutation(len(pool))[:most]:
            mutant = copy.deepcopy(record)
            target = mutant
            for key in parents:
                target = target[key]
            target[last] = pool[choice]
            yield mutant
    for change in (lambda x: x[:-1], lambda x: x[1:], lambda x: x[::-1], lambda x: x + x[-1:]):
        yield {**record, "proof": change(record["proof"])}
        yield {**record, "draft_length": change(record["draft_length"])}
        for name, items in record["system"].items():
            if isinstance(items, list):
                yield {**record, "system": {**record["system"], name: change(items)}}


def attack(count, most):
    accepted = refused = 0
    for seed in range(count):
        rng = np.random.default_rng(seed)
        if seed % 2:
            scenario, state, weights, part = hostile_tpot_instance(rng)
            weights = np.where(weights.any(), weights, 1.0)
            _, _, waits = every_goodput(certified(scenario, state, weights=weights))
            record = certified(scenario, state, weights=weights, tpot=float(waits.min() * (1.01 + part)))
        else:
            kind = list(KINDS)[seed // 2 % len(KINDS)]
            scenario, state, options = next(cases(kind, [seed], 60))
            record = certified(scenario, state, **options)
        for mutant in mutants(record, rng, most):
            try:
                check(mutant)
            except ValueError:
                refused += 1
            else:
                accepted += 1
                assert is_true(mutant), mutant
    return accepted, refused


def test_no_mutation_is_accepted_wrongly():
    accepted, refused = attack(5, 3)
    assert min(accepted, refused) > 20


@pytest.mark.slow
def test_no_mutation_of_many_is_accepted_wrongly():
    accepted, refused = attack(30, 6)
    assert min(accepted, refused) > 200


def test_small_files_do_not_keep_the_checker_busy():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    record = certified(scenario, ms.sample_state(scenario, 0))
    with pytest.raises(ValueError, match="an acceptance rate is above 1"):  # its powers would have 25 MB each
        check({**record, "system": record["system"] | {"acceptance_rate": ["0x1p+999"] * 3, "high": [20_000] * 3}})


@pytest.mark.parametrize("seeds", [range(7), pytest.param(range(7, 50), marks=pytest.mark.slow)], ids=str)
def test_decisions_beyond_brute_force_are_proven(seeds):
    for seed in seeds:
        scenario, state = extreme_instance(np.random.default_rng(seed))
        certified(scenario, state)


def test_no_two_changes_together_make_a_false_claim():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    record = certified(scenario, ms.sample_state(scenario, 0))
    limits = {"low": [1, 1, 1], "high": [1, 1, 1]}
    short = {**record, "system": {**record["system"], **limits}, "draft_length": [1, 1, 1]}
    short = rewritten(short, 1.0, 60.0)
    with pytest.raises(ValueError, match="certificate: the fields are not"):
        check({**short, "system": record["system"], **limits})
    late = {**record, "value": (0.0).hex(), "system": {**record["system"], "tpot": (1e-3).hex()}}
    with pytest.raises(ValueError, match="the value is 0"):
        check(late)


def refusals():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    states = ms.sample_state(scenario, 0, 2)
    decide = ms.make_controller("optimal", scenario, certify=1e-6)
    one, both = decide(states[0]), decide(states)
    late = ms.make_controller("optimal", scenario, certify=1e-6, tpot=1e-3)(states[0])
    return scenario, {
        "decision: expected a decision of optimal": (states[0], ms.make_controller("fixed", scenario)(states[0]), {}),
        "decision: expected one state and decision": (states, both, {}),
        "decision: expected one that is in time": (states[0], late, {"tpot": 1e-3}),
        "bound: draft lengths .* may exceed it": (states[0], replace(one, bound=one.bound * 0.99), {}),
        "value: the draft lengths do not reach it": (states[0], replace(one, value=one.bound), {}),
        "weights.*: expected numbers": (states[0], one, {"weights": -1.0}),
    }


@pytest.mark.parametrize("message", refusals()[1])
def test_bad_arguments(message):
    scenario, table = refusals()
    state, decision, options = table[message]
    with pytest.raises(ValueError, match=message):
        ms.certificate(scenario, state, decision, **options)


def test_long_proofs_stop(monkeypatch):
    monkeypatch.setattr(write, "MAX_ENTRIES", 3)
    scenario = ms.Scenario.preset("llama2", num_users=8)
    with pytest.raises(RuntimeError, match="certificate: expected a proof of at most 3 entries"):
        certified(scenario, ms.sample_state(scenario, 0))
