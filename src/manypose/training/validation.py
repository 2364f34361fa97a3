"""Validation: pictures without augmentation, the loss on them, and the joints found in them beside their labels.

All of it happens in pixels of the network's input: a similarity keeps OKS what it is.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed
from torch.utils.data import DataLoader, Dataset, Sampler

from manypose import geometry
from manypose.codecs.fields import FieldsCodec
from manypose.codecs.simcc import SimccCodec
from manypose.codecs.targets import RULES, encode_targets
from manypose.data.augment import warp_labels
from manypose.data.datasets import picture_key
from manypose.data.pictures import LabelledPicture
from manypose.data.samples import cell_weights
from manypose.data.top_down import TopDownAugmentation, TopDownSamples
from manypose.evaluation.coco_ap import keypoint_average_precision
from manypose.formats import coco
from manypose.people import People
from manypose.skeleton import Skeleton
from manypose.training.loaders import PictureSet, rank_of_all, single_thread
from manypose.training.task import Task

Array = NDArray[np.float32]
# OKS sigmas where nobody measured any: about those of a hip, among the joints of COCO.
UNKNOWN_SIGMA = 0.1
STILL = TopDownAugmentation(
    scale=0.0, rotation=0.0, rotated=0.0, shifted=0.0, flip=0.0, half_body=0.0, colour=0.0, grey=0.0, blur=0.0
)


class WholePictures(Dataset[dict[str, Tensor]]):
    """Whole pictures fitted into the square that a bottom-up network is trained on, as `FieldSamples` gives crops."""

    def __init__(self, task: Task, pictures: Sequence[LabelledPicture]) -> None:
        assert isinstance(task.codec, FieldsCodec)
        self.pictures, self.codec, self.recipe = pictures, task.codec, task.recipe

    def __len__(self) -> int:
        return len(self.pictures)

    def fit(self, index: int) -> NDArray[np.float64]:
        """Affine (2, 3) from a picture to the network's input, whose middle is the picture's."""
        width, height = self.pictures[index].size
        scale = min(self.recipe.crop_size) / max(width, height)
        return geometry.crop_affine(((width - 1) / 2, (height - 1) / 2), scale, 0.0, self.recipe.crop_size)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        size = self.recipe.crop_size
        crop = warp_labels(self.pictures[index], self.pictures[index].read(), self.fit(index), size)
        heatmaps, fields = encode_targets(crop.keypoints, size, self.codec, RULES[self.recipe.target_rules])
        weights = cell_weights(self.pictures[index], crop, size, self.codec)
        return {
            "picture": torch.from_numpy(np.ascontiguousarray(crop.picture.transpose(2, 0, 1))),
            "heatmaps": torch.from_numpy(heatmaps),
            "fields": torch.from_numpy(fields),
            "weights": torch.from_numpy(weights),
            "index": torch.tensor(index),
        }

    def truth(self, index: int) -> LabelledPicture:
        """The labels in pixels of the network's input."""
        labels = self.pictures[index]
        matrix = self.fit(index)
        return _moved(labels, matrix, self.recipe.crop_size)


class WholePeople(Dataset[dict[str, Tensor]]):
    """One crop for each labelled person, as `TopDownSamples` gives them, without augmentation."""

    def __init__(self, task: Task, pictures: Sequence[LabelledPicture]) -> None:
        assert not isinstance(task.codec, FieldsCodec)
        self.size = task.recipe.crop_size
        self.samples = TopDownSamples(
            pictures, task.skeleton, task.codec, size=self.size, seed=0, augmentation=_still(task)
        )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {**self.samples[index], "index": torch.tensor(index)}

    def truth(self, index: int) -> LabelledPicture:
        """The labels of this one person in pixels of the network's input."""
        picture, person = self.samples.people[index]
        labels = self.samples.pictures[picture].select([person])
        matrix = geometry.box_affine(
            labels.boxes[0], self.size, padding=self.samples.augmentation.padding, udp=self.samples.codec.udp
        )
        return _moved(labels, matrix, self.size)


def _still(task: Task) -> TopDownAugmentation:
    return dataclasses.replace(STILL, padding=task.recipe.padding)


