"""Tests with small files in the formats of pycls and NDS, which designspace/analysis/peers describes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from designspace.analysis.results import Counts, Results
from designspace.networks import catalog
from designspace.networks.complexity import complexity
from designspace.networks.network import Network, Stage, Stem
from designspace.support.errors import InputError, RunError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "peers"
SWEEP, VANILLA, DARTS = (FIXTURES / f"{name}.json" for name in ("sweep", "Vanilla", "DARTS_reruns_in"))


def changed(tmp_path, file, change, name="changed.json"):
    """Return the path of a modified copy of a fixture."""
    content = json.loads(file.read_text())
    changed = change(content)
    (tmp_path / name).write_text(json.dumps(content if changed is None else changed))
    return tmp_path / name


# pycls


@pytest.fixture(scope="module")
def sweep():
    return Results.read(SWEEP)


def test_every_job_of_a_sweep_is_a_row(sweep):
    assert sweep.name == "sweep"
    assert sweep.counts == Counts(done=2, failed=3, running=1, waiting=0)
    assert sweep.chance_error == pytest.approx(99.9)
    rows = sweep.table[["job", "status", "reason", "epochs"]].values.tolist()
    assert rows == [
        ["000001", "done", "", 3],
        ["000002", "done", "", 3],
        ["000003", "failed", "diverged", 2],
        ["000004", "failed", "out of memory", 0],
        ["000005", "running", "", 1],
        ["000006", "failed", "time limit", 0],
    ]
    details = sweep.table["detail"].tolist()
    assert details[2] == "loss is nan after 2 of 3 epochs"
    assert details[3].startswith("0 of 3 epochs; RuntimeError: CUDA out of memory")
    assert details[4] == "1 of 3 epochs"
    assert "DUE TO TIME LIMIT" in details[5]


def test_final_error_is_the_last_and_best_error_the_least(sweep):
    done = sweep.with_failures("exclude")
    assert done.errors().tolist() == [73.5, 72]
    assert done.errors("best_error").tolist() == [72.25, 72]
    assert sweep.table[["final_error_ema", "best_error_ema"]].values.tolist()[0] == [71.75, 71.75]
    assert sweep.table["final_error_ema"].isna().tolist() == [False] + [True] * 5


def test_networks_of_a_sweep_have_our_ids(sweep):
    """The numbers are from pycls's dev/model_complexity.json for RegNetX-400MF."""
    regnet = sweep.table.iloc[0]
    assert regnet["id"] == catalog.get("regnetx_400mf").id
    assert regnet[["flops", "params", "activations"]].tolist() == [397678568, 5157512, 3143272]
    assert regnet[["d1", "d2", "d3", "d4", "w1", "w2", "w3", "w4"]].tolist() == [1, 2, 7, 12, 32, 64, 160, 384]
    assert regnet[["b1", "b4", "g1", "g4"]].tolist() == [1, 1, 16, 16]
    assert regnet[["depth", "w_0", "w_a", "w_m"]].tolist() == [22, 24, 24.48, 2.54]
    resnet = sweep.table.iloc[2]
    assert resnet["id"] == catalog.get("resnet50").id
    assert resnet[["w4", "b4", "g4"]].tolist() == [2048, 4, 512]
    assert resnet["activations"] == 11114472  # the file's value is kept, which does not count the max pool
    assert sweep.table["trial"].tolist()[:2] == [regnet["id"], f"{regnet['id']}#2"]
    assert math.isnan(sweep.table["w1"][4])  # an EfficientNet
    assert sweep.table["params"][4] == 40000


def test_other_networks_have_the_id_of_their_description(sweep, tmp_path):
    # The basic network has another number of weights than ours would have, so it is a different network.
    ours = Network(Stem("resnet", 64), (Stage(2, 64, 1, 1, 64), Stage(2, 128, 2, 1, 128)), "basic")
    assert sweep.table["params"][3] == 2
    assert sweep.table["id"][3] != ours.id

    def unknown(jobs):
        jobs[3]["complexity"] = None

    known = Results.read(changed(tmp_path, SWEEP, unknown)).table.iloc[3]
    assert known["id"] == ours.id
    assert known["flops"] == complexity(ours).flops

    def other_depth(jobs):
        jobs[4]["cfg"]["EN"]["DEPTHS"] = [1, 3]

    ids = Results.read(changed(tmp_path, SWEEP, other_depth)).table["id"].tolist()
    assert ids[4] != sweep.table["id"][4]
    assert ids[:4] == sweep.table["id"].tolist()[:4]


