import dataclasses
from pathlib import Path

import pytest

from designspace.networks.network import Stem
from designspace.spaces import catalog
from designspace.spaces.axes import choice
from designspace.spaces.constraints import Band
from designspace.spaces.description import space_from_dict
from designspace.spaces.seeds import description_digest, drawn_with_same_seed, independent_seed
from designspace.spaces.template import Template
from designspace.support.errors import InputError

BAND = (360e6, 400e6)
PAIRS = {
    "AnyNetXA, AnyNetYA": (("AnyNetXA", BAND), ("AnyNetYA", BAND), 495),
    "RegNetX, RegNetY": (("RegNetX", BAND), ("RegNetY", BAND), 490),
    "RegNetX, a wider band": (("RegNetX", BAND), ("RegNetX", (340e6, 420e6)), 233),
}


def structures(population):
    letters = [f"{letter}{i}" for letter in "dwbg" for i in range(1, 5)]
    return set(zip(*(population.columns[name].tolist() for name in letters), strict=True))


@pytest.mark.parametrize(("first", "second", "shared"), PAIRS.values(), ids=PAIRS)
def test_populations_of_similar_spaces_are_independent(first, second, shared):
    """Of 500 structures each, nearly all are shared with the same seed, and only few with independent seeds."""
    spaces = [catalog.space(name, flops=flops) for name, flops in (first, second)]
    with_one_seed = [structures(space.sample(500, 0)) for space in spaces]
    assert len(with_one_seed[0] & with_one_seed[1]) == shared
    independent = [structures(space.sample(500, independent_seed(space, 0))) for space in spaces]
    assert len(independent[0] & independent[1]) < 10


def test_seeds_are_pinned():
    """Later versions must draw the same populations for a study."""
    seeds = {name: independent_seed(catalog.space(name, flops=BAND), 0) for name in ("AnyNetXA", "RegNetX", "AnyNeSt")}
    assert seeds == {
        "AnyNetXA": 6887056369859047413,
        "RegNetX": 2077114366254989476,
        "AnyNeSt": 8580530221650533595,
    }


def test_seeds_are_whole_numbers_below_2_63_that_depend_on_the_seed_and_the_space():
    spaces = [
        *(catalog.space(name, flops=flops) for name in catalog.NAMES for flops in (None, BAND)),
        catalog.space("RegNetX", radix=2),
        catalog.space("RegNetX", law="pycls"),
        catalog.space("RegNetX", stem="cifar"),
        catalog.space("RegNetX", resolution=32),
        dataclasses.replace(catalog.space("RegNetX"), name="Mine"),
    ]
    seeds = [independent_seed(space, seed) for space in spaces for seed in (0, 1)]
    assert all(type(seed) is int and 0 <= seed < 2**63 for seed in seeds)
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("name", catalog.NAMES)
def test_equal_spaces_have_equal_seeds(name):
    space = catalog.space(name, flops=BAND)
    again = space_from_dict(space.to_dict())
    assert independent_seed(again, 3) == independent_seed(space, 3)
    whole = dataclasses.replace(space, constraints=(*space.constraints[:-1], Band("flops", 360_000_000, 400_000_000)))
    assert whole == space
    assert independent_seed(whole, 3) == independent_seed(space, 3)


def test_new_template_field_does_not_change_digests(monkeypatch):
    space = catalog.space("RegNetX", resolution=32)
    digest = description_digest(space)
    later = dataclasses.make_dataclass("Later", [("colour", str, "none")], bases=(Template,), frozen=True)
    monkeypatch.setattr("designspace.spaces.seeds.Template", later)
    assert description_digest(dataclasses.replace(space, template=later(resolution=32))) == digest
    assert description_digest(dataclasses.replace(space, template=later(colour="red", resolution=32))) != digest


def test_digest_depends_on_stem_width_and_radix():
    default = catalog.space("RegNetX")
    narrow = dataclasses.replace(default, template=Template(stem=Stem("imagenet", 16)))
    split = dataclasses.replace(default, radix=choice([2]))
    assert len({description_digest(space) for space in (default, narrow, split)}) == 3


@pytest.mark.parametrize("seed", [-1, 1.5, "1", True])
def test_the_seed_must_be_a_whole_number(seed):
    with pytest.raises(InputError, match="seed must be a whole number >= 0"):
        independent_seed(catalog.space("RegNetX"), seed)


def test_folder_with_the_same_seed_is_found(tmp_path, monkeypatch):
    regnet, anynet = (catalog.space(name, flops=BAND) for name in ("RegNetX", "AnyNetXA"))
    for folder, space, seed in (("a", anynet, 0), ("b", regnet, 1), ("c", regnet, 0), ("d", regnet, 0)):
        space.sample(2, seed).write(tmp_path / folder)
    (tmp_path / "file.txt").write_text("no run")
    assert drawn_with_same_seed(tmp_path / "c", regnet, 0) == tmp_path / "a"
    assert drawn_with_same_seed(tmp_path / "a", anynet, 0) == tmp_path / "c"
    assert drawn_with_same_seed(tmp_path / "b", regnet, 1) is None
    monkeypatch.chdir(tmp_path / "c")
    assert drawn_with_same_seed(Path(), regnet, 0) == tmp_path / "a"
    (tmp_path / "a" / "sampling.json").write_text("[]")
    assert drawn_with_same_seed(tmp_path / "c", regnet, 0) is None  # a is damaged, and d has the same space
