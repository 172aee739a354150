"""Axes of a recipe: fields whose values are drawn for each network instead of being the same for all.

pycls draws learning rates and weight decays in this way for its sweeps ("Fast and Accurate Model Scaling", arXiv
2103.06877; "On Network Design Spaces for Visual Recognition", arXiv 1905.13214, section 4.4). A draw depends only on
the seed of the run, the id of the network and the name of the field. So all trainings of a network have the same
recipe, whatever their seeds, and neither a larger population nor another axis changes a draw.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal, localcontext
from typing import Any

import numpy as np

from designspace.spaces import axes
from designspace.support.checks import mapping, number, plain
from designspace.support.errors import InputError, suggest
from designspace.support.text import shown
from designspace.trials.recipe import Recipe

FIELDS = (
    *("batch_size", "lr", "momentum", "nesterov", "weight_decay", "warmup_epochs", "label_smoothing"),
    *("zero_init_residual", "flip", "crop_padding", "crop_area", "colour_jitter", "lighting", "policy"),
    *("randaugment_ops", "randaugment_magnitude", "erasing", "mixup", "dropout", "drop_path", "drop_block"),
    *("ema_decay", "layer_decay", "frozen_stages", "optimiser", "beta2"),
)
"""Fields of a recipe that may be drawn. All trials of a run share the others: their images, the number of epochs, which
makes errors comparable, and what workers are set up for."""
WHOLE_FIELDS = ("batch_size", "crop_padding", "randaugment_ops", "frozen_stages")
"""Fields among these that are whole numbers; their axes have steps of 1 unless others are given."""
DIGITS = 6
"""Significant digits of a number that is drawn from an axis without a step."""
MAX_AXES = 8
"""Most fields that can be drawn, since all combinations of their ends are checked."""
MAX_CHOICES = 100
"""Most values of a choice."""

_KEYS = {"log_uniform": ("low", "high", "step"), "uniform": ("low", "high", "step"), "choice": ("values",)}
"""Kind of axis -> keys of its description; only the step is optional."""
_PRECISE = Context(prec=30)
_ROUNDING = Context(prec=DIGITS)


@dataclass(frozen=True, slots=True)
class RecipeAxis:
    """The values that one field of a recipe may take, and their probabilities."""

    kind: str
    """``log_uniform``, ``uniform`` or ``choice``."""
    low: float = 0
    high: float = 0
    step: float | None = None
    """Distance of neighbouring values; None if all numbers from ``low`` to ``high`` are possible."""
    values: tuple[Any, ...] = ()
    """The values of a choice; one that is listed twice is twice as likely as the others."""

    @staticmethod
    def from_dict(name: str, fields: Mapping[str, Any]) -> RecipeAxis:
        """Return the axis of a field from its description, such as ``{kind: uniform, low: 0, high: 1}``.

        Raises:
            InputError: the kind is unknown, or a key or value does not fit it.
        """
        kind = mapping(name, fields, needed=["kind"])["kind"]
        if not isinstance(kind, str) or kind not in _KEYS:
            raise InputError(f"{name}: unknown kind of axis {shown(kind)}; choose from: {', '.join(_KEYS)}")
        keys = _KEYS[kind]
        mapping(f"{name}, a {kind} axis", fields, ["kind", *keys], [key for key in keys if key != "step"])
        if kind == "choice":
            return RecipeAxis(kind, values=_choices(name, fields["values"]))
        low, high = (number(f"{name}: {key}", fields[key]) for key in ("low", "high"))
        step = fields.get("step")
        if step is None and name.removeprefix("recipe.") in WHOLE_FIELDS:
            step = 1
        if low > high:
            raise InputError(f"{name}: low must be at most high, not low={low:g}, high={high:g}")
        if step is None and kind == "log_uniform" and not low > 0:
            raise InputError(f"{name}: a log_uniform axis needs low above 0, not low={low:g}; uniform allows 0")
        axis = RecipeAxis(kind, low, high, None if step is None else number(f"{name}: step", step))
        if step is not None:
            try:
                axis.grid()
            except InputError as error:
                raise InputError(f"{name}: {error}") from error
        return axis

    def grid(self) -> axes.Axis:
        """Return the values of an axis with a step, and their probabilities."""
        assert self.step is not None
        return _grid(self.kind, self.low, self.high, self.step)

    def draw(self, word: int) -> Any:
        """Return the value for a random word, a whole number below 2^64.

        Let u = word / 2^64. A choice returns its value number floor(u n) of n; an axis with a step is a grid (see
        `designspace.spaces.axes`). Without a step, the value is low + u (high - low), or exp(ln(low) + u (ln(high) -
        ln(low))) if it is log-uniform, computed with 30 decimal digits and rounded to `DIGITS` significant ones, so
        that it is the same on every machine.
        """
        if self.values:
            return self.values[word * len(self.values) >> 64]
        if self.step is not None:
            return self.grid().draw(np.array([word], np.uint64))[0].item()
        with localcontext(_PRECISE):
            low, high, u = Decimal(str(self.low)), Decimal(str(self.high)), Decimal(word) / 2**64
            if self.kind == "log_uniform":
                drawn = (low.ln() + u * (high.ln() - low.ln())).exp()
            else:
                drawn = low + u * (high - low)
        return min(max(float(_ROUNDING.plus(drawn)), float(self.low)), float(self.high))

    def ends(self) -> tuple[Any, ...]:
        """Return the least and the greatest value; all values of a choice of texts or of true and false."""
        if self.kind != "choice":
            return (self.low, self.high)
        return (min(self.values), max(self.values)) if self.is_number else _distinct(self.values)

    def samples(self) -> tuple[Any, ...]:
        """Return values that are all allowed only if every value of the axis is.

        A field allows an interval of numbers, and ``batch_size`` the multiples of a number in it. Therefore, the ends
        and one step suffice.
        """
        if self.kind == "choice":
            return _distinct(self.values)
        second = () if self.step is None else self.grid().values[1:2].tolist()
        return _distinct((self.low, *second, self.high))

    @property
    def is_number(self) -> bool:
        """Whether all values are numbers."""
        return all(isinstance(value, int | float) and not isinstance(value, bool) for value in self.values)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values from which `from_dict` creates an equal axis."""
        if self.kind == "choice":
            return {"kind": self.kind, "values": list(self.values)}
        fields = {"kind": self.kind, "low": self.low, "high": self.high}
        return fields if self.step is None else {**fields, "step": self.step}

    def typed(self) -> str:
        """Return the axis as the user types it.

        >>> RecipeAxis("choice", values=("sgd", None)).typed()
        '{kind: choice, values: [sgd, null]}'
        """
        return typed(self.to_dict())

    def describe(self) -> str:
        """Return how values are drawn, as text.

        >>> RecipeAxis("log_uniform", 0.01, 1).describe()
        'drawn log-uniformly from 0.01 to 1'
        """
        if self.kind == "choice":
            return f"drawn from {typed(list(self.values))}"
        step = "" if self.step is None else f" in steps of {self.step:g}"
        manner = "log-uniformly" if self.kind == "log_uniform" else "uniformly"
        return f"drawn {manner} from {self.low:g} to {self.high:g}{step}"


