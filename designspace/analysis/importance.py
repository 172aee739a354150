"""Which parameters decide the error: permutation importance on a random forest whose accuracy is checked first.

A forest is trained on parts of a population and predicts the errors of the others. The fraction of their variance that
it predicts, R^2, shows whether there is anything to explain. The decrease of R^2 when one parameter is shuffled among
the networks shows how much depends on this parameter (Breiman, "Random Forests", 2001).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from designspace.analysis.quantities import counted_errors, parameters_of, quantity, values
from designspace.analysis.results import ErrorColumn, Results
from designspace.networks.quantities import Quantity
from designspace.support.display import Outlined
from designspace.support.errors import InputError
from designspace.trials.metric import TOP1_ERROR, Metric

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestRegressor

Matrix = NDArray[np.float64]

MIN_NETWORKS = 10
"""Minimum number of networks to train a forest."""
_FOLDS = 5
_TREES = 60
_VALUES = 8
"""Maximum number of values of a parameter at which its share of the variance is computed."""
_BACKGROUND = 64
"""Maximum number of networks over which the other parameters are averaged."""
_MAX_PAIRED = 4
"""Number of most important parameters whose pairs are analysed."""


@dataclass(frozen=True, slots=True)
class ParameterImportance:
    """Importance of one parameter."""

    quantity: Quantity
    importance: float
    """Decrease of R^2 on held-out networks if this parameter is shuffled among them; about 0 if it does not matter.

    It may exceed R^2, because a forest with wrong inputs can predict worse than the mean does.
    """
    deviation: float
    """Standard deviation of the importance over the repeats, that is, over shuffles and splits of the networks.

    It shows how much the importance depends on these, not on the networks that were drawn.
    """
    share: float
    """Fraction of the variance of the forest's predictions due to this parameter alone, averaged over the others."""


@dataclass(frozen=True, slots=True)
class PairShare:
    """Joint effect of two parameters beyond the effects of each alone."""

    first: Quantity
    second: Quantity
    share: float
    """Fraction of the variance of the forest's predictions."""


