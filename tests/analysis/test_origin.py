import dataclasses
import html
import json
import os
from pathlib import Path

import pytest
from populations import make_results

from designspace.analysis import analyze, origin
from designspace.analysis.origin import Origin, literal, origin_of, origin_table
from designspace.analysis.preconditions import same_training
from designspace.analysis.results import Results
from designspace.spaces import catalog
from designspace.trials.claims import Owner
from designspace.trials.folder import RunFolder
from designspace.trials.recipe import Recipe

LAUNCH = {
    "command": "python -m designspace.launch run=runs/x",
    "time": "2024-05-01T10:00:00Z",
    "commit": "0123456789ab",
    "designspace": "0.1.0",
    "torch": "2.5.0",
    "user": "ada",
    "owner": {**dataclasses.asdict(Owner.here()), "host": "node1"},
}


def make_run(path, recipe=None, launches=(LAUNCH,), done=2):
    """Return a run folder with four networks, some of them trained."""
    run = RunFolder(path)
    space = catalog.space("RegNetX", resolution=28, in_channels=1, num_classes=10, flops=(1e6, 2e6))
    run.create(space.sample(4, seed=0), {"command": "python -m designspace.sample"})
    if recipe:
        run.write_plan(recipe, 3)
        for id_ in run.ids()[:done]:
            run.trial(id_).path.mkdir(parents=True)
    for launch in launches:
        run.new_launch(launch)
    return run


def facts_of(run):
    return origin_of(run, Results.read(run)).facts


def test_facts_of_a_run(tmp_path):
    recipe = Recipe(epochs=5, batch_size=64, warmup_epochs=1, train_images=5000, crop_padding=2, ema_decay=0.9)
    facts = facts_of(make_run(tmp_path / "x", recipe))
    assert facts == {
        "networks": "4 of RegNetX",
        "classes": "10",
        "data set": "fashion_mnist",
        "resolution": "28 x 28 pixels",
        "training images": "5,000",
        "test images": "all",
        "epochs": "5, of which 1 for warm-up",
        "batch size": "64",
        "learning rate": "0.1, falling along half a cosine",
        "weight decay": "5e-05",
        "momentum": "0.9, Nesterov",
        "augmentation": "flips, crops after padding by 2 pixels",
        "other settings": "ema_decay 0.9",
        "seed": "3",
        "trained by": "ada on node1",
        "launched": "2024-05-01T10:00:00Z",
        "code": "commit 0123456789ab, designspace 0.1.0, torch 2.5.0",
        "commands": "python -m designspace.launch run=runs/x",
    }
    sentence = Origin("x", facts).sentence()
    for text in ("fashion_mnist (5,000 training images)", "28 x 28 pixels", "epochs 5, batch size 64", "seed 3"):
        assert text in sentence
    assert sentence.endswith("trained by ada on node1, launched 2024-05-01T10:00:00Z, " + facts["code"])


def test_augmentation_is_described_completely():
    recipe = Recipe(
        flip=False, crop_area=0.08, crop_size=24, test_size=28, policy="randaugment", erasing=0.25, mixup=0.2,
        colour_jitter=0.4, lighting=0.1, heldout_images=100, trainer="mine:train", label_smoothing=0.1,
    )  # fmt: skip
    facts = origin._facts_of_recipe(recipe, 0, "32 x 32 pixels")
    assert facts["augmentation"] == (
        "random resized crops of at least 8% of the area, randaugment (2 operations of magnitude 9), "
        "colour jitter 0.4, lighting 0.1, random erasing 0.25, mixup 0.2"
    )
    assert facts["resolution"] == "32 x 32 pixels, trained on crops of 24 x 24, tested on 28 x 28"
    assert facts["held-out images"] == "100"
    assert facts["training function"] == "mine:train"
    assert facts["other settings"] == "label_smoothing 0.1"
    assert origin._facts_of_recipe(Recipe(flip=False), 0, "")["augmentation"] == "none"


def test_several_launches_are_summarised(tmp_path):
    later = {**LAUNCH, "time": "2024-06-01T10:00:00Z", "user": "bob", "owner": {**LAUNCH["owner"], "host": "node2"}}
    facts = facts_of(make_run(tmp_path / "x", Recipe(), (later, LAUNCH)))
    assert facts["launched"] == "2024-05-01T10:00:00Z to 2024-06-01T10:00:00Z (2 launches)"
    assert set(facts["trained by"].split(", ")) == {"ada on node1", "bob on node2"}


