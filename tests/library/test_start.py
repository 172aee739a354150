"""Starts of trainings."""

import dataclasses
import json

import pytest
import torch
from sweep_runs import make_run

from designspace.data.presets import Preset
from designspace.library.saved import write_model
from designspace.library.start import Start, build_initial_model, choose, fit_to_images
from designspace.models import AnyNet, create_model
from designspace.models.info import OWN_LICENCE, ModelInfo
from designspace.models.weights.adapt import CLASSIFIER
from designspace.networks import catalog
from designspace.networks.network import Network, Stage, Stem
from designspace.support.errors import InputError
from designspace.training.loop import initial_model
from designspace.trials.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = Recipe()
NETWORK = Network(Stem("imagenet", 8), (Stage(1, 16, 2, 1, 8),), num_classes=6)


@pytest.fixture
def folder(tmp_path):
    """A model folder with six classes."""
    info = ModelInfo("mine", Preset(24, 28), origin="a run of mine", licence="MIT")
    write_model(tmp_path / "mine", AnyNet(NETWORK, seed=7), info)
    return tmp_path / "mine"


def same(model, state):
    return {key for key, value in model.state_dict().items() if key in state and torch.equal(value, state[key])}


def test_a_published_name():
    assert choose("RegNetX-200MF") == Start("regnetx_200mf", catalog.get("regnetx_200mf"))
    texts = {
        weight_source: choose("regnetx_200mf").describe_weights(weight_source) for weight_source in (None, True, "timm")
    }
    assert texts == {None: "first weights", True: "its published weights", "timm": "its weights from timm"}
    with pytest.raises(InputError, match="regnetx_201mf"):
        choose("regnetx_201mf")


def test_random_weights_are_those_of_train():
    start = choose("regnetx_200mf")
    network = fit_to_images(start.network, channels=1, num_classes=10, stem="cifar")
    assert (network.stem, network.in_channels, network.num_classes) == (Stem("cifar", 32), 1, 10)
    assert network.stages == start.network.stages
    for weight_source in (None, False):
        initial = build_initial_model(start, network, weight_source, RECIPE, 3)
        state = initial_model(network, RECIPE, 3).state_dict()
        assert same(initial.model, state) == set(state)
        assert (initial.source, initial.licence) == ("", OWN_LICENCE)
        assert start.describe_weights(weight_source) == "first weights"


def test_weights_of_a_model_folder(folder):
    start = choose(str(folder))
    assert (start.name, start.network, start.folder) == ("mine", NETWORK, folder)
    assert start.describe_weights(True) == f"the trained weights of {folder}"
    network = fit_to_images(NETWORK, channels=3, num_classes=4, stem="cifar")
    initial = build_initial_model(start, network, True, RECIPE, 0)
    trained, fresh = AnyNet(NETWORK, seed=7).state_dict(), initial_model(network, RECIPE, 0).state_dict()
    assert same(initial.model, trained) == set(trained) - set(CLASSIFIER)
    assert set(CLASSIFIER) <= same(initial.model, fresh)
    assert initial.source == "mine, a run of mine"
    assert initial.licence == "that of the initial weights: MIT"
    same_classes = build_initial_model(start, NETWORK, True, RECIPE, 0).model
    assert same(same_classes, trained) == set(trained)
    with pytest.raises(InputError, match="has its own weights: weights=true, not weights=timm"):
        build_initial_model(start, NETWORK, "timm", RECIPE, 0)


def test_weights_of_a_file_for_another_number_of_channels(tmp_path):
    torch.save(create_model("regnetx_200mf", seed=5).state_dict(), tmp_path / "weights.pt")
    start = choose("regnetx_200mf")
    network = fit_to_images(start.network, channels=1, num_classes=10)
    initial = build_initial_model(start, network, str(tmp_path / "weights.pt"), RECIPE, 0)
    trained = create_model("regnetx_200mf", seed=5).state_dict()
    changed = set(trained) - same(initial.model, trained)
    assert changed == {"stem.conv.weight", *CLASSIFIER}
    torch.testing.assert_close(
        initial.model.state_dict()["stem.conv.weight"], trained["stem.conv.weight"].sum(1, keepdim=True)
    )
    assert initial.source == f"regnetx_200mf, {tmp_path / 'weights.pt'}"
    assert "unknown" in initial.licence


def test_weights_do_not_fit_a_stem_of_another_shape(folder):
    start = choose(str(folder))
    network = fit_to_images(NETWORK, 3, 6, stem="deep")
    assert build_initial_model(start, network, None, RECIPE, 0).model.network == network
    with pytest.raises(InputError, match="weights for the stem imagenet do not fit the stem deep"):
        build_initial_model(start, network, True, RECIPE, 0)
    with pytest.raises(InputError, match="unknown stem 'vit'"):
        fit_to_images(NETWORK, 3, 6, stem="vit")


def test_a_network_of_a_run_need_not_be_trained(tmp_path):
    run = make_run(tmp_path / "run", n=2)
    population = run.population()
    start = choose(None, run.path, id_=population.ids[1])
    assert start.network == population[1]
    assert (start.name, start.id) == (f"AnyNetXA {population.ids[1]}", population.ids[1])
    with pytest.raises(InputError, match="no trained networks, so none of rank 1"):
        choose(None, run.path)
    with pytest.raises(InputError, match="has no network 'abc'"):
        choose(None, run.path, id_="abc")
    with pytest.raises(InputError, match="by rank or by id"):
        choose(None, run.path, 1, population.ids[1])
    with pytest.raises(InputError, match="is not done but waiting"):
        build_initial_model(start, start.network, True, RECIPE, 0)


def test_exactly_one_of_model_and_run_must_be_given(folder, tmp_path):
    for arguments in ((None, None), ("resnet50", tmp_path)):
        with pytest.raises(InputError, match=r"either model=... or run=... must be given"):
            choose(*arguments)
    with pytest.raises(InputError, match=r"is not a model folder .*for a run: run="):
        choose(str(tmp_path))
    with pytest.raises(InputError, match="if it is a file of weights: model=<name of the network> weights="):
        choose(str(folder / "network.json"))
    with pytest.raises(InputError, match="is not a model folder"):
        choose("runs/nothing")
    with pytest.raises(InputError, match="is not a run folder"):
        choose(None, folder)


def test_the_module_has_the_regularisation_of_the_recipe():
    recipe = dataclasses.replace(RECIPE, zero_init_residual=True)
    model = build_initial_model(choose("resnet50"), NETWORK, None, recipe, 0).model
    assert not model.stages[0][0].transform.conv3.norm.weight.any()


def test_another_process_finds_the_same_weights(folder, tmp_path):
    for model, weight_source in (("regnetx_200mf", None), ("regnetx_200mf", "timm"), (str(folder), True)):
        start = choose(model)
        restored = Start.from_dict(json.loads(json.dumps(start.to_dict(weight_source))), start.network)
        assert restored == (dataclasses.replace(start, folder=start.folder if weight_source else None), weight_source)
    run = make_run(tmp_path / "run", n=2)
    start = choose(None, run.path, id_=run.ids()[1])
    assert Start.from_dict(start.to_dict(True), start.network) == (start, True)
    assert Start.from_dict(start.to_dict(None), start.network) == (Start(start.name, start.network), None)
    for damaged in ({}, {**start.to_dict(True), "weights": 3}, {**start.to_dict(True), "folder": 1}):
        with pytest.raises(InputError):
            Start.from_dict(damaged, start.network)
