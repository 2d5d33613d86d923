"""Memory of servers: what fits, what is stored, and what commands say."""

import json
from dataclasses import replace

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.apps.commands.main import main
from multispin_env.registry import SERVERS
from multispin_env.server import Memory

KNOWN = [name for name in SERVERS.names() if SERVERS.load(name).gpus]
QWEN = ms.Scenario.preset("qwen3.5", min_draft_length=0, payload="ids")
L40S = QWEN.replace(server="l40s-8b")


def test_two_servers_computed_by_hand():
    # Qwen3-8B: 36 layers, 8 heads of 128, keys and values of 2 bytes; attention, MLP, norms, embeddings and output
    layer = 2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 12288 + 2 * 4096 + 2 * 128
    weights, token = 2 * (36 * layer + 2 * 151936 * 4096 + 4096), 36 * 2 * 8 * 128 * 2
    # Qwen3-0.6B: 28 layers, the output shares the embeddings
    layer = 2 * 1024 * 2048 + 2 * 1024 * 1024 + 3 * 1024 * 3072 + 2 * 1024 + 2 * 128
    draft_weights, draft_token = 2 * (28 * layer + 151936 * 1024 + 1024), 28 * 2 * 8 * 128 * 2
    room = 0.9 * 46068 * 2**20 - weights  # L40S
    server = SERVERS.load("l40s-8b")
    assert (server.weights, server.token_cache) == (weights, token)
    assert (server.draft_weights, server.draft_token_cache) == (draft_weights, draft_token)
    assert server.memory.kv_tokens == int(room / token) == 183_741
    assert server.memory.tokens(drafts=True) == pytest.approx((room - draft_weights) / (token + draft_token), rel=1e-4)
    assert [server.memory.requests(1024, drafts) for drafts in (False, True)] == [179, 96]

    # Llama-3.1-70B on four H100: 80 layers of 64 heads, 8 of which have keys; the draft model is on one GPU
    layer = 2 * 8192 * 8192 + 2 * 8192 * 1024 + 3 * 8192 * 28672 + 2 * 8192
    weights, token = 2 * (80 * layer + 2 * 128256 * 8192 + 8192), 80 * 2 * 8 * 128 * 2
    room, server = 0.9 * 80 * 2**30 - weights / 4, SERVERS.load("h100-70b")
    assert (server.weights, server.token_cache) == (weights, token)
    assert server.memory.kv_tokens == int(room / (token / 4)) == 513_092
    beside = (room - draft_weights) / (token / 4 + draft_token)
    assert server.memory.tokens(drafts=True) == pytest.approx(beside, rel=1e-4)


def test_a_hybrid_model_keeps_its_layers_of_full_attention():
    assert SERVERS.load("h100-27b").token_cache == 16 * 2 * 4 * 256 * 2


def test_profiles_have_a_source_or_no_memory():
    assert len(KNOWN) == 12
    for name in SERVERS.names():
        server = SERVERS.load(name)
        assert bool(server.memory_source) == bool(server.memory.kv_tokens) == (name in KNOWN)
        assert (server.memory.draft_kv_factor > 1.0) == (name in KNOWN)


def test_unknown_memory_has_no_limit():
    for memory in (Memory(0), Memory(0, 2.0), replace(SERVERS.load("l40s-8b"), weights=0.0).memory, QWEN.memory):
        assert memory.tokens(drafts=True) == memory.requests(1024) == np.inf
        assert memory.excess(10**6, 10**6) == ""
    assert Memory(100).tokens(drafts=True) == 100  # how much less a server that drafts keeps is unknown


def test_weights_that_do_not_fit_leave_no_room():
    memory = replace(SERVERS.load("h100-70b"), gpus=1).memory
    assert memory.kv_tokens > 0  # else it would be unknown
    assert memory.requests(1024) == 0


def test_the_memory_is_that_of_the_server():
    assert (L40S.kv_tokens, L40S.draft_kv_factor) == tuple(vars(SERVERS.load("l40s-8b").memory).values())
    assert L40S.replace(server="h100-32b").kv_tokens == SERVERS.load("h100-32b").memory.kv_tokens
    assert L40S.replace(server="a100-32b").memory == Memory(0, 0.0)
    other = L40S.replace(kv_tokens=5000)
    assert (other.server, other.replace(num_users=3).kv_tokens) == ("l40s-8b", 5000)
    assert other.replace(server="h100-8b").kv_tokens == SERVERS.load("h100-8b").memory.kv_tokens


def test_the_memory_of_a_file(tmp_path):
    SERVERS.load("l40s-8b").save(tmp_path / "mine.toml")
    scenario = QWEN.replace(server=str(tmp_path / "mine.toml"))
    assert (scenario.server, scenario.memory) == ("", L40S.memory)
    scenario.save(tmp_path / "scenario.toml")
    assert ms.Scenario.load(tmp_path / "scenario.toml") == scenario


@pytest.mark.parametrize("fields", [{}, {"kv_tokens": 5000}, {"kv_tokens": 0}, {"draft_kv_factor": 3.0}], ids=str)
@pytest.mark.parametrize("scenario", [QWEN, L40S], ids=["unknown", "l40s-8b"])
def test_only_what_differs_from_the_server_is_stored(scenario, fields, tmp_path):
    changed = scenario.replace(**fields)
    content = changed.to_dict()
    new = {name for name, value in fields.items() if value != getattr(scenario, name)}
    assert {*content} & {"kv_tokens", "draft_kv_factor"} == new
    assert ms.Scenario.from_dict(json.loads(json.dumps(content))) == changed
    changed.save(tmp_path / "mine.toml")
    assert ms.Scenario.load(tmp_path / "mine.toml") == changed


@pytest.mark.parametrize("bad", [{"kv_tokens": -1}, {"kv_tokens": 1.5}, {"draft_kv_factor": -1.0}], ids=str)
def test_bad_memory(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        QWEN.replace(**bad)


SENTENCE = "do not fit beside the weights"


def test_compare_says_that_requests_do_not_fit(capsys):
    system = ["--scenario", "qwen3.5", "--server", "l40s-8b", "--num-users", "4", "--episodes", "2"]
    for settings, controllers, sentences in (
        (["context=1024"], ["fixed"], 0),
        (["context=100000"], ["fixed"], 1),
        (["context=100000", "kv_tokens=0"], ["fixed"], 0),
        (["context=30000"], ["fixed"], 0),
        (["context=30000"], ["fixed", "colocated"], 1),
    ):
        assert main(["compare", *system, "--controllers", *controllers, "--set", *settings]) == 0
        assert capsys.readouterr().err.count(SENTENCE) == sentences


def test_solve_says_that_requests_do_not_fit(capsys):
    for tokens, sentences in ((0, 0), (3000, 1)):
        assert main(["solve", "--set", f"kv_tokens={tokens}", "--", "examples/devices.csv"]) == 0
        assert capsys.readouterr().err.count(SENTENCE) == sentences
