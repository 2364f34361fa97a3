"""Curves of a model file: what they may be, and that estimators give the scores that they make."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from manypose.estimators.bottom_up import BottomUp, BottomUpOptions
from manypose.estimators.scores import apply_curve, calibrate, raw_threshold
from manypose.metadata import Calibration, Metadata, ScoreCurve
from manypose.model import load_model
from manypose.people import People
from manypose.skeleton import load_skeleton

COCO = load_skeleton("coco17")
CURVE = {"raw": (0, 0.5, 1), "right": (0, 0.2, 0.9)}
FITTED: dict[str, Any] = {
    "joints": CURVE,
    "people": {"raw": (0, 1), "right": (0.1, 0.6)},
    "joint_similarity": 0.5,
    "data": "train.json",
    "data_sha256": "0" * 64,
    "pictures": 100,
    "people_labelled": 200,
}
PLAIN: dict[str, Any] = {
    "name": "tiny",
    "task": "bottom-up",
    "skeleton": "openpose18",
    "outputs": {"h": "heatmaps", "f": "fields"},
}


def metadata(**changes: Any) -> Metadata:
    return Metadata(**PLAIN, calibration=Calibration(**FITTED | changes))


def people() -> People:
    keypoints = np.full((2, 17, 2), 5.0)
    keypoints[0, 0] = np.nan
    return People.build(keypoints, np.full((2, 17), 0.5), skeleton=COCO, person_scores=[0.4, 0.8])


def test_metadata_with_a_calibration_come_back_from_json() -> None:
    made = metadata()
    assert Metadata.model_validate_json(made.model_dump_json()) == made
    assert made.schema_version == 1


def test_metadata_without_one_are_as_they_were() -> None:
    assert Metadata(**PLAIN).calibration is None
    same = people()
    assert calibrate(same, Metadata(**PLAIN)) is same


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joints": None, "people": None}, "neither joints nor people have a curve"),
        ({"joint_similarity": None}, "one of joint_similarity and joint_distance"),
        ({"joint_distance": 0.2}, "one of joint_similarity and joint_distance"),
        ({"joints": {"raw": (0, 0.5), "right": (0, 0.2, 0.9)}}, "raw has 2 knots, but right 3"),
        ({"joints": {"raw": (0, 0.5, 0.5), "right": (0, 0.2, 0.9)}}, "raw must rise from knot to knot"),
        ({"people": {"raw": (0, 1), "right": (0.5, 0.5)}}, "right must rise from knot to knot"),
        ({"people": {"raw": (0, 1), "right": (0.5, 1.5)}}, "less than or equal to 1"),
        ({"people": {"raw": (0,), "right": (0,)}}, "at least 2 items"),
        ({"people": {"raw": [n / 70 for n in range(65)], "right": (0, 1)}}, "at most 64 items"),
        ({"data_sha256": "0"}, "data_sha256"),
        ({"temperature": 2}, "temperature"),
    ],
)
def test_calibrations_that_mean_nothing_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        metadata(**changes)


def test_scores_follow_the_curves_and_places_stay() -> None:
    before, after = people(), calibrate(people(), metadata())
    assert after.scores[0, 0] == 0  # it was not found
    np.testing.assert_allclose(after.scores[1], 0.2)
    np.testing.assert_allclose(after.person_scores, [0.3, 0.5])
    assert after.scores.dtype == after.person_scores.dtype == np.float32
    assert dataclasses.replace(after, scores=before.scores, person_scores=before.person_scores) == before


@pytest.mark.parametrize(("absent", "kept"), [("joints", "scores"), ("people", "person_scores")])
def test_scores_without_a_curve_stay(absent: str, kept: str) -> None:
    after = calibrate(people(), metadata(**{absent: None}))
    np.testing.assert_array_equal(getattr(after, kept), getattr(people(), kept))


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=20, unique=True))
def test_the_order_of_scores_stays(values: list[int]) -> None:
    scores = np.array(values, np.float32) / 10_000
    assert np.argsort(apply_curve(scores, ScoreCurve(**CURVE))).tolist() == np.argsort(scores).tolist()


@given(st.floats(0, 1))
def test_a_users_threshold_is_about_the_scores_that_he_sees(threshold: float) -> None:
    scores = np.linspace(0, 1, 101, dtype=np.float32)
    raw = raw_threshold(threshold, metadata())
    assert raw is not None
    seen = apply_curve(scores, ScoreCurve(**FITTED["people"]))
    clear = np.abs(seen - threshold) > 1e-6
    assert ((scores >= raw) == (seen >= threshold))[clear].all()


def test_a_models_own_threshold_is_about_raw_scores() -> None:
    assert raw_threshold(None, metadata()) is None
    assert raw_threshold(0.3, Metadata(**PLAIN)) == 0.3
    assert raw_threshold(0.3, metadata(people=None)) == 0.3


def test_a_bottom_up_model_gives_calibrated_scores(photos: Path) -> None:
    picture = sorted(photos.glob("*.jpg"))[0]
    model = load_model("ladder", device="cpu", threads=1)
    own = dataclasses.replace(model, metadata=model.metadata.model_copy(update={"calibration": Calibration(**FITTED)}))
    raw, made = BottomUp(model)(picture), BottomUp(own)(picture)
    assert len(raw) > 0
    assert made == calibrate(raw, own.metadata)
    assert made != raw
    middle = float(np.median(made.person_scores))
    above = BottomUp(own, BottomUpOptions(threshold=middle))(picture)
    assert above == made[made.person_scores >= middle]
