"""docs/counts.md: thop, ptflops, fvcore and torch count what its tables say, and the terms explain every difference."""

import copy
import re
import warnings
from collections import Counter
from functools import cache
from pathlib import Path

import originals  # noqa: F401 (first: it repairs torchvision, which ptflops imports)
import ptflops
import pytest
import torch
from fvcore.nn import ActivationCountAnalysis, FlopCountAnalysis, parameter_count
from reference import golden
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import ResNet50_Weights

from designspace.models import create_model
from designspace.networks import catalog
from designspace.networks.complexity import complexity

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # thop imports distutils
    import thop

PAGE = (Path(__file__).parents[2] / "docs" / "counts.md").read_text(encoding="utf-8")
NAMES = ("regnetx_400mf", "resnest50")


def table(first):
    """Return the rows of the page's table whose header begins with a cell: name of the row -> its other cells."""
    lines = PAGE.splitlines()
    header = next(index for index, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = {}
    for line in lines[header + 2 :]:
        if not line.startswith("|"):
            break
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        rows[name.replace("`", "")] = cells
    return rows


def numbers(cells):
    """Return the last two cells of a row by network."""
    return dict(zip(NAMES, (int(cell.replace(",", "")) for cell in cells[-2:]), strict=True))


@cache
def model(name):
    return create_model(name).eval()


def image():
    return torch.zeros(1, 3, 224, 224)


@cache
def elements(name):
    """Return the terms of the page, found by watching the modules run."""
    counts = Counter()

    def watch(module, inputs, output):
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            counts["bias"] += output.numel()
        elif isinstance(module, nn.BatchNorm2d):
            counts["batch-norm"] += output.numel()
        elif isinstance(module, nn.ReLU):
            counts["ReLU"] += output.numel()
        elif isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
            kind = "max" if isinstance(module, nn.MaxPool2d) else "average"
            counts[f"{kind} pool inputs"] += inputs[0].numel()
            counts[f"{kind} pool outputs"] += output.numel()
        elif isinstance(module, nn.Softmax):
            assert output.shape[module.dim] == 2
            counts["softmax pairs"] += output.numel() // 2

    empty = copy.deepcopy(model(name)).to("meta")
    for module in empty.modules():
        module.register_forward_hook(watch)
    with torch.no_grad():
        empty(image().to("meta"))
    return counts


def difference(formula, name):
    """Return the value of a formula of the page, such as ``2 x batch-norm - bias``."""
    if formula == "none":
        return 0
    total = 0
    for sign, factor, term in re.findall(r"([+-]?) ?(?:(\d+) x )?([A-Za-z][A-Za-z-]*(?: [a-z]+)*)", formula):
        assert term in table("term"), term
        total += (-1 if sign == "-" else 1) * int(factor or 1) * elements(name)[term]
    return total


def quiet(analysis):
    return analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)


def torch_counter(module):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(image())
    return counter.get_total_flops() / 2


def ptflops_counter(backend):
    def count(module):
        options = {"print_per_layer_stat": False, "as_strings": False, "verbose": False}
        return ptflops.get_model_complexity_info(copy.deepcopy(module), (3, 224, 224), backend=backend, **options)[0]

    return count


PROGRAMS = {
    "torch's counter, halved": torch_counter,
    "fvcore": lambda module: quiet(FlopCountAnalysis(module, image())).total(),
    "thop": lambda module: thop.profile(copy.deepcopy(module), (image(),), verbose=False)[0],
    "ptflops": ptflops_counter("pytorch"),
    'ptflops, backend="aten"': ptflops_counter("aten"),
}


@pytest.mark.parametrize("name", NAMES)
def test_terms_of_the_page_are_those_of_the_modules(name):
    assert {term: numbers(cells)[name] for term, cells in table("term").items()} == {
        term: elements(name)[term] for term in table("term")
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_report_what_the_page_says_and_the_terms_explain_it(program, name):
    formula, *_ = cells = table("program")[program]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        counted = PROGRAMS[program](model(name))
    assert counted == numbers(cells)[name]
    assert counted == complexity(catalog.get(name)).flops + difference(formula, name)


@pytest.mark.parametrize("name", NAMES)
def test_relu_follows_all_batch_norms_but_those_of_projected_shortcuts(name):
    stages = catalog.get(name).stages
    projected = sum(stage.width * (56 // 2**index) ** 2 for index, stage in enumerate(stages))
    assert elements(name)["batch-norm"] - elements(name)["ReLU"] == projected


def test_page_lists_every_program_that_is_tested_and_pycls():
    assert set(table("program")) == {"designspace, pycls", *PROGRAMS}


@pytest.mark.parametrize("name", NAMES)
def test_costs_of_the_page_are_ours(name):
    cost, backbone = complexity(catalog.get(name)), complexity(catalog.get(name), features=True)
    ours, without_head = table("program | counts"), table("cost")
    assert numbers(table("program")["designspace, pycls"])[name] == cost.flops
    assert numbers(ours["designspace, pycls: params"])[name] == cost.params
    assert numbers(ours["designspace, pycls: activations"])[name] == cost.activations
    assert {field: numbers(cells)[name] for field, cells in without_head.items()} == backbone._asdict()


def test_pycls_counts_as_the_page_says():
    """The golden integers of pycls (`tests/golden`); ResNeSt is not among its networks."""
    [case] = [case for case in golden("published_complexity.json") if case[:2] == ["regnetx_400mf", 224]]
    cost = complexity(catalog.get("regnetx_400mf"))
    assert list(case[2:5]) == [cost.flops, cost.params, cost.activations]


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_activations_of_programs(name):
    rows = table("program | counts")
    params = {parameter_count(model(name))[""], thop.profile(copy.deepcopy(model(name)), (image(),), verbose=False)[1]}
    assert params == {numbers(rows["fvcore, thop, ptflops"])[name]}
    activations = quiet(ActivationCountAnalysis(model(name), image())).total()
    assert activations == numbers(rows["fvcore: ActivationCountAnalysis"])[name]
    assert activations == complexity(catalog.get(name)).activations - elements(name)["max pool outputs"]


def test_torchvision_lists_multiply_adds_without_bias():
    listed = ResNet50_Weights.IMAGENET1K_V1.meta["_ops"]
    assert listed == round((complexity(catalog.get("resnet50")).flops - 1000) / 1e9, 3)
