import dataclasses

import torch
from torch import distributed as dist
from torch import nn
from torch.multiprocessing import spawn

from designspace.models import AnyNet
from designspace.training import DeviceData, train, train_on_devices
from designspace.training.loop import train_part
from designspace.training.shard import ALONE, Shard
from designspace.training.sync_norm import shared_norms


class Double(nn.Module):
    """A network that computes in float64."""

    def __init__(self, network):
        super().__init__()
        self.inner = AnyNet(network, seed=4).double()

    def forward(self, x):
        return self.inner(x.double())


def train_double(rank, world, folder, network, recipe, data):
    """Be one of so many devices, and leave what was trained."""
    torch.set_num_threads(1)
    shard = ALONE if world == 1 else Shard(rank, world)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    model, seen = Double(network), []
    asked = {"seed": 0, "checkpoint": None, "on_epoch": seen.append, "should_stop": None}
    train_part(model, recipe, DeviceData.of(data), shard, **asked)
    records = [dataclasses.replace(record, wall_s=0.0) for record in seen[-1]]
    torch.save((model.state_dict(), records), f"{folder}/{world}-{rank}.pt")
    if world > 1:
        dist.destroy_process_group()


def test_two_devices_with_shared_norms_are_one_device(network, recipe, data, tmp_path):
    """Weights, statistics and errors agree within float64's rounding, parts of batches included."""
    recipe = dataclasses.replace(recipe, epochs=2, sync_norm=True)
    train_double(0, 1, tmp_path, network, recipe, data)
    spawn(train_double, (2, tmp_path, network, recipe, data), nprocs=2)
    expected, history = torch.load(tmp_path / "1-0.pt", weights_only=False)
    for rank in range(2):
        found, records = torch.load(tmp_path / f"2-{rank}.pt", weights_only=False)
        assert found.keys() == expected.keys()
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-11, msg=name)
        for one, other in zip(records, history, strict=True):
            assert abs(one.train_loss - other.train_loss) < 1e-9
            assert (one.train_error, one.test_error) == (other.train_error, other.test_error)


def test_the_recipe_shares_norms_among_devices(network, recipe, data):
    """In float32, so about the same as one device; with norms of their own, losses differ by some hundredths."""
    recipe = dataclasses.replace(recipe, epochs=1)
    one, two = [], []
    train(network, recipe, data, on_epoch=one.append)
    shared = dataclasses.replace(recipe, devices=2, sync_norm=True)
    train_on_devices(network, shared, data, on_epoch=two.append)
    assert abs(one[-1][0].train_loss - two[-1][0].train_loss) < 1e-4


def test_a_module_gets_its_own_norms_back_with_what_they_learned(network, monkeypatch):
    """A single device shares with nobody, so the shared norm is the plain one, in another order of sums."""
    monkeypatch.setattr(dist, "get_world_size", lambda: 1)
    monkeypatch.setattr(dist, "all_reduce", lambda tensor: None)
    model, plain = Double(network).train(), Double(network).train()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    x = torch.randn(6, 2, 10, 9, generator=torch.Generator().manual_seed(0))
    with shared_norms(model, torch.device("cpu")):
        assert not any(module is norm for module in model.modules() for norm in norms)
        assert list(model.state_dict()) == list(plain.state_dict())
        torch.testing.assert_close(model(x), plain(x))
    assert [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)] == norms
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)
