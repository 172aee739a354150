import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designspace.networks import catalog
from designspace.support.errors import InputError, RunError
from designspace.trials.training_folder import Question, TrainingFolder
from designspace.trials.trial import EpochRecord, Recipe

QUESTION = Question(catalog.get("regnetx_200mf"), Recipe(), 0, "first weights")
numbers = st.floats(0, 100)


@pytest.fixture
def folder(tmp_path):
    return TrainingFolder(tmp_path / "out")


def test_the_same_question_is_asked_once(folder):
    folder.check(QUESTION)
    assert not folder.path.exists()
    folder.ask(QUESTION, {"command": "the first"})
    written = (folder.path / "train.json").read_bytes()
    folder.ask(QUESTION, {"command": "the second"})
    assert (folder.path / "train.json").read_bytes() == written
    assert folder.provenance() == {"command": "the first"}
    assert json.loads(written)["recipe"] == Recipe().to_dict()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"weights": "timm"}, "weights is 'first weights' there and 'timm' here"),
        ({"network": catalog.get("resnet50")}, f"network is '{QUESTION.network.id}' there and"),
        ({"recipe": Recipe(lr=0.2, epochs=3)}, r"recipe.epochs is 10 there and 3 here; recipe.lr is 0.1 there"),
    ],
)
def test_another_question_is_refused(folder, change, words):
    folder.ask(QUESTION, {})
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    with pytest.raises(InputError, match=f"holds another training .*{words}"):
        folder.ask(dataclasses.replace(QUESTION, **change), {})
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before


def test_a_recipe_of_an_earlier_version_is_the_same(folder):
    folder.ask(QUESTION, {})
    path = folder.path / "train.json"
    held = json.loads(path.read_text())
    del held["recipe"]["ema_decay"]
    path.write_text(json.dumps(held))
    folder.check(QUESTION)
    with pytest.raises(InputError, match=r"recipe.ema_decay is 0.0 there and 0.9 here"):
        folder.check(dataclasses.replace(QUESTION, recipe=Recipe(ema_decay=0.9)))


def test_a_folder_of_something_else_is_left_alone(folder):
    folder.path.mkdir()
    (folder.path / "claim.1.json").write_text("{}")  # of a process that is about to ask
    folder.check(QUESTION)
    (folder.path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="holds no training but other files; choose another folder with out="):
        folder.ask(QUESTION, {})
    with pytest.raises(InputError, match="is a file"):
        TrainingFolder(folder.path / "thesis.tex").check(QUESTION)
    assert sorted(path.name for path in folder.path.iterdir()) == ["claim.1.json", "thesis.tex"]


@pytest.mark.parametrize("text", ["{}", "[]", '{"format": 2, "recipe": {}}', "nonsense"])
def test_an_edited_question_is_an_error(folder, text):
    folder.path.mkdir()
    (folder.path / "train.json").write_text(text)
    with pytest.raises(RunError, match=r"train\.json"):
        folder.check(QUESTION)


def test_a_seed_must_be_one():
    with pytest.raises(InputError, match="seed must be a whole number >= 0, not -1"):
        dataclasses.replace(QUESTION, seed=-1)


@given(st.lists(st.tuples(numbers, numbers, numbers, numbers, numbers, st.none() | numbers)))
def test_epochs_come_back_as_they_were(tmp_path_factory, rows):
    folder = TrainingFolder(tmp_path_factory.mktemp("out"))
    history = tuple(EpochRecord(epoch, *row) for epoch, row in enumerate(rows, start=1))
    folder.write_history(history)
    assert folder.read_history() == history


def test_an_edited_history_is_an_error(folder):
    folder.path.mkdir()
    assert folder.read_history() == ()
    folder.history.write_text("epoch,loss\n1,2\n")
    with pytest.raises(RunError, match=r"history\.csv does not hold epochs"):
        folder.read_history()


def test_an_epoch_in_words():
    record = EpochRecord(3, 0.1, 1.25, 40.0, 50.0, 2.0)
    assert record.in_words(10) == "epoch 3/10: loss 1.2500, train error 40.00%, test error 50.00%, 2.0 s"
    assert "train error 40.00%, held-out error 45.00%, test" in dataclasses.replace(record, heldout_error=45).in_words(
        10
    )
