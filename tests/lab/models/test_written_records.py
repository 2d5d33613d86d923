import numpy as np
import pytest

from multispin_env.physics.records import Records, load_records
from multispin_lab.models.record_files import EXTRAS, load_extras, record_file
from tests.physics.test_record_files import GOOD


def test_a_written_record_is_read_back(tmp_path):
    path = tmp_path / "mine.npz"
    records = Records(*GOOD.values())
    extras = {name: np.linspace(1, 0, 27, dtype=np.float16).astype(float) ** power for power, name in enumerate(EXTRAS)}
    extras = {name: array.astype(np.float16).astype(float) for name, array in extras.items()}
    path.write_bytes(record_file(records, extras))
    again = load_records(path)
    for field in ("task", "length", "probability", "accepted"):
        np.testing.assert_array_equal(getattr(again, field), getattr(records, field))
    np.testing.assert_equal(load_extras(path, again), extras)
    with np.load(path) as arrays:
        kinds = {name: array.dtype.str for name, array in arrays.items()}
    expected = {"task": "|i1", "length": "<i2", "accept_probability": "<f2", "accepted": "|b1"}
    assert kinds == expected | dict.fromkeys(EXTRAS, "<f2")
    assert record_file(again, extras) == path.read_bytes()
    long = Records(np.zeros(1, int), np.array([40_000]), np.ones(40_000), np.ones(40_000, bool))
    path.write_bytes(record_file(long, {}))  # its length needs int64
    assert load_records(path).length.tolist() == [40_000]
    assert load_extras(path, long) == {}
    for bad, message in ((np.ones(26), ": expected 27 positions, .*, got 26"), (np.full(27, 2.0), r"\[0\]: .*, got 2")):
        for name in EXTRAS:
            np.savez(path, **{name: bad})
            with pytest.raises(ValueError, match=rf"mine.npz: {name}{message}"):
                load_extras(path, records)
    path.write_bytes(b"none")
    with pytest.raises(ValueError, match=r"mine.npz: file: expected an .npz archive, got b'none' at its start"):
        load_extras(path, records)
