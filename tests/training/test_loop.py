import dataclasses
import math

import numpy as np
import pytest
import torch
from batches import train_batch
from torch import nn
from torch.nn import functional

import designspace
from designspace.models import AnyNet
from designspace.support.errors import InputError
from designspace.training import DeviceData, Diverged, Interrupted, evaluate, train, train_model
from designspace.training.loop import _derived_seed


def without_times(history):
    return [dataclasses.replace(record, wall_s=0.0) for record in history]


def run(network, recipe, data, **options):
    """Return the history and the result of a trial."""
    histories = []
    result = train(network, recipe, data, on_epoch=histories.append, **options)
    assert [len(history) for history in histories] == list(range(1, recipe.epochs + 1))
    return without_times(histories[-1]), result


def test_training_learns_and_records_every_epoch(network, recipe, data):
    recipe = dataclasses.replace(recipe, epochs=8, crop_padding=0)
    history, result = run(network, recipe, data)
    assert [record.epoch for record in history] == [*range(1, 9)]
    assert history[-1].train_loss < history[0].train_loss
    assert result.final_error == history[-1].test_error < 20
    assert result.best_error == min(record.test_error for record in history)
    assert (result.epochs, result.device) == (8, "cpu")
    assert result.train_s > 0
    # 70 images are 4 steps of 16; the recorded rate is that of an epoch's last step.
    assert [record.lr for record in history] == pytest.approx(
        [0.05 * (1 + math.cos(math.pi * (4 * epoch - 1) / 32)) for epoch in range(1, 9)]
    )


def test_a_repeated_trial_gives_the_same_numbers_whatever_the_global_state(network, recipe, data):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, _ = run(network, recipe, data)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    np.random.seed(3)  # noqa: NPY002
    second, _ = run(network, recipe, DeviceData.of(data))
    other_seed, _ = run(network, recipe, data, seed=1)
    assert first == second
    assert first != other_seed


