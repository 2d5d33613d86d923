"""Equality to the bit."""

from dataclasses import fields, is_dataclass

import numpy as np


def equal(one, other):
    """Whether two nests of arrays, in dictionaries, tuples and data classes, are the same."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) or (isinstance(one, np.ndarray) and one.dtype == object):
        return len(one) == len(other) and all(map(equal, one, other))
    if is_dataclass(one):
        return all(equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    return np.array_equal(one, other)
