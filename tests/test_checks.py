"""Values that no number type or message can hold are refused in one short sentence."""

import numpy as np
import pytest

from multispin_env.checks import LARGEST, check_array, check_bool, check_integer, check_name, check_real, shown

DEEP = []
for _ in range(5000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "value",
    [10**400, -(10**400), 10**5000, 1e999, float("nan"), "x" * 100_000, DEEP],
    ids=["large", "small", "huge", "infinite", "nan", "long", "deep"],
)
def test_numbers_beyond_all_bounds_are_refused(value):
    checks = [
        lambda: check_real("a", value),
        lambda: check_integer("a", value, 0),
        lambda: check_array("a", [value]),
        lambda: check_bool("a", value),
        lambda: check_name("a", value, ["x"]),
    ]
    for check in checks:
        with pytest.raises(ValueError, match=r"^a(\[0\])?: got .*allowed (is|are)") as caught:
            check()
        assert len(str(caught.value)) < 400


def test_whole_numbers_end_where_arrays_do():
    assert check_integer("a", LARGEST, 0) == np.iinfo(np.int64).max
    with pytest.raises(ValueError, match=rf"a: got {2**63}, allowed is an integer in 3\.\.{2**63 - 1}"):
        check_integer("a", 2**63, 3)


def test_long_values_are_cut_off():
    assert shown("a" * 198) == repr("a" * 198)
    assert shown("a" * 199) == "'" + "a" * 199 + "..."
    assert shown(10**5000) == "a very large int"
