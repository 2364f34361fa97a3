"""What a picture file says before anything is decoded: format, size, orientation, and whether it is whole.

JPEG, PNG, WebP, GIF, BMP and TIFF are read; nothing larger than the file itself is ever allocated.
Sources: ITU-T T.81 (JPEG), W3C PNG 3, RFC 9649 (WebP), GIF89a, Microsoft's BITMAPINFOHEADER, TIFF 6.0, Exif 2.3.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

_JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")  # all but stuffed bytes, restarts and fill bytes
_JPEG_SIZES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # frame headers; the three are tables
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MOST_PARTS = 1_000_000  # chunks of a file; more is an attack on the time of whoever reads it
_MOST_SCANS = 500  # of a progressive JPEG; encoders make about ten, each one costs a pass over the whole picture


class HeaderError(ValueError):
    """What is wrong with a picture file, without its name."""


@dataclass(frozen=True)
class Header:
    """The header of a picture file.

    width, height     pixels as stored, before the orientation is applied
    orientation       Exif's 1..8, where the decoder leaves it to us; 1 = as stored
    largest_block     pixels of the largest block that a decoder must hold: the picture, or one tile of a TIFF
    premultiplied     whether the decoded colours are already multiplied with the alpha channel
    inverted          whether the decoded values run from white to black
    transparent_grey  the decoded grey value that means transparent, None where there is no such value
    """

    format: str
    width: int
    height: int
    orientation: int = 1
    largest_block: int = 0
    premultiplied: bool = False
    inverted: bool = False
    transparent_grey: int | None = None


def read_header(data: bytes) -> Header:
    """The header of a whole picture file; raises `HeaderError` when it is damaged, cut off or of no known format."""
    try:
        header = _read(data)
    except (struct.error, IndexError):
        raise HeaderError("it is cut off, or its header is damaged; copy or download it anew") from None
    if header.width <= 0 or header.height <= 0:
        raise HeaderError(f"its header says {header.width} x {header.height} pixels; it is damaged, save it anew")
    return header


def _read(data: bytes) -> Header:
    if data.startswith(b"\xff\xd8\xff"):
        return _read_jpeg(data)
    if data.startswith(_PNG_SIGNATURE):
        return _read_png(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _read_webp(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return Header("GIF", *struct.unpack_from("<HH", data, 6))
    if data.startswith((b"II*\0", b"MM\0*")):
        return _read_tiff(data)
    if data.startswith(b"BM"):
        return _read_bmp(data)
    kind = "HEIC, AVIF or a video" if data[4:8] == b"ftyp" else "no picture"
    raise HeaderError(f"it is {kind}, not one of JPEG, PNG, WebP, GIF, BMP and TIFF; save it as JPEG or PNG")


def _read_jpeg(data: bytes) -> Header:
    """Walks over all markers to the end of the picture, so that a file that is cut off anywhere is found out."""
    size: tuple[int, int] | None = None
    orientation, scans, position = 1, 0, 2
    for _ in range(_MOST_PARTS):
        found = _JPEG_MARKER.search(data, position)
        if found is None:
            raise HeaderError("the JPEG is cut off (it has no end marker); copy or download it anew")
        marker, position = found[1][0], found.end()
        if marker == 0xD9:
            break
        (length,) = struct.unpack_from(">H", data, position)
        if marker in _JPEG_SIZES and size is None:
            height, width = struct.unpack_from(">HH", data, position + 3)
            size = width, height
        elif marker == 0xE1 and data.startswith(b"Exif\0\0", position + 2) and not scans:
            orientation = _exif_orientation(data[position + 8 : position + length])
        elif marker == 0xDA:
            scans += 1
            if scans > _MOST_SCANS:
                raise HeaderError(f"the JPEG has more than {_MOST_SCANS} scans, no camera writes that; save it anew")
        position += length
    if size is None or not scans:
        raise HeaderError("the JPEG has no picture in it; copy or download it anew")
    return Header("JPEG", *size, orientation=orientation)


def _read_png(data: bytes) -> Header:
    """Walks over all chunks and checks the sums of those that the picture is made of."""
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    orientation, transparent, position = 1, None, len(_PNG_SIGNATURE)
    for _ in range(_MOST_PARTS):
        if position + 12 > len(data):
            raise HeaderError("the PNG is cut off (it has no end chunk); copy or download it anew")
        length, kind = struct.unpack_from(">I4s", data, position)
        body, position = position + 8, position + 12 + length
        if position > len(data):
            raise HeaderError("the PNG is cut off; copy or download it anew")
        if kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
            (expected,) = struct.unpack_from(">I", data, body + length)
            if zlib.crc32(memoryview(data)[body - 4 : body + length]) != expected:
                raise HeaderError("the PNG is damaged (a checksum is wrong); copy or download it anew")
        if kind == b"IEND":
            break
        if kind == b"eXIf":
            orientation = _exif_orientation(data[body : body + length])
        elif kind == b"tRNS" and colour == 0:
            (grey,) = struct.unpack_from(">H", data, body)
            transparent = grey * 255 // (2**depth - 1) if 0 < depth < 8 else grey
    return Header("PNG", width, height, orientation=orientation, transparent_grey=transparent)


def _read_webp(data: bytes) -> Header:
    (length,) = struct.unpack_from("<I", data, 4)
    if 8 + length > len(data):
        raise HeaderError("the WebP is cut off; copy or download it anew")
    kind = data[12:16]
    if kind == b"VP8X":
        low_width, high_width, low_height, high_height = struct.unpack_from("<HBHB", data, 24)
        width, height = low_width + (high_width << 16) + 1, low_height + (high_height << 16) + 1
        return Header("WebP", width, height, orientation=_webp_orientation(data))
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header("WebP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("WebP", width & 0x3FFF, height & 0x3FFF)
    raise HeaderError("the WebP has no picture in it; copy or download it anew")


def _webp_orientation(data: bytes) -> int:
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            return _exif_orientation(data[position + 8 : position + 8 + length].removeprefix(b"Exif\0\0"))
        position += 8 + length + length % 2
    return 1


def _read_bmp(data: bytes) -> Header:
    (header_size,) = struct.unpack_from("<I", data, 14)
    if header_size == 12:
        return Header("BMP", *struct.unpack_from("<HH", data, 18))
    width, height = struct.unpack_from("<ii", data, 18)
    return Header("BMP", width, abs(height))  # a negative height: rows from the top downwards


def _read_tiff(data: bytes) -> Header:
    """The first picture of a TIFF; OpenCV applies its orientation by itself, whatever the flags say."""
    tags = _read_tags(data)
    width, height = tags.get(256, 0), tags.get(257, 0)
    bits, samples, photometric = tags.get(258, 1), tags.get(277, 1), tags.get(262, 1)
    if bits > 8:
        # OpenCV gives these as they are stored, without a look at the tags that say what they mean.
        if photometric not in (0, 1, 2) or (samples > 1 and tags.get(284, 1) == 2) or tags.get(339, 1) == 2:
            raise HeaderError(f"it is a TIFF of {bits} bits of a kind that is not read; save it as PNG or JPEG")
        premultiplied = tags.get(338, 0) == 1
    else:
        premultiplied = True  # libtiff's conversion of 8-bit pictures multiplies the alpha in
    return Header(
        "TIFF",
        width,
        height,
        largest_block=tags.get(322, 0) * tags.get(323, 0),
        premultiplied=premultiplied,
        inverted=bits > 8 and photometric == 0,
    )


def _exif_orientation(data: bytes) -> int:
    """Orientation 1..8 of a block of Exif; 1 where it says none, or nonsense: that is no reason to refuse a picture."""
    try:
        orientation = _read_tags(data).get(274, 1)
    except (struct.error, IndexError, HeaderError):
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def _read_tags(data: bytes) -> dict[int, int]:
    """First value of each whole-number tag in the first directory of a TIFF or of Exif."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        raise HeaderError("its list of tags is damaged; save it anew")
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    tags: dict[int, int] = {}
    for position in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(order + "HHI", data, position)
        code = {1: "B", 3: "H", 4: "I"}.get(kind)
        if code is None or values == 0 or tag in tags:
            continue
        size = struct.calcsize(code) * values
        place = position + 8 if size <= 4 else struct.unpack_from(order + "I", data, position + 8)[0]
        (tags[tag],) = struct.unpack_from(order + code, data, place)
    return tags
