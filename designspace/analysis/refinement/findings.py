"""A refinement for its readers: sentences, tables of text and of numbers, and a figure."""

from __future__ import annotations

import math

import pandas as pd

from designspace.analysis.figures import Drawing, draw_edf, edf_numbers, finish, new_grid
from designspace.analysis.p_values import p_text
from designspace.analysis.papers.panels import hide_unused_axes
from designspace.analysis.refinement.candidates import Candidate
from designspace.analysis.refinement.evidence import BEST_OF, Evidence, is_estimated, matched_edfs
from designspace.analysis.refinement.judging import Judged
from designspace.analysis.refinement.proposals import Refinement
from designspace.analysis.tables import Table
from designspace.support.text import counted
from designspace.trials.metric import Metric

_PANELS = 6
_OTHERS_SHOWN = 5
"""Number of candidates that are not supported in the table."""


def sentences(refinement: Refinement) -> tuple[str, ...]:
    """Return what is proposed, free and open, a sentence or two each."""
    metric = refinement.population.results.metric
    proposed = [_proposed(judged, refinement, metric) for judged in refinement.with_status("proposed")]
    if not proposed:
        proposed = [_nothing_proposed(refinement)]
    free = [_free(judged, refinement) for judged in refinement.with_status("free")]
    return (*proposed, *free, *(_open(judged, refinement) for judged in refinement.with_status("open")))


def findings_table(refinement: Refinement) -> Table:
    """Return the candidates that are proposed, free, open or explained, and the strongest of the others."""
    metric = refinement.population.results.metric
    others = [judged for judged in refinement.judged if judged.status == "not supported"][:_OTHERS_SHOWN]
    shown = [judged for judged in refinement.judged if judged.status != "not supported"]
    rows = tuple(_row(judged, metric) for judged in (*shown, *others))
    at_equal = "" if refinement.population.match is None else f" at equal {refinement.population.match}"
    return Table(
        f"Candidates for {refinement.name}, {counted(len(refinement.judged), 'candidate')} in all{at_equal}",
        ("candidate", "status", "t", "p", "networks", "P(better)", "interval", "mean", "quarter", "best", "smaller by"),
        rows,
        2,
    )


def findings_numbers(refinement: Refinement) -> pd.DataFrame:
    """Return one row of numbers per candidate; differences are those of the metric's own values."""
    metric = refinement.population.results.metric
    rows = []
    for judged in refinement.judged:
        found, effect, price = judged.evidence, judged.evidence.effect, judged.evidence.price
        prices = (math.nan,) * 3 if price is None else (price.best, price.mean, price.quartile)
        rows.append(
            {
                "candidate": found.name,
                "description": found.title,
                "status": judged.status,
                "t": found.t,
                "p": found.p,
                "members": found.members,
                "networks": found.networks,
                "better": math.nan if effect is None else effect.value,
                "better_low": math.nan if effect is None else effect.low,
                "better_high": math.nan if effect is None else effect.high,
                "better_than_parent": 0.5 + found.gain,
                **{
                    f"{name}_difference": metric.oriented(value)
                    for name, value in zip((f"best_of_{BEST_OF}", "mean", "quarter"), prices, strict=True)
                },
                "log10_smaller": found.log10_shrinking,
                "networks_needed": math.nan if judged.needed is None else judged.needed,
            }
        )
    return pd.DataFrame(rows)


