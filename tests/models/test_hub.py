"""The published networks through torch.hub, from an empty folder, where nothing of the project is installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def run(script, folder):
    """Run a script in a folder; it finds torch, but this project only where it looks for it itself."""
    finder = (
        "import sys\n"
        f"sys.path = [p for p in sys.path if p not in ({str(REPOSITORY)!r}, '')]\n"
        "sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]\n"
        "import importlib.util as u\n"
        "found = u.find_spec('designspace')\n"
        "assert found is None or found.loader is None, found  # an empty folder is left of an editable install\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", finder + script]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_checkout_is_a_local_source(tmp_path):
    script = f"""
import torch
model = torch.hub.load({str(REPOSITORY)!r}, "resnest14", source="local", num_classes=7, in_channels=1)
print(tuple(model.eval()(torch.zeros(1, 1, 40, 40)).shape))
"""
    assert run(script, tmp_path) == ["(1, 7)"]


@pytest.fixture
def cached(tmp_path):
    """torch.hub's folder as it is after the repository's main branch has been fetched."""
    folder = tmp_path / "hub" / "somebody_designspace_main"
    folder.mkdir(parents=True)
    shutil.copy(REPOSITORY / "hubconf.py", folder)
    shutil.copytree(REPOSITORY / "designspace", folder / "designspace", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_a_repository_lists_and_explains_its_networks(cached):
    script = f"""
import torch
torch.hub.set_dir({str(cached / "hub")!r})
options = dict(skip_validation=True, trust_repo=True)
print(*torch.hub.list("somebody/designspace:main", verbose=False, **options))
print(torch.hub.help("somebody/designspace:main", "resnest50", **options).splitlines()[0])
model = torch.hub.load("somebody/designspace:main", "regnety_200mf", verbose=False, **options)
print(sum(p.numel() for p in model.parameters()))
"""
    listed, helped, parameters = run(script, cached)
    from designspace.models import list_models

    assert sorted(listed.split()) == sorted(list_models())
    assert helped.startswith("resnest50: 27.5 M parameters, 5.37 G multiply-adds at 224 x 224 pixels, 81.03% top-1")
    assert parameters == "3162996"
