"""Given lists of networks: what a list may be written as, errors, and the population on disk."""

import json
import re

import numpy as np
import pytest

from designspace.networks import catalog
from designspace.networks.complexity import complexity
from designspace.networks.network import Network, Stage, Stem
from designspace.spaces.list_files import list_name, read_networks
from designspace.spaces.network_list import NETWORKS_FILE, NetworkList, columns_of
from designspace.spaces.population_files import read_population, read_space
from designspace.support.errors import InputError, RunError

SMALL = Network(Stem("cifar", 8), (Stage(1, 16, 1, 1, 8),))
MBCONV = Network(
    Stem("imagenet", 8),
    (
        Stage(1, 16, 1, 1, 16, (("expansion", 1),)),
        Stage(2, 24, 2, 1, 24, (("expansion", 6), ("kernel_size", 5))),
        Stage(1, 32, 2, 1, 32, (("expansion", 6),)),
    ),
    block="mbconv",
    se_ratio=0.25,
    head_width=64,
)
MIXED = (catalog.get("regnety_400mf"), catalog.get("resnest50_fast_2s2x40d"), MBCONV, SMALL, catalog.get("resnet50"))
BLOCK = """
import torch
class Block(torch.nn.Module):
    def __init__(self, in_width, width, stride, kernel_size=3, kind="a"):
        super().__init__()
        self.conv = torch.nn.Conv2d(in_width, width, kernel_size, stride, kernel_size // 2)
    def forward(self, x):
        return self.conv(x)
"""


def read(tmp_path, text, name="mine.csv"):
    """Return the networks of a file with a text."""
    (tmp_path / name).write_text(text)
    return [listed.network for listed in read_networks([str(tmp_path / name)])]


# Forms of a list


def test_a_table_has_a_network_per_row_with_defaults_for_blanks(tmp_path):
    networks = read(
        tmp_path,
        "name,d1,w1,s1,g1,d2,w2,b2,g2,stem,stem_width,block,se_ratio,head_width,expansion1,kernel_size2\n"
        "resnet50,,,,,,,,,,,,,,,\n"
        ",1,16,1,8,,,,,cifar,8,,,,,\n"
        "\n"
        ",2.0,16,,,3,32,2,4,,,,,,,\n"
        ",1,16,1,,1,24,,,,,mbconv,0.25,64,2,5\n",
    )
    stages = (Stage(2, 16, 2, 1, 16), Stage(3, 32, 2, 2, 4))
    own = ((("expansion", 2),), (("kernel_size", 5),))
    mbconv = (Stage(1, 16, 1, 1, 16, own[0]), Stage(1, 24, 2, 1, 24, own[1]))
    assert networks == [
        catalog.get("resnet50"),
        SMALL,
        Network(Stem(), stages),
        Network(Stem(), mbconv, block="mbconv", se_ratio=0.25, head_width=64),
    ]


def test_a_table_of_a_spreadsheet_has_semicolons_and_decimal_commas(tmp_path):
    assert read(tmp_path, "\ufeffd1;w1;b1\r\n1;24;1,5\r\n") == [Network(Stem(), (Stage(1, 24, 2, 1.5, 16),))]


def test_lines_of_json_are_networks_objects_with_a_network_and_names(tmp_path):
    lines = [SMALL.to_json(), json.dumps({"id": MBCONV.id, "network": json.loads(MBCONV.to_json()), "why": "small"})]
    lines += ['{"network": "resnet50"}', '"ResNeSt-50"', "", "regnetx_200mf"]
    expected = [SMALL, MBCONV, *map(catalog.get, ("resnet50", "resnest50", "regnetx_200mf"))]
    assert read(tmp_path, "\n".join(lines), "mine.jsonl") == expected
    assert read(tmp_path, "\n".join(lines), "mine.json") == expected
    assert read(tmp_path, json.dumps([json.loads(SMALL.to_json()), "resnet50"], indent=1), "all.json") == [
        SMALL,
        catalog.get("resnet50"),
    ]


