"""ImageNet's development kit, which lists the class of each validation image."""

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
"""Upper limit for the size of a file in the kit."""


def read_devkit(path: Path, images: int) -> tuple[str, ...]:
    """Return the class (WordNet id) of each validation image, in the order of the images' numbers.

    The devkit numbers the classes in its own order; its table of classes also contains groups of classes.

    Args:
        path: the devkit, a tar.gz file, which is read without being unpacked.
        images: the number of validation images.

    Raises:
        RunError: the devkit is damaged or does not list the classes of that number of images.
    """
    members = _read_members(path)
    try:
        names = _wordnet_ids(members[META])
        numbers = [int(line) for line in members[TRUTH].decode("ascii").split()]
        if len(numbers) != images:
            raise ValueError(f"it lists the classes of {len(numbers)} images, not of {images}")
        return tuple(names[number] for number in numbers)
    except KeyError as error:
        raise RunError(f"{path} is damaged: {error.args[0]} is not in it") from error
    except Exception as error:  # scipy's reader may raise any exception on damaged input
        raise RunError(f"{path} is damaged: {' '.join(str(error).split())}") from error


def _wordnet_ids(meta: bytes) -> dict[int, str]:
    """Return the WordNet ids of the classes by their numbers, from a table in MATLAB's format."""
    from scipy.io import loadmat  # slow to import

    synsets = np.atleast_1d(loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"])
    return {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets if int(synset["num_children"]) == 0}


def _read_members(path: Path) -> dict[str, bytes]:
    """Return the contents of the two files of the devkit that are needed here."""
    contents = {}
    try:
        with tarfile.open(path, "r:gz") as tar:
            for member in tar:
                is_required = member.name.removeprefix("./") in (META, TRUTH) and member.isreg()
                file = tar.extractfile(member) if is_required and member.size <= _LIMIT_BYTES else None
                if file is not None:
                    contents[member.name.removeprefix("./")] = file.read()
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise RunError(f"{path} is not a complete tar.gz file ({error})") from error
    return contents
