"""Sampling under a limit on latency, with latencies that follow from the network and are known to the test."""

import dataclasses
import math

import numpy as np
import pytest

from designspace.measurement.limited import MIN_MEASURED, LimitedSampling
from designspace.measurement.predictor import Predictor, features
from designspace.measurement.session import Measured
from designspace.networks.columns import NetworkColumns
from designspace.networks.complexity import complexity
from designspace.spaces import catalog
from designspace.spaces.candidates import (
    ACCEPTED,
    CANDIDATES_FILE,
    PREDICTED_OUTSIDE,
    read_candidates,
    write_candidates,
)
from designspace.spaces.costs import Cost, Setting
from designspace.spaces.description import space_from_dict
from designspace.spaces.latency import LatencyLimit
from designspace.spaces.population import DRAWS, DUPLICATE
from designspace.spaces.population_files import read_population
from designspace.support.errors import InputError, RunError

SETTING = Setting("cpu", 1, threads=2)
LIMIT = LatencyLimit(SETTING, below_ms=1.3)
SPACE = dataclasses.replace(
    catalog.space("RegNetX", resolution=64, flops=[2e6, 80e6], regime="auto", num_classes=10), latency=LIMIT
)


def true_latency(network):
    """Return a latency that no sum over layers gives exactly, in milliseconds."""
    flops, _, activations = complexity(network, 64)
    return (0.3 + 0.05 * network.depth + (flops / 2e7) ** 0.9 + activations / 5e5) * (1 + 0.1 / network.depth)


class Machine:
    """A machine whose measurements are off by up to 1%, and which can stop working."""

    def __init__(self, works_for=10**9, noise=0.02):
        self.measured, self.works_for, self.noise = [], works_for, noise
        self._rng = np.random.default_rng(0)

    def measure(self, networks):
        if len(self.measured) + len(networks) > self.works_for:
            raise KeyboardInterrupt
        self.measured += networks
        return Measured(tuple(map(self._cost, networks)), self.noise, "")

    def _cost(self, network):
        ms = true_latency(network) * self._rng.uniform(0.99, 1.01)
        return Cost(
            *(network.id, "latency", SETTING, "machine", 64, ms, ms, ms, 9, False, math.nan, "2026-01-31T12:00:00Z"),
            "torch 2",
        )


@pytest.fixture(scope="module")
def search():
    search = LimitedSampling(SPACE, 3, Machine().measure)
    search.population = search.sample(60)
    return search


def test_every_accepted_network_was_measured_and_is_within(search):
    population = search.population
    assert len(population) == 60
    assert all(search.decisions[id_].measured_ms <= LIMIT.below_ms for id_ in population.ids)
    assert max(map(true_latency, population)) <= LIMIT.below_ms
    assert population.space == SPACE


def test_most_networks_outside_are_not_measured(search):
    outside = sum(candidate.verdict != ACCEPTED for candidate in search.decisions.values())
    predicted = sum(candidate.verdict == PREDICTED_OUTSIDE for candidate in search.decisions.values())
    assert predicted > outside / 2
    assert len(search.measured) > MIN_MEASURED
    assert search.predictor.median_error < 0.05


def test_few_networks_within_are_left_out_by_prediction(search):
    candidates = catalog_candidates(len(search.decisions))
    within = [network for network in candidates if true_latency(network) * 1.03 < LIMIT.below_ms]
    lost = [network for network in within if search.decisions[network.id].verdict == PREDICTED_OUTSIDE]
    assert len(lost) <= 0.02 * len(within)


def catalog_candidates(count):
    return dataclasses.replace(SPACE, latency=None).sample(count, 3)


def test_some_of_those_left_out_are_measured_all_the_same(search):
    audited, within = search.audit()
    assert audited > 0
    assert within == 0


def test_draws_and_rejections_add_up(search):
    population = search.population
    assert population.drawn == len(population) + sum(population.rejected.values())
    assert population.columns[DRAWS].sum() == len(population) + population.rejected[DUPLICATE]
    reasons = [reason for reason in population.rejected if "latency" in reason]
    assert reasons == [f"predicted outside the limit: {LIMIT}", f"measured outside the limit: {LIMIT}"]


def test_known_decisions_give_the_same_networks_without_measuring(search):
    machine = Machine(works_for=0)
    again = LimitedSampling(SPACE, 3, machine.measure, search.decisions.values())
    assert again.sample(60) == search.population
    assert not machine.measured


def test_more_networks_extend_the_population(search):
    more = LimitedSampling(SPACE, 3, Machine().measure, search.decisions.values()).sample(70)
    assert search.population.is_prefix_of(more)


