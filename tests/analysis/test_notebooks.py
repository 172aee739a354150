from __future__ import annotations

import ast
import re
import sys
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
sys.path.insert(0, str(ROOT / "notebooks"))
import refresh  # noqa: E402

NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
IDENTIFIER = re.compile(
    r"\b[a-z]+[0-9a-f]{10}\b"
)  # matplotlib names clip paths and markers by a digest of their numbers

NAMES = ("edf", "design_process", "gallery", "best_models")


def read(name):
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


@pytest.fixture
def notebook():
    return read("edf")


def test_all_notebooks_are_tested():
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_only_import_and_call(name):
    """Code that is useful elsewhere belongs in the library."""
    code = "\n".join(cell.source for cell in read(name).cells if cell.cell_type == "code")
    kinds = {type(node) for node in ast.walk(ast.parse(code))}
    assert not kinds & {ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.While, ast.Try, ast.If, ast.With}


@pytest.mark.parametrize(("name", "figures"), [("edf", 1), ("design_process", 7), ("gallery", 29), ("best_models", 5)])
def test_committed_outputs_are_up_to_date(name, figures, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for a checkout that is not installed
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))  # ignore the user's own settings
    committed = read(name)
    nbformat.validate(committed)
    current = refresh.executed(ROOT / "notebooks" / f"{name}.ipynb")
    assert current.metadata == committed.metadata
    for ours, cell in zip(committed.cells, current.cells, strict=True):
        if cell.cell_type == "code":
            assert ours.execution_count == cell.execution_count
            assert_same_outputs(ours.outputs, cell.outputs, f"{name}, cell {cell.id}: run `make notebooks`")
    outputs = [output for cell in committed.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/svg+xml" in output.get("data", {}) for output in outputs) == figures


def assert_same_outputs(committed, current, message):
    """Assert that texts and figures are equal, but for the last digits of numbers, which depend on the processor."""
    committed, current = with_whole_streams(committed), with_whole_streams(current)
    assert len(committed) == len(current), message
    for a, b in zip(map(texts, committed), map(texts, current), strict=True):
        assert a.keys() == b.keys(), message
        for kind in a:
            assert NUMBER.split(IDENTIFIER.sub("id", a[kind])) == NUMBER.split(IDENTIFIER.sub("id", b[kind])), message
            numbers = [[float(x) for x in NUMBER.findall(IDENTIFIER.sub("id", text))] for text in (a[kind], b[kind])]
            np.testing.assert_allclose(*numbers, rtol=2e-3, atol=0.02, err_msg=message)


def with_whole_streams(outputs):
    """Return outputs with the parts of a stream joined, because a kernel may send what is printed in any parts."""
    joined = []
    for output in outputs:
        is_stream = output.output_type == "stream"
        if is_stream and joined and joined[-1].output_type == "stream" and joined[-1].name == output.name:
            joined[-1] = nbformat.from_dict({**joined[-1], "text": joined[-1].text + output.text})
        else:
            joined.append(output)
    return joined


def texts(output):
    """Return the text of an output in each of its forms."""
    return {"text": output.text} if output.output_type == "stream" else dict(output.data)


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
        assert f"{name}: 24 of 24 trials finished" in printed


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
