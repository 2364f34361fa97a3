"""From boxes to people in the picture's pixels, with a stand-in for the network that always knows better.

The colours of a test picture are ramps from left to right and from top to bottom. The stand-in finds out from them
where the places of the picture lie in each crop, and whether it was mirrored, and answers with the targets that the
codec makes of the person in the middle. So all errors are those of the way there and back. Decodings of given maps are
tested in tests/codecs, affines and crops in tests/test_geometry.py.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from manypose import geometry
from manypose.codecs.heatmaps import Decoding, HeatmapCodec
from manypose.codecs.simcc import SimccCodec
from manypose.errors import ManyposeError, ModelError, PeopleError
from manypose.estimators.crops import MOST_AT_ONCE, turn_back
from manypose.estimators.detector import Detector
from manypose.estimators.top_down import TopDown, TopDownOptions, rescore
from manypose.model import Metadata
from manypose.people import People
from manypose.skeleton import load_skeleton

SKELETON = load_skeleton("coco17")
SIZE = (192, 256)
WIDTH, HEIGHT = 240, 200
HEATMAPS: dict[str, Any] = {"kind": "heatmaps", "decoding": "dark"}
UDP: dict[str, Any] = {"kind": "heatmaps", "decoding": "udp-dark", "udp": True}
SIMCC: dict[str, Any] = {"kind": "simcc"}
# A person in parts of his height; left is at the right of the picture, as he looks at us.
BODY = np.array(
    [
        (0.00, 0.08), (0.03, 0.06), (-0.03, 0.055), (0.06, 0.07), (-0.065, 0.075), (0.12, 0.20), (-0.12, 0.21),
        (0.18, 0.35), (-0.17, 0.36), (0.17, 0.48), (-0.19, 0.50), (0.08, 0.51), (-0.07, 0.52), (0.07, 0.73),
        (-0.08, 0.74), (0.10, 0.94), (-0.09, 0.95),
    ],
    np.float64,
)  # fmt: skip
PEOPLE = np.stack([BODY * 150 + (60, 20), BODY * 90 + (170, 70)])
BOXES = np.array([[25.0, 18, 95, 172], [145, 66, 195, 166]], np.float32)
PICTURE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
PICTURE[..., 0] = np.arange(WIDTH)
PICTURE[..., 1] = np.arange(HEIGHT)[:, None]
PICTURE[..., 2] = 255  # tells the picture from what is around it
MIRRORED = np.ascontiguousarray(PICTURE[:, ::-1])
TO_MIRRORED = np.array([[-1.0, 0, WIDTH - 1], [0, 1, 0]])


@dataclass
class StandIn:
    """Looks like a `Model` of a network that finds whom of `PEOPLE` is in the middle of a crop."""

    maps: dict[str, Any]
    path: Path = Path("stand-in.onnx")
    batches: list[int] = field(default_factory=list)
    skeleton: Any = SKELETON

    def __post_init__(self) -> None:
        simcc = self.maps["kind"] == "simcc"
        self.metadata = Metadata(
            name="stand-in",
            task="top-down",
            skeleton="coco17",
            input={"size": SIZE, "fit": "crop", "fill": 0},
            outputs={"x": "simcc_x", "y": "simcc_y"} if simcc else {"h": "heatmaps"},
            maps=self.maps,
        )

    def prepare(self, pictures: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return np.stack([picture.astype(np.float32).transpose(2, 0, 1) for picture in pictures])

    def infer(self, batch: NDArray[np.float32]) -> dict[str, list[NDArray[np.float32]]]:
        self.batches.append(len(batch))
        places = np.stack([self._places(crop) for crop in batch]).astype(np.float32)
        if self.maps["kind"] == "simcc":
            x, y, _ = SimccCodec().encode(places, SIZE)
            return {"simcc_x": [x], "simcc_y": [y]}
        return {"heatmaps": [0.9 * HeatmapCodec(udp=self.maps.get("udp", False)).encode(places, SIZE)[0]]}

    def _places(self, crop: NDArray[np.float32]) -> NDArray[np.float32]:
        """The joints in the crop, as a network gives them: in a mirrored one the left hand is the right one."""
        y, x = np.nonzero(crop[2] > 254)
        columns = np.column_stack([x, y, np.ones(len(x))])
        fitted = np.linalg.lstsq(columns, crop[:2, y, x].T.astype(np.float64), rcond=None)[0]
        to_picture = np.asarray(fitted.T, np.float64)
        middle = geometry.transform_points([SIZE[0] / 2, SIZE[1] / 2], to_picture)
        person = PEOPLE[np.linalg.norm(PEOPLE.mean(axis=1) - middle, axis=1).argmin()]
        joints = geometry.transform_points(person, geometry.invert_affine(to_picture))
        return joints[SKELETON.flip] if np.linalg.det(to_picture[:, :2]) < 0 else joints


def top_down(maps: dict[str, Any] = HEATMAPS, **options: Any) -> TopDown:
    return TopDown(StandIn(maps), TopDownOptions(**options))  # type: ignore[arg-type]


def pixels_off(people: People) -> float:
    """Largest distance of a joint from its true place, in pixels of the crops (of which the first is 0.75 as large)."""
    assert people.visible.all()
    return float(np.abs(people.keypoints - PEOPLE[: len(people)]).max())


@pytest.mark.parametrize(("decoding", "most"), [(None, 0.1), ("dark", 0.1), ("quarter", 1.0), ("argmax", 1.6)])
def test_people_are_found_where_they_are(decoding: Decoding | None, most: float) -> None:
    assert pixels_off(top_down(decoding=decoding).in_boxes(PICTURE, BOXES)) < most


@pytest.mark.parametrize("decoding", get_args(Decoding))
def test_every_decoding_can_be_asked_for_and_is_the_codecs(decoding: Decoding) -> None:
    asked, own = top_down(decoding=decoding), top_down({"kind": "heatmaps", "decoding": decoding})
    assert asked.in_boxes(PICTURE, BOXES) == own.in_boxes(PICTURE, BOXES)
    assert asked.crops.codec == HeatmapCodec(decoding=decoding)


@pytest.mark.parametrize(
    ("maps", "flip", "most"),
    [(HEATMAPS, False, 0.1), (HEATMAPS, True, 0.8), (UDP, False, 0.1), (UDP, True, 0.1), (SIMCC, True, 0.4)],
    ids=["heatmaps", "heatmaps, flip", "udp", "udp, flip", "simcc, flip"],
)
def test_a_mirrored_picture_gives_mirrored_people(maps: dict[str, Any], flip: bool, most: float) -> None:
    """With HRNet's shift by a whole cell, where 3/4 lie between, each is half a pixel of the crop too far right."""
    estimator = top_down(maps, flip=flip)
    people = estimator.in_boxes(PICTURE, BOXES, [0.9, 0.8])
    boxes = BOXES[:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1]) + np.array([WIDTH - 1, 0, WIDTH - 1, 0])
    mirrored = estimator.in_boxes(MIRRORED, boxes, [0.9, 0.8]).transform(TO_MIRRORED)
    np.testing.assert_allclose(mirrored.keypoints[:, SKELETON.flip], people.keypoints, atol=most)
    np.testing.assert_allclose(mirrored.scores[:, SKELETON.flip], people.scores, atol=0.05)
    np.testing.assert_allclose(mirrored.person_scores, people.person_scores, atol=0.02)
    assert pixels_off(people) < most


