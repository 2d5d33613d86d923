"""Acceptance replayed from recorded speculative decoding."""

from dataclasses import dataclass, field, replace
from functools import lru_cache

from multispin_env.checks import check_bool, check_integer
from multispin_env.envs.rounds.variants.hidden_acceptance import HiddenRate
from multispin_env.envs.settings import Learning
from multispin_env.physics.acceptance import Acceptance, ByRequest
from multispin_env.physics.records import Recorded, Records, load_records
from multispin_env.physics.rounds import Dynamics
from multispin_env.scenario import Scenario


@lru_cache(maxsize=1)
def _packaged() -> Records:
    return load_records()


@lru_cache(maxsize=8)
def _half(records: Records, which: int) -> Records:
    return records.half(which)


@dataclass(frozen=True, kw_only=True)
class RecordedAcceptance(HiddenRate):
    """Acceptance is replayed from real speculative decoding, and hidden.

    ## Description

    As `MultiSpin/HiddenAcceptance-v0`, but a request is a recorded text, read from a random place. A round of L drafted
    tokens gains the run of accepted tokens from the place, at most L, plus one, and the next round starts behind them.
    Acceptance is then not independent from token to token, as the closed form takes it to be. `optimal+clairvoyant`
    knows the rate of each text, not the tokens that come: it is a strong reference here, no bound.

    ## Action Space

    As `MultiSpin/Heterogeneous-v0`.

    ## Observation Space

    {observation}

    ## Rewards

    As `MultiSpin/Heterogeneous-v0`. `reward="expected"` averages over what the draft model could have had accepted at
    the place, given the recorded probabilities; `"sampled"` takes what was accepted.

    ## Starting State

    As `MultiSpin/Heterogeneous-v0`, with a text of its task and a place in it for each device.

    ## Episode End

    As `MultiSpin/Heterogeneous-v0`.

    ## Arguments

    As `MultiSpin/HiddenAcceptance-v0` without `spread`, and

    - `records`: a file in the format of `multispin_env/records/README.md`, or `Records`; default those of the package,
      whose tasks are taken for the scenario's in their order.
    - `half`: 0 or 1 takes every second text of each task, from the first or the second on; default `None`, all.
    - `modelled`: whether requests are those of `MultiSpin/HiddenAcceptance-v0` with the mean and spread of the texts,
      instead of replayed; default false. `train.py` learns from a model of one half and measures on the replay of the
      other: agents that learn from a replay learn its few texts by heart.

    ## Info

    As `MultiSpin/HiddenAcceptance-v0`.

    ## Version History

    - v0: first version.
    """

    records: str | Records | None = field(default=None, metadata={"file": "records.npz"})
    half: int | None = None
    modelled: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bool("modelled", self.modelled)
        if self.half is not None:
            check_integer("half", self.half, 0, 1)

    @property
    def learning(self) -> Learning:
        """Measured on the replay of the other half of the texts, or of all of them if all are played."""
        other = replace(self, half=None if self.half is None else 1 - self.half, modelled=False)
        return replace(super().learning, held_out=other)

    def dynamics(self, scenario: Scenario) -> Dynamics:
        """Replay; ``ValueError`` for a record that can't be read."""
        records = self.records
        if records is None:
            records = _packaged()
        elif not isinstance(records, Records):
            records = load_records(records)
        if self.half is not None:
            records = _half(records, self.half)
        acceptance: Acceptance = Recorded(records, self.mean_rounds)
        if self.modelled:
            mean, spread = acceptance.prior(scenario)
            acceptance = ByRequest(tuple(spread.tolist()), self.mean_rounds, tuple(mean.tolist()))
        return Dynamics(Dynamics.of(scenario).channel, acceptance)
