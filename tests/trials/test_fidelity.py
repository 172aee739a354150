"""Which trials of a run are stopped early, and what its folder says of them."""

import json

import pytest
from merge_runs import finish, make
from sweep_runs import make_run

from designspace.support.errors import InputError, RunError
from designspace.trials.fidelity import FIDELITY_FILE, Fidelity, Standing, Standings, read_standings
from designspace.trials.folder import RunFolder
from designspace.trials.merge import merge

RULE = Fidelity(epochs=3, keep=0.5, sample=0.25)
ERRORS = {f"{k:012x}": float(k) for k in range(40)}


def test_the_best_and_a_random_sample_go_on():
    standings = RULE.decide(ERRORS, seed=0)
    assert [standings[key].promising for key in ERRORS] == [True] * 20 + [False] * 20
    sampled = {key for key in ERRORS if standings[key].sampled}
    assert len(sampled) == 10
    assert 0 < sum(standings[key].promising for key in sampled) < 10  # drawn from all, whatever their errors are
    assert [standing.continues for standing in standings.values()] == [
        standing.sampled or standing.promising for standing in standings.values()
    ]


def test_the_sample_does_not_depend_on_errors_or_order_but_on_the_seed():
    def sampled(errors, seed=0):
        return {key for key, standing in RULE.decide(errors, seed).items() if standing.sampled}

    assert sampled(ERRORS) == sampled({key: -error for key, error in reversed(ERRORS.items())})
    assert sampled(ERRORS) != sampled(ERRORS, seed=1)


def test_ties_and_few_trials_and_extreme_fractions():
    tied = RULE.decide(dict.fromkeys(ERRORS, 50.0), 0)
    assert sum(standing.promising for standing in tied.values()) == 20
    assert 0 < sum(standing.promising and standing.sampled for standing in tied.values()) < 10  # ties are independent
    few = RULE.decide(dict(list(ERRORS.items())[:6]), 0)
    assert all(standing.sampled for standing in few.values())
    none_kept = Fidelity(epochs=1, keep=0, sample=0).decide(ERRORS, 0)
    assert sum(standing.continues for standing in none_kept.values()) == 8
    assert all(standing.continues for standing in Fidelity(epochs=1, keep=1).decide(ERRORS, 0).values())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epochs": 0}, "stop.epochs must be a whole number >= 1"),
        ({"epochs": 1, "keep": 1.5}, "stop.keep"),
        ({"epochs": 1, "sample": -0.1}, "stop.sample"),
        ({"epochs": 1, "sample": float("nan")}, "stop.sample"),
    ],
)
def test_impossible_rules_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        Fidelity(**fields)


def test_the_folder_says_which_trials_are_stopped(tmp_path):
    run = make_run(tmp_path / "run", n=10, epochs=2)
    assert read_standings(run.path) is None
    assert "sampled" not in run.gather().header
    standings = Fidelity(epochs=1, keep=0.1, sample=0).decide({key: float(k) for k, key in enumerate(run.ids())}, 0)
    decided = Standings(Fidelity(epochs=1, keep=0.1, sample=0), standings)
    decided.write(run.path)
    assert read_standings(run.path) == decided
    stopped = {key for key, standing in standings.items() if not standing.continues}
    assert stopped
    assert {state.key for state in run.states(run.ids()) if state.status == "stopped"} == stopped
    gathered = run.gather()
    assert gathered.header[-2:] == ("sampled", "promising")
    assert {row[gathered.header.index("id")] for row in gathered.rows if row[-2:] == ("no", "no")} == stopped


def test_a_merged_run_knows_which_trials_were_chosen_by_their_errors(tmp_path):
    part = make(tmp_path / "part")
    finish(part, 0, 40.0)
    standings = {key: Standing(float(k), False, k == 0) for k, key in enumerate(part.ids())}
    Standings(RULE, standings).write(part.path)
    whole = RunFolder(tmp_path / "whole")
    merge(whole, [part], {})
    assert read_standings(whole.path) == Standings(RULE, standings)
    assert [state.status for state in whole.states(whole.ids())] == ["done", "stopped", "stopped", "stopped"]
    merge(whole, [part], {})
    assert read_standings(whole.path) == Standings(RULE, standings)
    Standings(Fidelity(epochs=1), standings).write(part.path)
    with pytest.raises(InputError, match="stopped early by different rules"):
        merge(whole, [part], {})


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"epochs": 1, "trials": {"a": {"error": 1}}}', '{"epochs": 0, "trials": {}}']
)
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / FIDELITY_FILE).write_text(text)
    with pytest.raises(RunError, match=FIDELITY_FILE):
        read_standings(tmp_path)


def test_the_file_is_readable_by_people(tmp_path):
    Standings(RULE, RULE.decide(ERRORS, 0)).write(tmp_path)
    fields = json.loads((tmp_path / FIDELITY_FILE).read_text())
    assert fields["epochs"] == 3
    assert fields["trials"][next(iter(ERRORS))]["promising"] is True