def test_recipe_seed_memory_and_time_of_a_sweep(sweep):
    assert sweep.table["seed"].tolist()[:3] == [1, 2, 1]
    assert sweep.table["lr"].tolist()[:3] == [0.8, 0.8, 0.4]
    assert sweep.table["weight_decay"].tolist()[:5] == [5e-5] * 5
    assert sweep.table["batch_size"].tolist()[:5] == [1024] * 5
    assert not {"recipe_rest", "recipe_epochs", "data"} & set(sweep.table.columns)
    assert sweep.table["memory_bytes"][0] == 1024 * 2**20
    assert sweep.table["train_s"][0] == 3 * (2 + 0.5)


def test_histories_of_a_sweep(sweep):
    trial = catalog.get("regnetx_400mf").id
    history = sweep.histories[trial]
    assert [record.epoch for record in history] == [1, 2, 3]
    assert [record.test_error for record in history] == [90.5, 72.25, 73.5]
    assert [record.lr for record in history] == [0.8, 0.4, 0.1]
    assert history[1].train_loss == 5.25
    assert history[1].train_error == 80.5
    assert history[1].wall_s == 2.5
    assert [record.test_error for record in sweep.histories[f"{trial} EMA"]] == [99.5, 80, 71.75]
    assert len(sweep.histories) == 5


def test_sweeps_merge_with_others(sweep, tmp_path):
    def other_mixup(jobs):
        for job in jobs[:5]:
            job["cfg"]["TRAIN"]["MIXUP_ALPHA"] = 0.5
            job["cfg"]["OUT_DIR"] = "elsewhere"

    def elsewhere(jobs):
        jobs[0]["cfg"]["OUT_DIR"] = "elsewhere"

    other = changed(tmp_path, SWEEP, other_mixup, "mixup.json")
    same = changed(tmp_path, SWEEP, elsewhere, "same.json")
    results = Results.read(SWEEP, other)
    assert results.counts.done == 4
    assert results.table["recipe_rest"].nunique() == 2
    assert Results.read(SWEEP, same).counts == sweep.counts
    trial = catalog.get("regnetx_400mf").id
    assert {f"{trial}@sweep EMA", f"{trial}@mixup EMA", f"{trial}#2@mixup"} <= set(results.histories)


def test_older_logs_have_epochs_as_texts(sweep, tmp_path):
    def older(jobs):
        for job in jobs:
            for kind in ("train_epoch", "test_epoch", "test_ema_epoch"):
                for column in ("epoch_ind", "epoch_max"):
                    job.get(kind, {}).pop(column, None)

    results = Results.read(changed(tmp_path, SWEEP, older, "sweep.json"))
    assert results.table.equals(sweep.table)
    assert repr(results.histories) == repr(sweep.histories)


def test_an_epoch_logged_twice_counts_with_its_greater_error(tmp_path):
    def resumed(jobs):
        test = jobs[0]["test_epoch"]
        test["epoch_ind"] = [1, 2, 3, 3]
        test["top1_err"] = [90.5, 72.25, 71.0, 73.0]
        test["epoch_max"] = [3] * 4
        test["time_epoch"] = [0.5] * 4

    results = Results.read(changed(tmp_path, SWEEP, resumed))
    assert results.table["final_error"][0] == 73
    assert [record.epoch for record in results.histories[results.table["id"][0]]] == [1, 2, 3]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("test_epoch.top1_err", ["low"] * 3, r"job 1: test_epoch\.top1_err\[0\] must be a number, not 'low'"),
        ("test_epoch.top1_err", [1, 2, 101], r"top1_err\[2\] must be an error from 0 to 100 percent, not '101.0'"),
        ("test_epoch.top1_err", [1, 2], "test_epoch.top1_err has 2 values for 3 epochs"),
        ("test_epoch.top1_err", 3, "test_epoch.top1_err must be a list"),
        ("test_epoch", [3], "test_epoch must be an object"),
        ("test_epoch.epoch_ind", [1, 2, -3], r"epoch_ind\[2\] must be a whole number, not '-3'"),
        ("train_epoch.loss", [1, 2, math.inf], r"train_epoch\.loss\[2\] must be a number"),
        ("train_epoch.loss", [1, 2, 10**400], r"train_epoch\.loss\[2\] must be a number"),
        ("complexity.flops", "many", "complexity.flops must be a number, not 'many'"),
        ("complexity.flops", 10**400, "complexity.flops must be a number, not '1000"),
        ("complexity.flops", math.nan, "complexity.flops must be a number, not 'nan'"),
        ("cfg", "text", "job 1: cfg must be an object"),
        ("cfg.REGNET.W0", 25, "job 1: cfg.REGNET does not describe a RegNet .*w_0 must be"),
        ("cfg.REGNET.DEPTH", 2.5, "cfg.REGNET.DEPTH must be a whole number"),
        ("cfg.REGNET.BOT_MUL", 0, "cfg.REGNET does not describe a RegNet"),
        ("cfg.MODEL.NUM_CLASSES", 10, "different numbers of classes"),
        ("cfg.MODEL.NUM_CLASSES", None, r"job 1: there is no cfg\.MODEL\.NUM_CLASSES"),
        ("cfg.OPTIM.BASE_LR", True, "cfg.OPTIM.BASE_LR must be a number, not 'True'"),
        ("err", 3, "err must be a text"),
    ],
)
def test_invalid_jobs_are_named(tmp_path, key, value, message):
    def change(jobs):
        *path, last = key.split(".")
        target = jobs[0]
        for name in path:
            target = target[name]
        target[last] = value

    file = changed(tmp_path, SWEEP, change)
    with pytest.raises(RunError, match=message) as caught:
        Results.read(file)
    assert str(file) in str(caught.value)


