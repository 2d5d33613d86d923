"""Both ends of every range, on both sides, and values that no number type or message can hold."""

import re
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
    ("options", "interval", "good", "bad"),
    [
        ({}, "[1, 2]", (1.0, 2.0, np.float32(1.5), np.int64(2)), (NEXT(1, 0), NEXT(2, 3), np.nan, np.inf, True, "1")),
        ({"open_low": True}, "(1, 2]", (NEXT(1, 2), 2.0), (1.0, NEXT(2, 3), None)),
        ({"open_high": True}, "[1, 2)", (1.0, NEXT(2, 1)), (NEXT(1, 0), 2.0)),
        ({"open_low": True, "open_high": True}, "(1, 2)", (1.5,), (1.0, 2.0)),
    ],
)
def test_real(options, interval, good, bad):
    for value in good:
        assert check_real("x", value, 1.0, 2.0, **options) == value
        assert type(check_real("x", value, 1.0, 2.0, **options)) is float
    for value in bad:
        with pytest.raises(ValueError) as caught:  # noqa: PT011  (the whole sentence is compared)
            check_real("x", value, 1.0, 2.0, **options)
        assert str(caught.value) == f"x: expected a finite number in {interval}, got {value!r}"


def test_what_is_good_is_returned():
    for value in (2, 3, np.int32(4)):
        assert check_integer("n", value, 2, 4) == value
        assert type(check_integer("n", value, 2)) is int
    assert check_integer("a", INT64_MAX, 0) == np.iinfo(np.int64).max
    assert check_bool("b", np.True_) is True
    assert check_array("x", [1, 2]).dtype == np.float64
    check_name("kind", "one", iter(["one"]))
    check_keywords("f", ["a", "b"], ("b", "a"))
    assert shown("a" * 198) == repr("a" * 198)
    assert shown("a" * 199) == "'" + "a" * 199 + "..."
    assert shown(10**5000) == "a very large int"


BAD = [
    *((check_integer, (bad, 2), f"a: expected an integer ≥ 2, got {bad!r}") for bad in (1, 2.0, True, "3", None)),
    *((check_integer, (bad, 2, 4), f"a: expected an integer in 2..4, got {bad!r}") for bad in (1, 2.0, 5)),
    (check_integer, (2**63, 3), f"a: expected an integer in 3..{2**63 - 1}, got {2**63}"),
    *((check_bool, (bad,), f"a: expected True or False, got {bad!r}") for bad in (0, 1, "no", None)),
    (check_name, ("oen", ("one", "two")), "a: expected one of ['one', 'two'], got 'oen'; did you mean 'one'?"),
    (check_name, ("xyz", ("one", "two")), "a: expected one of ['one', 'two'], got 'xyz'"),
    (check_name, ("b", "acdefghijk"), f"a: expected one of {list('acdefghijk')}, got 'b'"),
    (
        check_name,
        ("b", "acdefghijklm"),
        "a: expected one of ['a', 'c', 'd', 'e', 'f', ... 2 more ..., 'i', 'j', 'k', 'l', 'm'], got 'b'",
    ),
    (check_keywords, (["a", "c"], ("a",)), "a: got an unexpected keyword argument 'c' (expected one of ['a'])"),
    (check_array, ([[1.0, 2.0], [np.nan, np.inf]],), "a[1, 0]: expected finite numbers, got nan"),
    (check_array, ("a",), "a: expected an array of numbers, got 'a'"),
    (require, (np.array(-1.0), np.array(False), "numbers > 0"), "a: expected numbers > 0, got -1.0"),
]


@pytest.mark.parametrize(("check", "arguments", "message"), BAD)
def test_what_is_bad_is_refused_in_one_sentence(check, arguments, message):
    with pytest.raises(TypeError if check is check_keywords else ValueError, match=f"^{re.escape(message)}$"):
        check("a", *arguments)


DEEP = reduce(lambda inner, _: [inner], range(5000), [])


@pytest.mark.parametrize("value", [10**400, -(10**400), 10**5000, 1e999, np.nan, "x" * 100_000, DEEP], ids=range(7))
def test_numbers_beyond_all_bounds_are_refused(value):
    checks = {check_real: (), check_integer: (0,), check_array: (), check_bool: (), check_name: (["x"],)}
    for check, arguments in checks.items():
        with pytest.raises(ValueError, match=r"^a(\[0\])?: expected .*, got ") as caught:
            check("a", [value] if check is check_array else value, *arguments)
        assert len(str(caught.value)) < 400
