"""COCO-style files as they come: what is odd in them is named with its entry, or harmless."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_sets import write_picture
from tiny_coco import COCO, person, write_set

from manypose.codecs.fields import FieldsCodec
from manypose.data.augment import Augmentation
from manypose.data.check.labels import read_labels
from manypose.data.coco import read_coco
from manypose.data.datasets import read_dataset
from manypose.data.samples import FieldSamples, Source
from manypose.errors import DataError
from manypose.skeleton import load_skeleton

CROWD = {"iscrowd": 1, "num_keypoints": 0, "keypoints": [0] * 51}
Change = Callable[[dict[str, Any]], Any]


def changed(file: Path, change: Change) -> Path:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    return file


def of_annotation(**more: Any) -> Change:
    return lambda content: content["annotations"][0].update(more)


def of_image(**more: Any) -> Change:
    return lambda content: content["images"][0].update(more)


def rle(counts: Any, size: Any = (120, 160)) -> Change:
    return of_annotation(**CROWD, segmentation={"size": size, "counts": counts})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of_annotation(keypoints=[10**400, 1, 2] * 17), "keypoints holds something that is not a number"),
        (of_annotation(num_keypoints="many"), "num_keypoints is 'many', expected a number"),
        (lambda content: content["annotations"][0].pop("bbox"), "bbox is None, expected four numbers"),
        (of_image(width=float("inf")), "its size is inf x 120"),
        (of_image(file_name="a" * 5000 + ".jpg"), "is too long for the name of a picture: 5004 letters"),
        (rle([0, 100], (10, 10)), r"an RLE of size \[10, 10\], for one of height and width \(120, 160\)"),
        (rle([0, 5], ("a", "b")), "an RLE of size"),
        (rle([5, 100]), "an RLE whose counts do not make up the picture"),
        (rle([-5, 120 * 160 + 5]), "an RLE whose counts do not make up the picture"),
        (rle([0, 10**12]), "an RLE whose counts do not make up the picture"),
    ],
)
def test_an_entry_at_fault_is_named_or_left_out(tmp_path: Path, change: Change, message: str) -> None:
    rows = [person(20, 10, 60, 100, image_id=1), person(20, 10, 60, 100, image_id=2)]
    file = changed(write_set(tmp_path, rows, pictures=2), change)
    with pytest.raises(DataError, match=rf"set\.json: (annotation 0 of )?image 1: .*{message}"):
        read_coco(file, COCO)
    faults: list[Any] = []
    pictures = read_coco(file, COCO, on_fault="skip", faults=faults)
    assert [len(picture) for picture in pictures if picture.id == 2] == [1]
    assert not any(len(picture) for picture in pictures if picture.id == 1)
    assert len(faults) == 1


def test_a_mark_at_the_start_of_a_file_is_no_fault(tmp_path: Path) -> None:
    file = write_set(tmp_path, [person(20, 10, 60, 100)])
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert len(read_dataset(file, COCO)) == 1


def test_names_of_all_scripts(tmp_path: Path) -> None:
    write_picture(tmp_path / "bild é 世界.jpg")
    content = {
        "images": [{"id": "x1", "file_name": "bild é 世界.jpg", "width": 160, "height": 120}],
        "annotations": [{"id": "a", **person(20, 10, 60, 100, image_id=1), "image_id": "x1"}],
        "categories": [{"id": 1, "keypoints": list(COCO.joints)}],
    }
    (tmp_path / "set.json").write_text(json.dumps(content), encoding="utf-8")
    (picture,) = read_dataset(tmp_path / "set.json", COCO)
    assert (len(picture), picture.read().shape) == (1, (120, 160, 3))


def test_annotations_of_pictures_that_are_not_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A few are left out, as in a file of some of a set's pictures; where all are, the ids do not match."""
    rows = [person(20, 10, 60, 100, image_id=1), person(20, 10, 60, 100, image_id=7)]
    file = write_set(tmp_path, rows)
    with caplog.at_level(logging.WARNING):
        assert [len(picture) for picture in read_coco(file, COCO)] == [1]
    assert "1 annotations are of pictures that it does not list, such as image_id 7; they are left out" in caplog.text
    changed(file, lambda content: [row.update(image_id=str(row["image_id"])) for row in content["annotations"]])
    with pytest.raises(DataError, match=r"2 annotations .*, as all of them are: image_id '1', .* have ids like 1"):
        read_coco(file, COCO)


def with_categories(content: dict[str, Any]) -> None:
    joints = list(COCO.joints)
    content["categories"] = [
        {"id": 5, "name": "car"},
        {"id": 1, "name": "adult", "keypoints": joints},
        {"id": 2, "name": "child", "keypoints": joints},
        {"id": 3, "name": "dog", "keypoints": ["nose", "tail"]},
    ]


def test_categories_with_the_same_joints_are_read_together(tmp_path: Path) -> None:
    """Or children would be background. What has other joints, or none, is no person."""
    rows = [person(20, 10, 60, 100, category_id=number) for number in (1, 2, 5)]
    rows.append(person(20, 10, 60, 100, category_id=3, keypoints=[1, 1, 2, 3, 3, 2], num_keypoints=2))
    file = changed(write_set(tmp_path, rows), with_categories)
    assert [(len(picture), len(picture.ignore)) for picture in read_coco(file, COCO)] == [(2, 0)]
    assert [len(picture) for picture in read_coco(file, COCO, category="child")] == [1]
    assert len(read_labels(file).rows) == 2


def test_pictures_in_a_file_that_is_no_zip_file(tmp_path: Path) -> None:
    file = write_set(tmp_path, [person(20, 10, 60, 100)])
    (tmp_path / "bad.zip").write_bytes(b"PK..")
    with pytest.raises(DataError, match=r"bad\.zip: neither a folder nor a zip file of pictures, or a damaged one"):
        read_coco(file, COCO, images=tmp_path / "bad.zip")


def test_an_rle_that_cannot_be_drawn_stops_training_or_teaches_nothing(tmp_path: Path) -> None:
    """Counts in a text are looked at only when they are drawn."""
    from pycocotools import mask

    wrong = mask.encode(np.ones((120, 200), np.uint8, order="F"))["counts"].decode()
    rows = [person(20, 10, 60, 100), person(90, 10, 60, 100, **CROWD)]
    rows[1]["segmentation"] = {"size": [120, 160], "counts": wrong}
    skeleton = load_skeleton("openpose18")
    pictures = read_coco(write_set(tmp_path, rows), skeleton)

    def samples(*, skip: bool, longest: int) -> FieldSamples:
        sources = [Source(pictures, Augmentation(mosaic=0))]
        options = {"size": 64, "count": 1, "seed": 0, "longest": longest, "skip_broken": skip}
        return FieldSamples(sources, FieldsCodec(skeleton), **options)  # type: ignore[arg-type]

    for longest in (80, 400):  # shrunk beforehand, or not
        with pytest.raises(DataError, match=r"1\.png: the areas of its people cannot be drawn: a broken RLE"):
            samples(skip=False, longest=longest)[0]
    assert not samples(skip=True, longest=400)[0]["weights"].any()