def test_inconsistent_stages_are_named(tmp_path):
    def short(jobs):
        jobs[2]["cfg"]["ANYNET"]["DEPTHS"] = [3, 4, 6]

    with pytest.raises(RunError, match=r"job 3: the lists of cfg\.ANYNET do not make stages \(they have 3, 4, 4, 4, 4"):
        Results.read(changed(tmp_path, SWEEP, short))

    def empty(jobs):
        jobs[2]["cfg"]["ANYNET"]["DEPTHS"] = [3, 4, 0, 3]

    with pytest.raises(RunError, match=r"job 3: stage 3 of cfg\.ANYNET is invalid \(depth must be"):
        Results.read(changed(tmp_path, SWEEP, empty))


# NDS


@pytest.fixture(scope="module")
def vanilla():
    return Results.read(VANILLA)


def test_jobs_of_nds_are_rows(vanilla):
    assert vanilla.counts == Counts(done=4, failed=0, running=1, waiting=0)
    assert vanilla.chance_error == 90
    assert vanilla.notes == ()  # ten classes follow from the number of weights
    assert vanilla.errors().tolist() == [41.25, 40, 20.5, 90]
    assert vanilla.errors(column="best_error").tolist() == [40.5, 40, 20.5, 60]
    assert vanilla.table["detail"].tolist()[3] == "2 of 3 epochs"
    assert vanilla.table["seed"].tolist() == [1, 2, 1, 1, 3]
    assert vanilla.table["lr"].tolist() == [0.1, 0.1, 0.05, 0.1, 0.1]
    assert vanilla.table["job"].tolist()[0] == "toy-1"
    assert [record.train_loss for record in vanilla.histories[vanilla.table["id"][0]]] == [2, 1.5, 1]
    assert math.isnan(vanilla.histories[vanilla.table["trial"][4]][-1].train_loss)


def test_stem_of_nds_networks_is_the_first_entry(vanilla):
    ours = Network(Stem("cifar", 16), tuple(Stage(1, 16, s, 1, 16) for s in (1, 2, 2)), "vanilla", num_classes=10)
    # By hand: a stem of 3 x 16 x 9 + 32, six convolutions of 16 x 16 x 9 + 32, a classifier of 16 x 10 + 10.
    assert vanilla.table["params"][0] == 464 + 6 * 2336 + 170 == complexity(ours, 32).params
    assert vanilla.table["id"][0] == ours.id
    assert vanilla.table["activations"][0] == complexity(ours, 32).activations
    assert vanilla.table["flops"][0] == 3400000  # the value in the file
    bottleneck = vanilla.table.iloc[2]
    assert bottleneck[["d1", "d2", "d3", "w1", "w2", "w3"]].tolist() == [16, 1, 4, 64, 128, 16]
    assert bottleneck[["b1", "b2", "b3"]].tolist() == [4, 4, 4]  # b is 1 / bot_mul
    assert bottleneck[["g1", "g2", "g3"]].tolist() == [8, 32, 2]  # (w / b) / num_gs
    assert math.isnan(bottleneck["activations"])  # its number of weights differs from ours
    assert vanilla.num_stages == 3


def test_repeats_of_nds_are_averaged(vanilla):
    networks = vanilla.where("params == 14650")
    assert networks.mean_of_repeats(1).errors().tolist() == [41.25]
    assert networks.mean_of_repeats(2).errors().tolist() == [40.625]
    assert networks.mean_of_repeats(3).errors().tolist() == [(41.25 + 40 + 90) / 3]


