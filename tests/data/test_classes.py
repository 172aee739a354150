import numpy as np
import pytest

from designspace.data.classes import check_names, class_indices, describe_numbering, is_imagenet, sort_classes
from designspace.data.images import ImageData
from designspace.models.weights.imagenet_classes import IMAGENET_CLASSES
from designspace.support.errors import InputError

PRECOMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        ([str(number) for number in range(1000)], [str(number) for number in range(1000)]),
        (["1", "2", "10"], ["1", "2", "10"]),
        (["010", "9", "0011", "1"], ["1", "9", "010", "0011"]),
        (["1", "01", "0"], ["0", "01", "1"]),
        (["class10", "class9"], ["class10", "class9"]),
        (["10", "9", "background"], ["10", "9", "background"]),
        (["n02", "n01"], ["n01", "n02"]),
        (["-1", "10", "9"], ["-1", "10", "9"]),
        (["²", "10", "9"], ["10", "9", "²"]),
    ],
)
def test_numbers_are_sorted_by_value_and_other_names_as_text(names, ordered):
    assert sort_classes(names) == tuple(ordered)
    assert sort_classes(reversed(names)) == tuple(ordered)


def test_a_recorded_order_is_kept():
    assert sort_classes(["1", "2", "10"], recorded=("1", "10", "2")) == ("1", "10", "2")
    assert sort_classes(["1", "2", "10"], recorded=("1", "10", "3")) == ("1", "2", "10")


def test_names_that_differ_from_the_class_numbers_are_reported():
    for names in ([str(number) for number in range(1000)], ["cat", "dog"], ["00", "01"]):
        assert describe_numbering(names) == ""
    assert describe_numbering(["1", "2", "10"]).endswith("0 to 2: 1 is class 0, 2 is class 1, 10 is class 2")
    assert describe_numbering([str(number) for number in range(1, 1001)]).endswith("5 is class 4 and 995 more")
    assert describe_numbering(["0", "1", "10", "2"]).endswith("0 to 3: 10 is class 2, 2 is class 3")


def test_names_that_cannot_be_written_are_refused():
    check_names(["cat", "Löwe", "猫", "a\u00a0b", DECOMPOSED], "source")
    with pytest.raises(InputError, match=r"^source has a class folder whose name is not UTF-8: caf\\xe9; rename it"):
        check_names(["b", "caf\udce9"], "source")
    with pytest.raises(InputError, match=r"whose name has control characters: 'a\\x1b\[2J'; rename"):
        check_names(["a\x1b[2J"], "source")


def test_classes_are_found_by_name():
    assert class_indices(["b", "a"], ["a", "b", "c"], "folder x", "the model") == [1, 0]
    assert class_indices([DECOMPOSED, "7"], ["007", PRECOMPOSED], "folder x", "the model") == [1, 0]
    assert class_indices(["1", "01"], ["01", "1"], "folder x", "the model") == [1, 0]
    with pytest.raises(InputError, match="^folder x has 2 classes, and 1 of them are not among the 2 of the model: d;"):
        class_indices(["a", "d"], ["a", "b"], "folder x", "the model")
    with pytest.raises(InputError, match="are not among the 2 of the model: 001; the model has 1, 01"):
        class_indices(["001", "1"], ["1", "01"], "folder x", "the model")
    with pytest.raises(InputError, match="the same class more than once: 1, 01"):
        class_indices(["1", "01"], ["1", "2"], "folder x", "the model")
    many = [f"name {number}" for number in range(1000)]
    with pytest.raises(InputError, match="name 4 and 995 more; the model has n01440764, .* and 995 more"):
        class_indices(many, IMAGENET_CLASSES, "folder x", "the model")


def test_numbers_match_the_classes_of_imagenet():
    assert len(set(IMAGENET_CLASSES)) == 1000
    assert is_imagenet(IMAGENET_CLASSES)
    assert not is_imagenet(IMAGENET_CLASSES[::-1])
    assert class_indices(["0", "10", "999"], IMAGENET_CLASSES, "folder x", "the model") == [0, 10, 999]
    assert class_indices(["n15075141", "n01440764"], IMAGENET_CLASSES, "folder x", "the model") == [999, 0]
    with pytest.raises(InputError, match="1 of them are not among the 1000 of the model: 1000; "):
        class_indices([str(number) for number in range(1, 1001)], IMAGENET_CLASSES, "folder x", "the model")
    with pytest.raises(InputError, match="2 of them are not among the 2 of the model: 0, 1; the model has cat, dog"):
        class_indices(["0", "1"], ["cat", "dog"], "folder x", "the model")


def test_image_data_takes_the_class_numbers_of_another_list():
    images = np.zeros((3, 1, 2, 2), np.uint8)
    labels = np.array([0, 1, 1])
    data = ImageData("made", images, labels, images, labels[::-1].copy(), 2, (0.5,), (0.5,), ("b", "a"))
    assert data.with_classes(("b", "a"), "the model") is data
    numbered = data.with_classes(("a", "b", "c"), "the model")
    assert numbered.num_classes == 3
    assert numbered.train_labels.tolist() == [1, 0, 0]
    assert numbered.test_labels.tolist() == [0, 0, 1]
