"""Samples: each depends on (seed, number) alone, and weighs nothing where the labels cannot tell."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_coco import COCO, person, write_set
from torch.utils.data import DataLoader

from manypose.codecs.fields import FieldsCodec
from manypose.codecs.targets import RULES
from manypose.data.augment import Augmentation
from manypose.data.coco import read_coco
from manypose.data.samples import FieldSamples, Source, free_memory, to_planes
from manypose.errors import DataError
from manypose.skeleton import load_skeleton

OPENPOSE = load_skeleton("openpose18")
CODEC = FieldsCodec(OPENPOSE)
STILL: dict[str, Any] = {
    "person_size": (0.8, 0.8), "rotation": 0, "shift": 0, "flip": 0, "mosaic": 0, "colour": 0, "grey": 0, "blur": 0
}  # fmt: skip


def samples(file: Path, *, count: int = 4, seed: int = 0, first: int = 0, **augmentation: Any) -> FieldSamples:
    source = Source(read_coco(file, OPENPOSE), Augmentation(**{"mosaic": 0.5, **augmentation}))
    return FieldSamples([source], CODEC, size=96, count=count, seed=seed, first=first)


@pytest.fixture
def people_file(tmp_path: Path) -> Path:
    rows = [person(20, 10, 60, 100, image_id=1), person(90, 20, 40, 80, image_id=2)]
    return write_set(tmp_path, rows, pictures=2)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


def test_shapes_and_types(people_file: Path) -> None:
    sample = samples(people_file)[0]
    assert {key: (tuple(value.shape), value.dtype) for key, value in sample.items()} == {
        "picture": ((3, 96, 96), torch.uint8),
        "heatmaps": ((19, 12, 12), torch.float32),
        "fields": ((38, 12, 12), torch.float32),
        "weights": ((57, 12, 12), torch.uint8),
    }


def test_a_sample_depends_on_the_seed_and_its_number_alone(people_file: Path) -> None:
    straight = samples(people_file, count=6)
    later = samples(people_file, count=4, first=2)
    assert len(later) == 4
    for k in (3, 0, 2, 1):  # in any order
        assert same(straight[k + 2], later[k])
    assert not same(straight[0], straight[1])
    assert not same(straight[0], samples(people_file, seed=1)[0])


def test_reading_all_pictures_first_changes_nothing(people_file: Path) -> None:
    loaded = samples(people_file)
    loaded.preload()
    assert same(loaded[1], samples(people_file)[1])


def test_after_reading_all_pictures_the_files_are_not_needed(people_file: Path) -> None:
    loaded = samples(people_file)
    loaded.preload()
    (people_file.parent / "images.zip").unlink()
    assert loaded[3]["picture"].shape == (3, 96, 96)
    with pytest.raises(DataError, match=r"images\.zip: cannot read"):
        samples(people_file)[0]


def test_only_as_many_pictures_are_kept_as_memory_allows(people_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    loaded = samples(people_file)
    one = 3 * np.prod(loaded.sources[0].pictures[0].size)
    loaded.preload(most_bytes=int(one))
    assert list(loaded._kept) == [(0, 0)]
    assert "only 1 of 2 pictures are kept in memory" in caplog.text
    assert all(same(loaded[k], samples(people_file)[k]) for k in range(4))


def test_all_pictures_are_kept_where_half_of_the_free_memory_holds_them(
    people_file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = sum(3 * picture.size[0] * picture.size[1] for picture in read_coco(people_file, OPENPOSE))
    for free, kept in ((2 * needed, 2), (2 * needed - 2, 1)):
        monkeypatch.setattr("manypose.data.samples.free_memory", lambda free=free: free)
        loaded = samples(people_file)
        loaded.preload()
        assert len(loaded._kept) == kept
    assert free_memory() > 2**20


def test_planes_are_the_transposed_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    np.testing.assert_array_equal(to_planes(picture), picture.transpose(2, 0, 1))


def test_targets_are_those_of_the_labels(people_file: Path) -> None:
    sample = samples(people_file, **STILL)[0]
    people = CODEC.decode(sample["heatmaps"].numpy(), sample["fields"].numpy())
    assert len(people) >= 1
    drawn = people.visible[0] & (np.arange(18) != OPENPOSE.index("neck"))
    for x, y in people.keypoints[0][drawn]:
        assert sample["picture"][:, round(float(y)), round(float(x))].min() > 150


def test_a_labelled_picture_weighs_everywhere(people_file: Path) -> None:
    assert (samples(people_file, **STILL)[0]["weights"] == 1).all()


def test_people_without_labels_weigh_nothing(tmp_path: Path) -> None:
    rows = [person(10, 10, 60, 100), person(100, 10, 60, 100, absent=COCO.joints)]
    file = write_set(tmp_path, rows)
    sample = samples(file, **{**STILL, "person_size": (0.5, 0.5)})[0]
    weights = sample["weights"].numpy()
    assert (weights == weights[0]).all()  # in all channels alike
    dropped = np.argwhere(weights[0] == 0)
    assert 0 < len(dropped) < 72
    assert dropped[:, 1].min() >= 6  # at the right


def test_unsure_joints_weigh_nothing_in_the_area_of_their_person(tmp_path: Path) -> None:
    category = {"id": 1, "name": "person", "keypoints": ["nose", *COCO.joints[5:]]}  # a file without eyes and ears
    row = person(50, 10, 50, 100)
    row["keypoints"] = row["keypoints"][:3] + row["keypoints"][15:]
    file = write_set(tmp_path, [row], categories=[category])
    weights = samples(file, **{**STILL, "person_size": (0.6, 0.6)})[0]["weights"].numpy()
    dropped = (weights == 0).any(axis=(1, 2))
    joints = {OPENPOSE.joints[k] for k in np.flatnonzero(dropped[:18])}
    assert joints == {"left_eye", "right_eye", "left_ear", "right_ear"}
    assert dropped[18]  # the background, which is what those joints leave
    limbs = np.array(OPENPOSE.fields)
    unsure = {OPENPOSE.index(joint) for joint in joints}
    expected = [bool(unsure & set(limb.tolist())) for limb in limbs]
    assert dropped[19:].reshape(-1, 2).tolist() == [[e, e] for e in expected]
    assert weights[:, 0, 0].all()  # outside of the person all is known


def test_a_mosaic_is_made_of_four_whole_parts(people_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = samples(people_file, mosaic=1.0)
    parts: list[Any] = []
    single = made._single

    def keep(random: Any, source: int, size: Any = None) -> Any:
        parts.append((size, single(random, source, size)))
        return parts[-1][1]

    monkeypatch.setattr(made, "_single", keep)
    sample = made[0]
    assert len(parts) == 4
    (width, height), _ = parts[0]
    assert width % 8 == height % 8 == 0
    assert [size for size, _ in parts] == [
        (width, height), (width, 96 - height), (96 - width, height), (96 - width, 96 - height)
    ]  # fmt: skip
    last = parts[3][1]
    np.testing.assert_array_equal(sample["picture"][:, height:, width:], last[0].transpose(2, 0, 1))
    for key, value in zip(("heatmaps", "fields", "weights"), last[1:], strict=True):
        np.testing.assert_array_equal(sample[key][:, height // 8 :, width // 8 :], value)
    first = parts[0][1]
    np.testing.assert_array_equal(sample["picture"][:, :height, :width], first[0].transpose(2, 0, 1))
    np.testing.assert_array_equal(sample["fields"][:, : height // 8, : width // 8], first[2])


def test_sets_are_drawn_by_weight_and_size(people_file: Path) -> None:
    pictures = read_coco(people_file, OPENPOSE)
    sources = [Source(pictures, Augmentation(), weight=3.0), Source(pictures[:1], Augmentation(), weight=2.0)]
    made = FieldSamples(sources, CODEC, size=96, count=1, seed=0)
    random = np.random.default_rng(0)
    drawn = [made._draw_source(random) for _ in range(2000)]
    assert np.mean(drawn) == pytest.approx(2 / 8, abs=0.03)


def test_without_pictures_there_are_no_samples() -> None:
    with pytest.raises(DataError, match="there are no pictures to make samples from"):
        FieldSamples([Source([], Augmentation())], CODEC, size=96, count=1, seed=0)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_samples_are_the_same_for_any_number_of_workers(people_file: Path, workers: int) -> None:
    made = samples(people_file, count=6)
    made[0]  # reading here must not disturb the workers, which inherit what is open
    loader = DataLoader(made, batch_size=None, num_workers=workers, multiprocessing_context="fork" if workers else None)
    alone = samples(people_file, count=6)
    given = list(loader)
    assert len(given) == 6
    assert all(same(sample, alone[k]) for k, sample in enumerate(given))


@pytest.mark.parametrize("workers", [0, 2])
def test_each_epoch_has_its_own_samples_also_in_workers_that_live_on(people_file: Path, workers: int) -> None:
    made = samples(people_file, count=3)
    loader = DataLoader(
        made,
        batch_size=None,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context="fork" if workers else None,
    )
    epochs = []
    for epoch in (0, 1, 0):
        made.set_epoch(epoch)
        epochs.append(list(loader))
    assert all(same(a, b) for a, b in zip(epochs[0], epochs[2], strict=True))
    assert not any(same(a, b) for a, b in zip(epochs[0], epochs[1], strict=True))


def test_epochs_follow_each_other_in_one_row_of_numbers(people_file: Path) -> None:
    made = samples(people_file, count=3)
    ahead = made[4]
    made.set_epoch(1)
    assert same(made[1], ahead)
    assert same(samples(people_file, count=8)[4], ahead)


def test_pictures_are_not_kept_unless_it_is_asked_for(people_file: Path) -> None:
    made = samples(people_file)
    for k in range(4):
        made[k]
    assert made._kept == {}


def test_a_broken_picture_is_an_error_that_names_it_or_is_skipped(
    people_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures = read_coco(people_file, OPENPOSE)
    broken = [dataclasses.replace(pictures[0], name="gone.png"), pictures[1]]
    source = Source(broken, Augmentation(mosaic=0.0))
    strict = FieldSamples([source], CODEC, size=96, count=8, seed=0)
    with pytest.raises(DataError, match=r"images\.zip: cannot read gone\.png"):
        list(strict)
    lenient, again = (FieldSamples([source], CODEC, size=96, count=8, seed=0, skip_broken=True) for _ in range(2))
    assert all(same(lenient[k], again[k]) for k in reversed(range(8)))
    assert "skipped: " in caplog.text
    assert "gone.png" in caplog.text
    again.preload()
    assert all(same(lenient[k], again[k]) for k in range(8))


def test_a_set_of_broken_pictures_ends_with_an_error(people_file: Path) -> None:
    gone = [dataclasses.replace(picture, name="gone.png") for picture in read_coco(people_file, OPENPOSE)]
    made = FieldSamples([Source(gone, Augmentation())], CODEC, size=96, count=1, seed=0, skip_broken=True)
    with pytest.raises(DataError, match=r"cannot read gone\.png"):
        made[0]


def test_targets_may_be_drawn_by_another_products_rules(people_file: Path) -> None:
    source = Source(read_coco(people_file, OPENPOSE), Augmentation(**STILL))
    ours, theirs = (
        FieldSamples([source], CODEC, size=96, count=1, seed=0, rules=RULES[name])[0] for name in ("ours", "daniil")
    )
    assert torch.equal(ours["picture"], theirs["picture"])
    assert not torch.equal(ours["fields"], theirs["fields"])
    assert theirs["heatmaps"].dtype == torch.float32
