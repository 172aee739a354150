"""Training on several devices, with real processes on the CPU; tests that need GPUs are marked."""

import copy
import dataclasses
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from batches import train_batch
from torch.nn import functional

from designspace.support.errors import InputError, RunError
from designspace.training import (
    DeviceData,
    Diverged,
    Interrupted,
    RankCrashed,
    evaluate,
    failure_of,
    train,
    train_on_devices,
)
from designspace.training.distributed import _sendable
from designspace.training.loop import _derived_seed, initial_model
from designspace.training.optimiser import learning_rate, make_optimiser
from designspace.training.ranks import Ranks
from designspace.training.scoring import scoring_of
from designspace.training.shard import Shard


def without_times(history):
    return [dataclasses.replace(record, wall_s=0.0) for record in history]


def run(network, recipe, data, **options):
    """Return the history and the result of a trial."""
    histories = []
    result = train_on_devices(network, recipe, data, on_epoch=histories.append, **options)
    return without_times(histories[-1]), result


def on_devices(recipe, devices, **fields):
    return dataclasses.replace(recipe, devices=devices, **fields)


def weights(checkpoint):
    """Return the module's tensors in a checkpoint."""
    return torch.load(checkpoint, weights_only=True)["model"]


class WatchedRun:
    """Records the processes of the ranks after each epoch, and then calls ``after_epoch`` with itself."""

    def __init__(self, after_epoch=None):
        self.after_epoch = after_epoch
        self.pids = []
        self.epochs = 0
        self.stop = False

    def should_stop(self):
        return self.stop

    def on_epoch(self, history):
        self.epochs = len(history)
        self.pids = {child.name[:6]: child.pid for child in multiprocessing.active_children()}
        if self.after_epoch:
            self.after_epoch(self)

    def all_have_ended(self):
        assert self.pids
        return not any(Path(f"/proc/{pid}").exists() for pid in self.pids.values())


def test_one_device_gives_the_same_weights_as_train_bit_for_bit(network, recipe, data, tmp_path):
    recipe = on_devices(recipe, 1, epochs=2)
    histories = []
    train(network, recipe, data, seed=5, checkpoint=tmp_path / "one.pt", on_epoch=histories.append)
    history, result = run(network, recipe, data, seed=5, checkpoint=tmp_path / "two.pt")
    assert history == without_times(histories[-1])
    assert (result.device, result.epochs) == ("cpu", 2)
    expected = weights(tmp_path / "one.pt")
    assert all(torch.equal(weight, expected[name]) for name, weight in weights(tmp_path / "two.pt").items())


@pytest.mark.parametrize("fields", [{}, {"frozen_stages": 1, "layer_decay": 0.5}])
def test_two_devices_average_their_gradients(network, recipe, data, tmp_path, fields):
    """The weights are compared with those of two modules in one process, whose gradients are averaged explicitly.

    They are in float64: where a number before a ReLU is close to 0, rounding decides on which side it is.
    """
    recipe = on_devices(recipe, 2, epochs=2, **fields)
    history, result = run(network, recipe, data, checkpoint=tmp_path / "checkpoint.pt")
    assert result.device == "2 x cpu"

    images = DeviceData.of(data)
    models = [initial_model(network, recipe, 0).double()]
    models[0].stem.requires_grad_(not recipe.frozen_stages)
    models.append(copy.deepcopy(models[0]))
    optimisers = [make_optimiser(model, recipe) for model in models]
    for epoch in (1, 2):
        generator = torch.Generator().manual_seed(_derived_seed(0, network.id, epoch))
        order = torch.randperm(70, generator=generator)
        losses, wrong = [], 0
        for step in range(4):
            batch, labels = train_batch(images, order[16 * step : 16 * step + 16], recipe, generator)
            for model, part in zip(models, (slice(0, 8), slice(8, 16)), strict=True):
                model.train().stem.train(not recipe.frozen_stages)
                logits = model(batch[part].double())
                loss = functional.cross_entropy(logits, labels[part], label_smoothing=0.1)
                model.zero_grad()
                loss.backward()
                losses.append(loss.item())
                wrong += int((logits.argmax(1) != labels[part]).sum())
            for pair in zip(*(model.parameters() for model in models), strict=True):
                if not pair[0].requires_grad:
                    continue
                mean = (pair[0].grad + pair[1].grad) / 2
                for parameter in pair:
                    parameter.grad = mean.clone()
            for optimiser in optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = group["lr_scale"] * learning_rate(recipe, 4 * (epoch - 1) + step, 4)
                optimiser.step()
        assert history[epoch - 1].train_loss == pytest.approx(sum(losses) / 8, rel=1e-5)
        assert history[epoch - 1].train_error == pytest.approx(100 * wrong / 64)
        assert history[epoch - 1].test_error == pytest.approx(evaluate(copy.deepcopy(models[0]).float(), images))
    trained = weights(tmp_path / "checkpoint.pt")
    for name, expected in models[0].state_dict().items():
        torch.testing.assert_close(trained[name], expected.to(trained[name]), rtol=1e-5, atol=1e-5, msg=name)


