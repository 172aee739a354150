"""The wheel in an empty environment, as a user installs it: `make dist` builds it and runs these tests.

The environment has neither this checkout nor its development tools. Commands run in an empty folder.
"""

import os
import subprocess
import tarfile
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
SPACE = """\
name: Mine
family: anynet
axes:
  depth: {kind: uniform, low: 1, high: 2}
  width: {kind: log_uniform, low: 8, high: 32, step: 8}
  bottleneck_ratio: {kind: choice, values: [1]}
  cardinality: {kind: choice, values: [1]}
  kernel_size: {kind: choice, values: [3, 5]}
template: {stem: {kind: cifar, width: 8}, strides: [1, 2], block: "own_block:Depthwise"}
"""
BLOCK = """\
from torch import nn

class Depthwise(nn.Sequential):
    def __init__(self, in_width, width, stride, kernel_size=5):
        super().__init__(
            nn.Conv2d(in_width, in_width, kernel_size, stride, kernel_size // 2, groups=in_width, bias=False),
            nn.Conv2d(in_width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
"""


def only(pattern):
    """Return the one file in dist/ that matches."""
    [path] = (ROOT / "dist").glob(pattern)
    return path


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The folder of programs of an empty environment in which the wheel is installed."""
    folder = tmp_path_factory.mktemp("installed") / "environment"
    venv.create(folder, with_pip=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "-q", "--constraint", ROOT / "constraints.txt"]
    subprocess.run([*pip, only("*.whl")], check=True)
    return folder / "bin"


@pytest.fixture(scope="module")
def run(environment, tmp_path_factory):
    """Return a function that runs a program of the environment in a folder with images and a space, and its output."""
    folder = tmp_path_factory.mktemp("anywhere")
    (folder / "mine.yaml").write_text(SPACE)
    (folder / "own_block.py").write_text(BLOCK)
    make_images(folder / "images")
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DESIGNSPACE", "VIRTUAL"))
    }
    variables = {**kept, "DESIGNSPACE_DATA": str(folder / "data"), "PATH": f"{environment}:{os.environ['PATH']}"}

    def run(*words: str) -> str:
        finished = subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout

    run.folder = folder
    return run


def make_images(folder):
    """Write some images of two classes: dark ones and bright ones."""
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for name, brightness in (("dark", 0), ("bright", 128)):
            (folder / split / name).mkdir(parents=True)
            for number in range(20):
                pixels = brightness + random.integers(0, 128, (16, 16, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(folder / split / name / f"{number}.png")


def test_the_code_is_that_of_the_wheel(run, environment):
    assert run("python", "-c", "import designspace; print(designspace.__file__)").startswith(str(environment.parent))


def test_version_and_overview(run):
    import designspace

    assert run("designspace", "--version").split() == ["network-design-spaces", designspace.__version__]
    assert "sample" in run("designspace", "--help")


def test_every_command_has_its_configs(run):
    from designspace.__main__ import commands

    for name in commands():
        assert "key=value" in run("designspace", name, "--help")


def test_a_study_of_an_own_block_on_own_images(run):
    run("designspace", "prepare", "from=images", "name=mine", "size=16")
    run("designspace", "sample", "file=mine.yaml", "data=mine", "n=4")
    run("designspace", "launch", "run=runs/Mine", "recipe=quick", "recipe.epochs=2", "recipe.batch_size=10")
    run("designspace", "status", "run=runs/Mine")
    run("designspace", "analyze", "runs=runs/Mine")
    assert "<svg" in (run.folder / "runs/Mine/report.html").read_text()
    run("designspace", "export", "run=runs/Mine", "to=best")
    assert run("python", "-c", "import designspace; print(designspace.load('best').network.num_classes)") == "2\n"
    assert (run.folder / "best" / "code" / "own_block.py").read_text() == BLOCK


def test_kernels_are_built(run):
    assert (
        run("python", "-c", "from designspace.models.cpu import kernels; print(kernels.library() is not None)")
        == "True\n"
    )


def test_hub_loads_from_the_sdist(run, tmp_path):
    with tarfile.open(only("*.tar.gz")) as archive:
        archive.extractall(tmp_path, filter="data")
    [folder] = tmp_path.iterdir()
    program = (
        f"import torch; print(len(list(torch.hub.load({str(folder)!r}, 'regnetx_200mf', source='local').parameters())))"
    )
    assert int(run("python", "-c", program)) > 50
