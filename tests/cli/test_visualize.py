"""`manypose visualize`: results drawn on their pictures, beside the labels or without them."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))
from pictured_runs import found_rows, write_pictures

from manypose.cli import visualize
from manypose.errors import DataError, FormatError, OutputError, SkeletonError


def run(*arguments: object) -> int:
    parser = visualize.add_parser(ArgumentParser().add_subparsers())
    return visualize.run(parser.parse_intermixed_args([str(argument) for argument in arguments]))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Results, the pictures in a zip file, and the labels."""
    truth = write_pictures(tmp_path / "set", pictures=3)
    results = tmp_path / "results.json"
    results.write_text(json.dumps(found_rows(truth, skip=2)))
    return results, tmp_path / "set" / "images.zip", tmp_path / "set" / "set.json"


def test_labels_stand_on_the_left(
    files: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, pictures, truth = files
    out = tmp_path / "new" / "drawn"
    assert run(results, "--images", pictures, "--truth", truth, "--out", out) == 0
    assert "3 pictures -> " in capsys.readouterr().out
    assert sorted(file.name for file in out.iterdir()) == ["1.jpg", "2.jpg", "3.jpg"]
    drawn = cv2.imread(str(out / "2.jpg"))
    assert drawn.shape == (120, 2 * 160 + 6, 3)
    saturation = np.ptp(drawn.astype(int), axis=2)
    assert (saturation[:, :160] > 60).sum() > 500  # two people in colour
    assert (saturation[:, 170:] > 60).sum() == 0  # nobody was found


def test_without_labels_pictures_are_known_by_their_numbers(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    assert run(files[0], "--images", files[1], "--out", tmp_path / "drawn") == 0
    assert sorted(file.name for file in (tmp_path / "drawn").iterdir()) == ["1.jpg", "3.jpg"]  # 2 has no results
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in (1, 3):
        cv2.imwrite(str(folder / f"COCO_val2014_{number:012d}.png"), np.zeros((60, 60, 3), np.uint8))
    assert run(files[0], "--images", folder, "--out", tmp_path / "more", "--limit", 1) == 0
    assert [file.name for file in (tmp_path / "more").iterdir()] == ["COCO_val2014_000000000001.jpg"]


def test_people_under_the_threshold_are_left_out(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    for name, threshold in (("all", 0.4), ("none", 1.5)):
        run(files[0], "--images", files[1], "--out", tmp_path / name, "--threshold", threshold, "--scores")
    everybody, nobody = (cv2.imread(str(tmp_path / name / "1.jpg")) for name in ("all", "none"))
    assert np.ptp(nobody.astype(int), axis=2).max() < 30  # a grey picture
    assert np.ptp(everybody.astype(int), axis=2).max() > 60


def test_a_sheet(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    assert run(files[0], "--images", files[1], "--truth", files[2], "--sheet", sheet, "--limit", 2) == 0
    assert cv2.imread(str(sheet)).shape[1] == 1920
    with pytest.raises(OutputError, match="the file exists"):
        run(files[0], "--images", files[1], "--sheet", sheet)
    assert run(files[0], "--images", files[1], "--sheet", sheet, "--overwrite") == 0


def test_results_of_nobody(files: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files[0].write_text("[]")
    assert run(files[0], "--images", files[1], "--sheet", tmp_path / "sheet.png") == 0
    assert "holds nobody" in capsys.readouterr().out
    assert not (tmp_path / "sheet.png").exists()


def test_what_does_not_fit_is_told(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    results, pictures, truth = files
    sheet = ("--sheet", tmp_path / "sheet.png")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"no picture whose name ends with its number is image 1 .*\(--truth\)"):
        run(results, "--images", empty, *sheet)
    for name in ("1.jpg", "a1.png"):
        (empty / name).touch()
    with pytest.raises(DataError, match=r"both 1\.jpg and a1\.png may be image 1"):
        run(results, "--images", empty, *sheet)
    with pytest.raises(DataError, match=r"does not hold 1\.png, the picture of image 1"):
        run(results, "--images", empty, "--truth", truth, *sheet)
    with pytest.raises(DataError, match="is neither a folder nor a zip file"):
        run(results, "--images", truth, *sheet)
    with pytest.raises(DataError, match=r"missing: cannot be read: No such file"):
        run(results, "--images", tmp_path / "missing", *sheet)
    with pytest.raises(FormatError, match=r"holds 51 numbers, expected 42"):
        run(results, "--images", pictures, "--skeleton", "lsp14", *sheet)
    with pytest.raises(SkeletonError, match="nobody"):
        run(results, "--images", pictures, "--skeleton", "nobody", *sheet)
    rows = json.loads(results.read_text())
    results.write_text(json.dumps([{**rows[0], "image_id": 77}, *rows]))
    with pytest.raises(FormatError, match=r"results\.json, row 0: .* has no picture with image_id 77"):
        run(results, "--images", pictures, "--truth", truth, *sheet)


def test_a_name_that_leads_out_of_the_folder_is_refused(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    results, pictures, truth = files
    content = json.loads(truth.read_text())
    content["images"][0]["file_name"] = "../secret.png"
    truth.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"image 1: '\.\./secret\.png' is not the name of a picture"):
        run(results, "--images", pictures, "--truth", truth, "--out", tmp_path / "out")


def test_wrong_use(files: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(files[0], "--images", files[1])
    assert "say where to: --sheet FILE for a contact sheet" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(files[0], "--images", files[1], "--truth", files[2], "--skeleton", "coco17", "--out", tmp_path)
    assert "the joints are those of --truth" in capsys.readouterr().err
