"""Agents on independent states, beside the optimum: for environments in which everything is known."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.decider import ModelDecider
from agents.measures.base import Bar, Headline, Report, Validation, title
from multispin_env.arrays import FloatArray
from multispin_env.envs.settings import Settings
from multispin_env.evaluation.scores import held_out_states, reference_scores, score
from multispin_env.evaluation.seeds import HELD_OUT_SEED, VALIDATION_SEED
from multispin_env.evaluation.table import make_table, to_text
from multispin_env.physics.dynamics import sample_state
from multispin_env.physics.rounds import expected_outcome

VALIDATION_STATES = 200


@dataclass(frozen=True)
class StateMeasure:
    """Goodput on held-out states as a share of the certified optimum's.

    Parameters
    ----------
    env
        Environment id.
    settings
        The environment.
    """

    size_name: ClassVar[str] = "states"
    default_size: ClassVar[int] = 500
    headline: ClassVar[Headline] = Headline("share_of_optimum", "of the optimum", "share of the optimum")

    env: str
    settings: Settings

    def validation(self) -> Validation:
        """Draw the states that a run watches itself on, and find their optimum."""
        settings = self.settings
        state = sample_state(settings.scenario, np.random.default_rng(VALIDATION_SEED), VALIDATION_STATES)
        best = expected_outcome(settings.scenario, state, settings.best_controller(state)).goodput

        def validate(model: BaseAlgorithm) -> dict[str, float]:
            decision = ModelDecider(model, settings)(state)
            outcome = expected_outcome(settings.scenario, state, decision)
            return {
                "share_of_optimum": float(outcome.goodput.mean() / best.mean()),
                "goodput": float(outcome.goodput.mean()),
                "regret": float((best - outcome.goodput).mean()),
                "round_latency": float(outcome.round_latency.mean()),
                "draft_length": float(decision.draft_length.mean()),
            }

        return validate

    def report(self, model: BaseAlgorithm, label: str, size: int) -> Report:
        """Score every controller and the agent on the same held-out states."""
        scenario = self.settings.scenario
        state = held_out_states(scenario, size)
        agent = score(scenario, state, {label: ModelDecider(model, self.settings)})
        references = reference_scores(scenario, state)
        rows = make_table(references | agent)
        share = agent[label] / references["optimal"]
        about = {"env": self.env, "held_out_states": size, "held_out_seed": HELD_OUT_SEED, **scenario.to_dict()}
        return Report(
            title=title(self.env, scenario, f"{size} held-out states"),
            text=f"{to_text(rows)}\n\n{label}, share of the optimum in each state: {_spread(share)}",
            about=about,
            rows=rows,
            bars=[Bar(row.name, row.goodput, row.goodput_low, row.goodput_high, row.share) for row in rows],
            axis="goodput (tokens/s)",
            headline=self.headline,
        )


def _spread(share: FloatArray) -> str:
    return f"mean {share.mean():.5f}, 5 % quantile {np.quantile(share, 0.05):.5f}, lowest {share.min():.5f}"
