"""HDF5 files of the Keras product, of its fork, and ours, which both read."""

from __future__ import annotations

import json
import multiprocessing
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packing_case import COCO, assert_same, make_record, make_set, read_missing, read_pixels

from manypose.data.masks import missing_mask, people_mask
from manypose.data.packing import datum
from manypose.data.packing.hdf5 import read_hdf5, write_hdf5
from manypose.data.pictures import LabelledPicture
from manypose.errors import DataError, OutputError
from manypose.skeleton import load_skeleton

h5py = pytest.importorskip("h5py", reason="needs the extra [train]")
# A warning that pycocotools raises with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


def write_samples(file: Path, count: int = 3) -> list[LabelledPicture]:
    pictures = make_set(file.parent / "pictures", count)
    assert write_hdf5(pictures, file, COCO) == count
    return pictures


@pytest.mark.golden
@pytest.mark.parametrize("name", ["train_dataset_1sample.h5", "train_dataset_1sample_meta.h5", "train_dataset_new.h5"])
def test_samples_of_the_products_are_read_exactly(goldens: Path, name: str) -> None:
    expected = np.load(goldens / "formats" / "train_dataset_expected.npz")
    (picture,) = read_hdf5(goldens / "formats" / name, COCO)
    joints = expected["joints"]
    there = joints[..., 2] < 2
    np.testing.assert_array_equal(picture.keypoints[there], joints[there][:, :2])
    assert np.isnan(picture.keypoints[~there]).all()
    np.testing.assert_array_equal(picture.visible, joints[..., 2] == 1)
    assert not picture.unsure.any()
    assert (picture.size, picture.id) == ((96, 80), 41)
    np.testing.assert_array_equal(picture.read(), expected["img"][..., ::-1])
    assert picture.masks is not None
    np.testing.assert_array_equal(picture.masks.read_missing(picture.size), expected["mask_miss"] == 0)
    people = picture.masks.read_people(picture.size)
    if name != "train_dataset_new.h5":  # which has one mask only
        np.testing.assert_array_equal(people, expected["mask_all"] == 255)
    middle = (picture.boxes[:, :2] + picture.boxes[:, 2:]) / 2 + 0.5
    np.testing.assert_allclose(middle, expected["objpos"], atol=1e-4)
    np.testing.assert_allclose((picture.boxes[:, 3] - picture.boxes[:, 1]) / 368, expected["scale"], rtol=1e-6)


def test_what_we_write_comes_back_whole(tmp_path: Path) -> None:
    pictures = write_samples(tmp_path / "set.h5", 6)
    found = read_hdf5(tmp_path / "set.h5", COCO)
    assert len(found) == 6
    for own, expected in zip(found, pictures, strict=True):
        assert_same(own, expected)


def test_what_we_write_is_the_layout_of_the_product(tmp_path: Path) -> None:
    pictures = write_samples(tmp_path / "set.h5")
    with h5py.File(tmp_path / "set.h5") as file:
        assert sorted(file["datum"]) == ["0000000", "0000001", "0000002"]
        for index, picture in enumerate(pictures):
            dataset = file[f"datum/{index:07d}"]
            assert (dataset.dtype, dataset.chunks, dataset.compression) == (np.uint8, None, None)
            labels = datum.read_labels(dataset[3])
            assert (labels.dataset, labels.index, labels.total, labels.size) == ("COCO", index, 3, picture.size)
            inside = np.s_[: picture.size[1], : picture.size[0]]
            np.testing.assert_array_equal(dataset[4][inside] == 0, missing_mask(picture))
            np.testing.assert_array_equal(dataset[5][inside] == 255, people_mask(picture))
            assert dataset.shape[1:] >= datum.rows_needed(len(labels.joints) - 1)
            if "meta" in dataset.attrs:
                meta = datum.labels_of_meta(json.loads(dataset.attrs["meta"]))
                np.testing.assert_array_equal(meta.joints, labels.joints)


def test_without_our_labels_the_rows_are_read(tmp_path: Path) -> None:
    pictures = write_samples(tmp_path / "set.h5")
    with h5py.File(tmp_path / "set.h5", "r+") as file:
        del file["labels"]
    found = read_hdf5(tmp_path / "set.h5", COCO)
    main = found[0].keypoints[0]
    np.testing.assert_array_equal(main, pictures[0].keypoints[0])
    np.testing.assert_array_equal(found[0].read(), pictures[0].read())
    assert [len(picture) for picture in found] == [2, 0, 25]