def test_a_resumed_training_on_devices_equals_an_uninterrupted_one_bit_for_bit(network, recipe, data, tmp_path):
    """There are three devices because the sum of three numbers depends on their order."""
    recipe = on_devices(recipe, 3, epochs=3, batch_size=18)
    data = dataclasses.replace(
        data, train_images=np.tile(data.train_images, (4, 1, 1, 1)), train_labels=np.tile(data.train_labels, 4)
    )  # so that an epoch takes long enough to be interrupted
    history, result = run(network, recipe, data, checkpoint=tmp_path / "whole.pt")
    watch = WatchedRun(lambda watch: setattr(watch, "stop", watch.epochs == 1))
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(Interrupted):
        train_on_devices(network, recipe, data, checkpoint=path, on_epoch=watch.on_epoch, should_stop=watch.should_stop)
    assert watch.all_have_ended()
    histories = []
    resumed = train_on_devices(network, recipe, data, checkpoint=path, on_epoch=histories.append)
    assert len(histories[0]) < 3
    assert len(histories) == 3 - len(histories[0]) + 1
    assert without_times(histories[-1]) == history
    assert resumed.final_error == result.final_error
    expected = weights(tmp_path / "whole.pt")
    assert all(torch.equal(weight, expected[name]) for name, weight in weights(path).items())
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_devices_measure_an_own_metric_on_all_images_together(network, recipe, data, tmp_path):
    fields = {"label_smoothing": 0.0, "loss": "own_objective:Focal", "metric": "own_objective:recall"}
    recipe = on_devices(recipe, 2, epochs=1, heldout_images=9, **fields)
    history, result = run(network, recipe, data, checkpoint=tmp_path / "checkpoint.pt")
    model = initial_model(network, recipe, 0)
    model.load_state_dict(weights(tmp_path / "checkpoint.pt"))
    images = DeviceData.of(data)
    expected = evaluate(model, images, scoring=scoring_of(recipe, images))
    assert history[0].test_error == result.final_error == expected
    assert history[0].train_error is None
    assert 0 <= result.heldout_error <= 1


@pytest.mark.parametrize("victim", ["rank 0", "rank 1"])
def test_a_killed_rank_is_named_and_all_processes_end(network, recipe, data, victim):
    watch = WatchedRun(lambda watch: watch.epochs == 1 and os.kill(watch.pids[victim], signal.SIGKILL))
    with pytest.raises(RankCrashed, match=f"^{victim} of 2 ended with SIGKILL$") as caught:
        train_on_devices(network, on_devices(recipe, 2, epochs=100_000), data, on_epoch=watch.on_epoch)
    assert watch.all_have_ended()
    failure = failure_of(caught.value, 1)
    assert (failure.reason, failure.detail) == ("worker died", f"{victim} of 2 ended with SIGKILL")


def test_a_terminated_rank_interrupts_the_trial(network, recipe, data):
    watch = WatchedRun(lambda watch: watch.epochs == 1 and os.kill(watch.pids["rank 1"], signal.SIGTERM))
    with pytest.raises(Interrupted, match="rank 1 of 2 was terminated"):
        train_on_devices(network, on_devices(recipe, 2, epochs=100_000), data, on_epoch=watch.on_epoch)
    assert watch.all_have_ended()


def test_the_error_of_a_rank_is_raised_and_the_others_end(network, recipe, data, tmp_path):
    """Only rank 0 writes, so the other one would wait for it forever."""
    (tmp_path / "file").write_text("")
    path = tmp_path / "folder" / "checkpoint.pt"
    path.parent.symlink_to(tmp_path / "nowhere")
    watch = WatchedRun()
    with pytest.raises(RunError, match="cannot write") as caught:
        train_on_devices(network, on_devices(recipe, 2), data, checkpoint=path, on_epoch=watch.on_epoch)
    assert "In rank 0 of 2:" in caught.value.__notes__[0]
    assert not multiprocessing.active_children()


def test_divergence_ends_all_ranks(network, recipe, data):
    with pytest.raises(Diverged, match=r"^the training loss of epoch \d is (nan|inf)") as caught:
        train_on_devices(network, on_devices(recipe, 2, lr=1e20), data)
    assert failure_of(caught.value, 0).reason == "diverged"
    assert not multiprocessing.active_children()


