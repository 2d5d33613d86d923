"""Upper bound on the goodput of devices with batteries (not in the paper; docs/evidence/energy.md)."""

import numpy as np

from multispin_env.arrays import Rng
from multispin_env.checks import check_instance, check_integer, check_real, check_rng
from multispin_env.scenario import Scenario
from multispin_env.solver.energy import EnergyBound, EnergySample, energy_law


def energy_bound(scenario: Scenario, price: float | None = None, *, size: int = 1000, rng: Rng = 0) -> EnergyBound:
    """Return a bound on the tokens per second of every policy, for random devices with batteries.

    No policy exceeds it in the long run, even if it knows all future states, as long as it does not know which tokens
    will be accepted (docs/evidence/energy.md has the proof). The maximum in each state is proven by branch and bound;
    only the number of states limits the accuracy. Random sets of devices play equal numbers of rounds. With
    ``budget_time`` they play for equal times, so that the bound is the mean over sets of the bound of each.

    Parameters
    ----------
    scenario
        A system with ``battery_rounds`` > 0.
    price
        ν ≥ 0 in tokens/J; every price gives a bound if ν Σ P < D for all sampled devices, or with ``budget_time``.
        ``None``: about the best one.
    size
        Number of random states, ≥ 2. With ``budget_time``, each set of devices has 64 of them if they change.
    rng
        A generator or a seed.

    Examples
    --------
    >>> import multispin_env as ms
    >>> options = {"acceptance": "by-request", "min_draft_length": 0, "battery_rounds": 20}
    >>> scenario = ms.Scenario.preset("qwen3.5", num_users=8, **options)
    >>> free, bound = (ms.energy_bound(scenario, price, size=200) for price in (0.0, None))
    >>> bool(0.68 < bound.rate / free.rate < 0.76)
    True
    """
    check_instance("scenario", scenario, Scenario)
    if not scenario.battery_rounds:
        raise ValueError("battery_rounds: expected a number > 0, got 0; use battery_rounds=20, min_draft_length=0")
    check_integer("size", size, 2)
    law = energy_law(scenario)
    sample = EnergySample.draw(scenario, law.batteries, check_rng("rng", rng), size)
    # with ν Σ P ≥ D, long rounds would pay for themselves; a budget does not grow with time
    highest = np.inf if scenario.budget_time else law.rate / float(sample.charge.max())
    price = min(law.price, 0.9 * highest) if price is None else check_real("price", price, 0.0, highest, open_high=True)
    return sample.bound(price, law.rate, proven=True)