@dataclass(frozen=True, slots=True)
class RecipeAxes:
    """The fields of a recipe that are drawn for each network; none of them, usually."""

    by_field: Mapping[str, RecipeAxis] = field(default_factory=dict)
    """Field -> axis, in the order of the fields of `Recipe`."""

    def __bool__(self) -> bool:
        """Return whether any field is drawn."""
        return bool(self.by_field)

    @staticmethod
    def from_fields(fields: Mapping[str, Any]) -> RecipeAxes:
        """Return the axes among the fields of a recipe: those whose value is a mapping.

        Raises:
            InputError: a field cannot be drawn, or an axis is not valid.
        """
        given = {name: value for name, value in fields.items() if isinstance(value, Mapping)}
        for name, value in given.items():
            known = [each.name for each in dataclasses.fields(Recipe)]
            if name not in known:
                raise InputError(f"recipe: unknown option {name!r}; {suggest(name, known)}")
            if name not in FIELDS:
                raise InputError(
                    f"recipe.{name} must be one value, not {typed(value)[:200]}, because all trials of a run share it; "
                    f"fields that can be drawn for each network: {', '.join(FIELDS)}"
                )
        if len(given) > MAX_AXES:
            raise InputError(f"recipe: at most {MAX_AXES} fields can be drawn, not {len(given)}: {', '.join(given)}")
        return RecipeAxes(
            {name: RecipeAxis.from_dict(f"recipe.{name}", given[name]) for name in FIELDS if name in given}
        )

    def recipe(self, fields: Mapping[str, Any]) -> Recipe:
        """Return the recipe with some fields, where drawn fields have their greatest value.

        With these values a training needs the most memory. A choice of texts has its last one.

        Raises:
            InputError: a field is unknown, or a value or one that may be drawn is not allowed.
        """
        highest = {name: axis.ends()[-1] for name, axis in self.by_field.items()}
        with _naming(self):
            recipe = Recipe.from_dict({**fields, **highest})
        self.check(recipe)
        return recipe

    def fields(self, recipe: Recipe) -> dict[str, Any]:
        """Return the fields of a recipe, with descriptions of the axes in the place of drawn values."""
        return {**recipe.to_dict(), **{name: axis.to_dict() for name, axis in self.by_field.items()}}

    def draw(self, recipe: Recipe, seed: int, id_: str) -> Recipe:
        """Return the recipe of a network: the shared values of ``recipe`` and its own drawn values.

        Args:
            recipe: the recipe that `recipe` returned.
            seed: first seed of the run.
            id_: id of the network.
        """
        drawn = {name: axis.draw(random_word(seed, id_, name)) for name, axis in self.by_field.items()}
        return dataclasses.replace(recipe, **drawn)

    def check(self, recipe: Recipe) -> None:
        """Raise unless all recipes that may be drawn are valid.

        Raises:
            InputError: one of them is not.
        """
        if not self:  # the recipe has checked itself
            return
        with _naming(self):
            for _ in self.samples(recipe):
                pass
            names = list(self.by_field)
            for values in itertools.product(*(axis.ends() for axis in self.by_field.values())):
                dataclasses.replace(recipe, **dict(zip(names, values, strict=True)))

    def samples(self, recipe: Recipe) -> Iterator[Recipe]:
        """Yield recipes in which one field has one of its extreme values."""
        for name, axis in self.by_field.items():
            for value in axis.samples():
                yield dataclasses.replace(recipe, **{name: value})


