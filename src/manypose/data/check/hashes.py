"""Perceptual hashes, and pairs of pictures that look alike."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint64]

BITS_APART = 7  # of 64: eight groups of eight bits always have one group in common then
ALIKE = 0.95  # correlation of the small grey pictures
SMALL = 16  # side of the small grey picture
_BLOCK = 2048

_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1).astype(np.uint8)


def perceptual_hash(rgb: NDArray[np.uint8]) -> tuple[int, NDArray[np.float32]]:
    """A picture's 64 bits, and its 16 x 16 grey picture (mean 0, length 1; all 0 for a plain picture).

    The bits are the signs of the 8 x 8 lowest frequencies of the cosine transform of 32 x 32 grey pixels against their
    median, the constant one left out (Zauner, Implementation and Benchmarking of Perceptual Image Hash
    Functions, 2010).
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    small = np.asarray(cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA), np.float32)
    frequencies = np.asarray(cv2.dct(small))[:8, :8].ravel()
    bits = frequencies > np.median(frequencies[1:])
    bits[0] = False
    tiny = np.asarray(cv2.resize(small, (SMALL, SMALL), interpolation=cv2.INTER_AREA), np.float32).ravel()
    tiny -= tiny.mean()
    length = float(np.linalg.norm(tiny))
    tiny = tiny / length if length > SMALL else np.zeros_like(tiny)
    return int.from_bytes(np.packbits(bits).tobytes(), "little"), tiny


def alike_pairs(bits: Bits, small: NDArray[np.float32]) -> list[tuple[int, int, int, float]]:
    """Pairs (i < j) of pictures that look alike: at most 7 bits apart and correlated by 0.95; with both figures.

    All pairs at most 7 bits apart are compared: at least one of their eight bytes is the same.
    """
    found: dict[tuple[int, int], tuple[int, float]] = {}
    groups = bits.view(np.uint8).reshape(len(bits), 8)
    for byte in range(8):
        order = np.argsort(groups[:, byte], kind="stable")
        starts = np.searchsorted(groups[order, byte], np.arange(257))
        for value in range(256):
            _compare(order[starts[value] : starts[value + 1]], bits, small, found)
    return [(i, j, apart, share) for (i, j), (apart, share) in sorted(found.items())]


def _compare(
    members: NDArray[np.intp],
    bits: Bits,
    small: NDArray[np.float32],
    found: dict[tuple[int, int], tuple[int, float]],
) -> None:
    for first in range(0, len(members), _BLOCK):
        block = members[first : first + _BLOCK]
        for second in range(first, len(members), _BLOCK):
            other = members[second : second + _BLOCK]
            differing = (bits[block, None] ^ bits[None, other]).view(np.uint8).reshape(len(block), len(other), 8)
            apart = _ONES[differing].sum(axis=2)
            for a, b in zip(*np.nonzero(apart <= BITS_APART), strict=True):
                i, j = sorted((int(block[a]), int(other[b])))
                if i == j or (i, j) in found:
                    continue
                share = float(small[i] @ small[j])
                plain = not small[i].any() and not small[j].any()
                if share >= ALIKE or (plain and apart[a, b] == 0):
                    found[i, j] = (int(apart[a, b]), share)