def test_names_and_files_can_be_mixed(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text(SMALL.to_json())
    listed = read_networks(["regnetx_200mf", str(path)])
    assert [each.network for each in listed] == [catalog.get("regnetx_200mf"), SMALL]
    assert [each.place for each in listed] == ["regnetx_200mf", f"{path}, line 1"]
    assert (list_name([str(path)]), list_name(["resnet50"]), list_name(["a", "b"])) == ("mine", "resnet50", "networks")


def test_folders_of_model_folders_are_read_by_their_description(tmp_path):
    for name, network in (("b", SMALL), ("a", MBCONV)):
        (tmp_path / name).mkdir()
        description = {"format": 1, "id": network.id, "network": json.loads(network.to_json()), "weights_sha256": ""}
        (tmp_path / name / "network.json").write_text(json.dumps(description, indent=2))
    (tmp_path / "notes.txt").write_text("no model")
    assert [each.network for each in read_networks([str(tmp_path)])] == [MBCONV, SMALL]
    assert [each.network for each in read_networks([str(tmp_path / "b")])] == [SMALL]
    description = json.loads((tmp_path / "a" / "network.json").read_text())
    (tmp_path / "a" / "network.json").write_text(json.dumps({**description, "id": SMALL.id}))
    with pytest.raises(InputError, match=r"a/network.json: the id is .* it was edited"):
        read_networks([str(tmp_path)])


# Errors


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mine.csv is empty"),
        ("d1,w1\n", "mine.csv has no networks"),
        ("w1,g1\n16,8\n", "line 1: the column d1 is missing"),
        ("d1,w1,d1\n1,16,1\n", "line 1: the column 'd1' occurs twice"),
        ("d1,w1,widht2\n1,16,32\n", "line 1: unknown column 'widht2'"),
        ("d1,w1,kernel_sice1\n1,16,3\n", "did you mean kernel_size1"),
        ("d1,w1\n1,16\n1\n", "line 3: 1 fields, but line 1 names 2 columns"),
        ('d1,w1\n1,"16\n', "line 2: unexpected end of data"),
        ("d1,w1,d2\n1,16,1\n", "line 2, column w2: is blank"),
        ("d1,w1,d2,w2\n,,1,16\n", "line 2, column d1: is blank, but there is a stage 2"),
        ("d1,w1,d2,w2,d3,w3\n1,16,,,1,16\n", "line 2, column d2: is blank, but there is a stage 3"),
        ("d1,w1,stem\n,,cifar\n", "line 2, column d1: a network needs 1 to 100 stages"),
        ("d1,w1\n1,wide\n", "line 2, column w1: the value must be a whole number from 1 to 1048576, not 'wide'"),
        ("d1,w1\n1.5,16\n", "line 2, column d1: the value must be a whole number from 1 to 10000, not 1.5"),
        ("d1,w1\n0,16\n", "line 2, column d1"),
        ("d1,w1\n1,nan\n", "line 2, column w1"),
        ("d1,w1,s1\n1,16,0\n", "line 2, column s1"),
        ("d1,w1,b1\n1,16,0\n", "line 2, column b1"),
        ("d1,w1,g1\n1,16,16\n1,16,7\n", "line 3, column g1: the group width 7 must divide the inner width 16 (= w1 / "),
        ("d1,w1,g1\n1,16,7\n", "choose from: 1, 2, 4, 8, 16"),
        ("d1,w1,g1,radix\n1,16,1,2\n", "be a multiple of the radix 2; choose from: 2, 4, 8, 16"),
        ("d1,w1,block\n1,16,bottle\n", "line 2, column block: unknown block 'bottle'"),
        ("d1,w1,stem\n1,16,cifr\n", "line 2, column stem: unknown stem 'cifr'; did you mean cifar"),
        ("d1,w1,stem,stem_width\n1,16,deep,9\n", "line 2, column stem_width: the width of a deep stem must be even"),
        ("d1,w1,block,b1\n1,16,basic,2\n", "line 2: stage 1"),
        ("d1,w1,se_ratio\n1,16,much\n", "line 2, column se_ratio: the value must be a number from 0 to 64, not 'much'"),
        ("d1,w1,kernel_size1\n1,16,3\n", "line 2, column kernel_size1: bottleneck blocks have no such parameter"),
        ("d1,w1,block,kernel_size1\n1,16,mbconv,4\n", "line 2, column kernel_size1: kernel_size must be odd, not 4"),
        ("d1,w1,block,kernel_size1\n1,16,mbconv,x\n", "column kernel_size1: 'x' is not a number, such as 3"),
        ("d1,w1,block,kernel_size2\n1,16,mbconv,3\n", "column kernel_size2: each stage has its own"),
        ("d1,w1,block,kernel_size\n1,16,mbconv,3\n", "column kernel_size: each stage has its own"),
        ("name\nresnet51\n", "line 2, column name: unknown network 'resnet51'; did you mean resnet50"),
        ("name,d1,w1\nresnet50,1,16\n", "line 2, column name: resnet50 is a published network, but the row has d1"),
        ("d1,w1,block\n1,16,nowhere:Block\n", "line 2, column block: space.block: nowhere:Block cannot be imported"),
        ("d1,w1,stem\n1,16,nowhere:Stem\n", "line 2, column stem: space.stem: nowhere:Stem cannot be imported"),
        ("d1,w1,head\n1,16,nowhere:Head\n", "line 2, column head: space.head: nowhere:Head cannot be imported"),
    ],
)
def test_wrong_tables(text, message, tmp_path):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        read(tmp_path, text)
    assert "mine.csv" in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no networks; a list is a table"),
        ("\n \n", "has no networks"),
        ("resnet50\n{'stem': 1}", "line 2: not JSON"),
        ('"resnet50"\n{"stem":{}', "line 2: not JSON"),
        ('"resnet51"', "line 1: unknown network 'resnet51'"),
        ("resnet51", "line 1: unknown network 'resnet51'"),
        ("7", "line 1: 7 is not a network"),
        ('{"stem":{}}', "line 1: network: stages is missing"),
        ('{"stem":{},"stages":[]}', "line 1: stages must be a tuple of at least one Stage"),
        ('{"stem":{},"stages":[{"depth":1,"width":16,"group_width":7}]}', "line 1: stage 1"),
        ('{"stem":{},"stages":[{"depth":1,"width":16}],"heads":1}', "line 1: network: unknown key 'heads'"),
        ('{"network":[1]}', "line 1: [1] is not a network"),
    ],
)
def test_wrong_lines(text, message, tmp_path):
    with pytest.raises(InputError, match=re.escape(message)):
        read(tmp_path, text, "mine.jsonl")


