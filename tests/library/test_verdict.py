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
    ("top1", "text"),
    [
        (81.03, f"within 0.3 points of {PUBLISHED}"),
        (80.73, "within 0.3 points"),
        (81.33, "within 0.3 points"),
        (80.72, f"0.31 points below {PUBLISHED}: check that these are the published weights"),
        (82.23, f"1.20 points above {PUBLISHED}: check"),
        (0.1, "80.93 points below"),
    ],
)
def test_the_tolerance_is_in_points(top1, text):
    assert verdict(Verification(top1, 95.0, 50_000), PUBLISHED_TOP1, 0.3, []).startswith(f"top-1 is {text}")


def test_other_measurements_are_not_comparable(tmp_path):
    labels = np.repeat(np.arange(1000), 50)
    imagenet = ImageFolder(tmp_path, tuple(f"n{i:08}" for i in range(1000)), ("x",) * 50_000, labels)
    measured = Verification(80.0, 95.0, 50_000)
    assert differences(measured, imagenet, Preset(), Preset()) == []
    other = Preset(288, 320, "bicubic")
    texts = differences(measured, imagenet, other, Preset())
    assert texts == ["crop is 288, not 224", "resize is 320, not 256", "interpolation is bicubic, not bilinear"]
    few = Verification(80.0, 95.0, 49_999, ("broken",))
    texts = differences(few, imagenet, Preset(), Preset())
    assert texts == ["it is for ImageNet's 50,000 validation images in 1,000 classes, not for 49,999 in 1,000"]
    assert verdict(few, PUBLISHED_TOP1, 0.3, texts) == f"top-1 is not comparable with {PUBLISHED}: {texts[0]}"


def info(published=None):
    return ModelInfo("x", Preset(), "a file", "MIT", published=published)


def test_the_published_top1_is_that_of_the_weights_or_the_network():
    published = PublishedAccuracy("resnest:official", 81.03)
    assert published_top1("anything", info(published)) == PUBLISHED_TOP1
    assert published_top1("runs/mine", info()) is None
    assert published_top1("ResNet50", info()).top1 == 76.8
    assert published_top1("resnet50", info(PublishedAccuracy("resnest:official"))) is None
