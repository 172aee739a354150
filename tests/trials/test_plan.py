"""Keys of trials, the seeds of a run, and the file that holds them."""

import dataclasses

import pytest
from sweep_runs import RECIPE, make_run

from designspace.spaces import catalog
from designspace.support.errors import InputError, RunError
from designspace.trials.plan import MAX_SEED, Plan, Repeats, further_seeds, id_of, is_key
from designspace.trials.recipe import Recipe
from designspace.trials.trial import EpochRecord, TrialFailure, TrialResult, fingerprint_of

A, B, C = "60e881614052", "123456789012", "0123456789ab"

EARLIER = """\
id,d1,d2,d3,d4,w1,w2,w3,w4,b1,b2,b3,b4,g1,g2,g3,g4,radix,flops,params,activations,draws,seed,status,final_error,\
best_error,heldout_error,epochs,train_s,device,memory_bytes,reason,detail
f1e4dc5e0cf3,5,1,1,2,8,24,8,80,1,1,4,4,2,1,2,20,0,519218,17718,46212,1,0,done,66.25,66.25,,2,2.75,cpu,,,
d646c9a25cf7,1,2,10,1,16,24,8,32,4,2,2,4,4,4,4,8,0,334762,7394,27354,1,0,failed,,,,1,,,,diverged,\
"loss is nan in epoch 2, of 10"
14a65ec0039c,4,5,2,8,8,8,8,24,2,4,1,1,2,2,8,2,0,294718,16894,30220,1,0,waiting,,,,,,,,,
"""
EARLIER_HISTORY = """\
id,epoch,lr,train_loss,train_error,test_error,wall_s,heldout_error
f1e4dc5e0cf3,1,0.1,2.3,88.0,80.5,1.5,
f1e4dc5e0cf3,2,0.0,1.9,70.0,66.25,1.25,
"""
"""Tables that the version before repeats wrote for the run of the fixture `finished`."""
GREY = catalog.space(
    "AnyNetXA", stem="cifar", stem_width=8, in_channels=1, num_classes=10, resolution=28, flops=(2e5, 6e5)
)
"""The space of this run."""


@pytest.fixture
def finished(tmp_path):
    run = make_run(tmp_path / "run", n=3, space=GREY)
    done, failed, _ = run.ids()
    run.trial(done).write_history(
        (EpochRecord(1, 0.1, 2.3, 88.0, 80.5, 1.5), EpochRecord(2, 0.0, 1.9, 70.0, 66.25, 1.25))
    )
    run.trial(done).write_result(TrialResult(66.25, 66.25, 2, 2.75, "cpu"))
    run.trial(failed).path.mkdir()
    run.trial(failed).write_failure(TrialFailure("diverged", "loss is nan\nin epoch 2, of 10", epochs=1))
    return run


def test_keys_of_the_first_seed_are_ids_of_networks():
    plan = Plan(Recipe(), 7, Repeats((8,), {B: (8, 11)}))
    assert plan.keys([A, B, C]) == (A, B, C, f"{A}-s8", f"{B}-s8", f"{C}-s8", f"{B}-s11")  # seed by seed
    assert [plan.seed_of(key) for key in (A, f"{B}-s8", f"{B}-s11")] == [7, 8, 11]
    assert id_of(f"{B}-s11") == B
    assert plan.key(A, 7) == A
    assert Plan(Recipe(), 7).keys([A, B]) == (A, B)
    assert plan.fresh_keys() == {f"{B}-s8", f"{B}-s11"}
    assert (plan.choosing_seeds(A), plan.choosing_seeds(B)) == ((7, 8), (7,))
    assert plan.repeats.of_networks([A, C]) == Repeats((8,))


def test_the_fingerprint_of_a_trial_depends_on_its_seed():
    plan = Plan(Recipe(), 0, Repeats((1,)))
    assert plan.fingerprint(A) == fingerprint_of(A, Recipe(), 0)
    assert plan.fingerprint(f"{A}-s1") == fingerprint_of(A, Recipe(), 1)


@pytest.mark.parametrize("key", [A, f"{A}-s0", f"{A}-s12", f"{A}-s9223372036854775807"])
def test_valid_keys(key):
    assert is_key(key)


@pytest.mark.parametrize(
    "key",
    [
        *("", "abc", A.upper(), f"{A}\n", f"{A}-", f"{A}-s", f"{A}-s01", f"{A}-s-1", f"{A}-s1.0", f"{A}-s1e3"),
        *(f"{A}-s1/../../x", f"../{A}", f"{A}/..", f"{A}-t1", f"{A}-s1 ", f"{A}-s\uff11", f"{A}-s{10**19}"),
    ],
)
def test_invalid_keys_are_refused(key, finished):
    assert not is_key(key)
    with pytest.raises(RunError, match="is not an id, which has 12 hex digits, nor one with -s<seed>"):
        finished.trial(key)


