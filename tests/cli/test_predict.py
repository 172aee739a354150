"""`python -m designspace.predict`: the classes of images without labels."""

import data_sets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sweep_runs import launch, make_run

import designspace
from designspace import data, predict
from designspace.data.image_folder import prepare_image, read_image
from designspace.library.prediction import list_images
from designspace.library.prediction import predict as predict_classes

# Python 3.12 and later warn about forking a process with threads, as torch's loader does.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture(scope="module")
def trained(once, data_root):
    """A run with three trained networks."""

    def make(folder):
        launch(make_run(folder / "run", n=3, epochs=1), data_root)

    return once("predictions", make) / "run"


@pytest.fixture
def photos(tmp_path, data_root):
    """A folder with images of the data set, some in a folder below, and a file that is none."""
    images = data.load("patterns", data_root).test_images
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number in range(12):
        path = folder / ("more" if number % 3 == 0 else "") / f"{number:02}.png"
        Image.fromarray(images[number].transpose(1, 2, 0)).save(path)
    (folder / "notes.txt").write_text("no image")
    return folder


def run_command(capsys, *arguments):
    """Run the command in this process; return its exit code, output and error output."""
    return data_sets.run_command(capsys, "predict", predict.run, "device=cpu", "workers=0", *arguments)


def test_a_folder_of_images(trained, photos, tmp_path, capsys):
    to = tmp_path / "out.csv"
    code, output, errors = run_command(capsys, f"model={trained}", f"images={photos}", f"to={to}", "top=3")
    assert code == 0, errors
    table = pd.read_csv(to)
    assert list(table.columns[:5]) == ["image", "class", "probability", "class_2", "probability_2"]
    assert sorted(table["image"]) == sorted(str(path.relative_to(photos)) for path in photos.rglob("*.png"))
    model = designspace.load(trained)
    preset = model.weights.preset
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (preset.mean, preset.std))
    for row in table.itertuples():
        pixels = torch.tensor(prepare_image(read_image(photos / row.image), preset))
        with torch.no_grad():
            probabilities = model(((pixels / 255 - mean) / std)[None]).softmax(1)[0]
        best = probabilities.argsort(descending=True)[:3].tolist()
        assert [row[2], row[4], row[6]] == [model.weights.classes[number] for number in best]
        np.testing.assert_allclose([row[3], row[5], row[7]], probabilities[best], atol=1e-3)
    assert f"predictions of 12 images are in {to}" in output
    counted = {line.rsplit(maxsplit=1)[0]: int(line.split()[-1]) for line in output.splitlines()[1:-1]}
    assert counted == table["class"].value_counts().to_dict()


def test_one_image_and_every_name_of_a_model(trained, photos, tmp_path, capsys):
    best = tmp_path / "best"
    designspace.library.saved.write_model(best, model := designspace.load(trained), model.weights)
    texts = []
    for source in (trained, f"run:{trained}", best):
        image = photos / "01.png"
        assert run_command(capsys, f"model={source}", f"images={image}", f"to={tmp_path / 'one.csv'}")[0] == 0
        texts.append((tmp_path / "one.csv").read_text())
    assert len(set(texts)) == 1
    assert texts[0].splitlines()[1].startswith("01.png,pattern ")


def test_unreadable_images_are_reported_and_the_others_written(trained, photos, tmp_path, capsys):
    (photos / "broken.png").write_bytes(b"not an image")
    to = tmp_path / "out.csv"
    code, _, errors = run_command(capsys, f"model={trained}", f"images={photos}", f"to={to}")
    assert code == 1
    assert "1 of 13 images cannot be read and have no row:" in errors
    assert "broken.png: it is not an image that Pillow can read" in errors
    assert len(pd.read_csv(to)) == 12


def test_other_files_are_not_replaced(trained, photos, tmp_path, capsys):
    to = tmp_path / "mine.csv"
    to.write_text("a,b\n")
    code, _, errors = run_command(capsys, f"model={trained}", f"images={photos}", f"to={to}")
    assert code != 0
    assert "exists and has no predictions; choose another file with to=..." in errors
    assert to.read_text() == "a,b\n"


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("nothing", "is neither an image nor a folder of images"),
        ("empty", "there are no images in .*empty or below it"),
    ],
)
def test_missing_images_are_reported(images, message, trained, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    code, _, errors = run_command(capsys, f"model={trained}", f"images={tmp_path / images}", f"to={tmp_path / 'x.csv'}")
    assert code != 0
    assert pd.Series([errors]).str.contains(message).all()
    assert not (tmp_path / "x.csv").exists()


def test_models_without_names_of_classes_predict_numbers(trained, photos):
    model = designspace.load(trained)
    model.weights = None
    predictions = predict_classes(model, list_images(photos), top=100, workers=0)
    assert predictions.probabilities.shape == (12, 10)
    assert {name for row in predictions.classes for name in row} == {str(number) for number in range(10)}
