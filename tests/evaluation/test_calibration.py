"""What scores are worth: known reliability, who counts, curves that rise, and scores that mean what they say."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_scenes import AREA, BODY, JOINTS, apart, found, labelled, moved, shifted, truth_of

from manypose.errors import DataError
from manypose.estimators.scores import apply_curve
from manypose.evaluation.calibrating import LEAST_PEOPLE, fit_calibration
from manypose.evaluation.calibration import (
    Judged,
    calibration_figures,
    fit_curve,
    incomplete_pictures,
    judge_joints,
    judge_people,
    reliability,
)
from manypose.evaluation.coco_ap import keypoint_average_precision
from manypose.evaluation.pairs import read_scene
from manypose.evaluation.truth import Truth, read_truth

pytest.importorskip("scipy", reason="needs the extra [eval]")

FAR = shifted(BODY, 0, 2000)


def judged(scores: Any, right: Any, pictures: Any = None) -> Judged:
    scores = np.asarray(scores, float)
    return Judged(scores, np.asarray(right, bool), np.arange(len(scores)) if pictures is None else np.asarray(pictures))


def drawn(seed: int, count: int, share: Any) -> Judged:
    """Scores between 0 and 1 of which `share(score)` are right."""
    rng = np.random.default_rng(seed)
    scores = rng.random(count)
    return judged(scores, rng.random(count) < share(scores))


def of(truth: Truth, results: list[dict[str, Any]], what: Any = judge_people, **options: Any) -> Judged:
    scene = read_scene(truth, results)
    made: Judged = what(scene, incomplete_pictures(truth, scene), **options)
    return made


def overconfident(seed: int, pictures: int = 160) -> tuple[Truth, list[dict[str, Any]]]:
    """One person in each picture, found with a score whose square says how often it is he; joints alike."""
    rng = np.random.default_rng(seed)
    people, results = [], []
    for image_id in range(1, pictures + 1):
        people.append(labelled(BODY, image_id))
        score = rng.uniform(0.05, 1)
        scores = rng.uniform(0.05, 1, 17)
        away = np.array([apart(0.2, joint) for joint in JOINTS]) * (rng.random(17) > scores**2)
        places = BODY + np.column_stack([away, 0 * away]) if rng.random() < score**2 else FAR
        results.append(found(places, float(score), image_id, scores))
    return read_truth(truth_of(people, pictures)), results


def test_scores_that_are_true_have_no_error() -> None:
    made = judged(np.repeat([0.2, 0.6], 10), [True] * 2 + [False] * 8 + [True] * 6 + [False] * 4)
    figures = reliability(made, 20, resamples=100)
    assert figures["ECE"] == pytest.approx(0)
    assert [(group["count"], group["score"], group["right"]) for group in figures["curve"]] == [
        (10, pytest.approx(0.2), pytest.approx(0.2)),
        (10, pytest.approx(0.6), pytest.approx(0.6)),
    ]


def test_the_error_is_the_mean_distance_over_the_scores() -> None:
    made = judged([0.9] * 30 + [0.5] * 10, [True] * 15 + [False] * 15 + [True] * 10)
    assert reliability(made, 40, groups=2, resamples=10)["ECE"] == pytest.approx((30 * 0.4 + 10 * 0.5) / 40)


@given(st.integers(0, 1000), st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_groups_are_of_equal_mass_and_hold_all_scores(seed: int, groups: int) -> None:
    made = drawn(seed, 240, lambda scores: scores)
    figures = reliability(made, 240, groups=groups, resamples=20)
    counts = [group["count"] for group in figures["curve"]]
    assert sum(counts) == figures["count"] == 240
    assert len(counts) == groups
    assert max(counts) - min(counts) <= 2
    assert figures["right"] == pytest.approx(made.right.mean())
    means = [group["score"] for group in figures["curve"]]
    assert means == sorted(means)
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_the_interval_is_over_pictures_and_holds_the_truth() -> None:
    """Copies of a score in one picture say nothing new, so the interval is as wide as with one of each."""
    few = drawn(3, 60, lambda scores: scores)
    many = judged(np.tile(few.scores, 20), np.tile(few.right, 20), np.tile(np.arange(60), 20))
    narrow = judged(many.scores, many.right, np.arange(1200))
    widths = {}
    for name, made, pictures in (("few", few, 60), ("many", many, 60), ("narrow", narrow, 1200)):
        curve = reliability(made, pictures, groups=3)["curve"]
        widths[name] = np.mean([group["high"] - group["low"] for group in curve])
    assert widths["many"] == pytest.approx(widths["few"], rel=0.05)
    assert widths["narrow"] < widths["few"] / 3
    group = reliability(drawn(5, 4000, lambda scores: scores), 4000, groups=1)["curve"][0]
    assert group["low"] < 0.5 < group["high"]


def test_a_joint_is_right_within_the_stated_distance() -> None:
    truth = read_truth(truth_of([labelled(BODY, absent=("left_ear",))]))
    places = moved(BODY, nose=apart(0.51, "nose"), left_eye=apart(0.49, "left_eye"), left_hip=9.9, right_hip=10.1)
    scores = np.arange(17) / 100 + 0.1
    results = [found(places, scores=scores, absent=("right_ear",))]
    similar = of(truth, results, judge_joints)
    assert len(similar) == 15  # one is not labelled, one was not found
    wrong = {JOINTS[round(100 * (score - 0.1))] for score in similar.scores[~similar.right]}
    assert wrong == {"left_eye"}
    near = of(truth, results, judge_joints, distance=0.1)  # of the root of the area, 100
    assert AREA == 100**2
    assert {JOINTS[round(100 * (score - 0.1))] for score in near.scores[~near.right]} == {"right_hip"}


def test_people_and_joints_of_nobody_are_wrong() -> None:
    truth = read_truth(truth_of([labelled(BODY)]))
    results = [found(BODY, 0.9), found(FAR, 0.8)]
    assert dict(zip(*map(np.ndarray.tolist, (of(truth, results).scores, of(truth, results).right)), strict=True)) == {
        0.9: True,
        0.8: False,
    }
    joints = of(truth, results, judge_joints)
    assert (len(joints), joints.right.sum()) == (34, 17)


def test_who_matches_somebody_to_be_ignored_does_not_count() -> None:
    people = [labelled(BODY, iscrowd=1), labelled(shifted(BODY, 900, 0), absent=JOINTS)]
    truth = read_truth(truth_of([*people, labelled(FAR)]))
    results = [found(BODY), found(BODY, 0.8), found(shifted(BODY, 900, 0), 0.7), found(FAR, 0.6)]
    assert of(truth, results).scores.tolist() == [0.6]
    assert len(of(truth, results, judge_joints)) == 17


def test_pictures_where_not_everybody_is_labelled_do_not_count() -> None:
    people = [labelled(BODY, 1), labelled(BODY, 2)]
    truth = read_truth(truth_of(people, 2, image1={"people_complete": False}, image2={"people_complete": True}))
    results = [found(BODY, 0.9, 1), found(FAR, 0.8, 1), found(BODY, 0.7, 2)]
    assert of(truth, results).scores.tolist() == [0.7]
    assert len(of(truth, results, judge_joints)) == 17


def test_only_the_twenty_best_of_a_picture_count() -> None:
    truth = read_truth(truth_of([labelled(BODY)]))
    made = of(truth, [found(FAR, score / 100) for score in range(1, 31)])
    assert sorted(made.scores) == pytest.approx([score / 100 for score in range(11, 31)])


def test_figures_of_a_set_are_plain_numbers() -> None:
    truth, results = overconfident(0, 60)
    figures = calibration_figures(truth, results, resamples=50)
    assert set(figures) == {"right", "joints", "people"}
    assert figures["people"]["count"] == 60
    assert figures["people"]["ECE"] > 0.1
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert "within 0.1 of" in calibration_figures(truth, results, distance=0.1, resamples=10)["right"]


def test_scores_that_are_no_shares_are_left_out() -> None:
    truth = read_truth(truth_of([labelled(BODY)]))
    assert set(calibration_figures(truth, [found(BODY, 17.5)], resamples=10)) == {"right", "joints"}
    assert set(calibration_figures(truth, [], resamples=10)) == {"right"}
    with pytest.raises(DataError, match="no score can be judged"):
        reliability(judged([], []), 1)


@given(st.integers(0, 1000), st.sampled_from([20, 35, 300, 3000]), st.sampled_from([0.2, 1.0, 3.0]))
@settings(max_examples=40, deadline=None)
def test_curves_rise_everywhere_and_have_few_knots(seed: int, count: int, power: float) -> None:
    curve = fit_curve(drawn(seed, count, lambda scores: scores**power))
    assert len(curve.raw) == len(curve.right) <= 32
    assert (curve.raw[0], curve.raw[-1]) == (0, 1)
    for (a, low), (b, high) in itertools.pairwise(zip(curve.raw, curve.right, strict=True)):
        assert high - low >= 0.009 * (b - a)
    assert min(curve.right) >= 0
    assert max(curve.right) <= 1


@pytest.mark.parametrize("power", [0.3, 1.0, 2.0])
def test_a_curve_says_what_share_is_right(power: float) -> None:
    curve = fit_curve(drawn(1, 20_000, lambda scores: scores**power))
    scores = np.linspace(0.05, 0.95, 50, dtype=np.float32)
    np.testing.assert_allclose(apply_curve(scores, curve), scores**power, atol=0.06)


@pytest.mark.parametrize(
    ("scores", "right"), [(np.full(40, 0.5), [True, False] * 20), (np.linspace(0, 1, 40), [True] * 40)]
)
def test_curves_of_equal_scores_and_of_right_ones_alone_exist(scores: Any, right: list[bool]) -> None:
    curve = fit_curve(judged(scores, right))
    assert apply_curve(np.float32(0.5), curve) == pytest.approx(np.mean(right), abs=0.02)


def test_what_gives_no_curve_is_refused() -> None:
    with pytest.raises(DataError, match="19 scores are too few"):
        fit_curve(judged(np.linspace(0, 1, 19), [True] * 19))
    with pytest.raises(DataError, match="scores reach from 0 to 2, expected 0 to 1"):
        fit_curve(judged(np.linspace(0, 2, 30), [True] * 30))


def test_a_fit_is_measured_on_pictures_that_it_has_not_seen() -> None:
    truth, results = overconfident(1)
    fit = fit_calibration(truth, results, data="set.json", data_sha256="a" * 64)
    assert (fit.fitted, fit.held_out) == (80, 80)
    for part in ("joints", "people"):
        assert fit.before[part]["ECE"] > 0.14
        assert fit.after[part]["ECE"] < 0.6 * fit.before[part]["ECE"]
        assert fit.before[part]["count"] == fit.after[part]["count"]
        assert fit.calibration.figures[f"{part}_ECE_after"] == pytest.approx(fit.after[part]["ECE"], abs=1e-6)
    assert (fit.calibration.pictures, fit.calibration.people_labelled) == (160, 160)
    assert (fit.calibration.joint_similarity, fit.calibration.joint_distance) == (0.5, None)
    again = fit_calibration(truth, results, data="set.json", data_sha256="a" * 64, distance=0.2, parts=("joints",))
    assert (again.calibration.joint_similarity, again.calibration.joint_distance) == (None, 0.2)
    assert again.calibration.people is None


def test_calibrated_scores_of_new_pictures_are_true_and_leave_the_ap() -> None:
    truth, results = overconfident(2, 600)
    curve = fit_calibration(truth, results, data="set", data_sha256="a" * 64).calibration.people
    other, found_there = overconfident(3, 600)
    assert curve is not None
    mapped = [row | {"score": float(apply_curve(np.float32(row["score"]), curve))} for row in found_there]
    before, after = (calibration_figures(other, rows, resamples=10)["people"]["ECE"] for rows in (found_there, mapped))
    assert before > 0.12
    assert after < 0.05
    assert (
        keypoint_average_precision(other, mapped, resamples=1)["AP"]
        == keypoint_average_precision(other, found_there, resamples=1)["AP"]
    )


def test_too_few_people_give_no_fit() -> None:
    truth, results = overconfident(4, 2 * LEAST_PEOPLE - 2)
    with pytest.raises(DataError, match=f"only {LEAST_PEOPLE - 1} people were found who count in one half"):
        fit_calibration(truth, results, data="set", data_sha256="a" * 64)
    everybody = [found(BODY, 0.9, image_id) for image_id in range(1, 101)]
    with pytest.raises(DataError, match="850 joints found in one half of its pictures 850 are right"):
        fit_calibration(
            read_truth(truth_of([labelled(BODY, n) for n in range(1, 101)], 100)),
            everybody,
            data="s",
            data_sha256="a" * 64,
        )
