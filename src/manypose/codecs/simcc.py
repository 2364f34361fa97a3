"""SimCC: two vectors for each joint, one along x and one along y, with several bins for a pixel of the input.

Source: Y. Li et al., "SimCC: a Simple Coordinate Classification Perspective", ECCV 2022, as in RTMPose (mmpose).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from manypose.errors import ModelError

Array = NDArray[np.float32]


@dataclass(frozen=True)
class SimccCodec:
    """What the vectors mean: `split_ratio` bins stand for one pixel of the network's input.

    The score of a joint is the smaller one ("min", mmpose) or the mean ("mean", rtmlib) of the two maxima.
    `sigma` (bins) and `smoothing` say how `encode` draws the targets.
    """

    split_ratio: float = 2.0
    score: Literal["min", "mean"] = "min"
    sigma: float | None = None
    smoothing: float | None = None

    @property
    def udp(self) -> bool:
        """Whether crops are laid out as for UDP, as heatmaps' may be: never."""
        return False

    @property
    def mirror_shift(self) -> int:
        """Bins by which the vectors along x of a mirrored crop, turned back, lie too far to the left of its own.

        It is negative: bin b is pixel b / split_ratio, and behind the last pixel's come split_ratio - 1 more.
        """
        return -round(self.split_ratio - 1)

    def encode(self, keypoints: Array, size: tuple[int, int]) -> tuple[Array, Array, Array]:
        """Targets for people (N, K, 2) in crops of `size` (w, h) pixels, where NaN marks absent joints.

        Gives `simcc_x` (N, K, w * split_ratio), `simcc_y` (N, K, h * split_ratio) and the joints' weights (N, K). The
        targets are Gaussians of height 1 around the nearest bin. Their `sigma`, in bins, is by default the square root
        of an eighth of the size along their axis, as RTMPose has it: 4.9 and 5.66 for 192 x 256. A joint weighs 0
        where a Gaussian would lie more than three sigmas outside. With `smoothing` the targets are shares instead: 1 -
        `smoothing` for the nearest bin, the rest for the others together; a joint outside of the crop weighs 0.
        """
        places = np.asarray(keypoints, np.float64) * self.split_ratio
        there = np.asarray(np.isfinite(places).all(axis=2))
        nearest = np.rint(np.where(there[..., None], places, 0))
        targets = []
        for axis in range(2):
            bins = round(size[axis] * self.split_ratio)
            distances = np.abs(np.arange(bins) - nearest[..., axis, None])
            spread = self.sigma or (size[axis] / 8) ** 0.5
            if self.smoothing is None:
                target, reach = np.exp(-(distances**2) / (2 * spread**2)), 3 * spread + 1
            else:
                target, reach = self._shares(distances), 1
            targets.append(target)
            there &= distances.min(axis=2) < reach
        across, down = (np.where(there[..., None], target, 0).astype(np.float32) for target in targets)
        return across, down, there.astype(np.float32)

    def _shares(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        smoothing = self.smoothing or 0.0
        return np.where(distances == 0, 1 - smoothing, smoothing / max(distances.shape[2] - 1, 1))

    def decode(self, simcc_x: Array, simcc_y: Array) -> tuple[Array, Array]:
        """Joints (B, K, 2) in pixels of the input and scores (B, K) of vectors (B, K, bins of x) and (B, K, of y).

        A joint whose score is not above 0 is NaN and scores 0; scores may be above 1. Raises `ModelError` for vectors
        that do not belong together, are empty or not finite.
        """
        shapes = simcc_x.shape, simcc_y.shape
        if simcc_x.ndim != 3 or shapes[0][:2] != shapes[1][:2] or simcc_y.ndim != 3 or 0 in (shapes[0] + shapes[1])[2:]:
            raise ModelError(
                f"simcc_x and simcc_y have shapes {shapes[0]} and {shapes[1]}, expected (people, joints, bins)"
            )
        if not (np.isfinite(simcc_x).all() and np.isfinite(simcc_y).all()):
            raise ModelError("simcc_x and simcc_y hold numbers that are not finite")
        bins = np.stack([simcc_x.argmax(axis=2), simcc_y.argmax(axis=2)], axis=2)
        across, down = simcc_x.max(axis=2), simcc_y.max(axis=2)
        scores = np.minimum(across, down) if self.score == "min" else (across + down) / 2
        there = scores > 0
        keypoints = np.where(there[..., None], bins / self.split_ratio, np.nan).astype(np.float32)
        return keypoints, np.where(there, scores, 0).astype(np.float32)
