"""The shipped model on real pictures: its figures are those that pycocotools measures of its results file."""

from __future__ import annotations

from pathlib import Path

import pytest

from manypose.evaluation.coco_ap import FIGURES
from manypose.evaluation.run import Plan, forget_journal, run
from manypose.evaluation.run_folder import write_run

pytest.importorskip("pycocotools", reason="needs the extra [eval]")
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


@pytest.mark.shared
@pytest.mark.parametrize("limit", [20, pytest.param(None, marks=pytest.mark.nightly)])
def test_all_ten_figures_are_those_of_pycocotools_to_the_last_bit(
    shared_data: Path, tmp_path: Path, limit: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = shared_data / "coco" / "val.json"
    found, truth = run(Plan("default", labels, limit=limit, device="cpu", threads=1), out=tmp_path)
    write_run(tmp_path, found)
    forget_journal(tmp_path)
    reference = COCO(str(labels))
    evaluation = COCOeval(reference, reference.loadRes(str(tmp_path / "results.json")), "keypoints")
    evaluation.params.imgIds = sorted(truth.image_ids)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    capsys.readouterr()  # pycocotools prints
    ours = found.figures["average_precision"]
    assert [ours[name] for name in FIGURES] == evaluation.stats.tolist()
    assert found.figures["people_found"] > len(truth.image_ids)
