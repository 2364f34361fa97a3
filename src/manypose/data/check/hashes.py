"""Perceptual hashes, and pairs of pictures that look alike."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint64]

BITS_APART = 7  # of 64: eight groups of eight bits always have one group in common then
ALIKE = 0.95  # correlation of the small grey pictures
SMALL = 16  # side of the small grey picture
_BLOCK = 1024

_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1).astype(np.uint8)


def perceptual_hash(rgb: NDArray[np.uint8]) -> tuple[int, int, NDArray[np.float32]]:
    """A picture's 64 bits, those of its mirror image, and its 16 x 16 grey picture.

    The grey picture has the mean 0 and the length 1; it is all 0 for a plain picture.
    The bits are the signs of the 8 x 8 lowest frequencies of the cosine transform of 32 x 32 grey pixels against their
    median, the constant one left out (Zauner, Implementation and Benchmarking of Perceptual Image Hash
    Functions, 2010).
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    small = np.asarray(cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA), np.float32)
    tiny = np.asarray(cv2.resize(small, (SMALL, SMALL), interpolation=cv2.INTER_AREA), np.float32).ravel()
    tiny -= tiny.mean()
    length = float(np.linalg.norm(tiny))
    tiny = tiny / length if length > SMALL else np.zeros_like(tiny)
    return _bits(small), _bits(np.ascontiguousarray(small[:, ::-1])), tiny


def _bits(small: NDArray[np.float32]) -> int:
    frequencies = np.asarray(cv2.dct(small))[:8, :8].ravel()
    bits = frequencies > np.median(frequencies[1:])
    bits[0] = False
    return int.from_bytes(np.packbits(bits).tobytes(), "little")


def alike_pairs(bits: Bits, small: NDArray[np.float32]) -> list[tuple[int, int, int, float]]:
    """Pairs (i < j) of pictures that look alike: at most 7 bits apart and correlated by 0.95; with both figures.

    All pairs at most 7 bits apart are compared: at least one of their eight bytes is the same.
    """
    return _pairs(bits, bits, small, small)


def mirrored_pairs(bits: Bits, mirrored: Bits, small: NDArray[np.float32]) -> list[tuple[int, int, int, float]]:
    """The same for pictures of which one looks like the mirror image of the other."""
    flipped = small.reshape(-1, SMALL, SMALL)[:, :, ::-1].reshape(len(small), -1)
    return _pairs(bits, mirrored, small, flipped)


def _pairs(
    bits: Bits, other_bits: Bits, small: NDArray[np.float32], other_small: NDArray[np.float32]
) -> list[tuple[int, int, int, float]]:
    """Pairs of one of the first pictures and one of the others; either may come first in the list."""
    found: dict[tuple[int, int], tuple[int, float]] = {}
    for byte in range(8):
        groups, other_groups = (_groups(each, byte) for each in (bits, other_bits))
        for members, others in zip(groups, other_groups, strict=True):
            for a, b, apart in _near(members, others, bits, other_bits):
                pair = (min(a, b), max(a, b))
                if a == b or pair in found:
                    continue
                share = float(small[a] @ other_small[b])
                plain = not small[a].any() and not other_small[b].any()
                if share >= ALIKE or (plain and apart == 0):
                    found[pair] = (apart, share)
    return [(i, j, apart, share) for (i, j), (apart, share) in sorted(found.items())]


def _groups(bits: Bits, byte: int) -> list[NDArray[np.intp]]:
    """The pictures by the value of one byte of their bits."""
    values = bits.view(np.uint8).reshape(len(bits), 8)[:, byte]
    order = np.argsort(values, kind="stable")
    return np.split(order, np.searchsorted(values[order], np.arange(1, 256)))


def _near(
    members: NDArray[np.intp], others: NDArray[np.intp], bits: Bits, other_bits: Bits
) -> Iterator[tuple[int, int, int]]:
    """Pairs that are few bits apart, and how many."""
    for first in range(0, len(members), _BLOCK):
        block = members[first : first + _BLOCK]
        for second in range(0, len(others), _BLOCK):
            other = others[second : second + _BLOCK]
            differing = (bits[block, None] ^ other_bits[None, other]).view(np.uint8)
            apart = _ONES[differing].reshape(len(block), len(other), 8).sum(axis=2)
            for a, b in zip(*np.nonzero(apart <= BITS_APART), strict=True):
                yield int(block[a]), int(other[b]), int(apart[a, b])
