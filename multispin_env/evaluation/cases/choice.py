"""Choice of the cases that an environment is compared on."""

from multispin_env.controllers.factory import ContenderName
from multispin_env.envs.settings import Settings
from multispin_env.evaluation.cases.base import Cases
from multispin_env.evaluation.cases.episodes import Episodes
from multispin_env.evaluation.cases.states import CERTIFICATE, States
from multispin_env.evaluation.contenders import contenders_of
from multispin_env.evaluation.seeds import EPISODE_SEED, HELD_OUT_SEED, TUNING_SEED, VALIDATION_SEED


def held_out(env_id: str, settings: Settings, size: int | None = None, offset: int = 0) -> Cases:
    """Cases that training and tuning never see: states where the environment's rounds are independent, else episodes.

    By default as many as tables have. Another ``offset`` of the seed gives fresh cases.
    """
    kind = cases_of(settings)
    chosen, measured = size or kind.default_size, settings.held_out
    if kind is States:
        return _states(measured, chosen, HELD_OUT_SEED + offset, CERTIFICATE)
    return _episodes(env_id, measured, chosen, EPISODE_SEED + offset)


def watched(env_id: str, settings: Settings) -> Cases:
    """Cases that a training run watches itself on; the optimum there is not certified, which takes less time."""
    kind = cases_of(settings)
    if kind is States:
        return _states(settings, kind.watched_size, VALIDATION_SEED, None)
    return _episodes(env_id, settings, kind.watched_size, TUNING_SEED)


def cases_of(settings: Settings) -> type[States] | type[Episodes]:
    """Kind of cases that an environment is compared on."""
    return States if settings.variant.comparison.states else Episodes


def _states(settings: Settings, size: int, seed: int, certify: float | None) -> States:
    best = ContenderName.parse(settings.variant.comparison.reference).controller
    names = contenders_of(settings)
    return States.draw(settings.scenario, size, seed, reference=best, contenders=names, certify=certify)


def _episodes(env_id: str, settings: Settings, size: int, seed: int) -> Episodes:
    return Episodes(env_id, size, settings.scenario, settings.chosen_arguments, seed, settings.action)