def test_a_run_with_one_seed_has_the_files_of_earlier_versions(finished):
    finished.write_results()
    assert finished.results.read_text() == EARLIER
    assert finished.history.read_text() == EARLIER_HISTORY
    assert not (finished.path / "repeats.yaml").exists()
    finished.write_plan(RECIPE, 0, further_seeds(0, 1))
    assert not (finished.path / "repeats.yaml").exists()


def test_each_repeat_has_a_row(finished):
    done, failed, waiting = finished.ids()
    finished.write_plan(RECIPE, 0, Repeats((1,), {done: (5,)}))
    folder = finished.trial(f"{done}-s5")
    folder.write_history((EpochRecord(1, 0.1, 2.3, 88.0, 70.5, 1.5),))
    folder.write_result(TrialResult(70.5, 70.5, 2, 2.75, "cpu"))
    finished.write_results()
    header, *rows = [line.split(",") for line in finished.results.read_text().splitlines()]
    assert header == ["trial", "fresh", *EARLIER.splitlines()[0].split(",")]
    table = [dict(zip(header, row, strict=False)) for row in rows]
    assert [row["trial"] for row in table] == list(finished.trial_keys())
    assert [row["id"] for row in table] == [done, failed, waiting, done, failed, waiting, done]
    assert [row["seed"] for row in table] == list("0001115")
    assert [row["fresh"] for row in table] == 6 * ["no"] + ["yes"]
    assert (table[-1]["status"], table[-1]["final_error"], table[-1]["d1"]) == ("done", "70.5", table[0]["d1"])
    assert finished.history.read_text().splitlines()[-1].startswith(f"{done}-s5,1,")
    before = finished.histories()
    (finished.path / "trials").rename(finished.path.parent / "elsewhere")  # published without them
    assert finished.histories() == before


def test_repeats_are_added_and_never_replaced(finished):
    a, b, _ = finished.ids()
    finished.write_plan(RECIPE, 0, Repeats(fresh={a: (3,)}))
    finished.write_plan(RECIPE, 0, Repeats((1, 2), {b: (4,)}))
    text = (finished.path / "repeats.yaml").read_text()
    assert text == f'all: [1, 2]\nfresh:\n  "{a}": [3]\n  "{b}": [4]\n'
    finished.write_plan(RECIPE, 0, further_seeds(0, 2))
    finished.write_plan(RECIPE, 0)
    assert (finished.path / "repeats.yaml").read_text() == text
    assert finished.plan() == Plan(RECIPE, 0, Repeats((1, 2), {a: (3,), b: (4,)}))
    assert not list(finished.path.glob("claim.*"))


def test_ids_that_look_like_numbers_stay_texts(finished):
    path = finished.path / "repeats.yaml"
    repeats = Repeats((1,), {A: (2,), B: (2,), "012345670123": (MAX_SEED,)})
    path.write_text(repeats.to_text())
    assert finished.plan().repeats == repeats
    with pytest.raises(RunError, match=f"has repeats of {'012345670123'}, which is not a network of its population"):
        finished.trial_keys()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a mapping with all, fresh"),
        ("all: [1]", "fresh is missing"),
        ("all: 1\nfresh: {}", "all must be a list of seeds"),
        ("all: [true]\nfresh: {}", "a seed of repeats must be a whole number from 0"),
        ("all: [-1]\nfresh: {}", "a seed of repeats must be a whole number from 0"),
        ("all: [1, 1]\nfresh: {}", "are not ascending, or one occurs twice"),
        ("all: [0]\nfresh: {}", "the seed 0 is the run's first one"),
        (f"all: []\nfresh: {{'{A}': [0]}}", "the seed 0 is the run's first one"),
        ("all: []\nfresh: {'../../etc': [1]}", r"'\.\./\.\./etc' is not an id"),
        ("all: []\nfresh: {60e881614052: [1]}", "fresh: unknown key"),
        ("all: []\nfresh: {}\nmore: 1", "unknown key 'more'"),
        ("all: [1", "line 1"),
    ],
)
def test_a_damaged_file_is_an_error(finished, text, message):
    (finished.path / "repeats.yaml").write_text(text)
    with pytest.raises(RunError, match=rf"(?s)repeats\.yaml does not contain valid repeats .*{message}"):
        finished.plan()


def test_another_seed_is_still_refused(finished):
    finished.write_plan(RECIPE, 0, Repeats((1,)))
    with pytest.raises(InputError, match="seed is 0 there and 1 here"):
        finished.write_plan(RECIPE, 1)
    with pytest.raises(InputError, match="seeds must be a whole number from 1"):
        further_seeds(0, 0)
    with pytest.raises(InputError, match="seed must be a whole number >= 0, not -1"):
        further_seeds(-1, 1)


def test_an_extended_population_has_the_seeds_of_all_networks(finished):
    finished.write_plan(RECIPE, 0, Repeats((1,)))
    finished.create(finished.space().sample(5), {})
    assert len(finished.trial_keys()) == 10
    assert finished.trial_keys(dataclasses.replace(finished.plan(), repeats=Repeats())) == finished.ids()
