"""How far a figure would move if other pictures had been drawn: the percentile bootstrap over pictures.

Source: B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def draw_counts(pictures: int, *, resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each of the pictures stands in each resample, (resamples, pictures); rows sum to `pictures`."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.multinomial(pictures, np.full(pictures, 1 / pictures), size=resamples)


def percentile_interval(figures: ArrayLike, *, confidence: float = 0.95) -> tuple[float, float]:
    """The middle share `confidence` of the resampled figures; NaN (nothing to measure in a resample) does not count."""
    values = np.asarray(figures, np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
