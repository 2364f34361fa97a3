"""Training makes the same samples from a packed set as from the pictures that went into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_coco import person, write_set
from torch.utils.data import DataLoader

from manypose.codecs.fields import FieldsCodec
from manypose.data.augment import Augmentation
from manypose.data.coco import read_coco
from manypose.data.packing.program import pack, read_packed
from manypose.data.pictures import LabelledPicture
from manypose.data.samples import FieldSamples, Source
from manypose.skeleton import load_skeleton

pytest.importorskip("h5py", reason="needs the extra [train]")
# A warning that pycocotools raises with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
COCO, OPENPOSE = load_skeleton("coco17"), load_skeleton("openpose18")


def people_file(folder: Path) -> Path:
    """Two pictures; in the second one somebody without labels, and a crowd."""
    polygon = [[5, 5, 40, 5, 40, 50, 5, 50], [60, 60, 80, 60, 80, 70]]
    crowd = {"size": [120, 160], "counts": [120 * 140, 120 * 10, 120 * 10]}
    nobody = {"absent": COCO.joints, "image_id": 2}
    rows = [
        person(20, 10, 60, 100, image_id=1, absent=("left_wrist",)),
        person(90, 20, 40, 80, image_id=2),
        person(5, 5, 35, 45, segmentation=polygon, **nobody),
        person(140, 0, 10, 120, segmentation=crowd, iscrowd=1, **nobody),
    ]
    return write_set(folder, rows, pictures=2)


def make_samples(pictures: list[LabelledPicture]) -> FieldSamples:
    source = Source(pictures, Augmentation(mosaic=0.5))
    return FieldSamples([source], FieldsCodec(OPENPOSE), size=96, count=6, seed=3)


@pytest.mark.parametrize("name", ["set.h5", "set.tar", "set-{00..}.tar"])
@pytest.mark.parametrize("native", [COCO, OPENPOSE], ids=["packed-as-coco", "packed-as-openpose"])
def test_samples_are_the_same(tmp_path: Path, name: str, native: Any) -> None:
    file = people_file(tmp_path / "set")
    pack(read_coco(file, native), tmp_path / name, native, shard_size=1)
    plain = make_samples(read_coco(file, OPENPOSE))
    packed = make_samples(read_packed(tmp_path / name, OPENPOSE))
    assert any((plain[index]["weights"] == 0).any() for index in range(6))
    for index in range(6):
        for key, value in plain[index].items():
            assert torch.equal(packed[index][key], value), key


@pytest.mark.parametrize("name", ["set.h5", "set.tar"])
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_make_the_same_samples(tmp_path: Path, name: str, method: str) -> None:
    file = people_file(tmp_path / "set")
    pack(read_coco(file, COCO), tmp_path / name, COCO)
    pictures = read_packed(tmp_path / name, OPENPOSE)
    plain = make_samples(read_coco(file, OPENPOSE))
    loader = DataLoader(make_samples(pictures), batch_size=None, num_workers=2, multiprocessing_context=method)
    for index, sample in enumerate(loader):
        assert torch.equal(sample["picture"], plain[index]["picture"])
        assert torch.equal(sample["weights"], plain[index]["weights"])
