"""A small generated data set that a network learns in seconds, for tests that train without any download."""

from pathlib import Path

import numpy as np
from PIL import Image

from designspace.data.packing import pack
from designspace.data.splits import find_splits

NAME = "patterns"
CLASSES = tuple(f"pattern {label}" for label in range(10))
SIZE = 16
TRAIN_IMAGES, TEST_IMAGES = 1200, 400
INPUT = ("input=folder", f"space.resolution={SIZE}", f"space.num_classes={len(CLASSES)}", "space.stem=cifar")
"""Arguments of `sample` and `explore` for networks that take these images."""
CONTRAST = 0.2
"""Share of the pattern in an image; the rest is noise. With less, two epochs teach too little; with more, too much."""


def prepare_patterns(root: Path) -> None:
    """Pack the data set into the folder of all data sets; each class is a pattern of 4 x 4 colours under noise."""
    random = np.random.default_rng(0)
    patterns = random.integers(0, 256, (len(CLASSES), 4, 1, 3)).repeat(SIZE // 4, axis=1).repeat(SIZE, axis=2)
    images = root / f"{NAME}_images"
    for split, count in (("train", TRAIN_IMAGES), ("val", TEST_IMAGES)):
        for name in CLASSES:
            (images / split / name).mkdir(parents=True)
        for number in range(count):
            label = number % len(CLASSES)
            noise = random.integers(0, 256, patterns[0].shape)
            pixels = CONTRAST * patterns[label] + (1 - CONTRAST) * noise
            Image.fromarray(pixels.astype(np.uint8)).save(images / split / CLASSES[label] / f"{number:04}.bmp")
    pack(find_splits(images), root / NAME, SIZE, workers=1)
