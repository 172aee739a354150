"""Loading the trained networks of a run."""

import dataclasses
import hashlib
import io
import logging
import os
import shutil

import pytest
import torch
from sweep_runs import CPU, RECIPE, launch, make_run, numbers

import designspace
from designspace import data
from designspace.library.saved import read_model, write_model
from designspace.spaces.population_files import read_population
from designspace.support.errors import InputError, RunError
from designspace.support.files import read_json, write_json
from designspace.trials.claims import is_claim
from designspace.trials.data_note import DataNote, write_note
from designspace.trials.folder import RunFolder
from designspace.trials.trial import TrialFailure

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _images_in_the_default_folder(data_root, monkeypatch):
    """Set the folder of images, because a copied run has no record of another one."""
    monkeypatch.setenv("DESIGNSPACE_DATA", str(data_root))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data_root):
    """A run of four networks, of which two are done, one has failed and one is waiting."""
    run = make_run(tmp_path_factory.mktemp("best") / "run", n=2)
    launch(run, data_root, CPU[:1])
    run.create(read_population(run.path).space.sample(4), {"command": "sample", "commit": "abc"})
    run.trial(run.ids()[2]).write_failure(TrialFailure("diverged", "the loss is nan"))
    return run


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run for tests that change it."""
    shutil.copytree(trained.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def ranked_ids(run):
    gathered = run.gather()
    error, id_ = gathered.header.index("final_error"), gathered.header.index("id")
    done = [row for row in gathered.rows if row[error] is not None]
    return [row[id_] for row in sorted(done, key=lambda row: (row[error], row[id_]))]


def test_the_best_results_can_be_loaded(trained):
    results = designspace.Results.read(trained.path)
    for rank, id_ in enumerate(ranked_ids(trained), start=1):
        assert results.best(2).load(rank).network.id == id_
    assert results.where("final_error < 101").best().load().network.id == ranked_ids(trained)[0]


def test_a_copied_run_finds_its_images_by_its_own_note(run, data_root, monkeypatch, tmp_path):
    """Its launches belong to the run from which it was copied, and do not record the folder of images."""
    monkeypatch.setenv("DESIGNSPACE_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(InputError, match="patterns"):
        designspace.load(run.path)
    write_note(run.path, DataNote("patterns", str(data_root)))
    assert len(designspace.load(run.path).weights.classes) == 10


def test_a_loaded_network_has_the_error_of_its_trial(trained, data_root):
    images = data.load("patterns", data_root, RECIPE.train_images, RECIPE.test_images)
    for rank, id_ in enumerate(ranked_ids(trained), start=1):
        model = designspace.load(trained.path, rank=rank)
        assert model.network.id == id_
        assert not model.training
        preset, result = model.weights.preset, model.weights.about["result"]
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (preset.mean, preset.std))
        prepared = (torch.tensor(images.test_images) / 255 - mean) / std
        with torch.inference_mode():
            wrong = (model(prepared).argmax(1) != torch.tensor(images.test_labels)).sum().item()
        assert 100 * wrong / len(prepared) == result["final_error"]
        assert result["final_error"] == trained.trial(id_).state().result.final_error


def test_the_best_is_the_default_and_an_id_selects_any(trained):
    best, second = ranked_ids(trained)
    assert designspace.load(str(trained.path)).network.id == best
    model = designspace.load(trained.path, id=second)
    assert model.network.id == second
    assert model.weights.about["selection"]["rank"] == 2


def test_weights_are_described(trained, data_root):
    info = designspace.load(trained.path).weights
    assert (info.preset.crop, info.preset.resize, info.preset.mean) == (
        16,
        16,
        data.facts("patterns", data_root).mean,
    )
    assert info.classes[9] == "pattern 9"
    assert info.about["recipe"] == RECIPE.to_dict()
    selection = {"rank": 1, "done": 2, "failed": 1, "unfinished": 1, "trials": 4, "run": "run", "space": "AnyNetXA"}
    assert info.about["selection"] == selection
    assert info.about["provenance"][0] == {"command": "sample", "commit": "abc"}
    assert "256 training images of patterns" in info.origin


def test_a_partly_finished_run_is_logged(trained, run, caplog):
    with caplog.at_level(logging.INFO):
        designspace.load(trained.path)
        designspace.load(trained.path, rank=2)
    assert "best of 2 of 4 trials; others are not finished" in caplog.text
    assert "rank 2 of 2 of 4 trials" in caplog.text
    caplog.clear()
    run.trial(run.ids()[3]).write_failure(TrialFailure("error", "no"))
    with caplog.at_level(logging.INFO):
        designspace.load(run.path)
    assert not caplog.text


def test_ties_are_ranked_by_id(run):
    for id_ in run.ids()[:2]:
        path = run.trial(id_).path / "result.json"
        write_json(path, {**read_json(path), "final_error": 50.0})
    first, second = sorted(run.ids()[:2])
    assert [designspace.load(run.path, rank=rank).network.id for rank in (1, 2)] == [first, second]


def test_errors_list_what_can_be_loaded(trained, tmp_path):
    path, ids = trained.path, trained.ids()
    for options, message in (
        ({"rank": 3}, r"has 2 trained networks, so none of rank 3 \(1 failed, 0 running, 1 waiting\); train more: "),
        ({"rank": 0}, "rank must be a whole number >= 1, not 0"),
        ({"rank": "1"}, "rank must be a whole number >= 1, not '1'"),
        ({"rank": 1, "id": ids[0]}, "choose by rank or by id, not by both"),
        ({"id": "0" * 12}, r"has no network '000000000000'; population\.csv lists the ids of its 4"),
        ({"id": ids[2]}, rf"network {ids[2]} in .* is not done but failed \(diverged: the loss is nan\)"),
        ({"id": ids[3]}, rf"network {ids[3]} in .* is not done but waiting"),
        ({"device": "toaster"}, "device 'toaster' cannot be used"),
    ):
        with pytest.raises(InputError, match=message):
            designspace.load(path, **options)
    with pytest.raises(
        InputError, match=r"has no trained networks, so none of rank 1 \(0 failed, 0 running, 2 waiting"
    ):
        designspace.load(make_run(tmp_path / "new", n=2).path)
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=f"{folder} is neither a run folder .* nor a model folder"):
            designspace.load(folder)


def test_a_deleted_checkpoint_can_be_restored_as_the_error_says(run, data_root):
    best = ranked_ids(run)[0]
    before = designspace.load(run.path).state_dict()
    errors = numbers(run)
    run.trial(best).checkpoint.unlink()
    message = (
        rf"checkpoint\.pt is missing; was it deleted by designspace\.clean\? .* delete .*{best} and resume: python -m"
    )
    with pytest.raises(RunError, match=message):
        designspace.load(run.path)
    shutil.rmtree(run.trial(best).path)
    run.trial(run.ids()[3]).write_failure(TrialFailure("error", "spares the test some seconds"))
    launch(run, data_root, CPU[:1])
    assert numbers(run)[:3] == errors[:3]
    again = designspace.load(run.path).state_dict()
    assert all(torch.equal(again[key], value) for key, value in before.items())


def test_clean_keeps_the_checkpoints_of_the_best_networks(run):
    for id_ in run.ids()[:2]:
        path = run.trial(id_).path / "result.json"
        write_json(path, {**read_json(path), "final_error": 50.0})
    from designspace.sweeps.upkeep import delete, leftovers

    for claim in run.path.glob("trials/*/*"):
        if is_claim(claim.name):
            claim.unlink()
    delete(leftovers(run, keep_best=1), ["checkpoints"])
    designspace.load(run.path)


def test_a_custom_trainer_without_checkpoint_is_an_error(run):
    text = (run.path / "recipe.yaml").read_text()
    (run.path / "recipe.yaml").write_text(text.replace("trainer: null", "trainer: mine:train"))
    for id_ in run.ids()[:2]:
        path = run.trial(id_).path / "result.json"
        write_json(path, {**read_json(path), "asked": ""})
    run.trial(run.ids()[2]).clear_failure()
    with pytest.raises(InputError, match="checkpoint of another training: its recipe."):
        designspace.load(run.path)
    run.trial(ranked_ids(run)[0]).checkpoint.unlink()
    with pytest.raises(RunError, match="to keep the weights, mine:train must write it"):
        designspace.load(run.path)


class MakeFolder:
    """Creates a folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def rewrite_checkpoint(path, change):
    """Change the content of a checkpoint, and make its digest right again."""
    state = torch.load(io.BytesIO(path.read_bytes()[:-32]), weights_only=True)
    change(state)
    file = io.BytesIO()
    torch.save(state, file)
    path.write_bytes(file.getvalue() + hashlib.sha256(file.getvalue()).digest())


