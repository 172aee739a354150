"""Which parameters decide the error? Importance by permutation, on a random forest that is judged first.

A forest is trained on parts of a population and asked for the errors of the rest. How much of their variance it tells,
R^2, says whether there is anything to explain. How much R^2 falls where one parameter is shuffled among the networks
says how much of that rests on this parameter (Breiman, "Random Forests", 2001).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.metrics import Metric, counted, metric, parameters_of, values
from designspace.analysis.results import ErrorColumn, Results
from designspace.support.display import Outlined
from designspace.support.errors import InputError

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestRegressor

Matrix = NDArray[np.float64]

FEWEST = 10
"""Networks below which there is nothing to learn from."""
_FOLDS = 5
_TREES = 60
_VALUES = 8
"""Values of a parameter at which its share of the variance is computed, at most."""
_BACKGROUND = 64
"""Networks over which the other parameters are averaged, at most."""
_TRIED = 4
"""Parameters of which pairs are looked at: the most important ones."""


@dataclass(frozen=True, slots=True)
class ParameterImportance:
    """What one parameter contributes."""

    metric: Metric
    importance: float
    """How much R^2 falls on held-out networks where this parameter is shuffled among them; about 0 for what does not
    matter. It may exceed R^2, for a forest that is told wrong values does worse than one that tells the mean."""
    deviation: float
    """Standard deviation of that over the repeats: over shuffles and ways to hold out networks. It says how much the
    number depends on these, not on the networks that were drawn."""
    share: float
    """Part of the variance of the forest's predictions that this parameter makes alone, the others averaged out."""


@dataclass(frozen=True, slots=True)
class PairShare:
    """What two parameters do together, beyond what each does alone."""

    first: Metric
    second: Metric
    share: float
    """Part of the variance of the forest's predictions."""


@dataclass(frozen=True, slots=True, repr=False)
class Importances(Outlined):
    """The importance of the parameters of one population."""

    name: str
    r_squared: float
    """Part of the variance of the errors of held-out networks that the forest tells: the mean over the repeats. At 0 or
    below it explains nothing, and no importance means anything."""
    r_squared_deviation: float
    n: int
    """Networks that count."""
    failed: int
    """How many of these failed and count at chance level."""
    repeats: int
    seed: int
    ranks: bool
    """Whether the ranks of the errors were explained, or the errors themselves."""
    parameters: tuple[ParameterImportance, ...]
    """The most important first."""
    pairs: tuple[PairShare, ...]
    """Of the most important parameters, the greatest share first."""

    @property
    def explains(self) -> bool:
        """Whether the forest tells more than nothing: R^2 is above 0.1 and by two deviations above 0.

        Of simulated populations of 16 or 48 networks in which nothing matters, one in fifty passes.
        """
        return self.r_squared > max(0.1, 2 * self.r_squared_deviation)

    def sentence(self) -> str:
        """What may be said, with the numbers it rests on."""
        what = "the ranks of the errors" if self.ranks else "the errors"
        told = f"R^2 = {self.r_squared:.2f} +- {self.r_squared_deviation:.2f} on held-out networks, n = {self.n}"
        if not self.explains:
            # Where one product of two parameters makes 40% of the variance, no simulated population of 100 networks was
            # explained, and 20% of those of 500.
            return (
                f"{self.name}: a forest tells next to nothing of {what} from the parameters ({told}). "
                "It may miss what two parameters do only together."
            )
        first = self.parameters[0]
        how = f"R^2 falls by {first.importance:.2f} +- {first.deviation:.2f} where it is shuffled"
        return f"{self.name}: for {what} {first.metric.name} matters most ({how}; {told})."

    def table(self) -> pd.DataFrame:
        """One row for each parameter, then one for each pair (with a share only)."""
        head = {"run": self.name}
        tail = {"r_squared": self.r_squared, "r_squared_deviation": self.r_squared_deviation, "n": self.n}
        rows = [
            head
            | {"parameter": one.metric.name, "importance": one.importance, "deviation": one.deviation}
            | {"share": one.share}
            | tail
            for one in self.parameters
        ]
        rows += [
            head
            | {"parameter": f"{pair.first.name} x {pair.second.name}", "importance": math.nan, "deviation": math.nan}
            | {"share": pair.share}
            | tail
            for pair in self.pairs
        ]
        return pd.DataFrame(rows)