@pytest.mark.parametrize(("maps", "apart"), [(HEATMAPS, 3.0), (UDP, 0.0), (SIMCC, -0.5)], ids=["hrnet", "udp", "simcc"])
def test_maps_of_mirrored_crops_are_moved_onto_the_others(maps: dict[str, Any], apart: float) -> None:
    """`apart` pixels of the crop lie between them: 4 k is 188 - 4 k of the mirrored one, which has 192 columns."""
    to_crop = top_down(maps).crops.affine(BOXES[0])[0, 0]
    plain, moved, left = (
        top_down(maps, **options).in_boxes(PICTURE, BOXES[:1]).keypoints[..., 0].mean()
        for options in ({}, {"flip": True}, {"flip": True, "flip_shift": False})
    )
    assert (plain - left) * to_crop == pytest.approx(apart / 2, abs=0.3)
    assert (plain - moved) * to_crop == pytest.approx(-0.5 if apart == 3 else 0, abs=0.3)  # by whole cells


@pytest.mark.golden
def test_mirrored_maps_are_turned_back_as_the_reference_does(goldens: Path) -> None:
    stored = np.load(goldens / "topdown" / "pieces" / "flip.npz")
    plain, mirrored = stored["plain"].astype(np.float32), stored["flipped_out"].astype(np.float32)
    back, shifted = turn_back(mirrored, SKELETON.flip), turn_back(mirrored, SKELETON.flip, shift=1)
    np.testing.assert_array_equal(back, stored["flip_back"])
    np.testing.assert_array_equal(shifted, stored["flip_back_shifted"])
    np.testing.assert_array_equal((plain + shifted) * np.float32(0.5), stored["merged"])
    np.testing.assert_array_equal((plain + back) * np.float32(0.5), stored["merged_no_shift"])
    swaps = {tuple(sorted(map(int, pair))) for pair in stored["flip_pairs_coco"]}
    assert {(k, int(other)) for k, other in enumerate(SKELETON.flip) if k < other} == swaps
    mpii = load_skeleton("mpii16").flip
    assert {(k, int(other)) for k, other in enumerate(mpii) if k < other} == {
        tuple(sorted(map(int, pair))) for pair in stored["flip_pairs_mpii"]
    }


