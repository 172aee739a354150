"""Sphinx's configuration of the documentation: `make docs` builds it, with warnings as errors."""

import shutil
import sys
from pathlib import Path

import designspace

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS))

project = "designspace"
author = "the designspace authors"
release = designspace.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
    "myst_nb",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
suppress_warnings = ["mystnb.unknown_mime_type"]

html_theme = "furo"
html_title = "designspace"
html_static_path = []
html_theme_options = {"top_of_page_buttons": []}

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks are committed with their outputs (`make notebooks`)

# Docstrings are written in Google's style, with `names` in single backticks.
napoleon_google_docstring = True
napoleon_numpy_docstring = False
default_role = "py:obj"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
copybutton_exclude = ".linenos, .gp, .go"


def _generate(app) -> None:
    """Write what follows from the code, and copy what lies elsewhere in the repository to where Sphinx reads it."""
    import pages

    folder = DOCS / "_generated"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, text in {"commands.txt": pages.commands(), "models.txt": pages.models(), **pages.copied(ROOT)}.items():
        (folder / name).write_text(text, encoding="utf-8")
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        shutil.copy(notebook, folder / notebook.name)


def setup(app) -> None:  # noqa: D103
    app.connect("builder-inited", _generate)
