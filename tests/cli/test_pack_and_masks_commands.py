"""`manypose data pack` and `manypose data masks`: what they write, say and refuse."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from manypose.cli.data import masks, pack
from manypose.data.packing.program import packed_skeleton, read_packed
from manypose.errors import DataError, OutputError
from manypose.skeleton import load_skeleton

pytest.importorskip("h5py", reason="needs the extra [train]")
# A warning that pycocotools raises with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
COCO = load_skeleton("coco17")


def run(*argv: str | Path) -> int:
    """Run a command as `manypose data` does."""
    parser = ArgumentParser()
    subparsers = parser.add_subparsers()
    pack.add_parser(subparsers)
    masks.add_parser(subparsers)
    arguments = parser.parse_args([str(word) for word in argv])
    return int(arguments.run(arguments))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three pictures with a person each, and one without labels in the first."""
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    rows, images = [], []
    for number in range(1, 4):
        picture = np.full((60, 80, 3), 40 * number, np.uint8)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), picture)
        images.append({"id": number, "file_name": f"{number}.png", "width": 80, "height": 60})
        row = {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "bbox": [10, 5, 30, 50], "area": 900}
        rows.append(row | {"keypoints": [20.5, 30.25, 2] * 17, "num_keypoints": 17})
    nobody = {"keypoints": [0] * 51, "num_keypoints": 0, "bbox": [50, 10, 20, 30], "area": 600}
    nobody["segmentation"] = [[50, 10, 70, 10, 70, 40, 50, 40]]
    rows.append({"id": 9, "image_id": 1, "category_id": 1, "iscrowd": 0} | nobody)
    category = {"id": 1, "name": "person", "keypoints": list(COCO.joints)}
    file = folder / "train.json"
    file.write_text(json.dumps({"images": images, "annotations": rows, "categories": [category]}))
    return file


def test_a_set_is_packed_into_shards(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "train-{00..}.tar"
    assert run("pack", dataset, "-o", place, "--shard-size", "2") == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"2 shards, {tmp_path / 'train-00.tar'} to train-01.tar: 3 pictures, 0.0 MB")
    assert said.err == ""
    assert [picture.name for picture in read_packed(place, COCO)] == ["1.png", "2.png", "3.png"]
    assert packed_skeleton(place) is COCO  # the set's own
    (tmp_path / "train-01.tar").unlink()
    assert run("pack", dataset, "-o", place, "--shard-size", "2", "--resume") == 0
    with pytest.raises(OutputError, match=r"train-00\.tar: the file exists"):
        run("pack", dataset, "-o", place, "--shard-size", "2")


def test_a_set_is_packed_into_hdf5(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new" / "a.h5"
    assert run("pack", dataset, "-o", file, "--longest", "40", "--skeleton", "openpose18") == 0
    assert capsys.readouterr().out == f"{file}: 3 pictures, 0.0 MB\n"
    openpose = load_skeleton("openpose18")
    assert packed_skeleton(file) is openpose
    assert [picture.size for picture in read_packed(file, openpose)] == [(40, 30)] * 3
    with pytest.raises(OutputError, match=r"a\.h5: cannot be made"):
        run("pack", dataset, "-o", file / "b.h5")


def test_broken_pictures_stop_it_or_are_told(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (dataset.parent / "images" / "2.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"2\.png"):
        run("pack", dataset, "-o", tmp_path / "a.tar")
    assert run("pack", dataset, "-o", tmp_path / "a.tar", "--skip") == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{tmp_path / 'a.tar'}: 2 pictures")
    assert said.err.startswith("manypose: left out: ")
    assert "2.png" in said.err


def test_masks_are_written_with_a_sheet(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("masks", dataset, "-o", tmp_path / "masks", "--vis") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{tmp_path / 'masks'}: mask_miss and mask_all of 3 pictures"
    missing = cv2.imread(str(tmp_path / "masks" / "mask_miss" / "1.png"), cv2.IMREAD_UNCHANGED)
    assert (missing[10:40, 50:70] == 0).all()
    assert (missing == 0).sum() == 20 * 30
    assert cv2.imread(str(tmp_path / "masks" / "masks.png")) is not None
    with pytest.raises(OutputError, match="the file exists"):
        run("masks", dataset, "-o", tmp_path / "masks")


def test_masks_by_the_rule_of_a_product(dataset: Path, tmp_path: Path) -> None:
    assert run("masks", dataset, "-o", tmp_path / "masks", "--rule", "daniil") == 0
    missing = cv2.imread(str(tmp_path / "masks" / "mask_miss" / "1.png"), cv2.IMREAD_UNCHANGED)
    assert (missing == 255).all()  # it trains people without labels as background


def test_masks_of_a_set_with_faults(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads(dataset.read_text())
    content["annotations"][1]["bbox"] = [10, 5, 0, 50]
    crowd = {"id": 20, "image_id": 3, "category_id": 1, "iscrowd": 1, "bbox": [0, 0, 9, 9]}
    crowd["segmentation"] = {"size": [7, 7], "counts": [0, 49]}
    content["annotations"].append(crowd)
    dataset.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"annotation 2 .*: bbox .* has no size; mend it .*with --skip$"):
        run("masks", dataset, "-o", tmp_path / "masks")
    assert run("masks", dataset, "-o", tmp_path / "masks", "--vis", "--skip") == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[0].endswith("mask_miss and mask_all of 3 pictures")
    first, second = said.err.splitlines()
    assert "left out: " in first
    assert "annotation 2 of image 2: bbox [10.0, 5.0, 0.0, 50.0] has no size" in first
    assert "annotation 20 of image 3: " in second
    assert "an RLE of size [7, 7], for one of height and width (60, 80)" in second
    missing = cv2.imread(str(tmp_path / "masks" / "mask_miss" / "3.png"), cv2.IMREAD_UNCHANGED)
    assert (missing[:9, :9] == 0).all()  # its box counts in its place


def test_masks_that_were_written_are_found_by_the_readers(dataset: Path, tmp_path: Path) -> None:
    from manypose.data.datasets import read_dataset

    run("masks", dataset, "-o", tmp_path / "masks")
    pictures = read_dataset(dataset, COCO, masks=tmp_path / "masks")
    masks_of_first = pictures[0].masks
    assert masks_of_first is not None
    mask = masks_of_first.read_missing(pictures[0].size)
    assert mask is not None
    assert mask.sum() == 20 * 30
