"""Keypoint average precision and recall as COCO measures them, bit for bit, with intervals over pictures.

pycocotools is the reference of the tests; at run time NumPy does its work for all pictures at once (`coco_matching`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.errors import DataError
from manypose.evaluation.bootstrap import draw_counts, percentile_interval
from manypose.evaluation.coco_matching import (
    AREAS,
    Found,
    Labelled,
    Matches,
    Resampler,
    match_people,
    precision_and_recall,
)
from manypose.evaluation.results_file import ResultTable, tabulate
from manypose.evaluation.truth import Truth, read_truth
from manypose.skeleton import Skeleton, load_skeleton

FIGURES = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
Floats = NDArray[np.float64]


def keypoint_average_precision(
    truth: Path | str | Mapping[str, Any] | Truth,
    results: Sequence[Mapping[str, Any]],
    *,
    skeleton: Skeleton | str | None = None,
    sigmas: Sequence[float] | Mapping[str, float] | None = None,
    image_ids: Sequence[Any] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """The ten figures of pycocotools for keypoints, 0..1, each with its 95 % interval over pictures.

    `truth` is one, or what `read_truth` makes one of. `results` are rows of COCO's results format: image_id,
    category_id, keypoints (3K numbers in the order of the truth's joints), score, and optionally bbox; none at all is a
    normal result. Sigmas are the truth's, or those given (in the order of the joints, or by their names), or those of
    `skeleton`, by joint name. With `image_ids` only these pictures of the truth count, and the results in them.

    Returns AP, AP50, AP75, APm, APl, AR, AR50, AR75, ARm, ARl (-1 where the truth has nobody of that kind: medium is
    32^2 to 96^2 square pixels, large more), X_low and X_high of each X that has people, and the counts pictures, people
    and results. The interval is the percentile bootstrap of `resamples` draws from `seed`: the matches found in each
    picture are drawn again with replacement, not made again. About 100 pictures give some 4 points either way. Pictures
    without results and pictures without people count, as in pycocotools.

    Raises `DataError` for a truth that cannot be measured against, `FormatError` for a row of results that does not
    fit it.
    Source: T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, and its keypoint evaluation.
    """
    checked = read_truth(truth, image_ids=image_ids)
    table = tabulate(results, checked)
    measured = measure(checked, table, choose_sigmas(checked, skeleton, sigmas))
    return measured.figures() | measured.intervals(resamples=resamples, seed=seed) | measured.counts()


@dataclass(frozen=True)
class Measured:
    """The matches of a truth and its results: for each category those of each range of areas, in the order of `AREAS`.

    `image_ids` are the pictures in the order of the matches' numbers.
    """

    image_ids: tuple[Any, ...]
    categories: tuple[tuple[Matches, ...], ...]
    results: int

    def figures(self) -> dict[str, float]:
        """The ten figures of pycocotools, equal to the last bit."""
        curves = [[precision_and_recall(matches) for matches in category] for category in self.categories]
        figures: dict[str, float] = {}
        for number, kind in enumerate(("AP", "AR")):
            # (T, R, K) and (T, K), as pycocotools has them: the mean's last bit depends on the order of its terms
            whole, medium, large = (
                np.stack([category[area][number] for category in curves], axis=-1) for area in range(len(AREAS))
            )
            figures |= {kind: _mean(whole), f"{kind}50": _mean(whole[:1]), f"{kind}75": _mean(whole[5:6])}
            figures |= {f"{kind}m": _mean(medium), f"{kind}l": _mean(large)}
        return {name: figures[name] for name in FIGURES}

    def intervals(self, *, resamples: int, seed: int) -> dict[str, float]:
        """X_low and X_high of each figure X that has people: the middle 95 % of `resamples` draws of pictures."""
        draws = draw_counts(len(self.image_ids), resamples=resamples, seed=seed)
        intervals: dict[str, float] = {}
        for name, values in self.drawn(draws).items():
            if not np.isnan(values).all():
                intervals[f"{name}_low"], intervals[f"{name}_high"] = percentile_interval(values)
        return intervals

    def drawn(self, draws: NDArray[np.int64]) -> dict[str, Floats]:
        """(R,) what each figure would be in each draw (R, N) of `image_ids`; NaN where nobody counts."""
        drawn = [[Resampler(matches)(draws) for matches in category] for category in self.categories]
        figures: dict[str, Floats] = {}
        for number, kind in enumerate(("AP", "AR")):
            whole, medium, large = (np.stack([category[area][number] for category in drawn]) for area in range(3))
            tables = {kind: whole, f"{kind}50": whole[..., :1], f"{kind}75": whole[..., 5:6]}
            tables |= {f"{kind}m": medium, f"{kind}l": large}
            figures |= {name: _average(table) for name, table in tables.items()}
        return figures

    def counts(self) -> dict[str, float]:
        """How many pictures, people who count, and results there are."""
        people = sum(int(category[0].people.sum()) for category in self.categories)
        return {"pictures": len(self.image_ids), "people": people, "results": self.results}


def measure(
    truth: Truth, table: ResultTable, sigmas: Floats, *, joints: slice | None = None, areas: Floats | None = None
) -> Measured:
    """Match the results with the truth; only some of the `joints` count where they are given.

    `areas` (D,) are those of the results, where they are not the table's.

    Raises `DataError` for annotations without area or bbox, and when nobody counts.
    """
    # The numbers of pictures are by their id, since detections of equal score stand in that order.
    sequence = sorted(range(len(truth.image_ids)), key=lambda n: _sort_key(truth.image_ids[n]))
    number = np.empty(len(sequence), np.intp)
    number[sequence] = np.arange(len(sequence))
    place = {truth.image_ids[n]: k for k, n in enumerate(sequence)}
    areas = table.areas if areas is None else areas
    categories = []
    for n, category in enumerate(truth.category_ids):
        labelled = _labelled(truth, [row for row in truth.annotations if row["category_id"] == category], place)
        chosen = table.categories == n
        found = Found(number[table.pictures[chosen]], table.joints[chosen], table.scores[chosen], areas[chosen])
        if joints is not None:
            labelled, found = _some_joints(labelled, found, joints)
        categories.append(tuple(match_people(labelled, found, sigmas, len(sequence))))
    measured = Measured(tuple(truth.image_ids[n] for n in sequence), tuple(categories), len(table.rows))
    if not measured.counts()["people"]:
        raise DataError(f"{truth.name}: no person with labelled joints in the {len(truth.image_ids)} pictures")
    return measured


def choose_sigmas(
    truth: Truth, skeleton: Skeleton | str | None = None, sigmas: Sequence[float] | Mapping[str, float] | None = None
) -> Floats:
    """(K,) the sigmas of a truth's joints; raises `DataError` where there are none."""
    if sigmas is not None:
        values = [sigmas.get(joint, 0.0) for joint in truth.joints] if isinstance(sigmas, Mapping) else list(sigmas)
        if len(values) != len(truth.joints) or not all(0 < value < float("inf") for value in values):
            raise DataError(f"{truth.name}: sigmas must be {len(truth.joints)} positive numbers, one for each joint")
        return np.array(values, np.float64)
    if skeleton is None:
        if truth.sigmas is None:
            raise DataError(
                f"{truth.name}: nobody has published sigmas for its joints, and average precision needs them; give "
                "sigmas, or measure PCK"
            )
        return _as_tenths(np.array(truth.sigmas, np.float64))
    skeleton = load_skeleton(skeleton) if isinstance(skeleton, str) else skeleton
    if skeleton.sigmas is None:
        raise DataError(f"skeleton {skeleton.name!r} has no sigmas, and average precision needs them; PCK does not")
    missing = [joint for joint in truth.joints if joint not in skeleton.joints]
    if missing:
        raise DataError(
            f"{truth.name}: joint {missing[0]!r} is not in the skeleton {skeleton.name!r}, which gives the sigmas; "
            "choose another skeleton"
        )
    return _as_tenths(np.array([skeleton.sigmas[skeleton.index(joint)] for joint in truth.joints], np.float64))


def _as_tenths(sigmas: Floats) -> Floats:
    """The same sigmas as pycocotools has them, which divides .26 by 10.0 and so on: other last bits."""
    tenths = np.round(sigmas * 10, 10) / 10.0
    return np.where(np.abs(tenths - sigmas) <= 2 * np.spacing(sigmas), tenths, sigmas)


def _labelled(truth: Truth, rows: Sequence[Mapping[str, Any]], place: Mapping[Any, int]) -> Labelled:
    for row in rows:
        for key in ("area", "bbox"):
            if row.get(key) is None:
                raise DataError(f"{truth.name}: annotation {row.get('id')} has no {key}; OKS needs it")
    joints = [row.get("keypoints") or [0] * 3 * len(truth.joints) for row in rows]
    crowd = np.array([bool(row["iscrowd"]) for row in rows], bool)
    return Labelled(
        pictures=np.array([place[row["image_id"]] for row in rows], np.intp),
        joints=np.array(joints, np.float64).reshape(len(rows), len(truth.joints), 3),
        areas=np.array([row["area"] for row in rows], np.float64),
        boxes=np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4),
        ignored=crowd | np.array([row["num_keypoints"] == 0 for row in rows], bool),
        crowd=crowd,
    )


