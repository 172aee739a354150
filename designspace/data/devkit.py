"""ImageNet's development kit: which class each validation image is of."""

from __future__ import annotations

import io
import tarfile
import zlib
from pathlib import Path

import numpy as np

from designspace.support.errors import RunError

META = "ILSVRC2012_devkit_t12/data/meta.mat"
TRUTH = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"
_LIMIT_BYTES = 64 << 20
"""No file of it is larger."""


def read_devkit(path: Path, images: int) -> tuple[str, ...]:
    """The class of each validation image, as its WordNet id, in the order of their numbers.

    The devkit numbers the classes in an order of its own; its table of them also holds groups of classes.

    Args:
        path: the devkit, a tar.gz file, which is read without being unpacked.
        images: how many validation images there are.

    Raises:
        RunError: it is damaged or does not tell the class of so many images.
    """
    members = _members(path)
    try:
        names = _wordnet_ids(members[META])
        numbers = [int(line) for line in members[TRUTH].decode("ascii").split()]
        if len(numbers) != images:
            raise ValueError(f"it tells the classes of {len(numbers)} images, not of {images}")
        return tuple(names[number] for number in numbers)
    except KeyError as error:
        raise RunError(f"{path} is damaged: {error.args[0]} is not in it") from error
    except Exception as error:  # scipy's reader raises whatever it stumbles on
        raise RunError(f"{path} is damaged: {' '.join(str(error).split())}") from error


def _wordnet_ids(meta: bytes) -> dict[int, str]:
    """The WordNet ids of the classes by their numbers, from a table in MATLAB's format."""
    from scipy.io import loadmat  # takes its time to import

    synsets = np.atleast_1d(loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"])
    return {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets if int(synset["num_children"]) == 0}


def _members(path: Path) -> dict[str, bytes]:
    """The two files of the devkit that are needed here."""
    found = {}
    try:
        with tarfile.open(path, "r:gz") as tar:
            for member in tar:
                wanted = member.name.removeprefix("./") in (META, TRUTH) and member.isreg()
                file = tar.extractfile(member) if wanted and member.size <= _LIMIT_BYTES else None
                if file is not None:
                    found[member.name.removeprefix("./")] = file.read()
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise RunError(f"{path} is no whole tar.gz file ({error})") from error
    return found
