"""The names of classes: their order in a folder, and which of a model's classes each of them is."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from designspace.support.errors import InputError
from designspace.support.text import as_utf8, first_few

_SYNSET = re.compile(r"n\d{8}")
_IMAGENET_CLASSES = 1000


def in_order(names: Iterable[str], recorded: Sequence[str] = ()) -> tuple[str, ...]:
    """Sort the names of class folders, whose places are then the numbers of the classes.

    Whole numbers are sorted by value, however many zeros they begin with, and all other names as texts, like
    torchvision does. Where the same classes were recorded in another order before, that order is kept.

    >>> in_order(["10", "9", "008"]), in_order(["n02", "n01"]), in_order(["1", "10", "2"], recorded=["1", "10", "2"])
    (('008', '9', '10'), ('n01', 'n02'), ('1', '10', '2'))
    """
    names = sorted(names)
    if sorted(recorded) == names:
        return tuple(recorded)
    if all(_is_number(name) for name in names):
        names.sort(key=int)
    return tuple(names)


def numbering(classes: Sequence[str]) -> str:
    """Say which numbers the classes have, if their names are numbers but not the same ones; else return an empty text.

    >>> numbering(["1", "2", "10"])
    'the class folders become the classes 0 to 2: 1 is class 0, 2 is class 1, 10 is class 2'
    """
    others = [(name, i) for i, name in enumerate(classes) if _is_number(name) and int(name) != i]
    if not others:
        return ""
    named = first_few([f"{name} is class {i}" for name, i in others], 5)
    return f"the class folders become the classes 0 to {len(classes) - 1}: {named}"


def check_names(names: Iterable[str], where: str) -> None:
    """Raise unless the names of classes are texts that can be written into any file.

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


def places(names: Sequence[str], among: Sequence[str], what: str, whose: str) -> list[int]:
    """Find each class among those of a model, by name.

    Names are alike in whichever way an accent is encoded, and whole numbers with or without zeros before them. Class
    folders named 0 to 999 are ImageNet's classes in their published order.

    Args:
        names: the classes to find.
        among: all classes, in the order of their numbers.
        what: what has the names, for the error.
        whose: what has the classes among which to find them.

    Raises:
        InputError: a class is not among them, or two names are the same class; the error names some.
    """
    found = _find(names, among)
    if None in found and is_imagenet(among) and all(_is_number(name) for name in names):
        numbers = [int(name) for name in names]
        found = [number if number < len(among) else None for number in numbers]
    missing = [name for name, place in zip(names, found, strict=True) if place is None]
    if missing:
        raise InputError(
            f"{what} has {len(names)} classes, and {len(missing)} of them are not among the {len(among)} of {whose}: "
            f"{first_few(missing, 5)}; {whose} has {first_few(among, 5)}"
        )
    known = [place for place in found if place is not None]
    if len(set(known)) < len(known):
        twice = [name for name, place in zip(names, known, strict=True) if known.count(place) > 1]
        raise InputError(f"{what} has the same class more than once: {first_few(twice, 5)}")
    return known


def unmatched(names: Sequence[str], among: Sequence[str]) -> list[str]:
    """The names of classes that are not among others, however those are spelt (see `places`)."""
    return [name for name, place in zip(names, _find(names, among), strict=True) if place is None]


def is_imagenet(classes: Sequence[str]) -> bool:
    """Whether classes seem to be those of ImageNet (ILSVRC 2012) in their published order."""
    return (
        len(classes) == _IMAGENET_CLASSES
        and list(classes) == sorted(classes)
        and all(_SYNSET.fullmatch(name) for name in classes)
    )


def _find(names: Sequence[str], among: Sequence[str]) -> list[int | None]:
    """The place of each name, or None: as it is written or, where that is not enough, as it is meant."""
    exact = {name: i for i, name in enumerate(among)}
    if all(name in exact for name in names):
        return [exact[name] for name in names]
    meant = {_meaning(name): i for i, name in enumerate(among)}
    if len(meant) < len(among):  # "1" and "01" are two classes here
        meant = {}
    return [exact.get(name, meant.get(_meaning(name))) for name in names]


def _meaning(name: str) -> str:
    """A name without what may differ between two spellings of it."""
    return str(int(name)) if _is_number(name) else unicodedata.normalize("NFC", name)


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()
