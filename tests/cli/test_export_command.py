"""`designspace.export` on the command line, and the folder that it writes."""

import json
import os
import shutil
import subprocess
import sys

import onnxruntime
import pytest
import torch
from data_sets import run_command
from sweep_runs import CPU, launch, make_run

import designspace
from designspace import data
from designspace import export as command
from designspace.trials.folder import RunFolder


@pytest.fixture(scope="module")
def run(once, data_root):
    """A trained run of two networks."""
    return RunFolder(once("export", lambda folder: launch(make_run(folder / "run", n=2), data_root, CPU[:1])) / "run")


def export(*arguments, cwd):
    command = [sys.executable, "-m", "designspace.export", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def fails(finished, code, *texts):
    assert finished.returncode == code, finished.stderr
    assert "Traceback" not in finished.stderr
    for text in texts:
        assert text in finished.stderr


@pytest.fixture(scope="module")
def exported(once, run):
    """The folder of the best network, exported with all options, and the output of the command."""

    def make(folder):
        folder.mkdir()
        finished = export(f"run={run.path}", "to=best", "onnx=true", "torch_export=true", cwd=folder)
        assert finished.returncode == 0, finished.stderr
        assert not finished.stderr
        (folder / "printed.txt").write_text(finished.stdout)

    folder = once("exported", make)
    return folder / "best", (folder / "printed.txt").read_text()


def test_export_prints_where_the_model_is_and_how_to_load_it(run, exported):
    folder, printed = exported
    names = ["README.md", "config.json", "model.onnx", "model.pt2", "network.json", "weights.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == names
    model = designspace.load(folder)
    error = model.weights.about["result"]["final_error"]
    assert f"AnyNetXA {model.network.id} (rank 1 of 2 trained networks, error {error:.2f}%) is in best: " in printed
    assert "model.onnx: its logits differ from torch's by at most" in printed
    assert float(printed.split("differ from torch's by at most ")[1].split()[0]) < 1e-5
    lines = [line.strip() for line in printed.splitlines() if line.startswith("    ")]
    code = "\n".join([*lines, "print(model.network.id)"])
    shown = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=folder.parent, capture_output=True, text=True
    )
    assert shown.stdout.strip() == model.network.id, shown.stderr


def test_the_folder_is_self_contained(run, exported, tmp_path):
    """Moved and without the run, the module, the ONNX file and the exported program give the logits of the trial."""
    moved = shutil.copytree(exported[0], tmp_path / "elsewhere" / "best")
    best, again = designspace.load(run.path), designspace.load(moved)
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = best(images)
        assert torch.equal(again(images), expected)
        torch.testing.assert_close(torch.export.load(moved / "model.pt2").module()(images), expected)
    session = onnxruntime.InferenceSession(moved / "model.onnx", providers=["CPUExecutionProvider"])
    logits = session.run(["logits"], {"images": images.numpy()})[0]
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-4, atol=1e-5)


def test_the_code_in_the_model_card_runs_without_data(exported, tmp_path):
    card = (exported[0] / "README.md").read_text()
    code = card.split("```python\n")[1].split("```")[0].replace("this/folder", str(exported[0]))
    environment = {**os.environ, "DESIGNSPACE_DATA": str(tmp_path / "none")}
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("tensor([")


def test_the_model_card_has_all_facts(run, exported, data_root):
    card, weights = (exported[0] / "README.md").read_text(), designspace.load(run.path).weights
    result, facts = weights.about["result"], data.facts("patterns", data_root)
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (facts.mean, facts.std))
    for text in (
        f"| error after the last epoch | **{result['final_error']:.2f}%** (top-1) |",
        f"| lowest error of any epoch | {result['best_error']:.2f}% |",
        "| measured on | 200 test images of patterns |",
        "| rank | 1 of 2 trained networks |",
        "ranked by their error on these same images, so for the best ones it is too low on average",
        f"subtract the mean {mean} and divide by the standard deviation\n  {std},",
        "9 pattern 9",
        "multiply-adds",
        "Seed 0, 2 epochs",
        "| lr | 0.1 |",
        "trained from scratch on 256 training images of patterns",
        "Licence: yours to choose",
    ):
        assert text in card


def test_any_network_of_the_run_can_be_exported(run, tmp_path):
    best, second = (designspace.load(run.path, rank=rank).network.id for rank in (1, 2))
    assert export(f"run={run.path}", f"id={second}", "to=second", cwd=tmp_path).returncode == 0
    assert designspace.load(tmp_path / "second").network.id == second
    finished = export(f"run={run.path}", "to=second", cwd=tmp_path)
    fails(
        finished, 2, f"second contains another network, {second}; it was not changed. Choose another folder for {best}"
    )
    assert export(f"run={run.path}", "rank=2", "to=second", cwd=tmp_path).returncode == 0  # the same one again


def test_a_published_network_is_exported_in_the_same_way(tmp_path):
    finished = export("model=RegNetX-200MF", "weights=false", "to=x", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert "not trained" in (tmp_path / "x" / "README.md").read_text()
    described = json.loads((tmp_path / "x" / "network.json").read_text())
    assert (described["name"], described["preset"]["crop"]) == ("regnetx_200mf", 224)
    assert designspace.load(tmp_path / "x").network.num_classes == 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["to=a"], "either run=... or model=... must be given"),
        (["to=a", "run=r", "model=resnet50"], "but not both"),
        (["run=nowhere", "to=a"], "nowhere is neither a run folder"),
        (["model=resnet51", "to=a"], "unknown network 'resnet51'; did you mean resnet50"),
        (["run=nowhere"], "to=... must be given"),
        (["run=RUN", "rank=9", "to=a"], "has 2 trained networks, so none of rank 9"),
        (["run=RUN", "id=abc", "to=a"], "has no network 'abc'"),
        (["run=RUN", "id=60e881614052", "to=a"], "has no network '60e881614052'"),  # a number, to Hydra
        (["run=RUN", "to=RUN"], "run is not a model folder; it was not changed"),
    ],
)
def test_bad_input(arguments, message, run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, errors = run_command(
        capsys, "export", command.run, *(word.replace("RUN", str(run.path)) for word in arguments)
    )
    assert code == 2
    assert len(errors.splitlines()) == 1
    assert message in errors
    assert not list(tmp_path.iterdir())


def test_a_damaged_checkpoint_gives_one_message(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "run")
    for checkpoint in (tmp_path / "run").glob("trials/*/checkpoint.pt"):
        checkpoint.write_bytes(checkpoint.read_bytes()[:-10])
    fails(export("run=run", "to=a", cwd=tmp_path), 1, "checkpoint.pt is damaged or was cut off")
    assert not (tmp_path / "a").exists()
