"""Curves of precision: equal to pycocotools', and the score that parts best."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pictured_runs import found_rows, write_pictures

from manypose.evaluation.coco_ap import keypoint_average_precision
from manypose.evaluation.curves import precision_curves
from manypose.evaluation.results_file import tabulate


def test_curves_are_those_of_pycocotools_and_their_mean_is_ap(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="needs the extra [eval]").COCO
    evaluation = pytest.importorskip("pycocotools.cocoeval").COCOeval
    truth = write_pictures(tmp_path)
    rows = found_rows(truth, noise=5, skip=2)
    curves = precision_curves(truth, tabulate(rows, truth))
    with contextlib.redirect_stdout(io.StringIO()):
        labelled = coco()
        labelled.dataset = truth.content
        labelled.createIndex()
        reference = evaluation(labelled, labelled.loadRes(rows), "keypoints")
        reference.evaluate()
        reference.accumulate()
    assert 0 < curves.precision.mean() < 0.9  # neither all nor nothing was found
    assert np.array_equal(curves.precision, reference.eval["precision"][:, :, 0, 0, 0])
    assert np.array_equal(curves.highest, reference.eval["recall"][:, 0, 0, 0])
    assert curves.precision.mean() == pytest.approx(keypoint_average_precision(truth, rows, resamples=2)["AP"])


def test_the_best_score_keeps_the_right_people_and_leaves_out_ghosts(tmp_path: Path) -> None:
    truth = write_pictures(tmp_path)
    rows = found_rows(truth)
    for n, row in enumerate(rows):
        row["score"] = 0.6 + n / 100
    ghosts = [{**row, "score": 0.3, "keypoints": [1.0, 1.0, 0.5] * 17} for row in rows[::2]]
    assert precision_curves(truth, tabulate([*ghosts, *rows], truth)).best_score == 0.6


def test_without_anybody_found_precision_is_0_and_there_is_no_best_score(tmp_path: Path) -> None:
    truth = write_pictures(tmp_path)
    curves = precision_curves(truth, tabulate([], truth))
    assert not curves.precision.any()
    assert not curves.highest.any()
    assert curves.best_score is None
