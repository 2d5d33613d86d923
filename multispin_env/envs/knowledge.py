"""Knowledge of acceptance and channels that agents have, as one value in both families."""

from collections.abc import Iterable
from dataclasses import dataclass

from multispin_env.checks import check_name
from multispin_env.envs.observations import ENTRIES


@dataclass(frozen=True)
class Knowledge:
    """Observed part of acceptance and channels; by default, everything is known.

    It is derived from the arguments of an environment, and never stored.

    Parameters
    ----------
    acceptance
        Whether acceptance rates are observed; otherwise counts of drafted and accepted tokens replace them.
    task
        Whether the task is observed if acceptance rates are not.
    history
        Whether counts since the request began are observed if acceptance rates are not.
    mean_gain
        Whether mean gains are observed.
    delay
        Age of channel reports, in rounds or, without the barrier, in cycles of the device.
    privileged
        Whether ``info`` holds the true acceptance rates and channels.
    """

    acceptance: bool = True
    task: bool = True
    history: bool = True
    mean_gain: bool = False
    delay: int = 0
    privileged: bool = False

    def shown(self, entries: Iterable[str]) -> tuple[str, ...]:
        """Return the entries of the observation, in the order of `ENTRIES`, from those of a known state."""
        counts = {"drafted", "accepted", "age", *(["task"] * self.task), *(["hits", "misses"] * self.history)}
        keys = set(entries) if self.acceptance else set(entries) - {"acceptance"} | counts
        keys |= {"mean_channel"} if self.mean_gain else set()
        for key in keys:
            check_name("entries", key, ENTRIES)
        return tuple(key for key in ENTRIES if key in keys)
