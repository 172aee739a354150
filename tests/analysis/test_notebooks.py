from __future__ import annotations

import ast
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


NAMES = ("edf", "design_process", "gallery", "best_models")


def read(name):
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


@pytest.fixture
def notebook():
    return read("edf")


def test_all_notebooks_are_tested():
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_are_committed_without_outputs(name):
    notebook = read(name)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_only_import_and_call(name):
    """Code that is useful elsewhere belongs in the library."""
    code = "\n".join(cell.source for cell in read(name).cells if cell.cell_type == "code")
    kinds = {type(node) for node in ast.walk(ast.parse(code))}
    assert not kinds & {ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.While, ast.Try, ast.If, ast.With}


@pytest.mark.parametrize(("name", "figures"), [("design_process", 7), ("gallery", 28), ("best_models", 5)])
def test_notebooks_draw_the_published_study(name, figures, tmp_path, monkeypatch):
    notebook = read(name)
    run(notebook, monkeypatch, tmp_path)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/svg+xml" in output.get("data", {}) for output in outputs) == figures


def run(notebook, monkeypatch, folder):
    """Run the notebook as a user would, from its folder, and return the text output of its cells."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for a checkout that is not installed
    monkeypatch.setenv("IPYTHONDIR", str(folder))  # ignore the user's own settings
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT / "notebooks")}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/svg+xml" in output.get("data", {}) for output in outputs)
    return "".join(output.get("text", "") for output in outputs)


def test_edf_notebook_shows_the_quickstart(notebook, tmp_path, monkeypatch):
    printed = run(notebook, monkeypatch, tmp_path)
    for name in ("AnyNetXA", "AnyNetXE", "RegNetX"):
        assert f"{name}: 16 of 16 trials finished" in printed


def test_edf_notebook_reports_the_better_space(notebook, tmp_path, monkeypatch):
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
