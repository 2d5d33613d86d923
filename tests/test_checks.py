"""Both ends of every range, on both sides, and values that no number type or message can hold."""

from functools import reduce

import numpy as np
import pytest

from multispin_env.checks import (
    INT64_MAX,
    check_array,
    check_bool,
    check_integer,
    check_keywords,
    check_name,
    check_real,
    require,
    shown,
)

NEXT = np.nextafter


@pytest.mark.parametrize(
    ("options", "good", "bad"),
    [
        ({}, (1.0, 2.0, np.float32(1.5), np.int64(2)), (NEXT(1, 0), NEXT(2, 3), np.nan, np.inf, True, "1", None)),
        ({"open_low": True}, (NEXT(1, 2), 2.0), (1.0, NEXT(2, 3))),
        ({"open_high": True}, (1.0, NEXT(2, 1)), (NEXT(1, 0), 2.0)),
        ({"open_low": True, "open_high": True}, (1.5,), (1.0, 2.0)),
    ],
)
def test_real(options, good, bad):
    for value in good:
        assert check_real("x", value, 1.0, 2.0, **options) == value
        assert type(check_real("x", value, 1.0, 2.0, **options)) is float
    shown = f"{'(' if 'open_low' in options else '['}1, 2{')' if 'open_high' in options else ']'}"
    for value in bad:
        with pytest.raises(ValueError) as caught:  # noqa: PT011  (the whole sentence is compared)
            check_real("x", value, 1.0, 2.0, **options)
        assert str(caught.value) == f"x: expected a finite number in {shown}, got {value!r}"


@pytest.mark.parametrize(("high", "expected"), [(None, "an integer ≥ 2"), (4, "an integer in 2..4")])
def test_integer(high, expected):
    for value in (2, 3, np.int32(4)):
        assert check_integer("n", value, 2, high) == value
        assert type(check_integer("n", value, 2, high)) is int
    for value in (1, 2.0, True, "3", None, *([] if high is None else [5])):
        with pytest.raises(ValueError, match=rf"^n: expected {expected}, got {value!r}$"):
            check_integer("n", value, 2, high)


def test_whole_numbers_end_where_arrays_do_and_long_values_are_cut_off():
    assert check_integer("a", INT64_MAX, 0) == np.iinfo(np.int64).max
    with pytest.raises(ValueError, match=rf"a: expected an integer in 3\.\.{2**63 - 1}, got {2**63}"):
        check_integer("a", 2**63, 3)
    assert shown("a" * 198) == repr("a" * 198)
    assert shown("a" * 199) == "'" + "a" * 199 + "..."
    assert shown(10**5000) == "a very large int"


def test_bool():
    assert check_bool("b", np.True_) is True
    for value in (0, 1, "no", None):
        with pytest.raises(ValueError, match=rf"^b: expected True or False, got {value!r}$"):
            check_bool("b", value)


def test_names_suggest_only_what_is_near():
    check_name("kind", "one", iter(["one"]))
    check_keywords("f", ["a", "b"], ("b", "a"))
    with pytest.raises(ValueError, match=r"^kind: expected one of \['one', 'two'\], got 'oen'; did you mean 'one'\?$"):
        check_name("kind", "oen", ("one", "two"))
    with pytest.raises(ValueError, match=r"^kind: expected one of \['one', 'two'\], got 'xyz'$"):
        check_name("kind", "xyz", ("one", "two"))
    with pytest.raises(TypeError, match=r"^f: got an unexpected keyword argument 'c' \(expected one of \['a'\]\)$"):
        check_keywords("f", ["a", "c"], ("a",))


def test_arrays_name_the_first_bad_entry():
    assert check_array("x", [1, 2]).dtype == np.float64
    with pytest.raises(ValueError, match=r"^x\[1, 0\]: expected finite numbers, got nan$"):
        check_array("x", [[1.0, 2.0], [np.nan, np.inf]])
    with pytest.raises(ValueError, match=r"^x: expected numbers > 0, got -1\.0$"):
        require("x", np.array(-1.0), np.array(False), "numbers > 0")
    with pytest.raises(ValueError, match=r"^x: expected an array of numbers, got 'a'$"):
        check_array("x", "a")


DEEP = reduce(lambda inner, _: [inner], range(5000), [])


@pytest.mark.parametrize("value", [10**400, -(10**400), 10**5000, 1e999, np.nan, "x" * 100_000, DEEP], ids=range(7))
def test_numbers_beyond_all_bounds_are_refused(value):
    checks = {check_real: (), check_integer: (0,), check_array: (), check_bool: (), check_name: (["x"],)}
    for check, arguments in checks.items():
        with pytest.raises(ValueError, match=r"^a(\[0\])?: expected .*, got ") as caught:
            check("a", [value] if check is check_array else value, *arguments)
        assert len(str(caught.value)) < 400
