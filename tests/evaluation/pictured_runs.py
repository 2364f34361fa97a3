"""Small runs with pictures for the tests of reports and comparisons: a set of drawn people, and what was found."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from manypose.evaluation.coco_ap import keypoint_average_precision
from manypose.evaluation.panels import found_people
from manypose.evaluation.pck import pck
from manypose.evaluation.results_file import tabulate
from manypose.evaluation.run_folder import Run, json_ready, write_run
from manypose.evaluation.truth import Truth, read_truth
from manypose.manifest import fingerprint

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from tiny_coco import person, write_set

Rows = list[dict[str, Any]]


def write_pictures(folder: Path, *, pictures: int = 6, **more: Any) -> Truth:
    """Two people in each of 160 x 120 pixels."""
    people = []
    for image_id in range(1, pictures + 1):
        people += [person(5, 5, 60, 100, image_id=image_id), person(85, 10, 60, 100, image_id=image_id)]
    return read_truth(write_set(folder, people, pictures=pictures, **more))


def found_rows(truth: Truth, *, noise: float = 0.0, seed: int = 0, skip: int | None = None) -> Rows:
    """Everybody as he is labelled, moved by `noise` pixels; nobody in the picture `skip`."""
    rng = np.random.default_rng(seed)
    rows = []
    for annotation in truth.annotations:
        if annotation["image_id"] != skip:
            keypoints = truth.keypoints(annotation)
            keypoints[:, :2] += rng.normal(0, noise, (len(keypoints), 2)) if noise else 0
            keypoints[:, 2] = 0.9
            rows.append(
                {
                    "image_id": annotation["image_id"],
                    "category_id": annotation["category_id"],
                    "keypoints": keypoints.ravel().tolist(),
                    "score": float(rng.uniform(0.5, 1)),
                }
            )
    return rows


def make_run(truth: Truth, rows: Rows, *, figures: dict[str, Any] | None = None, **options: Any) -> Run:
    """A run of these rows, measured, with the manifest of `manypose eval`."""
    assert truth.file is not None
    manifest = {
        "manifest": 1,
        "command": "eval",
        "options": {"model": "small", "data": str(truth.file), **options},
        "model": {"name": "small", "path": "small.onnx", "sha256": "0" * 64, "device": "cpu"},
        "inputs": {"data": {"path": str(truth.file), "sha256": fingerprint(truth.file)}},
        "versions": {"manypose": "0"},
    }
    if figures is None:
        people = found_people(truth, tabulate(rows, truth))
        figures = {
            "people_found": len(rows),
            "average_precision": keypoint_average_precision(truth, rows, resamples=20),
            "pck": pck(truth, people, resamples=20),
        }
    return Run(json_ready(figures), manifest, rows)


def write_two_runs(folder: Path) -> tuple[Truth, Path, Path]:
    """A set, a good run on it, and one that is worse and finds nobody in picture 3."""
    truth = write_pictures(folder / "set")
    write_run(folder / "good", make_run(truth, found_rows(truth, noise=0.5)))
    write_run(folder / "bad", make_run(truth, found_rows(truth, noise=6, seed=1, skip=3)))
    return truth, folder / "good", folder / "bad"
