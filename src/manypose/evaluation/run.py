"""Runs an estimator over a labelled set and measures what it found."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manypose import __version__, images
from manypose.errors import DataError, OutputError, require
from manypose.estimators.inputs import Estimator
from manypose.evaluation.coco_ap import keypoint_average_precision
from manypose.evaluation.pck import pck
from manypose.evaluation.truth import read_truth
from manypose.files import picture_place, read_member, sha256_of, write_bytes
from manypose.formats import coco
from manypose.people import People
from manypose.skeleton import load_skeleton, skeleton_names, skeleton_of_joints

TORSO = {"left_shoulder", "right_shoulder", "left_hip", "right_hip"}


@dataclass(frozen=True)
class Evaluation:
    """What was measured (figures by name) and how; `results` are the rows of a COCO results file."""

    figures: Mapping[str, Any]
    provenance: Mapping[str, Any]
    results: list[dict[str, Any]]

    def write(self, folder: Path, *, overwrite: bool = False) -> None:
        """Write `results.json` (COCO results) and `metrics.json` (figures and provenance) into a folder.

        Raises `OutputError` when one of them is there already.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made: {error.strerror}") from None
        metrics = {"figures": self.figures, "provenance": self.provenance}
        contents = {"metrics.json": json.dumps(metrics, indent=1), "results.json": json.dumps(self.results)}
        there = [folder / name for name in contents if (folder / name).exists()]
        if there and not overwrite:  # looked at first, so that no new file stands beside an old one
            raise OutputError(f"{there[0]}: the file exists; choose another folder, or allow overwriting")
        for name, text in contents.items():
            write_bytes(folder / name, (text + "\n").encode(), overwrite=overwrite)


def evaluate(
    estimator: Estimator, file: Path, *, limit: int | None = None, progress: Callable[[int, int], None] | None = None
) -> Evaluation:
    """Measure an estimator on a COCO-style keypoint file, or on its first `limit` pictures.

    `average_precision` is measured where the file's joints are those of a skeleton of ours that has OKS sigmas, `pck`
    (at 0.2 of the torso) where it has shoulders and hips. `progress` is called with the number of pictures done and
    of all.

    Raises `DataError` for a file that cannot be measured against, `ImageError` for a picture that cannot be opened.
    """
    truth = read_truth(file)
    content = json.loads(file.read_text(encoding="utf-8"))
    rows = content["images"][:limit]
    ids = [row["id"] for row in rows]
    nameless = [row["id"] for row in rows if not isinstance(row.get("file_name"), str)]
    if nameless:
        raise DataError(f"{file}: image {nameless[0]} has no file_name")
    judge = next((s for s in map(load_skeleton, skeleton_names()) if s.joints == truth.joints and s.sigmas), None)
    if judge:
        require("pycocotools", extra="eval")  # now, and not after all pictures have been run
    people: dict[Any, People] = {}
    for done, row in enumerate(rows):
        data = read_member(picture_place(file, row), row["file_name"])
        people[row["id"]] = estimator(images.open_image(data, name=row["file_name"]))
        if progress:
            progress(done + 1, len(rows))
    results = _to_results(people, truth.joints, truth.category_ids[0])
    figures: dict[str, Any] = {"people_found": sum(map(len, people.values()))}
    if judge:
        figures["average_precision"] = keypoint_average_precision(content, results, skeleton=judge, image_ids=ids)
    if set(truth.joints) >= TORSO:
        figures["pck"] = pck(content, people, image_ids=ids)
    return Evaluation(figures, _provenance(estimator, file, len(ids)), results)


def _to_results(people: Mapping[Any, People], joints: tuple[str, ...], category: Any) -> list[dict[str, Any]]:
    """COCO result rows with the joints of the truth, by name."""
    shipped = (s for s in map(load_skeleton, skeleton_names()) if s.joints == joints)
    target = next(shipped, None) or skeleton_of_joints(joints)
    return [
        row
        for image_id, found in people.items()
        for row in coco.to_results(found.to(target), image_id, category_id=category, skeleton=target)
    ]


def _provenance(estimator: Estimator, file: Path, pictures: int) -> dict[str, Any]:
    options = dataclasses.asdict(estimator.options)
    if "long_side" in options:
        size = options["long_side"] or (None if options["scale"] else estimator.model.metadata.input.long_side)
        options |= {"long_side": size, "scales": list(options["scales"])}
    return {
        "model": estimator.model.metadata.name,
        "model_sha256": estimator.model.sha256,
        "device": estimator.model.device,
        "data": file.name,
        "data_sha256": sha256_of(file),
        "pictures": pictures,
        **options,
        "manypose": __version__,
    }
