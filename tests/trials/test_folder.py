import csv
import json

import pytest

from designspace.analysis.results import Results
from designspace.analysis.results_csv import read_table
from designspace.spaces import catalog
from designspace.support.errors import InputError, RunError
from designspace.trials import claims
from designspace.trials.folder import RunFolder
from designspace.trials.plan import Plan
from designspace.trials.recipe import Recipe
from designspace.trials.trial import EpochRecord, Trial, TrialFailure, TrialResult

SPACE = catalog.space("AnyNetXB", flops=(360e6, 400e6))
RESULT = TrialResult(final_error=12.5, best_error=12.25, epochs=10, train_s=3.5, device="cpu")


@pytest.fixture
def run(tmp_path):
    run = RunFolder(tmp_path / "B")
    run.create(SPACE.sample(4), {"command": "test"})
    return run


def test_another_population_is_never_overwritten(run):
    before = (run.path / "population.csv").read_bytes()
    run.create(SPACE.sample(4), {})  # the same population, so nothing changes
    for other in (SPACE.sample(4, seed=1), SPACE.sample(3), catalog.space("AnyNetXC", flops=(360e6, 400e6)).sample(4)):
        with pytest.raises(InputError, match="already holds another population: 4 networks of AnyNetXB"):
            run.create(other, {})
    assert (run.path / "population.csv").read_bytes() == before


def test_a_population_can_be_extended(run):
    old = run.population().ids
    run.trial(old[0]).write_result(RESULT)
    run.create(SPACE.sample(7), {})
    population = run.population()
    assert population.ids[:4] == old
    assert [state.status for state in run.states(population.ids)] == ["done"] + 6 * ["waiting"]


def test_the_plan_is_fixed_once(run):
    assert run.plan() is None
    run.write_plan(Recipe(epochs=3), 1)
    run.write_plan(Recipe(epochs=3), 1)
    assert run.plan() == Plan(Recipe(epochs=3), 1)
    with pytest.raises(InputError, match="epochs is 3 there and 4 here"):
        run.write_plan(Recipe(epochs=4), 1)
    with pytest.raises(InputError, match="seed is 1 there and 2 here"):
        run.write_plan(Recipe(epochs=3), 2)


def test_the_status_is_derived_from_the_files(run):
    done, failed, running, waiting = run.population().ids
    run.trial(done).write_result(RESULT)
    run.trial(failed).write_failure(TrialFailure("diverged", "loss is nan\nin epoch 2, of 10", epochs=1))
    run.trial(running).path.mkdir(parents=True)
    assert claims.take(run.trial(running).path)
    states = run.states(run.population().ids)
    assert [state.status for state in states] == ["done", "failed", "running", "waiting"]
    assert states[0].result == RESULT
    gathered = run.gather()
    table = [dict(zip(gathered.header, row, strict=True)) for row in gathered.rows]
    assert [row["status"] for row in table] == ["done", "failed", "running", "waiting"]
    assert (table[0]["final_error"], table[1]["final_error"]) == (12.5, None)
    assert (table[1]["reason"], table[1]["detail"]) == ("diverged", "loss is nan in epoch 2, of 10")
    with run.write_results().open() as file:
        assert [row["id"] for row in csv.DictReader(file)] == [done, failed, running, waiting]


@pytest.mark.parametrize("detail", ["=cmd|' /C calc'!A0", "+1", "-2 is negative", "@SUM(A1)", "'=1", "it's fine"])
def test_no_text_in_the_results_is_a_formula(run, detail):
    id_ = run.population().ids[0]
    run.trial(id_).write_failure(TrialFailure("error", detail))
    path = run.write_results()
    with path.open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)
    assert dict(zip(run.gather().header, run.gather().rows[0], strict=True))["detail"] == detail
    assert read_table(path)["detail"][0] == detail
    assert Results.read(path.parent).table["detail"][0] == detail


def test_reading_changes_nothing(run):
    run.trial(run.population().ids[0]).write_result(RESULT)
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    run.gather()
    run.population()
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


@pytest.mark.parametrize("content", ['{"final_error": 12.5, "best', '{"final_error": 12.5}', "[]", ""])
def test_an_incomplete_result_is_reported_in_its_row(run, content):
    first, second = run.population().ids[:2]
    for id_ in (first, second):
        run.trial(id_).write_result(RESULT)
    (run.trial(first).path / "result.json").write_text(content)
    gathered = run.gather()
    table = [dict(zip(gathered.header, row, strict=True)) for row in gathered.rows]
    assert [row["status"] for row in table] == ["failed", "done", "waiting", "waiting"]
    assert table[0]["reason"] == "error"
    assert "result.json does not hold a whole TrialResult" in table[0]["detail"]


def test_a_history_is_read_back_and_a_truncated_one_is_an_error(run):
    trial = run.trial(run.population().ids[0])
    assert trial.read_history() == ()
    history = (EpochRecord(1, 0.1, 2.3, 88.0, 80.5, 1.5), EpochRecord(2, 0.0, 1.9, 70.0, 66.25, 1.25))
    trial.write_history(history)
    assert trial.read_history() == history
    path = trial.path / "history.jsonl"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(RunError, match=r"history\.jsonl is not whole"):
        trial.read_history()
    assert trial.known_history() == ()


def test_the_definition_of_a_trial_is_written(run):
    network = run.population()[0]
    trial = Trial(network, Recipe(), 3)
    run.trial(trial.id).write_trial(trial)
    definition = json.loads((run.trial(trial.id).path / "trial.json").read_text())
    assert definition["id"] == network.id
    assert definition["network"] == json.loads(network.to_json())
    assert (definition["seed"], definition["recipe"]["epochs"]) == (3, 10)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number >= 1, not 0"),
        ({"epochs": 2.5}, "epochs must be a whole number >= 1, not 2.5"),
        ({"lr": "high"}, "lr must be a number >= 0, not 'high'"),
        ({"momentum": 1}, "momentum must be below 1, not 1"),
        ({"flip": 1}, "flip must be true or false, not 1"),
        ({"warmup_epochs": 11}, "warmup_epochs 11 is more than epochs 10"),
        ({"devices": 0}, "devices must be a whole number >= 1, not 0"),
        ({"devices": 2.0}, "devices must be a whole number >= 1, not 2.0"),
        ({"devices": 3}, "batch_size 128 is not divisible by devices 3"),
        ({"momentum": 0}, "nesterov needs a momentum"),
        ({"learning_rate": 0.1}, "unknown option 'learning_rate'; choose from: data, train_images"),
    ],
)
def test_invalid_recipes(fields, message):
    with pytest.raises(InputError, match=message):
        Recipe.from_dict(fields)


def test_a_folder_without_a_population_says_how_to_sample_one(tmp_path):
    with pytest.raises(RunError, match=f"sample one first: .*designspace.sample space=RegNetX run={tmp_path}"):
        RunFolder(tmp_path).space()