def test_an_interrupted_search_is_resumed(tmp_path):
    def keep(search):
        write_candidates(tmp_path, LIMIT, search.decisions.values())

    with pytest.raises(KeyboardInterrupt):
        LimitedSampling(SPACE, 3, Machine(works_for=50).measure, on_decisions=keep).sample(60)
    known = read_candidates(tmp_path, LIMIT)
    assert 30 < sum(candidate.is_measured for candidate in known) <= 50
    machine = Machine()
    resumed = LimitedSampling(SPACE, 3, machine.measure, known)
    population = resumed.sample(60)
    assert len(population) == 60
    assert not {network.id for network in machine.measured} & {c.id for c in known if c.is_measured}
    keep(resumed)
    assert LimitedSampling(SPACE, 3, Machine(0).measure, read_candidates(tmp_path, LIMIT)).sample(60) == population


def test_a_population_under_a_limit_is_written_and_read(search, tmp_path):
    search.population.write(tmp_path)
    assert read_population(tmp_path) == search.population


def test_a_space_describes_its_limit(search):
    assert space_from_dict(SPACE.to_dict()) == SPACE
    assert SPACE.to_dict()["latency"] == {
        **{"device": "cpu", "batch": 1, "precision": "float32", "threads": 2, "below_ms": 1.3}
    }
    assert "latency at most 1.3 ms (cpu, 2 threads, batch 1, float32)" in SPACE._repr_html_()


def test_a_limit_that_nothing_meets_is_an_error_with_what_was_measured(monkeypatch):
    monkeypatch.setattr("designspace.measurement.limited.MAX_CANDIDATES_WITHOUT", 200)
    space = dataclasses.replace(SPACE, latency=LatencyLimit(SETTING, below_ms=0.1))
    with pytest.raises(InputError, match=r"found only 0 of the 5 networks .* those measured take [\d.]+ to [\d.]+ ms"):
        LimitedSampling(space, 3, Machine().measure).sample(5)


def test_a_space_without_a_limit_is_sampled_as_ever():
    with pytest.raises(InputError, match="no limit on latency"):
        LimitedSampling(dataclasses.replace(SPACE, latency=None), 3, Machine().measure)
    with pytest.raises(InputError, match="must be measured"):
        SPACE.sample(3)


def test_networks_are_accepted_before_the_noise_is_known():
    population = LimitedSampling(SPACE, 3, Machine(noise=math.nan).measure).sample(3)
    assert all(true_latency(network) <= LIMIT.below_ms for network in population)


def test_a_band_has_two_ends():
    limit = LatencyLimit(SETTING, below_ms=1.6, above_ms=1.2)
    population = LimitedSampling(dataclasses.replace(SPACE, latency=limit), 3, Machine().measure).sample(20)
    assert all(1.2 <= true_latency(network) <= 1.6 for network in population)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"below_ms": -1}, "below_ms must be a number"),
        ({"below_ms": 2, "above_ms": 3}, "above_ms=3 must be less than below_ms=2"),
        ({}, "needs a limit: give below_ms, above_ms, or both"),
        ({"below_ms": 2, "device": "gpu"}, "choose from: cpu, cuda, onnxruntime"),
        ({"below": 2}, "unknown key 'below'; did you mean 'below_ms'"),
    ],
)
def test_wrong_limits_say_what_is_allowed(fields, message):
    with pytest.raises(InputError, match=message):
        LatencyLimit.from_dict(fields)


def test_decisions_under_another_limit_are_not_used(search, tmp_path):
    write_candidates(tmp_path, LIMIT, search.decisions.values())
    assert [candidate.id for candidate in read_candidates(tmp_path, LIMIT)] == list(search.decisions)
    assert read_candidates(tmp_path, LatencyLimit(SETTING, below_ms=5)) == ()
    path = tmp_path / CANDIDATES_FILE
    path.write_text(path.read_text().replace(ACCEPTED, "perhaps", 1))
    with pytest.raises(RunError, match="unknown verdict"):
        read_candidates(tmp_path, LIMIT)


def test_a_predictor_knows_its_error_on_networks_it_has_not_seen():
    networks = list(catalog_candidates(150))
    counts = np.concatenate([features(NetworkColumns.of(network), 64) for network in networks])
    latencies = np.array([true_latency(network) for network in networks])
    predictor = Predictor.fit(counts[:50], latencies[:50])
    errors = np.abs(predictor.predict(counts[50:]) / latencies[50:] - 1)
    assert np.median(errors) < 0.05
    assert predictor.median_error == pytest.approx(np.median(errors), abs=0.03)


def test_features_of_a_population_are_those_of_its_networks():
    population = catalog_candidates(5)
    columns = features(population.space.network_columns(population.columns), 64)
    rows = [features(NetworkColumns.of(network), 64)[0] for network in population]
    np.testing.assert_allclose(columns, rows)