def test_facts_that_are_not_recorded_are_left_out(tmp_path):
    facts = facts_of(make_run(tmp_path / "x", None, ()))
    assert facts == {"networks": "4 of RegNetX", "classes": "10", "resolution": "28 x 28 pixels"}
    imported = origin_of(Path("sweep.json"), make_results("pycls", [40.0, 30.0]))
    assert imported.facts == {"epochs": "10"}
    assert imported.loading("a00000000000") == ""
    nothing = Origin("pycls")
    assert nothing.sentence() == "how the networks were trained is not recorded"


@pytest.mark.parametrize(
    "content",
    ["", "[1]", "[" * 100_000, "{}", '{"user": 3, "owner": [], "time": null, "commit": {"a": [1]}}', "\ud800"],
)
def test_an_unreadable_launch_is_left_out(tmp_path, content):
    run = make_run(tmp_path / "x", Recipe())
    (launch,) = run.launches()
    (launch.path / "launch.json").write_bytes(content.encode(errors="surrogatepass"))
    assert facts_of(run)["data set"] == "fashion_mnist"


def test_texts_of_a_launch_are_shortened_and_escaped(tmp_path):
    hostile = {**LAUNCH, "user": "a\x1b[2J\nb", "commit": "x" * 10_000_000}
    facts = facts_of(make_run(tmp_path / "x", Recipe(), (hostile,)))
    assert facts["trained by"] == "a\N{REPLACEMENT CHARACTER}[2J b on node1"
    assert len(facts["code"]) < 500


def test_runs_are_tabulated_and_differences_are_named(tmp_path):
    runs = [make_run(tmp_path / "a", Recipe()), make_run(tmp_path / "b", Recipe(batch_size=64, mixup=0.2))]
    results = [Results.read(run) for run in runs]
    origins = [origin_of(run, result) for run, result in zip(runs, results, strict=True)]
    table = origin_table([*origins, Origin("imported")])
    assert table.header == ("", "a", "b", "imported")
    assert ("batch size", "128", "64", "-") in table.rows
    assert same_training(*results).sentence == (
        "a and b were not trained alike (batch_size 128 against 64; mixup 0 against 0.2), which may explain a "
        "difference in their errors."
    )
    assert len(origin.sentences(origins)) == 2
    assert origin.sentences([origins[0], Origin("c", origins[0].facts)])[0].startswith(
        "a (4 of RegNetX), c (4 of RegNetX): fashion_mnist"
    )
    analysis = analyze(results, tmp_path / "out", {}, origins=origins)
    page = analysis.report.read_text(encoding="utf-8")
    loading = [f'designspace.load("{tmp_path}/a", id="{id_}")' for id_ in runs[0].ids()]
    assert not any(line in page for line in loading)  # no trial is done
    for text in (*analysis.trained, '<th scope="col">b</th>', "flips, mixup 0.2", "0123456789ab"):
        assert text in page


def test_the_report_has_the_lines_that_load_the_best_networks(tmp_path):
    """The best network is first; markup in a path stays text, and quotes can be copied."""
    results = make_results("x", [40.0 - i for i in range(7)])
    run = RunFolder(tmp_path / "a <b> & c")
    for id_ in results.table["id"]:
        run.trial(id_).path.mkdir(parents=True)
    analysis = analyze([results], tmp_path, {}, origins=[Origin("x", {}, run)])
    page = analysis.report.read_text(encoding="utf-8")
    ids = results.best(5)["id"].tolist()
    lines = [f'model = designspace.load("{run.path}", id="{id_}")' for id_ in ids]
    assert html.escape("\n".join(["import designspace\n", *lines]), quote=False) in page
    assert analysis.trained == ("x: how the networks were trained is not recorded",)


@pytest.mark.parametrize(
    "name",
    ["x", "a b", "q\"uo'te", "back\\slash", "<b>&amp;", "ünï", "a\nb", "\N{GRINNING FACE}", os.fsdecode(b"caf\xe9")],
)
def test_the_line_that_loads_a_network_is_valid_python(tmp_path, name):
    run = make_run(tmp_path / name, Recipe())
    id_ = run.ids()[0]
    line = Origin(name, folder=run).loading(id_)
    calls = []
    eval(line.replace("designspace.load", "load"), {"load": lambda *args, **options: calls.append((*args, options))})
    assert calls == [(str(run.path), {"id": id_})]
    assert "\n" not in line
    line.encode()
    assert Origin(name, folder=run).loading(run.ids()[-1]) == ""  # never trained


def test_literals_escape_invisible_characters():
    for text in ("a\u202eb", "\u2028", "\x7f", "\x9b31m"):
        assert literal(text).isascii()
        assert eval(literal(text)) == text
    assert json.loads(literal("ü")) == "ü"
