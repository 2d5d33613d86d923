"""How agents are measured, while they train and against the references at the end."""

from agents.measures.base import Measure
from agents.measures.episodes import EpisodeMeasure
from agents.measures.states import StateMeasure
from multispin_env.envs.settings import Settings

__all__ = ["EpisodeMeasure", "Measure", "StateMeasure", "measure_of"]


def measure_of(env: str, settings: Settings) -> Measure:
    """States where everything is known and rounds are independent; whole episodes where a variant lists contenders."""
    return StateMeasure(env, settings) if settings.variant.independent_rounds else EpisodeMeasure(env, settings)