def _moved(labels: LabelledPicture, matrix: NDArray[np.float64], size: tuple[int, int]) -> LabelledPicture:
    """The labels where an upright affine takes them; areas of nobody knows what are left out."""
    factor = float(abs(np.linalg.det(matrix[:, :2])))

    def move(boxes: Array) -> Array:
        return geometry.transform_points(boxes.reshape(-1, 2), matrix).reshape(-1, 4)

    return dataclasses.replace(
        labels,
        size=size,
        keypoints=geometry.transform_points(labels.keypoints, matrix),
        boxes=move(labels.boxes),
        ignore=move(labels.ignore),
        areas=np.asarray(labels.areas * factor, np.float32),
        segments=(None,) * len(labels),
        ignore_segments=(None,) * len(labels.ignore),
    )


class _Share(Sampler[int]):
    """Every n-th sample: those that this one of n processes validates; at least one, which PyTorch asks for."""

    def __init__(self, count: int) -> None:
        self.count = count

    def _range(self) -> range:
        rank, processes = rank_of_all()
        return range(min(rank, self.count - 1), self.count, processes)

    def __iter__(self) -> Iterator[int]:
        return iter(self._range())

    def __len__(self) -> int:
        return len(self._range())


@dataclass(eq=False)
class Validation:
    """Gathers what was found, over the pictures of this process and then over all processes."""

    task: Task
    samples: WholePictures | WholePeople
    rows: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    losses: dict[int, tuple[float, int]] = field(default_factory=dict)  # by the first sample of a batch
    examples: list[tuple[NDArray[np.uint8], People]] = field(default_factory=list)

    def loader(self) -> DataLoader[Any]:
        """The pictures that this process validates."""
        recipe = self.task.recipe
        return DataLoader(
            self.samples,
            batch_size=recipe.val_batch_size,
            sampler=_Share(len(self.samples)),
            num_workers=min(recipe.workers, 1),
            worker_init_fn=single_thread,
        )

    def add(self, stages: Any, batch: dict[str, Tensor], loss: float) -> None:
        """Keep what a batch gave: `stages` of the network and the loss, a mean over its pictures."""
        found = decode(self.task, *(maps[-1].float().cpu().numpy() for maps in stages if maps))
        self.losses[int(batch["index"][0])] = loss, len(found)
        for n, (index, people) in enumerate(zip(batch["index"].tolist(), found, strict=True)):
            self.rows[index] = coco.to_results(people, index, category_id=1, skeleton=self.task.skeleton)
            if len(self.examples) < self.task.recipe.example_pictures:
                self.examples.append((batch["picture"][n].cpu().numpy().transpose(1, 2, 0), people))

    @functools.cached_property
    def truth(self) -> dict[str, Any]:
        """The labels of all samples, made once: every validation compares with the same."""
        return truth_of(self.task.skeleton, self.samples)

    def finish(self, trainer: Any) -> dict[str, float]:
        """The figures over all processes, the same on each: `loss`, and AP as `metric`; begins anew."""
        gathered: list[Any] = [(self.rows, self.losses)]
        if trainer.world_size > 1:
            gathered = [None] * trainer.world_size
            distributed.all_gather_object(gathered, (self.rows, self.losses))
        of_samples = {index: found for part, _ in gathered for index, found in part.items()}
        rows = [row for index in sorted(of_samples) for row in of_samples[index]]
        of_batches = {first: loss for _, part in gathered for first, loss in part.items()}
        losses = [of_batches[first] for first in sorted(of_batches)]
        self.rows, self.losses = {}, {}
        count = sum(number for _, number in losses)
        mean = sum(value * number for value, number in losses) / max(1, count)
        metric = 0.0 if trainer.sanity_checking else average_precision(self.task.skeleton, self.truth, rows)
        return {"loss": mean, "metric": metric}


def make_validation(task: Task, sets: Sequence[PictureSet]) -> Validation | None:
    """The validation of a run; None where there are no pictures for it."""
    pictures = [picture for group in sets for picture in group.pictures]
    if not pictures:
        return None
    return Validation(task, WholePictures(task, pictures) if task.is_bottom_up else WholePeople(task, pictures))


