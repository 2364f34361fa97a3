"""Why a model is wrong: each type of error by hand, the rules of the paper, and what each error costs."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_scenes import BODY, JOINTS, SIGMAS, apart, found, labelled, moved, shifted, truth_of

from manypose.errors import DataError, FormatError
from manypose.evaluation.coco_ap import keypoint_average_precision
from manypose.evaluation.coco_matching import THRESHOLDS
from manypose.evaluation.error_types import KINDS, UNLABELLED, analyse_errors, find_joint_errors
from manypose.evaluation.pairs import best_similarities, joint_similarities, match, read_scene
from manypose.evaluation.truth import read_truth

ORDER = ["baseline", "miss", "swap", "inversion", "jitter", "score", "false_positives", "false_negatives"]
OTHER = shifted(BODY, 400, 20)
LEG_FLIP = [*range(11), 12, 11, 14, 13, 16, 15]


def kinds_of(truth: dict[str, Any], results: list[dict[str, Any]]) -> list[dict[str, str]]:
    """For each person found whose joints are compared, the kind of each joint that is not good."""
    errors = find_joint_errors(read_truth(truth), results)
    names = [{joint: KINDS[kind] for joint, kind in zip(JOINTS, row, strict=True) if kind >= 0} for row in errors.kinds]
    return [{joint: kind for joint, kind in row.items() if kind != "good"} for row in names]


def random_scene(seed: int, pictures: int = 8) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    rng = np.random.default_rng(seed)
    people, results = [], []
    for image_id in range(1, pictures + 1):
        for _ in range(rng.integers(4)):
            places = BODY * rng.uniform(0.2, 1) + rng.uniform(0, 200, 2)
            more = {"iscrowd": 1} if rng.random() < 0.1 else {}
            hidden = tuple(rng.choice(JOINTS, rng.integers(4), replace=False))
            people.append(labelled(places, image_id, hidden, area=float(rng.uniform(500, 20_000)), **more))
            for _ in range(rng.integers(3)):
                noise = rng.normal(0, rng.choice([2.0, 10.0, 40.0]), places.shape)
                results.append(found(places + noise, float(rng.random()), image_id))
    return truth_of([*people, labelled(BODY, 1)], pictures), results


def test_the_truth_itself_is_good() -> None:
    figures = analyse_errors(read_truth(truth_of([labelled(BODY)])), [found(BODY)])
    assert figures["joints"] == {
        "total": 17,
        "good": 17,
        "jitter": 0,
        "inversion": 0,
        "swap": 0,
        "miss": 0,
        "absent": 0,
    }
    assert figures["shares"]["good"] == 1
    assert figures["background"] == {"found": 1, "labelled": 1, "false_positives": 0, "false_negatives": 0}
    assert figures["average_precision"] == dict.fromkeys(ORDER, pytest.approx(1))
    assert figures["gain"] == dict.fromkeys(ORDER[1:], pytest.approx(0))


@pytest.mark.parametrize(
    ("similarity", "kind"), [(0.99, None), (0.851, None), (0.849, "jitter"), (0.501, "jitter"), (0.499, "miss")]
)
def test_similarity_parts_good_jitter_and_miss(similarity: float, kind: str | None) -> None:
    places = moved(BODY, nose=apart(similarity, "nose"))
    assert kinds_of(truth_of([labelled(BODY)]), [found(places)]) == [{"nose": kind} if kind else {}]


def test_the_other_side_is_an_inversion() -> None:
    wrist = shifted(BODY, 1, 0)[JOINTS.index("right_wrist")]
    results = [found(moved(BODY, left_wrist=wrist))]
    assert kinds_of(truth_of([labelled(BODY)]), results) == [{"left_wrist": "inversion"}]


@pytest.mark.parametrize("joint", ["left_knee", "right_knee"])
def test_a_joint_of_somebody_else_is_a_swap_on_either_side(joint: str) -> None:
    knee = OTHER[JOINTS.index(joint)]
    truth = truth_of([labelled(BODY), labelled(OTHER)])
    assert kinds_of(truth, [found(moved(BODY, left_knee=knee))]) == [{"left_knee": "swap"}]


def test_a_joint_of_another_sort_or_another_picture_is_a_miss() -> None:
    truth = truth_of([labelled(BODY), labelled(OTHER), labelled(shifted(BODY, 0, 400), image_id=2)], pictures=2)
    for place in (OTHER[JOINTS.index("nose")], shifted(BODY, 0, 400)[JOINTS.index("left_knee")]):
        assert kinds_of(truth, [found(moved(BODY, left_knee=place))]) == [{"left_knee": "miss"}]


def test_a_joint_that_was_not_found_is_a_miss_and_counted_as_absent() -> None:
    near_the_corner = BODY - BODY.min(axis=0)  # its nose is at 0, 0, as joints that were not found are written
    truth = read_truth(truth_of([labelled(shifted(near_the_corner, 1e-9, 0))]))
    figures = analyse_errors(truth, [found(near_the_corner, absent=("nose", "left_ankle"))])
    assert figures["by_joint"]["nose"] == {
        "total": 1, "good": 0, "jitter": 0, "inversion": 0, "swap": 0, "miss": 1, "absent": 1,
    }  # fmt: skip
    assert (figures["joints"]["miss"], figures["joints"]["absent"]) == (2, 2)


def test_joints_that_are_not_labelled_do_not_count_on_either_side() -> None:
    truth = truth_of([labelled(BODY, absent=("left_wrist", "right_ankle"))])
    places = moved(BODY, right_wrist=BODY[JOINTS.index("left_wrist")], right_ankle=(0, 400))
    assert kinds_of(truth, [found(places)]) == [{"right_wrist": "miss"}]  # and no inversion: nobody knows the left one
    assert find_joint_errors(read_truth(truth), [found(places)]).kinds[0, JOINTS.index("right_ankle")] == UNLABELLED


def test_of_two_equal_similarities_the_joint_itself_counts() -> None:
    truth = truth_of([labelled(BODY), labelled(BODY)])  # the same person labelled twice
    assert kinds_of(truth, [found(BODY), found(BODY, 0.8)]) == [{}, {}]


def test_people_are_compared_from_an_oks_of_a_tenth() -> None:
    near = [place for place in range(17) if place < 3]
    far = shifted(BODY, 0, 1000)
    far[near] = BODY[near]  # three of 17 joints are right: 0.176
    assert len(find_joint_errors(read_truth(truth_of([labelled(BODY)])), [found(far)]).rows) == 1
    far[near[1:], 1] += 1000  # one: 0.059
    assert len(find_joint_errors(read_truth(truth_of([labelled(BODY)])), [found(far)]).rows) == 0


def test_crowds_and_people_without_labelled_joints_are_nobody_to_compare_with() -> None:
    truth = truth_of([labelled(BODY, iscrowd=1), labelled(OTHER, absent=JOINTS), labelled(shifted(BODY, 0, 900))])
    figures = analyse_errors(read_truth(truth), [found(BODY), found(OTHER)])
    assert figures["matched"] == 0
    assert figures["background"] == {"found": 2, "labelled": 1, "false_positives": 0, "false_negatives": 1}


def test_rows_and_people_are_those_of_the_results_and_of_the_truth() -> None:
    truth = truth_of([labelled(BODY, 2), labelled(BODY, 1), labelled(OTHER, 1)], pictures=3)
    results = [found(OTHER, image_id=1), found(BODY, image_id=3), found(BODY, image_id=2), found(BODY, image_id=1)]
    errors = find_joint_errors(read_truth(truth, image_ids=[1, 2]), results)
    assert dict(zip(errors.rows.tolist(), errors.people.tolist(), strict=True)) == {0: 2, 2: 0, 3: 1}


def test_background_is_what_matches_nobody_once_joints_and_scores_are_right() -> None:
    truth = read_truth(truth_of([labelled(BODY), labelled(OTHER, 2)], pictures=2))
    results = [found(BODY, 0.5), found(BODY + 2, 0.4), found(OTHER, 0.9)]
    figures = analyse_errors(truth, results)
    assert figures["background"] == {"found": 3, "labelled": 2, "false_positives": 2, "false_negatives": 1}
    precision = figures["average_precision"]
    assert precision["baseline"] == pytest.approx(0.5 * 51 / 101)  # one in two where one is asked for
    assert precision["score"] == precision["false_positives"] == pytest.approx(51 / 101)
    assert precision["false_negatives"] == 1


def test_a_wrong_score_costs_what_the_right_order_gains() -> None:
    truth = read_truth(truth_of([labelled(BODY)]))
    gain = analyse_errors(truth, [found(OTHER, 0.9), found(BODY, 0.1)])["gain"]
    assert gain["score"] == pytest.approx(0.5)
    assert sum(abs(value) for value in gain.values()) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("kind", "similarity", "to"),
    [("miss", 0.3, 0.5), ("jitter", 0.6, 0.85), ("inversion", 0.6, 0.6), ("inversion", 0.9, 0.9), ("swap", 0.6, 0.6)],
)
def test_putting_right_moves_joints_as_near_as_the_paper_says(kind: str, similarity: float, to: float) -> None:
    """The legs have one error, so OKS is known before and after it is put right, and with it the AP of one person."""
    legs = np.arange(11, 17)
    whose = {"inversion": BODY[LEG_FLIP], "swap": OTHER}.get(kind, BODY)
    places = BODY.copy()
    places[legs] = whose[legs]
    places[legs, 0] += [apart(similarity, JOINTS[k]) for k in legs]
    truth = read_truth(truth_of([labelled(BODY), labelled(OTHER, iscrowd=1)]))
    figures = analyse_errors(truth, [found(places)])
    assert (figures["joints"][kind], figures["joints"]["good"]) == (6, 11)
    before = best_similarities(read_scene(truth, [found(places)]))[0]
    after = (11 + 6 * to) / 17
    precision = list(figures["average_precision"].values())
    step = ORDER.index(kind)
    assert precision[step - 1] == pytest.approx(np.mean(before >= THRESHOLDS), abs=1e-12)
    assert precision[step] == pytest.approx(np.mean(after >= THRESHOLDS), abs=1e-12)
    assert precision[step] > precision[step - 1]


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_everything_adds_up(seed: int) -> None:
    truth, results = random_scene(seed)
    figures = analyse_errors(read_truth(truth), results)
    joints, precision = figures["joints"], figures["average_precision"]
    assert list(precision) == ORDER
    assert joints["total"] == sum(joints[kind] for kind in KINDS)
    for name in ("total", *KINDS, "absent"):
        assert joints[name] == sum(counts[name] for counts in figures["by_joint"].values())
    assert sum(figures["shares"].values()) == pytest.approx(1 if joints["total"] else 0)
    assert sum(figures["gain"].values()) == pytest.approx(1 - precision["baseline"])
    assert precision["baseline"] == keypoint_average_precision(truth, results, resamples=1)["AP"]
    assert precision["false_positives"] >= precision["score"] - 1e-12
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_the_order_of_people_and_results_does_not_matter(seed: int) -> None:
    truth, results = random_scene(seed)
    rng = np.random.default_rng(seed)
    shuffled = truth | {"annotations": [truth["annotations"][n] for n in rng.permutation(len(truth["annotations"]))]}
    again = analyse_errors(read_truth(shuffled), [results[n] for n in rng.permutation(len(results))])
    assert again["joints"] == analyse_errors(read_truth(truth), results)["joints"]


def test_similarities_are_those_of_oks() -> None:
    truth, results = random_scene(3)
    scene = read_scene(read_truth(truth), results)
    matches = match(scene)
    d, g = matches.rows[matches.hits[0]], matches.matches[0][matches.hits[0]]
    alike = joint_similarities(
        scene.found.joints[d, :, :2], scene.labelled.joints[g, :, :2], scene.labelled.areas[g], SIGMAS
    )
    flags = scene.labelled.joints[g, :, 2] > 0
    oks = (alike * flags).sum(axis=1) / flags.sum(axis=1)
    assert len(oks) > 3
    assert (oks >= 0.5).all()
    assert (best_similarities(scene)[d] >= oks - 1e-12).all()


def test_nobody_found_and_nobody_labelled_are_results() -> None:
    nobody_found = analyse_errors(read_truth(truth_of([labelled(BODY)])), [])
    assert nobody_found["average_precision"]["baseline"] == 0
    assert nobody_found["background"]["false_negatives"] == 1
    assert nobody_found["shares"] == dict.fromkeys(KINDS, 0.0)
    nobody_labelled = analyse_errors(read_truth(truth_of([])), [found(BODY)])
    assert nobody_labelled["average_precision"] == dict.fromkeys(ORDER, -1)
    assert nobody_labelled["background"]["false_positives"] == 1


def test_what_does_not_fit_is_refused() -> None:
    truth = read_truth(truth_of([labelled(BODY)]))
    with pytest.raises(FormatError, match="row 0"):
        analyse_errors(truth, [found(BODY) | {"keypoints": [1, 2, 3]}])
    bare = labelled(BODY)
    del bare["area"]
    with pytest.raises(DataError, match="has no area"):
        analyse_errors(read_truth(truth_of([bare])), [])
    with pytest.raises(DataError, match="sigmas"):
        analyse_errors(truth, [found(BODY)], skeleton="lsp14")


def test_thousands_of_pictures_take_seconds() -> None:
    rng = np.random.default_rng(0)
    people, results = [], []
    for image_id in range(1, 201):
        for n in range(3):
            places = shifted(BODY, 200 * n, 0)
            people.append(labelled(places, image_id))
            results += [found(places + rng.normal(0, 8, places.shape), float(rng.random()), image_id) for _ in range(5)]
    truth = read_truth(truth_of(people, 200))
    started = time.process_time()
    analyse_errors(truth, results)
    assert time.process_time() - started < 4  # a 25th of COCO's val, with room for a slow machine
