"""Tar files of samples, for manypose and for the package webdataset."""

from __future__ import annotations

import dataclasses
import io
import json
import multiprocessing
import shutil
import subprocess
import sys
import tarfile
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from packing_case import COCO, assert_same, make_record, make_set, read_missing, read_pixels

from manypose.data.datasets import dataset_skeleton, read_dataset
from manypose.data.packing.program import pack, packed_kind, packed_skeleton, read_packed
from manypose.data.packing.shards import read_shards, shard_path, write_shards
from manypose.data.pictures import LabelledPicture
from manypose.errors import DataError, OutputError
from manypose.skeleton import load_skeleton

# A warning that pycocotools raises with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


def test_what_we_write_comes_back_whole(tmp_path: Path) -> None:
    pictures = make_set(tmp_path / "pictures", 6)
    (file,) = write_shards(pictures, tmp_path / "set.tar", COCO)
    found = read_shards(file, COCO)
    assert len(found) == 6
    for own, expected in zip(found, pictures, strict=True):
        assert_same(own, expected)
        content = (expected.archive / expected.name).read_bytes()
        assert own.fetch(own.archive, own.name) == content  # the picture's own file, not a copy made anew
    assert pictures[2].masks is not None
    np.testing.assert_array_equal(read_missing(found[2]), pictures[2].masks.read_missing(pictures[2].size))


def test_a_set_is_cut_into_shards(tmp_path: Path) -> None:
    pictures = make_set(tmp_path / "pictures", 5)
    files = write_shards(pictures, tmp_path / "train-{000..}.tar", COCO, shard_size=2)
    assert [file.name for file in files] == ["train-000.tar", "train-001.tar", "train-002.tar"]
    for place in (tmp_path / "train-{000..}.tar", tmp_path / "train-{000..002}.tar", tmp_path):
        assert [picture.id for picture in read_shards(place, COCO)] == [picture.id for picture in pictures]
    files[1].unlink()
    with pytest.raises(DataError, match=r"train-001\.tar: there is no such file; it belongs to train-\{000\.\.002\}"):
        read_shards(tmp_path / "train-{000..002}.tar", COCO)


LIST = """
import json, sys, webdataset
for sample in webdataset.WebDataset(sys.argv[1:], shardshuffle=False):
    print(json.dumps({key: value.hex() if isinstance(value, bytes) else str(value) for key, value in sample.items()}))
"""