def _some_joints(labelled: Labelled, found: Found, part: slice) -> tuple[Labelled, Found]:
    """The same people with some joints: who has none labelled is ignored, who has none found is not there."""
    joints, places = labelled.joints[:, part], found.joints[:, part]
    there = (places[..., 2] > 0).any(axis=1)
    unlabelled = ~(joints[..., 2] > 0).any(axis=1)
    return (
        dataclasses.replace(labelled, joints=joints, ignored=labelled.crowd | unlabelled),
        Found(found.pictures[there], places[there], found.scores[there], found.areas[there]),
    )


def _sort_key(image_id: Any) -> tuple[bool, Any]:
    return isinstance(image_id, str), image_id


def _mean(values: Floats) -> float:
    """pycocotools' mean: of what is there, in the order of its arrays; -1 where nothing is."""
    there = values[values > -1]
    return float(np.mean(there)) if len(there) else -1.0


def _average(table: Floats) -> Floats:
    """(R,) the mean of (C, R, T) over thresholds and the categories that have people in a draw; NaN where none has."""
    there = ~np.isnan(table[..., 0])
    sums = np.where(there, np.nan_to_num(table).mean(axis=-1), 0).sum(axis=0)
    count = there.sum(axis=0)
    return np.asarray(np.divide(sums, count, out=np.full(len(sums), np.nan), where=count > 0), np.float64)
