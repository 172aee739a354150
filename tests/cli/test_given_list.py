"""Runs of given lists of networks, with the real commands, next to a drawn space."""

import json

import patterns
import pytest
from test_commands import QUICK, SMALL, designspace, fails

from designspace.analysis.results import Results
from designspace.networks import catalog
from designspace.trials.folder import RunFolder

TABLE = """name,d1,w1,s1,g1,d2,w2,g2,block,kernel_size2,se_ratio,stem,stem_width
,1,16,1,8,,,,,,,cifar,8
,1,16,1,,1,24,,mbconv,5,0.25,cifar,8
,1,16,1,,2,16,,given_block:Block,1,,cifar,8
regnetx_200mf,,,,,,,,,,,,
,1,16,1,8,,,,,,,cifar,8
"""
BLOCK = """
import torch
class Block(torch.nn.Module):
    def __init__(self, in_width, width, stride, kernel_size=3):
        super().__init__()
        self.conv = torch.nn.Conv2d(in_width, width, kernel_size, stride, kernel_size // 2)
        self.norm = torch.nn.BatchNorm2d(width)
    def forward(self, x):
        return self.norm(self.conv(x)).relu()
"""


@pytest.fixture
def folder(tmp_path, data_root):
    """A working folder with a table of networks, and the arguments that choose the images."""
    (tmp_path / "mine.csv").write_text(TABLE)
    (tmp_path / "given_block.py").write_text(BLOCK)
    return tmp_path


def test_a_list_goes_through_all_commands_beside_a_space(folder, data_root):
    images = [f"data={patterns.NAME}", f"data.root={data_root}"]
    quick = [*QUICK, "recipe.epochs=1", f"data.root={data_root}"]

    def succeeds(command, *arguments):
        finished = designspace(command, *arguments, cwd=folder)
        assert finished.returncode == 0, finished.stderr
        return " ".join(finished.stdout.split())

    sampled = succeeds("sample", "networks=mine.csv", *images)
    assert "note: 1 network repeated and left out: mine.csv, line 6 (as mine.csv, line 2)" in sampled
    assert "the stems of 1 of 4 networks (imagenet) shrink images" in sampled
    assert "4 networks are in runs/mine/population.csv train them: python -m designspace.launch" in sampled
    files = {path.name: path.read_bytes() for path in (folder / "runs" / "mine").iterdir()}
    succeeds("sample", "networks=mine.csv", *images)
    assert files == {path.name: path.read_bytes() for path in (folder / "runs" / "mine").iterdir()}

    succeeds("sample", *SMALL, "n=3", "run=runs/drawn")
    refused = designspace("launch", "run=runs/mine", *quick, "recipe.frozen_stages=5", "dry_run=true", cwd=folder)
    fails(refused, 2, "stem and stages are 2 parts: it must be at most 2")  # of one of the networks
    succeeds("launch", "run=runs/mine", *quick)
    succeeds("launch", "run=runs/drawn", *quick)
    run = RunFolder(folder / "runs" / "mine")
    assert [*run.code.rglob("given_block.py")]
    best = Results.read(run).best(1)["id"].iloc[0]

    analysed = succeeds("analyze", "runs=[runs/mine,runs/drawn]", "out=both")
    assert "mine (a given list; median flops" in analysed
    assert "- mine is a given list: its networks were chosen, not drawn at random, so a claim holds" in analysed
    assert "- mine (4 of mine, a given list): patterns" in analysed
    assert "drawn (3 of AnyNetXA): patterns" in analysed
    assert (folder / "both" / "report.html").is_file()

    succeeds("export", "run=runs/mine", f"id={best}", "to=models/best")
    assert json.loads((folder / "models" / "best" / "network.json").read_text())["id"] == best
    copied = succeeds("collect", "run=runs/copy", "others=runs/mine")
    assert "runs/copy/results.csv: 4 done" in copied
    assert RunFolder(folder / "runs" / "copy").population() == run.population()
    trained = succeeds("train", "run=runs/mine", f"id={best}", f"data.root={data_root}", "dry_run=true")
    assert best in trained

    succeeds("sample", "networks=models", *images)  # the list is known by its folder
    assert RunFolder(folder / "runs" / "models").ids() == (best,)


def test_the_images_of_a_list(folder, data_root):
    def sample(*arguments):
        return designspace("sample", *arguments, cwd=folder)

    (folder / "two.jsonl").write_text('"resnet50"\n{"stem":{},"stages":[{"depth":1,"width":8}],"num_classes":10}')
    fails(sample("networks=two.jsonl"), 2, "two.jsonl, line 1 has 1000 classes and two.jsonl, line 2 10; give data=")
    (folder / "ten.jsonl").write_text('{"stem":{},"stages":[{"depth":1,"width":8}],"num_classes":10}')
    fails(sample("networks=ten.jsonl"), 2, "3 channels in 10 classes, whose size is not known; give data=")
    finished = sample("networks=two.jsonl", *patterns.INPUT[:3], "run=described")
    assert finished.returncode == 0, finished.stderr
    template = RunFolder(folder / "described").space().template
    assert (template.num_classes, template.resolution) == (len(patterns.CLASSES), patterns.SIZE)
    finished = sample("networks=[regnetx_200mf,ResNet-50]")
    assert finished.returncode == 0, finished.stderr
    published = RunFolder(folder / "runs" / "networks").population()
    assert [*published] == [catalog.get("regnetx_200mf"), catalog.get("resnet50")]
    assert published.columns["params"].tolist() == [2_684_792, 25_557_032]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["n=3"], ["networks=... lists all networks, so n=... does not apply"]),
        (["seed=1"], ["so seed=... does not apply"]),
        (["space=RegNetX"], ["so space=... does not apply"]),
        (["space.flops=[1e6,2e6]"], ["so space.flops=... does not apply"]),
        (["file=mine.yaml"], ["so file=... does not apply"]),
        (["count=true"], ["so count=... does not apply"]),
        (["regime=auto"], ["so regime=... does not apply"]),
        (["space.num_classes=many"], ["space.num_classes must be a whole number >= 1, not 'many'"]),
        (["space.num_classes=1", "space.resolution=16"], ["images of a single class cannot be used"]),
        (["networks=resnet51"], ["unknown network 'resnet51'; did you mean resnet50"]),
        (["networks=[]"], ["networks=[] has no networks; a list is a table"]),
    ],
)
def test_bad_input_with_a_list(arguments, words, tmp_path):
    fails(designspace("sample", "networks=resnet50", *arguments, cwd=tmp_path), 2, *words)
    assert not list(tmp_path.iterdir())


def test_another_population_in_the_folder_is_refused(tmp_path):
    assert designspace("sample", "networks=resnet50", "run=r", cwd=tmp_path).returncode == 0
    first = (tmp_path / "r" / "population.csv").read_bytes()
    words = "r already holds another population: 1 networks of the list resnet50, and"
    fails(designspace("sample", "networks=resnet101", "run=r", cwd=tmp_path), 2, words, "the list resnet101")
    fails(designspace("sample", "n=2", "run=r", cwd=tmp_path), 2, words, "2 of AnyNetXA with seed 0 were requested")
    assert (tmp_path / "r" / "population.csv").read_bytes() == first
    noted = designspace("sample", "n=2", "run=drawn", cwd=tmp_path)
    assert "was also sampled with seed" not in noted.stdout
