"""Breakdowns: known answers by joint, size, visibility and crowding."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from manypose.errors import DataError, FormatError
from manypose.evaluation.breakdown import breakdown, pair_people
from manypose.evaluation.coco_ap import keypoint_average_precision
from manypose.evaluation.truth import Truth, read_truth
from manypose.skeleton import load_skeleton

COCO = load_skeleton("coco17")
POSE = np.random.default_rng(0).uniform(0, 100, (17, 2))
AREA = 10_000.0


def person(image_id: int, *, shift: float = 0, flags: Any = 2, area: float = AREA, **fields: Any) -> dict[str, Any]:
    joints = np.column_stack([POSE + np.array([shift, 0]), np.broadcast_to(flags, 17)])
    row = {"image_id": image_id, "category_id": 1, "keypoints": joints.ravel().tolist(), "area": area}
    return row | {"bbox": [shift, 0.0, 100.0, 100.0], **fields}


def truth_of(*people: dict[str, Any], pictures: int = 2) -> Truth:
    images, category = [{"id": n} for n in range(pictures)], {"id": 1, "keypoints": list(COCO.joints)}
    return read_truth({"images": images, "annotations": list(people), "categories": [category]})


def found(
    image_id: int, *, shift: float = 0, moved: dict[str, float] | None = None, absent: tuple[str, ...] = ()
) -> Any:
    """A person found; `moved` are units of OKS of a person of 10,000 square pixels."""
    assert COCO.sigmas is not None
    joints = np.column_stack([POSE + np.array([shift, 0]), np.ones(17)])
    for name, units in (moved or {}).items():
        k = COCO.index(name)
        joints[k, 0] += units * 2 * COCO.sigmas[k] * math.sqrt(AREA)
    joints[[COCO.index(name) for name in absent]] = 0
    return {"image_id": image_id, "category_id": 1, "keypoints": joints.ravel().tolist(), "score": 0.5}


def test_people_in_their_places_are_all_found() -> None:
    ours = breakdown(truth_of(person(0), person(1)), [found(0), found(1)])
    assert list(ours) == ["joint", "size", "visibility", "crowding"]
    assert list(ours["joint"]) == list(COCO.joints)
    everybody = {"people": 2, "joints": 34, "found": 1, "similarity": 1, "localised": 1, "placed": 1, "error": 0}
    ends = {f"{name}_{end}": everybody[name] for name in list(everybody)[2:] for end in ("low", "high")}
    assert ours["size"] == {"large": everybody | ends, "large (96^2 to 192^2)": everybody | ends}
    assert ours["crowding"] == {"alone (0)": everybody | ends}
    assert json.loads(json.dumps(ours, allow_nan=False)) == ours


def test_errors_of_joints_are_in_units_of_oks() -> None:
    results = [found(0, moved={"nose": 0.99, "left_knee": 3}, absent=("right_hip",))]
    by_joint = breakdown(truth_of(person(0)), results)["joint"]
    assert [by_joint["nose"][key] for key in ("localised", "placed", "error")] == pytest.approx([1, 1, 0.99])
    assert [by_joint["left_knee"][key] for key in ("localised", "placed", "error")] == pytest.approx([0, 1, 3])
    assert by_joint["right_hip"]["placed"] == by_joint["right_hip"]["localised"] == 0
    assert "error" not in by_joint["right_hip"]


def test_nobody_found_is_zero_without_an_error() -> None:
    ours = breakdown(truth_of(person(0)), [])
    assert (ours["size"]["large"]["found"], ours["size"]["large"]["similarity"]) == (0, 0)
    assert ours["joint"]["nose"]["placed"] == 0
    assert "error" not in ours["joint"]["nose"]


def test_hidden_joints_are_told_from_visible_ones_and_unlabelled_ones_do_not_count() -> None:
    flags = np.array([0] * 5 + [1] * 4 + [2] * 8)
    results = [found(0, moved={"left_shoulder": 2})]
    ours = breakdown(truth_of(person(0, flags=flags)), results)
    assert (ours["visibility"]["hidden"]["joints"], ours["visibility"]["visible"]["joints"]) == (4, 8)
    assert ours["visibility"]["hidden"]["localised"] == 0.75
    assert ours["visibility"]["visible"]["localised"] == 1
    assert "nose" not in ours["joint"]


@pytest.mark.parametrize(
    ("area", "coarse", "fine"),
    [
        (255, "small", "tiny (under 16^2)"),
        (256, "small", "small (16^2 to 32^2)"),
        (1024, "medium", "medium (32^2 to 64^2)"),
        (9215, "medium", "medium (64^2 to 96^2)"),
        (9216, "large", "large (96^2 to 192^2)"),
        (36864, "large", "huge (192^2 and more)"),
    ],
)
def test_sizes_are_by_area(area: float, coarse: str, fine: str) -> None:
    assert set(breakdown(truth_of(person(0, area=area)), [])["size"]) == {coarse, fine}


@pytest.mark.parametrize(
    ("shift", "group"),
    [(100, "alone (0)"), (95, "touching (to 0.1)"), (60, "overlapping (0.1 to 0.5)"), (50, "crowded (0.5 and more)")],
)
@pytest.mark.parametrize("fields", [{}, {"iscrowd": 1}, {"num_keypoints": 0}])
def test_crowding_is_how_much_of_a_box_somebody_else_covers(shift: float, group: str, fields: dict[str, Any]) -> None:
    ours = breakdown(truth_of(person(0), person(0, shift=shift, **fields)), [found(0)])["crowding"]
    assert {name: each["people"] for name, each in ours.items()} == {group: 1 if fields else 2}


def test_each_person_found_stands_for_one_labelled_person_the_most_similar() -> None:
    truth = truth_of(person(0), person(0, shift=12))
    pairs = pair_people(truth, [found(0, shift=12), found(1)])
    assert pairs.similarity[1] == 1
    assert pairs.similarity[0] == 0
    both = pair_people(truth, [found(0, shift=12), found(0, shift=1)])
    assert both.similarity[1] == 1
    assert 0.9 < both.similarity[0] < 1


def test_intervals_are_over_pictures() -> None:
    """Found in half of the pictures: resamples of 40 hold between 18 % and 82 % of them, nearly always."""
    people = [person(n) for n in range(40)]
    ours = breakdown(truth_of(*people, pictures=40), [found(n) for n in range(20)])["size"]["large"]
    assert ours["found"] == 0.5
    assert 0.3 < ours["found_low"] < 0.4
    assert 0.6 < ours["found_high"] < 0.7
    assert ours == breakdown(truth_of(*people, pictures=40), [found(n) for n in range(20)])["size"]["large"]


def test_order_does_not_matter() -> None:
    people = [person(n % 3, shift=40 * n) for n in range(6)]
    results = [found(n % 3, shift=41 * n) | {"score": n / 10} for n in range(6)]
    one = breakdown(truth_of(*people, pictures=3), results)
    other = breakdown(truth_of(*people[::-1], pictures=3), results[::-1])
    assert one["joint"]["nose"] == pytest.approx(other["joint"]["nose"])
    assert one["crowding"].keys() == other["crowding"].keys()


def test_the_ap_of_a_joint_is_that_of_people_who_have_only_this_one() -> None:
    people = [person(n % 5, shift=300 * (n // 5), flags=[2] * 16 + [n % 2]) for n in range(10)]
    results = [found(n % 5, shift=300 * (n // 5), moved={"nose": 0.2 * n}) | {"score": 1 - n / 10} for n in range(10)]
    ours = breakdown(truth_of(*people, pictures=5), results, resamples=2)["joint"]
    for name in ("nose", "left_eye", "right_ankle"):
        k = COCO.index(name)
        rows = [row | {"keypoints": row["keypoints"][3 * k : 3 * k + 3]} for row in (*people, *results)]
        content = {
            "images": [{"id": n} for n in range(5)],
            "annotations": [row | {"num_keypoints": int(row["keypoints"][2] > 0)} for row in rows[:10]],
            "categories": [{"id": 1, "keypoints": [name]}],
        }
        alone = keypoint_average_precision(content, rows[10:], skeleton="coco17", resamples=2)
        assert ours[name]["AP"] == alone["AP"]
    assert 0.4 < ours["nose"]["AP"] < 0.8
    assert ours["left_eye"]["AP"] == pytest.approx(1)


def test_faults_are_named() -> None:
    with pytest.raises(DataError, match="no person with labelled joints in the 2 pictures"):
        breakdown(truth_of(person(0, iscrowd=1)), [])
    with pytest.raises(DataError, match="annotation 5 has no area"):
        breakdown(truth_of(person(0, area=None, id=5)), [])
    with pytest.raises(FormatError, match=r"row 0: .* no picture with image_id 9"):
        breakdown(truth_of(person(0)), [found(9)])
