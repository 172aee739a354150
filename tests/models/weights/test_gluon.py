"""Reading MXNet's files: files that MXNet wrote, and damaged ones."""

import json
import struct
import zipfile
from pathlib import Path

import pytest
import torch

from designspace.models.split_attention import SplitAttention
from designspace.models.weights.gluon import MAGIC, read_params, zipped_params
from designspace.support.errors import RunError

FIXTURES = Path(__file__).parents[2] / "fixtures" / "weights"


def fixture_bytes(name):
    return (FIXTURES / name).read_bytes()


def test_all_types_and_old_names_are_read():
    arrays = read_params(fixture_bytes("mixed.params"))
    expected = {
        "weights": (torch.arange(24) / 8).reshape(2, 3, 4),
        "half": torch.tensor([0.5, -1.25, 3.0], dtype=torch.float16),
        "double": torch.tensor([[0.1, 0.2]], dtype=torch.float64),
        "bytes": torch.tensor([0, 1, 255], dtype=torch.uint8),
        "ints": torch.tensor([-1, 2**31 - 1], dtype=torch.int32),
        "signed": torch.tensor([-128, 127], dtype=torch.int8),
        "longs": torch.tensor([-(2**40), 7]),
    }
    assert arrays.keys() == expected.keys()
    for key, value in expected.items():
        assert arrays[key].dtype == value.dtype
        assert torch.equal(arrays[key], value)


def test_numpy_shapes_are_read():
    arrays = read_params(fixture_bytes("scalar.params"))
    assert arrays["scalar"].shape == ()
    assert arrays["scalar"].item() == 2.5
    assert arrays["empty"].shape == (0, 3)
    assert arrays["row"].tolist() == [1, 2, 3]


def test_names_follow_the_structure_of_the_block():
    shapes = {key: tuple(value.shape) for key, value in read_params(fixture_bytes("net.params")).items()}
    assert shapes == {
        "conv.weight": (2, 1, 3, 3),
        "conv.bias": (2,),
        **{f"bn.{leaf}": (2,) for leaf in ("gamma", "beta", "running_mean", "running_var")},
        "body.1.weight": (3, 2),
        "body.1.bias": (3,),
    }


def test_split_attention_of_gluon_equals_ours():
    names = {"conv": "splits.conv", "bn": "splits.norm", "fc1": "squeeze", "bn1": "norm", "fc2": "attend"}
    leaves = {"gamma": "weight", "beta": "bias"}
    attention = SplitAttention(4, radix=2, cardinality=2).eval()
    state = {key: value for key, value in attention.state_dict().items() if key.endswith("num_batches_tracked")}
    for key, value in read_params(fixture_bytes("split.params")).items():
        module, leaf = key.split(".")
        state[f"{names[module]}.{leaves.get(leaf, leaf)}"] = value
    attention.load_state_dict(state)
    case = json.loads(fixture_bytes("split.json"))
    with torch.no_grad():
        output = attention(torch.tensor(case["input"]).reshape(2, 4, 5, 3))
    torch.testing.assert_close(output.flatten(), torch.tensor(case["output"]), rtol=1e-5, atol=1e-6)


def array(shape=(2,), values=b"\0" * 8, version=0xF993FAC9, storage=0, code=0):
    head = struct.pack("<Ii", version, storage) if version != 0xF993FAC8 else struct.pack("<I", version)
    return head + struct.pack(f"<i{len(shape)}qiii", len(shape), *shape, 1, 0, code) + values


def params(*arrays, names=("w",), count=None, name_count=None):
    def text(name):
        encoded = name if isinstance(name, bytes) else name.encode()
        return struct.pack("<Q", len(encoded)) + encoded

    counts = struct.pack("<Q", len(arrays) if count is None else count)
    name_counts = struct.pack("<Q", len(names) if name_count is None else name_count)
    return MAGIC + bytes(8) + counts + b"".join(arrays) + name_counts + b"".join(map(text, names))


