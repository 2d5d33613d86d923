from dataclasses import fields

import numpy as np
import pytest

import multispin_env as ms

STATE = ms.SystemState(*np.arange(18.0).reshape(3, 3, 2))
WHOLES = [
    STATE,
    ms.Observed(STATE.draft_time, STATE.spectral_efficiency, age=np.arange(6).reshape(3, 2)),
    ms.Decision(np.arange(6).reshape(3, 2), STATE.draft_time),
    ms.Outcome(np.arange(3.0), STATE.draft_time, np.arange(3.0), STATE.draft_time, STATE.draft_time, np.arange(3.0)),
    ms.CertifiedDecision(np.arange(6).reshape(3, 2), STATE.draft_time, np.arange(3.0), np.arange(3.0), 1e-6),
]


def arrays(whole):
    """Its fields, without those that a batch has one of, or none."""
    return {field.name: value for field in fields(whole) if isinstance(value := getattr(whole, field.name), np.ndarray)}


@pytest.mark.parametrize("index", [1, slice(1, None), np.array([2, 0]), None, ()], ids=str)
@pytest.mark.parametrize("whole", WHOLES, ids=lambda whole: type(whole).__name__)
def test_an_index_selects_along_the_batch_in_every_array(whole, index):
    part = whole[index]
    assert type(part) is type(whole)
    for field in fields(whole):
        value = getattr(whole, field.name)
        expected = value[index] if field.name in arrays(whole) else value
        assert np.array_equal(getattr(part, field.name), expected)


@pytest.mark.parametrize("whole", WHOLES, ids=lambda whole: type(whole).__name__)
def test_a_copy_has_memory_of_its_own(whole):
    copy = whole.copy()
    for name, array in arrays(whole).items():
        assert np.array_equal(getattr(copy, name), array)
        assert not np.shares_memory(getattr(copy, name), array)


def test_an_index_beyond_the_batch_is_an_error():
    for whole in WHOLES:
        with pytest.raises(IndexError):
            whole[3]
        with pytest.raises(IndexError):
            whole[0][0, 0]
