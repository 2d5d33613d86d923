"""How long the server verifies: T_ver of the drafts of a round, and its slopes."""

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.scenario import Scenario
from multispin_env.server import line_slope


def pass_tokens(scenario: Scenario, draft_length: FloatArray | IntArray) -> FloatArray | IntArray:
    """Tokens n (...) of the pass that verifies drafts (..., K): one more than each draft, padded or not (ours)."""
    users = draft_length.shape[-1]
    if scenario.padded_verification:
        longest: FloatArray | IntArray = users * (draft_length.max(-1) + 1)
        return longest
    total: FloatArray | IntArray = np.add.reduce(draft_length, -1) + users
    return total


def verification_time(scenario: Scenario, draft_length: FloatArray | IntArray) -> FloatArray:
    """T_ver (...) in seconds of the pass that verifies drafts (..., K), by the scenario's law.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> from multispin_env.physics.verification import verification_time
    >>> scenario = ms.Scenario.preset("llama2", num_users=2, verification_pieces=((0.0, 0.001), (0.01, 0.0)))
    >>> law = scenario.replace(verification_fixed_time=0.0, verification_time_per_draft=0.0)
    >>> verification_time(law, np.array([[0, 4], [10, 20]]))  # 6 and 32 tokens
    array([0.01 , 0.032])
    """
    if not scenario.verification_pieces:
        time = np.empty(draft_length.shape[:-1])
        time.fill(scenario.pass_time(draft_length.shape[-1], 0))  # `numpy.full` takes three times as long for one row
        return time[()]
    return np.asarray(scenario.pass_time(draft_length.shape[-1], pass_tokens(scenario, draft_length)))


def verification_slopes(scenario: Scenario, draft_length: FloatArray) -> FloatArray:
    """Derivatives of T_ver by lengths (..., K) in seconds a token, for laws with pieces (ours).

    At a kink it is that of the steeper piece. In a padded pass the longest draft alone counts, the first of several.
    """
    per_token = line_slope(scenario.verification_pieces, pass_tokens(scenario, draft_length))[..., None]
    if not scenario.padded_verification:
        return np.broadcast_to(per_token, draft_length.shape)
    users = draft_length.shape[-1]
    longest = np.arange(users) == draft_length.argmax(-1)[..., None]
    return np.where(longest, users * per_token, 0.0)


def batch_time(
    scenario: Scenario, draft_length: IntArray, verified: BoolArray, prompt: IntArray | None = None
) -> FloatArray:
    """T_ver (...) in seconds of a pass that holds only some of the drafts (..., K), those that are ``verified``.

    Where all are, it is `verification_time`, to the bit. ``prompt`` (..., K) are tokens that the pass holds besides for
    drafts in it, never padded.
    """
    drafts = np.add.reduce(verified, -1)
    if not scenario.verification_pieces:
        return np.asarray(scenario.pass_time(drafts, 0))
    held = np.where(verified, draft_length, 0)
    tokens = drafts * (held.max(-1) + 1) if scenario.padded_verification else np.add.reduce(held, -1) + drafts
    if prompt is not None:
        tokens = tokens + np.add.reduce(np.where(verified, prompt, 0), -1)
    return np.asarray(scenario.pass_time(drafts, tokens))