def test_five_channels_leave_out_the_mask_of_all_people(tmp_path: Path) -> None:
    pictures = make_set(tmp_path / "pictures")
    write_hdf5(pictures, tmp_path / "set.h5", COCO, channels=5, validation=True)
    with h5py.File(tmp_path / "set.h5") as file:
        assert file["datum/0000000"].shape[0] == 5
        assert datum.read_labels(file["datum/0000000"][3]).validation
    found = read_hdf5(tmp_path / "set.h5", COCO)
    assert found[2].masks is not None
    assert found[2].masks.people is None
    np.testing.assert_array_equal(read_missing(found[2]), missing_mask(pictures[2]))


def test_a_set_packed_for_one_skeleton_trains_another(tmp_path: Path) -> None:
    write_samples(tmp_path / "set.h5")
    openpose = load_skeleton("openpose18")
    assert read_hdf5(tmp_path / "set.h5", openpose)[0].keypoints.shape == (2, 18, 2)


def test_pictures_are_shrunk_with_their_labels(tmp_path: Path) -> None:
    picture = make_record(tmp_path, 1, size=(200, 160))
    write_hdf5([picture], tmp_path / "set.h5", COCO, longest=100)
    (found,) = read_hdf5(tmp_path / "set.h5", COCO)
    labels, pixels = picture.shrunk(100)
    assert found.size == (100, 80)
    np.testing.assert_array_equal(found.keypoints, labels.keypoints)
    np.testing.assert_array_equal(found.read(), pixels)


def test_a_file_that_somebody_has_compressed_is_read_too(tmp_path: Path) -> None:
    pictures = write_samples(tmp_path / "set.h5")
    with h5py.File(tmp_path / "set.h5") as source, h5py.File(tmp_path / "small.h5", "w") as target:
        for group in ("datum", "labels"):
            for name, dataset in source[group].items():
                target.create_dataset(f"{group}/{name}", data=dataset[()], compression="gzip")
    for own, expected in zip(read_hdf5(tmp_path / "small.h5", COCO), pictures, strict=True):
        assert_same(own, expected)


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes_read_side_by_side(tmp_path: Path, method: str, compression: str | None) -> None:
    pictures = write_samples(tmp_path / "set.h5", 6)
    with h5py.File(tmp_path / "set.h5") as source, h5py.File(tmp_path / "copy.h5", "w") as target:
        for group in ("datum", "labels"):
            for name, dataset in source[group].items():
                target.create_dataset(f"{group}/{name}", data=dataset[()], compression=compression)
    found = read_hdf5(tmp_path / "copy.h5", COCO)
    found[0].read()  # a handle of this process, if there is one, must not be that of its children
    with multiprocessing.get_context(method).Pool(2) as pool:
        pixels = pool.map(read_pixels, found * 3, chunksize=1)
    for own, expected in zip(pixels, pictures * 3, strict=True):
        np.testing.assert_array_equal(own, expected.read())


def test_a_file_is_not_replaced_unasked_and_appears_in_one_step(tmp_path: Path) -> None:
    pictures = write_samples(tmp_path / "set.h5")
    with pytest.raises(OutputError, match=r"set\.h5: the file exists"):
        write_hdf5(pictures, tmp_path / "set.h5", COCO)
    (pictures[1].archive / pictures[1].name).write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1\.jpg"):
        write_hdf5(pictures, tmp_path / "new.h5", COCO)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "set.h5"]


def test_broken_pictures_are_left_out_on_request(tmp_path: Path) -> None:
    pictures = make_set(tmp_path / "pictures")
    (pictures[1].archive / pictures[1].name).unlink()
    faults: list[DataError] = []
    seen: list[tuple[int, int]] = []
    written = write_hdf5(
        pictures, tmp_path / "set.h5", COCO, on_fault=faults.append, progress=lambda *done: seen.append(done)
    )
    assert written == 2
    assert "1.jpg" in str(faults[0])
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert [picture.name for picture in read_hdf5(tmp_path / "set.h5", COCO)] == ["0.png", "2.webp"]


