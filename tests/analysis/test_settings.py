"""Settings of the recipe that were drawn for each network, as columns, quantities, effects and preconditions."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from populations import make_table
from sweep_runs import RECIPE, SPACE

from designspace.analysis import analyze
from designspace.analysis.best_values import best_value, best_values
from designspace.analysis.comparison import compare
from designspace.analysis.importance import importance
from designspace.analysis.origin import origin_of
from designspace.analysis.preconditions import by_network, same_training
from designspace.analysis.quantities import parameters_of, quantity, varying_quantities
from designspace.analysis.results import Results
from designspace.analysis.settings import setting_effects, setting_sentences
from designspace.analysis.shrunken import noise_sentences
from designspace.analysis.tables import best_table, best_values_table
from designspace.support.errors import InputError
from designspace.trials.folder import RunFolder
from designspace.trials.plan import further_seeds
from designspace.trials.recipe_axes import RecipeAxes, RecipeAxis
from designspace.trials.trial import TrialResult

LR = RecipeAxis("log_uniform", 0.01, 1)
OPTIMISER = RecipeAxis("choice", values=("sgd", "adamw"))


def drawn(errors, rates, name="A", tag="a", seeds=None, **axes):
    """Return results of networks (rows of ``errors``) with a drawn learning rate and several trainings (columns)."""
    errors = np.asarray(errors, float).reshape(len(rates), -1)
    parts = []
    for index, column in enumerate(errors.T):
        table = make_table(column.tolist(), tag=tag, vary=0).assign(seed=index, lr=rates)
        parts.append(table.assign(trial=table["id"] + f"-s{index}"))
    results = Results.from_table(name, pd.concat(parts, ignore_index=True), 10)
    return dataclasses.replace(results, drawn={"lr": LR, **axes})


def rates_of(count, seed=0, low=0.01, high=1.0):
    """Return log-uniform learning rates."""
    rng = np.random.default_rng(seed)
    return np.exp(rng.uniform(math.log(low), math.log(high), count))


def best_at(rates, best=0.1, slope=2.0):
    """Return errors that are least at a learning rate."""
    return 30 + slope * np.log10(np.asarray(rates) / best) ** 2


def ordered(count):
    """Return different errors."""
    return np.linspace(20.0, 40.0, count)


# Effects


def simulated(seed, trainings=1, networks=40, of_networks=1.0, of_seeds=1.0, slope=2.0):
    """Return simulated results, and the variance that the settings explain of these networks."""
    rng, rates = np.random.default_rng(seed), rates_of(networks, seed)
    settings = best_at(rates, slope=slope)
    own = rng.normal(0, of_networks, networks)
    errors = settings[:, None] + own[:, None] + rng.normal(0, of_seeds, (networks, trainings))
    return drawn(errors, rates), float(settings.var())


def test_intervals_of_the_explained_fraction_have_the_nominal_coverage():
    covered, excess = [], []
    for seed in range(150):
        results, variance = simulated(seed)
        effects = setting_effects(results, 0.1)
        true = variance / (variance + 2.0)
        covered.append(effects.interval.low <= true <= effects.interval.high)
        excess.append(effects.explained - true)
        assert effects.interval.low <= effects.explained <= effects.interval.high + 0.05
    assert np.mean(covered) == pytest.approx(0.9, abs=0.07)  # three standard errors
    assert abs(np.mean(excess)) < 0.05


def test_without_an_effect_the_fraction_is_about_0():
    effects = [setting_effects(simulated(seed, slope=0.0)[0]) for seed in range(100)]
    assert np.mean([each.explained for each in effects]) < 0.06
    assert np.mean([each.interval.low > 0 for each in effects]) < 0.08


def test_shares_of_settings_networks_and_seeds_are_separated_by_repeats():
    shares, true = [], []
    for seed in range(40):
        results, variance = simulated(seed, trainings=3, of_networks=1.0, of_seeds=0.7)
        effects = setting_effects(results)
        shares.append([getattr(effects.shares, name) for name in ("settings", "networks", "seeds")])
        true.append(np.array([variance, 1.0, 0.49]) / (variance + 1.49))
        assert sum(shares[-1]) == pytest.approx(1)
    assert np.mean(shares, axis=0) == pytest.approx(np.mean(true, axis=0), abs=0.05)
    assert (effects.networks, effects.trainings) == (40, 120)
    assert "% is due to these settings, " in effects.sentence()
    assert effects.table()["share_of_seeds"].iloc[0] == effects.shares.seeds


def test_single_trainings_do_not_separate_networks_and_seeds():
    effects = setting_effects(simulated(1)[0])
    assert effects.shares is None
    assert effects.sentence().startswith("lr, drawn for each network, explains ")
    assert effects.sentence().endswith("which single trainings cannot separate; to train each network with two seeds, "
                                       "launch with seeds=2.")  # fmt: skip
    assert math.isnan(effects.table()["share_of_seeds"].iloc[0])


def test_a_choice_of_texts_explains_the_difference_of_its_values():
    rates = rates_of(60)
    names = np.where(np.arange(60) % 2 == 0, "sgd", "adamw")
    errors = 30 + 4.0 * (names == "adamw") + np.random.default_rng(0).normal(0, 0.1, 60)
    results = drawn(errors, rates)
    results.table["optimiser"] = names
    assert setting_effects(results).explained < 0.2
    both = dataclasses.replace(results, drawn={"lr": LR, "optimiser": OPTIMISER})
    assert setting_effects(both).explained > 0.99
    assert "lr and optimiser, drawn for each network, explain" in setting_effects(both).sentence()
    assert len([line for line in setting_sentences(both) if "best networks have" in line]) == 1


def test_networks_that_diverged_are_left_out():
    results, _ = simulated(5)
    rates = results.table["lr"]
    failed = results.table.assign(status=results.table["status"].where(rates < 0.6, "failed"))
    failed = failed.assign(reason=np.where(rates < 0.6, "", "diverged"))
    failed.loc[rates >= 0.6, ["final_error", "best_error"]] = np.nan
    with_failures = dataclasses.replace(results, table=failed)
    effects, expected = setting_effects(with_failures), setting_effects(results.where("lr < 0.6"))
    assert (effects.explained, effects.interval) == (expected.explained, expected.interval)
    assert effects.failed == int((rates >= 0.6).sum()) > 0
    assert f"errors of {effects.networks} networks (without {effects.failed} that failed)" in effects.sentence()


def test_an_exact_effect_explains_everything():
    rates = rates_of(20)
    effects = setting_effects(drawn(best_at(rates), rates))
    assert effects.explained == pytest.approx(1)
    assert effects.interval.high == pytest.approx(1)


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (drawn(best_at(rates_of(12)), rates_of(12)), "A: the effect of lr needs 13 networks that differ in it, not 12"),
        (drawn(np.full(20, 30.0), rates_of(20)), "A: all 20 errors are equal"),
        (drawn(ordered(20), np.full(20, 0.1)), "needs 13 networks that differ in it, not 20"),
        (dataclasses.replace(drawn(ordered(20), rates_of(20)), drawn={}), "no field of the recipe was drawn"),
        (drawn([30.0], [0.1]), "not 1"),
    ],
)
def test_effects_that_cannot_be_estimated_are_refused(results, message):
    with pytest.raises(InputError, match=message):
        setting_effects(results)
    assert not any("explain" in sentence for sentence in setting_sentences(results))


# Settings as quantities


def test_a_drawn_setting_is_a_quantity_like_a_parameter_of_networks():
    rates = rates_of(200)
    results = drawn(best_at(rates, slope=8) + np.random.default_rng(0).normal(0, 0.5, 200), rates)
    assert quantity("lr").axis_label == "learning rate"
    assert "lr" in {each.name for each in varying_quantities(results)}
    assert "lr" in {each.name for each in parameters_of(results)}
    best = best_value(results, "lr")
    assert best.low < 0.1 < best.high
    assert 0.05 < best.low < best.high < 0.2
    assert "lr" in best_values(results).table()["quantity"].tolist()
    assert "learning rate" in [row[0] for row in best_values_table(results).rows]
    assert importance(results, repeats=2).parameters[0].quantity.name == "lr"
    (sentence, _) = setting_sentences(results)
    numbers = f"lr {best.median:.3g} ({best.low:.3g} to {best.high:.3g}, empirical bootstrap of 200 networks)"
    assert sentence == f"A: the best networks have {numbers}; it was drawn log-uniformly from 0.01 to 1."


def test_a_setting_that_all_trials_share_is_no_quantity_that_varies():
    results = drawn(ordered(20), np.full(20, 0.1))
    assert "lr" not in {each.name for each in (*varying_quantities(results), *parameters_of(results))}


def test_the_best_networks_are_listed_with_their_settings():
    rates = [0.5, 0.25, 0.125]
    table = best_table(drawn([30.0, 20.0, 40.0], rates))
    assert [row[table.header.index("lr")] for row in table.rows] == ["0.25", "0.5", "0.125"]


# Repeated seeds


def test_a_network_with_several_seeds_counts_once():
    rng, rates = np.random.default_rng(0), rates_of(24)
    errors = rng.normal(30, 2, (24, 1)) + rng.normal(0, 0.1, (24, 3))
    results = drawn(errors, rates)
    once = by_network(results)
    assert len(once.table) == 24
    assert once.errors() == pytest.approx(errors.mean(axis=1))
    assert sorted(once.table["lr"]) == pytest.approx(sorted(rates))
    other = drawn(rng.normal(30, 2, (24, 3)), rates_of(24, 1), "B", "b")
    pair = compare(results, other)
    assert (pair.n_a, pair.n_b) == (24, 24)
    assert best_value(once, "lr").n == 24
    assert "of single trainings is due to the networks and the settings drawn for each" in noise_sentences(results)[0]
    plain = dataclasses.replace(results, drawn={})
    assert "of single trainings is due to the networks (" in noise_sentences(plain)[0]


def test_the_report_has_the_sentences(tmp_path):
    results = simulated(3, trainings=2)[0]
    sentences = setting_sentences(results)
    assert len(sentences) == 2
    assert set(sentences) <= set(analyze([results], tmp_path, {}).sentences)


# Training alike


def test_runs_with_the_same_axes_were_trained_alike():
    a = drawn(ordered(30), rates_of(30, 0))
    b = drawn(ordered(30), rates_of(30, 1), "B")
    assert same_training(a, b).holds
    narrow = dataclasses.replace(b, drawn={"lr": RecipeAxis("log_uniform", 0.01, 2)})
    check = same_training(a, narrow)
    assert not check.holds
    assert "lr drawn log-uniformly from 0.01 to 1 against drawn log-uniformly from 0.01 to 2" in check.sentence
    fixed = drawn(ordered(30), np.full(30, 0.1), "C")
    check = same_training(a, dataclasses.replace(fixed, drawn={}))
    assert "(lr drawn log-uniformly from 0.01 to 1 against 0.1)" in check.sentence


def test_parts_that_were_selected_by_a_setting_were_not_trained_alike():
    rates = rates_of(60)
    results = drawn(ordered(60), rates)
    low, high = results.where("lr < 0.1"), results.where("lr >= 0.1")
    assert "lr 0.0" in same_training(low, high).sentence
    assert same_training(results.where("d1 < 8"), results.where("d1 >= 8")).holds


# Runs on disk


def run_on_disk(path, seed=0, trials=4, **fields):
    """Return a run folder with drawn settings, whose trials of the first seed are done."""
    fields = {**RECIPE.to_dict(), **fields}
    axes = RecipeAxes.from_fields(fields)
    run = RunFolder(path)
    run.create(SPACE.sample(trials, seed), {})
    run.write_plan(axes.recipe(fields), 0, further_seeds(0, 2), axes)
    for number, id_ in enumerate(run.ids()):
        run.trial(id_).write_result(TrialResult(30.0 + number, 30.0, 2, 1.0, "cpu"))
    return run


def test_runs_are_read_with_their_axes(tmp_path):
    lr = LR.to_dict()
    switch = {"kind": "choice", "values": [True, False]}
    a, b = (run_on_disk(tmp_path / name, seed, lr=lr, flip=switch) for seed, name in enumerate("ab"))
    c = run_on_disk(tmp_path / "c", 2, lr=lr)
    assert Results.read(a, b).drawn == a.plan().axes.by_field
    merged = Results.read(a, b, c)
    assert merged.drawn == {"lr": LR}
    assert len(merged.table) == 24
    assert same_training(Results.read(a), Results.read(b)).holds
    assert "flip" in same_training(Results.read(a), Results.read(c)).sentence
    assert Results.read(a).training["lr"] == tuple(sorted({a.plan().recipe_of(id_).lr for id_ in a.ids()}))
    table = Results.read(a).table
    assert table["flip"].tolist() == [a.plan().recipe_of(key).flip for key in table["trial"]]


def test_a_run_of_one_network_has_its_settings(tmp_path):
    policy = {"kind": "choice", "values": [None]}
    mixup = {"kind": "uniform", "low": 0, "high": 0.5}
    run = run_on_disk(tmp_path / "r", trials=1, mixup=mixup, policy=policy, flip={"kind": "choice", "values": [True]})
    results = Results.read(run)
    drawn_mixup = run.plan().recipe_of(run.ids()[0]).mixup
    assert results.table["mixup"].tolist() == 2 * [drawn_mixup]
    table = best_table(results)
    start = table.header.index("radix") + 1
    assert table.header[start : start + 3] == ("flip", "policy", "mixup")
    assert table.rows[0][start : start + 3] == ("true", "null", f"{drawn_mixup:g}")
    assert same_training(results, results).holds
    (sentence,) = setting_sentences(results)
    assert sentence.startswith(f"r: the best networks have mixup {drawn_mixup:.3g} (")


def test_the_origin_says_how_settings_were_drawn(tmp_path):
    run = run_on_disk(
        tmp_path / "r",
        lr=LR.to_dict(),
        weight_decay={"kind": "choice", "values": [1e-4, 5e-4]},
        erasing={"kind": "uniform", "low": 0, "high": 0.5},
        optimiser=OPTIMISER.to_dict(),
    )
    facts = origin_of(run, Results.read(run)).facts
    assert facts["learning rate"] == "drawn log-uniformly from 0.01 to 1"
    assert facts["weight decay"] == "drawn from [0.0001, 0.0005]"
    assert facts["drawn for each network"] == "erasing drawn uniformly from 0 to 0.5; optimiser drawn from [sgd, adamw]"
    assert facts["augmentation"] == "flips, crops after padding by 2 pixels"
    assert "other settings" not in facts
    assert "learning rate drawn log-uniformly from 0.01 to 1" in origin_of(run, Results.read(run)).sentence()
