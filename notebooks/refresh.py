"""Run the notebooks and write them back with their outputs: `make notebooks`."""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parent


def executed(path: Path) -> nbformat.NotebookNode:
    """Return a notebook with the outputs of its cells, run in its own folder, without the times at which they ran."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=300, record_timing=False, resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    notebook.metadata["language_info"] = {"name": "python"}  # without the version, which differs between machines
    return notebook


def main() -> None:
    """Refresh the notebooks named on the command line, or all."""
    for path in [Path(word) for word in sys.argv[1:]] or sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = executed(path)
        nbformat.write(notebook, path)
        print(f"{path.name} refreshed")


if __name__ == "__main__":
    main()
