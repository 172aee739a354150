import dataclasses

import pytest
from torch import nn

from designspace.models import AnyNet
from designspace.support.errors import InputError
from designspace.training import DeviceData, train_on_devices
from designspace.training.loop import train_part
from designspace.training.shard import Shard
from designspace.training.sync_norm import shared_norms


def test_a_module_has_shared_norms_within_the_block(network):
    """The shared norms have the names and tensors of the plain ones."""
    model = AnyNet(network, seed=1)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    tensors = {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
    with shared_norms(model):
        assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
        assert sum(isinstance(module, nn.SyncBatchNorm) for module in model.modules()) == len(norms)
        assert {name: tensor.data_ptr() for name, tensor in model.state_dict().items()} == tensors
    assert [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)] == norms


def test_cpus_cannot_share_norms(network, recipe, data):
    recipe = dataclasses.replace(recipe, devices=2, sync_norm=True)
    message = r"sync_norm=true with devices=2 needs GPUs, not cpu devices; choose GPUs, recipe.sync_norm=false"
    with pytest.raises(InputError, match=message):
        train_on_devices(network, recipe, data)
    part = {"seed": 0, "checkpoint": None, "on_epoch": None, "should_stop": None}
    with pytest.raises(InputError, match=message):
        train_part(AnyNet(network), recipe, DeviceData.of(data), Shard(0, 2), **part)
