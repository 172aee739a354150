"""Weight files of all kinds, and files with other content."""

import collections
import io
import os
import pickle
import struct
import warnings
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from designspace.models.weights.files import read_state_dict
from designspace.support.errors import RunError

FIXTURES = Path(__file__).parents[2] / "fixtures" / "weights"
STATE = {
    "conv.weight": torch.arange(24.0).reshape(2, 3, 2, 2),
    "bn.running_var": torch.tensor([0.5, 2.0]),
    "bn.num_batches_tracked": torch.tensor(7),
}


def saved(content, **options):
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def write(tmp_path, content, name="weights.pth"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def assert_rejected(tmp_path, content, message, name="weights.pth"):
    path = write(tmp_path, content, name)
    with pytest.raises(RunError, match=message) as caught:
        read_state_dict(path)
    assert str(path) in str(caught.value)


def assert_state(state):
    assert state.keys() == STATE.keys()
    for key, value in STATE.items():
        assert state[key].dtype == value.dtype
        assert torch.equal(state[key], value)


KINDS = {
    "torch.save": lambda: saved(STATE),
    "torch.save, old": lambda: saved(STATE, _use_new_zipfile_serialization=False),
    "pycls": lambda: saved(
        {
            "epoch": 99,
            "test_err": 31.5,
            "model_state": STATE,
            "ema_state": {"conv.weight": torch.zeros(1)},
            "optimizer_state": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]},
            "cfg": "MODEL:\n  TYPE: regnet\n",
        },
    ),
    "state_dict": lambda: saved({"state_dict": collections.OrderedDict(STATE), "arch": "resnet50"}),
    "model": lambda: saved({"model": STATE, "model_ema": {}}),
    "own checkpoint": lambda: (
        saved({"format": 1, "model": STATE}) + bytes(32)
    ),  # like training.checkpoint, which appends a digest
    "parameters": lambda: saved(
        {key: torch.nn.Parameter(value, value.is_floating_point()) for key, value in STATE.items()}
    ),
    "half precision": lambda: saved({key: value.half() for key, value in STATE.items()}),
    "transposed": lambda: saved(
        {**STATE, "conv.weight": STATE["conv.weight"].to(memory_format=torch.channels_last)},
    ),
    "safetensors": lambda: safetensors.torch.save(STATE, {"format": "pt"}),
    "double safetensors": lambda: safetensors.torch.save(
        {key: value.double() if value.is_floating_point() else value for key, value in STATE.items()}
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_of_files_are_read(tmp_path, kind):
    state = read_state_dict(write(tmp_path, KINDS[kind](), "weights.bin"))  # only the content matters
    assert_state(state)
    assert all(value.is_contiguous() for value in state.values())


def test_gluon_files_are_read_plain_and_zipped(tmp_path):
    plain = read_state_dict(FIXTURES / "net.params")
    assert plain["bn.gamma"].tolist() == [1, 1]
    with zipfile.ZipFile(tmp_path / "net.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(FIXTURES / "net.params", "net.params")
    zipped = read_state_dict(tmp_path / "net.zip")
    assert all(torch.equal(zipped[key], plain[key]) for key in plain)


def test_weights_are_independent_of_the_file_after_reading(tmp_path):
    path = write(tmp_path, saved(STATE))
    state = read_state_dict(path)
    path.write_bytes(b"\xff" * path.stat().st_size)
    assert_state(state)


class Executed:
    """Creates a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("method", ["torch.save", "torch.save, old", "pickle", "deep inside", "beside"])
def test_no_code_is_run(tmp_path, method):
    trap = Executed(tmp_path / "executed")
    content = {
        "torch.save": lambda: saved({**STATE, "x": trap}),
        "torch.save, old": lambda: saved({**STATE, "x": trap}, _use_new_zipfile_serialization=False),
        "pickle": lambda: pickle.dumps(trap, 2),
        "deep inside": lambda: saved({"model_state": STATE, "cfg": [{"a": (trap,)}]}),
        "beside": lambda: saved({"model_state": STATE, "optimizer_state": {"hook": trap}}),
    }[method]()
    pickle.loads(pickle.dumps(Executed(tmp_path / "control")))
    assert (tmp_path / "control").is_dir()  # the trap works
    assert_rejected(
        tmp_path, content, r"cut off, damaged|requires \w+\.mkdir, but reading must not run code.*save only its state"
    )
    assert not (tmp_path / "executed").exists()


def test_errors_name_the_object(tmp_path):
    assert_rejected(
        tmp_path, saved({"state_dict": STATE, "args": Path("x")}), r"requires pathlib\S*, but reading must not run"
    )


def test_torchscript_is_rejected(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "script.pt")
    with pytest.raises(RunError, match=r"script\.pt: it is a TorchScript program"):
        read_state_dict(tmp_path / "script.pt")


def changed_zip(content, change, compression=zipfile.ZIP_STORED, twice=()):
    """Return a file of torch.save with changed members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for name in [*old.namelist(), *twice]:
            new.writestr(name, change(name, old.read(name)))
    return buffer.getvalue()


def declare_too_many(name, data):
    """Make a file declare a hundred million values of ``bn.running_var``, which has two."""
    if not name.endswith("data.pkl"):
        return data
    many = b"J" + (100_000_000).to_bytes(4, "little")
    at = data.index(b"running_var")
    in_storage, in_shape = data.index(b"K\x02t", at), data.index(b"K\x02\x85", at)
    return b"".join([data[:in_storage], many, data[in_storage + 2 : in_shape], many, data[in_shape + 2 :]])


def declare_too_many_in_old_format(data):
    """Do the same in a file of the old format."""
    at = data.index(b"K\x02", data.index(b"running_var"))
    return data[:at] + b"J" + (2**31 - 1).to_bytes(4, "little") + data[at + 2 :]


ZIP = saved(STATE)
OLD = saved(STATE, _use_new_zipfile_serialization=False)
LINK = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 3\n"
DAMAGED = {
    "empty": (b"", "it is empty"),
    "web page": (b"\n<!DOCTYPE html><html>404</html>", "it is a web page"),
    "error of a bucket": (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "it is a web page"),
    "pointer": (LINK, "Git LFS"),
    "text": (b"hello", "it is none of: a file of torch.save"),
    "cut off": (ZIP[: len(ZIP) // 2], "not a whole zip archive"),
    "cut at its end": (ZIP[:-10], "not a whole zip archive"),
    "cut off, old": (OLD[:-10], "cut off, or damaged"),
    "cut off early, old": (OLD[:100], "cut off, or damaged"),
    "pickle": (pickle.dumps({"w": [1.0]}, 2), "cut off, or damaged"),
    "pickle, cut off": (b"\x80", "cut off"),
    "other zip": (changed_zip(ZIP, lambda name, data: data).replace(b"data.pkl", b"data.pkx"), "not one of torch.save"),
    "compressed": (changed_zip(ZIP, lambda name, data: data, zipfile.ZIP_DEFLATED), "values are compressed"),
    "announces too much, old": (
        declare_too_many_in_old_format(OLD),
        "cut off, or damaged .storage has wrong byte size",
    ),
    "announces too much": (changed_zip(ZIP, declare_too_many), "cut off, or damaged"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files_are_rejected(tmp_path, case):
    assert_rejected(tmp_path, *DAMAGED[case])


def test_duplicate_zip_members_are_rejected(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = changed_zip(ZIP, lambda name, data: data, twice=["archive/data.pkl"])
    assert_rejected(tmp_path, content, "several members of one name")


def header(text, values=b"", length=None):
    encoded = text.encode()
    return struct.pack("<Q", len(encoded) if length is None else length) + encoded + values


ONE = '{"w":{"dtype":"F32","shape":[%s],"data_offsets":[0,%s]}}'
DAMAGED_SAFETENSORS = {
    "cut off": (safetensors.torch.save(STATE)[:-1], "cut off, or damaged"),
    "longer": (safetensors.torch.save(STATE) + b"\0", "cut off, or damaged"),
    "huge header": (header("{}", length=2**62), "declares a header of 4,611,686,018,427,387,904 bytes, but has 10"),
    "no JSON": (header("{w"), "cut off, or damaged"),
    "deep JSON": (header('{"w":' + "[" * 100_000), "cut off, or damaged"),
    "huge tensor": (header(ONE % ("1000000000000", "4000000000000")), "cut off, or damaged"),
    "overflowing shape": (
        header(ONE % ("4611686018427387904,4611686018427387904,4", "4"), bytes(4)),
        "cut off, or dam",
    ),
    "too few values": (header(ONE % ("3", "4"), bytes(4)), "cut off, or damaged"),
    "twice": (header(ONE[:-1] % (1, 4) + "," + (ONE % (1, 4))[1:], bytes(4)), "it contains a name twice"),
    "unknown type": (header((ONE % (1, 4)).replace("F32", "X99"), bytes(4)), "cut off, or damaged"),
    "nothing": (safetensors.torch.save({}), "it contains no tensors"),
}


@pytest.mark.parametrize("case", DAMAGED_SAFETENSORS)
def test_damaged_safetensors_are_rejected(tmp_path, case):
    assert_rejected(tmp_path, *DAMAGED_SAFETENSORS[case], name="model.safetensors")


def infinite(position, value):
    weight = torch.ones(2, 3)
    weight[position] = value
    return {"conv.weight": weight}


UNFIT = {
    "nothing": ({}, "it contains no tensors$"),
    "no tensors": ({"epoch": 3, "cfg": "x"}, "it contains no tensors, only epoch, cfg"),
    "a list": ([torch.ones(2)], "it contains one list, not a dict"),
    "one tensor": (torch.ones(2), "it contains one Tensor, not a dict"),
    "a number between": ({**STATE, "lr": 0.1}, "lr in it is not a tensor but of type float"),
    "no name": ({**STATE, 3: torch.ones(1)}, "a tensor without a name: 3"),
    "NaN": (infinite((0, 1), torch.nan), "conv.weight in it has 1 of 6 values NaN or infinite"),
    "infinite": (infinite(0, -torch.inf), "conv.weight in it has 3 of 6 values"),
    "too large for float32": ({"w": torch.tensor([1e300], dtype=torch.float64)}, "w in it has 1 of 1 values"),
    "negative variance": ({"bn.running_var": torch.tensor([1.0, -1e-9])}, "bn.running_var in it has negative values"),
    "integers": ({"w": torch.arange(3)}, "w in it is of type int64; weights are floating-point"),
    "truth values": ({"w": torch.tensor([True])}, "w in it is of type bool"),
    "complex": ({"w": torch.ones(2, dtype=torch.complex64)}, "w in it is complex"),
    "sparse": ({"w": torch.eye(3).to_sparse()}, "w in it is sparse"),
    "meta": ({"w": torch.ones(3, device="meta")}, "w in it is sparse, or without values"),
    "repeated in memory": ({"w": torch.ones(1).expand(10**13)}, "have 40,000,000,000,000 bytes, which cannot be in"),
    "shared by many": (dict.fromkeys(map(str, range(100)), torch.ones(1000)), "have 400,000 bytes, which cannot be"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_values_that_cannot_be_weights_are_rejected(tmp_path, case):
    content, message = UNFIT[case]
    assert_rejected(tmp_path, saved(content), message)


def test_quantised_tensors_are_rejected(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's quantised tensors are deprecated
        content = saved({"w": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)})
        assert_rejected(tmp_path, content, "w in it is quantised")


def test_folders_missing_files_and_pipes_are_rejected(tmp_path):
    with pytest.raises(RunError, match=r"it is a folder; give the path of a file in it"):
        read_state_dict(tmp_path)
    with pytest.raises(RunError, match=r"cannot read .*missing\.pth: No such file"):
        read_state_dict(tmp_path / "missing.pth")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RunError, match="pipe: it is not a regular file"):  # reading it would never end
        read_state_dict(tmp_path / "pipe")
