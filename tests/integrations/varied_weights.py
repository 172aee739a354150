"""Networks with weights that a test can recognise."""

import torch

from designspace.models import AnyNet, Backbone


def varied(network, seed=5):
    """Return a module whose norms differ from their initial values."""
    model = AnyNet(network, seed=seed)
    random = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if value.dim() == 1:
            value.copy_(torch.rand(value.shape, generator=random) + (0.5 if "var" in name else -0.2))
    return model


def assert_has_weights_of(module, model):
    expected = Backbone(model).state_dict()
    state = module.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in state)
