"""Pictures: opened safely, written, and fitted to what a network takes, with the affine that maps people back.

A picture is RGB uint8 (H, W, 3). Whatever a file holds is brought to that: Exif's orientation is applied, transparent
places become white, 16 bits become 8, grey, palettes and CMYK become RGB. Colour profiles are not applied.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose import files, geometry
from manypose.errors import ImageError, OutputError
from manypose.image_headers import Header, HeaderError, read_header

Picture = NDArray[np.uint8]

MAX_PIXELS = 100_000_000
_SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WebP"}
_TURNS = {2: (False, 1), 3: (False, -1), 4: (False, 0), 5: (True, None), 6: (True, 1), 7: (True, -1), 8: (True, 0)}


def open_image(source: Any, *, max_pixels: int = MAX_PIXELS, name: str | None = None) -> Picture:
    """A picture as RGB uint8 (H, W, 3), from a path, the bytes of a file, a PIL image or an array.

    An array is (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA of uint8, uint16, bool, or floats in 0..1; its pixels
    are taken as they are, and an array that is RGB uint8 already is given back itself. Of an animation the first
    picture is opened. `name` stands in the messages for a source that has no name of its own.

    Raises `ImageError`, with the name and what to do, for a file that is missing, a folder, empty, cut off, damaged,
    not a picture, or not readable for this user, for arrays of other kinds, and for pictures of more than `max_pixels`
    pixels, which the header tells before anything is decoded.
    """
    if isinstance(source, np.ndarray):
        name = name or "array"
        return _from_array(_check_array(source, name, max_pixels), name)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(bytes(source), name or "picture in memory", max_pixels)
    if isinstance(source, (str, os.PathLike)):
        path = os.fsdecode(source)
        name = name or _printable(path)
        return _decode(_read_file(path, name, max_pixels), name, max_pixels)
    pillow: Any = sys.modules.get("PIL.Image")  # who passes a PIL image has imported it
    if pillow is not None and isinstance(source, pillow.Image):
        return _from_pil(source, name or _printable(getattr(source, "filename", "")) or "PIL image", max_pixels)
    kind = f"{type(source).__module__}.{type(source).__qualname__}".removeprefix("builtins.")
    raise ImageError(f"cannot open a picture from {kind}; give a path, bytes, a PIL image or a NumPy array")


def write_image(path: str | os.PathLike[str], rgb: Picture, *, overwrite: bool = False) -> None:
    """Write a picture as PNG, JPEG or WebP, whichever the name ends with; the same picture gives the same bytes.

    The file appears in one step. Raises `OutputError` for another ending, when the file exists and `overwrite` is
    false, or when it cannot be written; `ImageError` when `rgb` is not RGB uint8 (H, W, 3).
    """
    check_rgb(rgb)
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise OutputError(f"{path}: a picture is written as one of {', '.join(_SUFFIXES)}; choose such a name")
    settings = {
        ".webp": [cv2.IMWRITE_WEBP_QUALITY, 92],
        ".png": [cv2.IMWRITE_PNG_COMPRESSION, 4],
    }.get(suffix, _jpeg_settings())
    with _quiet_opencv():
        try:
            done, data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), settings)
        except cv2.error:
            done = False
    if not done:
        height, width = rgb.shape[:2]
        raise OutputError(f"{path}: {_SUFFIXES[suffix]} cannot hold {width} x {height} pixels; write it as .png")
    files.write_bytes(path, data.tobytes(), overwrite=overwrite)


def fit(
    rgb: Picture,
    *,
    scale: float | None = None,
    long_side: int | None = None,
    short_side: int | None = None,
    stride: int = 1,
    fill: int | tuple[int, int, int] = 0,
    max_pixels: int = MAX_PIXELS,
) -> tuple[Picture, NDArray[np.float64]]:
    """The picture resized and padded for a network, and the affine (2, 3) from its points to those of the result.

    Exactly one of `scale`, `long_side` and `short_side` (pixels) says how large it becomes; the other side follows, to
    the nearest pixel. Then `fill` (a grey value or RGB) is added at the right and below until both sides are multiples
    of `stride`. Resizing is half-pixel: by area when a side shrinks to less than half, linear otherwise. A picture that
    needs no change is given back itself.

    Raises `ImageError` when the settings make no picture, or one of more than `max_pixels` pixels.
    """
    check_rgb(rgb)
    height, width = rgb.shape[:2]
    new_width, new_height = _fitted_size((width, height), scale, long_side, short_side)
    if stride < 1:
        raise ImageError(f"stride is {stride}, expected a whole number of 1 or more")
    pad_right, pad_below = -new_width % stride, -new_height % stride
    if (new_width + pad_right) * (new_height + pad_below) > max_pixels:
        raise ImageError(
            f"a picture of {width} x {height} pixels would become {new_width} x {new_height}, more than the limit of "
            f"{max_pixels / 1e6:g} million pixels; choose a smaller size"
        )
    fitted = rgb
    if (new_width, new_height) != (width, height):
        shrinks = 2 * new_width < width or 2 * new_height < height
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        fitted = cv2.resize(rgb, (new_width, new_height), interpolation=how)  # type: ignore[assignment]
    if pad_right or pad_below:
        colour = (fill, fill, fill) if isinstance(fill, int) else fill
        fitted = cv2.copyMakeBorder(  # type: ignore[assignment]
            fitted, 0, pad_below, 0, pad_right, cv2.BORDER_CONSTANT, value=colour
        )
    return fitted, geometry.resize_affine((width, height), (new_width, new_height))


def check_rgb(rgb: Picture) -> None:
    """Raise `ImageError` unless this is a picture as the whole package uses it: RGB uint8 (H, W, 3), not empty."""
    if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        kind = f"{rgb.dtype} {rgb.shape}" if isinstance(rgb, np.ndarray) else type(rgb).__name__
        raise ImageError(f"expected a picture of RGB uint8 (height, width, 3), got {kind}; open_image makes one")


def _fitted_size(
    size: tuple[int, int], scale: float | None, long_side: int | None, short_side: int | None
) -> tuple[int, int]:
    given = {"scale": scale, "long_side": long_side, "short_side": short_side}
    chosen = {name: value for name, value in given.items() if value is not None}
    if len(chosen) != 1:
        raise ImageError(f"give exactly one of scale, long_side and short_side, not {' and '.join(chosen) or 'none'}")
    ((name, value),) = chosen.items()
    if not 0 < value < float("inf"):
        raise ImageError(f"{name} is {value}, expected a number above 0")
    if name != "scale":
        value = value / (max(size) if name == "long_side" else min(size))
    return max(1, round(size[0] * value)), max(1, round(size[1] * value))


def _jpeg_settings() -> list[int]:
    # Full colour resolution: thin coloured lines bleed otherwise.
    return [
        cv2.IMWRITE_JPEG_QUALITY,
        92,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]


def _printable(path: str) -> str:
    """A path as it can be printed on any terminal, whatever bytes its maker put in."""
    return path if path.isprintable() else repr(path)


_NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # a pipe without a writer must not hang us


def _read_file(path: str, name: str, max_pixels: int) -> bytes:
    most_bytes = 8 * max_pixels + 2**26  # 16-bit RGBA without compression, and room for what else a file may carry
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _NO_WAIT)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(f"{name}: it is not an ordinary file; save the picture to a file, or pass its bytes")
            if status.st_size > most_bytes:
                raise ImageError(f"{name}: a file of {status.st_size / 1e6:.0f} MB is no picture below the limit")
            return file.read()
    except FileNotFoundError:
        hint = "download it first" if "://" in path else "check the path"
        raise ImageError(f"{name}: no such file; {hint}") from None
    except IsADirectoryError:
        raise ImageError(f"{name}: it is a folder; give the pictures in it") from None
    except PermissionError:
        raise ImageError(f"{name}: no permission to read the file; change its access rights") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{name}: it cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _check_size(name: str, size: tuple[int, int], max_pixels: int, largest_block: int = 0) -> None:
    pixels = max(size[0] * size[1], largest_block)
    if pixels > max_pixels:
        raise ImageError(
            f"{name}: {size[0]} x {size[1]} pixels are more than the limit of {max_pixels / 1e6:g} million; "
            "shrink the picture, or raise max_pixels"
        )


def _decode(data: bytes, name: str, max_pixels: int) -> Picture:
    if not data:
        raise ImageError(f"{name}: it is empty; copy or download it anew")
    try:
        header = read_header(data)
    except HeaderError as fault:
        raise ImageError(f"{name}: {fault}") from None
    _check_size(name, (header.width, header.height), max_pixels, header.largest_block)
    with _quiet_opencv():
        try:
            # Unchanged: 16 bits and alpha are kept, and only so does no version of OpenCV turn the picture by itself.
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            pixels = None
    if pixels is None or pixels.shape[0] * pixels.shape[1] != header.width * header.height:
        raise ImageError(
            f"{name}: the {header.format} is damaged, cut off, or of a kind that OpenCV {cv2.__version__} cannot "
            "decode; copy or download it anew, or save it as JPEG or PNG"
        )
    return _turn(_decoded_to_rgb(pixels, header, name), header.orientation)


def _decoded_to_rgb(pixels: NDArray[Any], header: Header, name: str) -> Picture:
    if header.inverted:
        pixels = 1 - pixels if pixels.dtype.kind == "f" else ~pixels
    if header.format == "BMP" and pixels.ndim == 3 and pixels.shape[2] == 4 and not pixels[..., 3].any():
        pixels = pixels[..., :3]  # many programs leave the fourth byte of a BMP at 0
    transparent = (
        pixels == header.transparent_grey if header.transparent_grey is not None and pixels.ndim == 2 else None
    )
    pixels = _to_uint8(pixels, name)
    if transparent is not None:
        pixels[transparent] = 255
    if pixels.ndim == 3:
        swap = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
        pixels = np.asarray(cv2.cvtColor(pixels, swap), np.uint8)
    return _to_rgb(pixels, premultiplied=header.premultiplied)


def _check_array(array: NDArray[Any], name: str, max_pixels: int) -> NDArray[Any]:
    good_shape = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if not good_shape or array.size == 0:
        hint = (
            "; transpose(1, 2, 0) brings its channels to the end" if array.ndim == 3 and len(array) in (1, 3, 4) else ""
        )
        raise ImageError(
            f"{name}: shape {array.shape} is no picture; expected (height, width) or (height, width, 1, 3 or 4){hint}"
        )
    _check_size(name, (array.shape[1], array.shape[0]), max_pixels)
    return array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array


def _from_array(array: NDArray[Any], name: str) -> Picture:
    return _to_rgb(_to_uint8(array, name), premultiplied=False)


def _to_uint8(array: NDArray[Any], name: str) -> Picture:
    """The values of a picture in 0..255, to the nearest; raises `ImageError` where their meaning is not certain."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        return cv2.convertScaleAbs(np.ascontiguousarray(array, np.uint16), alpha=1 / 257)  # type: ignore[return-value]
    if array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())
        if not (low >= -1e-3 and high <= 1 + 1e-3):  # so written, NaN is refused too
            raise ImageError(
                f"{name}: floats from {low:g} to {high:g}, expected 0..1; divide by the largest value, or give uint8"
            )
        values: Picture = np.rint(np.clip(array, 0, 1) * array.dtype.type(255)).astype(np.uint8)
        return values
    raise ImageError(f"{name}: values of type {array.dtype}, expected uint8, uint16, bool, or floats in 0..1")


