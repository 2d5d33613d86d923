"""Messages of the testbed: every bit comes back, and nothing else than a message is accepted."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("zmq")

from multispin_lab.testbed.messages import (
    FROM_DEVICE,
    FROM_SERVER,
    Draft,
    DraftForm,
    pack,
    pack_text,
    pieces,
    unpack,
    unpack_text,
)

HELLO = {
    "protocol": 1,
    "name": "pi",
    "instance": "1",
    "vocabulary": "ab",
    "size": 24,
    "context": 512,
    "draft": "small",
    "token_time": 0.01,
}


def changed(**fields):
    return pack("hello", **HELLO | fields)


def raw(header):
    return len(header).to_bytes(4, "little") + header


def test_a_message_is_what_was_packed():
    message = unpack(pack("begin", pack_text([3, 2**24 - 1]), seat=1, number=7), FROM_SERVER)
    assert (message.kind, message.fields) == ("begin", {"seat": 1, "number": 7})
    assert unpack_text(message.body, 2**24) == [3, 2**24 - 1]
    assert unpack(changed(), FROM_DEVICE).fields == HELLO
    for body, size in ((b"", 9), (b"\0" * 5, 9), (pack_text([9]), 9)):
        with pytest.raises(ValueError, match=r"^text"):
            unpack_text(body, size)


@pytest.mark.parametrize(
    "part",
    [
        b"",
        b"\0\0",
        b"\xff\xff\xff\xff{}",
        raw(b"{}"),
        raw(b"[]"),
        raw(b"null"),
        raw(b"[" * 4096),
        raw(b"{" + b" " * 4096 + b"}"),
        raw(b"not JSON"),
        raw(b'"\xff"'),
        raw(json.dumps({"kind": "hello", **HELLO, "more": 1}).encode()),
        raw(json.dumps({"kind": "hello"}).encode()),
        raw(json.dumps({"kind": ["hello"], **HELLO}).encode()),
        raw(changed()[4:].replace(b"0.01", b"1e999")),
        raw(changed()[4:].replace(b"0.01", b"9" * 4500)),
        raw(changed()[4:].replace(b'"protocol": 1', b'"protocol": 1.0')),
        changed(protocol=2),
        changed(protocol=True),
        changed(size=True),
        changed(size=-1),
        changed(token_time=float("nan")),
        changed(token_time=-1),
        changed(token_time="1"),
        changed(name="two\nlines"),
        changed(name="x" * 201),
        changed(name="\ud800"),
        changed(name=None),
        pack("welcome"),
        pack("ready", seat=99),
        pack("drafted", seat=0, round=1, seconds=-1),
    ],
)
def test_anything_else_is_one_sentence(part):
    with pytest.raises(ValueError, match=r"expected .*, got |^header: Expecting") as error:
        unpack(part, FROM_DEVICE)
    assert len(str(error.value)) < 600


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(part):
    for bytes_ in (part, raw(part)):
        with pytest.raises(ValueError, match=r"."):
            unpack(bytes_, FROM_DEVICE)


FORMS = st.tuples(st.integers(2, 40), st.integers(1, 40), st.integers(1, 16)).map(
    lambda numbers: DraftForm(numbers[0], min(numbers[:2]), numbers[2])
)


def drawn(form, length, seed):
    rng = np.random.default_rng(seed)
    ids = np.sort([rng.permutation(form.size)[: form.kept] for _ in range(length)], axis=-1).reshape(length, -1)
    counts = np.ones_like(ids) if form.kept == 1 else rng.integers(1, 2**form.bits, ids.shape)
    return Draft(np.array([rng.choice(row) for row in ids], dtype=np.int64), ids, counts)


@given(FORMS, st.integers(1, 5), st.integers(0, 99))
def test_every_bit_of_a_draft_comes_back(form, length, seed):
    draft = drawn(form, length, seed)
    body = form.pack(draft)
    assert len(body) == form.bytes_of(length)
    for sent, received in zip(draft, form.unpack(body, length), strict=True):
        np.testing.assert_array_equal(sent, received)


def test_a_draft_has_the_bits_of_the_scenario():
    index = 15  # of 32,000
    assert DraftForm(32_000, 1024, 16).bytes_of(8) == 8 * (1024 * (16 + index) + index) // 8
    assert DraftForm(32_000, 1, 16).bytes_of(8) == index  # tokens only
    assert DraftForm(32, 32, 16).bytes_of(8) == 8 * 32 * 2 + 5  # no ids


@given(FORMS, st.integers(1, 3), st.data())
def test_random_bytes_are_refused_or_a_draft_that_can_have_been_drawn(form, length, data):
    size = form.bytes_of(length)
    body = data.draw(st.binary(min_size=size, max_size=size))
    try:
        tokens, ids, counts = form.unpack(body, length)
    except ValueError:
        return
    assert ids.shape == counts.shape == (length, form.kept)
    for token, row, numbers in zip(tokens, ids, counts, strict=True):
        assert len(set(row)) == form.kept
        assert 0 <= min(row) <= max(row) < form.size
        assert numbers[row.tolist().index(token)] > 0


def test_a_draft_that_cannot_have_been_drawn_is_refused():
    form = DraftForm(20, 3, 4)
    good = Draft(np.array([4]), np.array([[2, 4, 9]]), np.array([[1, 15, 0]]))
    assert form.unpack(form.pack(good), 1).tokens == [4]
    for bad in (
        good._replace(tokens=np.array([20])),
        good._replace(tokens=np.array([5])),
        good._replace(tokens=np.array([9])),
        good._replace(ids=np.array([[4, 4, 9]])),
        good._replace(ids=np.array([[4, 2, 9]])),
        good._replace(ids=np.array([[2, 4, 31]])),
        good._replace(ids=np.array([[2, 4, 20]])),  # the first that is no token
        good._replace(counts=np.zeros((1, 3), dtype=int)),
    ):
        with pytest.raises(ValueError, match="expected"):
            form.unpack(form.pack(bad), 1)
    for body in (form.pack(good)[:-1], form.pack(good) + b"\0"):
        with pytest.raises(ValueError, match="draft: expected 5 bytes"):
            form.unpack(body, 1)


def test_pieces_of_an_upload():
    assert list(pieces(10, 0.0, 0.005)) == [(0.0, 0, 10)]
    assert list(pieces(10, 0.004, 0.005)) == [(0.004, 0, 10)]
    times, begin, end = zip(*pieces(1000, 0.0999, 0.005), strict=True)
    np.testing.assert_allclose(np.diff((0.0, *times)), 0.0999 / 20)
    assert begin == (0, *end[:-1])
    assert end[-1] == 1000
    assert len(list(pieces(1, 10.0, 0.005))) == 2000  # a slow link: most pieces are empty
