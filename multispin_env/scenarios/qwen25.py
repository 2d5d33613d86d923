"""A pair of Qwen2.5 models, by the measurements of arXiv 2608.29618."""

from multispin_env.scenario import Scenario, Task
from multispin_env.units import MS

SCENARIO = Scenario(
    name="qwen2.5",
    vocabulary_size=151_665,
    verification_fixed_time=42.8 * MS,
    verification_time_per_draft=7.6 * MS,
    mean_draft_time=15.2 * MS,  # measured on an A100, not on an edge device
    transmit_snr_db=23.5,  # that of the paper's pairs, calibrated (ours)
    tasks=(
        Task(name="HumanEval", acceptance_rate=0.9453),
        Task(name="GSM8K", acceptance_rate=0.8580),
        Task(name="MT-Bench", acceptance_rate=0.8509),
        Task(name="IFEval", acceptance_rate=0.8816),
    ),
)
"""The Qwen2.5 pair: T_fix and T_lin are its T0 and T1 on an A100, and the draft time is that of the small model there.

A device at the edge drafts more slowly. No spread of acceptance is given, so ``acceptance_std`` is 0.
"""
