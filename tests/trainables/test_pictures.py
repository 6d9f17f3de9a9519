"""One picture: turned, laid on white, brought to 8 bits, cut and resized, whatever it is and whoever asks."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trainables import pictures
from trainables.pictures import Unreadable, image_of, image_of_array, images_of


def file(image: Any, kind: str = "PNG", **options: Any) -> bytes:
    with io.BytesIO() as made:
        image.save(made, kind, **options)
        return made.getvalue()


def noise(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_a_picture_turned_by_its_exif_is_seen_as_any_viewer_shows_it() -> None:
    upright = np.zeros((8, 8, 3), np.uint8)
    upright[:4] = 200
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90)
    for kind in ("PNG", "TIFF", "WEBP"):
        made = image_of(file(stored, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {})), (3, 8, 8))
        assert np.array_equal(made.transpose(1, 2, 0), upright), kind


def test_what_is_transparent_is_white() -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert (image_of(file(clear), (3, 4, 4)) == 255).all()
    assert (image_of(file(half), (1, 4, 4)) == 127).all()
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([10, 20, 30] * 256)
    assert (image_of(file(palette, transparency=bytes([0] + [255] * 255)), (3, 4, 4)) == 255).all()
    assert image_of(file(palette), (3, 4, 4))[:, 0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_of_grey_keep_their_range(kind: str) -> None:
    deep = (np.arange(256).reshape(16, 16) * 257).astype(np.uint16)
    assert np.array_equal(image_of(file(Image.fromarray(deep), kind), (1, 16, 16))[0].ravel(), np.arange(256))


def test_real_numbers_from_0_to_1_are_stretched_and_others_refused() -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    assert image_of(file(Image.fromarray(ramp), "TIFF"), (1, 8, 8)).max() == 255
    with pytest.raises(Unreadable, match="its grey levels go from -1 to 1"):
        image_of(file(Image.fromarray(ramp * 2 - 1), "TIFF"), (1, 8, 8))


def test_cmyk_and_one_bit_are_read_in_colour_and_in_grey() -> None:
    red = Image.new("RGB", (16, 16), (250, 5, 5))
    cmyk = image_of(file(red.convert("CMYK"), "JPEG", quality=95), (3, 16, 16))
    assert cmyk[0].mean() > 240
    assert cmyk[1:].mean() < 15
    bit = Image.fromarray(noise(8, 8) > 127)
    assert set(image_of(file(bit), (1, 8, 8)).ravel().tolist()) == {0, 255}


REASONS = {
    "nothing": (b"", "it is empty"),
    "zeros": (bytes(900), "it is full of zeros"),
    "text": (b"not an image, but words", "it is text"),
    "a page": (b"<!DOCTYPE html><html>404</html>", "it is a page"),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500), "it is HEIC"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "pointer of Git LFS"),
    "git-annex": (b"/annex/objects/SHA256E-s1--00.jpg\n", "pointer of git-annex"),
    "half a JPEG": (file(Image.fromarray(noise(64, 64, 3)), "JPEG")[:-400], "truncated"),
    "a head alone": (b"\x89PNG\r\n\x1a\n" + bytes(range(40)), "."),
}


@pytest.mark.parametrize(("content", "why"), REASONS.values(), ids=REASONS.keys())
def test_what_is_no_picture_is_refused_with_what_it_is(content: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        image_of(content, (3, 8, 8))


def test_a_picture_with_more_pixels_than_are_allowed_is_refused_by_its_head() -> None:
    with pytest.raises(Unreadable, match="10000×10000 pixels, allowed are 89,478,485"):
        image_of(file(Image.new("1", (10_000, 10_000))), (1, 8, 8))


@settings(max_examples=60, deadline=None)
@given(
    content=st.binary(max_size=300),
    start=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"GIF89a"]),
)
def test_no_bytes_end_in_another_error(content: bytes, start: bytes) -> None:
    with contextlib.suppress(Unreadable):
        made = image_of(start + content, (3, 8, 8))
        assert (made.shape, made.dtype) == ((3, 8, 8), np.uint8)


def test_the_short_side_is_resized_and_the_middle_cut_out() -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255  # the square in the middle
    for array in (wide, wide.transpose(1, 0, 2)):
        made = image_of_array(array, (3, 10, 10))
        assert (made[:, 1:-1, 1:-1] == 255).all()  # at the edge it is mixed with what was cut off
        assert made.min() > 200


def test_resizing_takes_the_mean_of_what_it_leaves_out() -> None:
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    assert abs(image_of_array(stripes, (1, 8, 8)).astype(float) - 127.5).max() < 6


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    size=st.integers(1, 40),
    colours=st.sampled_from([None, 1, 2, 3, 4]),
)
@settings(max_examples=60, deadline=None)
def test_an_array_of_any_size_and_colours_becomes_what_a_network_wants(
    height: int, width: int, size: int, colours: int | None
) -> None:
    array = noise(height, width) if colours is None else noise(height, width, colours)
    for channels in (1, 3):
        made = image_of_array(array, (channels, size, size))
        assert (made.shape, made.dtype) == ((channels, size, size), np.uint8)


def test_a_file_and_its_pixels_are_seen_alike() -> None:
    array = noise(50, 70, 3)
    assert np.array_equal(image_of(file(Image.fromarray(array)), (3, 32, 32)), image_of_array(array, (3, 32, 32)))


def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same() -> None:
    smooth = np.asarray(Image.fromarray(noise(12, 16, 3)).resize((1600, 1200), Image.Resampling.BICUBIC))
    content = file(Image.fromarray(smooth), "JPEG", quality=95)
    with pictures.opened(io.BytesIO(content)) as picture:
        assert pictures.decoded(picture, 3, 100).size == (200, 150)
    small, whole = image_of(content, (3, 100, 100)), image_of_array(smooth, (3, 100, 100))
    assert abs(small.astype(int) - whole).mean() < 2


def test_pictures_of_different_kinds_are_made_into_one_batch(tmp_path: Any) -> None:
    array = noise(9, 9, 3)
    (tmp_path / "one.png").write_bytes(file(Image.fromarray(array)))
    made = images_of([tmp_path / "one.png", str(tmp_path / "one.png"), file(Image.fromarray(array)), array], (3, 9, 9))
    assert made.shape == (4, 3, 9, 9)
    assert (made == array.transpose(2, 0, 1)).all()
    with pytest.raises(Unreadable, match="picture 1: it is text"):
        images_of([array, b"no picture at all"], (3, 9, 9))
    with pytest.raises(Unreadable, match="picture 0: "):
        images_of([tmp_path / "none.png"], (3, 9, 9))
