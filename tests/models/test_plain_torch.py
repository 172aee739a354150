"""Torch's tools for modules work with every network, plain and fused: modules hide none of their computations.

`prepare` returns a plain or fused model. Changes follow after it, because kernels must detect later changes.
"""

import copy
import pickle

import pytest
import torch
from kinds import EVERYTHING, images, model_with_varied_state, shrunken
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils.flop_counter import FlopCounterMode

from designspace.models import AnyNet, Backbone, fuse, unfuse
from designspace.networks import catalog
from designspace.networks.complexity import complexity
from designspace.spaces.catalog import space

SAMPLED = min(
    space("RegNetY", stem="cifar", stem_width=8, num_classes=5, resolution=32, flops=(5e5, 2e6)).sample(8),
    key=lambda network: network.depth,
)
NETWORKS = {
    "X": shrunken(catalog.get("regnetx_200mf")),
    "Y": shrunken(catalog.get("regnety_200mf")),
    "radix": shrunken(catalog.get("resnest50")),
    "sampled": SAMPLED,
}
SIZE = (3, 33, 47)
KINDS = pytest.mark.parametrize("name", NETWORKS)
MODES = pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
PREPARE = pytest.mark.parametrize("prepare", [lambda model: model, fuse], ids=["plain", "fused"])


pytestmark = pytest.mark.usefixtures("one_thread")


def model_of(name, training, prepare=lambda model: model):
    return prepare(model_with_varied_state(NETWORKS[name]).train(training))


def gradients(model, x):
    """Return the output, and all gradients of a fixed function of it."""
    for parameter in model.parameters():
        parameter.grad = None
    x = x.clone().requires_grad_()
    output = model(x)
    output.square().sum().backward()
    return [output.detach(), x.grad, *(parameter.grad for parameter in model.parameters())]


def assert_close(actual, expected):
    for tensor, expected_tensor in zip(actual, expected, strict=True):
        torch.testing.assert_close(
            tensor, expected_tensor, rtol=1e-3, atol=1e-4 * max(1.0, expected_tensor.abs().max().item())
        )


@KINDS
@MODES
@PREPARE
def test_fx_traces_it(name, training, prepare):
    model = model_of(name, training, prepare)
    traced = torch.fx.symbolic_trace(model)
    x = images(model.network, SIZE)
    assert_close(gradients(traced, x), gradients(copy.deepcopy(unfuse(model)), x))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", EVERYTHING)
def test_fx_traces_every_kind_with_dropping_layers(name, training):
    model = AnyNet(EVERYTHING[name], drop_path=0.3, drop_block=0.2, dropout=0.2).train(training)
    traced = torch.fx.symbolic_trace(model)
    outputs = []
    for module in (traced, model):
        torch.manual_seed(0)
        outputs.append(module(images(model.network, SIZE)))
    torch.testing.assert_close(*outputs)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", EVERYTHING)
def test_torchscript_compiles_every_kind(name):
    model = model_with_varied_state(EVERYTHING[name])
    x = images(model.network, SIZE)
    torch.testing.assert_close(torch.jit.script(copy.deepcopy(model))(x), model(x))


@KINDS
@MODES
@PREPARE
def test_torchvisions_extractor_finds_features(name, training, prepare):
    pytest.importorskip("originals")
    from torchvision.models.feature_extraction import create_feature_extractor

    model, x = model_of(name, training, prepare), images(NETWORKS[name], SIZE)
    last = f"stages.0.{len(model.stages[0]) - 1}.relu"
    extractor = create_feature_extractor(model, {"stem": "early", last: "late"})
    maps = extractor(x)
    early = unfuse(model).stem(x)
    assert_close([maps["early"], maps["late"]], [early, model.stages[0](early)])


