import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from designspace.data import shrinking
from designspace.data.shrinking import shrink_square
from designspace.support import compiled


def pillow(image, size):
    width, height = image.size
    side = min(width, height)
    box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box)).transpose(2, 0, 1)


def shrunk(image, size):
    out = np.full((3, size, size), 77, np.uint8)
    sums = np.ones((2, 3), np.uint64)
    shrink_square(image, out, sums)
    pixels = out.reshape(3, -1).astype(np.int64)
    assert sums.tolist() == [(1 + pixels.sum(1)).tolist(), (1 + (pixels**2).sum(1)).tolist()]
    return out


@settings(deadline=None, max_examples=150)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 120), st.integers(0, 2))
def test_compiled_or_not_it_is_pillow_s_to_one_level(width, height, size, kind):
    random = np.random.default_rng(width + 301 * height)
    values = [random.integers(0, 256, (height, width, 3)), random.integers(0, 2, (height, width, 3)) * 255]
    pixels = [*values, np.full((height, width, 3), 255)][kind].astype(np.uint8)
    image = Image.fromarray(pixels)
    difference = shrunk(image, size).astype(int) - pillow(image, size)
    assert abs(difference).max() <= 1
    if kind == 2:
        assert not difference.any()


def test_nothing_is_brighter_or_darker_on_average():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (375, 500, 3), np.uint8))
    for size in (64, 160, 224):
        assert abs((shrunk(image, size).astype(float) - pillow(image, size)).mean()) < 0.02


@pytest.fixture
def uncompiled(monkeypatch):
    """As on a machine without a compiler."""
    monkeypatch.setenv("DESIGNSPACE_KERNELS", "0")
    shrinking._library.cache_clear()
    yield
    shrinking._library.cache_clear()


def test_without_a_compiler_it_is_pillow_s(uncompiled):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (75, 90, 3), np.uint8))
    np.testing.assert_array_equal(shrunk(image, 32), pillow(image, 32))


def test_of_an_image_in_several_pieces_too():
    """Pillow keeps large ones so, and does not hand them out."""
    image = Image.linear_gradient("L").resize((3000, 2100)).convert("RGB")
    np.testing.assert_allclose(shrunk(image, 300).astype(int), pillow(image, 300), atol=1)


def test_a_compiler_that_fails_is_told(tmp_path, monkeypatch, caplog):
    source = tmp_path / "wrong.c"
    source.write_text("this is no C")
    monkeypatch.setenv("DESIGNSPACE_DATA", str(tmp_path))
    with caplog.at_level(logging.WARNING):
        assert compiled.build("some", [source], ["-O1"]) is None
    assert "going on without compiled some: " in caplog.text
    assert list((tmp_path / "kernels").iterdir()) == []
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert compiled.build("some", [source], []) is None


def test_what_is_built_is_kept(tmp_path, monkeypatch):
    source = tmp_path / "one.c"
    source.write_text("int one(void) { return 1; }")
    monkeypatch.setenv("DESIGNSPACE_DATA", str(tmp_path))
    library = compiled.build("some", [source], ["-O1"])
    if library is None:
        pytest.skip("no C compiler")
    assert library.one() == 1
    (kept,) = (tmp_path / "kernels").iterdir()
    before = kept.stat().st_mtime_ns
    assert compiled.build("some", [source], ["-O1"]).one() == 1
    assert kept.stat().st_mtime_ns == before
