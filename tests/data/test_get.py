"""Data sets fetched: resumed, checked, unpacked where the readers look, from servers and files on this machine only."""

from __future__ import annotations

import collections
import hashlib
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from weights_server import Server, Turn, serving

from manypose import download
from manypose.data import get as module
from manypose.data.check import check_dataset
from manypose.data.datasets import read_dataset
from manypose.data.get import get_dataset
from manypose.data.published_sets import SETS, Piece, PublishedSet
from manypose.errors import DataError, DownloadError, OutputError
from manypose.skeleton import load_skeleton

TAG = {"ETag": '"one"'}


def packed(folder: Path, name: str, members: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as made:
        for member, data in members.items():
            made.writestr(member, data)
    return folder / name


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.setattr(download, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(download, "LONGEST_WAIT", 0.01)
    monkeypatch.setattr(download, "LOCK_WAIT", 0.005)


@pytest.fixture
def lsp(tmp_path: Path) -> Iterator[Server]:
    """A server that has a small lsp_dataset.zip."""
    members = {"joints.mat": os.urandom(9_000), "images/im0001.jpg": os.urandom(12_000)}
    with serving(packed(tmp_path / "made", "lsp_dataset.zip", members).read_bytes()) as server:
        yield server


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the server of a set of three zip files and one file to fetch by hand."""
    root = tmp_path / "mirror"
    pieces = []
    for part, folder in (("", "annotations"), ("train", "train2017"), ("val", "val2017")):
        name = f"{folder}.zip"
        file = packed(root / "zips", name, {f"{folder}/{n}": os.urandom(500) for n in ("1.jpg", "2.jpg")})
        md5 = hashlib.md5(file.read_bytes()).hexdigest()
        address = f"https://elsewhere.example/zips/{name}"
        size = file.stat().st_size
        pieces.append(Piece(name, address, part, size, md5, unpacked=1000, pictures=bool(part)))
    by_hand = Piece("hand.json", part="val", about=100, into="annotations", by_hand="https://drive.example/1")
    monkeypatch.setitem(SETS, "coco2017", PublishedSet("tiny", (*pieces, by_hand), "none"))
    return root


def files(folder: Path) -> set[str]:
    return {f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file() and ".manypose" not in f.parts}


ALL = {f"{folder}/{n}.jpg" for folder in ("annotations", "train2017", "val2017") for n in (1, 2)}


def test_connections_that_drop_are_gone_on_with(lsp: Server, tmp_path: Path) -> None:
    lsp.turns = [Turn(cut=8_000, headers=TAG), Turn(cut=4_000, headers=TAG), Turn(headers=TAG)]
    told: list[tuple[str, int, int | None]] = []
    got = get_dataset("lsp", tmp_path / "out", mirror=lsp.address, progress=lambda *now: told.append(now))
    assert got.fetched == ("lsp_dataset.zip",)
    assert files(tmp_path / "out") == {"joints.mat", "images/im0001.jpg"}
    assert sum(lsp.sent) == len(lsp.content)
    assert ("lsp_dataset.zip", len(lsp.content), len(lsp.content)) in told
    assert told[-1] == ("unpack lsp_dataset.zip", 21_000, 21_000)


def test_a_second_call_goes_on_where_the_first_gave_up(lsp: Server, tmp_path: Path) -> None:
    lsp.turns = [Turn(cut=8_000, headers=TAG)]
    with pytest.raises(DownloadError, match=r"broke off after 8000 of \d+ bytes, in 1 attempts; what has come is kept"):
        get_dataset("lsp", tmp_path / "out", mirror=lsp.address, retries=0)
    lsp.turns = [Turn(headers=TAG)]
    get_dataset("lsp", tmp_path / "out", mirror=lsp.address)
    assert sum(lsp.sent) == len(lsp.content)


def test_wrong_bytes_are_noticed_without_a_checksum_too(lsp: Server, tmp_path: Path) -> None:
    lsp.turns = [Turn(body=bytes(len(lsp.content)))]
    with pytest.raises(DataError, match=r"lsp_dataset\.zip: there is no file in it"):
        get_dataset("lsp", tmp_path / "out", mirror=lsp.address)
    lsp.turns = [Turn()]
    with pytest.raises(DataError, match="there is no file"):  # what came is there still
        get_dataset("lsp", tmp_path / "out", mirror=lsp.address)
    get_dataset("lsp", tmp_path / "out", mirror=lsp.address, overwrite=True)
    assert files(tmp_path / "out") == {"joints.mat", "images/im0001.jpg"}


def test_wrong_bytes_against_a_checksum_are_removed_and_the_rest_is_complete(mirror: Path, tmp_path: Path) -> None:
    train = mirror / "zips" / "train2017.zip"
    train.write_bytes(bytes(train.stat().st_size))
    with pytest.raises(DownloadError, match=r"train2017\.zip: what came is not the expected file"):
        get_dataset("coco2017", tmp_path / "out", mirror=mirror.as_uri())
    assert files(tmp_path / "out") == {name for name in ALL if "train" not in name}


def test_all_parts_come_and_what_is_there_is_not_fetched_again(mirror: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    got = get_dataset("coco2017", out, mirror=mirror.as_uri())
    assert got.fetched == ("annotations.zip", "train2017.zip", "val2017.zip")
    assert [piece.name for piece in got.by_hand] == ["hand.json"]
    assert files(out) == ALL
    for file in (mirror / "zips").iterdir():
        file.unlink()
    again = get_dataset("coco2017", out, mirror=mirror.as_uri())
    assert (again.fetched, again.present) == ((), got.fetched)
    (out / "val2017" / "2.jpg").unlink()
    with pytest.raises(DownloadError, match=r"val2017\.zip: cannot be read"):
        get_dataset("coco2017", out, mirror=mirror.as_uri(), retries=0)


def test_one_part_packed_and_kept(mirror: Path, tmp_path: Path) -> None:
    get_dataset("coco2017", tmp_path / "a", parts=["train"], mirror=mirror.as_uri(), packed=True)
    assert files(tmp_path / "a") == {"annotations/1.jpg", "annotations/2.jpg", "train2017.zip"}
    get_dataset("coco2017", tmp_path / "a", parts=["train"], mirror=mirror.as_uri())  # now unpacked
    assert "train2017/1.jpg" in files(tmp_path / "a")
    get_dataset("coco2017", tmp_path / "b", parts=["train"], mirror=mirror.as_uri(), keep=True)
    assert {"train2017.zip", "train2017/1.jpg", "annotations.zip"} <= files(tmp_path / "b")


def test_files_that_are_there_already_are_taken_and_left_alone(mirror: Path, tmp_path: Path) -> None:
    (tmp_path / "hand.json").write_text("{}")
    own = mirror / "zips"
    got = get_dataset("coco2017", tmp_path / "out", sources=[own, tmp_path / "hand.json"], mirror="http://127.0.0.1:9")
    assert got.by_hand == ()
    assert files(tmp_path / "out") == ALL | {"annotations/hand.json"}
    assert len(list(own.iterdir())) == 3
    with pytest.raises(DataError, match=r"absent\.zip: not there; name it as it is published: annotations\.zip"):
        get_dataset("coco2017", tmp_path / "out", sources=[tmp_path / "absent.zip"])
    (own / "val2017.zip").write_bytes(b"other")
    with pytest.raises(DownloadError, match=r"val2017\.zip: not the expected file: it has 5 bytes"):
        get_dataset("coco2017", tmp_path / "new", sources=[own])


def test_files_of_the_user_are_not_written_over(mirror: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "val2017").mkdir(parents=True)
    (tmp_path / "out" / "val2017" / "1.jpg").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"1\.jpg: something else is there"):
        get_dataset("coco2017", tmp_path / "out", mirror=mirror.as_uri())
    assert (tmp_path / "out" / "val2017" / "1.jpg").read_bytes() == b"mine"


def test_the_disk_is_measured_for_everything_before_anything_comes(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = collections.namedtuple("usage", "total used free")
    needed = sum(piece.bytes + piece.unpacked for piece in SETS["coco2017"].pieces[:3]) + module.SPARE
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: usage(1, 1, needed - 1))
    with pytest.raises(DownloadError, match=r"out: the disk is too small for coco2017: about 0\.1 GB needed"):
        get_dataset("coco2017", tmp_path / "out", mirror=mirror.as_uri())
    assert files(tmp_path / "out") == set()


def crowdpose_archive(file: Path) -> bytes:
    """The annotations as mmpose publishes them: one tar with a file for each part, two of which make a third."""
    places = [x for n in range(14) for x in (10 + 5 * n, 20 + 3 * n, 2)]
    people = {
        n: {"id": n, "image_id": n, "category_id": 1, "bbox": [5, 5, 90, 80], "keypoints": places} for n in (1, 2)
    }
    category = {"id": 1, "name": "person", "keypoints": list(load_skeleton("crowdpose14").joints)}
    with tarfile.open(file, "w") as made:
        for part, numbers in (("train", [1]), ("val", [2]), ("trainval", [1, 2]), ("test", [])):
            rows = [{"id": n, "file_name": f"{n}.png", "width": 160, "height": 120, "crowdIndex": 0.1} for n in numbers]
            content = {"images": rows, "annotations": [people[n] for n in numbers], "categories": [category]}
            data = json.dumps(content).encode()
            info = tarfile.TarInfo(f"crowdpose/annotations/mmpose_crowdpose_{part}.json")
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return file.read_bytes()


def test_a_part_of_a_set_whose_files_hold_all_parts(tmp_path: Path) -> None:
    """Of CrowdPose any part needs the one archive of pictures and that of all annotations."""
    out, pixels = tmp_path / "out", np.random.default_rng(0).integers(0, 256, (2, 120, 160, 3), np.uint8)
    images = {f"images/{n}.png": cv2.imencode(".png", pixels[n - 1])[1].tobytes() for n in (1, 2)}
    given = packed(tmp_path / "given", "images.zip", images)
    with serving(crowdpose_archive(tmp_path / "made.tar")) as server:
        server.turns = [Turn(cut=3_000, headers=TAG), Turn(headers=TAG)]
        without = get_dataset("crowdpose", out, parts=["val"], mirror=server.address)
        assert [piece.name for piece in without.by_hand] == ["images.zip"]
        got = get_dataset("crowdpose", out, parts=["val"], sources=[given], mirror=server.address)
        assert (got.fetched, got.present, got.by_hand) == (("images.zip",), ("crowdpose_annotations.tar",), ())
        again = get_dataset("crowdpose", out, parts=["train", "trainval"], mirror=server.address)
        assert (again.fetched, len(again.present)) == ((), 2)
    for part, names in (("val", ["2.png"]), ("train", ["1.png"]), ("trainval", ["1.png", "2.png"])):
        pictures = read_dataset(out, part=part)
        assert [picture.name for picture in pictures] == names
        assert pictures[0].read().shape == (120, 160, 3)
    checked = check_dataset([out])  # trainval is no split beside train and val
    assert [file.stem.rpartition("_")[2] for file in checked.report.files] == ["test", "train", "val"]
    assert checked.report.errors == ()
    assert len(check_dataset([out], part="trainval").report.files) == 1


def test_unknown_names_and_parts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data set is called 'coco'; there are coco2017, coco2014"):
        get_dataset("coco", tmp_path)
    with pytest.raises(DataError, match="coco2017 has no part 'all': it has train, val, test"):
        get_dataset("coco2017", tmp_path, parts=["all"])
    with pytest.raises(DataError, match="lspet has no part 'val': it comes as a whole"):
        get_dataset("lspet", tmp_path, parts=["val"])
    with pytest.raises(DataError, match="crowdpose has no part 'all': it has train, val, test, trainval"):
        get_dataset("crowdpose", tmp_path, parts=["all"])


def test_the_table_of_published_sets() -> None:
    for published in SETS.values():
        assert published.terms
        for piece in published.pieces:
            assert (piece.address is None) == bool(piece.by_hand)
            assert piece.address is None or piece.address.endswith(f"/{piece.name}")
            assert piece.bytes > 0
            assert piece.md5 is None or len(piece.md5) == 32
    assert {piece.part for piece in SETS["coco2017"].pieces} == {"", "train", "val", "test"}
    assert SETS["coco2017"].usual == ("train", "val")
