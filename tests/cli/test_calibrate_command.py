"""`manypose calibrate`: a model file whose scores are probabilities, and what it refuses."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the extra [eval]")
pytest.importorskip("scipy", reason="needs the extra [eval]")
sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))
from scored_scenes import BODY, found, labelled, shifted, truth_of  # noqa: E402

from manypose.cli import calibrate  # noqa: E402
from manypose.errors import DataError, ManyposeError, ModelError, OutputError  # noqa: E402
from manypose.estimators.bottom_up import BottomUp  # noqa: E402
from manypose.evaluation import calibrating  # noqa: E402
from manypose.evaluation.calibrating import find_raw  # noqa: E402
from manypose.evaluation.truth import read_truth  # noqa: E402
from manypose.files import sha256_of  # noqa: E402
from manypose.metadata import Calibration  # noqa: E402
from manypose.model import find_model, load_model  # noqa: E402

PICTURES = 120


def run(*arguments: object) -> int:
    """The command as its own parser has it."""
    parser = argparse.ArgumentParser()
    calibrate.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["calibrate", *map(str, arguments)])
    code: int = parsed.run(parsed)
    return code


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    file = tmp_path / "labels.json"
    file.write_text(json.dumps(truth_of([labelled(BODY, n) for n in range(1, PICTURES + 1)], PICTURES)))
    return file


@pytest.fixture
def overconfident(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the network had found everybody with a score that is right for every other only, in no time."""
    rng = np.random.default_rng(0)
    rows = []
    for n in range(1, PICTURES + 1):
        score = float(rng.uniform(0.3, 1))
        places = BODY if rng.random() < score**3 else shifted(BODY, 0, 900)
        rows.append(found(places, score, n, np.full(17, score)))
    monkeypatch.setattr(calibrating, "find_raw", lambda *_, **__: rows)


def read_calibration(file: Path) -> Calibration:
    calibration = load_model(file, device="cpu", threads=1).metadata.calibration
    assert calibration is not None
    return calibration


@pytest.mark.usefixtures("overconfident")
def test_the_new_file_has_curves_and_is_otherwise_the_same(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new.onnx"
    assert run("ladder", "--data", labels, "-o", out, "--device", "cpu", "--threads", 1) == 0
    printed = capsys.readouterr().out
    assert f"fitted on {PICTURES // 2} pictures, measured on {PICTURES // 2} others" in printed
    assert "ECE of" in printed
    assert str(out) in printed
    calibration = read_calibration(out)
    assert (calibration.data, calibration.data_sha256) == ("labels.json", sha256_of(labels))
    assert (calibration.pictures, calibration.people_labelled) == (PICTURES, PICTURES)
    assert calibration.figures["people_ECE_after"] < calibration.figures["people_ECE_before"]
    before, after = onnx.load(find_model("ladder")), onnx.load(out)
    assert after.graph == before.graph
    old = load_model("ladder", device="cpu", threads=1).metadata
    new = load_model(out, device="cpu", threads=1).metadata
    assert new.model_copy(update={"calibration": None}) == old


@pytest.mark.usefixtures("overconfident")
def test_a_model_that_is_calibrated_already_is_fitted_anew(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    assert run("ladder", "--data", labels, "-o", first) == 0
    assert "calibrated on" not in capsys.readouterr().out
    assert run(first, "--data", labels, "-o", second, "--distance", 0.1) == 0
    assert "was calibrated on labels.json; fitted anew on the raw scores" in capsys.readouterr().out
    assert read_calibration(second).joint_distance == 0.1
    assert read_calibration(second).people == read_calibration(first).people


def test_raw_scores_are_those_before_a_calibration(tmp_path: Path, photos: Path) -> None:
    picture = sorted(photos.glob("*.jpg"))[0]
    shutil.copy(picture, tmp_path / "1.png")
    (tmp_path / "set.json").write_text(json.dumps(truth_of([labelled(BODY)])))
    truth = read_truth(tmp_path / "set.json")
    curve: dict[str, Any] = {"raw": (0, 1), "right": (0, 0.5)}
    calibration = Calibration(
        joints=curve, people=curve, joint_similarity=0.5, data="s", data_sha256="0" * 64, pictures=1, people_labelled=1
    )  # type: ignore[arg-type]
    model = load_model("ladder", device="cpu", threads=1)
    calibrating.write_calibrated(model, calibration, tmp_path / "new.onnx")
    steps: list[tuple[int, int]] = []
    rows = find_raw(load_model(tmp_path / "new.onnx", device="cpu"), truth, progress=lambda *step: steps.append(step))
    people = BottomUp(model)(picture)
    assert [row["score"] for row in rows] == pytest.approx(people.person_scores.tolist(), abs=1e-6)
    assert {row["image_id"] for row in rows} == {1}
    assert steps == [(1, 1)]
    made = BottomUp(load_model(tmp_path / "new.onnx", device="cpu"))(picture)
    np.testing.assert_allclose(made.person_scores, people.person_scores / 2, atol=1e-6)
    np.testing.assert_array_equal(made.keypoints, people.keypoints)


@pytest.mark.usefixtures("overconfident")
@pytest.mark.parametrize(
    ("out", "options", "error", "message"),
    [
        ("there.onnx", (), OutputError, r"there\.onnx: the file exists.*--overwrite"),
        ("new.pt", (), OutputError, r"new\.pt: a model file ends in \.onnx"),
        ("new.onnx", ("--limit", 20), DataError, "only 10 people were found who count in one half of its 20 pictures"),
        ("new.onnx", ("--distance", 11), DataError, "--distance 11 is more than 10 times"),
        ("none/new.onnx", (), OutputError, "the folder .*none does not exist"),
    ],
)
def test_what_cannot_be_done_is_refused(
    labels: Path, tmp_path: Path, out: str, options: tuple[Any, ...], error: type[ManyposeError], message: str
) -> None:
    (tmp_path / "there.onnx").write_bytes(b"mine")
    with pytest.raises(error, match=message):
        run("ladder", "--data", labels, "-o", tmp_path / out, *options)
    assert (tmp_path / "there.onnx").read_bytes() == b"mine"
    assert not (tmp_path / "new.onnx").exists()


@pytest.mark.usefixtures("overconfident")
def test_a_file_is_replaced_where_that_is_asked_for(labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "new.onnx"
    out.write_bytes(b"old")
    assert run("ladder", "--data", labels, "-o", out, "--overwrite") == 0
    assert read_calibration(out).pictures == PICTURES


def test_what_finds_no_joints_cannot_be_calibrated(tmp_path: Path) -> None:
    model = load_model("ladder", device="cpu", threads=1)
    detector = model.metadata.model_copy(update={"task": "detector"})
    import dataclasses

    with pytest.raises(ModelError, match="a detector model; only models that find the joints of people"):
        find_raw(dataclasses.replace(model, metadata=detector), read_truth(truth_of([labelled(BODY)])))
