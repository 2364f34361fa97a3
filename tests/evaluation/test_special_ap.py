"""COCO-WholeBody by parts, CrowdPose by crowding: equal to pycocotools run on each part by hand."""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
from typing import Any

import numpy as np
import pytest

from manypose.errors import DataError, FormatError
from manypose.evaluation.coco_ap import FIGURES
from manypose.evaluation.special_ap import PARTS, crowdpose_average_precision, whole_body_average_precision
from manypose.evaluation.truth import read_truth
from manypose.skeleton import load_skeleton

pytest.importorskip("pycocotools", reason="needs pycocotools, the reference")

WHOLE, CROWD = load_skeleton("wholebody133"), load_skeleton("crowdpose14")
KEYS = ("keypoints", "foot_kpts", "face_kpts", "lefthand_kpts", "righthand_kpts")
CUTS = (0, 17, 23, 91, 112, 133)
Rows = list[dict[str, Any]]


def by_pycocotools(truth: dict[str, Any], results: Rows, sigmas: Any) -> list[float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        labelled, found = COCO(), COCO()
        labelled.dataset = copy.deepcopy(truth)
        labelled.createIndex()
        found.dataset = {"images": truth["images"], "categories": truth["categories"], "annotations": results}
        found.createIndex()
        evaluator = COCOeval(labelled, found, "keypoints")
        evaluator.params.kpt_oks_sigmas = np.asarray(sigmas)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return list(evaluator.stats.tolist())


def parts_of(joints: Any) -> dict[str, list[float]]:
    return {key: joints[a:b].ravel().tolist() for key, a, b in zip(KEYS, CUTS[:-1], CUTS[1:], strict=True)}


def whole_bodies(seed: int) -> tuple[dict[str, Any], Rows]:
    """People in the official layout, some parts unlabelled; results with scores of parts, some parts not found."""
    rng = np.random.default_rng(seed)
    people: Rows = []
    found: Rows = []
    for image_id in range(1, 9):
        for _ in range(rng.integers(1, 4)):
            size = float(rng.choice([50, 120, 300]))
            joints = np.column_stack([rng.uniform(0, size, (133, 2)) + rng.uniform(0, 300, 2), np.full(133, 2.0)])
            shift = rng.normal(0, size * rng.choice([0.003, 0.01, 0.05]), (133, 2))
            guess = np.column_stack([joints[:, :2] + shift, np.ones(133)])
            for a, b in itertools.pairwise(CUTS):
                joints[a:b] *= rng.random() > 0.2
                guess[a:b] *= rng.random() > 0.1
            person = {"id": len(people) + 1, "image_id": image_id, "category_id": 1, "area": size**2 / 2}
            person |= {"bbox": [0.0, 0.0, size, size], "iscrowd": int(rng.random() < 0.1)}
            people.append(person | {"num_keypoints": int((joints[:17, 2] > 0).sum()), **parts_of(joints)})
            names = [key for _, key in PARTS.values()]
            scores = dict(zip(names, rng.random(6).tolist(), strict=True))
            found.append({"image_id": image_id, "category_id": 1, **scores, **parts_of(guess)})
    images = [{"id": n} for n in range(1, 9)]
    return {"images": images, "annotations": people, "categories": [{"id": 1, "name": "person"}]}, found


@pytest.mark.parametrize("seed", range(4))
def test_each_part_is_measured_on_its_own_with_its_score_and_the_size_of_the_whole(seed: int) -> None:
    content, results = whole_bodies(seed)
    ours = whole_body_average_precision(read_truth(content), results, resamples=20)
    assert list(ours) == list(PARTS) == ["body", "foot", "face", "left_hand", "right_hand", "whole"]
    for part, (joints, score) in PARTS.items():
        keys = KEYS if part == "whole" else [KEYS[list(PARTS).index(part)]]
        people, found = [], []
        for row in content["annotations"]:
            values = [value for key in keys for value in row[key]]
            people.append(row | {"keypoints": values, "num_keypoints": sum(flag > 0 for flag in values[2::3])})
        for n, row in enumerate(results):
            values = [value for key in keys for value in row[key]]
            body = np.reshape(row["keypoints"], (17, 3))[:, :2]
            if any(flag > 0 for flag in values[2::3]):
                own = {"id": n + 1, "keypoints": values, "score": row[score], "area": np.ptp(body, axis=0).prod()}
                found.append({"image_id": row["image_id"], "category_id": 1, "bbox": [0, 0, 1, 1], **own})
        theirs = by_pycocotools({**content, "annotations": people}, found, WHOLE.sigmas[joints])
        assert [ours[part][name] for name in FIGURES] == pytest.approx(theirs, abs=1e-12), part
        assert ours[part]["AP_low"] <= ours[part]["AP"] <= ours[part]["AP_high"]


def test_a_part_without_a_score_of_its_own_has_that_of_the_person() -> None:
    content, results = whole_bodies(0)
    for row in results:
        row["foot_score"] = row["score"]
    expected = whole_body_average_precision(read_truth(content), results, resamples=1)["foot"]
    for row in results:
        del row["foot_score"]
    assert whole_body_average_precision(read_truth(content), results, resamples=1)["foot"] == expected


def test_a_part_that_nobody_has_labelled_is_left_out_and_a_set_without_any_refused() -> None:
    content, results = whole_bodies(1)
    for row in content["annotations"]:
        row["face_kpts"] = [0] * 204
    assert "face" not in whole_body_average_precision(read_truth(content), results, resamples=1)
    for row in content["annotations"]:
        row["iscrowd"] = 1
    with pytest.raises(DataError, match="no person with labelled joints"):
        whole_body_average_precision(read_truth(content), results)


def test_other_joints_and_scores_that_are_none_are_refused() -> None:
    content, results = whole_bodies(0)
    with pytest.raises(DataError, match="has 14 joints, and not the 133"):
        whole_body_average_precision(read_truth(crowds(0)[0]), [])
    results[2]["face_score"] = float("nan")
    with pytest.raises(FormatError, match="results: a face_score is not finite"):
        whole_body_average_precision(read_truth(content), results)


def crowds(seed: int) -> tuple[dict[str, Any], Rows]:
    """A file in CrowdPose's layout, without areas, num_keypoints without head and neck."""
    rng = np.random.default_rng(seed)
    people: Rows = []
    found: Rows = []
    images = [{"id": n, "crowdIndex": float(rng.choice([0.0, 0.1, 0.2, 0.5, 0.8, 3.0]))} for n in range(1, 16)]
    for image in images:
        for _ in range(rng.integers(1, 5)):
            size = float(rng.choice([60, 120, 300]))
            pose = rng.uniform(0, size, (14, 2)) + rng.uniform(0, 300, 2)
            flags = rng.choice([0, 1, 2], 14)
            flags[:12] *= rng.random() > 0.15
            row = {"id": len(people) + 1, "image_id": image["id"], "category_id": 1, "iscrowd": int(rng.random() < 0.1)}
            row |= {"bbox": [*pose.min(axis=0).tolist(), *np.ptp(pose, axis=0).tolist()]}
            row |= {"keypoints": np.column_stack([pose, flags]).ravel().tolist()}
            people.append(row | {"num_keypoints": int((flags[:12] > 0).sum())})
            guess = pose + rng.normal(0, size * rng.choice([0.02, 0.1]), (14, 2))
            values = np.column_stack([guess, np.ones(14)]).ravel().tolist()
            found.append({"image_id": image["id"], "category_id": 1, "keypoints": values, "score": rng.random()})
    return {"images": images, "annotations": people, "categories": [{"id": 1, "name": "person"}]}, found


@pytest.mark.parametrize("seed", range(3))
def test_crowdpose_is_measured_with_its_own_areas_and_by_its_index(seed: int) -> None:
    content, results = crowds(seed)
    ours = crowdpose_average_precision(read_truth(content), results, resamples=20)
    sized = [row | {"area": 0.53 * row["bbox"][2] * row["bbox"][3]} for row in content["annotations"]]
    guesses = [np.reshape(row["keypoints"], (14, 3))[:, :2] for row in results]
    found = [
        row | {"id": n + 1, "area": np.ptp(places, axis=0).prod()}
        for n, (row, places) in enumerate(zip(results, guesses, strict=True))
    ]

    def theirs(low: float, high: float) -> list[float]:
        images = [image for image in content["images"] if low <= image["crowdIndex"] < high]
        ids = {image["id"] for image in images}
        part = {"images": images, "annotations": [row for row in sized if row["image_id"] in ids]}
        rows = [dict(row) for row in found if row["image_id"] in ids]
        return by_pycocotools(part | {"categories": content["categories"]}, rows, CROWD.sigmas)

    assert [ours[name] for name in FIGURES] == pytest.approx(theirs(-1, 9), abs=1e-12)
    for name, span in (("easy", (-1, 0.2)), ("medium", (0.2, 0.8)), ("hard", (0.8, 9))):
        assert ours[f"AP_{name}"] == pytest.approx(theirs(*span)[0], abs=1e-12)
        assert ours[f"AP_{name}_low"] <= ours[f"AP_{name}"] <= ours[f"AP_{name}_high"]
    assert sum(ours[f"pictures_{name}"] for name in ("easy", "medium", "hard")) == ours["pictures"] == 15


def test_boxes_of_results_do_not_count_in_crowdpose() -> None:
    content, results = crowds(0)
    boxed = [row | {"bbox": [0, 0, 1, 1]} for row in results]
    truth = read_truth(content)
    assert crowdpose_average_precision(truth, boxed, resamples=1) == crowdpose_average_precision(
        truth, results, resamples=1
    )


def test_pictures_without_a_crowd_index_are_refused() -> None:
    content, results = crowds(0)
    del content["images"][3]["crowdIndex"]
    with pytest.raises(DataError, match="image 4 has no crowdIndex"):
        crowdpose_average_precision(read_truth(content), results)
