import numpy as np
import pytest

from designspace.data.image_folder import ImageFolder
from designspace.models.presets import Preset
from designspace.training.verdict import differences, verdict
from designspace.training.verification import Verification


@pytest.mark.parametrize(
    ("top1", "words"),
    [
        (81.03, "within 0.3 points of the published 81.03%"),
        (80.73, "within 0.3 points"),
        (81.33, "within 0.3 points"),
        (80.72, "0.31 points below the published 81.03%: check that these are the weights"),
        (82.23, "1.20 points above the published 81.03%: check"),
        (0.1, "80.93 points below"),
    ],
)
def test_the_tolerance_is_in_points(top1, words):
    assert verdict(Verification(top1, 95.0, 50_000), 81.03, 0.3, []).startswith(words)


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
    assert verdict(few, 81.03, 0.3, said) == f"does not compare with the published 81.03%: {said[0]}"
