"""A pair of R1 models, by the measurements of arXiv 2608.29618."""

from multispin_env.scenario import Scenario, Task
from multispin_env.units import MS

SCENARIO = Scenario(
    name="r1",
    vocabulary_size=151_665,
    verification_fixed_time=69.3 * MS,
    verification_time_per_draft=9.1 * MS,
    mean_draft_time=19.6 * MS,  # measured on an A100, not on an edge device
    transmit_snr_db=23.5,  # that of the paper's pairs, calibrated (ours)
    tasks=(
        Task(name="HumanEval", acceptance_rate=0.8691),
        Task(name="GSM8K", acceptance_rate=0.8618),
        Task(name="MT-Bench", acceptance_rate=0.8221),
        Task(name="IFEval", acceptance_rate=0.8323),
    ),
)
"""The R1 pair: T_fix and T_lin are its T0 and T1 on an A100, and the draft time is that of the small model there.

A device at the edge drafts more slowly. No spread of acceptance is given, so ``acceptance_std`` is 0.
"""
