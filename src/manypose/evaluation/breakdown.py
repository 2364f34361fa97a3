"""Where a model is good and where it is not: by joint, by size, by visibility and by crowding, with intervals.

The AP of a joint is that of an OKS in which only this joint counts. For all else each labelled person is first given
the found one that is most like him, by OKS, one to one (best pairs first); then each labelled joint is looked at alone.
Unlike AP this asks only whether somebody was found, and how well; ghosts are not punished.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.errors import DataError
from manypose.evaluation.bootstrap import draw_counts, percentile_interval
from manypose.evaluation.coco_ap import choose_sigmas, measure
from manypose.evaluation.oks import object_keypoint_similarity
from manypose.evaluation.results_file import tabulate
from manypose.evaluation.truth import Truth, read_truth

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

MATCHED = 0.1  # least OKS of a pair; two people side by side are below it
GOOD = 0.5  # OKS at which a person counts as found
MOST_JOINTS = 42  # with an AP of their own: each costs a matching of all people
NEAR = 1.0  # units of OKS (2 sigma x square root of the area) within which a joint counts as localised
SIZES = {
    "tiny (under 16^2)": (0.0, 16.0**2),
    "small (16^2 to 32^2)": (16.0**2, 32.0**2),
    "medium (32^2 to 64^2)": (32.0**2, 64.0**2),
    "medium (64^2 to 96^2)": (64.0**2, 96.0**2),
    "large (96^2 to 192^2)": (96.0**2, 192.0**2),
    "huge (192^2 and more)": (192.0**2, np.inf),
}
COARSE_SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}
CROWDING = {
    "alone (0)": (-np.inf, 1e-9),
    "touching (to 0.1)": (1e-9, 0.1),
    "overlapping (0.1 to 0.5)": (0.1, 0.5),
    "crowded (0.5 and more)": (0.5, np.inf),
}


@dataclass(frozen=True)
class Pairs:
    """G labelled people, and what was found of them.

    `pictures` (G,) are their numbers in `truth.image_ids`, `areas` (G,) theirs, `similarity` (G,) the OKS of whom was
    found in their place, 0 for nobody. `flags` (G, K) are COCO's, `errors` (G, K) the distances of the joints in units
    of OKS (2 sigma x square root of the area), NaN where the joint is not labelled or was not found. `crowding` (G,) is
    the highest overlap of a person's box with that of somebody else, in parts of his own (IoU would hide a child before
    a man).
    """

    pictures: NDArray[np.intp]
    areas: Floats
    similarity: Floats
    flags: Floats
    errors: Floats
    crowding: Floats


def breakdown(
    truth: Truth, results: Sequence[Mapping[str, Any]], *, resamples: int = 1000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Figures {"joint": {...}, "size": {...}, "visibility": {...}, "crowding": {...}}, JSON-ready, each by name.

    Of people (by size and crowding): `found`, the share of labelled people whose OKS is 0.5 or more, `similarity`, the
    mean OKS (0 for who was not found), and how many `people` there are. Of joints (all four): `localised`, the share of
    labelled joints within one unit of OKS (there a joint alone has an OKS of 0.61), `placed`, the share that anybody's
    found at all, `error`, the mean distance of those in units of OKS, and how many `joints` there are. Each share and
    mean has its 95 % interval, X_low and X_high, from `resamples` draws of pictures. What has nobody is left out. Each
    joint of a set with at most 42 has its `AP` too, as COCO measures it if people had this joint only.

    Size is by area in pixels, COCO's three and finer ones; visibility is hidden (flag 1) or visible (2); crowding by
    the part of a person's box that the box of somebody else covers. Crowds and people without labelled joints do not
    count, but their boxes crowd.

    Raises `DataError` for a truth without sigmas, areas or people, `FormatError` for rows at fault.
    """
    truth = read_truth(truth)
    pairs = pair_people(truth, results)
    draws = draw_counts(len(truth.image_ids), resamples=resamples, seed=seed)
    everybody = np.ones(len(pairs.areas), bool)
    visible, hidden = pairs.flags >= 2, (pairs.flags > 0) & (pairs.flags < 2)

    def within(values: Floats, limits: Mapping[str, tuple[float, float]]) -> dict[str, dict[str, Any]]:
        groups = {name: (values >= low) & (values < high) for name, (low, high) in limits.items()}
        return _left(
            {
                name: _people_figures(pairs, members, draws) | _joint_figures(pairs, members[:, None], draws)
                for name, members in groups.items()
                if members.any()
            }
        )

    columns = np.arange(len(truth.joints))
    precision = joint_precision(truth, results) if len(truth.joints) <= MOST_JOINTS else {}
    return {
        "joint": _left(
            {
                name: precision.get(name, {}) | _joint_figures(pairs, columns[None] == k, draws)
                for k, name in enumerate(truth.joints)
            }
        ),
        "size": within(pairs.areas, {**COARSE_SIZES, **SIZES}),
        "visibility": _left(
            {
                "visible": _joint_figures(pairs, everybody[:, None] & visible, draws),
                "hidden": _joint_figures(pairs, everybody[:, None] & hidden, draws),
            }
        ),
        "crowding": within(pairs.crowding, CROWDING),
    }


