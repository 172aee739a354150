import copy

import pytest
import torch
from torch.nn import functional

from designspace.models import AnyNet
from designspace.models.blocks import Block
from designspace.models.drop import DropBlock, Dropout, DropPath, set_generator
from designspace.networks import catalog
from designspace.networks.network import Network, Stage, Stem
from designspace.support.errors import InputError

NETWORK = Network(Stem("cifar", 8), tuple(Stage(2, 16, 2, 1, 8) for _ in range(3)), radix=2, num_classes=5)


@pytest.fixture(autouse=True)
def _seeded_on_one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # maps are small, and other tests run in parallel
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def test_drop_path_drops_whole_images_and_keeps_the_mean():
    x = torch.ones(20_000, 2, 1, 1)
    y = DropPath(0.3)(x)
    assert y.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert torch.equal(y[:, 0], y[:, 1])
    assert y.mean().item() == pytest.approx(1, abs=0.02)


def test_dropout_drops_values_and_keeps_the_mean():
    x = torch.ones(300, 200)
    y = Dropout(0.3)(x)
    assert y.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert y.mean().item() == pytest.approx(1, abs=0.02)
    assert not torch.equal(y[0], y[1])


@pytest.mark.parametrize(("block", "side"), [(3, 16), (7, 28), (5, 5), (7, 4), (1, 9)])
def test_drop_block_drops_squares_at_the_rate(block, side):
    x = torch.ones(128, 64, side, side)
    y = DropBlock(0.1, block)(x)
    dropped = (y == 0).float()
    # Algorithm 1 aims at the rate; overlapping squares make it slightly lower.
    assert 0.08 <= dropped.mean().item() <= 0.11
    assert y.mean().item() == pytest.approx(1, abs=1e-3)
    # Every dropped pixel is in a dropped square, so opening the mask with a square changes nothing.
    size = min(block, side)
    eroded = -torch.nn.functional.max_pool2d(-dropped, size, stride=1)
    reopened = torch.nn.functional.max_pool2d(torch.nn.functional.pad(eroded, (size - 1,) * 4), size, stride=1)
    assert torch.equal(reopened, dropped)
    assert not torch.equal(dropped[:, 0], dropped[:, 1])  # channels are independent


@pytest.mark.parametrize("layer", [DropPath(0.5), DropBlock(0.5), Dropout(0.5)])
def test_nothing_is_dropped_in_evaluation_mode(layer):
    x = torch.randn(4, 3, 8, 8)
    assert torch.equal(layer.eval()(x), x)


@pytest.mark.parametrize("option", ["drop_path", "drop_block", "dropout"])
@pytest.mark.parametrize("rate", [-0.1, 1, float("nan")])
def test_rates_are_checked(option, rate):
    with pytest.raises(InputError, match=f"{option} must be at least 0 and below 1"):
        AnyNet(NETWORK, **{option: rate})


def test_stochastic_depth_grows_from_the_first_to_the_last_block():
    model = AnyNet(catalog.get("resnest14"), drop_path=0.3)
    rates = [module.drop_path.rate for module in model.modules() if isinstance(module, Block)]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_drop_block_follows_every_norm_of_the_last_two_stages_except_in_attention():
    model = AnyNet(NETWORK, drop_block=0.1)
    names = [name for name, module in model.named_modules() if isinstance(module, DropBlock)]
    assert {name.split(".")[1] for name in names} == {"1", "2"}
    assert [name for name in names if name.startswith("stages.1.0")] == [
        "stages.1.0.transform.conv1.drop",
        "stages.1.0.transform.conv2.splits.drop",
        "stages.1.0.transform.conv3.drop",
    ]


@pytest.mark.parametrize("options", [{"drop_path": 0.4}, {"drop_block": 0.2}, {"dropout": 0.5}])
def test_dropping_changes_only_training_and_no_keys(options):
    plain, dropping = AnyNet(NETWORK), AnyNet(NETWORK, **options)
    assert list(plain.state_dict()) == list(dropping.state_dict())
    x = torch.randn(4, 3, 16, 16)
    assert torch.equal(plain.eval()(x), dropping.eval()(x))
    plain.train(), dropping.train()
    first = dropping(x)
    assert not torch.allclose(first, plain(x))
    assert not torch.allclose(first, dropping(x))
    first.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in dropping.parameters() if parameter.grad is not None)


def test_a_dropped_block_returns_its_shortcut():
    stage = Stage(2, 8, 1, 1, 8)
    network = Network(Stem("cifar", 8), (stage,))
    from designspace.models.blocks import BlockOptions

    block = Block(network, stage, 8, first=True, options=BlockOptions(drop_path=0.5))
    x = torch.rand(64, 8, 4, 4)
    y = block(x)
    dropped = (y == x).flatten(1).all(1)
    assert 15 < dropped.sum() < 49
    gradient = torch.autograd.grad(block(x.requires_grad_()).sum(), x)[0]
    assert gradient.isfinite().all()


DROPPING = {"drop_path": 0.4, "drop_block": 0.2, "dropout": 0.5}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("layer", [DropPath(0.5), DropBlock(0.3), Dropout(0.5)])
def test_a_layer_draws_only_from_its_generator(layer):
    x = torch.randn(8, 4, 9, 9)
    set_generator(layer, generator(1))
    state = torch.get_rng_state()
    first, second = layer(x), layer(x)
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(first, second)
    set_generator(layer, generator(1))
    assert torch.equal(layer(x), first)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    set_generator(layer, None)
    without = layer(x)
    assert not torch.equal(state, torch.get_rng_state())
    torch.manual_seed(0)
    assert torch.equal(layer(x), without)


def train_epoch(model, seed, steps=2):
    """Train one epoch like a loop that sets a generator per epoch."""
    set_generator(model, generator(seed))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    model.train()
    for step in range(steps):
        x = torch.randn(6, 3, 16, 16, generator=generator(100 * seed + step))
        functional.cross_entropy(model(x), torch.arange(6) % 5).backward()
        optimiser.step()
        optimiser.zero_grad()


def test_a_resumed_training_is_bitwise_identical():
    uninterrupted = AnyNet(NETWORK, **DROPPING)
    train_epoch(uninterrupted, 1)
    state = copy.deepcopy(uninterrupted.state_dict())
    train_epoch(uninterrupted, 2)
    torch.rand(7)  # changes the global state
    resumed = AnyNet(NETWORK, seed=3, **DROPPING)
    resumed.load_state_dict(state)
    train_epoch(resumed, 2)
    for name, weight in uninterrupted.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
    other = AnyNet(NETWORK, **DROPPING)
    other.load_state_dict(state)
    train_epoch(other, 3)
    assert not torch.equal(other.head.classifier.weight, uninterrupted.head.classifier.weight)


def test_checkpointing_drops_the_same_values_again():
    plain, checkpointing = (AnyNet(NETWORK, checkpointing=option, **DROPPING) for option in (False, True))
    for model in (plain, checkpointing):
        train_epoch(model, 1)
    for name, weight in plain.state_dict().items():
        assert torch.equal(weight, checkpointing.state_dict()[name]), name


def test_a_copy_has_no_generator():
    model = AnyNet(NETWORK, **DROPPING)
    set_generator(model, generator())
    copied = copy.deepcopy(model)
    assert all(module.generator is None for module in copied.modules() if hasattr(module, "generator"))
    assert sum(module.generator is not None for module in model.modules() if hasattr(module, "generator")) > 5
    assert str(copied) == str(model)
    assert torch.equal(copied.eval()(torch.ones(1, 3, 16, 16)), model.eval()(torch.ones(1, 3, 16, 16)))
