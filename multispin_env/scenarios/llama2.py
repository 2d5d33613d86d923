"""TinyLlama-1.1B drafts for Llama-2-7B ([MS] §VI, Table I)."""

from multispin_env.scenario import Scenario, Task
from multispin_env.units import MS

SCENARIO = Scenario(
    name="llama2",
    vocabulary_size=32_000,
    verification_fixed_time=22.68 * MS,
    verification_time_per_draft=12.72 * MS,
    mean_draft_time=12 * MS,  # calibrated (ours): the paper does not state it
    transmit_snr_db=23.5,  # likewise
    tasks=(
        Task(name="MBPP+", acceptance_rate=0.8582, acceptance_std=0.2472),
        Task(name="GSM8K", acceptance_rate=0.7390, acceptance_std=0.3133),
        Task(name="MT-Bench", acceptance_rate=0.7393, acceptance_std=0.3127),
        Task(name="SQuAD", acceptance_rate=0.7126, acceptance_std=0.3333),
    ),
)
"""The Llama-2 pair of the paper."""