def test_what_is_no_list(tmp_path):
    (tmp_path / "mine.txt").write_text("resnet50")
    for item, message in (
        (str(tmp_path / "mine.txt"), "is not a list; a list is a table"),
        (str(tmp_path / "nothing"), "does not exist; a list is"),
        (str(tmp_path), "has no model folder in it"),
        ("resnet51", "did you mean resnet50"),
    ):
        with pytest.raises(InputError, match=message):
            read_networks([item])
    with pytest.raises(RunError, match="cannot read .*nothing.csv"):
        read_networks([str(tmp_path / "nothing.csv")])
    with pytest.raises(InputError, match="has no networks"):
        read_networks([])


# The population


def test_a_population_holds_networks_that_differ_in_everything(tmp_path):
    given = NetworkList("mixed", MIXED, 64, "mine.csv")
    population = given.population()
    assert [*population] == [*MIXED]
    assert population.ids == tuple(network.id for network in MIXED)
    assert repr(population).startswith("Population(5 networks of mixed; ")
    for index, network in enumerate(MIXED):
        costs = tuple(int(population.columns[name][index]) for name in ("flops", "params", "activations"))
        assert costs == complexity(network, 64)
    assert population.columns["d4"].tolist() == [6, 3, 0, 0, 3]
    assert population.columns["expansion2"].tolist() == [0, 0, 6, 0, 0]
    assert population.columns["kernel_size1"].tolist() == [0, 0, 3, 0, 0]
    assert population.columns["radix"].tolist() == [0, 2, 0, 0, 0]
    assert population[[3, 1]][0] == SMALL
    assert population.to_frame().loc[MBCONV.id, "block"] == "mbconv"
    assert len([*columns_of(population)]) == 5

    population.write(tmp_path)
    assert read_population(tmp_path) == population
    assert read_space(tmp_path / "space.yaml") == given
    assert read_space(tmp_path / "space.yaml").origin == "mine.csv"
    assert [each.network for each in read_networks([str(tmp_path / NETWORKS_FILE)])] == [*MIXED]
    part = read_population(tmp_path, verify=False)[2:4]
    assert [*part] == [MBCONV, SMALL]
    (tmp_path / "part").mkdir()
    part.write(tmp_path / "part")
    assert read_population(tmp_path / "part") == part


