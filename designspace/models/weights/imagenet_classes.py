"""The names of ImageNet's classes (ILSVRC 2012) in the order of their numbers: WordNet ids, sorted."""

from pathlib import Path

IMAGENET_CLASSES = tuple(Path(__file__).with_suffix(".txt").read_text().split())
