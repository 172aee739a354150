import contextlib
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from designspace.data.pickled import read_dict


def pickled_text(value):
    """Return a str as Python 2 pickles it."""
    return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value


def pickle_of_python_2(array, labels):
    """Return a batch as Python 2 and the numpy of its time pickled it (protocol 2)."""
    shape = b"(" + b"".join(b"J" + struct.pack("<i", side) for side in array.shape) + b"t"
    kind = (
        b"cnumpy\ndtype\n"
        + pickled_text(b"u1")
        + b"K\x00K\x01\x87R"
        + b"(K\x03"
        + pickled_text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    array_header = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + pickled_text(b"b") + b"\x87R"
    state = b"(K\x01" + shape + kind + b"\x89" + pickled_text(array.tobytes()) + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + pickled_text(b"data") + array_header + state + pickled_text(b"labels") + numbers + b"u."


def test_pickles_of_python_2_are_read():
    array = np.random.default_rng(0).integers(0, 256, (4, 3072), np.uint8)
    content = pickle_of_python_2(array, [3, 0, 9, 255])
    theirs = pickle.loads(content, encoding="bytes")  # shows that the pickle is valid
    np.testing.assert_array_equal(theirs[b"data"], array)
    ours = read_dict(content)
    np.testing.assert_array_equal(ours[b"data"], array)
    assert ours[b"labels"] == theirs[b"labels"] == [3, 0, 9, 255]


@given(arrays(np.uint8, array_shapes(max_dims=3, max_side=6)), st.integers(2, 4), st.booleans())
def test_arrays_of_bytes_are_read_back(array, protocol, columns_first):
    array = np.asfortranarray(array) if columns_first else array
    read = read_dict(pickle.dumps({"data": array, "text": "a", "n": (1, [2, None])}, protocol))
    np.testing.assert_array_equal(read[b"data"], array)
    assert (read[b"text"], read[b"n"]) == ("a", (1, [2, None]))


class Call:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def test_no_code_is_run(tmp_path):
    target = tmp_path / "made"
    for harm in (
        Call(open, str(target), "w"),
        Call(eval, "1 + 1"),
        Call(np.load, str(target)),
        Call(type, "a", (), {}),
    ):
        for protocol in range(5):
            with pytest.raises(ValueError, match=r"it refers to \w+(\.\w+)*\.\w+, which"):
                read_dict(pickle.dumps({"data": harm}, protocol))
    assert not target.exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], "a pickle of a list, not of a dict"),
        ({1: 2}, "the key 1, which is not text"),
        ({"data": np.zeros(3)}, "an array in it is of 'f8', not of uint8"),
        ({"data": np.array([None])}, "an array in it is of 'O8', not of uint8"),
        ({"data": np.zeros(3, "u1,u1")}, "not of uint8"),
    ],
)
def test_other_values_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        read_dict(pickle.dumps(value, 2))


def test_wrong_shapes_are_refused():
    content = pickle_of_python_2(np.zeros((2, 8), np.uint8), [1])
    for wrong in (9, -8, 2**30):
        with pytest.raises(ValueError, match="which do not make the shape"):
            read_dict(content.replace(b"J\x08\x00\x00\x00", b"J" + struct.pack("<i", wrong)))


@given(st.data())
def test_a_damaged_pickle_is_an_error_or_another_dict(data):
    content = bytearray(pickle_of_python_2(np.arange(48, dtype=np.uint8).reshape(3, 16), [1, 2, 3]))
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    for damaged in (content, content[:cut]):
        with contextlib.suppress(ValueError):
            assert isinstance(read_dict(bytes(damaged)), dict)