@pytest.mark.filterwarnings("ignore")  # torch warns that quantisation moves to another package
@KINDS
@MODES
def test_fx_quantises_it(name, training):
    from torch.ao.quantization import get_default_qat_qconfig_mapping, get_default_qconfig_mapping, quantize_fx

    model, x = model_of(name, training), images(NETWORKS[name], SIZE)
    prepare = quantize_fx.prepare_qat_fx if training else quantize_fx.prepare_fx
    mapping = get_default_qat_qconfig_mapping("x86") if training else get_default_qconfig_mapping("x86")
    prepared = prepare(model, mapping, (x,))
    prepared(x)
    quantised = quantize_fx.convert_fx(prepared.eval())
    expected = model.eval()(x)
    assert (quantised(x) - expected).abs().mean() < 0.3 * expected.abs().mean() + 0.05


@KINDS
@PREPARE
def test_vmap_runs_over_images_and_over_models(name, prepare):
    model, x = model_of(name, False, prepare), images(NETWORKS[name], SIZE)
    torch.testing.assert_close(torch.vmap(lambda image: model(image[None])[0])(x), model(x))
    models = [model_of(name, True, prepare), model_of(name, True, prepare)]
    with torch.no_grad():
        models[1].head.classifier.weight.mul_(2)
    parameters, buffers = torch.func.stack_module_state(models)

    def run(parameters, buffers):
        return torch.func.functional_call(models[0], (parameters, buffers), (x,))

    assert_close(torch.vmap(run)(parameters, buffers), [unfuse(model)(x) for model in models])


@KINDS
@MODES
@PREPARE
def test_counted_operations_match_complexity(name, training, prepare):
    model = model_of(name, training, prepare)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images(model.network, (2, 32, 32)))
    # `complexity` counts the addition of a bias as pycls does; torch does not.
    biases = sum(len(bias) for key, bias in model.named_parameters() if key.endswith("bias") and "norm" not in key)
    assert counter.get_total_flops() == 2 * 2 * (complexity(model.network, 32).flops - biases)


@KINDS
@MODES
@PREPARE
def test_every_module_runs_its_hooks_once(name, training, prepare):
    model, x = model_of(name, training, prepare), images(NETWORKS[name], SIZE)
    model(x)
    expected = gradients(unfuse(copy.deepcopy(model)), x)
    before, after, backward, recorded = [], [], [], []
    for module_name, module in model.named_modules():
        module.register_forward_pre_hook(lambda *_, name=module_name: before.append(name))
        module.register_forward_hook(lambda *_, name=module_name: after.append(name))
        module.register_forward_hook(lambda module, inputs, output: recorded.append((output, output.detach().clone())))
        module.register_full_backward_hook(lambda *_, name=module_name: backward.append(name))
    actual = gradients(model, x)
    names = sorted(module_name for module_name, _ in model.named_modules())
    assert sorted(before) == sorted(after) == sorted(backward) == names
    assert all(torch.equal(*pair) for pair in recorded)  # outputs seen by hooks are not overwritten
    assert_close(actual, expected)


@KINDS
@PREPARE
def test_each_single_hook_runs_without_gradients(name, prepare):
    model = model_of(name, False, prepare)
    for module_name, module in model.named_modules():
        seen = []
        handle = module.register_forward_hook(lambda *_, seen=seen: seen.append(1))
        with torch.no_grad():
            model(images(model.network, (1, 9, 9)))
        handle.remove()
        assert seen == [1], module_name


class Halve(nn.Module):
    """An activation or a parametrisation whose effect is visible."""

    def forward(self, x, *_):
        return 0.5 * x


def replace_activations(model, kinds):
    """Replace every activation of some kinds, and record the calls of the replacements."""
    calls = []
    for module in list(model.modules()):
        for child_name, child in module.named_children():
            if isinstance(child, kinds):
                setattr(module, child_name, Halve())
                getattr(module, child_name).register_forward_hook(lambda *_: calls.append(1))
    return calls


@KINDS
@MODES
@PREPARE
@pytest.mark.parametrize("kinds", [(nn.ReLU,), (nn.Sigmoid, nn.Softmax)], ids=["relu", "gates"])
def test_replaced_activations_are_called(name, training, prepare, kinds):
    model, x = model_of(name, training, prepare), images(NETWORKS[name], SIZE)
    model(x)
    total = sum(isinstance(module, kinds) for module in model.modules())
    calls, reference = replace_activations(model, kinds), model_with_varied_state(NETWORKS[name]).train(training)
    reference(x)
    replace_activations(reference, kinds)
    with torch.no_grad():
        assert_close([model(x)], [reference(x)])
    assert len(calls) == total
    assert_close(gradients(model, x), gradients(reference, x))
    assert len(calls) == 2 * total


