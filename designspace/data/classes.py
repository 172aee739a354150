"""Class names: their order in a folder, and their matching with the classes of a model."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from designspace.support.errors import InputError
from designspace.support.text import as_utf8, first_few

_SYNSET = re.compile(r"n\d{8}")
_IMAGENET_CLASSES = 1000


def sort_classes(names: Iterable[str], recorded: Sequence[str] = ()) -> tuple[str, ...]:
    """Sort the names of class folders; the resulting positions are the numbers of the classes.

    Whole numbers are sorted by value, however many zeros they begin with, and all other names as text, as in
    torchvision. If the same classes were recorded in another order before, that order is kept.

    >>> sort_classes(["10", "9", "008"]), sort_classes(["n02", "n01"])
    (('008', '9', '10'), ('n01', 'n02'))
    >>> sort_classes(["1", "10", "2"], recorded=["1", "10", "2"])
    ('1', '10', '2')
    """
    names = sorted(names)
    if sorted(recorded) == names:
        return tuple(recorded)
    if all(_is_number(name) for name in names):
        names.sort(key=int)
    return tuple(names)


def describe_numbering(classes: Sequence[str]) -> str:
    """Return as text which numbers the classes get whose names are other numbers; empty if there are none.

    >>> describe_numbering(["1", "2", "10"])
    'the class folders become the classes 0 to 2: 1 is class 0, 2 is class 1, 10 is class 2'
    """
    renumbered = [(name, i) for i, name in enumerate(classes) if _is_number(name) and int(name) != i]
    if not renumbered:
        return ""
    examples = first_few([f"{name} is class {i}" for name, i in renumbered], 5)
    return f"the class folders become the classes 0 to {len(classes) - 1}: {examples}"


def check_names(names: Iterable[str], where: str) -> None:
    """Raise an error unless all class names can be written as text to any file.

    Raises:
        InputError: a name is not UTF-8, or has control characters such as a line break.
    """
    for name in names:
        kinds = {unicodedata.category(character) for character in name}
        if kinds & {"Cc", "Cs"}:
            problem = "is not UTF-8" if "Cs" in kinds else "has control characters"
            raise InputError(
                f"{where} has a class folder whose name {problem}: {as_utf8(ascii(name) if 'Cc' in kinds else name)}; "
                "rename it, for example with mv or convmv"
            )


def class_indices(names: Sequence[str], among: Sequence[str], what: str, whose: str) -> list[int]:
    """Return the index of each class among the classes of a model, matched by name.

    Names match however an accent is encoded, and whole numbers match with or without leading zeros. Class folders named
    0 to 999 are ImageNet's classes in their published order.

    Args:
        names: the classes to find.
        among: all classes of the model, in the order of their numbers.
        what: the owner of ``names``, for the error message.
        whose: the owner of ``among``, for the error message.

    Raises:
        InputError: a class is not among them, or two names are the same class; the error names some.
    """
    matches = _find_indices(names, among)
    if None in matches and is_imagenet(among) and all(_is_number(name) for name in names):
        numbers = [int(name) for name in names]
        matches = [number if number < len(among) else None for number in numbers]
    missing = [name for name, index in zip(names, matches, strict=True) if index is None]
    if missing:
        raise InputError(
            f"{what} has {len(names)} classes, and {len(missing)} of them are not among the {len(among)} of {whose}: "
            f"{first_few(missing, 5)}; {whose} has {first_few(among, 5)}"
        )
    indices = [index for index in matches if index is not None]
    if len(set(indices)) < len(indices):
        repeated = [name for name, index in zip(names, indices, strict=True) if indices.count(index) > 1]
        raise InputError(f"{what} has the same class more than once: {first_few(repeated, 5)}")
    return indices


def unmatched(names: Sequence[str], among: Sequence[str]) -> list[str]:
    """Return the class names that match none of ``among``, whatever their spelling (see `class_indices`)."""
    return [name for name, index in zip(names, _find_indices(names, among), strict=True) if index is None]


def is_imagenet(classes: Sequence[str]) -> bool:
    """Return whether classes seem to be those of ImageNet (ILSVRC 2012) in their published order."""
    return (
        len(classes) == _IMAGENET_CLASSES
        and list(classes) == sorted(classes)
        and all(_SYNSET.fullmatch(name) for name in classes)
    )


def _find_indices(names: Sequence[str], among: Sequence[str]) -> list[int | None]:
    """Return the index of each name, or None: by exact spelling or, if some names remain, by normalised spelling."""
    exact = {name: i for i, name in enumerate(among)}
    if all(name in exact for name in names):
        return [exact[name] for name in names]
    normalised = {_normalised(name): i for i, name in enumerate(among)}
    if len(normalised) < len(among):  # "1" and "01" are different classes here
        normalised = {}
    return [exact.get(name, normalised.get(_normalised(name))) for name in names]


def _normalised(name: str) -> str:
    """Return a name without leading zeros and in Unicode's form NFC, so that different spellings are equal."""
    return str(int(name)) if _is_number(name) else unicodedata.normalize("NFC", name)


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()
