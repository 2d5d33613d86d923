from dataclasses import fields, is_dataclass

import numpy as np


def equal(first, second):
    """Whether two nests of dicts, sequences, data classes and arrays are the same."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple) or (isinstance(first, np.ndarray) and first.dtype == object):
        return len(first) == len(second) and all(map(equal, first, second))
    if is_dataclass(first):
        return all(equal(getattr(first, field.name), getattr(second, field.name)) for field in fields(first))
    return np.array_equal(first, second)
