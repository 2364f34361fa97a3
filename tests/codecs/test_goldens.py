"""The decoder against what ten decoders of other products make of the same maps: never less, never more people."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scenes import CODEC, OPENPOSE18, answers

from manypose.people import People

DECODE = Path(__file__).parents[1] / "goldens" / "decode"
QUALITY = json.loads((DECODE / "quality.json").read_text(encoding="utf-8"))
CASES = sorted(QUALITY)
CLEAN = [case for case in CASES if "noise" not in case and "hard" not in case]

pytestmark = pytest.mark.golden


def decode(case: str) -> People:
    maps = np.load(DECODE / f"{case}.npz")
    return CODEC.decode(maps["heatmaps"].astype(np.float32), maps["pafs"].astype(np.float32), image_size=(656, 368))


def true_keypoints(case: str) -> np.ndarray:
    truth = json.loads((DECODE / f"{case}.json").read_text(encoding="utf-8"))
    people = np.array(truth["people"], np.float32).reshape(-1, len(OPENPOSE18), 3)
    return np.where(people[..., 2:] > 0, people[..., :2], np.nan)


def best_reference(case: str) -> tuple[int, int]:
    """People found and joints within 8 px of the best reference.

    Where people are cut the references reach 36 joints by reporting arms and legs as people; 33 are the three people
    that can be told.
    """
    references = [value for value in QUALITY[case].values() if isinstance(value, dict)]
    people = max(reference["people_found"] for reference in references)
    joints = max(reference["joints_within_8px"] for reference in references)
    return people, 33 if case.startswith("cmu_4_partial") else joints


@pytest.mark.parametrize("case", CASES)
def test_finds_what_the_best_reference_finds_and_no_ghosts(case: str) -> None:
    truth = true_keypoints(case)
    people = decode(case)
    found, joints, _ = answers(people.keypoints, truth)
    best_found, best_joints = best_reference(case)
    assert found >= best_found
    assert joints >= best_joints
    assert len(people) <= len(truth)


@pytest.mark.parametrize("case", CLEAN)
def test_joints_of_clean_scenes_are_a_tenth_of_a_pixel_off_at_most(case: str) -> None:
    _, _, error = answers(decode(case).keypoints, true_keypoints(case))
    assert error < 0.1


def test_people_who_hold_hands_both_keep_the_wrist() -> None:
    _, joints, _ = answers(decode("cmu_2_shared_wrist").keypoints, true_keypoints("cmu_2_shared_wrist"))
    assert joints == 36


def test_every_case_of_the_goldens_is_in_the_table() -> None:
    assert sorted(path.stem for path in DECODE.glob("cmu_*.npz")) == CASES
