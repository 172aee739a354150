import multiprocessing
import os
import shutil
import warnings
import zlib

import numpy as np
import originals  # noqa: F401 (makes torchvision importable)
import pytest
from PIL import Image

from designspace.data.find import find_images
from designspace.data.image_folder import ImageFolder, prepare_image, read_image
from designspace.data.listing import CAN_READ_AVIF, EXTENSIONS
from designspace.data.loading import batches
from designspace.data.presets import Preset
from designspace.support.errors import InputError, RunError

# Python 3.12 and later warn when a process with threads forks, as torch's loader does.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

SMALL = Preset(8, 9)


def picture(width=12, height=10, seed=0, mode="RGB"):
    """Return smooth noise, so that resizing changes every pixel."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (max(2, height // 3), max(2, width // 3), 3), np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def put(path, image=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (picture() if image is None else image).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    """Three classes of two, one and three images."""
    for i, (name, files) in enumerate({"b": "xy", "B": "z", "ä": "123"}.items()):
        for j, file in enumerate(files):
            put(tmp_path / "set" / name / f"{file}.png", picture(seed=10 * i + j))
    return tmp_path / "set"


def test_classes_are_sorted_folder_names(folder):
    listed = ImageFolder.of(folder)
    assert listed.classes == ("B", "b", "ä")
    assert listed.num_classes == 3
    assert listed.files == ("B/z.png", "b/x.png", "b/y.png", "ä/1.png", "ä/2.png", "ä/3.png")
    assert listed.labels.tolist() == [0, 1, 1, 2, 2, 2]
    assert len(listed) == 6


def test_files_and_labels_must_match(folder):
    for files, labels in ((("a", "b"), [0]), (("a",), [3]), (("a",), [-1]), (("a", "b"), [1, 0]), ((), [])):
        with pytest.raises(InputError, match="files need as many labels from 0 to 2, in order"):
            ImageFolder(folder, ("x", "y", "z"), files, np.array(labels, np.int64))


def test_the_listing_equals_torchvisions(folder):
    content = (folder / "B" / "z.png").read_bytes()
    for i, extension in enumerate((*EXTENSIONS, ".JPEG", ".Png", ".GIF", ".txt", "")):
        path = folder / "c" / f"{i % 3}" / f"image {i}{extension}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "README.txt").write_text("no class")
    from torchvision.datasets import ImageFolder as Theirs

    theirs = Theirs(str(folder), is_valid_file=lambda path: path.lower().endswith(EXTENSIONS))
    ours = ImageFolder.of(folder)
    assert list(ours.classes) == theirs.classes
    assert [(str(folder / file), label) for file, label in zip(ours.files, ours.labels, strict=True)] == theirs.samples


def test_hidden_files_and_folders_are_left_out(folder):
    for name in (".ipynb_checkpoints/x.png", "B/.hidden/x.png", "B/._z.png"):
        put(folder / name)
    assert ImageFolder.of(folder).files == ImageFolder.of(folder).files
    assert len(ImageFolder.of(folder)) == 6


def test_links_are_followed_once(folder, tmp_path):
    put(tmp_path / "elsewhere" / "far.png")
    (folder / "B" / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "B" / "loop").symlink_to(folder / "B")
    (folder / "c").symlink_to(folder / "b")
    listed = ImageFolder.of(folder)
    assert listed.files[:2] == ("B/z.png", "B/linked/far.png")
    assert listed.classes == ("B", "b", "c", "ä")
    assert len(listed) == 9


def test_other_paths_are_refused(tmp_path):
    with pytest.raises(InputError, match="nothing is not a folder; images must be in a folder of class folders"):
        ImageFolder.of(tmp_path / "nothing")
    with pytest.raises(InputError, match="a.png is a file"):
        ImageFolder.of(put(tmp_path / "a.png"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty has 0 images but no class folders; it must be"):
        ImageFolder.of(tmp_path / "empty")


def test_flat_images_are_explained(tmp_path):
    for i in range(3):
        put(tmp_path / f"ILSVRC2012_val_{i}.JPEG", format="JPEG")
    with pytest.raises(InputError, match=r"has 3 images but no class folders; .*<class>/<image>; .* published flat"):
        ImageFolder.of(tmp_path)


def test_empty_classes_are_named(folder):
    (folder / "none").mkdir()
    (folder / "text").mkdir()
    (folder / "text" / "a.txt").write_text("a")
    with pytest.raises(
        InputError, match="no images in the class folders none, text; images are files that end in .jpg"
    ):
        ImageFolder.of(folder)
    for i in range(20):
        (folder / f"none{i:02}").mkdir()
    with pytest.raises(InputError, match="none, none00, .*none08 and 12 more;"):
        ImageFolder.of(folder)


def test_a_read_only_folder_is_read(folder):
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert len(next(iter(batches(ImageFolder.of(folder), SMALL, 6, 2))).labels) == 6
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)


def test_a_subset_keeps_the_shares_of_the_classes(tmp_path):
    for name, count in (("a", 10), ("b", 20), ("c", 30)):
        for i in range(count):
            put(tmp_path / name / f"{i}.png")
    listed = ImageFolder.of(tmp_path)
    half = listed.subset(30)
    assert np.bincount(half.labels).tolist() == [5, 10, 15]
    assert all(file.startswith("abc"[label]) for file, label in zip(half.files, half.labels, strict=True))
    assert set(listed.subset(6).files) < set(half.files)
    assert listed.subset(None).files == listed.files
    for count in (0, 61, "many", 1.5, True):
        with pytest.raises(InputError, match="images must be 1 to 60"):
            listed.subset(count)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("crop", "resize"), [(32, 37), (33, 37), (24, 24), (1, 1), (41, 64)])
def test_prepared_bytes_equal_torchvisions(interpolation, crop, resize):
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    theirs = Compose([Resize(resize, InterpolationMode(interpolation)), CenterCrop(crop)])
    random = np.random.default_rng(crop)
    sides = [(5, 90), (90, 5), (37, 37), (64, 64), (1, 3), (24, 24), *random.integers(2, 130, (25, 2)).tolist()]
    for seed, (width, height) in enumerate(sides):
        for mode in ("RGB", "L"):
            image = picture(width, height, seed, mode)
            prepared = prepare_image(image, Preset(crop, resize, interpolation))
            expected = np.asarray(theirs(image)).reshape(crop, crop, -1).transpose(2, 0, 1)
            assert prepared.dtype == np.uint8
            assert prepared.flags.c_contiguous
            assert np.array_equal(prepared, expected), (width, height, mode)


def test_decoded_pixels_equal_torchvisions(tmp_path):
    from torchvision.datasets.folder import pil_loader

    transparent = picture().convert("RGBA")
    transparent.putalpha(90)
    written = [
        put(tmp_path / "colour.jpg", quality=90),
        put(tmp_path / "grey.jpg", picture(mode="L")),
        put(tmp_path / "four inks.jpg", picture(mode="CMYK")),
        put(tmp_path / "palette.png", picture(mode="P")),
        put(tmp_path / "transparent palette.png", picture(mode="P"), transparency=bytes(range(256))),
        put(tmp_path / "transparent.png", transparent),
        put(tmp_path / "grey transparent.png", picture(mode="LA")),
        put(tmp_path / "two colours.png", picture(mode="1")),
        put(tmp_path / "a.ppm"),
        put(tmp_path / "a.pgm", picture(mode="L")),
        put(tmp_path / "a.bmp"),
        put(tmp_path / "a.tiff"),
        put(tmp_path / "a.webp", lossless=True),
        put(tmp_path / "gif in disguise.jpg", format="GIF", save_all=True, append_images=[picture(seed=1)]),
        put(tmp_path / "png in disguise.JPEG", format="PNG"),
    ]
    for path in written:
        image = read_image(path)
        assert image.mode == "RGB"
        assert image.size == (12, 10)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about a palette with transparency
            expected = pil_loader(str(path))
        assert np.array_equal(np.asarray(image), np.asarray(expected)), path.name


def test_grey_models_get_grey_images(tmp_path):
    path = put(tmp_path / "a" / "colour.png")
    assert np.array_equal(np.asarray(read_image(path, 1)), np.asarray(picture().convert("L")))
    grey = Preset(8, 9, mean=(0.5,), std=(0.5,))
    assert ImageFolder.of(tmp_path).read(0, grey).shape == (1, 8, 8)


def orientation_image(width=48, height=32):
    """Return an image that shows its orientation: red in the upper left corner, green beside it, blue below."""
    pixels = np.full((height, width, 3), 128, np.uint8)
    pixels[: height // 2, : width // 2] = 255, 0, 0
    pixels[: height // 2, width // 2 :] = 0, 255, 0
    pixels[height // 2 :, : width // 2] = 0, 0, 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff", *([".avif"] if CAN_READ_AVIF else [])])
def test_images_are_turned_upright_according_to_exif(tmp_path, suffix, orientation):
    """The image is stored rotated, as by a camera; the tag says how to turn it back."""
    stored = orientation_image() if orientation == 1 else orientation_image().transpose(INVERSE[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = put(tmp_path / f"a{suffix}", stored, exif=exif, **({} if suffix in (".png", ".tiff") else {"quality": 95}))
    for channels, least in ((3, None), (3, 16), (1, None), (1, 8)):
        image = read_image(path, channels, least)
        resized = np.asarray(image.resize((48, 32))).astype(int)
        assert image.width > image.height
        assert abs(resized[4:-4, 4:-4] - np.asarray(orientation_image().convert(image.mode))[4:-4, 4:-4]).mean() < 12


INVERSE = {
    **{2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM},
    **{5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE},
    8: Image.Transpose.ROTATE_270,
}
"""The transposition that undoes that of each orientation."""


def test_orientation_is_applied_in_every_mode(tmp_path):
    for mode, suffix in (("P", "png"), ("LA", "png"), ("RGBA", "png"), ("I;16", "png"), ("CMYK", "jpg"), ("1", "png")):
        exif = Image.Exif()
        exif[0x0112] = 6
        image = Image.fromarray(np.ones((10, 12), np.uint16)) if mode == "I;16" else picture().convert(mode)
        assert read_image(put(tmp_path / f"{mode[0]}.{suffix}", image, exif=exif)).size == (10, 12)


def test_images_with_damaged_metadata_are_read(tmp_path):
    for i, exif in enumerate(
        (b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0rubbish", b"", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12")
    ):
        assert read_image(put(tmp_path / f"{i}.jpg", exif=exif)).size == (12, 10)
    exif = Image.Exif()
    for value in (0, 9, 60000):
        exif[0x0112] = value
        assert read_image(put(tmp_path / "odd.jpg", exif=exif)).size == (12, 10)


def test_pipes_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(RunError, match="pipe.jpg: it is not a regular file"):
        read_image(tmp_path / "pipe.jpg")


def test_grey_values_of_32_bits_are_refused(tmp_path):
    Image.fromarray(np.full((3, 3), 70000, np.int32)).save(tmp_path / "deep.tiff")
    with pytest.raises(RunError, match="its pixels are 32-bit numbers, whose range is unknown"):
        read_image(tmp_path / "deep.tiff")
    values = np.array([[0, 255, 256, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.pgm")
    assert np.asarray(read_image(tmp_path / "deep.pgm", 1)).tolist() == [[0, 0, 1, 255]]


def test_numbered_classes_are_sorted_by_value(tmp_path):
    for number in range(12):
        put(tmp_path / str(number) / "0.png")
    listed = ImageFolder.of(tmp_path)
    assert [int(file.split("/")[0]) for file in listed.files] == listed.labels.tolist() == list(range(12))
    recorded = tuple(sorted(listed.classes))
    assert ImageFolder.of(tmp_path, recorded).classes == recorded


def test_classes_take_the_numbers_of_another_list(folder):
    listed = ImageFolder.of(folder).with_classes(("x", "ä", "b", "B"), "the model")
    assert listed.files == ("ä/1.png", "ä/2.png", "ä/3.png", "b/x.png", "b/y.png", "B/z.png")
    assert listed.labels.tolist() == [1, 1, 1, 2, 2, 3]
    with pytest.raises(
        InputError, match="3 classes, and 1 of them are not among the 2 of the model: ä; the model has b, B"
    ):
        ImageFolder.of(folder).with_classes(("b", "B"), "the model")


def test_sixteen_bits_keep_the_upper_eight(tmp_path):
    values = np.array([[0, 255, 256, 4096, 30000, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    for channels in (1, 3):
        pixels = np.asarray(read_image(tmp_path / "deep.png", channels)).reshape(1, 6, channels)
        assert (pixels == (values >> 8)[..., None]).all()


def broken_images(folder):
    """Write damaged images; return their names, each with a word that the error must contain."""
    jpeg = put(folder / "whole.jpg", picture(200, 200)).read_bytes()
    png = put(folder / "whole.png", picture(200, 200)).read_bytes()
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(x) print quit\n"
    huge = zlib.crc32(b"IHDR" + (60000).to_bytes(4, "big") * 2 + bytes((8, 2, 0, 0, 0)))
    files = {
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "truncated.png": (png[: len(png) // 2], "truncated"),
        "damaged.png": (png[:60] + bytes(40) + png[100:], ""),
        "header only.jpg": (jpeg[:20], ""),
        "empty.jpg": (b"", "not an image that Pillow can read"),
        "text.jpg": (b"<html>not found</html>", "not an image that Pillow can read"),
        "program.jpg": (postscript, "not an image that Pillow can read"),
        "bomb.png": (
            png[:16] + (60000).to_bytes(4, "big") * 2 + png[24:29] + huge.to_bytes(4, "big") + png[33:],
            "bomb",
        ),
    }
    for name, (content, _) in files.items():
        (folder / name).write_bytes(content)
    Image.fromarray(np.ones((9, 9), np.float32)).save(folder / "numbers.tiff")
    (folder / "link to nothing.jpg").symlink_to("nothing")
    for name in ("whole.jpg", "whole.png"):
        (folder / name).unlink()
    expected_words = {name: word for name, (_, word) in files.items()}
    return expected_words | {"numbers.tiff": "floating-point", "link to nothing.jpg": "No such file"}


def test_broken_images_are_named_with_the_reason(tmp_path):
    for name, word in broken_images(tmp_path).items():
        with pytest.raises(RunError, match=f"cannot read {tmp_path / name}: .*{word}") as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("size", [1, 2, 3, 6, 100])
def test_batches_contain_every_image_once(folder, workers, size):
    listed = ImageFolder.of(folder)
    all_batches = list(batches(listed, SMALL, size, workers))
    assert [len(batch.labels) for batch in all_batches] == [size] * (6 // size) + [6 % size] * (6 % size > 0)
    labels = [int(label) for batch in all_batches for label in batch.labels]
    assert sorted(labels) == [0, 1, 1, 2, 2, 2]
    assert labels[0] != labels[1]
    images = [image.numpy() for batch in all_batches for image in batch.images]
    expected = [prepare_image(Image.open(folder / file).convert("RGB"), SMALL) for file in listed.files]
    for label in range(3):
        of_label = sorted(image.tobytes() for image, other in zip(images, labels, strict=True) if other == label)
        assert of_label == sorted(expected[i].tobytes() for i in range(6) if listed.labels[i] == label)


def test_the_first_images_have_the_shares_of_the_classes(tmp_path):
    for name, count in (("a", 3), ("b", 30), ("c", 12)):
        for i in range(count):
            put(tmp_path / name / f"{i}.png")
    first = next(iter(batches(ImageFolder.of(tmp_path), SMALL, 15, 0)))
    assert np.bincount(first.labels).tolist() == [1, 10, 4]


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_images_are_left_out_and_named(folder, workers):
    (folder / "b" / "x.png").write_bytes(b"")
    (folder / "B" / "z.png").write_bytes(b"")
    all_batches = list(batches(ImageFolder.of(folder), SMALL, 2, workers))
    assert sum(len(batch.labels) for batch in all_batches) == sum(len(batch.images) for batch in all_batches) == 4
    errors = [line for batch in all_batches for line in batch.unreadable]
    assert len(errors) == 2
    assert any(str(folder / "b" / "x.png") in line for line in errors)


def test_no_worker_outlives_the_batches(folder):
    """This holds when all images were read, and when reading is stopped early."""
    list(batches(ImageFolder.of(folder), SMALL, 1, 2))
    assert not multiprocessing.active_children()
    unfinished = batches(ImageFolder.of(folder), SMALL, 1, 2)
    next(unfinished)
    assert len(multiprocessing.active_children()) == 2
    unfinished.close()
    assert not multiprocessing.active_children()


def test_images_are_found_by_name_or_path(folder, tmp_path, data_root):
    shutil.copytree(folder, tmp_path / "root" / "imagenet" / "val")
    assert find_images("imagenet", tmp_path / "root", 3).path == tmp_path / "root" / "imagenet" / "val"
    assert len(find_images(str(folder))) == 6
    assert find_images("patterns", data_root, 50).test_images.shape == (50, 3, 16, 16)
    for name in ("", "nothing", str(tmp_path / "nothing")):
        with pytest.raises(InputError, match="neither a folder nor a name; .* one of: imagenet, fashion_mnist"):
            find_images(name)
    with pytest.raises(InputError, match="imagenet/val is not a folder; data must be a folder of class folders"):
        find_images("imagenet", tmp_path)
