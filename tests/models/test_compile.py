"""`torch.compile` captures every kind of network in one graph, and memory formats do not change results."""

import copy

import pytest
import torch
from kinds import EVERYTHING, SIZES, images, model_with_varied_state

from designspace.models import fuse

KINDS = pytest.mark.parametrize("name", EVERYTHING)


@pytest.mark.parametrize(
    ("name", "prepare"),
    [*((name, lambda model: model) for name in EVERYTHING), ("regnetx_200mf", fuse), ("resnest50", fuse)],
    ids=[*EVERYTHING, "regnetx_200mf, fused", "resnest50, fused"],
)
@pytest.mark.parametrize("training", [False, True])
def test_one_graph_contains_the_whole_network(name, training, prepare):
    """The backend runs the captured graph without a compiler; `fullgraph` makes any graph break an error."""
    torch._dynamo.reset()
    model = model_with_varied_state(EVERYTHING[name]).train(training)
    reference = copy.deepcopy(model)
    compiled = torch.compile(prepare(model), fullgraph=True, backend="eager")
    x = images(model.network, SIZES[1])
    output, expected = compiled(x), reference(x)
    torch.testing.assert_close(output, expected)
    output.square().mean().backward()
    expected.square().mean().backward()
    for (key, parameter), other in zip(model.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, msg=key)
    for (key, value), other in zip(model.state_dict().items(), reference.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, msg=key)


@KINDS
def test_channels_last_is_preserved_and_does_not_change_the_output(name):
    model = model_with_varied_state(EVERYTHING[name]).double().eval()
    x = images(model.network, SIZES[1]).double()
    with torch.inference_mode():
        expected = model(x)
        torch.testing.assert_close(model(x.to(memory_format=torch.channels_last)), expected)
        model.to(memory_format=torch.channels_last)
        formats = []
        for block in (block for stage in model.stages for block in stage):
            block.register_forward_hook(lambda _, inputs, out: formats.append(_is_channels_last(out)))
        torch.testing.assert_close(model(x.to(memory_format=torch.channels_last)), expected)
    assert formats
    assert all(formats)


def _is_channels_last(x):
    return x.is_contiguous(memory_format=torch.channels_last)