def reshape(state):
    state["model"]["head.classifier.bias"] = torch.zeros(3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state.update(evil=MakeFolder()),
            r"checkpoint\.pt is not a checkpoint \(Weights only load failed",
        ),
        (lambda state: state.update(model=[]), "it has no model"),
        (lambda state: state.update(format=7), "has format 7, not 1"),
        (lambda state: state["history"].pop(), "is of epoch 1, not of the last one, 2"),
        (lambda state: state["model"].pop("stem.conv.weight"), "stem.conv.weight is missing"),
        (lambda state: state["model"].update(more=1), "it has 'more', which the network does not have"),
        (
            lambda state: state["model"].update({"stem.norm.bias": 3}),
            "stem.norm.bias is of type int, not torch.float32",
        ),
        (lambda state: state["model"]["stem.norm.bias"].fill_(torch.nan), "stem.norm.bias has NaN"),
        (reshape, r"head.classifier.bias has shape \(3,\), not \(10,\)"),
    ],
)
def test_a_checkpoint_with_wrong_content_is_an_error_and_never_executed(run, change, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rewrite_checkpoint(run.trial(ranked_ids(run)[0]).checkpoint, change)
    with pytest.raises(RunError, match=message) as caught:
        designspace.load(run.path)
    assert "checkpoint.pt" in str(caught.value)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1000], lambda data: b"", lambda data: data[:-5000] + data[-4999:]]
)
def test_a_damaged_checkpoint_is_an_error(run, damage):
    path = run.trial(ranked_ids(run)[0]).checkpoint
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RunError, match=r"checkpoint\.pt is damaged or was cut off"):
        designspace.load(run.path)


def test_a_checkpoint_of_another_trial_is_an_error(run):
    best, second = ranked_ids(run)
    shutil.copy(run.trial(second).checkpoint, run.trial(best).checkpoint)
    with pytest.raises(InputError, match=f"is a checkpoint of another training: its network is {second}, not {best}"):
        designspace.load(run.path)


def test_a_model_folder_is_loaded_without_its_run(run, tmp_path):
    model = designspace.load(run.path)
    write_model(tmp_path / "best", model, model.weights)
    shutil.rmtree(run.path)
    again = designspace.load(tmp_path / "best", device="cpu")
    assert again.weights == model.weights
    assert all(torch.equal(again.state_dict()[key], value) for key, value in model.state_dict().items())
    assert dataclasses.asdict(read_model(tmp_path / "best").weights) == dataclasses.asdict(model.weights)
    with pytest.raises(InputError, match="is a model folder with a single model: leave out rank and id"):
        designspace.load(tmp_path / "best", rank=1)
