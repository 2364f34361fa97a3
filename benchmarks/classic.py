"""The classic decoder of part affinity fields, written plainly: what the products of 2017 to 2020 do, for comparison.

Every map is enlarged by eight (cubic), heatmaps are smoothed (sigma 3), a peak is not below its four neighbours, every
pair of peaks is tried with ten samples of the field, each sort of limb is matched greedily on its own, and limbs grow
to rows of people in a fixed order. The steps, the constants and the way of programming them (lists of peaks, a loop
over pairs, small arrays for the samples of each) are those that the Python products of the family share; the words are
our own, and the package uses nothing of it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Peak = tuple[float, float, float, int]  # x, y, height, running number
Link = tuple[int, int, float]  # numbers of two peaks, score of the limb

ENLARGE = 8
SMOOTH = 3.0  # standard deviation in enlarged cells
PEAK_THRESHOLD = 0.1
SAMPLES = 10
FIELD_THRESHOLD = 0.05
SAMPLES_NEEDED = 9
MIN_JOINTS = 4
MIN_MEAN_SCORE = 0.4

# The order in which rows of people grow: trunk, arms and legs, head, and last the limbs that only fix an ear.
ORDER = (
    ("neck", "right_shoulder"),
    ("neck", "left_shoulder"),
    ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"),
    ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"),
    ("neck", "right_hip"),
    ("right_hip", "right_knee"),
    ("right_knee", "right_ankle"),
    ("neck", "left_hip"),
    ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"),
    ("neck", "nose"),
    ("nose", "right_eye"),
    ("right_eye", "right_ear"),
    ("nose", "left_eye"),
    ("left_eye", "left_ear"),
    ("right_shoulder", "right_ear"),
    ("left_shoulder", "left_ear"),
)


def decode(
    heatmaps: Array, fields: Array, joints: tuple[str, ...], limbs: tuple[tuple[int, int], ...]
) -> list[dict[int, tuple[float, float, float]]]:
    """People as dictionaries joint -> (x, y, score), in pixels of the enlarged maps.

    `heatmaps` (K + 1, h, w) and `fields` (2L, h, w); `limbs` are the joints of each field, `joints` their names.
    """
    heatmaps, fields = enlarge(heatmaps), enlarge(fields)
    peaks = find_all_peaks(heatmaps[: len(joints)])
    order = [(joints.index(a), joints.index(b)) for a, b in ORDER]
    links = []
    for limb in order:
        k = limbs.index(limb)
        links.append(match(peaks[limb[0]], peaks[limb[1]], fields[2 * k], fields[2 * k + 1]))
    return grow(peaks, order, links)


def enlarge(maps: Array) -> Array:
    """Maps (C, h, w) as (C, 8h, 8w)."""
    return np.stack([cv2.resize(each, None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC) for each in maps])


def find_all_peaks(heatmaps: Array) -> list[list[Peak]]:
    """Peaks of each enlarged heatmap, numbered through all of them."""
    peaks: list[list[Peak]] = []
    number = 0
    for heatmap in heatmaps:
        smooth = cv2.GaussianBlur(heatmap, (0, 0), SMOOTH)
        padded = np.pad(smooth, 1)
        centre = padded[1:-1, 1:-1]
        is_peak = centre > PEAK_THRESHOLD
        for neighbour in (padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1]):
            is_peak &= centre >= neighbour
        found: list[Peak] = []
        for y, x in zip(*np.nonzero(is_peak), strict=True):
            found.append((float(x), float(y), float(heatmap[y, x]), number))
            number += 1
        peaks.append(found)
    return peaks


def match(starts: list[Peak], ends: list[Peak], field_x: Array, field_y: Array) -> list[Link]:
    """Greedy one-to-one matching of two lists of peaks by the mean of the field along each pair."""
    candidates = []
    for i, start in enumerate(starts):
        for j, end in enumerate(ends):
            score = score_limb(start, end, field_x, field_y)
            if score > 0:
                candidates.append((score, i, j))
    candidates.sort(reverse=True)
    links: list[Link] = []
    used_starts: set[int] = set()
    used_ends: set[int] = set()
    for score, i, j in candidates:
        if i not in used_starts and j not in used_ends:
            used_starts.add(i)
            used_ends.add(j)
            links.append((starts[i][3], ends[j][3], score))
    return links


def score_limb(start: Peak, end: Peak, field_x: Array, field_y: Array) -> float:
    """Mean of ten projections, less a penalty for limbs longer than half the map is high; 0 where it is refused."""
    vector = np.subtract(end[:2], start[:2])
    length = max(0.001, float(np.sqrt(np.sum(vector * vector))))
    unit = vector / length
    places = list(zip(np.linspace(start[0], end[0], SAMPLES), np.linspace(start[1], end[1], SAMPLES), strict=True))
    along_x = np.array([field_x[round(y), round(x)] for x, y in places])
    along_y = np.array([field_y[round(y), round(x)] for x, y in places])
    projections = along_x * unit[0] + along_y * unit[1]
    score = float(np.sum(projections)) / SAMPLES + min(0.5 * field_x.shape[0] / length - 1, 0)
    return score if len(np.nonzero(projections > FIELD_THRESHOLD)[0]) >= SAMPLES_NEEDED else 0.0


def grow(
    peaks: list[list[Peak]], order: list[tuple[int, int]], links: list[list[Link]]
) -> list[dict[int, tuple[float, float, float]]]:
    """Rows of people from the links of all limbs in their order: extend a row, merge two, or begin a new one."""
    by_number = {peak[3]: peak for of_joint in peaks for peak in of_joint}
    rows: list[dict[int, int]] = []
    totals: list[float] = []
    for (a, b), of_limb in zip(order, links, strict=True):
        for first, second, score in of_limb:
            found = [r for r, row in enumerate(rows) if row.get(a) == first or row.get(b) == second]
            if len(found) == 1:
                row = rows[found[0]]
                if row.get(b) != second:
                    row[b] = second
                    totals[found[0]] += by_number[second][2] + score
            elif len(found) >= 2:
                one, two = found[:2]
                if rows[one].keys() & rows[two].keys():
                    rows[one][b] = second
                    totals[one] += by_number[second][2] + score
                else:
                    rows[one] |= rows.pop(two)
                    totals[one] += totals.pop(two) + score
            elif (a, b) not in order[-2:]:
                rows.append({a: first, b: second})
                totals.append(by_number[first][2] + by_number[second][2] + score)
    return [
        {joint: by_number[number][:3] for joint, number in row.items()}
        for row, total in zip(rows, totals, strict=True)
        if len(row) >= MIN_JOINTS and total / len(row) >= MIN_MEAN_SCORE
    ]
