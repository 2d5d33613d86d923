import pytest


def refusals(*cases, errors=ValueError):
    """Make a test that each call of the pairs (call, pattern) raises one of these errors, in one sentence."""

    @pytest.mark.parametrize(("call", "pattern"), cases, ids=[pattern[:40] for _, pattern in cases])
    def test(call, pattern):
        with pytest.raises(errors, match=pattern) as caught:
            call()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 4000

    return test
