"""Keypoint average precision as COCO measures it, by pycocotools, with an interval over pictures."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.errors import DataError, FormatError, require
from manypose.evaluation.bootstrap import draw_counts, percentile_interval
from manypose.evaluation.truth import Truth, read_truth
from manypose.skeleton import Skeleton, load_skeleton

FIGURES = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")


def keypoint_average_precision(
    truth: Path | str | Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    *,
    skeleton: Skeleton | str = "coco17",
    image_ids: Sequence[Any] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """The ten figures of pycocotools for keypoints, 0..1, and the 95 % interval of AP over pictures.

    `truth` is a COCO-style file (or its parsed content) whose categories carry keypoints; rows of other categories do
    not count. `results` are rows of COCO's results format: image_id, category_id, keypoints (3K numbers in the order
    of the truth's joints), score, and optionally bbox; none at all is a normal result. `skeleton` gives the sigmas,
    by joint name. With `image_ids` only these pictures of the truth count, and the results in them.

    Returns AP, AP50, AP75, APm, APl, AR, AR50, AR75, ARm, ARl (-1 where the truth has nobody of that kind: medium is
    32^2 to 96^2 square pixels, large more), AP_low, AP_high, and the counts pictures, people and results. The interval
    is the percentile bootstrap of `resamples` draws from `seed`: the matches found in each picture are drawn again
    with replacement, not made again. About 100 pictures give some 4 points either way. Pictures without results and
    pictures without people count, as in pycocotools.

    Raises `DataError` for a truth that cannot be measured against, `FormatError` for a row of results that does not
    fit it, `MissingExtraError` without pycocotools.
    Source: T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, and its keypoint evaluation.
    """
    checked = read_truth(truth, image_ids=image_ids)
    rows = _check_results(checked, results)
    evaluator = _evaluate(checked, rows, _sigmas(checked, skeleton))
    categories = [_collect(pictures) for pictures in _evaluated_pictures(evaluator)]
    people = sum(int(matches.people.sum()) for matches in categories)
    if not people:
        raise DataError(f"{checked.name}: no person with labelled joints in the {len(checked.image_ids)} pictures")
    figures = dict(zip(FIGURES, map(float, evaluator.stats), strict=True))
    draws = draw_counts(len(checked.image_ids), resamples=resamples, seed=seed)
    figures["AP_low"], figures["AP_high"] = percentile_interval(
        [_average_precision(categories, counts, evaluator.params.recThrs) for counts in draws]
    )
    return figures | {"pictures": len(checked.image_ids), "people": people, "results": len(rows)}


def _sigmas(truth: Truth, skeleton: Skeleton | str) -> NDArray[np.float64]:
    skeleton = load_skeleton(skeleton) if isinstance(skeleton, str) else skeleton
    if skeleton.sigmas is None:
        raise DataError(f"skeleton {skeleton.name!r} has no sigmas, and average precision needs them; PCK does not")
    missing = [joint for joint in truth.joints if joint not in skeleton.joints]
    if missing:
        raise DataError(
            f"{truth.name}: joint {missing[0]!r} is not in the skeleton {skeleton.name!r}, which gives the sigmas; "
            "choose another skeleton"
        )
    return np.array([skeleton.sigmas[skeleton.index(joint)] for joint in truth.joints])


def _check_results(truth: Truth, results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Copies of the rows, with what pycocotools reads and no more (it writes into the rows that it is given)."""
    pictures = frozenset(truth.image_ids)
    for n, row in enumerate(results):
        fault = _find_fault(truth, row, pictures)
        if fault:
            raise FormatError(f"results, row {n}: {fault}")
    boxes = ("bbox",) if all("bbox" in row for row in results) else ()
    fields = ("image_id", "category_id", "keypoints", "score", *boxes)
    return [{field: row[field] for field in fields} for row in results if row["image_id"] in pictures]


def _find_fault(truth: Truth, row: Mapping[str, Any], pictures: frozenset[Any]) -> str | None:
    absent = {"image_id", "category_id", "keypoints", "score"} - set(row)
    if absent:
        return f"no {', '.join(sorted(absent))}"
    if row["image_id"] not in pictures and row["image_id"] not in truth.other_ids:
        return f"{truth.name} has no picture with image_id {row['image_id']!r}"
    if row["category_id"] not in truth.category_ids:
        return f"{truth.name} has no category with keypoints of category_id {row['category_id']!r}"
    length = 3 * len(truth.joints)
    if len(row["keypoints"]) != length or not np.isfinite(row["keypoints"]).all():
        return f"keypoints must be {length} finite numbers: x, y, score of each joint, 0, 0, 0 where it was not found"
    if not np.isfinite(row["score"]):
        return f"score is {row['score']}, expected a finite number"
    return None