def joint_precision(truth: Truth, results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """{joint: {"AP": 0..1}} of each joint alone: who has it not labelled is ignored, who has it not found is not there.

    Joints that nobody has are left out. Raises as `breakdown`.
    """
    sigmas, table = choose_sigmas(truth), tabulate(results, truth)
    precision = {}
    for k, name in enumerate(truth.joints):
        try:
            alone = measure(truth, table, sigmas[k : k + 1], joints=slice(k, k + 1))
        except DataError:  # nobody has this joint
            continue
        precision[name] = {"AP": alone.figures()["AP"]}
    return precision


def pair_people(truth: Truth, results: Sequence[Mapping[str, Any]]) -> Pairs:
    """Each labelled person with the found one most like him, one to one, best pairs first; of an OKS of 0.1 at least.

    Raises as `breakdown`.
    """
    sigmas, table = choose_sigmas(truth), tabulate(results, truth)
    number = {image_id: n for n, image_id in enumerate(truth.image_ids)}
    rows = [row for row in truth.annotations if row["num_keypoints"] and not row["iscrowd"]]
    rows = [row for row in rows if (truth.keypoints(row)[:, 2] > 0).any()]
    if not rows:
        raise DataError(f"{truth.name}: no person with labelled joints in the {len(truth.image_ids)} pictures")
    for row in rows:
        for key in ("area", "bbox"):
            if row.get(key) is None:
                raise DataError(f"{truth.name}: annotation {row.get('id')} has no {key}; OKS needs it")
    joints = np.stack([truth.keypoints(row) for row in rows])
    areas, boxes = np.array([row["area"] for row in rows], float), np.array([row["bbox"] for row in rows], float)
    pictures = np.array([number[row["image_id"]] for row in rows], np.intp)
    similarity, places = np.zeros(len(rows)), np.full((*joints.shape[:2], 2), np.nan)
    seen = np.where(table.joints[..., 2:] > 0, table.joints[..., :2], np.nan)
    for picture in np.unique(pictures):
        people, found = np.flatnonzero(pictures == picture), np.flatnonzero(table.pictures == picture)
        oks = object_keypoint_similarity(table.joints[found], joints[people], areas[people], boxes[people], sigmas)
        for person, who in _best_pairs(oks):
            similarity[people[person]] = oks[who, person]
            places[people[person]] = seen[found[who]]
    scale = 2 * sigmas * np.sqrt(areas)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.linalg.norm(places - joints[..., :2], axis=2) / scale
    labelled = joints[..., 2] > 0
    return Pairs(
        pictures=pictures,
        areas=areas,
        similarity=similarity,
        flags=joints[..., 2],
        errors=np.where(labelled & np.isfinite(errors), errors, np.nan),
        crowding=_crowding(truth, rows),
    )


def _best_pairs(oks: Floats) -> list[tuple[int, int]]:
    """(labelled, found) pairs, each of either once, by falling similarity."""
    pairs, oks = [], oks.copy()
    while oks.size and oks.max() >= MATCHED:
        who, person = np.unravel_index(np.argmax(oks), oks.shape)
        pairs.append((int(person), int(who)))
        oks[who], oks[:, person] = -1, -1
    return pairs


def _crowding(truth: Truth, rows: Sequence[Mapping[str, Any]]) -> Floats:
    """(G,) how much of each person's box the box of one other covers, at most; crowds and unlabelled people count."""
    others: dict[Any, list[Mapping[str, Any]]] = {}
    for row in truth.annotations:
        if row.get("bbox") is not None:
            others.setdefault(row["image_id"], []).append(row)
    covered = np.zeros(len(rows))
    for n, row in enumerate(rows):
        boxes = [other["bbox"] for other in others[row["image_id"]] if other is not row]
        if not boxes:
            continue
        x, y, width, height = row["bbox"]
        table = np.array(boxes, np.float64)
        across = np.minimum(x + width, table[:, 0] + table[:, 2]) - np.maximum(x, table[:, 0])
        down = np.minimum(y + height, table[:, 1] + table[:, 3]) - np.maximum(y, table[:, 1])
        shared = np.maximum(across, 0) * np.maximum(down, 0)
        covered[n] = shared.max() / (width * height) if width * height > 0 else 0.0
    return covered


def _people_figures(pairs: Pairs, members: Flags, draws: NDArray[np.int64]) -> dict[str, Any]:
    ratio = _ratios(pairs, draws)
    count = members.astype(np.float64)
    figures: dict[str, Any] = {"people": int(members.sum())}
    figures |= ratio("found", count * (pairs.similarity >= GOOD), count)
    return figures | ratio("similarity", count * pairs.similarity, count)


def _joint_figures(pairs: Pairs, members: Flags, draws: NDArray[np.int64]) -> dict[str, Any]:
    """The figures of the labelled joints in `members`, which has as many rows or columns as there are, or one."""
    ratio = _ratios(pairs, draws)
    chosen = members & (pairs.flags > 0)
    placed = chosen & ~np.isnan(pairs.errors)
    near = placed & (np.nan_to_num(pairs.errors, nan=np.inf) <= NEAR)
    total, there = chosen.sum(axis=1), placed.sum(axis=1)
    errors = np.where(placed, np.nan_to_num(pairs.errors), 0).sum(axis=1)
    figures: dict[str, Any] = {"joints": int(chosen.sum())}
    figures |= ratio("localised", near.sum(axis=1), total) | ratio("placed", there, total)
    return figures | ratio("error", errors, there)


def _ratios(pairs: Pairs, draws: NDArray[np.int64]) -> Callable[[str, NDArray[Any], NDArray[Any]], dict[str, float]]:
    """What makes a figure with its interval of sums over people: part (G,) over whole (G,); none where whole is 0."""
    pictures = draws.shape[1]

    def ratio(name: str, part: NDArray[Any], whole: NDArray[Any]) -> dict[str, float]:
        if not whole.sum():
            return {}
        of, out_of = (np.bincount(pairs.pictures, values, minlength=pictures) for values in (part, whole))
        below = draws @ out_of
        drawn = np.divide(draws @ of, below, out=np.full(len(draws), np.nan), where=below > 0)
        low, high = percentile_interval(drawn)
        return {name: float(part.sum() / whole.sum()), f"{name}_low": low, f"{name}_high": high}

    return ratio


def _left(figures: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Without what nobody has."""
    return {name: each for name, each in figures.items() if each["joints"]}