def _to_rgb(pixels: Picture, *, premultiplied: bool) -> Picture:
    """RGB (H, W, 3) of grey (H, W), RGB or RGBA; transparent places become white."""
    if pixels.ndim == 2:
        return cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_GRAY2RGB)  # type: ignore[return-value]
    if pixels.shape[2] == 3:
        return np.ascontiguousarray(pixels)
    rgb, alpha = np.ascontiguousarray(pixels[..., :3]), pixels[..., 3]
    if alpha.min() == 255:
        return rgb
    white = 255 - alpha
    for channel in range(3):  # one at a time: a large picture needs less memory
        if premultiplied:
            rgb[..., channel] = cv2.add(rgb[..., channel], white)
        else:
            mixed = rgb[..., channel].astype(np.uint16) * alpha + white.astype(np.uint16) * np.uint16(255)
            rgb[..., channel] = (mixed + np.uint16(127)) // np.uint16(255)
    return rgb


def _turn(rgb: Picture, orientation: int) -> Picture:
    """The picture upright, from one of the orientations 1..8 of Exif."""
    transpose, flip = _TURNS.get(orientation, (False, None))
    turned = cv2.transpose(rgb) if transpose else rgb
    return turned if flip is None else cv2.flip(turned, flip)  # type: ignore[return-value]