def test_the_package_webdataset_reads_them(tmp_path: Path) -> None:
    if find_spec("webdataset") is None:
        pytest.skip("needs the package webdataset")
    pictures = make_set(tmp_path / "pictures", 3)
    write_shards(pictures, tmp_path / "set-{00..}.tar", COCO, shard_size=2)
    shards = [str(tmp_path / f"set-0{number}.tar") for number in range(2)]
    # In a process of its own, since it leaves files open, which is an error here.
    answer = subprocess.run([sys.executable, "-W", "ignore", "-c", LIST, *shards], capture_output=True, check=True)
    samples = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [sample["__key__"] for sample in samples] == ["000000000", "000000001", "000000002"]
    assert json.loads(bytes.fromhex(samples[1]["json"]))["name"] == "1.jpg"
    pixels = cv2.imdecode(np.frombuffer(bytes.fromhex(samples[0]["png"]), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(pixels[..., ::-1], pictures[0].read())
    assert set(samples[2]) >= {"webp", "json", "missing.png", "people.png"}


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes_read_side_by_side(tmp_path: Path, method: str) -> None:
    pictures = make_set(tmp_path / "pictures", 3)
    found = read_shards(write_shards(pictures, tmp_path / "set.tar", COCO)[0], COCO)
    found[0].read()
    with multiprocessing.get_context(method).Pool(2) as pool:
        pixels = pool.map(read_pixels, found * 3, chunksize=1)
    for own, expected in zip(pixels, pictures * 3, strict=True):
        np.testing.assert_array_equal(own, expected.read())


def test_shrunk_pictures_lose_nothing_more_unless_a_quality_is_given(tmp_path: Path) -> None:
    picture = make_record(tmp_path / "pictures", 1, size=(200, 160), suffix=".jpg")
    labels, pixels = picture.shrunk(100)
    (found,) = read_shards(write_shards([picture], tmp_path / "a.tar", COCO, longest=100)[0], COCO)
    np.testing.assert_array_equal(found.read(), pixels)
    np.testing.assert_array_equal(found.keypoints, labels.keypoints)
    (small,) = read_shards(write_shards([picture], tmp_path / "b.tar", COCO, longest=100, quality=50)[0], COCO)
    difference = np.abs(small.read().astype(int) - pixels)
    assert 0 < difference.max() < 60
    assert (tmp_path / "b.tar").stat().st_size < (tmp_path / "a.tar").stat().st_size


def test_a_turned_photo_is_stored_upright(tmp_path: Path) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    picture = make_record(tmp_path, 1, size=(80, 96), suffix=".jpg")
    turned = cv2.imencode(".jpg", cv2.resize(cv2.imread(str(tmp_path / "1.jpg")), (96, 80)))[1].tobytes()
    app1 = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (tmp_path / "1.jpg").write_bytes(turned[:2] + app1 + turned[2:])
    assert picture.read().shape == (96, 80, 3)
    (found,) = read_shards(write_shards([picture], tmp_path / "set.tar", COCO)[0], COCO)
    np.testing.assert_array_equal(found.read(), picture.read())
    content = found.fetch(found.archive, found.name)
    assert isinstance(content, bytes)
    assert content.startswith(b"\x89PNG")


def test_the_same_set_gives_the_same_bytes(tmp_path: Path) -> None:
    pictures = make_set(tmp_path / "pictures")
    a, b = (write_shards(pictures, tmp_path / name, COCO)[0].read_bytes() for name in ("a.tar", "b.tar"))
    assert a == b


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    pictures = make_set(tmp_path / "pictures", 6)
    place = tmp_path / "set-{0..}.tar"
    broken = tmp_path / "pictures" / pictures[3].name
    kept = broken.read_bytes()
    broken.write_bytes(b"no picture")
    with pytest.raises(DataError, match=pictures[3].name):
        write_shards(pictures, place, COCO, shard_size=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "set-0.tar"]
    broken.write_bytes(kept)
    with pytest.raises(OutputError, match=r"set-0\.tar: the file exists"):
        write_shards(pictures, place, COCO, shard_size=2)
    (tmp_path / "pictures" / pictures[0].name).unlink()  # it is packed already and not needed again
    assert len(write_shards(pictures, place, COCO, shard_size=2, resume=True)) == 3
    assert len(read_shards(place, COCO)) == 6
    with pytest.raises(OutputError, match=r"set-0\.tar: holds other pictures than those to be packed"):
        write_shards(pictures[1:], place, COCO, shard_size=2, resume=True)


def test_broken_pictures_are_left_out_on_request(tmp_path: Path) -> None:
    pictures = make_set(tmp_path / "pictures")
    (tmp_path / "pictures" / "1.jpg").write_bytes(b"no picture")
    faults: list[DataError] = []
    write_shards(pictures, tmp_path / "set.tar", COCO, on_fault=faults.append)
    assert ["1.jpg" in str(fault) for fault in faults] == [True]
    assert [picture.name for picture in read_shards(tmp_path / "set.tar", COCO)] == ["0.png", "2.webp"]


def test_a_tar_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    pictures = make_set(tmp_path / "pictures")
    content = write_shards(pictures, tmp_path / "set.tar", COCO)[0].read_bytes()
    with tarfile.open(tmp_path / "set.tar") as archive:
        last = archive.getmembers()[-1]
    ends = last.offset_data + -(-last.size // 512) * 512
    for length in (0, 100, 700, len(content) // 2, last.offset_data + 10, ends):
        (tmp_path / "cut.tar").write_bytes(content[:length])
        with pytest.raises(DataError, match=r"cut\.tar: (has been cut short|not a tar file, or damaged|000000)"):
            read_shards(tmp_path / "cut.tar", COCO)


def add(file: Path, **members: bytes) -> None:
    with tarfile.open(file, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name.replace("__", "."))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_what_is_no_sample_is_named(tmp_path: Path) -> None:
    add(tmp_path / "a.tar", b7__jpg=b"x")
    with pytest.raises(DataError, match=r"a\.tar: b7: a sample needs a picture and a \.json; it has jpg"):
        read_shards(tmp_path / "a.tar", COCO)
    add(tmp_path / "b.tar", b7__jpg=b"x", b7__json=b"{}")
    with pytest.raises(DataError, match=r"b\.tar: b7: not labels of manypose: KeyError 'format'"):
        read_shards(tmp_path / "b.tar", COCO)
    (tmp_path / "c.tar").write_bytes(b"plain text" * 100)
    with pytest.raises(DataError, match=r"c\.tar: not a tar file, or damaged"):
        read_shards(tmp_path / "c.tar", COCO)
    with pytest.raises(DataError, match=r"none\.tar: there are no shards"):
        read_shards(tmp_path / "none.tar", COCO)


def test_a_picture_of_another_size_than_its_labels_is_refused(tmp_path: Path) -> None:
    picture = make_record(tmp_path, 1)
    write_shards([picture], tmp_path / "set.tar", COCO)
    (found,) = read_shards(tmp_path / "set.tar", COCO)
    with pytest.raises(DataError, match=r"1\.png: 96 x 80 pixels, but its labels are for 9 x 9"):
        dataclasses.replace(found, size=(9, 9)).read()


def test_the_number_of_a_shard_replaces_the_braces() -> None:
    assert shard_path(Path("a/x-{0000..}.tar"), 12) == Path("a/x-0012.tar")
    assert shard_path(Path("a/x-{0..9}.tar"), 12) == Path("a/x-12.tar")


def packed(pictures: list[LabelledPicture], file: Path) -> list[LabelledPicture]:
    pack(pictures, file, COCO)
    return read_packed(file, COCO)


def test_all_kinds_of_packed_sets_hold_the_same(tmp_path: Path) -> None:
    pictures = make_set(tmp_path / "pictures")
    pytest.importorskip("h5py", reason="needs the extra [train]")
    once = packed(pictures, tmp_path / "set.h5")
    twice = packed(once, tmp_path / "set.tar")  # packed from packed
    for own, expected in zip(twice, pictures, strict=True):
        assert_same(own, expected)


def test_the_kind_is_told_by_name_and_content(tmp_path: Path, goldens: Path) -> None:
    assert packed_kind(goldens / "formats" / "lmdb_1sample") == "lmdb"
    assert packed_kind(goldens / "formats" / "train_dataset_new.h5") == "hdf5"
    assert packed_kind(tmp_path / "a-{000..}.tar") == "webdataset"
    assert packed_kind(tmp_path) is None
    with pytest.raises(DataError, match="not a packed data set"):
        read_packed(tmp_path, COCO)


def test_a_packed_set_says_its_own_joints(tmp_path: Path, goldens: Path) -> None:
    lsp = load_skeleton("lsp14")
    picture = make_record(tmp_path, 1, people=0)
    nobody = dataclasses.replace(
        picture, **{name: np.zeros((0, 14, *shape), kind) for name, shape, kind in
                    (("keypoints", (2,), np.float32), ("unsure", (), bool), ("visible", (), bool))}
    )  # fmt: skip
    pack([nobody], tmp_path / "set.tar", lsp)
    pack([nobody], tmp_path / "set.h5", lsp)
    assert packed_skeleton(tmp_path / "set.tar") is lsp
    assert packed_skeleton(tmp_path / "set.h5") is lsp
    assert packed_skeleton(goldens / "formats" / "train_dataset_new.h5") is COCO
    assert packed_skeleton(goldens / "formats" / "lmdb_1sample") is COCO


def test_packed_sets_are_read_as_any_other(tmp_path: Path, goldens: Path) -> None:
    pictures = make_set(tmp_path / "pictures")
    for name in ("set.h5", "set-{00..}.tar"):
        pack(pictures, tmp_path / name, COCO)
        assert dataset_skeleton(tmp_path / name) is COCO
        for own, expected in zip(read_dataset(tmp_path / name), pictures, strict=True):
            assert_same(own, expected)
    assert len(read_dataset(goldens / "formats" / "lmdb_1sample", load_skeleton("openpose18"))) == 1
    assert len(read_dataset(tmp_path / "set.h5", kind="hdf5")) == 3


def test_files_of_other_names_are_refused(tmp_path: Path) -> None:
    pictures = make_set(tmp_path / "pictures", 1)
    with pytest.raises(OutputError, match=r"set\.zip: name the file \.h5 or \.tar"):
        pack(pictures, tmp_path / "set.zip", COCO)
    with pytest.raises(OutputError, match=r"set\.h5: an HDF5 file holds plain pixels"):
        pack(pictures, tmp_path / "set.h5", COCO, quality=90)
    with pytest.raises(OutputError, match=r"the folder .* does not exist"):
        pack(pictures, tmp_path / "none" / "set.tar", COCO)
    shutil.rmtree(tmp_path / "pictures")
    with pytest.raises(DataError, match=r"0\.png"):
        pack(pictures, tmp_path / "set.tar", COCO)