def test_networks_of_nas_spaces_have_no_stages():
    darts = Results.read(DARTS)
    assert darts.num_stages == 0
    assert darts.chance_error == pytest.approx(99.9)
    assert darts.notes == (
        "DARTS_reruns_in does not contain the number of classes; it is assumed to be that of ImageNet, because the "
        "file's name ends in _in.",
    )
    assert darts.table["activations"].isna().all()
    assert darts.table["id"].nunique() == 2
    parts = darts.split("part")
    assert {part: results.errors().tolist() for part, results in parts.items()} == {"top": [12.5, 12], "mid": [25.5]}


def test_stem_width_may_be_separate_and_cifar_is_assumed(tmp_path):
    def apart(jobs):
        del jobs[1:]
        net = jobs[0]["net"]
        for key in ("ds", "ws", "ss"):
            net[key] = net[key][1:]
        net["stem_w"] = 16

    ours = Results.read(changed(tmp_path, VANILLA, apart))
    assert ours.table["id"][0] == Results.read(VANILLA).table["id"][0]

    def other(jobs):
        jobs[0]["params"] += 1
        del jobs[1:]

    results = Results.read(changed(tmp_path, VANILLA, other))
    assert results.chance_error == 90
    assert "CIFAR-10, because the file's name does not end in _in" in results.notes[0]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("net", 3, "job 1: net must be an object"),
        ("net.ws", ["a", 1, 1, 1], r"job 1: net\.ws\[0\] must be a whole number"),
        ("net.ws", [16, 16], r"job 1: the lists of net do not make stages"),
        ("net.ws", None, r"there are neither net\.ws nor net\.genotype"),
        ("net.ds", [1, 0, 1, 1], r"stage 1 of net is invalid \(depth"),
        ("params", None, "job 1: there is no params"),
        ("params", 1e300, "params must be a number"),
        ("test_ep_top1", None, "there is no test_ep_top1"),
        ("test_ep_top1", [50, 40], "train_ep_top1 has 3 epochs and test_ep_top1 2"),
        ("test_ep_top1", [50, 40, -1], r"test_ep_top1\[2\] must be an error from 0"),
        ("optim", [1], "optim must be an object"),
        ("rng_seed", "one", "rng_seed must be a whole number, not 'one'"),
    ],
)
def test_invalid_jobs_of_nds_are_named(tmp_path, key, value, message):
    def change(jobs):
        *path, last = key.split(".")
        target = jobs[0]
        for name in path:
            target = target[name]
        target[last] = value

    with pytest.raises(RunError, match=message):
        Results.read(changed(tmp_path, VANILLA, change))


def test_a_nan_error_is_a_failure(tmp_path):
    def diverged(jobs):
        jobs[0]["test_ep_top1"][2] = math.nan
        jobs[1]["test_ep_top1"][2] = None

    results = Results.read(changed(tmp_path, VANILLA, diverged))
    assert results.table["reason"].tolist()[:2] == ["diverged", "diverged"]
    assert results.errors().tolist() == [90, 90, 20.5, 90]


# Files that are neither


@pytest.mark.parametrize(
    "content", ["[]", "{}", "3", "[{}]", '[{"a": 1}]', '{"top": 3}', '"net"', "null", '{"cfg": 1}']
)
def test_other_json_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError, match=r"a\.json is neither a sweep\.json of pycls"):
        Results.read(tmp_path / "a.json")


@pytest.mark.parametrize("content", [b"[{", b"\xff\xfe[", b"[" * 100_000, b"", b"9" * 10_000, SWEEP.read_bytes()[:500]])
def test_invalid_json_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(RunError, match=r"a\.json is not valid JSON"):
        Results.read(tmp_path / "a.json")
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(InputError, match="is not a run: neither a folder nor JSON"):
        Results.read(tmp_path / "a")


def test_jobs_that_are_not_objects_are_named(tmp_path):
    with pytest.raises(RunError, match="job 2: a job must be an object, not '3'"):
        Results.read(changed(tmp_path, VANILLA, lambda jobs: [jobs[0], 3]))
    with pytest.raises(RunError, match="job 1 of mid: there is no flops"):
        Results.read(changed(tmp_path, DARTS, lambda parts: parts["mid"][0].pop("flops") and None))


def test_the_format_of_a_file_follows_from_its_content(tmp_path, vanilla):
    (tmp_path / "sweep.json").write_bytes(VANILLA.read_bytes())
    assert Results.read(tmp_path / "sweep.json").errors().tolist() == vanilla.errors().tolist()
