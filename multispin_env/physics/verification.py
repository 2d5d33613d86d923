"""Time that the server verifies: T_ver of the drafts of a pass, and its slopes (ours, but for the paper's law)."""

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.scenario import Scenario
from multispin_env.server import VerificationLaw, line_slope


def pass_tokens(scenario: Scenario, draft_length: FloatArray | IntArray) -> FloatArray | IntArray:
    """Tokens n (...) of the pass that verifies drafts (..., K): one more than each draft, padded or not."""
    return scenario.law.tokens(draft_length, draft_length.shape[-1])


def verification_time(scenario: Scenario, draft_length: FloatArray | IntArray) -> FloatArray:
    """T_ver (...) in seconds of the pass that verifies drafts (..., K), by the scenario's law."""
    time = np.empty(draft_length.shape[:-1])
    time[...] = _time_of(scenario.law, draft_length, draft_length.shape[-1])
    return time[()]


def verification_slopes(scenario: Scenario, draft_length: FloatArray) -> FloatArray:
    """Derivatives of T_ver by lengths (..., K) in seconds a token, 0 by a flat law; at a kink, of the steeper piece."""
    law = scenario.law
    if law.flat:  # for speed: nothing is counted
        return np.zeros(1)
    per_token = line_slope(law.lines, pass_tokens(scenario, draft_length))[..., None]
    return per_token * law.token_slopes(draft_length)


def batch_time(
    scenario: Scenario, draft_length: IntArray, verified: BoolArray, prompt: IntArray | None = None
) -> FloatArray:
    """T_ver (...) in seconds of a pass that holds only some of the drafts (..., K), those that are ``verified``.

    Where all are, it is `verification_time`, to the bit. ``prompt`` (..., K) are tokens that the pass holds besides for
    drafts in it, never padded.
    """
    drafts = np.add.reduce(verified, -1)
    return np.asarray(_time_of(scenario.law, draft_length, drafts, verified, prompt))


def _time_of(
    law: VerificationLaw,
    draft_length: FloatArray | IntArray,
    num_drafts: IntArray | int,
    verified: BoolArray | None = None,
    prompt: IntArray | None = None,
) -> FloatArray:
    """T_ver (...) of so many drafts (...), those ``verified``; by a flat law nothing is counted, which takes longer."""
    if law.flat:
        return law.time_of_drafts(num_drafts) + law.start
    held = draft_length if verified is None else np.where(verified, draft_length, 0)
    tokens = law.tokens(held, num_drafts)
    if verified is not None and prompt is not None:
        tokens = tokens + np.add.reduce(np.where(verified, prompt, 0), -1)
    return law.time(num_drafts, tokens)
