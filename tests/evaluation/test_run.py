"""Measuring an estimator on a labelled set: what is found is compared, and both are written."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manypose.errors import DataError, OutputError
from manypose.estimators.bottom_up import BottomUpOptions
from manypose.estimators.inputs import StageTimes
from manypose.evaluation.run import evaluate
from manypose.evaluation.run_folder import read_run, write_run
from manypose.people import People

pytest.importorskip("pycocotools", reason="needs the extra [eval]")
sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from tiny_coco import COCO, person, write_set


@dataclasses.dataclass
class Oracle:
    """An estimator that answers with the people of a list, one picture after the other."""

    answers: list[People]
    options: BottomUpOptions = dataclasses.field(default_factory=BottomUpOptions)
    model: Any = None
    times: StageTimes = dataclasses.field(default_factory=StageTimes)

    def __post_init__(self) -> None:
        metadata = type("Metadata", (), {"name": "oracle", "input": type("Input", (), {"long_side": 256})})
        self.model = type(
            "Model", (), {"metadata": metadata, "sha256": "0" * 64, "device": "cpu", "path": Path("o.onnx")}
        )

    def __call__(self, image: np.ndarray[Any, Any]) -> People:
        assert image.shape == (120, 160, 3)
        return self.answers.pop(0)


def truth_people(rows: list[dict[str, Any]]) -> People:
    keypoints = np.array([row["keypoints"] for row in rows], np.float32).reshape(-1, 17, 3)
    return People.build(keypoints[..., :2], skeleton=COCO)


@pytest.fixture
def labelled(tmp_path: Path) -> tuple[Path, list[People]]:
    rows = [
        person(5, 5, 60, 100, image_id=1, id=1),
        person(80, 5, 60, 100, image_id=1, id=2),
        person(40, 10, 70, 90, image_id=2, id=3),
    ]
    file = write_set(tmp_path / "set", rows, pictures=2)
    return file, [truth_people(rows[:2]), truth_people(rows[2:])]


def test_the_truth_itself_is_perfect(labelled: tuple[Path, list[People]]) -> None:
    file, answers = labelled
    steps: list[tuple[int, int]] = []
    result = evaluate(Oracle(answers), file, progress=lambda *step: steps.append(step))  # type: ignore[arg-type]
    assert result.figures["average_precision"]["AP"] == pytest.approx(1.0)
    assert result.figures["pck"]["PCK"] == 1.0
    assert result.figures["people_found"] == len(result.results) == 3
    assert steps == [(1, 2), (2, 2)]
    assert result.manifest["model"]["name"] == "oracle"
    assert result.manifest["inputs"]["pictures"]["count"] == 2


def test_nobody_found_is_a_result(labelled: tuple[Path, list[People]]) -> None:
    nobody = [People.empty(COCO), People.empty(COCO)]
    result = evaluate(Oracle(nobody), labelled[0])  # type: ignore[arg-type]
    assert result.figures["average_precision"]["AP"] == 0
    assert result.figures["pck"]["PCK"] == 0
    assert result.results == []


def test_a_limit_measures_the_first_pictures_only(labelled: tuple[Path, list[People]]) -> None:
    file, answers = labelled
    result = evaluate(Oracle(answers[:1]), file, limit=1)  # type: ignore[arg-type]
    assert result.figures["average_precision"]["AP"] == pytest.approx(1.0)
    assert result.manifest["inputs"]["pictures"]["count"] == 1


def test_results_and_figures_are_written_and_never_over_others(
    labelled: tuple[Path, list[People]], tmp_path: Path
) -> None:
    result = evaluate(Oracle(labelled[1]), labelled[0])  # type: ignore[arg-type]
    out = tmp_path / "new" / "out"
    write_run(out, result)
    assert json.loads((out / "results.json").read_text()) == result.results
    again = read_run(out)
    assert again.figures["people_found"] == 3
    assert len(again.manifest["inputs"]["data"]["sha256"]) == 64
    (out / "metrics.json").unlink()
    with pytest.raises(OutputError, match=r"results\.json: the file exists"):
        write_run(out, result)
    assert not (out / "metrics.json").exists()
    write_run(out, result, overwrite=True)
    assert (out / "metrics.json").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"bad\.json: cannot be read: No such file"),
        ("{", r"bad\.json: not a JSON file"),
        ("{}", r"bad\.json: no list 'images'"),
        (
            '{"images": [{"id": 4}], "annotations": [], "categories": [{"id": 1, "keypoints": ["nose"]}]}',
            r"bad\.json: image 4 has no file_name",
        ),
    ],
)
def test_files_that_cannot_be_measured_against(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "bad.json").write_text(text)
    with pytest.raises(DataError, match=message):
        evaluate(Oracle([]), tmp_path / "bad.json")  # type: ignore[arg-type]
