"""The published networks through torch.hub, from an empty folder and without an installed project."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def run(script, folder):
    """Run a script in a folder. It can import torch, but this project only from paths that it adds itself."""
    finder = (
        "import sys\n"
        f"sys.path = [p for p in sys.path if p not in ({str(REPOSITORY)!r}, '')]\n"
        "sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]\n"
        "import importlib.util as u\n"
        "spec = u.find_spec('designspace')\n"
        "assert spec is None or spec.loader is None, spec  # an editable install leaves an empty folder\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", finder + script]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_a_checkout_works_as_a_local_source(tmp_path):
    script = f"""
import torch
model = torch.hub.load({str(REPOSITORY)!r}, "resnest14", source="local", num_classes=7, in_channels=1)
print(tuple(model.eval()(torch.zeros(1, 1, 40, 40)).shape))
"""
    assert run(script, tmp_path) == ["(1, 7)"]


@pytest.fixture
def cached(tmp_path):
    """torch.hub's folder after the repository's main branch was fetched."""
    folder = tmp_path / "hub" / "somebody_designspace_main"
    folder.mkdir(parents=True)
    shutil.copy(REPOSITORY / "hubconf.py", folder)
    shutil.copytree(REPOSITORY / "designspace", folder / "designspace", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_a_repository_lists_and_describes_its_networks(cached):
    script = f"""
import torch
torch.hub.set_dir({str(cached / "hub")!r})
options = dict(skip_validation=True, trust_repo=True)
print(*torch.hub.list("somebody/designspace:main", verbose=False, **options))
print(torch.hub.help("somebody/designspace:main", "resnest50", **options).splitlines()[0])
model = torch.hub.load("somebody/designspace:main", "regnety_200mf", verbose=False, **options)
print(sum(p.numel() for p in model.parameters()))
"""
    names, help_text, parameters = run(script, cached)
    from designspace.models import list_models

    assert sorted(names.split()) == sorted(list_models())
    assert help_text.startswith("resnest50: 27.5 M parameters, 5.37 G multiply-adds at 224 x 224 pixels, 81.03% top-1")
    assert parameters == "3162996"