def test_a_plain_implementation_gives_the_same_weights(network, recipe, data):
    """It uses torch's SGD, one memory layout, one tensor at a time, and only the augmented batches of the package."""
    recipe = dataclasses.replace(recipe, epochs=2, warmup_epochs=0.5)
    images = DeviceData.of(data)
    trained = AnyNet(network, seed=7).double()
    plain = AnyNet(network, seed=7).double().train()
    images = dataclasses.replace(images, mean=images.mean.double(), std=images.std.double())
    as_double = _Double(trained)
    train_model(as_double, recipe, images)

    optimiser = torch.optim.SGD(
        [
            {"params": [parameter], "weight_decay": recipe.weight_decay if parameter.dim() > 1 else 0.0}
            for parameter in plain.parameters()
        ],
        lr=1.0,
        momentum=0.9,
        nesterov=True,
        foreach=False,
    )
    rates = [0.05, 0.1, *(0.05 * (1 + math.cos(math.pi * step / 6)) for step in range(6))]
    for epoch in (1, 2):
        generator = torch.Generator().manual_seed(_derived_seed(0, "_Double", epoch))
        order = torch.randperm(70, generator=generator)
        for step in range(4):
            optimiser.param_groups[0]["lr"] = rates.pop(0)
            for group in optimiser.param_groups:
                group["lr"] = optimiser.param_groups[0]["lr"]
            batch, labels = train_batch(images, order[16 * step : 16 * step + 16], recipe, generator)
            loss = functional.cross_entropy(plain(batch.double().contiguous()), labels, label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    for (name, weight), expected in zip(trained.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(weight, expected, rtol=1e-7, atol=1e-9, msg=name)


class _Double(nn.Module):
    """A module that computes in float64, as a custom module may."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x.double())


def test_train_network_can_return_the_trained_module(network, recipe, data, capsys):
    alone = designspace.train_network(network, recipe, data, seed=np.int64(3))
    histories = []
    result, model = designspace.train_network(
        network, recipe, data, seed=3, on_epoch=histories.append, progress=True, return_model=True
    )
    assert dataclasses.replace(result, train_s=0) == dataclasses.replace(alone, train_s=0)
    assert result.final_error == evaluate(model, DeviceData.of(data))
    assert not model.training
    assert len(histories) == recipe.epochs == len(capsys.readouterr().out.splitlines())


def test_train_model_trains_the_module_in_place(network, recipe, data):
    model = AnyNet(network, seed=1)
    before = model.head.classifier.weight.clone()
    result = train_model(model, recipe, data)
    assert not torch.equal(before, model.head.classifier.weight)
    assert not model.training
    assert evaluate(model, DeviceData.of(data)) == result.final_error


def test_evaluate_counts_every_test_image(network, data):
    data = dataclasses.replace(
        data, test_images=np.tile(data.test_images, (17, 1, 1, 1)), test_labels=np.tile(data.test_labels, 17)
    )  # more than two batches
    model = AnyNet(network, seed=1)
    error = evaluate(model, DeviceData.of(data))
    with torch.no_grad():
        x = (torch.tensor(data.test_images).float() / 255 - 0.4) / 0.2
        wrong = (model(x).argmax(1) != torch.tensor(data.test_labels)).float().mean().item()
    assert error == pytest.approx(100 * wrong)


def test_fewer_images_than_a_batch_are_one_batch(network, recipe, data):
    recipe = dataclasses.replace(recipe, train_images=7, epochs=2)
    history, _ = run(network, recipe, data)
    assert len(history) == 2
    assert (7 * history[0].train_error / 100) == pytest.approx(round(7 * history[0].train_error / 100))


def test_only_the_images_of_the_recipe_are_used(network, recipe, data):
    smaller_recipe = dataclasses.replace(recipe, train_images=40, test_images=9)
    whole_history, _ = run(network, recipe, data)
    history, _ = run(network, smaller_recipe, data)
    assert history != whole_history
    uploaded, _ = run(network, smaller_recipe, DeviceData.of(data.subset(40, 9)))
    assert history == uploaded


def test_data_that_do_not_fit_are_refused(network, recipe, data):
    with pytest.raises(InputError, match="recipe trains on 'fashion_mnist', but the data set is 'stripes'"):
        train(network, dataclasses.replace(recipe, data="fashion_mnist"), data)
    with pytest.raises(InputError, match="recipe has train_images=40, but the data set on cpu has 70"):
        train(network, dataclasses.replace(recipe, train_images=40), DeviceData.of(data))
    with pytest.raises(InputError, match=r"stripes has 2 channels and 3 classes, but network .* takes 3 channels"):
        train(dataclasses.replace(network, in_channels=3), recipe, data)
    with pytest.raises(InputError, match="the data set is on cpu, but the trial is to run on meta"):
        train(network, recipe, DeviceData.of(data), device="meta")


def test_divergence_is_raised(network, recipe, data):
    with pytest.raises(Diverged, match=r"the training loss of epoch \d is (nan|inf)"):
        train(network, dataclasses.replace(recipe, lr=1e20), data)


def test_training_can_be_stopped_before_any_step(network, recipe, data):
    calls = []
    with pytest.raises(Interrupted, match="in epoch 2, before step 3 of 4"):
        train(network, recipe, data, should_stop=lambda: calls.append(0) or len(calls) == 7)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_on_a_gpu_learns_and_resumes(network, recipe, data, tmp_path):
    recipe = dataclasses.replace(recipe, epochs=8)
    history, result = run(network, recipe, DeviceData.of(data, "cuda"), device="cuda")
    assert result.device == torch.cuda.get_device_name()
    assert result.final_error < 34
    path = tmp_path / "checkpoint.pt"
    calls = []
    with pytest.raises(Interrupted):
        train(
            network,
            recipe,
            data,
            device="cuda",
            checkpoint=path,
            should_stop=lambda: calls.append(0) or len(calls) > 20,
        )
    resumed = train(network, recipe, data, device="cuda", checkpoint=path)
    assert resumed.epochs == 8
    assert [record.lr for record in history][-1] > 0