NO_AXES = RecipeAxes()


def random_word(seed: int, id_: str, name: str) -> int:
    """Return the random word by which a field is drawn for a network: the first 64 bits of a SHA-256 digest."""
    return int.from_bytes(hashlib.sha256(f"{seed} {id_} recipe.{name}".encode()).digest()[:8], "big")


@functools.lru_cache(maxsize=64)  # the probabilities of 10,000 values take a tenth of a second
def _grid(kind: str, low: float, high: float, step: float) -> axes.Axis:
    """Return the grid of an axis with a step."""
    make = axes.log_uniform if kind == "log_uniform" else axes.uniform
    return make(low, high, step)


def _choices(name: str, values: Any) -> tuple[Any, ...]:
    """Return the values of a choice.

    Raises:
        InputError: they are not a list, or there are none or too many.
    """
    if not isinstance(values, list | tuple) or not 0 < len(values) <= MAX_CHOICES:
        raise InputError(f"{name}: values must be a list of 1 to {MAX_CHOICES} values, not {shown(values)}")
    return tuple(map(plain, values))


def _distinct(values: Iterable[Any]) -> tuple[Any, ...]:
    """Return the different values in their order; 1 and True are different."""
    return tuple({repr(value): value for value in values}.values())


def typed(value: Any) -> str:
    """Return a value or an axis of a recipe as the user types it."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {typed(each)}' for key, each in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(typed, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


@contextlib.contextmanager
def _naming(drawn: RecipeAxes) -> Iterator[None]:
    """Add to an error about a drawn field the axis that allows the value."""
    try:
        yield
    except InputError as error:
        named = [
            f"recipe.{name}={axis.typed()}"
            for name, axis in drawn.by_field.items()
            if re.search(rf"\b{name}\b", str(error))
        ]
        if not named:
            raise
        raise InputError(f"{error}; it is drawn by {' and '.join(named)}") from error
