import json

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import designspace as ds
from designspace.analysis import Results
from designspace.networks.network import Network, Stage, Stem
from designspace.spaces.axes import choice, log_uniform, powers_of_two
from designspace.spaces.constraints import Band, Cap
from designspace.spaces.description import space_from_dict
from designspace.spaces.space import AnyNetAxes, DesignSpace
from designspace.spaces.template import Template
from designspace.support.checks import number, plain, whole
from designspace.support.errors import InputError
from designspace.trials.trial import EpochRecord, TrialResult

SETTINGS = {"stem": "cifar", "resolution": 28, "in_channels": 1, "num_classes": 10, "flops": [2e6, 3.5e6]}
INTEGER_TYPES = [np.int64, np.int8, np.uint32, np.array, torch.tensor, lambda value: pd.Series([value]).iloc[0]]


@pytest.mark.parametrize("kind", INTEGER_TYPES)
def test_whole_numbers_of_every_library_are_ints(kind):
    assert type(whole("n", kind(5), 1)) is int
    with pytest.raises(InputError, match=r"n must be a whole number >= 6, not 5"):
        whole("n", kind(5), 6)


@pytest.mark.parametrize(
    "value", [True, np.True_, torch.tensor(True), 5.0, np.float64(5), "5", None, [5], np.array([5])]
)
def test_other_values_are_rejected_as_whole_numbers(value):
    with pytest.raises(InputError, match="n must be a whole number from 1 to 9, not"):
        whole("n", value, 1, 9)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16, np.array, torch.tensor, float, int])
def test_numbers_of_every_library_become_plain_numbers(kind):
    assert json.dumps(number("lr", kind(2), 0)) in ("2", "2.0")


@pytest.mark.parametrize("value", [np.nan, np.inf, np.float32("inf"), True, np.False_, "0.1", None, 2j])
def test_other_values_are_rejected_as_finite_numbers(value):
    with pytest.raises(InputError, match="lr must be a number >= 0, not"):
        number("lr", value, 0)


def test_plain_leaves_other_values_unchanged():
    values = ["text", None, [1], np.arange(3), pd.Series([1, 2])]
    assert all(plain(value) is value for value in values)


def test_a_network_with_numpy_numbers_equals_one_with_python_numbers():
    def network(whole, real):
        stage = Stage(whole(2), whole(16), whole(2), real(0.5), whole(8))
        return Network(Stem("cifar", whole(8)), (stage,), "bottleneck", real(0.25), whole(2), num_classes=whole(10))

    expected = network(int, float)
    for kinds in ((np.int64, np.float64), (np.uint8, np.float32), (np.array, np.array)):
        assert network(*kinds) == expected
        assert network(*kinds).id == expected.id


def test_a_space_with_numpy_numbers_equals_one_with_python_numbers():
    settings = {key: np.int64(value) if isinstance(value, int) else value for key, value in SETTINGS.items()}
    settings["flops"] = np.array(SETTINGS["flops"])
    space = ds.space("RegNetX", **settings)
    assert space == ds.space("RegNetX", **SETTINGS)
    assert yaml.safe_dump(space.to_dict()) == yaml.safe_dump(ds.space("RegNetX", **SETTINGS).to_dict())
    assert space.sample(n=np.int64(2), seed=np.int64(1)) == space.sample(n=2, seed=1)
    arrays = {"strides": np.array([1, 2]), "group_width": pd.Series([8, 16]), "radix": np.arange(3)}
    lists = {"strides": [1, 2], "group_width": [8, 16], "radix": range(3)}
    assert ds.space("AnyNetXA", stages=np.int8(2), **arrays) == ds.space("AnyNetXA", stages=2, **lists)


def test_axes_and_constraints_accept_numpy_numbers():
    axes = AnyNetAxes(
        log_uniform(np.int64(1), np.int64(8)),
        powers_of_two(np.int64(8), np.int64(64)),
        choice([1]),
        choice(np.array([8])),
    )
    band, cap = Band("flops", np.float32(1e6), np.int64(10**8)), Cap("params", np.float64(1e6), np.float32(0.5), 1)
    space = DesignSpace("Mine", axes, Template(strides=(np.int64(2), np.int64(2))), constraints=(band, cap))
    assert space_from_dict(yaml.safe_load(yaml.safe_dump(space.to_dict()))) == space


def test_recipes_and_results_hold_plain_numbers():
    recipe = ds.Recipe(epochs=np.int64(1), lr=np.float64(0.1), flip=np.True_, train_images=np.uint16(500))
    assert recipe == ds.Recipe(epochs=1, lr=0.1, flip=True, train_images=500)
    json.dumps(recipe.to_dict())
    record = EpochRecord(np.int64(1), np.float32(0.5), np.float64(1), torch.tensor(50.0), np.float32(50), 1.0)
    assert json.dumps(record.test_error) == "50.0"
    assert json.dumps(TrialResult.of_history((record,), "cpu").final_error) == "50.0"
    with pytest.raises(InputError, match="flip must be true or false, not 1"):
        ds.Recipe(flip=np.int64(1))


def test_small_numpy_integers_do_not_overflow():
    network = Network(Stem("cifar", 8), (Stage(1, 16, 2, 1, 8),))
    assert ds.complexity(network, np.uint8(224)) == ds.complexity(network, 224)


def test_results_accept_numpy_numbers():
    results = Results.from_errors("m", [20.0, 30.0], np.int64(10))
    assert results.chance_error == 90
    assert len(results.best(np.int64(1))) == 1
    assert results.mean_of_repeats(np.int64(1)).counts.done == 2
