"""How many epochs, networks and seeds does a comparison of two spaces need?

    python experiments/epochs_and_samples/run.py runs/epochs_and_samples          # trains; repeat it to resume
    python experiments/epochs_and_samples/run.py runs/epochs_and_samples publish  # writes tables and figure here

The networks of AnyNetXA and RegNetX in `experiments/paper_figures`, which were trained for 10 epochs and with one or
three seeds, are trained for other numbers of epochs and with other seeds.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

from designspace.analysis import Results, compare
from designspace.analysis.difference import ks_test
from designspace.analysis.effects import probability_lower
from designspace.analysis.figures import svg_text
from designspace.analysis.figures.canvas import new_grid
from designspace.support.files import write_text
from designspace.trials.folder import RunFolder

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

from commands import copy_runs  # noqa: E402
from training import RECIPE, PlannedRun, small, train_runs  # noqa: E402

SPACES = ("AnyNetXA", "RegNetX")
EPOCHS = (1, 2, 5, 20)
"""Numbers of epochs, besides the 10 for which the networks are trained already."""
SIZES = (8, 12, 16, 24, 32, 40)
"""Numbers of networks of each space for which conclusions are counted."""
DRAWS = 400
"""Number of random subsets of each size."""
FINISHED = HERE.parent / "paper_figures" / "runs"


def study() -> Iterator[PlannedRun]:
    """Yield the runs; networks are those of `experiments/paper_figures`, or the first of them."""
    for name in SPACES:
        for epochs in EPOCHS:
            yield PlannedRun(f"{name}-{epochs}epochs", small(name), 48, dataclasses.replace(RECIPE, epochs=epochs))
    for seed in (1, 2):
        yield PlannedRun(f"AnyNetXA-seed{seed}", small("AnyNetXA"), 24, seed=seed)


def train(root: Path) -> None:
    """Train all runs, except trials that are already finished."""
    train_runs(root, study(), "python experiments/epochs_and_samples/run.py")


def results(name: str) -> Results:
    """Return the results of a run beside this file or of `experiments/paper_figures`."""
    own = HERE / "runs" / name
    return Results.read(own if own.exists() else FINISHED / name)


def after(name: str, epochs: int) -> Results:
    """Return the results of a space after a number of epochs."""
    return results(name if epochs == RECIPE.epochs else f"{name}-{epochs}epochs")


def errors_of(runs: Sequence[Results]) -> pd.DataFrame:
    """Return the errors of networks that all runs have, one column per run."""
    columns = [run.table.set_index("id")["final_error"] for run in runs]
    return pd.concat(columns, axis=1, join="inner", keys=range(len(runs)))


def by_epochs() -> pd.DataFrame:
    """Return for each number of epochs what the comparison says, and how well it predicts the order after the most."""
    rows = []
    for epochs in sorted([*EPOCHS, RECIPE.epochs]):
        a, b = (after(name, epochs) for name in SPACES)
        pair = compare(a, b)
        predicted = {name: errors_of([after(name, epochs), after(name, max(EPOCHS))]) for name in SPACES}
        rows.append(
            {
                "epochs": epochs,
                "n": pair.n_a,
                "p_regnetx_lower": round(1 - pair.effect, 3),
                "low": round(1 - pair.effect_high, 3),
                "high": round(1 - pair.effect_low, 3),
                "p_value": float(f"{max(pair.ks_p, pair.effect_p):.2g}"),
                "better": pair.better or "",
                **{f"rank_{name}": round(spearmanr(both).statistic, 2) for name, both in predicted.items()},
            }
        )
    return pd.DataFrame(rows)


def concludes(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Return whether B is shown to be better, as `compare` decides it for two spaces."""
    effect = probability_lower(np.sort(a), np.sort(b))
    return effect.value < 0.5 and effect.p < 0.05 and ks_test(np.sort(a), np.sort(b)).p < 0.05


