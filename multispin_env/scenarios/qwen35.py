"""Qwen3.5-0.8B drafts for Qwen3.5-27B ([MS] §VI, Table I)."""

from multispin_env.scenario import Scenario, Task
from multispin_env.units import MS

SCENARIO = Scenario(
    name="qwen3.5",
    vocabulary_size=248_320,
    verification_fixed_time=75.07 * MS,
    verification_time_per_draft=19.78 * MS,
    mean_draft_time=10 * MS,  # calibrated (ours): the paper does not state it
    transmit_snr_db=23.5,  # likewise
    tasks=(
        Task(name="MBPP+", acceptance_rate=0.8100, acceptance_std=0.3413),
        Task(name="GSM8K", acceptance_rate=0.9340, acceptance_std=0.2089),
        Task(name="MT-Bench", acceptance_rate=0.9318, acceptance_std=0.2232),
        Task(name="SQuAD", acceptance_rate=0.9650, acceptance_std=0.1538),
    ),
)
"""The Qwen3.5 pair of the paper."""