def test_of_nothing_no_file_is_made(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no picture to pack"):
        write_hdf5([], tmp_path / "set.h5", COCO)
    assert not list(tmp_path.iterdir())


def test_room_on_the_disk_is_checked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage: Any = type("Usage", (), {"free": (1 << 26) + 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(OutputError, match=r"set\.h5: needs 0\.0 GB, but only 0\.0 GB are free; pack smaller pictures"):
        write_hdf5(make_set(tmp_path / "pictures"), tmp_path / "set.h5", COCO)


FULL = """
import resource, signal, sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from packing_case import COCO, make_record
from manypose.data.packing.program import pack
from manypose.errors import OutputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
pictures = [make_record(Path({folder!r}) / "pictures", number, size=(400, 300)) for number in range(4)]
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
try:
    pack(pictures, Path({folder!r}) / {name!r}, COCO)
except OutputError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["set.h5", "set.tar"])
def test_a_disk_that_is_full_is_told_and_nothing_is_left(tmp_path: Path, name: str) -> None:
    assert resource.RLIMIT_FSIZE
    assert signal.SIGXFSZ
    program = FULL.format(tests=str(Path(__file__).parent), folder=str(tmp_path), name=name)
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert f"{name}: cannot be written" in answer.stdout, answer.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_a_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    write_samples(tmp_path / "set.h5")
    content = (tmp_path / "set.h5").read_bytes()
    for length in (0, 100, len(content) // 2, len(content) - 1):
        (tmp_path / "cut.h5").write_bytes(content[:length])
        with pytest.raises(DataError, match=r"cut\.h5: not a file of HDF5, or damaged"):
            read_hdf5(tmp_path / "cut.h5", COCO)


def test_a_file_that_is_cut_short_later_is_noticed(tmp_path: Path) -> None:
    write_samples(tmp_path / "set.h5")
    found = read_hdf5(tmp_path / "set.h5", COCO)
    (tmp_path / "set.h5").write_bytes(b"short")
    with pytest.raises(DataError, match=r"set\.h5: cannot read .*: the file has been cut short"):
        found[0].read()


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes_are_read_or_refused(tmp_path: Path, goldens: Path, seed: int) -> None:
    """libhdf5 may crash or run for ever; that must not leave its own process."""
    random = np.random.default_rng(seed)
    content = bytearray((goldens / "formats" / "train_dataset_new.h5").read_bytes())
    for place in random.integers(8, len(content), 40):
        content[place] = random.integers(256)
    (tmp_path / "bad.h5").write_bytes(content)
    try:
        outcome = f"bad.h5: {len(read_hdf5(tmp_path / 'bad.h5', COCO))} sample"
    except DataError as error:
        outcome = str(error)
    assert "bad.h5: " in outcome


def test_what_is_no_set_of_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.h5: there is no such file"):
        read_hdf5(tmp_path / "none.h5", COCO)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["something/else"] = np.zeros(3, np.uint8)
    with pytest.raises(DataError, match=r"other\.h5: holds no samples: it has neither a group `datum`"):
        read_hdf5(tmp_path / "other.h5", COCO)
    with h5py.File(tmp_path / "floats.h5", "w") as file:
        file["datum/0000000"] = np.zeros((6, 80, 96))
    with pytest.raises(DataError, match=r"floats\.h5: datum/0000000: not an array uint8"):
        read_hdf5(tmp_path / "floats.h5", COCO)
    with h5py.File(tmp_path / "ones.h5", "w") as file:
        file["datum/0000000"] = np.ones((6, 80, 96), np.uint8)
    with pytest.raises(DataError, match=r"ones\.h5: datum/0000000: it states a picture of"):
        read_hdf5(tmp_path / "ones.h5", COCO)


def test_arrays_and_labels_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    write_samples(tmp_path / "set.h5", 1)
    with h5py.File(tmp_path / "set.h5", "r+") as file:
        del file["datum/0000000"]
        file["datum/0000000"] = np.zeros((6, 10, 10), np.uint8)
    with pytest.raises(DataError, match=r"labels/0000000: not labels of manypose: .* 96 x 80 in an array of 10 x 10"):
        read_hdf5(tmp_path / "set.h5", COCO)


def test_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    write_samples(tmp_path / "set.h5", 1)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["datum"] = h5py.ExternalLink("set.h5", "/datum")
    with pytest.raises(DataError, match="holds no samples"):
        read_hdf5(tmp_path / "link.h5", COCO)