def by_size() -> pd.DataFrame:
    """Return how often random subsets of the networks show that RegNetX is better."""
    rng = np.random.default_rng(0)
    rows = []
    for epochs in sorted([*EPOCHS, RECIPE.epochs]):
        a, b = (after(name, epochs).errors() for name in SPACES)
        for size in [size for size in SIZES if size < len(a)]:
            found = [
                concludes(rng.choice(a, size, replace=False), rng.choice(b, size, replace=False)) for _ in range(DRAWS)
            ]
            rows.append({"epochs": epochs, "n": size, "shown": round(float(np.mean(found)), 3)})
    return pd.DataFrame(rows)


def by_seed() -> pd.DataFrame:
    """Return for each space how much networks differ, and how much the seeds of the same network."""
    rows = []
    for name in SPACES:
        errors = errors_of([results(name), *(results(f"{name}-seed{seed}") for seed in (1, 2))]).to_numpy()
        seeds = errors.shape[1]
        between_seeds = errors.var(axis=1, ddof=1).mean()
        # One-way analysis of variance: the variance of the means has a part that is due to seeds.
        between_networks = max(0.0, errors.mean(axis=1).var(ddof=1) - between_seeds / seeds)
        row = {"space": name, "n": len(errors), "sd_networks": between_networks**0.5, "sd_seeds": between_seeds**0.5}
        for k in (1, 3, 10):  # correlation of the mean of k seeds with the expected error
            row[f"reliability_{k}"] = (between_networks / (between_networks + between_seeds / k)) ** 0.5
        # Variance of the mean of a space for the same number of trainings, against one seed per network.
        row["cost_of_3_seeds"] = 3 * (between_networks + between_seeds / 3) / (between_networks + between_seeds)
        rows.append(row)
    return pd.DataFrame(rows).round(2)


def draw(epochs: pd.DataFrame, sizes: pd.DataFrame) -> None:
    """Draw both: the probability that RegNetX is better by epochs, and how often a conclusion is found by networks."""
    figure, grid = new_grid(1, 3)
    first, second, third = grid[0]
    low, high = epochs["p_regnetx_lower"] - epochs["low"], epochs["high"] - epochs["p_regnetx_lower"]
    first.errorbar(epochs["epochs"], epochs["p_regnetx_lower"], [low, high], fmt="o-", capsize=3)
    first.axhline(0.5, color="0.6", linewidth=0.8)
    first.set(xlabel="epochs", ylabel="P(RegNetX has the lower error)", xscale="log")
    first.set_xticks(epochs["epochs"], [str(number) for number in epochs["epochs"]])
    first.minorticks_off()
    for number, curve in sizes.groupby("epochs"):
        second.plot(curve["n"], curve["shown"], "o-", label=str(number))
    second.set(xlabel="networks of each space", ylabel="RegNetX shown to be better", ylim=(0, 1))
    second.legend(title="epochs", loc="center right")
    for name in SPACES:
        both = errors_of([results(name), results(f"{name}-seed1")])
        third.plot(both[0], both[1], "o", label=name)
    third.set(xlabel="error with seed 0 (%)", ylabel="error with seed 1 (%)")
    third.legend()
    (HERE / "figures").mkdir(exist_ok=True)
    write_text(HERE / "figures" / "epochs_and_samples.svg", svg_text(figure))


def publish(root: Path) -> None:
    """Copy the tables of all runs beside this file, and write what they say."""
    names = [each.name for each in study()]
    for name in names:
        RunFolder(root / name).write_results()
    copy_runs(root, HERE / "runs", names)
    tables = {"epochs": by_epochs(), "sizes": by_size(), "seeds": by_seed()}
    for name, table in tables.items():
        write_text(HERE / f"{name}.csv", table.to_csv(index=False))
        print(table.to_string(index=False), end="\n\n")
    draw(tables["epochs"], tables["sizes"])


if __name__ == "__main__":
    (publish if sys.argv[2:] == ["publish"] else train)(Path(sys.argv[1]))