def test_stopping_while_the_ranks_still_start_ends_them(network, recipe, data):
    with pytest.raises(Interrupted):
        train_on_devices(network, on_devices(recipe, 2, epochs=100_000), data, should_stop=lambda: True)
    assert not multiprocessing.active_children()


def test_ranks_end_with_their_parent(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing, pathlib, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from stripes import stripes\n"
        "from designspace.networks.network import Network, Stage, Stem\n"
        "from designspace.training import train_on_devices\n"
        "from designspace.trials.recipe import Recipe\n"
        "def print_pids(history):\n"
        "    print(*(child.pid for child in multiprocessing.active_children()), flush=True)\n"
        "if __name__ == '__main__':\n"
        "    network = Network(Stem('cifar', 8), (Stage(1, 8, 1, 1, 4),), num_classes=3, in_channels=2)\n"
        "    recipe = Recipe(data='stripes', epochs=100_000, batch_size=16, devices=2)\n"
        "    train_on_devices(network, recipe, stripes(), on_epoch=print_pids)\n"
    )
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen([sys.executable, script], stdout=-1, text=True, env=environment) as process:
        pids = process.stdout.readline().split()
        process.kill()
    assert len(pids) == 2
    deadline = time.monotonic() + 120
    while any(Path(f"/proc/{pid}").exists() for pid in pids) or list(temporary.glob("designspace-*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_trainings_that_devices_cannot_share_are_refused(network, recipe, data):
    with pytest.raises(InputError, match="trains on 2 devices; use train_on_devices"):
        train(network, on_devices(recipe, 2), data)
    with pytest.raises(InputError, match="batch_size 16 is not divisible by devices 3"):
        train_on_devices(network, on_devices(recipe, 3), data)
    with pytest.raises(InputError, match="stripes: a batch of all 7 images cannot be shared by 2 devices"):
        train_on_devices(network, on_devices(recipe, 2, train_images=7), data)
    with pytest.raises(InputError, match="recipe trains on 'cifar', but the data set is 'stripes'"):
        train_on_devices(network, on_devices(recipe, 2, data="cifar"), data)
    with pytest.raises(InputError, match="unknown device 'tpu'; choose from: cpu, cuda"):
        train_on_devices(network, on_devices(recipe, 2), data, device="tpu")
    with pytest.raises(InputError, match=r"stripes has 2 channels and 3 classes, but network .* takes 3 channels"):
        train_on_devices(dataclasses.replace(network, in_channels=3), on_devices(recipe, 2), data)


def test_too_few_gpus_are_an_error(network, recipe, data, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="2 GPUs were requested, but there are 1"):
        train_on_devices(network, on_devices(recipe, 2), data, device="cuda")


class Unpicklable(Exception):
    """An exception that cannot be unpickled, because its constructor takes other arguments."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class UnpicklableMemoryError(Unpicklable, MemoryError):
    pass


@pytest.mark.parametrize(
    ("error", "reason", "detail"),
    [
        (Diverged("the loss is nan"), "diverged", "the loss is nan"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory.\nmore"), "out of memory", "CUDA out of memory."),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory", "can't allocate memory"),
        (UnpicklableMemoryError("a", "b"), "out of memory", "UnpicklableMemoryError: a and b"),
        (Unpicklable("a\nb", "c"), "error", "Unpicklable: a"),
        (KeyError("name"), "error", "KeyError: 'name'"),
    ],
)
def test_exceptions_sent_by_ranks_give_the_same_failure(error, reason, detail):
    received = pickle.loads(pickle.dumps(_sendable(error, Ranks(1, 2))))
    failure = failure_of(received, 3)
    assert failure.reason == reason
    assert detail in failure.detail
    assert "\n" not in failure.detail
    assert received.__notes__[0].startswith("In rank 1 of 2:\n")


@pytest.mark.parametrize(("count", "world"), [(33, 2), (8, 8), (5, 8), (1000, 3)])
def test_every_item_belongs_to_one_device(count, world):
    items = list(range(count))
    assert [item for rank in range(world) for item in items[Shard(rank, world).part(count)]] == items


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_learn_and_resume(network, recipe, data, tmp_path):
    recipe = on_devices(recipe, 2, epochs=8)
    history, result = run(network, recipe, data, device="cuda", checkpoint=tmp_path / "checkpoint.pt")
    assert result.device == f"2 x {torch.cuda.get_device_name(0)}"
    assert result.final_error < 34
    repeated, _ = run(network, recipe, data, device="cuda", checkpoint=tmp_path / "checkpoint.pt")
    assert repeated == history
