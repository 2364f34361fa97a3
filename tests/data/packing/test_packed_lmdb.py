"""LMDB files of the original, opened without writing anything beside them."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest
from packing_case import COCO, make_set, read_missing, read_pixels

from manypose.data.masks import missing_mask, people_mask
from manypose.data.packing import datum
from manypose.data.packing.lmdb_file import parse_datum, read_lmdb
from manypose.data.pictures import LabelledPicture
from manypose.errors import DataError

lmdb = pytest.importorskip("lmdb", reason="needs the extra [train]")
# A warning that pycocotools raises with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


def varint(number: int) -> bytes:
    groups = []
    while True:
        groups.append(number & 0x7F | (0x80 if number > 0x7F else 0))
        number >>= 7
        if not number:
            return bytes(groups)


def as_datum(array: np.ndarray) -> bytes:
    sizes = b"".join(bytes([8 * field]) + varint(size) for field, size in zip((1, 2, 3), array.shape, strict=True))
    return sizes + b"\x22" + varint(array.size) + array.tobytes() + b"\x28\x00"


def write_samples(place: Path, count: int = 3) -> list[LabelledPicture]:
    pictures = make_set(place.parent / "pictures", count)
    with lmdb.open(str(place), map_size=1 << 26) as environment, environment.begin(write=True) as transaction:
        for index, picture in enumerate(pictures):
            rows = datum.from_record(picture, COCO.joints, index=index)
            array = datum.to_array(rows, picture.read(), missing_mask(picture), people_mask(picture))
            transaction.put(f"{index:07d}".encode(), as_datum(array))
    return pictures


@pytest.mark.golden
def test_the_sample_of_the_product_is_read_exactly(goldens: Path) -> None:
    expected = np.load(goldens / "formats" / "train_dataset_expected.npz")
    folder = goldens / "formats" / "lmdb_1sample"
    (picture,) = read_lmdb(folder, COCO)
    joints = expected["joints"]
    there = joints[..., 2] < 2
    np.testing.assert_array_equal(picture.keypoints[there], joints[there][:, :2])
    assert np.isnan(picture.keypoints[~there]).all()
    np.testing.assert_array_equal(picture.read(), expected["img"][..., ::-1])
    np.testing.assert_array_equal(read_missing(picture), expected["mask_miss"] == 0)
    assert picture.masks is not None
    np.testing.assert_array_equal(picture.masks.read_people(picture.size), expected["mask_all"] == 255)
    assert [file.name for file in folder.iterdir()] == ["data.mdb"]  # no lock file


def test_many_samples_are_read_in_the_order_of_their_keys(tmp_path: Path) -> None:
    pictures = write_samples(tmp_path / "set", 6)
    for place in (tmp_path / "set", tmp_path / "set" / "data.mdb"):
        found = read_lmdb(place, COCO)
        assert [picture.name for picture in found] == [f"{index:07d}" for index in range(6)]
        for own, expected in zip(found, pictures, strict=True):
            np.testing.assert_array_equal(own.read(), expected.read())
            np.testing.assert_array_equal(read_missing(own), missing_mask(expected))


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes_read_side_by_side(tmp_path: Path, method: str) -> None:
    pictures = write_samples(tmp_path / "set")
    found = read_lmdb(tmp_path / "set", COCO)
    found[0].read()
    with multiprocessing.get_context(method).Pool(2) as pool:
        pixels = pool.map(read_pixels, found * 3, chunksize=1)
    for own, expected in zip(pixels, pictures * 3, strict=True):
        np.testing.assert_array_equal(own, expected.read())


def test_a_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    """Whoever touches the missing end is killed by the system; it must be the child."""
    write_samples(tmp_path / "set")
    content = (tmp_path / "set" / "data.mdb").read_bytes()
    (tmp_path / "cut").mkdir()
    for length in (0, 4096, len(content) // 2, len(content) - 4096):
        (tmp_path / "cut" / "data.mdb").write_bytes(content[:length])
        with pytest.raises(DataError, match=r"cut/data\.mdb: (not a file of LMDB, or )?damaged"):
            read_lmdb(tmp_path / "cut", COCO)


def test_what_holds_no_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        read_lmdb(tmp_path / "none", COCO)
    with lmdb.open(str(tmp_path / "empty")):
        pass
    with pytest.raises(DataError, match=r"empty/data\.mdb: holds no samples"):
        read_lmdb(tmp_path / "empty", COCO)
    with lmdb.open(str(tmp_path / "other")) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"0000000", b"\x08\x06something")
    with pytest.raises(DataError, match=r"other/data\.mdb: 0000000: not a Caffe Datum"):
        read_lmdb(tmp_path / "other", COCO)


@pytest.mark.parametrize("length", [0, 1, 5, 9, 20, 46091])
def test_a_datum_that_was_cut_short_is_refused(goldens: Path, length: int) -> None:
    content = (goldens / "formats" / "caffe_datum_0000000.bin").read_bytes()
    assert parse_datum(memoryview(content)) == ((6, 80, 96), 10)
    with pytest.raises(DataError, match="not a Caffe Datum"):
        parse_datum(memoryview(content)[:length])


def test_a_copy_on_a_read_only_disk_needs_no_lock(tmp_path: Path, goldens: Path) -> None:
    place = tmp_path / "set"
    shutil.copytree(goldens / "formats" / "lmdb_1sample", place)
    place.chmod(0o555)
    try:
        assert len(read_lmdb(place, COCO)) == 1
    finally:
        place.chmod(0o755)
