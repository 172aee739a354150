from __future__ import annotations

from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from populations import make_table

ROOT = Path(__file__).parents[2]


@pytest.fixture
def notebook():
    return nbformat.read(ROOT / "notebooks" / "edf.ipynb", as_version=4)


def test_it_is_committed_without_outputs(notebook):
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


def test_it_runs_and_says_which_space_is_better(notebook, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for name, mean in (("AnyNetXA", 20), ("AnyNetXE", 15), ("RegNetX", 12)):
        table = make_table(rng.normal(mean, 1, 12).round(2).tolist(), failed=[("diverged", "loss is nan")])
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    monkeypatch.setenv("DESIGNSPACE_RESULTS", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for a checkout that is not installed
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))  # the user's own settings play no part
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(ROOT / "notebooks")}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    printed = "".join(output.get("text", "") for output in outputs)
    assert "RegNetX is better than AnyNetXA" in printed
    assert "RegNetX: 13 of 13 trials finished, 1 of them failed" in printed
    assert any("image/svg+xml" in output.get("data", {}) for output in outputs)
