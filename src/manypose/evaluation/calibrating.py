"""Fits curves that make probabilities of a model's scores on a labelled set, and stores them in a model file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.errors import DataError, ModelError, OutputError, require
from manypose.estimators.bottom_up import BottomUp
from manypose.estimators.scores import apply_curve
from manypose.estimators.single_stage import SingleStage
from manypose.estimators.top_down import TopDown, TopDownOptions
from manypose.evaluation.calibration import (
    SIMILAR,
    Judged,
    fit_curve,
    incomplete_pictures,
    judge_joints,
    judge_people,
    reliability,
)
from manypose.evaluation.pairs import read_scene
from manypose.evaluation.truth import Truth
from manypose.files import write_bytes
from manypose.formats import coco
from manypose.metadata import Calibration, Metadata
from manypose.model import METADATA_KEY, Model
from manypose.people import People
from manypose.skeleton import Skeleton

LEAST_PEOPLE = 20  # who count, in each half of the set
LEAST_OF_EACH = 5  # right ones and wrong ones among them
_PARTS = ("joints", "people")


@dataclass(frozen=True)
class Fit:
    """A calibration fitted on all pictures, and what it is worth.

    `before` and `after` are the reliability (see `calibration.reliability`) of the scores of `joints` and `people` in
    the pictures of one half, raw and by curves that were fitted on the other half alone. `held_out` and `fitted` are
    the numbers of pictures of the two.
    """

    calibration: Calibration
    before: Mapping[str, Mapping[str, Any]]
    after: Mapping[str, Mapping[str, Any]]
    fitted: int
    held_out: int


def find_raw(model: Model, truth: Truth, *, progress: Callable[[int, int], None] | None = None) -> list[dict[str, Any]]:
    """Rows of COCO results of a model in all pictures of a truth, with the scores as they are before any calibration.

    A top-down model gets the labelled people's boxes. `progress` is called with the number of pictures done and of all.
    Raises `ModelError` for a model of another task, `DataError` for a truth that nobody can be measured against and for
    pictures that cannot be had.
    """
    read_scene(truth, ())  # what is wrong with the truth is said now, and not after the pictures
    finder, rows = _finder(model, truth), []
    for done, image_id in enumerate(truth.image_ids, start=1):
        people = finder(truth.read_picture(image_id), image_id).to(truth.skeleton)
        for row in coco.to_results(people, 0, skeleton=truth.skeleton):
            rows.append(row | {"image_id": image_id, "category_id": truth.category_ids[0]})
        if progress:
            progress(done, len(truth.image_ids))
    return rows


def _finder(model: Model, truth: Truth) -> Callable[[NDArray[np.uint8], Any], People]:
    """Finds the people of a picture, given with its id, without the model's calibration."""
    raw = dataclasses.replace(model, metadata=model.metadata.model_copy(update={"calibration": None}))
    task = model.metadata.task
    if task in ("bottom-up", "single-stage"):
        estimator = BottomUp(raw) if task == "bottom-up" else SingleStage(raw)
        return lambda picture, _: estimator(picture)
    if task != "top-down":
        raise ModelError(f"{model.path}: a {task} model; only models that find the joints of people can be calibrated")
    crops = TopDown(raw, TopDownOptions(suppression="none"))
    boxes: dict[Any, list[list[float]]] = {}
    for row in truth.annotations:
        x, y, width, height = row["bbox"]
        if row["num_keypoints"] and not row["iscrowd"] and width > 0 and height > 0:
            boxes.setdefault(row["image_id"], []).append([x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5])

    def find(picture: NDArray[np.uint8], image_id: Any) -> People:
        return crops.in_boxes(picture, np.array(boxes.get(image_id, ()), np.float32).reshape(-1, 4))

    return find


