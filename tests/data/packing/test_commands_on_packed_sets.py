"""`manypose data check` and `manypose data convert` on packed sets: what was packed is what they see."""

from __future__ import annotations

import tarfile
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_packed_lmdb import as_datum
from tiny_coco import COCO, person, write_set

from manypose.cli.data import check, convert
from manypose.data.check import check_dataset
from manypose.data.coco import read_coco
from manypose.data.datasets import read_dataset
from manypose.data.masks import missing_mask, people_mask
from manypose.data.packing import datum
from manypose.data.packing.program import pack
from manypose.data.pictures import LabelledPicture
from manypose.errors import DataError

lmdb = pytest.importorskip("lmdb", reason="needs the extra [train]")
# A warning that pycocotools raises with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
CROWD = {"size": [120, 160], "counts": [120 * 130, 120 * 20, 120 * 10]}


def run(*words: object) -> int:
    """Run a command as `manypose data` does."""
    parser = ArgumentParser()
    subparsers = parser.add_subparsers()
    for command in (check, convert):
        command.add_parser(subparsers)
    arguments = parser.parse_args([str(word) for word in words])
    return int(arguments.run(arguments))


@pytest.fixture
def pictures(tmp_path: Path) -> list[LabelledPicture]:
    """Two pictures: two people with joints, one without, and a crowd."""
    rows = [
        person(10, 10, 40, 90, absent=("left_ankle",)),
        person(60, 10, 20, 60, absent=COCO.joints),
        person(130, 5, 20, 100, absent=COCO.joints, iscrowd=1, segmentation=CROWD),
        person(30, 15, 60, 100, image_id=2),
    ]
    return read_coco(write_set(tmp_path / "set", rows, pictures=2), COCO)


def write_hdf5(pictures: list[LabelledPicture], folder: Path) -> Path:
    return pack(pictures, folder / "packed.h5", COCO)[0]


def write_shards(pictures: list[LabelledPicture], folder: Path) -> Path:
    pack(pictures, folder / "packed-{0..}.tar", COCO, shard_size=1)
    return folder / "packed-{0..}.tar"


def write_lmdb(pictures: list[LabelledPicture], folder: Path) -> Path:
    place = folder / "lmdb"
    with lmdb.open(str(place), map_size=1 << 26) as environment, environment.begin(write=True) as transaction:
        for index, picture in enumerate(pictures):
            rows = datum.from_record(picture, COCO.joints, index=index)
            array = datum.to_array(rows, picture.read(), missing_mask(picture), people_mask(picture))
            transaction.put(f"{index:07d}".encode(), as_datum(array))
    return place


WRITERS = {"hdf5": write_hdf5, "webdataset": write_shards, "lmdb": write_lmdb}


@pytest.fixture(params=WRITERS)
def packed(request: pytest.FixtureRequest, pictures: list[LabelledPicture], tmp_path: Path) -> tuple[str, Path]:
    """Kind and place of a packed set."""
    write: Callable[[list[LabelledPicture], Path], Path] = WRITERS[request.param]
    return request.param, write(pictures, tmp_path)


def test_check_counts_what_was_packed(
    packed: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, place = packed
    assert run("check", place, "--out", tmp_path / "out") == 0
    said = capsys.readouterr()
    assert f"written: {tmp_path / 'out' / 'sheet.png'}" in said.out
    report = check_dataset([place]).report
    assert report.by_kind().keys() <= {"people-unlabelled"}
    counts = report.counts[str(place)]
    assert (counts["pictures"], counts["people_with_joints"], counts["joints"]) == (2, 2, 33)
    # The original layout has masks of people without labels, and nobody's box.
    assert (counts["boxes_only"], counts["crowds"]) == ((0, 0) if kind == "lmdb" else (1, 1))


def test_convert_gives_back_what_was_packed(
    packed: tuple[str, Path],
    pictures: list[LabelledPicture],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind, place = packed
    assert run("convert", place, "-o", tmp_path / "out", "--part", "val") == 0
    masks = "manypose: the format cannot hold the masks of 2 pictures; they are left out\n"
    assert capsys.readouterr().err == (masks if kind == "lmdb" else "")
    again = read_dataset(tmp_path / "out" / "val.json")
    assert len(again) == 2
    for found, expected in zip(again, pictures, strict=True):
        np.testing.assert_array_equal(found.read(), expected.read())
        np.testing.assert_allclose(found.keypoints, expected.keypoints, atol=2e-3)
        np.testing.assert_array_equal(found.visible, expected.visible)
        sides = [1, 3] if kind == "lmdb" else [0, 1, 2, 3]  # the original layout has heights alone
        np.testing.assert_allclose(found.boxes[:, sides], expected.boxes[:, sides], atol=2e-3)
        assert len(found.ignore) == (0 if kind == "lmdb" else len(expected.ignore))
    if kind != "lmdb":
        assert again[0].ignore_segments[1] == CROWD
        assert [picture.name for picture in again] == [
            picture.name if kind == "webdataset" else Path(picture.name).with_suffix(".png").name
            for picture in pictures
        ]


@pytest.mark.golden
@pytest.mark.parametrize(
    ("name", "people"), [("lmdb_1sample", 1), ("train_dataset_1sample.h5", 1), ("train_dataset_new.h5", 1)]
)
def test_files_of_the_products(goldens: Path, tmp_path: Path, name: str, people: int) -> None:
    place = goldens / "formats" / name
    expected = read_dataset(place, COCO)
    assert check_dataset([place]).report.counts[str(place)]["pictures"] == len(expected)
    assert run("convert", place, "-o", tmp_path / "out") == 0
    again = read_dataset(tmp_path / "out" / "train.json")
    assert sum(map(len, again)) == sum(map(len, expected)) >= people
    np.testing.assert_array_equal(again[0].read(), expected[0].read())


def test_a_damaged_picture_in_a_shard_is_named(
    pictures: list[LabelledPicture], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shards(pictures, tmp_path)
    shard = tmp_path / "packed-1.tar"
    with tarfile.open(shard) as opened:
        info = next(member for member in opened if member.name.endswith(".png"))
    content = bytearray(shard.read_bytes())
    content[info.offset_data : info.offset_data + info.size] = bytes(info.size)
    shard.write_bytes(content)
    assert run("check", tmp_path / "packed-{0..}.tar") == 1
    said = capsys.readouterr()
    assert "error: picture-damaged (1): a picture cannot be decoded" in said.out
    assert "2.png" in said.out


def test_a_packed_set_is_converted_before_it_is_repaired(
    pictures: list[LabelledPicture], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match="only COCO-style files can be repaired; convert the data set first"):
        run("check", write_hdf5(pictures, tmp_path), "--fix", tmp_path / "fixed")
    with pytest.raises(DataError, match=r"none\.h5"):
        run("check", tmp_path / "none.h5")