def _from_pil(picture: Any, name: str, max_pixels: int) -> Picture:
    _check_size(name, picture.size, max_pixels)
    try:
        picture.load()  # first, since Pillow turns TIFF files by itself while it loads them, and then says so
        orientation = picture.getexif().get(274, 1)
        if picture.mode == "F" or picture.mode.startswith("I"):
            pixels = np.asarray(picture)
            if pixels.dtype.kind == "i" and pixels.size and pixels.min() >= 0 and pixels.max() <= 65535:
                pixels = pixels.astype(np.uint16)  # older versions open 16-bit pictures so
        else:
            pixels = np.asarray(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error, zlib.error) as error:
        raise ImageError(f"{name}: Pillow cannot read it: {error}; copy or download it anew") from None
    return _turn(_from_array(_check_array(pixels, name, max_pixels), name), orientation)


_quiet_lock = threading.Lock()
_quiet_users = 0
_level_before = 0


@contextlib.contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Keep OpenCV from writing about a bad picture to stderr, where our error says the same.

    OpenCV's level is one for the whole process, so the users are counted: the last one out restores it.
    """
    global _quiet_users, _level_before
    with _quiet_lock:
        _quiet_users += 1
        if _quiet_users == 1:
            _level_before = _set_log_level(0)
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_users -= 1
            if _quiet_users == 0:
                _set_log_level(_level_before)


def _set_log_level(level: int) -> int:
    """Set how much OpenCV writes to stderr; gives the level that was set before."""
    module: Any = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging  # 4.x, 5.x
    return int(module.setLogLevel(level))
