"""Keypoint average precision: known answers, equality with pycocotools, and an interval that means what it says."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manypose.errors import DataError, FormatError
from manypose.evaluation import coco_ap
from manypose.evaluation.coco_ap import FIGURES, keypoint_average_precision
from manypose.skeleton import load_skeleton

pytest.importorskip("pycocotools", reason="needs the extra [eval]")

JOINTS = load_skeleton("coco17").joints
Rows = list[dict[str, Any]]


def person(image_id: int, number: int, keypoints: Any, **fields: Any) -> dict[str, Any]:
    """A labelled person of 100 x 200 pixels; all joints labelled that are not at (0, 0)."""
    keypoints = np.asarray(keypoints, float).reshape(-1, 2)
    flags = 2 * keypoints.any(axis=1)
    return {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "keypoints": np.column_stack([keypoints, flags]).ravel().tolist(),
        "num_keypoints": int((flags > 0).sum()),
        "bbox": [*keypoints.min(axis=0).tolist(), 100, 200],
        "area": 10000.0,
        **fields,
    }


def dataset(people: Rows, pictures: int, joints: tuple[str, ...] = JOINTS) -> dict[str, Any]:
    return {
        "images": [{"id": n} for n in range(1, pictures + 1)],
        "annotations": people,
        "categories": [{"id": 1, "name": "person", "keypoints": list(joints)}],
    }


def result(image_id: int, keypoints: Any, score: float) -> dict[str, Any]:
    keypoints = np.asarray(keypoints, float).reshape(-1, 2)
    values = np.column_stack([keypoints, np.ones(len(keypoints))]).ravel().tolist()
    return {"image_id": image_id, "category_id": 1, "keypoints": values, "score": score}


def scene(seed: int, pictures: int = 12) -> tuple[dict[str, Any], Rows]:
    """0 to 3 people of all sizes in each picture, some crowds; results that are good, bad, doubled or missing."""
    rng = np.random.default_rng(seed)
    people: Rows = []
    results: Rows = []
    for image_id in range(1, pictures + 1):
        for _ in range(rng.integers(4)):
            size = rng.choice([20.0, 60.0, 200.0])
            keypoints = rng.uniform(20, 400, 2) + rng.uniform(0, size, (17, 2))
            area, crowd = size**2 / 2, int(rng.random() < 0.1)
            people.append(person(image_id, len(people) + 1, keypoints, area=area, iscrowd=crowd))
            for _ in range(rng.integers(3)):
                shift = rng.normal(0, size * rng.choice([0.02, 0.06, 0.3]), (17, 2))
                results.append(result(image_id, keypoints + shift, float(rng.random())))
    return dataset(people, pictures), results


def by_pycocotools(truth: dict[str, Any], results: Rows, image_ids: list[int] | None = None) -> dict[str, float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        labelled = COCO()
        labelled.dataset = copy.deepcopy(truth)
        labelled.createIndex()
        evaluator = COCOeval(labelled, labelled.loadRes(copy.deepcopy(results)), "keypoints")
        evaluator.params.imgIds = image_ids or evaluator.params.imgIds
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return dict(zip(FIGURES, evaluator.stats, strict=True))


def figures(truth: Any, results: Rows, **options: Any) -> dict[str, float]:
    return keypoint_average_precision(truth, results, **{"resamples": 20, **options})


POSE = np.random.default_rng(0).uniform(50, 250, (17, 2)).round(1)


@pytest.mark.golden
def test_figures_of_a_reference_product_are_met(goldens: Path) -> None:
    folder = goldens / "topdown" / "eval" / "coco"
    expected = json.loads((folder / "expected.json").read_text())["pycocotools_stats"]
    results = json.loads((folder / "results.json").read_text())
    ours = figures(folder / "gt.json", results)
    for name, key in zip(
        FIGURES, ("AP", "AP50", "AP75", "AP_M", "AP_L", "AR", "AR50", "AR75", "AR_M", "AR_L"), strict=True
    ):
        assert ours[name] == expected[key], name
    assert (ours["pictures"], ours["results"]) == (12, 75)


@pytest.mark.parametrize("seed", range(6))
def test_figures_equal_those_of_pycocotools_used_directly(seed: int) -> None:
    truth, results = scene(seed)
    ours, theirs = figures(truth, results), by_pycocotools(truth, results)
    assert {name: ours[name] for name in FIGURES} == theirs
    assert 0 < ours["AP"] < 1


def test_boxes_of_results_count_as_in_pycocotools_when_all_rows_have_them() -> None:
    """A box decides whether an unmatched result is too large or small for APm and APl."""
    truth, results = scene(1)
    boxed = [row | {"bbox": [0, 0, 50, 50]} for row in results]
    assert figures(truth, boxed)["APl"] == pytest.approx(by_pycocotools(truth, boxed)["APl"], abs=1e-12)
    assert figures(truth, boxed)["APl"] > figures(truth, results)["APl"]
    assert figures(truth, [*boxed[1:], results[0]]) == figures(truth, [*results[1:], results[0]])


@pytest.mark.shared
def test_figures_equal_those_of_pycocotools_on_real_pictures(shared_data: Path, goldens: Path) -> None:
    truth = json.loads((shared_data / "coco" / "val.json").read_text())
    found = json.loads((goldens / "real" / "val40_predictions.json").read_text())["lwop"]
    results = [
        {
            "image_id": int(image_id),
            "category_id": 1,
            "keypoints": np.ravel(one["keypoints"]).tolist(),
            "score": one["score"],
        }
        for image_id, people in found.items()
        for one in people
    ]
    chosen = [int(image_id) for image_id in found]
    ours, theirs = figures(truth, results, image_ids=chosen), by_pycocotools(truth, results, chosen)
    assert {name: ours[name] for name in FIGURES} == theirs
    assert ours["AP_low"] < ours["AP"] < ours["AP_high"]


def test_the_people_themselves_score_one() -> None:
    truth, _ = scene(3)
    people = [row for row in truth["annotations"] if not row["iscrowd"]]
    perfect = [row | {"score": 0.5} for row in people]
    ours = figures(truth, [{k: row[k] for k in ("image_id", "category_id", "keypoints", "score")} for row in perfect])
    assert [ours[name] for name in (*FIGURES, "AP_low", "AP_high")] == pytest.approx(12 * [1.0])
    assert ours["people"] == len(people)


def test_nobody_found_in_the_whole_set_scores_zero() -> None:
    truth, _ = scene(3)
    ours = figures(truth, [])
    assert {ours[name] for name in (*FIGURES, "AP_low", "AP_high", "results")} == {0.0}


def test_pictures_without_results_cost_recall() -> None:
    """One of two people found: precision 1 up to recall 0.5, which 51 of the 101 recall steps reach."""
    ours = figures(dataset([person(1, 1, POSE), person(2, 2, POSE)], 2), [result(1, POSE, 0.9)])
    assert ours["AP"] == pytest.approx(51 / 101)
    assert ours["AR"] == 0.5


@pytest.mark.parametrize(("ghost_score", "expected"), [(0.95, 0.5), (0.5, 1.0)])
def test_a_ghost_costs_precision_only_if_it_scores_higher(ghost_score: float, expected: float) -> None:
    results = [result(1, POSE, 0.9), result(2, POSE + 5, ghost_score)]
    assert figures(dataset([person(1, 1, POSE)], 2), results)["AP"] == pytest.approx(expected)


def test_a_distance_is_worth_what_the_sigma_of_the_joint_says() -> None:
    """Only the nose is labelled and missed by as much as makes an OKS of 0.72: five of the ten thresholds."""
    nose = np.zeros((17, 2))
    nose[0] = 100, 100
    sigma, area = 0.026, 10000.0
    shift = math.sqrt(-2 * area * (2 * sigma) ** 2 * math.log(0.72))
    ours = figures(dataset([person(1, 1, nose)], 1), [result(1, nose + np.array([shift, 0]), 0.9)])
    assert ours["AP"] == pytest.approx(0.5)
    assert (ours["AP50"], ours["AP75"]) == pytest.approx((1.0, 0.0))


def test_sigmas_go_by_the_name_of_the_joint() -> None:
    """The same set with its joints in the order of openpose18, sigmas from there: the same figures."""
    truth, results = scene(2)
    body = load_skeleton("openpose18")
    joints = tuple(joint for joint in body.joints if joint in JOINTS)
    order = [JOINTS.index(joint) for joint in joints]
    turned = copy.deepcopy((truth, results))
    for row in [*turned[0]["annotations"], *turned[1]]:
        row["keypoints"] = np.reshape(row["keypoints"], (17, 3))[order].ravel().tolist()
    turned[0]["categories"][0]["keypoints"] = list(joints)
    assert joints != JOINTS
    assert figures(*turned, skeleton="openpose18") == pytest.approx(figures(truth, results), abs=1e-12)
    assert figures(*turned, skeleton=body) == figures(*turned, skeleton="openpose18")


def test_medium_and_large_are_minus_one_where_the_truth_has_nobody_of_that_size() -> None:
    ours = figures(dataset([person(1, 1, POSE)], 1), [result(1, POSE, 0.9)])
    assert (ours["APm"], ours["ARm"], ours["APl"], ours["ARl"]) == pytest.approx((-1, -1, 1, 1))


def test_people_without_joints_and_crowds_are_neither_missed_nor_punished() -> None:
    nobody = person(1, 2, np.zeros((17, 2)), bbox=[300, 300, 50, 50])
    crowd = person(1, 3, POSE + 300, iscrowd=1)
    bare = {"id": 4, "image_id": 1, "category_id": 1, "bbox": [600, 600, 50, 50], "area": 2500}
    results = [result(1, POSE, 0.5), *(result(1, np.full((17, 2), place), 0.9) for place in (325, 625))]
    results.append(result(1, POSE + 300, 0.8))
    ours = figures(dataset([person(1, 1, POSE), nobody, crowd, bare], 1), results)
    assert (ours["AP"], ours["AR"], ours["people"]) == pytest.approx((1.0, 1.0, 1))


def test_an_annotation_with_id_zero_counts_too() -> None:
    """pycocotools alone takes a match with id 0 for no match."""
    truth = dataset([person(1, 0, POSE)], 1)
    assert by_pycocotools(truth, [result(1, POSE, 0.9)])["AP"] == 0
    assert figures(truth, [result(1, POSE, 0.9)])["AP"] == pytest.approx(1)


def test_rows_of_other_categories_do_not_count() -> None:
    truth = dataset([person(1, 1, POSE), {"id": 2, "image_id": 1, "category_id": 9, "bbox": [0, 0, 5, 5]}], 1)
    truth["categories"].append({"id": 9, "name": "dog"})
    assert figures(truth, [result(1, POSE, 0.9)])["AP"] == pytest.approx(1)


def test_two_categories_with_keypoints_are_averaged() -> None:
    truth = dataset([person(1, 1, POSE), person(1, 2, POSE + 300, category_id=2)], 1)
    truth["categories"].append({"id": 2, "name": "statue", "keypoints": list(JOINTS)})
    ours = figures(truth, [result(1, POSE, 0.9)])
    assert [ours[name] for name in ("AP", "AP_low", "AP_high", "people")] == pytest.approx([0.5, 0.5, 0.5, 2])


@pytest.mark.parametrize("seed", range(3))
def test_order_does_not_matter(seed: int) -> None:
    truth, results = scene(seed)
    rng = np.random.default_rng(seed)
    shuffled = copy.deepcopy(truth)
    for rows in (shuffled["images"], shuffled["annotations"], shuffled_results := list(results)):
        rng.shuffle(rows)
    assert shuffled_results != results
    assert figures(shuffled, shuffled_results) == figures(truth, results)


def test_some_pictures_can_be_measured_alone() -> None:
    truth, results = scene(4)
    chosen = [2, 3, 5, 7]
    ours = figures(truth, results, image_ids=chosen)
    inside = [row for row in results if row["image_id"] in chosen]
    assert {name: ours[name] for name in FIGURES} == pytest.approx(by_pycocotools(truth, inside, chosen), abs=1e-12)
    assert (ours["pictures"], ours["results"]) == (4, len(inside))


def test_nothing_is_printed_and_nothing_given_is_changed(capfd: pytest.CaptureFixture[str]) -> None:
    truth, results = scene(0)
    before = copy.deepcopy((truth, results))
    figures(truth, results)
    assert capfd.readouterr() == ("", "")
    assert (truth, results) == before


@pytest.mark.parametrize("seed", range(4))
def test_a_resample_has_the_figure_of_a_set_in_which_pictures_are_repeated(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, results = scene(seed)
    counts = np.random.default_rng(seed).integers(0, 4, len(truth["images"]))
    copies = [
        (image["id"], 1000 * n + image["id"])
        for image, c in zip(truth["images"], counts, strict=True)
        for n in range(c)
    ]
    repeated = dataset([], 0)
    repeated["images"] = [{"id": new} for _, new in copies]
    rows = [row | {"image_id": new} for old, new in copies for row in truth["annotations"] if row["image_id"] == old]
    repeated["annotations"] = [row | {"id": n} for n, row in enumerate(rows, start=1)]
    repeated_results = [row | {"image_id": new} for old, new in copies for row in results if row["image_id"] == old]
    expected = by_pycocotools(repeated, repeated_results)["AP"]

    monkeypatch.setattr(coco_ap, "draw_counts", lambda pictures, **_: counts[None])
    ours = figures(truth, results)
    assert ours["AP_low"] == ours["AP_high"] == pytest.approx(expected, abs=1e-12)


def test_the_interval_encloses_the_figure_and_shrinks_with_more_pictures() -> None:
    few, many = figures(*scene(5, 20), resamples=300), figures(*scene(5, 320), resamples=300)
    for ours in (few, many):
        assert ours["AP_low"] < ours["AP"] < ours["AP_high"]
    assert many["AP_high"] - many["AP_low"] < 0.5 * (few["AP_high"] - few["AP_low"])


def test_the_same_seed_gives_the_same_interval() -> None:
    truth, results = scene(5, 40)
    assert figures(truth, results, seed=1) == figures(truth, results, seed=1)
    assert figures(truth, results, seed=1)["AP_low"] != figures(truth, results, seed=2)["AP_low"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 9}, r"row 1: the truth has no picture with image_id 9"),
        ({"category_id": 9}, r"row 1: the truth has no category with keypoints of category_id 9"),
        ({"keypoints": [1, 2, 3]}, r"row 1: keypoints must be 51 finite numbers"),
        ({"keypoints": [math.nan] * 51}, r"row 1: keypoints must be 51 finite numbers"),
        ({"score": math.inf}, r"row 1: score is inf"),
    ],
)
def test_a_result_that_does_not_fit_the_truth_is_refused(change: dict[str, Any], message: str) -> None:
    good = result(1, POSE, 0.9)
    with pytest.raises(FormatError, match=message):
        figures(dataset([person(1, 1, POSE)], 1), [good, good | change])


def test_a_result_without_a_field_is_refused() -> None:
    with pytest.raises(FormatError, match="row 0: no image_id, score"):
        figures(dataset([person(1, 1, POSE)], 1), [{"category_id": 1, "keypoints": []}])


def test_a_truth_without_areas_is_refused() -> None:
    people = person(1, 8, POSE)
    del people["area"]
    with pytest.raises(DataError, match="annotation 8 has no area; OKS needs it"):
        figures(dataset([people], 1), [])


def test_a_truth_without_labelled_people_is_refused() -> None:
    with pytest.raises(DataError, match="no person with labelled joints in the 2 pictures"):
        figures(dataset([person(1, 1, POSE, iscrowd=1)], 2), [])
    with pytest.raises(DataError, match="no person with labelled joints in the 1 pictures"):
        figures(dataset([], 1), [result(1, POSE, 0.9)])


def test_a_skeleton_without_sigmas_or_without_the_joints_is_refused() -> None:
    lsp = load_skeleton("lsp14")
    with pytest.raises(DataError, match="'lsp14' has no sigmas"):
        figures(dataset([], 1, lsp.joints), [], skeleton="lsp14")
    with pytest.raises(DataError, match="joint 'neck' is not in the skeleton 'coco17'"):
        figures(dataset([], 1, lsp.joints), [], skeleton="coco17")


@pytest.mark.parametrize("sigmas", [[0.1] * 3, [0.1] * 16 + [0.0], dict.fromkeys(JOINTS[1:], 0.1)])
def test_sigmas_that_do_not_fit_the_joints_are_refused(sigmas: Any) -> None:
    with pytest.raises(DataError, match="sigmas must be 17 positive numbers"):
        figures(dataset([person(1, 1, POSE)], 1), [], sigmas=sigmas)


def test_joints_of_ones_own_need_sigmas_which_can_be_given() -> None:
    truth = dataset([person(1, 1, POSE[:2])], 1, ("beak", "tail"))
    results = [result(1, POSE[:2] + 3, 0.9)]
    with pytest.raises(DataError, match="nobody has published sigmas for its joints"):
        figures(truth, results)
    given, named = [0.1, 0.2], {"tail": 0.2, "beak": 0.1}
    in_file = copy.deepcopy(truth)
    in_file["categories"][0]["sigmas"] = given
    assert figures(truth, results, sigmas=given) == figures(truth, results, sigmas=named) == figures(in_file, results)
    assert figures(truth, results, sigmas=given)["AP"] == pytest.approx(1)
    assert figures(truth, results, sigmas=[0.001, 0.001])["AP"] == 0