def test_a_custom_block_keeps_its_parameters(tmp_path, monkeypatch):
    (tmp_path / "listed_block.py").write_text(BLOCK)
    monkeypatch.syspath_prepend(tmp_path)
    networks = read(
        tmp_path,
        "d1,w1,block,kernel_size1,kind1\n1,16,listed_block:Block,5,b\n1,16,listed_block:Block,,\n2,32,,,\n",
    )
    assert networks[0].stages[0].parameters == (("kernel_size", 5), ("kind", "b"))
    assert networks[1].stages[0].parameters == (("kernel_size", 3), ("kind", "a"))
    population = NetworkList("mine", tuple(networks), 16).population()
    assert population.columns["kind1"].tolist() == ["b", "a", ""]
    assert population.columns["kernel_size1"].tolist() == [5, 3, 0]
    assert population.space.imported_names == ("listed_block:Block",)
    population.write(tmp_path)
    assert read_population(tmp_path) == population
    with pytest.raises(InputError, match=r"column with1: listed_block:Block blocks have no such parameter"):
        read(tmp_path, "d1,w1,block,with1\n1,16,listed_block:Block,5\n")


def test_lists_that_cannot_be_a_population():
    other = Network(SMALL.stem, SMALL.stages, num_classes=10)
    for networks, message in (
        ((), "the list has no network"),
        ((SMALL, SMALL), "occurs twice"),
        ((SMALL, other), "for different images: 3 channels and 10 classes, 3 channels and 1000 classes"),
    ):
        with pytest.raises(InputError, match=message):
            NetworkList("mine", networks)
    with pytest.raises(InputError, match="num_classes must be a whole number >= 1, not 0"):
        NetworkList("mine", (Network(SMALL.stem, SMALL.stages, num_classes=0),))
    huge = Network(Stem(), (Stage(10_000, 1 << 20, 1, 1, 1 << 20),))
    with pytest.raises(InputError, match="can be counted"):
        NetworkList("mine", (huge,)).population()


def test_changed_files_are_found(tmp_path):
    population = NetworkList("mixed", MIXED, 64).population()

    def changed(name, old, new):
        population.write(tmp_path)
        text = (tmp_path / name).read_text()
        assert old in text
        (tmp_path / name).write_text(text.replace(old, new, 1))
        with pytest.raises(RunError) as error:
            read_population(tmp_path)
        return str(error.value)

    assert "line 5: the row is not the network" in changed("population.csv", ",cifar,", ",deep,")
    lines = (tmp_path / NETWORKS_FILE).read_text().splitlines(keepends=True)
    assert "line 2: not the JSON of a network" in changed(NETWORKS_FILE, lines[1], lines[1][:20] + "\n")
    assert "line 3: the row is not the network" in changed(NETWORKS_FILE, lines[1], "")
    assert "occurs twice" in changed(NETWORKS_FILE, lines[0], lines[1])
    assert "in their order" in changed(NETWORKS_FILE, lines[0] + lines[1], lines[1] + lines[0])
    assert "other images than template" in changed("space.yaml", "num_classes: 1000", "num_classes: 10")
    assert "origin is missing" in changed("space.yaml", "origin: ''\n", "")
    population.write(tmp_path)
    (tmp_path / NETWORKS_FILE).unlink()
    with pytest.raises(RunError, match="cannot read .*networks.jsonl"):
        read_population(tmp_path)


def test_a_long_list_is_read_in_order(tmp_path):
    networks = tuple(
        Network(Stem("cifar", 8), (Stage(1 + i % 40, 8 * (1 + i // 40), 1, 1, 8),), num_classes=10) for i in range(300)
    )
    population = NetworkList("many", networks, 32).population()
    population.write(tmp_path)
    again = read_population(tmp_path)
    assert again == population
    assert np.array_equal(again.columns["d1"], [network.depth for network in networks])
