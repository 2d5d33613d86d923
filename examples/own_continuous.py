"""A custom controller for verification without the barrier, added by one registration."""

from dataclasses import dataclass

import numpy as np

import multispin_env as ms


@dataclass(frozen=True, eq=False)
class InTime(ms.ContinuousController):
    """Controller that verifies all ready drafts; all devices draft for the same fraction of the verification time."""

    part: float = 0.6

    def decide(self, state: ms.physics.ContinuousState) -> ms.ContinuousDecision:
        """Return lengths that fit into this time; the shortest upload comes first."""
        scenario = self.scenario
        fitting = np.floor(self.part * scenario.verification_time / state.draft_time)
        length = np.clip(fitting, scenario.min_draft_length, scenario.max_draft_length).astype(np.int64)
        return ms.ContinuousDecision(
            length, np.full(length.shape, ms.physics.Join.TAKE), priority=np.zeros(length.shape)
        )


def main() -> dict[str, float]:
    """Print and return long-run tokens/s of this and two other controllers with the same devices."""
    ms.registry.CONTROLLERS.register("in-time", InTime)
    try:
        scenario = ms.Scenario.preset("llama2", num_users=8)
        state = ms.sample_state(scenario, np.random.default_rng(0), 4)
        names = ("optimal", "in-time", "groups")
        controllers = {name: ms.make_controller(name, scenario) for name in names}
        rates = {name: ms.long_run(rule, state, horizon=10.0).rate.mean() for name, rule in controllers.items()}
        for name, rate in rates.items():
            print(f"{name:10} {rate:6.1f} tokens/s")
        return rates
    finally:
        ms.registry.CONTROLLERS.unregister("in-time")


if __name__ == "__main__":
    main()
