"""A testbed on one machine: a random model, and an environment that real drafts and passes play.

The devices are threads here; usually they are other machines, which run ``multispin join``.
"""

import json
import threading
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import multispin_agents
import multispin_env as ms
from multispin_lab.testbed import Settings, Testbed, draft_for, load_model, new_key, read_prompts

HIDDEN = "MultiSpin/HiddenAcceptance-v0"
FOLDER = Path("runs")


def make_files() -> None:
    """Write a random model of 100,000 weights, a scenario and prompts into the folder ``runs``."""
    FOLDER.mkdir(exist_ok=True)
    words = {"<end>": 0, "<unknown>": 1} | {f"w{number}": number for number in range(2, 512)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special: dict[str, Any] = {"eos_token": "<end>", "unk_token": "<unknown>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(FOLDER / "tiny")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        size = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
        network = LlamaForCausalLM(LlamaConfig(vocab_size=512, max_position_embeddings=512, eos_token_id=0, **size))
    with torch.no_grad():
        network.lm_head.weight.mul_(20.0)  # so that some tokens are clearly more likely than others
    network.save_pretrained(FOLDER / "tiny")
    names = [task.name for task in ms.Scenario.preset("llama2").tasks]
    tasks = tuple(ms.Task(name=name, acceptance_rate=0.8, acceptance_std=0.1) for name in names)
    ms.Scenario.preset(
        "llama2",
        num_users=2,
        tasks=tasks,
        vocabulary_size=512,
        kept_probabilities=64,
        total_bandwidth=4e5,
        mean_draft_time=0.04,
        verification_fixed_time=0.16,
        verification_time_per_draft=0.002,
    ).save(FOLDER / "mine.toml")
    prompts = [{"prompt": f"w{number} w{number + 1}", "task": names[number % 4]} for number in range(2, 14)]
    (FOLDER / "prompts.jsonl").write_text("\n".join(map(json.dumps, prompts)), encoding="utf-8")


def play(env: Any, contender: Any, rounds: int) -> float:
    """Return the goodput in tokens/s of an agent or a plug-in."""
    observation, _ = env.reset(seed=0)
    tokens = seconds = 0.0
    for _ in range(rounds):
        is_agent = hasattr(contender, "act")
        action = contender.act(observation) if is_agent else env.encode_action(contender(env.observed))
        observation, *_, info = env.step(action)
        tokens, seconds = tokens + info["accepted_tokens"].sum(), seconds + info["round_latency"]
    return float(tokens / seconds)


def main(rounds: int = 40) -> dict[str, list[float]]:
    """Compare contenders in the simulator and with two devices; return both goodputs of each in tokens/s."""
    make_files()
    scenario, access, ended = ms.Scenario.load(FOLDER / "mine.toml"), new_key(), threading.Event()
    # a free port; devices and server wait until the times of the scenario have passed
    settings = Settings(port=0, emulate=True, emulate_pass=True)
    model, prompts = str(FOLDER / "tiny"), read_prompts(FOLDER / "prompts.jsonl")
    with Testbed(scenario, load_model(model), prompts, access, settings) as testbed:
        draft = load_model(model, bits=4)
        arguments = [(testbed.address, access, draft, name, ended.is_set) for name in ("first", "second")]
        devices = [threading.Thread(target=draft_for, args=of_device) for of_device in arguments]
        for device in devices:
            device.start()
        try:
            testbed.connections.wait(2)
            agent = multispin_agents.load(HIDDEN).on(scenario)
            real = gym.make("multispin_lab.testbed:MultiSpin/Testbed-v0", testbed=testbed, **agent.arguments)
            simulated = gym.make(HIDDEN, reward="sampled", **agent.arguments)
            environments: list[Any] = [simulated.unwrapped, real.unwrapped]
            goodput = {}
            for name in ("agent", "optimal+filter", "fixed+task-mean"):
                goodput[name] = [
                    play(env, agent if name == "agent" else env.config.contender(name), rounds) for env in environments
                ]
        finally:
            ended.set()
            for device in devices:
                device.join()
    for name, numbers in goodput.items():
        print(f"{name:16}{numbers[0]:6.1f} tokens/s simulated, {numbers[1]:6.1f} on the testbed")
    return goodput


if __name__ == "__main__":
    main()