def importance(
    results: Results,
    names: Iterable[str | Metric] | None = None,
    *,
    repeats: int = 3,
    seed: int = 0,
    ranks: bool = True,
    column: ErrorColumn = "final_error",
) -> Importances:
    """The importance of parameters for the error, by permutation on networks that the forest has not seen.

    Each repeat splits the networks into five parts anew. For each part a forest learns from the other four and tells
    the errors of this one, with the parameters as they are and with each shuffled in turn. Parameters that go together
    (the widths of a RegNet's stages) share their importance, so either alone may look small.

    Args:
        results: a population with at least 10 finished trials.
        names: the parameters; unless told otherwise those that its networks were drawn by, as far as they vary. A value
            that a network has not (the width of a stage it lacks) counts as -1.
        repeats: of everything; the deviations are over these.
        seed: of splits, forests and shuffles.
        ranks: explain the ranks of the errors. The errors themselves (False) would make it a question of which few
            networks fail, for the variance is theirs: a failed trial counts at chance level, far above the others.
        column: the error that counts.

    Raises:
        InputError: fewer than 10 finished trials, errors or parameters that are all equal, or an unknown metric.
    """
    if repeats < 2:
        raise InputError(f"repeats must be at least 2, for a deviation, not {repeats}")
    metrics = parameters_of(results) if names is None else tuple(metric(one) for one in names)
    rows, errors = counted(results, column)
    if errors.size < FEWEST:
        raise InputError(f"{results.name}: importance needs {FEWEST} finished trials ({results.counts.sentence()})")
    if not metrics:
        raise InputError(f"{results.name}: all networks have the same parameters, so none decides")
    if np.ptp(errors) == 0:
        raise InputError(f"{results.name}: all {errors.size} errors are the same, so nothing decides")
    if ranks:
        from scipy.stats import rankdata

        errors = rankdata(errors)
    inputs = np.nan_to_num(np.column_stack([values(results, one)[rows] for one in metrics]), nan=-1.0)
    trials = [_repeat(inputs, errors, stream) for stream in np.random.SeedSequence(seed).spawn(repeats)]
    drops = np.array([drop for _, drop in trials])  # (repeats, parameters)
    alone, together = _shares(inputs, errors, drops.mean(axis=0), seed)
    scores = np.array([score for score, _ in trials])
    found = [
        ParameterImportance(one, float(drops[:, place].mean()), float(drops[:, place].std(ddof=1)), alone[place])
        for place, one in enumerate(metrics)
    ]
    found.sort(key=lambda one: (-one.importance, one.metric.name))
    pairs = [PairShare(metrics[first], metrics[second], share) for (first, second), share in together.items()]
    pairs.sort(key=lambda one: (-one.share, one.first.name, one.second.name))
    failed = int((results.table["status"].iloc[rows] == "failed").sum())
    r_squared, deviation = float(scores.mean()), float(scores.std(ddof=1))
    return Importances(
        results.name, r_squared, deviation, errors.size, failed, repeats, seed, ranks, tuple(found), tuple(pairs)
    )