def _truth_rows(truth: Truth) -> list[dict[str, Any]]:
    """The annotations as pycocotools wants them; numbered anew, since it takes a match with id 0 for no match."""
    rows = []
    for n, annotation in enumerate(truth.annotations, start=1):
        for field in ("area", "bbox"):
            if field not in annotation:
                raise DataError(f"{truth.name}: annotation {annotation.get('id')} has no {field}; OKS needs it")
        keypoints = truth.keypoints(annotation)
        rows.append(
            {
                "id": n,
                "image_id": annotation["image_id"],
                "category_id": annotation["category_id"],
                "keypoints": keypoints.ravel().tolist(),
                "num_keypoints": annotation.get("num_keypoints", int((keypoints[:, 2] > 0).sum())),
                "area": annotation["area"],
                "bbox": annotation["bbox"],
                "iscrowd": annotation.get("iscrowd", 0),
            }
        )
    return rows


def _evaluate(truth: Truth, rows: list[dict[str, Any]], sigmas: NDArray[np.float64]) -> Any:
    """pycocotools' evaluator, evaluated and summed up, without its prints."""
    coco = require("pycocotools.coco", extra="eval").COCO
    cocoeval = require("pycocotools.cocoeval", extra="eval").COCOeval
    with contextlib.redirect_stdout(io.StringIO()):
        labelled, found = coco(), coco()
        labelled.dataset = {
            "images": [{"id": image_id} for image_id in truth.image_ids],
            "categories": [{"id": category_id} for category_id in truth.category_ids],
            "annotations": _truth_rows(truth),
        }
        labelled.createIndex()
        if rows:  # loadRes looks at the first row
            found = labelled.loadRes(rows)
        evaluator = cocoeval(labelled, found, "keypoints")
        evaluator.params.kpt_oks_sigmas = sigmas
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


@dataclass(frozen=True)
class _Matches:
    """What was found of one category in N pictures: D detections by falling score, at T thresholds of OKS.

    `pictures` (D,) are the pictures of the detections, `hits` and `misses` (T, D) bool (a detection of somebody who is
    to be ignored is neither), `people` (N,) how many people count in each picture.
    """

    pictures: NDArray[np.intp]
    hits: NDArray[np.bool_]
    misses: NDArray[np.bool_]
    people: NDArray[np.int64]

    def average_precision(self, counts: NDArray[np.int64], recalls: NDArray[np.float64]) -> float:
        """AP over all thresholds if picture n stood `counts[n]` times in the set; NaN when nobody counts there.

        The arithmetic of COCOeval.accumulate, with a weight for each detection instead of a copy.
        """
        people = int(counts @ self.people)
        if not people:
            return float("nan")
        weights = counts[self.pictures]
        hits, misses = np.cumsum(self.hits * weights, axis=1), np.cumsum(self.misses * weights, axis=1)
        precision = hits / (hits + misses + np.spacing(1))
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        envelope = np.pad(envelope, ((0, 0), (0, 1)))  # a recall that is never reached has precision 0
        places = np.stack([np.searchsorted(row, recalls, side="left") for row in hits / people])
        return float(np.take_along_axis(envelope, places, axis=1).mean())


def _evaluated_pictures(evaluator: Any) -> list[list[dict[str, Any] | None]]:
    """For each category, the evaluator's matches of each picture for people of any size."""
    parameters = evaluator.params
    pictures, areas = len(parameters.imgIds), len(parameters.areaRng)
    starts = range(0, len(evaluator.evalImgs), pictures * areas)  # the first area range is "all"
    return [evaluator.evalImgs[start : start + pictures] for start in starts]


def _collect(pictures: list[dict[str, Any] | None]) -> _Matches:
    """The matches of all pictures in one row; None is a picture where nobody is and nobody was found."""
    matches = [(n, match) for n, match in enumerate(pictures) if match is not None]
    people = np.zeros(len(pictures), np.int64)
    for n, match in matches:
        people[n] = np.count_nonzero(np.asarray(match["gtIgnore"]) == 0)
    if not matches:
        return _Matches(np.zeros(0, np.intp), np.zeros((1, 0), bool), np.zeros((1, 0), bool), people)
    order = np.argsort(-np.concatenate([match["dtScores"] for _, match in matches]), kind="stable")
    matched = np.concatenate([np.asarray(match["dtMatches"], bool) for _, match in matches], axis=1)[:, order]
    ignored = np.concatenate([np.asarray(match["dtIgnore"], bool) for _, match in matches], axis=1)[:, order]
    return _Matches(
        pictures=np.repeat([n for n, _ in matches], [len(match["dtScores"]) for _, match in matches])[order],
        hits=matched & ~ignored,
        misses=~matched & ~ignored,
        people=people,
    )


def _average_precision(
    categories: Sequence[_Matches], counts: NDArray[np.int64], recalls: NDArray[np.float64]
) -> float:
    """The mean over the categories that have people in a resample; NaN where none has."""
    figures = np.array([matches.average_precision(counts, recalls) for matches in categories])
    measured = ~np.isnan(figures)
    return float(figures[measured].mean()) if measured.any() else float("nan")
