"""Opening pictures of every kind, refusing bad ones, writing them, and fitting them to a network."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import sys
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from manypose import geometry, images
from manypose.errors import ImageError, OutputError
from manypose.images import fit, open_image, write_image

HEIGHT, WIDTH = 48, 64
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH]
RGB = np.dstack([COLUMNS * 4, ROWS * 5, (COLUMNS + ROWS) * 2]).astype(np.uint8)  # no symmetry: every turn shows
ALPHA = (COLUMNS * 4).astype(np.uint8)

COLOUR = Image.fromarray(RGB)
GREY = COLOUR.convert("L")
CLEAR = Image.fromarray(np.dstack([RGB, ALPHA]))
GREY_CLEAR = Image.merge("LA", (GREY, Image.fromarray(ALPHA)))
PALETTE = COLOUR.quantize(32)


def encode(picture: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def over_white(picture: Image.Image) -> np.ndarray:
    clear = picture.convert("RGBA")
    return np.array(Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB"))


def seen_by_pillow(data: bytes) -> np.ndarray:
    return over_white(Image.open(io.BytesIO(data)))


def difference(a: np.ndarray, b: np.ndarray) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b).max())


def tiff(pixels: np.ndarray, **tags: int) -> bytes:
    """A TIFF of one strip, little-endian; `tags` such as t274=6 override or add."""
    height, width, channels = (*pixels.shape, 1)[:3]
    data = pixels.tobytes()
    kinds = {"u": 1, "i": 2, "f": 3}
    values = {256: width, 257: height, 258: 8 * pixels.itemsize, 259: 1, 262: 2 if channels > 2 else 1, 273: 0}
    values |= {277: channels, 278: height, 279: len(data), 339: kinds[pixels.dtype.kind]}
    values |= {int(tag[1:]): value for tag, value in tags.items()}
    start = 8 + 2 + 12 * len(values) + 4
    per_channel = {tag: start + 2 * channels * i for i, tag in enumerate([258, 339])} if channels > 2 else {}
    values[273] = start + 2 * channels * len(per_channel)
    entries, lists = b"", b""
    for tag, value in sorted(values.items()):
        if tag in per_channel:
            entries += struct.pack("<HHII", tag, 3, channels, per_channel[tag])
            lists += struct.pack("<H", value) * channels
        elif channels == 2 and tag in (258, 339):
            entries += struct.pack("<HHIHH", tag, 3, 2, value, value)
        else:
            entries += struct.pack("<HHII", tag, 4, 1, value)
    return b"II*\0" + struct.pack("<IH", 8, len(values)) + entries + b"\0" * 4 + lists + data


def png(width: int, height: int, *chunks: tuple[bytes, bytes], depth: int = 8, colour: int = 2) -> bytes:
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in (header, *chunks, (b"IEND", b"")):
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return data


def bmp_with_alpha(alpha: np.ndarray) -> bytes:
    pixels = np.dstack([RGB[::-1, :, ::-1], alpha[::-1]]).tobytes()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    info = (
        struct.pack("<IiiHHIIiiII", 108, WIDTH, HEIGHT, 1, 32, 3, len(pixels), 0, 0, 0, 0) + masks + b"BGRs" + bytes(48)
    )
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + len(pixels), 0, 0, 14 + len(info)) + info + pixels


# ---------------------------------------------------------------------------------------------------- kinds of files


KINDS = {  # name: (data, largest difference to what Pillow sees)
    "JPEG": (encode(COLOUR, "JPEG", quality=95), 2),
    "JPEG, progressive": (encode(COLOUR, "JPEG", quality=95, progressive=True), 2),
    "JPEG, grey": (encode(GREY, "JPEG", quality=95), 1),
    "JPEG, CMYK": (encode(COLOUR.convert("CMYK"), "JPEG", quality=95), 2),
    "JPEG, restart markers": (encode(COLOUR, "JPEG", restart_marker_blocks=2), 2),
    "PNG": (encode(COLOUR, "PNG"), 0),
    "PNG, grey": (encode(GREY, "PNG"), 0),
    "PNG, grey and alpha": (encode(GREY_CLEAR, "PNG"), 1),
    "PNG, alpha": (encode(CLEAR, "PNG"), 1),
    "PNG, palette": (encode(PALETTE, "PNG"), 0),
    "PNG, palette of four": (encode(COLOUR.quantize(4), "PNG"), 0),
    "PNG, palette, one transparent": (encode(PALETTE, "PNG", transparency=3), 0),
    "PNG, palette, all half transparent": (encode(PALETTE, "PNG", transparency=bytes(range(0, 256, 8))), 1),
    "PNG, transparent grey": (encode(GREY, "PNG", transparency=100), 0),
    "PNG, transparent colour": (encode(COLOUR, "PNG", transparency=(40, 50, 40)), 0),
    "PNG, black and white": (encode(GREY.convert("1"), "PNG"), 0),
    "WebP": (encode(COLOUR, "WEBP", quality=95), 2),
    "WebP, lossless": (encode(COLOUR, "WEBP", lossless=True), 0),
    "WebP, alpha": (encode(CLEAR, "WEBP", lossless=True), 1),
    "BMP": (encode(COLOUR, "BMP"), 0),
    "BMP, grey": (encode(GREY, "BMP"), 0),
    "BMP, black and white": (encode(GREY.convert("1"), "BMP"), 0),
    "BMP, alpha": (bmp_with_alpha(ALPHA), 1),
    "TIFF": (encode(COLOUR, "TIFF"), 0),
    "TIFF, grey": (encode(GREY, "TIFF"), 0),
    "TIFF, alpha": (encode(CLEAR, "TIFF"), 1),
    "TIFF, alpha, LZW": (encode(CLEAR, "TIFF", compression="tiff_lzw"), 1),
    "TIFF, Deflate": (encode(COLOUR, "TIFF", compression="tiff_deflate"), 0),
    "TIFF, CMYK": (encode(COLOUR.convert("CMYK"), "TIFF"), 2),
    "TIFF, palette": (encode(PALETTE, "TIFF"), 0),
    "TIFF, fax": (encode(GREY.convert("1"), "TIFF", compression="group4"), 0),
    "TIFF, two pages": (encode(COLOUR, "TIFF", save_all=True, append_images=[GREY]), 0),
    "GIF": (encode(PALETTE, "GIF"), 0),
    "GIF, grey": (encode(GREY, "GIF"), 0),
    "GIF, transparent": (encode(PALETTE, "GIF", transparency=3), 0),
    "GIF, animation": (encode(PALETTE, "GIF", save_all=True, append_images=[GREY]), 0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_every_kind_is_seen_as_pillow_sees_it(kind: str) -> None:
    data, tolerance = KINDS[kind]
    opened = open_image(data)
    assert opened.dtype == np.uint8
    assert opened.flags.c_contiguous
    assert difference(opened, seen_by_pillow(data)) <= tolerance


def test_a_path_a_path_object_and_bytes_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "Fußgänger 歩行者.png"
    path.write_bytes(encode(COLOUR, "PNG"))
    for source in (path, str(path), path.read_bytes(), bytearray(path.read_bytes()), memoryview(path.read_bytes())):
        assert np.array_equal(open_image(source), RGB)


def test_a_picture_of_one_pixel() -> None:
    assert open_image(encode(COLOUR.crop((5, 5, 6, 6)), "PNG")).shape == (1, 1, 3)


SIXTEEN = RGB.astype(np.uint16) * 257
DEEP = {  # name: (data, RGB expected)
    "PNG, 16 bits": (cv2.imencode(".png", SIXTEEN[..., ::-1])[1].tobytes(), RGB),
    "PNG, 16 bits, grey": (cv2.imencode(".png", SIXTEEN[..., 0])[1].tobytes(), RGB[..., [0, 0, 0]]),
    "PNG, 16 bits, alpha": (
        cv2.imencode(".png", np.dstack([SIXTEEN[..., ::-1], ALPHA.astype(np.uint16) * 257]))[1].tobytes(),
        over_white(CLEAR),
    ),
    "TIFF, 16 bits": (tiff(SIXTEEN), RGB),
    "TIFF, 16 bits, grey": (tiff(SIXTEEN[..., 0]), RGB[..., [0, 0, 0]]),
    "TIFF, 16 bits, grey, white is 0": (tiff(SIXTEEN[..., 0], t262=0), 255 - RGB[..., [0, 0, 0]]),
    "TIFF, 8 bits, grey, white is 0": (tiff(RGB[..., 0], t262=0), 255 - RGB[..., [0, 0, 0]]),
    "TIFF, 16 bits, alpha": (tiff(np.dstack([SIXTEEN, ALPHA.astype(np.uint16) * 257]), t338=2), over_white(CLEAR)),
    "TIFF, 16 bits, alpha multiplied in": (
        tiff(np.dstack([(RGB / 255 * ALPHA[..., None] * 257), ALPHA * 257.0]).astype(np.uint16), t338=1),
        over_white(CLEAR),
    ),
    "TIFF, floats": (tiff((RGB / 255).astype(np.float32)), RGB),
    "BMP, fourth byte unused": (bmp_with_alpha(np.zeros_like(ALPHA)), RGB),
}


@pytest.mark.parametrize("kind", DEEP)
def test_more_than_eight_bits_come_to_the_nearest_of_eight(kind: str) -> None:
    data, expected = DEEP[kind]
    assert difference(open_image(data), expected) <= ("alpha" in kind)


def test_sixteen_bits_are_rounded_not_cut_off() -> None:
    assert open_image(np.array([[0, 128, 129, 65406, 65407, 65535]], np.uint16))[0, :, 0].tolist() == [
        0, 0, 1, 254, 255, 255,
    ]  # fmt: skip


def test_whole_and_half_transparent_places_over_white() -> None:
    pixels = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [200, 100, 0, 128]]], np.uint8)
    assert open_image(pixels).tolist() == [[[200, 100, 0], [255, 255, 255], [227, 177, 127]]]


# --------------------------------------------------------------------------------------------------- orientation


def upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """By the words of Exif 2.3: where row 0 and column 0 of the stored picture are seen."""
    return {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.swapaxes(0, 1),
        6: stored[::-1].swapaxes(0, 1),
        7: stored[::-1, ::-1].swapaxes(0, 1),
        8: stored[:, ::-1].swapaxes(0, 1),
    }[orientation]


def with_orientation(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = orientation
    return exif


TURNED: dict[str, tuple[np.ndarray, Callable[[int], bytes]]] = {
    "JPEG": (RGB, lambda o: encode(COLOUR, "JPEG", quality=95, subsampling=0, exif=with_orientation(o))),
    "JPEG, grey": (np.array(GREY.convert("RGB")), lambda o: encode(GREY, "JPEG", exif=with_orientation(o))),
    "PNG": (RGB, lambda o: encode(COLOUR, "PNG", exif=with_orientation(o))),
    "PNG, alpha": (over_white(CLEAR), lambda o: encode(CLEAR, "PNG", exif=with_orientation(o))),
    "WebP": (RGB, lambda o: encode(COLOUR, "WEBP", lossless=True, exif=with_orientation(o))),
    "WebP, alpha": (over_white(CLEAR), lambda o: encode(CLEAR, "WEBP", lossless=True, exif=with_orientation(o))),
    "TIFF": (RGB, lambda o: tiff(RGB, t274=o)),
    "TIFF, 16 bits": (RGB, lambda o: tiff(SIXTEEN, t274=o)),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", TURNED)
def test_the_orientation_of_exif_is_applied(kind: str, orientation: int) -> None:
    stored, make = TURNED[kind]
    tolerance = 12 if "JPEG" in kind else 1
    assert difference(open_image(make(orientation)), upright(stored, orientation)) <= tolerance


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_the_orientation_of_a_pil_image_is_applied_once(form: str, orientation: int) -> None:
    data = tiff(RGB, t274=orientation) if form == "TIFF" else TURNED["PNG"][1](orientation)
    picture = Image.open(io.BytesIO(data))
    assert np.array_equal(open_image(picture), upright(RGB, orientation))
    assert np.array_equal(open_image(ImageOps.exif_transpose(picture)), upright(RGB, orientation))


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_exif_of_both_byte_orders(byte_order: str) -> None:
    magic = {"<": b"II*\0", ">": b"MM\0*"}[byte_order]
    exif = magic + struct.pack(byte_order + "IHHHIHHI", 8, 1, 274, 3, 1, 6, 0, 0)
    assert np.array_equal(open_image(encode(COLOUR, "PNG", exif=exif)), upright(RGB, 6))


@pytest.mark.parametrize("exif", [b"", b"II", b"II*\0\xff\xff\xff\x7f", b"II*\0" + bytes(40), b"no Exif at all"])
def test_nonsense_in_exif_is_no_reason_to_refuse_a_picture(exif: bytes) -> None:
    data = encode(COLOUR, "JPEG", quality=95)
    segment = b"Exif\0\0" + exif
    marked = data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
    assert np.array_equal(open_image(marked), open_image(data))


def test_an_orientation_that_exif_does_not_know_is_ignored() -> None:
    assert np.array_equal(open_image(encode(COLOUR, "PNG", exif=with_orientation(9))), RGB)


# --------------------------------------------------------------------------------------------- arrays and PIL images


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (RGB, RGB),
        (RGB[..., 0], RGB[..., [0, 0, 0]]),
        (RGB[..., :1], RGB[..., [0, 0, 0]]),
        (np.dstack([RGB, ALPHA]), over_white(CLEAR)),
        (SIXTEEN, RGB),
        (SIXTEEN.astype(">u2"), RGB),
        (RGB / 255, RGB),
        ((RGB / 255).astype(np.float32), RGB),
        ((RGB / 255).astype(np.float16), RGB),
        (RGB[..., 0] > 99, np.where(RGB[..., [0, 0, 0]] > 99, 255, 0)),
        (RGB[::-2, ::3], RGB[::-2, ::3]),  # strides are no obstacle
        (np.asfortranarray(RGB), RGB),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_arrays(array: np.ndarray, expected: np.ndarray) -> None:
    before = array.copy()
    opened = open_image(array)
    assert opened.dtype == np.uint8
    assert opened.flags.c_contiguous
    assert difference(opened, expected) <= (array.ndim == 3 and array.shape[2] == 4)
    assert np.array_equal(array, before)


def test_an_array_that_is_a_picture_already_is_not_copied() -> None:
    assert open_image(RGB) is RGB


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 48, 64), np.uint8), r"shape \(3, 48, 64\) is no picture.*transpose\(1, 2, 0\)"),
        (np.zeros((48, 64, 2), np.uint8), r"shape \(48, 64, 2\) is no picture"),
        (np.zeros((1, 48, 64, 3), np.uint8), "is no picture"),
        (np.zeros(5, np.uint8), "is no picture"),
        (np.zeros((0, 64, 3), np.uint8), "is no picture"),
        (RGB.astype(np.int64), "values of type int64, expected uint8, uint16, bool, or floats in 0..1"),
        (RGB.astype(np.float32), r"floats from 0 to 252, expected 0..1; divide by the largest value"),
        (RGB / 255 - 0.5, "floats from -0.5 to"),
        (np.full((4, 4, 3), np.nan), "floats from nan to nan"),
        (np.zeros((4, 4, 3), np.complex64), "values of type complex64"),
        (np.zeros((4, 4, 3), object), "values of type object"),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        open_image(array, name="frame 7")


@pytest.mark.parametrize("source", [None, 3, [[1, 2], [3, 4]], io.BytesIO(b""), object()])
def test_other_objects_are_refused(source: object) -> None:
    with pytest.raises(ImageError, match=r"cannot open a picture from .*; give a path, bytes, a PIL image or a NumPy"):
        open_image(source)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV"])
def test_pil_images_of_every_mode(mode: str) -> None:
    picture = {"PA": PALETTE.convert("PA"), "RGBa": CLEAR.convert("RGBa")}.get(mode) or CLEAR.convert(mode)
    assert difference(open_image(picture), over_white(picture)) <= 1


def test_pil_images_of_more_than_eight_bits() -> None:
    assert np.array_equal(open_image(Image.fromarray(SIXTEEN[..., 0])), RGB[..., [0, 0, 0]])
    assert np.array_equal(open_image(Image.fromarray(SIXTEEN[..., 0].astype(np.int32))), RGB[..., [0, 0, 0]])
    assert np.array_equal(open_image(Image.fromarray((RGB[..., 0] / 255).astype(np.float32))), RGB[..., [0, 0, 0]])
    with pytest.raises(ImageError, match="PIL image: values of type int32"):
        open_image(Image.fromarray(SIXTEEN[..., 0].astype(np.int32) * 9))


def test_a_pil_image_that_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(LONG["PNG"][:5000])
    with Image.open(path) as picture, pytest.raises(ImageError, match=r"cut\.png: Pillow cannot read it"):
        open_image(picture)


def test_opening_a_picture_does_not_import_pillow() -> None:
    script = "import sys, numpy; from manypose.images import open_image; open_image(numpy.zeros((2, 2), 'u1'))"
    assert os.system(f"{sys.executable} -c \"{script}; sys.exit('PIL' in sys.modules)\"") == 0


# ---------------------------------------------------------------------------------------------------- bad files


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"nobody\.jpg: no such file; check the path"):
        open_image(tmp_path / "nobody.jpg")
    with pytest.raises(ImageError, match="no such file; download it first"):
        open_image("https://example.org/photo.jpg")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=f"{tmp_path.name}: it is a folder; give the pictures in it"):
        open_image(tmp_path)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError, match=r"empty\.jpg: it is empty; copy or download it anew"):
        open_image(tmp_path / "empty.jpg")


def test_a_file_that_this_user_must_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(KINDS["PNG"][0])
    path.chmod(0)
    if os.access(path, os.R_OK):  # the administrator reads everything

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ImageError, match=r"secret\.png: no permission to read the file; change its access rights"):
        open_image(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_without_a_writer_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match=r"pipe\.png: it is not an ordinary file"):
        open_image(tmp_path / "pipe.png")


def test_a_file_that_is_no_ordinary_file() -> None:
    with pytest.raises(ImageError, match=f"{os.devnull}: it is not an ordinary file"):
        open_image(os.devnull)


@pytest.mark.parametrize("path", ["a\0b.jpg", "x" * 5000 + ".jpg"])
def test_a_name_that_no_file_can_have(path: str) -> None:
    with pytest.raises(ImageError, match=r"it cannot be read|no such file"):
        open_image(path)


def test_a_name_that_would_upset_a_terminal_is_shown_escaped() -> None:
    with pytest.raises(ImageError, match=r"^'\\x1b\[2J\\udcff\.jpg': no such file"):
        open_image("\x1b[2J\udcff.jpg")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"just a text about people", "it is no picture, not one of JPEG, PNG, WebP, GIF, BMP and TIFF; save it as"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1", "it is HEIC, AVIF or a video"),
        (b"%PDF-1.7", "it is no picture"),
        (b"BM", "it is cut off, or its header is damaged"),
        (b"GIF89a", "it is cut off, or its header is damaged"),
        (b"RIFF\x04\0\0\0WEBP", "the WebP has no picture in it"),
        (b"\xff\xd8\xff\xd9", "the JPEG has no picture in it"),
        (b"GIF89a\0\0\x10\0\0\0\0", "its header says 0 x 16 pixels"),
        (png(16, 16), "the PNG is damaged, cut off, or of a kind that OpenCV"),
        (png(16, 16, (b"IDAT", b"no deflate stream")), "the PNG is damaged"),
        (KINDS["PNG"][0].replace(b"IDAT", b"IDAT", 1)[:-20] + bytes(20), "the PNG is"),
        (tiff(RGB.astype(np.int16)), "a TIFF of 16 bits of a kind that is not read; save it as PNG or JPEG"),
        (tiff(SIXTEEN, t284=2), "a TIFF of 16 bits of a kind that is not read"),
        (tiff((RGB * 9.0).astype(np.float32)), "floats from 0 to"),
    ],
)
def test_files_that_are_no_sound_pictures(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=rf"photo\.jpg: .*{message}"):
        open_image(path)


NOISE = Image.fromarray(np.random.default_rng(7).integers(0, 256, (60, 80, 3), np.uint8))
LONG = {
    "JPEG": encode(NOISE, "JPEG", exif=with_orientation(6)),
    "JPEG, progressive": encode(NOISE, "JPEG", progressive=True),
    "JPEG with a small JPEG in it": encode(NOISE, "JPEG", comment=encode(COLOUR, "JPEG")),
    "PNG": encode(NOISE, "PNG"),
    "WebP": encode(NOISE, "WEBP"),
    "WebP, lossless": encode(NOISE, "WEBP", lossless=True),
    "GIF": encode(NOISE.quantize(256), "GIF"),
    "BMP": encode(NOISE, "BMP"),
    "TIFF": encode(NOISE, "TIFF"),
    "TIFF, LZW": encode(NOISE, "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("kind", LONG)
def test_a_file_cut_off_anywhere_is_refused_in_silence(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = LONG[kind]
    assert open_image(data).shape in ((60, 80, 3), (80, 60, 3))
    for length in {*range(1, 40), *range(40, len(data) - 40, max(1, len(data) // 60))}:
        with pytest.raises(
            ImageError, match=r"^picture in memory: .*(copy or download it anew|save it as JPEG or PNG)"
        ):
            open_image(data[:length])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["JPEG", "JPEG, progressive", "PNG"])
@pytest.mark.parametrize("missing", range(1, 5))
def test_not_even_the_end_of_a_file_may_be_missing(kind: str, missing: int) -> None:
    with pytest.raises(ImageError, match="is cut off"):
        open_image(LONG[kind][:-missing])


def test_data_after_the_end_of_a_picture_are_no_fault() -> None:
    for kind in ("JPEG", "PNG", "WebP", "GIF"):
        assert np.array_equal(open_image(LONG[kind] + b"a second picture, or a maker's notes"), open_image(LONG[kind]))


def test_a_wrong_checksum_in_the_picture_is_refused() -> None:
    data = bytearray(LONG["PNG"])
    data[len(data) // 2] ^= 1
    with pytest.raises(ImageError, match=r"the PNG is damaged \(a checksum is wrong\)"):
        open_image(bytes(data))


def opened_or_refused(data: bytes) -> None:
    with contextlib.suppress(ImageError):  # any other error fails the test
        picture = open_image(data, max_pixels=200_000)
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
        assert picture.shape[2] == 3
        assert 0 < picture.size <= 3 * 200_000


ALL_FILES = [data for data, _ in KINDS.values()] + [data for data, _ in DEEP.values()] + list(LONG.values())


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_damaged_files_are_opened_or_refused_and_nothing_else(draw: st.DataObject) -> None:
    data = bytearray(draw.draw(st.sampled_from(ALL_FILES)))
    places = st.integers(0, len(data) - 1) | st.integers(0, min(60, len(data) - 1))  # headers are short but matter most
    for place, value in draw.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)):
        data[place] = value
    opened_or_refused(bytes(data[: draw.draw(st.just(len(data)) | st.integers(0, len(data)))]))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(ALL_FILES), st.integers(1, 40), st.binary(max_size=80))
def test_a_true_beginning_and_nonsense_after_it(data: bytes, length: int, rest: bytes) -> None:
    opened_or_refused(data[:length] + rest)


# ------------------------------------------------------------------------------------------------------- the limit


def huge(form: str) -> bytes:
    """The header of a picture of 50,000 x 50,000 pixels and next to no data."""
    side = 50_000
    if form == "PNG":
        return png(side, side, (b"IDAT", zlib.compress(bytes(100))))
    if form == "TIFF, tiles":
        return tiff(RGB, t322=side, t323=side)
    data = bytearray(
        {"JPEG": KINDS["JPEG"], "GIF": KINDS["GIF"], "BMP": KINDS["BMP"], "WebP": KINDS["WebP, alpha"]}[form][0]
        if form != "TIFF"
        else tiff(RGB, t256=side, t257=side)
    )
    if form == "JPEG":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", side, side)
    elif form == "GIF":
        data[6:10] = struct.pack("<HH", side, side)
    elif form == "BMP":
        data[18:26] = struct.pack("<ii", side, -side)
    elif form == "WebP":
        data[12:31] = b"VP8X" + struct.pack("<IIHBHB", 10, 0x10, side - 1, 0, side - 1, 0)[:14] + b"A"
    return bytes(data)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "WebP", "TIFF", "TIFF, tiles"])
def test_the_limit_is_checked_before_anything_is_decoded(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = huge(form)
    monkeypatch.setattr(images.cv2, "imdecode", lambda *_: pytest.fail("decoded before the limit was checked"))
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(
            ImageError, match="pixels are more than the limit of 100 million; shrink the picture, or raise"
        ):
            open_image(data)
        assert time.process_time() - started < 0.2
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_the_limit_counts_pixels_and_can_be_set() -> None:
    data = KINDS["PNG"][0]
    for source in (data, RGB, COLOUR):
        assert open_image(source, max_pixels=HEIGHT * WIDTH).shape == RGB.shape
        with pytest.raises(ImageError, match=r"64 x 48 pixels are more than the limit of 0\.003071 million"):
            open_image(source, max_pixels=HEIGHT * WIDTH - 1)


def test_a_pil_image_over_the_limit_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    picture = Image.open(io.BytesIO(huge("BMP")))
    with pytest.raises(ImageError, match="50000 x 50000 pixels are more than the limit"):
        open_image(picture)


def test_a_file_larger_than_any_picture_below_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "endless.bmp"
    with path.open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(ImageError, match=r"endless\.bmp: a file of 1074 MB is no picture below the limit"):
        open_image(path)


def test_scans_without_end_are_refused() -> None:
    data = LONG["JPEG, progressive"]
    last = data.rindex(b"\xff\xda")
    with pytest.raises(ImageError, match="more than 500 scans"):
        open_image(data[:last] + data[last:-2] * 501 + data[-2:])


def test_a_long_row_of_fill_bytes_takes_no_time() -> None:
    data = LONG["JPEG"]
    last = data.rindex(b"\xff\xda")
    started = time.process_time()
    open_image(data[:last] + b"\xff" * 1_000_000 + data[last:])
    assert time.process_time() - started < 2


def test_many_threads_leave_opencv_as_talkative_as_it_was() -> None:
    before = images._set_log_level(2)
    try:
        threads = [threading.Thread(target=opened_or_refused, args=(data,)) for data in ALL_FILES]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert images._set_log_level(2) == 2
    finally:
        images._set_log_level(before)


# --------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize(("name", "largest"), [("a.png", 0), ("a.jpg", 24), ("a.JPEG", 24), ("a.webp", 24)])
def test_a_picture_written_is_the_picture_opened(tmp_path: Path, name: str, largest: int) -> None:
    smooth = cv2.GaussianBlur(RGB, (0, 0), 2)
    write_image(tmp_path / name, smooth)
    assert difference(open_image(tmp_path / name), smooth) <= largest


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_the_same_picture_gives_the_same_bytes(tmp_path: Path, name: str) -> None:
    write_image(tmp_path / name, RGB)
    first = (tmp_path / name).read_bytes()
    write_image(tmp_path / name, RGB.copy(), overwrite=True)
    assert (tmp_path / name).read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_is_never_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "mine.png"
    path.write_text("precious")
    with pytest.raises(OutputError, match=r"mine\.png: the file exists; choose another name, or allow overwriting"):
        write_image(path, RGB)
    assert path.read_text() == "precious"
    write_image(path, RGB, overwrite=True)
    assert np.array_equal(open_image(path), RGB)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.gif", r"a\.gif: a picture is written as one of \.png, \.jpg, \.jpeg, \.webp; choose such a name"),
        ("a", "a picture is written as one of"),
        ("missing/a.png", "the folder .*missing does not exist; create it first"),
    ],
)
def test_names_that_cannot_be_written(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(OutputError, match=message):
        write_image(tmp_path / name, RGB)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_too_large_for_its_format(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OutputError, match=r"a\.webp: WebP cannot hold 17000 x 2 pixels; write it as \.png"):
        write_image(tmp_path / "a.webp", np.zeros((2, 17_000, 3), np.uint8))
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", [RGB[..., 0], RGB / 255, np.zeros((0, 4, 3), np.uint8)])
def test_only_rgb_is_written_and_fitted(tmp_path: Path, bad: Any) -> None:
    with pytest.raises(ImageError, match="expected a picture of RGB uint8"):
        write_image(tmp_path / "a.png", bad)
    with pytest.raises(ImageError, match="expected a picture of RGB uint8"):
        fit(bad, scale=1)


# --------------------------------------------------------------------------------------------------------- fitting


@pytest.mark.parametrize(
    ("options", "content", "whole"),  # sizes (width, height) of the picture itself, and with what is added
    [
        ({"long_side": 32}, (32, 24), (32, 24)),
        ({"long_side": 368, "stride": 32}, (368, 276), (384, 288)),
        ({"short_side": 96}, (128, 96), (128, 96)),
        ({"scale": 0.3}, (19, 14), (19, 14)),
        ({"scale": 1, "stride": 5}, (64, 48), (65, 50)),
        ({"long_side": 1}, (1, 1), (1, 1)),
    ],
)
def test_sizes(options: dict[str, Any], content: tuple[int, int], whole: tuple[int, int]) -> None:
    fitted, affine = fit(RGB, fill=(9, 8, 7), **options)
    assert fitted.shape == (whole[1], whole[0], 3)
    assert np.array_equal(affine, geometry.resize_affine((WIDTH, HEIGHT), content))
    assert (fitted[content[1] :] == (9, 8, 7)).all()
    assert (fitted[:, content[0] :] == (9, 8, 7)).all()


@pytest.mark.parametrize("long_side", [640, 480, 100, 50, 21])
def test_the_affine_takes_a_place_to_where_it_is_seen(long_side: int) -> None:
    rows, columns = np.mgrid[:200, :240]
    fitted, affine = fit(np.dstack([columns, rows, rows]).astype(np.uint8), long_side=long_side)
    rows, columns = np.mgrid[: fitted.shape[0], : fitted.shape[1]]
    places = geometry.transform_points(np.dstack([columns, rows]), geometry.invert_affine(affine))
    inside = ((places > 1) & (places < (238, 198))).all(axis=2)
    error = (fitted[..., :2] - places)[inside]
    assert np.abs(error).max() <= 0.75  # the values of the picture are whole numbers
    assert np.abs(error.mean(axis=0)).max() <= 0.15


def test_a_picture_that_needs_no_change_is_given_back_itself() -> None:
    fitted, affine = fit(RGB, long_side=WIDTH, stride=16)
    assert fitted is RGB
    assert np.array_equal(affine, [[1, 0, 0], [0, 1, 0]])


def test_fine_stripes_shrink_to_grey_without_moire() -> None:
    stripes = np.zeros((90, 90, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(fit(stripes, long_side=18)[0]) <= 60
    assert np.ptp(fit(stripes, long_side=45)[0]) <= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give exactly one of scale, long_side and short_side, not none"),
        ({"scale": 1, "long_side": 9}, "not scale and long_side"),
        ({"scale": 0}, "scale is 0, expected a number above 0"),
        ({"scale": float("nan")}, "scale is nan"),
        ({"long_side": -5}, "long_side is -5"),
        ({"scale": 1, "stride": 0}, "stride is 0"),
        ({"scale": 1e4}, "would become 640000 x 480000, more than the limit of 100 million pixels; choose a smaller"),
    ],
)
def test_settings_that_make_no_picture(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        fit(RGB, **options)


# ------------------------------------------------------------------------------------------- photos of the repository


def test_the_photos_of_the_repository_are_small_and_their_sources_are_named(photos: Path) -> None:
    readme = (photos / "README.md").read_text(encoding="utf-8")
    pictures = sorted(path for path in photos.iterdir() if path.suffix != ".md")
    assert [path.name for path in pictures] == ["astronaut.jpg", "photographer.jpg", "several.jpg"]
    for path in pictures:
        height, width = open_image(path).shape[:2]
        assert path.stat().st_size < 200_000
        assert f"`{path.name}` ({width} x {height}" in readme