def fit_calibration(
    truth: Truth,
    results: Sequence[Mapping[str, Any]],
    *,
    data: str,
    data_sha256: str,
    parts: Sequence[str] = _PARTS,
    distance: float | None = None,
    in_boxes: bool = False,
    skeleton: Skeleton | str | None = None,
    seed: int = 0,
) -> Fit:
    """Curves for the scores of some `parts` ("joints", "people"), fitted on a truth and raw results in its pictures.

    The pictures are parted in two halves at random: a fit on one is measured on the other, and the curves that are
    given back are fitted on all. When something is right is said in `calibration`; with `distance` a joint is right
    within this share of the square root of the person's area. `in_boxes` says that only labelled people were looked
    for: then pictures count in which not everybody is labelled. `data` and `data_sha256` are the set's name and hash.

    Raises `DataError` when too few people were found and labelled for a fit, or their scores are not within 0..1.
    """
    scene = read_scene(truth, results, skeleton=skeleton)
    incomplete, pictures = incomplete_pictures(truth, scene) & (not in_boxes), len(scene.image_ids)
    people = judge_people(scene, incomplete)
    judged = {"joints": judge_joints(scene, incomplete, distance=distance), "people": people}
    held_out = np.zeros(pictures, bool)
    held_out[np.random.Generator(np.random.PCG64(seed)).permutation(pictures)[: pictures // 2]] = True
    for half in (held_out, ~held_out):
        _check_enough(truth, {part: judged[part].only(half) for part in parts}, people.only(half))
    curves = {part: fit_curve(judged[part]) for part in parts}
    before, after = {}, {}
    for part in parts:
        tested, curve = judged[part].only(held_out), fit_curve(judged[part].only(~held_out))
        mapped = apply_curve(tested.scores.astype(np.float32), curve).astype(np.float64)
        before[part] = reliability(tested, pictures)
        after[part] = reliability(dataclasses.replace(tested, scores=mapped), pictures)
    figures = {f"{part}_ECE_{when}": round(float(value[part]["ECE"]), 6)
               for when, value in (("before", before), ("after", after)) for part in parts}  # fmt: skip
    calibration = Calibration(
        joints=curves.get("joints"),
        people=curves.get("people"),
        joint_similarity=SIMILAR if distance is None else None,
        joint_distance=distance,
        person_similarity=SIMILAR,
        data=data,
        data_sha256=data_sha256,
        pictures=pictures,
        people_labelled=int((~scene.labelled.ignored).sum()),
        figures=figures,
    )
    return Fit(calibration, before, after, pictures - int(held_out.sum()), int(held_out.sum()))


def _check_enough(truth: Truth, judged: Mapping[str, Judged], people: Judged) -> None:
    """Raise `DataError` where a half of the set is too small, or knows only right or only wrong ones."""
    if len(people) < LEAST_PEOPLE:
        raise DataError(
            f"{truth.name}: only {len(people)} people were found who count in one half of its {len(truth.image_ids)} "
            f"pictures, and a fit needs {LEAST_PEOPLE} in each; take a larger set, with all people labelled"
        )
    for part, scores in judged.items():
        right = int(scores.right.sum())
        if min(right, len(scores) - right) < LEAST_OF_EACH:
            raise DataError(
                f"{truth.name}: of {len(scores)} {part} found in one half of its pictures {right} are right; a fit "
                f"needs {LEAST_OF_EACH} right ones and {LEAST_OF_EACH} wrong ones; take a larger set"
            )


def write_calibrated(model: Model, calibration: Calibration, file: Path, *, overwrite: bool = False) -> Metadata:
    """Write a model's network with its metadata and a calibration as a model file, .onnx; gives these metadata.

    Weights beside the model's file come into the new one. Raises `OutputError` when the file is there already or no
    .onnx, `MissingExtraError` without onnx.
    """
    check_output(file, overwrite=overwrite)
    onnx = require("onnx", extra="eval")
    metadata = model.metadata.model_copy(update={"calibration": calibration})
    network = onnx.load(model.path)
    entries = {entry.key: entry.value for entry in network.metadata_props}
    del network.metadata_props[:]
    onnx.helper.set_model_props(network, entries | {METADATA_KEY: metadata.model_dump_json()})
    write_bytes(file, network.SerializeToString(), overwrite=overwrite)
    return metadata


def check_output(file: Path, *, overwrite: bool = False) -> None:
    """Raise `OutputError` for a file that is there already, or no .onnx."""
    if file.suffix != ".onnx":
        raise OutputError(f"{file}: a model file ends in .onnx")
    if file.exists() and not overwrite:
        raise OutputError(f"{file}: the file exists; choose another name, or allow overwriting (--overwrite)")
