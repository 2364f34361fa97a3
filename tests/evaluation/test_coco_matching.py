"""The matching for all pictures at once: pycocotools' figures and matches to the last bit, whatever it is given."""

from __future__ import annotations

import contextlib
import copy
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from manypose.evaluation.coco_ap import FIGURES, choose_sigmas, measure
from manypose.evaluation.coco_matching import RECALLS, THRESHOLDS, Matches, Resampler, precision_and_recall
from manypose.evaluation.results_file import tabulate
from manypose.evaluation.truth import read_truth
from manypose.skeleton import load_skeleton

pytest.importorskip("pycocotools", reason="needs pycocotools, the reference")

JOINTS = load_skeleton("coco17").joints


def scene(
    seed: int,
    *,
    pictures: int = 6,
    boxes: bool = False,
    coarse: bool = False,
    text_ids: bool = False,
    categories: int = 1,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """People of all sizes, crowds, people without joints, ties of scores and places, more than 20 found in a picture.

    With `coarse` all numbers are whole, so that many similarities and scores are equal.
    """
    rng = np.random.default_rng(seed)
    people: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for place in rng.permutation(pictures):
        image_id = f"picture {place}" if text_ids else int(place) * 7
        poses = []
        for _ in range(rng.integers(5)):
            size = float(rng.choice([20, 31, 60, 96, 250]))
            pose = rng.uniform(0, 300, 2) + rng.uniform(0, size, (17, 2))
            poses.append((pose.round() if coarse else pose, size))
            flags = rng.choice([0, 1, 2], 17) * int(rng.random() > 0.2)
            area = float(rng.choice([size**2 / 2, 32.0**2, 96.0**2, 1.0]))
            row = {"id": len(people) + 1, "image_id": image_id, "category_id": int(rng.integers(categories)) + 1}
            row |= {"keypoints": np.column_stack([poses[-1][0], flags]).ravel().tolist(), "area": area}
            row |= {"bbox": [*pose.min(axis=0).tolist(), size, size], "iscrowd": int(rng.random() < 0.15)}
            people.append(row | {"num_keypoints": int(rng.choice([(flags > 0).sum(), (flags > 0).sum(), 0, 3]))})
        for _ in range(rng.choice([0, 3, 12, 30])):
            if poses and rng.random() < 0.8:
                pose, size = poses[rng.integers(len(poses))]
                pose = pose + rng.normal(0, size * rng.choice([0, 0.02, 0.1]), (17, 2))
            else:
                pose = rng.uniform(0, 400, (17, 2))
            pose, score = (pose.round(), rng.integers(4) / 4) if coarse else (pose, rng.random())
            row = {"image_id": image_id, "category_id": int(rng.integers(categories)) + 1, "score": float(score)}
            row |= {"keypoints": np.column_stack([pose, np.ones(17)]).ravel().tolist()}
            found.append(row | ({"bbox": [0.0, 0.0, *rng.uniform(5, 200, 2).tolist()]} if boxes else {}))
    images = [{"id": f"picture {n}" if text_ids else n * 7} for n in rng.permutation(pictures).tolist()]
    rows = [{"id": n + 1, "name": f"kind {n}", "keypoints": list(JOINTS)} for n in range(categories)]
    return {"images": images, "annotations": people, "categories": rows}, found


def reference(truth: dict[str, Any], results: list[dict[str, Any]]) -> Any:
    """pycocotools' evaluator, evaluated and summed up; sigmas are its own."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        labelled = COCO()
        labelled.dataset = copy.deepcopy(truth)
        labelled.createIndex()
        evaluator = COCOeval(labelled, labelled.loadRes(copy.deepcopy(results)), "keypoints")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    boxes=st.booleans(),
    coarse=st.booleans(),
    text_ids=st.booleans(),
    categories=st.integers(1, 2),
)
@example(seed=3, boxes=False, coarse=True, text_ids=False, categories=1)
def test_all_figures_are_those_of_pycocotools_to_the_last_bit(
    seed: int, boxes: bool, coarse: bool, text_ids: bool, categories: int
) -> None:
    content, results = scene(seed, boxes=boxes, coarse=coarse, text_ids=text_ids, categories=categories)
    if not results or not any(row["num_keypoints"] and not row["iscrowd"] for row in content["annotations"]):
        return
    theirs = reference(content, results)
    truth = read_truth(content)
    ours = measure(truth, tabulate(results, truth), choose_sigmas(truth))
    assert list(ours.figures().values()) == theirs.stats.tolist()
    for k, category in enumerate(ours.categories):
        for a, matches in enumerate(category):
            precision, recall = precision_and_recall(matches)
            assert np.array_equal(precision, theirs.eval["precision"][:, :, k, a, 0])
            assert np.array_equal(recall, theirs.eval["recall"][:, k, a, 0])


@pytest.mark.parametrize("seed", range(12))
def test_each_detection_has_the_partner_that_pycocotools_gives_it(seed: int) -> None:
    content, results = scene(seed, coarse=seed % 2 == 0, pictures=12)
    theirs = reference(content, results)
    truth = read_truth(content)
    matches = measure(truth, tabulate(results, truth), choose_sigmas(truth)).categories[0]
    partners = [row["id"] for row in truth.annotations]
    compared = 0
    for a, name in enumerate(((0.0, 1e10), (1024.0, 9216.0), (9216.0, 1e10))):
        for image in theirs.evalImgs:
            if image is None or tuple(image["aRng"]) != name:
                continue
            place = {row: n for n, row in enumerate(matches[a].rows)}
            for column, number in enumerate(image["dtIds"]):
                n = place[number - 1]
                ours = [partners[who] if who >= 0 else 0 for who in matches[a].matches[:, n]]
                assert ours == image["dtMatches"][:, column].tolist()
                assert matches[a].ignored[:, n].tolist() == image["dtIgnore"][:, column].astype(bool).tolist()
                compared += 1
    assert compared > 50


def test_the_constants_are_those_of_pycocotools() -> None:
    from pycocotools.cocoeval import Params

    theirs = Params("keypoints")
    truth = read_truth({"images": [{"id": 1}], "annotations": [], "categories": [{"id": 1, "keypoints": list(JOINTS)}]})
    assert np.array_equal(THRESHOLDS, theirs.iouThrs)
    assert np.array_equal(RECALLS, theirs.recThrs)
    assert np.array_equal(choose_sigmas(truth), theirs.kpt_oks_sigmas)


def test_at_most_twenty_people_of_a_picture_count() -> None:
    content, results = scene(0, pictures=1)
    one = {**results[0], "score": 0.5}
    results = [{**one, "score": 0.9 - n / 100} for n in range(20)] + [{**one, "score": 0.1}]
    truth = read_truth(content)
    assert len(measure(truth, tabulate(results, truth), choose_sigmas(truth)).categories[0][0].rows) == 20


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_draw_in_which_each_picture_stands_once_has_the_figures_themselves(seed: int) -> None:
    content, results = scene(seed, coarse=seed % 2 == 0, pictures=12)
    truth = read_truth(content)
    if not truth.has_people:
        return
    for matches in measure(truth, tabulate(results, truth), choose_sigmas(truth)).categories[0]:
        precision, recall = precision_and_recall(matches)
        drawn = Resampler(matches)(np.ones(len(truth.image_ids), np.int64))
        if not matches.people.sum():
            assert np.isnan(drawn[0]).all()
            assert np.isnan(drawn[1]).all()
            continue
        assert drawn[0] == pytest.approx(precision.mean(axis=1), abs=1e-12)
        assert drawn[1] == pytest.approx(recall)


def test_nobody_anywhere_has_no_precision() -> None:
    nothing = np.zeros(0, np.intp)
    empty = Matches(
        nothing, nothing, np.zeros((10, 0), np.intp), np.zeros((10, 0), bool), np.zeros(3, np.int64), nothing > 0
    )
    assert [set(values.ravel()) for values in precision_and_recall(empty)] == [{-1.0}, {-1.0}]


def test_the_ten_figures_have_their_names() -> None:
    assert FIGURES == ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