@dataclass(frozen=True, slots=True, repr=False)
class Importances(Outlined):
    """The importance of the parameters of one population."""

    name: str
    r_squared: float
    """Fraction of the variance of held-out errors that the forest predicts, averaged over the repeats.

    If it is 0 or less, the forest explains nothing, and importances are meaningless.
    """
    r_squared_deviation: float
    n: int
    """Number of networks that count."""
    failed: int
    """Number of these that failed and count at chance level."""
    repeats: int
    seed: int
    ranks: bool
    """Whether the ranks of the errors were predicted instead of the errors."""
    parameters: tuple[ParameterImportance, ...]
    """The most important first."""
    pairs: tuple[PairShare, ...]
    """Pairs of the most important parameters, the greatest share first."""
    metric: Metric = TOP1_ERROR
    """What the errors are values of."""

    @property
    def explains(self) -> bool:
        """Whether the forest has predictive power: R^2 is above 0.1 and more than two deviations above 0.

        Of simulated populations of 16 or 48 networks in which no parameter matters, one in fifty passes.
        """
        return self.r_squared > max(0.1, 2 * self.r_squared_deviation)

    def sentence(self) -> str:
        """Return the conclusion as text, with the numbers on which it rests."""
        what = f"the ranks of the {self.metric.plural}" if self.ranks else f"the {self.metric.plural}"
        accuracy = f"R^2 = {self.r_squared:.2f} +- {self.r_squared_deviation:.2f} on held-out networks, n = {self.n}"
        if not self.explains:
            # If a product of two parameters makes 40% of the variance, none of the simulated populations of 100
            # networks passes, and 20% of those of 500 networks do.
            return (
                f"{self.name}: a forest predicts almost nothing of {what} from the parameters ({accuracy}). "
                "It may miss effects that two parameters have only together."
            )
        first = self.parameters[0]
        effect = f"R^2 falls by {first.importance:.2f} +- {first.deviation:.2f} if it is shuffled"
        return f"{self.name}: for {what} {first.quantity.name} matters most ({effect}; {accuracy})."

    def table(self) -> pd.DataFrame:
        """Return one row per parameter, then one per pair (with a share only)."""
        head = {"run": self.name}
        tail = {"r_squared": self.r_squared, "r_squared_deviation": self.r_squared_deviation, "n": self.n}
        rows = [
            head
            | {
                "parameter": parameter.quantity.name,
                "importance": parameter.importance,
                "deviation": parameter.deviation,
            }
            | {"share": parameter.share}
            | tail
            for parameter in self.parameters
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
    names: Iterable[str | Quantity] | None = None,
    *,
    repeats: int = 3,
    seed: int = 0,
    ranks: bool = True,
    column: ErrorColumn = "final_error",
) -> Importances:
    """Return the importance of parameters for the error, by permutation on networks that the forest has not seen.

    Each repeat splits the networks into five parts again. For each part, a forest is trained on the other four and
    predicts the errors of this one, with the parameters as they are and with each of them shuffled in turn. Correlated
    parameters (the widths of a RegNet's stages) share their importance, so each of them alone may appear small.

    Args:
        results: a population with at least 10 finished trials.
        names: the parameters; by default those that were sampled and vary. A missing value (the width of a missing
            stage) counts as -1.
        repeats: number of repetitions, over which the deviations are computed.
        seed: seed of splits, forests and shuffles.
        ranks: predict the ranks of the errors. With the errors themselves (False), the result mainly shows which few
            networks fail, because they cause most of the variance: a failed trial counts at chance level, far above
            the others.
        column: the error that counts.

    Raises:
        InputError: there are fewer than 10 finished trials, all errors or parameters are equal, or a quantity is
            unknown.
    """
    if repeats < 2:
        raise InputError(f"repeats must be at least 2, to compute a deviation, not {repeats}")
    quantities = parameters_of(results) if names is None else tuple(quantity(name, results) for name in names)
    rows, errors = counted_errors(results, column)
    _check(results, quantities, errors)
    if ranks:
        from scipy.stats import rankdata

        errors = rankdata(errors)
    inputs = np.nan_to_num(np.column_stack([values(results, parameter)[rows] for parameter in quantities]), nan=-1.0)
    repetitions = [_repeat(inputs, errors, stream) for stream in np.random.SeedSequence(seed).spawn(repeats)]
    drops = np.array([drop for _, drop in repetitions])  # (repeats, parameters)
    alone, together = _shares(inputs, errors, drops.mean(axis=0), seed)
    scores = np.array([score for score, _ in repetitions])
    parameters = [
        ParameterImportance(parameter, float(drops[:, index].mean()), float(drops[:, index].std(ddof=1)), alone[index])
        for index, parameter in enumerate(quantities)
    ]
    parameters.sort(key=lambda result: (-result.importance, result.quantity.name))
    pairs = [PairShare(quantities[first], quantities[second], share) for (first, second), share in together.items()]
    pairs.sort(key=lambda pair: (-pair.share, pair.first.name, pair.second.name))
    failed = int((results.table["status"].iloc[rows] == "failed").sum())
    r_squared, deviation = float(scores.mean()), float(scores.std(ddof=1))
    ordered = tuple(parameters), tuple(pairs)
    return Importances(
        results.name, r_squared, deviation, errors.size, failed, repeats, seed, ranks, *ordered, results.metric
    )


def _check(results: Results, quantities: Sequence[Quantity], errors: NDArray[np.float64]) -> None:
    """Raise an InputError if there is nothing to explain, or nothing to explain it with."""
    if errors.size < MIN_NETWORKS:
        raise InputError(
            f"{results.name}: importance needs {MIN_NETWORKS} finished trials ({results.counts.sentence()})"
        )
    if not quantities:
        raise InputError(f"{results.name}: all networks have the same parameters, so none can be important")
    if np.ptp(errors) == 0:
        raise InputError(
            f"{results.name}: all {errors.size} {results.metric.plural} are the same, so no parameter can be important"
        )