@pytest.mark.golden
def test_scores_of_people_are_those_of_the_reference(goldens: Path) -> None:
    stored = np.load(goldens / "topdown" / "pieces" / "rescoring.npz")
    scores = rescore(stored["keypoints"][..., 2], stored["box_score"], threshold=float(stored["in_vis_thre"]))
    np.testing.assert_allclose(scores, stored["score"], rtol=1e-6)
    assert scores[3] == scores[4] == 0  # no joint above the threshold, all exactly at it


@pytest.mark.golden
def test_areas_are_those_of_the_padded_boxes(goldens: Path) -> None:
    stored = np.load(goldens / "topdown" / "pieces" / "affine.npz")
    for (x, y, width, height), scale in zip(stored["boxes_xywh"], stored["192x256/scale"], strict=True):
        box = np.array([x, y, x + width, y + height]) - 0.5
        expected = np.prod(scale.astype(np.float64) * 200)
        assert top_down(HEATMAPS).crops.area(box) == pytest.approx(expected, rel=1e-5)
        assert top_down(UDP).crops.area(box) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("flip", [False, True])
def test_all_people_of_a_picture_run_in_one_batch(flip: bool) -> None:
    estimator = top_down(flip=flip, suppression="none")
    estimator.in_boxes(PICTURE, np.repeat(BOXES, 3, axis=0))
    assert estimator.model.batches == [12 if flip else 6]  # type: ignore[attr-defined]
    many = estimator.in_boxes(PICTURE, np.repeat(BOXES, MOST_AT_ONCE // 2 + 3, axis=0))
    assert max(estimator.model.batches) == MOST_AT_ONCE  # type: ignore[attr-defined]
    assert len(many) == MOST_AT_ONCE + 6
    np.testing.assert_array_equal(many.keypoints[-1], many.keypoints[MOST_AT_ONCE // 2 + 3])


def test_people_stand_in_the_order_of_their_boxes_with_scores_of_box_times_joints() -> None:
    people = top_down().in_boxes(PICTURE, BOXES[::-1], [0.5, 1.0])
    np.testing.assert_array_equal(people.boxes, BOXES[::-1])
    assert np.abs(people.keypoints[::-1] - PEOPLE).max() < 0.1
    np.testing.assert_allclose(people.person_scores, people.scores.mean(axis=1) * [0.5, 1.0], rtol=1e-6)
    alone = top_down(rescore=False).in_boxes(PICTURE, BOXES, [0.5, 1.0])
    np.testing.assert_array_equal(alone.person_scores, np.array([0.5, 1.0], np.float32))
    assert people.image_size == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({}, [1, 2]),  # the better one of the boxes 0 and 1, which show the same person
        ({"suppression": "none"}, [0, 1, 2]),
        ({"suppression": "soft"}, [0, 1, 2]),
        ({"suppression": "soft", "most_people": 2}, [1, 2]),
        ({"similarity": 1.0}, [0, 1, 2]),
        ({"suppression": "none", "most_boxes": 2}, [1, 2]),
        ({"suppression": "none", "box_threshold": 0.65}, [1, 2]),
        ({"box_threshold": 0.75}, [1]),
        ({"threshold": 0.7}, [1]),  # his joints score nearly 0.9
        ({"box_threshold": 0.95}, []),
    ],
)
def test_who_is_left(options: dict[str, Any], rows: list[int]) -> None:
    boxes = np.concatenate([BOXES[:1] + np.float32(0.3), BOXES])
    people = top_down(**options).in_boxes(PICTURE, boxes, [0.6, 0.9, 0.7])
    np.testing.assert_array_equal(people.boxes, boxes[rows])


def test_a_larger_padding_shows_more_of_the_picture() -> None:
    narrow, wide = (top_down(padding=padding).crops.affine(BOXES[0])[0, 0] for padding in (1.0, 1.5))
    assert narrow / wide == pytest.approx(1.5)


def test_skeletons_without_sigmas_are_compared_with_those_of_coco() -> None:
    model = StandIn({"kind": "heatmaps"})
    model.skeleton = load_skeleton("mpii16")
    estimator = TopDown(model)  # type: ignore[arg-type]
    assert model.skeleton.sigmas is None
    with pytest.raises(ModelError, match=r"stand-in\.onnx: an output has shape \(2, 17, 64, 48\), but .* 16 joints"):
        estimator.in_boxes(PICTURE, BOXES)
    twice = People.build(np.zeros((2, 16, 2)), skeleton=model.skeleton, boxes=BOXES, person_scores=[0.5, 0.6])
    assert estimator._without_doubles(twice).tolist() == [1]


# Detectors


@dataclass
class BoxNetwork:
    """Looks like a `Model` of a detector that finds the two people, the second one weakly."""

    path: Path = Path("boxes.onnx")
    skeleton: Any = SKELETON
    metadata: Metadata = field(
        default_factory=lambda: Metadata(
            name="boxes",
            task="detector",
            skeleton="coco17",
            input={"size": (WIDTH, HEIGHT), "fit": "stretch"},
            outputs={"dets": "boxes"},
        )
    )

    def prepare(self, pictures: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return np.stack(pictures).astype(np.float32)

    def infer(self, batch: NDArray[np.float32]) -> dict[str, list[NDArray[np.float32]]]:
        return {"boxes": [np.column_stack([BOXES + 0.5, [0.9, 0.2]]).astype(np.float32)[None]]}


def with_detector(**options: Any) -> TopDown:
    detector = Detector(BoxNetwork())  # type: ignore[arg-type]
    return TopDown(StandIn(HEATMAPS), TopDownOptions(**options), detector=detector)  # type: ignore[arg-type]


def test_a_detector_finds_the_boxes() -> None:
    estimator = with_detector()
    (people,) = estimator.batch([PICTURE])
    assert people == estimator.in_boxes(PICTURE, BOXES[:1], [0.9])
    assert estimator.times.detect > 0


def test_the_threshold_of_boxes_is_that_of_the_detector_too() -> None:
    assert len(with_detector(box_threshold=0.1)(PICTURE)) == 2  # its own is 0.3
    assert len(with_detector(box_threshold=0.95)(PICTURE)) == 0


def test_without_a_detector_the_picture_is_one_person() -> None:
    (box,) = top_down()(PICTURE).boxes
    assert box.tolist() == [-0.5, -0.5, WIDTH - 0.5, HEIGHT - 0.5]


def test_a_detector_must_be_one_and_a_model_must_take_crops() -> None:
    with pytest.raises(ModelError, match=r"stand-in\.onnx: a top-down model, not a detector"):
        TopDown(StandIn(HEATMAPS), detector=top_down())  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"boxes\.onnx: a detector model, which takes no crops"):
        TopDown(BoxNetwork())  # type: ignore[arg-type]


# Wrong use


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": float("nan")}, "threshold is nan, expected a number"),
        ({"decoding": "guess"}, "decoding is 'guess', expected one of None, argmax, quarter, dark"),
        ({"suppression": "harsh"}, "suppression is 'harsh', expected one of none, hard, soft"),
        ({"joint_threshold": float("nan")}, "joint_threshold is nan, expected a finite number"),
        ({"box_threshold": float("inf")}, "box_threshold is inf, expected a finite number"),
        ({"similarity": 0.0}, "similarity is 0.0, expected a number above 0"),
        ({"padding": -1.0}, "padding is -1.0, expected a number above 0"),
        ({"most_people": 0}, "most_people is 0, expected 1 or more"),
        ({"most_boxes": 0}, "most_boxes is 0, expected 1 or more"),
    ],
)
def test_options_that_mean_nothing(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ManyposeError, match=message):
        TopDownOptions(**options)