CHANGES = {
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
    "weight_norm": torch.nn.utils.weight_norm,
    "spectral_norm": torch.nn.utils.spectral_norm,
    "parametrised weight_norm": parametrizations.weight_norm,
    "parametrised": lambda layer: parametrize.register_parametrization(layer, "weight", Halve()),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated:FutureWarning")
@KINDS
@MODES
@PREPARE
@pytest.mark.parametrize("change", CHANGES)
def test_weights_computed_from_other_tensors_take_effect(name, training, prepare, change):
    model, reference, x = model_of(name, training, prepare), model_of(name, training), images(NETWORKS[name], SIZE)
    for candidate in (model, reference):
        candidate(x)
        for layer in [module for module in candidate.modules() if isinstance(module, nn.Conv2d)]:
            torch.manual_seed(0)
            CHANGES[change](layer)
    with torch.no_grad():
        assert_close([model(x)], [reference(x)])
    assert_close(gradients(model, x), gradients(reference, x))


def slope_penalty(model, x):
    """Return the squared gradient of the sum of the outputs with respect to the images."""
    x = x.clone().requires_grad_()
    slope = torch.autograd.grad(model(x).sum(), x, create_graph=True)[0]
    return slope.square().sum()


@KINDS
@MODES
def test_second_derivatives_are_right(name, training):
    model = model_of(name, training).double()
    x = images(model.network, (2, 17, 19)).double()
    weight = (model.stem if hasattr(model.stem, "conv") else model.stem[0]).conv.weight
    (gradient,) = torch.autograd.grad(slope_penalty(model, x), weight)
    step = 1e-6 * gradient / gradient.norm()
    with torch.no_grad():
        weight += step
    above = slope_penalty(model, x).item()
    with torch.no_grad():
        weight -= 2 * step
    below = slope_penalty(model, x).item()
    assert (above - below) / 2e-6 == pytest.approx(gradient.norm().item(), rel=1e-3)


@KINDS
def test_second_derivatives_of_a_fused_model_are_rejected_with_advice(name):
    model, x = model_of(name, True, fuse), images(NETWORKS[name], SIZE)
    with pytest.raises(RuntimeError, match=r"first derivatives only.*designspace\.models\.unfuse\(model\)"):
        slope_penalty(model, x)
    model.head.requires_grad_(False)
    with pytest.raises(RuntimeError, match=r"unfuse\(model\)"):
        slope_penalty(model, x)
    slope_penalty(unfuse(model), x).backward()
    slope_penalty(fuse(model).eval(), x).backward()  # torch's layers run


@KINDS
@MODES
@PREPARE
def test_copies_are_complete_and_independent(name, training, prepare):
    model, x = model_of(name, training, prepare), images(NETWORKS[name], SIZE)
    model(x)
    state = copy.deepcopy(model.state_dict())
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert [type(module) for module in copied.modules()] == [type(module) for module in model.modules()]
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        assert all(torch.equal(value, state[key]) for key, value in copied.state_dict().items())
        model.load_state_dict(state)
        assert_close(gradients(copied, x), gradients(model, x))
        model.load_state_dict(state)


@MODES
@PREPARE
@pytest.mark.parametrize("name", ["Y", "radix"])
def test_backbones_are_plain_modules_too(name, training, prepare):
    torch._dynamo.reset()
    model, x = Backbone(model_of(name, training, prepare)), images(NETWORKS[name], SIZE)
    expected = unfuse(copy.deepcopy(model))(x)
    assert_close(torch.fx.symbolic_trace(model)(x), expected)
    assert_close(torch.compile(model, fullgraph=True, backend="eager")(x), expected)
    unfuse(model)
    slope_penalty(lambda x: model(x)[-1], x).backward()
    assert model.stages[0][0].transform.conv1.conv.weight.grad.abs().sum() > 0
