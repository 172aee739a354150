from __future__ import annotations

from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml
from nbclient import NotebookClient
from populations import make_table

from designspace.spaces import catalog
from designspace.trials.folder import RunFolder

ROOT = Path(__file__).parents[2]


@pytest.fixture
def notebook():
    return nbformat.read(ROOT / "notebooks" / "edf.ipynb", as_version=4)


def test_it_is_committed_without_outputs(notebook):
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


def run(notebook, monkeypatch, folder):
    """Run the notebook as a person would, from its folder, and give what its cells put out."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for a checkout that is not installed
    monkeypatch.setenv("IPYTHONDIR", str(folder))  # the user's own settings play no part
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(ROOT / "notebooks")}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/svg+xml" in output.get("data", {}) for output in outputs)
    return "".join(output.get("text", "") for output in outputs)


def test_it_shows_the_quickstart(notebook, tmp_path, monkeypatch):
    printed = run(notebook, monkeypatch, tmp_path)
    for name in ("AnyNetXA", "AnyNetXE", "RegNetX"):
        assert f"{name}: 16 of 16 trials finished" in printed


def test_it_says_which_space_is_better(notebook, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for name, mean in (("AnyNetXA", 20), ("AnyNetXE", 15), ("RegNetX", 12)):
        table = make_table(rng.normal(mean, 1, 12).round(2).tolist(), failed=[("diverged", "loss is nan")])
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir()
        table.to_csv(folder.results, index=False)
        space = catalog.space(name, num_classes=10)
        (folder.path / "space.yaml").write_text(yaml.safe_dump(space.to_dict()))
    monkeypatch.setenv("DESIGNSPACE_STUDY", str(tmp_path))
    printed = run(notebook, monkeypatch, tmp_path)
    assert "RegNetX is better than AnyNetXA" in printed
    assert "RegNetX: 13 of 13 trials finished, 1 of them failed" in printed
