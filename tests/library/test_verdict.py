import numpy as np
import pytest

from designspace.data.image_folder import ImageFolder
from designspace.data.presets import Preset
from designspace.library.verdict import PublishedTop1, differences, published_top1, verdict
from designspace.library.verification import Verification
from designspace.models.info import ModelInfo, PublishedAccuracy

PUBLISHED_TOP1 = PublishedTop1(81.03, "resnest:official")
PUBLISHED = "the published 81.03% (resnest:official)"


@pytest.mark.parametrize(
    ("top1", "words"),
    [
        (81.03, f"within 0.3 points of {PUBLISHED}"),
        (80.73, "within 0.3 points"),
        (81.33, "within 0.3 points"),
        (80.72, f"0.31 points below {PUBLISHED}: check that these are the published weights"),
        (82.23, f"1.20 points above {PUBLISHED}: check"),
        (0.1, "80.93 points below"),
    ],
)
def test_the_tolerance_is_in_points(top1, words):
    assert verdict(Verification(top1, 95.0, 50_000), PUBLISHED_TOP1, 0.3, []).startswith(f"top-1 is {words}")


def test_what_was_measured_otherwise_does_not_compare(tmp_path):
    labels = np.repeat(np.arange(1000), 50)
    imagenet = ImageFolder(tmp_path, tuple(f"n{i:08}" for i in range(1000)), ("x",) * 50_000, labels)
    found = Verification(80.0, 95.0, 50_000)
    assert differences(found, imagenet, Preset(), Preset()) == []
    other = Preset(288, 320, "bicubic")
    said = differences(found, imagenet, other, Preset())
    assert said == ["crop is 288, not 224", "resize is 320, not 256", "interpolation is bicubic, not bilinear"]
    few = Verification(80.0, 95.0, 49_999, ("broken",))
    said = differences(few, imagenet, Preset(), Preset())
    assert said == ["it is for ImageNet's 50,000 validation images in 1,000 classes, not for 49,999 in 1,000"]
    assert verdict(few, PUBLISHED_TOP1, 0.3, said) == f"top-1 is not comparable with {PUBLISHED}: {said[0]}"


def known(published=None):
    return ModelInfo("x", Preset(), "a file", "MIT", published=published)


def test_the_figure_is_that_of_the_weights_or_of_the_network():
    published = PublishedAccuracy("resnest:official", 81.03)
    assert published_top1("anything", known(published)) == PUBLISHED_TOP1
    assert published_top1("runs/mine", known()) is None
    assert published_top1("ResNet50", known()).top1 == 76.8
    assert published_top1("resnet50", known(PublishedAccuracy("resnest:official"))) is None