def draw_findings(refinement: Refinement) -> Drawing:
    """Draw the EDFs of the networks that meet a candidate and of the others, a panel for each of the strongest."""
    population = refinement.population
    shown = [
        (judged, candidate)
        for judged, candidate in zip(refinement.judged, refinement.candidates, strict=True)
        if is_estimated(population, candidate)
    ]
    by_status = ["proposed", "free", "open", "explained", "not supported"]
    shown = sorted(shown, key=lambda pair: by_status.index(pair[0].status))[:_PANELS]
    columns = max(1, min(3, len(shown)))
    figure, grid = new_grid(max(1, -(-len(shown) // columns)), columns, width=3.8, height=3.4)
    numbers = []
    for ax, (judged, candidate) in zip(grid.flat, shown, strict=False):
        edfs = dict(zip(_sides(judged.evidence), matched_edfs(population, candidate), strict=True))
        title, note = f"{judged.status}: {candidate.name}", f"{p_text(judged.evidence.p)}."
        draw_edf(ax, edfs, chance_error=population.results.chance_error, title=title, notes=[note])
        numbers.append(edf_numbers(edfs).assign(candidate=candidate.name, status=judged.status))
    hide_unused_axes(grid, len(shown))
    table = pd.concat(numbers, ignore_index=True) if numbers else pd.DataFrame()
    weighted = "" if population.match is None else f", weighted to equal {population.match}"
    caption = (
        f"Networks of {refinement.name} that meet a candidate, and the others{weighted}. A curve further to the left "
        "is better. Differences look larger here than they are, because these networks suggested the candidates."
    )
    title = f"Refinement of {refinement.name}"
    return finish("refinement", title, figure, table, caption, [population.results])


def header(refinement: Refinement, accepted: tuple[Candidate, ...]) -> str:
    """Return the comment at the top of the file of a refined space."""
    lines = [f"# {refinement.name}, refined by python -m designspace.refine; confirm it with fresh networks:"]
    lines += [f"#   {candidate.name}: {candidate.title}" for candidate in accepted]
    return "\n".join(lines) + "\n"


def _sides(found: Evidence) -> tuple[str, str]:
    """Return the names of the networks that meet a candidate and of the others."""
    return f"meet it ({found.members})", f"others ({found.networks - found.members})"


def _proposed(judged: Judged, refinement: Refinement, metric: Metric) -> str:
    """Return a proposal with its evidence."""
    found = judged.evidence
    match = refinement.population.match
    at_equal = "" if match is None else f" at equal {match}"
    so_far = "So far, proposed" if refinement.population.results.counts.unfinished else "Proposed"
    test = f"t = {found.t:.1f}, {p_text(found.p)} corrected for {counted(len(refinement.judged), 'candidate')}"
    first = (
        f"{so_far}: {found.title} ({found.name}). The closer networks come to it, the {metric.better_word} their "
        f"{metric.plural}{at_equal} ({test})."
    )
    return " ".join([first, _effect(found, metric), _shrinking(found), _confirm(judged)]).strip()


def _nothing_proposed(refinement: Refinement) -> str:
    """Return why nothing is proposed."""
    first = f"{refinement.name}: nothing is proposed."
    supported = [judged.evidence for judged in refinement.judged if judged.evidence.p <= refinement.threshold]
    if supported:
        return (
            f"{first} What agrees with the {refinement.population.results.metric.plural} is not better where it is met "
            f"exactly: {', '.join(found.name for found in supported)}."
        )
    return (
        f"{first} None of {counted(len(refinement.judged), 'candidate')} has a corrected p value of at most "
        f"{refinement.threshold:.2g}, which keeps the probability of a false proposal at {100 * refinement.level:.2g}%."
    )


def _effect(found: Evidence, metric: Metric) -> str:
    """Return the effect and the price of a candidate as sentences."""
    meet = f"{found.members} of {counted(found.networks, 'network')} {'meets' if found.members == 1 else 'meet'} it"
    if found.effect is None or found.price is None:
        return f"Only {meet} exactly, so the size of the gain is not known."
    effect, price = found.effect, found.price
    best, mean, quartile = (metric.signed(metric.oriented(value)) for value in (price.best, price.mean, price.quartile))
    return (
        f"{meet} and are better than the others with probability {effect.value:.2f} ({effect.low:.2f} to "
        f"{effect.high:.2f}); {metric.plural} against all networks: mean {mean}, best quarter {quartile}, best of "
        f"{BEST_OF} {best} {metric.points}."
    )


def _shrinking(found: Evidence) -> str:
    """Return by how much the space shrinks as a sentence."""
    if math.isnan(found.log10_shrinking):
        return "It leads to another family of spaces."
    return f"The space has {_factor(found.log10_shrinking)} times fewer settings."


def _confirm(judged: Judged) -> str:
    """Return what would confirm a proposal as a sentence."""
    flattered = "These networks suggested it, so they flatter it"
    if judged.needed is None:
        return f"{flattered}: compare fresh networks of the refined space with fresh ones of its parent."
    return f"{flattered}: about {judged.needed} fresh networks of each space would confirm it."


def _free(judged: Judged, refinement: Refinement) -> str:
    """Return a simplification that costs nothing as a sentence."""
    found, margin = judged.evidence, refinement.settings.margin
    assert found.effect is not None
    return (
        f"Free: {found.title} ({found.name}). {found.members} of {counted(found.networks, 'network')} meet it, and are "
        f"better than the others with probability {found.effect.value:.2f}, at least {0.5 - margin:g}. "
        f"{_shrinking(found)} To accept it, name it in accept=."
    )


def _open(judged: Judged, refinement: Refinement) -> str:
    """Return an open question with what would decide it."""
    found = judged.evidence
    is_free = found.is_simplification
    question = f"costs at most {refinement.settings.margin:g} of probability" if is_free else "is better"
    needed = (
        "how many networks would decide it cannot be told from these"
        if judged.needed is None
        else f"about {judged.needed} fresh networks of each space would decide it"
    )
    known = f"{found.members} of {counted(found.networks, 'network')} {'meets' if found.members == 1 else 'meet'} it"
    if found.effect is not None:
        effect = found.effect
        known += f", P(better) {effect.value:.2f} ({effect.low:.2f} to {effect.high:.2f})"
    test = f"t = {found.t:.1f}, {p_text(found.p)}"
    return f"Open: whether {found.title} ({found.name}) {question}: {test}; {known}; {needed}."


def _row(judged: Judged, metric: Metric) -> tuple[str, ...]:
    """Return a row of the table."""
    found, effect, price = judged.evidence, judged.evidence.effect, judged.evidence.price
    probability = ("-", "-") if effect is None else (f"{effect.value:.2f}", f"{effect.low:.2f} to {effect.high:.2f}")
    prices = (
        ("-", "-", "-")
        if price is None
        else tuple(metric.signed(metric.oriented(v)) for v in (price.mean, price.quartile, price.best))
    )
    smaller = "-" if math.isnan(found.log10_shrinking) else _factor(found.log10_shrinking)
    p = "< 0.001" if found.p < 0.001 else f"{found.p:.3f}"
    return (found.name, judged.status, f"{found.t:.1f}", p, str(found.members), *probability, *prices, smaller)


def _factor(log10: float) -> str:
    """Return a factor from its decimal logarithm.

    >>> _factor(0.301), _factor(2.0), _factor(9.31)
    ('2.0', '100', '10^9.3')
    """
    if log10 < 1:
        return f"{10**log10:.1f}"
    return f"{10**log10:.0f}" if log10 < 4 else f"10^{log10:.1f}"
