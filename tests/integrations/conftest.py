"""A trained network for all frameworks, and a local server instead of Hugging Face's hub.

`originals` makes torchvision importable, which timm and segmentation_models_pytorch import.
"""

import subprocess
import sys
from pathlib import Path

import huggingface_hub
import originals  # noqa: F401
import pytest
import torch
from sweep_runs import launch, make_run

import designspace
from designspace.library.saved import write_model

TESTS = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _seed_and_one_thread(one_thread):
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def trained(once, data_root):
    """A folder with a run of two trained networks, ``run``, and its best one as a model folder, ``best``."""

    def make(folder):
        launch(make_run(folder / "run", n=2, epochs=1), data_root)
        best = designspace.load(folder / "run")
        write_model(folder / "best", best, best.weights)

    return once("integrations", make)


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    """The address of a server, and the folder of its repositories."""
    root = tmp_path_factory.mktemp("hub")
    command = [sys.executable, str(TESTS / "hub_server.py"), str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        yield server.stdout.readline().strip(), root
        server.terminate()


@pytest.fixture
def at_hub(hub, monkeypatch, tmp_path):
    """Make the hub's library talk to the server, with an empty cache; return the folder of the repositories."""
    address, root = hub
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    monkeypatch.setattr(
        huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    return root