def _repeat(inputs: Matrix, errors: NDArray[np.float64], stream: np.random.SeedSequence) -> tuple[float, Matrix]:
    """R^2 on held-out networks, and its fall for each parameter; all parts of the population together."""
    from sklearn.model_selection import KFold

    rng = np.random.default_rng(stream)
    n, count = inputs.shape
    predicted = np.empty((count + 1, n))
    for learnt, held in KFold(_FOLDS, shuffle=True, random_state=_whole(rng)).split(inputs):
        forest = _forest(_whole(rng)).fit(inputs[learnt], errors[learnt])
        # All shuffles in one call: a forest takes longer to begin than to tell some more errors.
        asked = np.repeat(inputs[held][None], count + 1, axis=0)
        for place in range(count):
            asked[place + 1, :, place] = rng.permutation(asked[place + 1, :, place])
        told = forest.predict(asked.reshape(-1, count))
        predicted[:, held] = told.reshape(count + 1, held.size)
    unexplained = ((predicted - errors) ** 2).sum(axis=1) / ((errors - errors.mean()) ** 2).sum()
    return float(1 - unexplained[0]), unexplained[1:] - unexplained[0]


def _shares(
    inputs: Matrix, errors: NDArray[np.float64], importances: Matrix, seed: int
) -> tuple[list[float], dict[tuple[int, int], float]]:
    """Shares of the variance of a forest's predictions, of parameters alone and of pairs of the most important.

    Each parameter is set to some of its quantiles in a number of networks, and the predictions are averaged over these.
    So parameters are taken to vary independently of each other, as in a functional analysis of variance (Hutter and
    others, "An Efficient Approach for Assessing Hyperparameter Importance", 2014). In a real population budgets tie
    them to each other: shares are a summary of the forest, and need not sum to 1.
    """
    rng = np.random.default_rng([seed, 1])
    forest = _forest(_whole(rng)).fit(inputs, errors)
    chosen = np.sort(rng.permutation(len(inputs))[:_BACKGROUND])
    count = inputs.shape[1]
    grids = [_quantiles(inputs[:, place]) for place in range(count)]
    tried = sorted(np.argsort(-importances, kind="stable")[:_TRIED].tolist())
    wanted: list[tuple[int, ...]] = [(place,) for place in range(count)]
    wanted += list(combinations(tried, 2))
    blocks = []
    for places in wanted:
        mesh = np.stack(np.meshgrid(*(grids[place] for place in places), indexing="ij"), axis=-1)
        block = np.repeat(inputs[chosen][None], mesh[..., 0].size, axis=0)
        block[:, :, list(places)] = mesh.reshape(-1, 1, len(places))
        blocks.append(block.reshape(-1, count))
    # What is predicted varies as much as over independent draws of all parameters at once.
    free = np.column_stack([rng.choice(grid, 2000) for grid in grids])
    told = forest.predict(np.concatenate([*blocks, free]))
    ends = np.cumsum([len(block) for block in blocks])
    *means, at_random = np.split(told, ends)
    total = float(at_random.var())
    effects = {
        places: mean.reshape(*(len(grids[place]) for place in places), chosen.size).mean(axis=-1)
        for places, mean in zip(wanted, means, strict=True)
    }
    if total == 0:
        return [0.0] * count, {}
    # The total is that of a sample, so one that makes all the variance may come out above it.
    alone = [min(1.0, float(effects[(place,)].var()) / total) for place in range(count)]
    together = {}
    for first, second in combinations(tried, 2):
        effect = effects[first, second]
        # What is left when each one's own effect is taken away.
        left = effect - effect.mean(axis=1, keepdims=True) - effect.mean(axis=0, keepdims=True) + effect.mean()
        together[first, second] = min(1.0, float(left.var()) / total)
    return alone, together


def _quantiles(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values of a parameter, as common as in the population: equally likely ones, so their mean is that over it."""
    return np.asarray(np.quantile(column, (np.arange(_VALUES) + 0.5) / _VALUES, method="inverted_cdf"), np.float64)


def _forest(state: int) -> RandomForestRegressor:
    from sklearn.ensemble import RandomForestRegressor

    # One job: the result must not depend on the machine, and threads would cost more than they save.
    return RandomForestRegressor(_TREES, min_samples_leaf=2, max_features=0.5, random_state=state, n_jobs=1)


def _whole(rng: np.random.Generator) -> int:
    """A seed for what wants a whole number."""
    return int(rng.integers(2**31))