def test_older_array_versions_are_read():
    first = struct.pack("<IIIiii", 2, 1, 2, 1, 0, 0) + struct.pack(
        "<2f", 1.5, -2
    )  # its shape comes first, 32 bits each
    content = params(first, array(version=0xF993FAC8), names=("first", "second"))
    arrays = read_params(content)
    assert arrays["first"].tolist() == [[1.5, -2.0]]
    assert arrays["second"].tolist() == [0, 0]


HOSTILE = {
    "other file": (b"\0" * 64, "does not start like MXNet's files"),
    "nothing": (b"", "cut off"),
    "no names": (fixture_bytes("unnamed.params"), "1 arrays but 0 names"),
    "sparse": (fixture_bytes("sparse.params"), "sparse array"),
    "cut off": (fixture_bytes("mixed.params")[:-1], "cut off"),
    "cut in an array": (fixture_bytes("mixed.params")[:100], "cut off"),
    "longer": (fixture_bytes("mixed.params") + b"\0", "1 bytes follow its end"),
    "many arrays": (params(count=2**63), "declares 9,223,372,036,854,775,808 arrays, but"),
    "many names": (params(array(), name_count=2**40), "declares 1,099,511,627,776 names, but"),
    "huge array": (params(array(shape=(2**20, 2**19))), "declares 2,199,023,255,552 bytes, but"),
    "impossible array": (params(array(shape=(2**31, 2**31, 2**31))), "an array of shape"),
    "impossible and empty": (params(array(shape=(0, 2**62, 2**62), values=b"")), "an array of shape"),
    "negative shape": (params(array(shape=(-1,))), "unknown shape"),
    "many dimensions": (params(array(version=2**31)), "2,147,483,648 dimensions"),
    "never initialised": (params(array(shape=(), values=b"")), "without values"),
    "unknown rank": (params(struct.pack("<Iii", 0xF993FACA, 0, -1)), "without values"),
    "unknown type": (params(array(code=77)), "unknown type .code 77"),
    "twice": (params(array(), array(), names=("arg:w", "w")), "contains w twice"),
    "long name": (params(array(), names=())[:-8] + struct.pack("<QQ", 1, 2**62), "cut off"),
    "no text": (params(array(), names=(b"\xff\xfe",)), "names in it are not text"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_rejected(case):
    content, message = HOSTILE[case]
    with pytest.raises(RunError, match=message):
        read_params(content)


def zipped(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_archives_with_one_file_are_read(tmp_path):
    content = fixture_bytes("net.params")
    # The name would leave the folder if it were unpacked.
    path = zipped(tmp_path / "a.zip", **{"../../resnest50.params": content, "README": "hello"})
    assert zipped_params(path) == content
    assert [file.name for file in tmp_path.iterdir()] == ["a.zip"]
    assert zipped_params(zipped(tmp_path / "b.zip", README="hello")) is None


def test_hostile_archives_are_rejected(tmp_path):
    with pytest.raises(RunError, match="contains 2 .params files"):
        zipped_params(zipped(tmp_path / "two.zip", **{"a.params": b"", "b.params": b""}))
    whole = zipped(tmp_path / "whole.zip", **{"a.params": fixture_bytes("net.params")}).read_bytes()
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(whole[:60] + bytes([whole[60] ^ 255]) + whole[61:])
    with pytest.raises(RunError, match="not a whole zip archive"):
        zipped_params(damaged)
    damaged.write_bytes(whole[:-30])
    with pytest.raises(RunError, match="not a whole zip archive"):
        zipped_params(damaged)
    size = whole.rindex(b"PK\x01\x02") + 24  # position of the unpacked size in the table of contents
    damaged.write_bytes(whole[:size] + struct.pack("<I", 2**32 - 2) + whole[size + 4 :])
    with pytest.raises(RunError, match="declares 4,294,967,294 unpacked bytes"):
        zipped_params(damaged)