def _repeat(inputs: Matrix, errors: NDArray[np.float64], stream: np.random.SeedSequence) -> tuple[float, Matrix]:
    """Return R^2 on held-out networks, and its decrease for each parameter, over all parts of the population."""
    from sklearn.model_selection import KFold

    rng = np.random.default_rng(stream)
    n, count = inputs.shape
    predicted = np.empty((count + 1, n))
    for train, held_out in KFold(_FOLDS, shuffle=True, random_state=_seed(rng)).split(inputs):
        forest = _forest(_seed(rng)).fit(inputs[train], errors[train])
        # All shuffles are in one call, because starting a forest takes longer than predicting more errors.
        shuffled = np.repeat(inputs[held_out][None], count + 1, axis=0)
        for index in range(count):
            shuffled[index + 1, :, index] = rng.permutation(shuffled[index + 1, :, index])
        predictions = forest.predict(shuffled.reshape(-1, count))
        predicted[:, held_out] = predictions.reshape(count + 1, held_out.size)
    unexplained = ((predicted - errors) ** 2).sum(axis=1) / ((errors - errors.mean()) ** 2).sum()
    return float(1 - unexplained[0]), unexplained[1:] - unexplained[0]


def _shares(
    inputs: Matrix, errors: NDArray[np.float64], importances: Matrix, seed: int
) -> tuple[list[float], dict[tuple[int, int], float]]:
    """Return shares of the variance of a forest's predictions, for parameters alone and pairs of the most important.

    Each parameter is set to some of its quantiles in a number of networks, and the predictions are averaged over these.
    So parameters are assumed to vary independently of each other, as in a functional analysis of variance (Hutter and
    others, "An Efficient Approach for Assessing Hyperparameter Importance", 2014). In real populations, budgets make
    them dependent. Shares summarise the forest, and need not sum to 1.
    """
    rng = np.random.default_rng([seed, 1])
    forest = _forest(_seed(rng)).fit(inputs, errors)
    chosen = np.sort(rng.permutation(len(inputs))[:_BACKGROUND])
    count = inputs.shape[1]
    grids = [_quantiles(inputs[:, index]) for index in range(count)]
    paired = sorted(np.argsort(-importances, kind="stable")[:_MAX_PAIRED].tolist())
    groups: list[tuple[int, ...]] = [(index,) for index in range(count)]
    groups += list(combinations(paired, 2))
    blocks = []
    for indices in groups:
        mesh = np.stack(np.meshgrid(*(grids[index] for index in indices), indexing="ij"), axis=-1)
        block = np.repeat(inputs[chosen][None], mesh[..., 0].size, axis=0)
        block[:, :, list(indices)] = mesh.reshape(-1, 1, len(indices))
        blocks.append(block.reshape(-1, count))
    # The total variance is that over independent draws of all parameters at once.
    free = np.column_stack([rng.choice(grid, 2000) for grid in grids])
    predictions = forest.predict(np.concatenate([*blocks, free]))
    ends = np.cumsum([len(block) for block in blocks])
    *means, at_random = np.split(predictions, ends)
    total = float(at_random.var())
    effects = {
        indices: mean.reshape(*(len(grids[index]) for index in indices), chosen.size).mean(axis=-1)
        for indices, mean in zip(groups, means, strict=True)
    }
    if total == 0:
        return [0.0] * count, {}
    # The total is estimated from a sample, so the share of a dominant parameter may come out above 1.
    alone = [min(1.0, float(effects[(index,)].var()) / total) for index in range(count)]
    together = {}
    for first, second in combinations(paired, 2):
        effect = effects[first, second]
        # The interaction is what remains after subtracting the effect of each parameter alone.
        interaction = effect - effect.mean(axis=1, keepdims=True) - effect.mean(axis=0, keepdims=True) + effect.mean()
        together[first, second] = min(1.0, float(interaction.var()) / total)
    return alone, together


def _quantiles(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return equally likely values of a parameter, so that their mean is that over the population."""
    return np.asarray(np.quantile(column, (np.arange(_VALUES) + 0.5) / _VALUES, method="inverted_cdf"), np.float64)


def _forest(state: int) -> RandomForestRegressor:
    """Return an untrained forest."""
    from sklearn.ensemble import RandomForestRegressor

    # One job, because the result must not depend on the machine, and threads would cost more than they save.
    return RandomForestRegressor(_TREES, min_samples_leaf=2, max_features=0.5, random_state=state, n_jobs=1)


def _seed(rng: np.random.Generator) -> int:
    """Return a whole number as a seed for scikit-learn."""
    return int(rng.integers(2**31))