def test_vectors_have_one_decoding() -> None:
    with pytest.raises(ModelError, match="SimCC vectors, which have one decoding: leave decoding out"):
        top_down(SIMCC, decoding="dark")


@pytest.mark.parametrize(
    ("boxes", "scores", "message"),
    [
        ([1, 2, 3, 4], None, r"boxes have shape \(4,\), expected \(people, 4\)"),
        ([[1, 2, 3, np.nan]], None, r"box 0 is \[1\.0, 2\.0, 3\.0, nan\]"),
        (BOXES, [1.0], r"scores have shape \(1,\), expected \(2,\)"),
        (BOXES, [1.0, np.nan], "score 1 of the boxes is no finite number"),
    ],
)
def test_boxes_that_are_none(boxes: Any, scores: Any, message: str) -> None:
    with pytest.raises(PeopleError, match=message):
        top_down().in_boxes(PICTURE, boxes, scores)


def test_every_thread_has_its_own_times() -> None:
    estimator = top_down()
    thread = threading.Thread(target=estimator.in_boxes, args=(PICTURE, BOXES))
    thread.start()
    thread.join()
    assert (estimator.times.prepare, estimator.times.network, estimator.times.decode) == (0, 0, 0)
    estimator.in_boxes(PICTURE, BOXES)
    assert min(estimator.times.prepare, estimator.times.network, estimator.times.decode) > 0