def names_of(validation: Validation) -> str:
    """The names of the pictures that are validated on, a line each, in order and once each."""
    samples = validation.samples
    pictures = samples.pictures if isinstance(samples, WholePictures) else samples.samples.pictures
    return "".join(f"{name}\n" for name in sorted({picture_key(picture) for picture in pictures}))


def decode(task: Task, heatmaps: Array, fields: Array | None = None) -> list[People]:
    """The people in the last maps (B, ...) of a network, or in SimCC's vectors, in pixels of its input."""
    size = task.recipe.crop_size
    if isinstance(task.codec, FieldsCodec):
        assert fields is not None
        codec = dataclasses.replace(task.codec, field_offset=RULES[task.recipe.target_rules].offset)
        return [codec.decode(*maps, image_size=size) for maps in zip(heatmaps, fields, strict=True)]
    if isinstance(task.codec, SimccCodec):
        assert fields is not None  # the vectors along y
        keypoints, scores = task.codec.decode(heatmaps, fields)
    else:
        keypoints, scores = task.codec.decode(heatmaps)
    return [
        People.build(joints[None], certainty[None], skeleton=task.skeleton, image_size=size)
        for joints, certainty in zip(keypoints, scores, strict=True)
    ]


def average_precision(skeleton: Skeleton, content: dict[str, Any], rows: Sequence[dict[str, Any]]) -> float:
    """AP of COCO of result rows beside the content of a COCO file (`truth_of`); 0 without any people to find."""
    if not any(row["num_keypoints"] for row in content["annotations"]):
        return 0.0
    sigmas = skeleton.sigmas or (UNKNOWN_SIGMA,) * len(skeleton)
    judge = dataclasses.replace(skeleton, sigmas=sigmas)
    return max(0.0, keypoint_average_precision(content, rows, skeleton=judge, resamples=1)["AP"])


def truth_of(skeleton: Skeleton, samples: WholePictures | WholePeople) -> dict[str, Any]:
    """The labels of all samples as the content of a COCO file, in pixels of the network's input."""
    annotations: list[dict[str, Any]] = []
    images = []
    for index in range(len(samples)):
        labels = samples.truth(index)
        images.append({"id": index, "width": labels.size[0], "height": labels.size[1], "file_name": str(index)})
        for n in range(len(labels)):
            annotations.append(_annotation(len(annotations) + 1, index, labels, n))
        for box in labels.ignore:
            annotations.append(_crowd(len(annotations) + 1, index, box, len(skeleton)))
    category = {"id": 1, "name": "object", "keypoints": list(skeleton.joints), "skeleton": []}
    return {"images": images, "annotations": annotations, "categories": [category]}


def _annotation(number: int, index: int, labels: LabelledPicture, person: int) -> dict[str, Any]:
    joints = labels.keypoints[person]
    there = ~np.isnan(joints[:, 0])
    rows = np.column_stack([np.nan_to_num(joints), 2 * there])
    box = labels.boxes[person]
    if not np.isfinite(box).all():
        box = geometry.keypoint_boxes(joints[None])[0]
    sides = box[2:] - box[:2]
    area = float(labels.areas[person])
    return {
        "id": number,
        "image_id": index,
        "category_id": 1,
        "keypoints": rows.ravel().tolist(),
        "num_keypoints": int(there.sum()),
        "bbox": [*map(float, box[:2]), *map(float, sides)],
        "area": area if np.isfinite(area) and area > 0 else float(max(1.0, 0.53 * sides.prod())),
        "iscrowd": 0,
    }


def _crowd(number: int, index: int, box: Array, joints: int) -> dict[str, Any]:
    sides = np.maximum(box[2:] - box[:2], 0)
    return {
        "id": number,
        "image_id": index,
        "category_id": 1,
        "keypoints": [0] * 3 * joints,
        "num_keypoints": 0,
        "bbox": [*map(float, box[:2]), *map(float, sides)],
        "area": float(sides.prod()),
        "iscrowd": 1,
    }
