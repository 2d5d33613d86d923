"""Files with some bytes changed."""


def with_damage(whole, rng, count=60):
    """Contents of a file with one to three bytes changed, each time others."""
    for _ in range(count):
        content = bytearray(whole)
        for place in rng.integers(len(content), size=rng.integers(1, 4)):
            content[place] = rng.integers(256)
        yield bytes(content)
