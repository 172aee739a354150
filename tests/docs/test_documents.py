"""The README and the documentation: every snippet runs, every command can be typed, every link leads to a file.

A page is run from top to bottom in a folder of its own: blocks of ``sh`` and ``python`` are run, and a block of
``yaml`` or ``python`` that begins with the name of a file is written to it instead. Commands in blocks of ``console``,
which need a cluster, ImageNet or hours, are composed with all their options, but not run.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sweep_runs import CPU, launch, make_run

from designspace.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *PAGES])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)

PRINTED = {
    "python": [r"best error: [12]\d\.\d%"],
    "quickstart": [r"RegNetX +8 +8 ", r"nn\.Module|Network\("],
    "models": [r"\[128, 256, 512, 1024, 2048\] \[2, 4, 8, 16, 16\]"],
    "results": [r"RegNetX \(median params 81\.5 k\) is better than AnyNetXA"],
    "your-space": [r"group_width must be shared|flops outside"],
    "torchvision": [r"'boxes', 'labels', 'masks', 'scores'", r"'aux': \(2, 21, 61, 83\)", r"\(1, \d+, 31, 42\)"],
    "your-images": [r"2 classes"],
    "your-block": [r"runs/depthwise +4|depthwise +4 +4 +0", r"4 networks are in runs/listed", r"in runs/ends"],
}
"""What the snippets of a document print, as regular expressions."""


@dataclass(frozen=True)
class Block:
    """A block of code of a document."""

    language: str
    text: str


def blocks(path):
    return [Block(*match.groups()) for match in BLOCK.finditer(path.read_text())]


def names(paths):
    return [path.stem for path in paths]


def write_named(block, folder):
    """Write a block to the file that its first line names, and return whether it names one."""
    named = re.match(r"# (\S+\.(?:yaml|py))\n", block.text)
    if named:
        path = folder / named[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text[named.end() :])
    return named is not None


@pytest.fixture(scope="module")
def small_run(once, data_root):
    """A finished run of two networks, as ``runs/small`` of the documents."""
    return once("small_run", lambda path: launch(make_run(path, n=2), data_root, CPU[:1]))


@pytest.fixture
def here(tmp_path, fashion_mnist, data_root, small_run):
    """A folder with what the documents take for granted, and the environment of a user in it."""
    data = tmp_path / "data"
    shutil.copytree(data_root, data)
    shutil.copytree(fashion_mnist / "fashion_mnist", data / "fashion_mnist")
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "experiments").symlink_to(ROOT / "experiments")
    shutil.copytree(small_run, folder / "runs" / "small")
    noise = np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 10)):
        for label in ("rose", "tulip"):
            images = folder / "flowers" / split / label
            images.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(noise.integers(0, 256, (40, 48, 3), np.uint8)).save(images / f"{number}.png")
    # One thread per process: on a busy machine several would wait for each other at every layer.
    environment = {**os.environ, "DESIGNSPACE_DATA": str(data), "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    python = Path(sys.executable)
    environment["PATH"] = f"{python.parent}{os.pathsep}{environment['PATH']}"
    return folder, environment


@pytest.mark.parametrize("document", PAGES, ids=names(PAGES))
def test_every_snippet_runs(document, here, monkeypatch):
    folder, environment = here
    monkeypatch.chdir(folder)
    output = ""
    for block in blocks(document):
        words = None
        if block.language == "sh":
            words = ["bash", "-e", "-c", block.text]
        elif block.language == "python":
            # Weights come over the network, which no test needs.
            code = re.sub(r"pretrained=(True|\"timm\")", "pretrained=False", block.text)
            if "designspace.integrations" in code:  # torchvision, which some import, may need help to be imported
                code = f"import sys; sys.path.append({str(ROOT / 'tests')!r}); import originals\n{code}"
            words = [sys.executable, "-W", "error", "-c", code]
        if not write_named(block, folder) and words:
            finished = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600)
            assert finished.returncode == 0, f"{block.text}\n{finished.stdout}\n{finished.stderr}"
            output += finished.stdout
    for pattern in PRINTED.get(document.stem, ()):
        assert re.search(pattern, output), output


@pytest.mark.parametrize("document", DOCUMENTS, ids=names(DOCUMENTS))
def test_every_command_can_be_typed(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in blocks(document):
        write_named(block, tmp_path)
        if block.language == "console":
            for line in re.findall(r"^\$ python -m designspace\.(.*)$", block.text, re.M):
                command, *options = shlex.split(line)
                if not {"-m", "--multirun", "--help"} & set(options):
                    app.compose(command, options)


@pytest.mark.parametrize("document", DOCUMENTS, ids=names(DOCUMENTS))
def test_every_link_leads_to_a_file(document):
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.M | re.S)
    linked = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    paths = [target for target in linked if target and not re.match(r"\w+:", target)]
    missing = [path for path in paths if not (document.parent / path).exists()]
    assert [path for path in missing if not path.startswith("_generated/")] == []
    named = re.findall(r"`((?:tests|experiments|designspace|configs|docs)/[\w./-]+)`", text)
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_snippets_of_the_readme_are_those_of_the_pages():
    """So they run with those."""
    quickstart, python = ((ROOT / "docs" / f"{name}.md").read_text() for name in ("quickstart", "python"))
    for block in blocks(ROOT / "README.md"):
        for line in block.text.splitlines():
            if block.language == "sh":
                assert line in quickstart
            elif block.language == "python":
                assert line in python or line in quickstart
    assert {block.language for block in blocks(ROOT / "README.md")} == {"sh", "python", "text"}


def test_the_readme_is_two_screens():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
