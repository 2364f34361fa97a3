"""Where pictures are looked for, and how long that takes when they are not there."""

from __future__ import annotations

import json
import os
import time
import zipfile
from pathlib import Path

import pytest
from small_sets import write_picture

from manypose.data.faults import load_json
from manypose.data.places import PicturePlaces
from manypose.errors import DataError


def labels(root: Path) -> Path:
    file = root / "annotations" / "person_keypoints_train2017.json"
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    return file


@pytest.mark.parametrize("folder", ["train2017", "images/train2017", "images", "train2017/deeper/still"])
def test_pictures_in_folders(tmp_path: Path, folder: str) -> None:
    places = PicturePlaces(labels(tmp_path))
    picture = write_picture(tmp_path / folder / "1.jpg")
    name = "deeper/still/1.jpg" if "deeper" in folder else "1.jpg"
    places = PicturePlaces(places.file)
    archive, inside = places.find(name)
    assert archive / inside == picture
    assert places.find("2.jpg")[1] == "2.jpg"


def test_many_missing_pictures_cost_no_look_at_the_disk_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = labels(tmp_path)
    write_picture(tmp_path / "train2017" / "1.jpg")
    (tmp_path / "images" / "train2017").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "train2017.zip", "w") as made:
        made.writestr("train2017/2.jpg", b"")
    listed: list[str] = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda place: listed.append(str(place)) or scan(place))  # type: ignore[func-returns-value]
    places = PicturePlaces(file)
    start = time.process_time()
    for number in range(20_000):
        assert places.find(f"missing{number}.jpg", {}) == (file.parent, f"missing{number}.jpg")
    assert time.process_time() - start < 10  # 2 seconds; a look at each place for each name took 20
    assert len(listed) == len(set(listed)) < 10
    assert places.find("1.jpg", {}) == (tmp_path / "train2017", "1.jpg")
    assert places.find("2.jpg", {}) == (tmp_path / "train2017.zip", "train2017/2.jpg")


def test_json_nested_without_end_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "deep.json"
    file.write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"deep\.json: not a list: RecursionError"):
        load_json(file, "a list")
    file.write_text(json.dumps([1]))
    assert load_json(file, "a list") == [1]
