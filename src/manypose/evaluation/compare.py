"""Two runs beside each other: the difference of every figure with its interval, and where they differ most.

The interval is paired: both runs are measured on the same draws of pictures, so that what makes a picture hard for both
cancels out. Source: B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.errors import DataError, FormatError
from manypose.evaluation.bootstrap import draw_counts, percentile_interval
from manypose.evaluation.by_picture import PictureScores, has_torso, picture_hits, score_pictures
from manypose.evaluation.coco_ap import FIGURES, choose_sigmas, measure
from manypose.evaluation.figures import HAND_POINTS
from manypose.evaluation.nme import FACE_POINTS, box_hits, face_errors
from manypose.evaluation.panels import found_people
from manypose.evaluation.pckh import mean_hits
from manypose.evaluation.results_file import ResultTable, check_results, tabulate
from manypose.evaluation.run import Plan
from manypose.evaluation.run_folder import Run
from manypose.evaluation.truth import Truth, read_image_ids, read_truth
from manypose.manifest import fingerprint
from manypose.people import People

Counts = NDArray[np.int64]
Rows = Sequence[Mapping[str, Any]]
Sums = Mapping[Any, tuple[float, float]]


@dataclass(frozen=True)
class Difference:
    """A figure of both runs, the first less the second, and the 95 % interval of that; NaN where it has none."""

    name: str
    first: float
    second: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        """The figure of the first run less that of the second."""
        return self.first - self.second

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Comparison:
    """Two runs on the pictures of one truth.

    `names` are the runs'. `scores` (of `by_picture.score_pictures`) and `people`, by image id, are of the first and the
    second run; `scores` is None where the joints allow none.
    """

    names: tuple[str, str]
    truth: Truth
    differences: tuple[Difference, ...]
    scores: tuple[PictureScores, PictureScores] | None
    people: tuple[Mapping[Any, People], Mapping[Any, People]]
    manifests: tuple[Mapping[str, Any], Mapping[str, Any]]

    def most_different(self, most: int) -> list[tuple[Any, float, float]]:
        """The pictures where the runs differ most: image id, score of the first and of the second run."""
        if self.scores is None:
            return []
        first, second = (scores.values for scores in self.scores)
        order = sorted(first, key=lambda image_id: -abs(first[image_id] - second[image_id]))
        chosen = [image_id for image_id in order if first[image_id] != second[image_id]]
        return [(image_id, first[image_id], second[image_id]) for image_id in chosen[:most]]


def compare_runs(
    first: Run, second: Run, *, names: tuple[str, str] = ("A", "B"), data: Path | None = None, resamples: int = 1000
) -> Comparison:
    """Compare two runs on the same pictures.

    The labels are those that the manifests name, or `data`, if they have moved. What is compared are AP and AR where
    the joints have sigmas, PCK at 0.2 where they have shoulders and hips, PCKh at 0.5 where heads have boxes, NME of
    faces and PCK of hands, all measured anew from the results.

    Raises `FormatError` for runs of different data or pictures, or without what tells that, `DataError` for labels that
    are not there, are others than those that were measured, or allow no figure.
    """
    truth = common_truth(first, second, names=names, data=data)
    tables = [
        check_results(run.results, truth, source=name, duplicates=True)
        for run, name in zip((first, second), names, strict=True)
    ]
    people = [found_people(truth, table) for table in tables]
    differences: list[Difference] = []
    draws = draw_counts(len(truth.image_ids), resamples=resamples, seed=0)
    if truth.sigmas is not None:
        differences += _precision_differences(truth, tables, draws)
    differences += _share_differences(truth, [run.results for run in (first, second)], people, draws)
    if not differences:
        raise DataError(f"{truth.name}: its joints have no sigmas and no torso, so there is no figure to compare")
    scores = [score_pictures(truth, table, found) for table, found in zip(tables, people, strict=True)]
    return Comparison(
        names=names,
        truth=truth,
        differences=tuple(differences),
        scores=None if scores[0] is None or scores[1] is None else (scores[0], scores[1]),
        people=(people[0], people[1]),
        manifests=(first.manifest, second.manifest),
    )


def common_truth(first: Run, second: Run, *, names: tuple[str, str] = ("A", "B"), data: Path | None = None) -> Truth:
    """The truth that both runs were measured with; raises as `compare_runs` does."""
    hashes = [_data_hash(run, name) for run, name in zip((first, second), names, strict=True)]
    if hashes[0] != hashes[1]:
        raise FormatError(
            f"{names[0]} and {names[1]} were measured with different labels ({_data_name(first)}, SHA-256 "
            f"{hashes[0][:12]}..., and {_data_name(second)}, {hashes[1][:12]}...); compare runs of the same data"
        )
    truths = [_read_truth(run, data, hashes[0]) for run in (first, second)]
    if set(truths[0].image_ids) != set(truths[1].image_ids):
        counts = " and ".join(str(len(truth.image_ids)) for truth in truths)
        raise FormatError(
            f"{names[0]} and {names[1]} were measured on different pictures ({counts}); compare runs of the same ones"
        )
    if not truths[0].has_people:
        raise DataError(f"{truths[0].name}: nobody is labelled, so there is nothing to compare")
    return truths[0]


def _data_hash(run: Run, name: str) -> str:
    entry = (run.manifest.get("inputs") or {}).get("data")
    if not isinstance(entry, Mapping) or not isinstance(entry.get("sha256"), str):
        raise FormatError(f"{name}: its manifest does not say which labels it was measured with (inputs.data.sha256)")
    return str(entry["sha256"])


def _data_name(run: Run) -> str:
    return Path(str(run.manifest["inputs"]["data"].get("path", "unnamed"))).name


def _read_truth(run: Run, data: Path | None, sha256: str) -> Truth:
    plan = Plan.from_dict(run.manifest.get("options") or {})
    file = data or plan.data
    if not file.exists():
        raise DataError(f"{file}: the labels are no longer there; say where they are (--data)")
    if fingerprint(file) != sha256:
        raise DataError(f"{file}: these are not the labels that the runs were measured with (SHA-256 {sha256[:12]}...)")
    ids = read_image_ids(plan.image_ids) if plan.image_ids is not None else None
    truth = read_truth(file, kind=plan.kind, part=plan.part, image_ids=ids)
    return truth if plan.limit is None else read_truth(truth, image_ids=truth.image_ids[: plan.limit])


def _precision_differences(truth: Truth, tables: Sequence[ResultTable], draws: Counts) -> list[Difference]:
    sigmas = choose_sigmas(truth)
    both = [measure(truth, table, sigmas) for table in tables]
    first, second = (measured.figures() for measured in both)
    drawn = [measured.drawn(draws) for measured in both]
    return [
        Difference(name, first[name], second[name], *percentile_interval(drawn[0][name] - drawn[1][name]))
        for name in FIGURES
        if first[name] >= 0
    ]


def _share_differences(
    truth: Truth, rows: Sequence[Rows], people: Sequence[Mapping[Any, People]], draws: Counts
) -> Iterator[Difference]:
    """The figures that are shares or means: PCK, PCKh, and those of faces and hands, each where the set allows it."""
    if has_torso(truth):
        yield from _share_difference("PCK", truth, [picture_hits(truth, found) for found in people], draws)
    if any(row.get("head_box") for row in truth.annotations):
        yield from _share_difference("PCKh@0.5", truth, [mean_hits(truth, found) for found in rows], draws)
    if len(truth.joints) in FACE_POINTS:
        yield from _share_difference("NME", truth, [_face_sums(truth, found) for found in rows], draws)
    if len(truth.joints) == HAND_POINTS:
        yield from _share_difference("box PCK", truth, [_box_sums(truth, found) for found in rows], draws)


def _share_difference(name: str, truth: Truth, sums: Sequence[Sums], draws: Counts) -> Iterator[Difference]:
    """A figure that is a sum over another, of both runs; none where there is nothing to share."""
    table = np.array([[run.get(key, (0, 0)) for key in truth.image_ids] for run in sums], np.float64)  # (2, N, 2)
    parts, wholes = table[..., 0], table[..., 1]
    if not wholes.any(axis=1).all():
        return
    with np.errstate(invalid="ignore", divide="ignore"):  # a draw without anybody is NaN, which does not count
        drawn = [(draws @ part) / (draws @ whole) for part, whole in zip(parts, wholes, strict=True)]
        first, second = (float(share) for share in parts.sum(axis=1) / wholes.sum(axis=1))
    yield Difference(name, first, second, *percentile_interval(drawn[0] - drawn[1]))


def _face_sums(truth: Truth, rows: Rows) -> Sums:
    """The errors of the faces of each picture, and how many were found."""
    sums = dict.fromkeys(truth.image_ids, (0.0, 0.0))
    for image_id, errors in face_errors(truth, tabulate(rows, truth)):
        if errors is not None:
            error, count = sums[image_id]
            sums[image_id] = error + float(np.nanmean(errors)), count + 1
    return sums


def _box_sums(truth: Truth, rows: Rows) -> Sums:
    """The joints of each picture that were found within 0.2 of their box, and those that are labelled."""
    counted, sums = box_hits(truth, rows), dict.fromkeys(truth.image_ids, (0.0, 0.0))
    for n, image_id in enumerate(counted.images):
        hits, labelled = sums[image_id]
        sums[image_id] = hits + float(counted.hits[n].sum()), labelled + float(counted.labelled[n].sum())
    return sums
