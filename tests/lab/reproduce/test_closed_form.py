import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multispin_lab.reproduce.closed_form import homogeneous_draft_length
from tests import reference


@given(
    alpha=st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1e-300, 1e-9, 1 - 1e-12, 1.0])),
    theta=st.floats(1e-5, 1e2),
    t_ver=st.floats(1e-5, 1e3),
)
def test_closed_form_is_the_best_length(alpha, theta, t_ver):
    values = [reference.expected_tokens(length, alpha) / (length * theta + t_ver) for length in range(1, 61)]
    result = int(homogeneous_draft_length(np.array(alpha), np.array(theta), t_ver, 60))
    assert values[result - 1] == pytest.approx(max(values), rel=1e-12)
