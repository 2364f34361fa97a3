"""Distillation: another model's maps of the same pictures, as targets beside the labels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from manypose.codecs.heatmaps import HeatmapCodec
from manypose.codecs.simcc import SimccCodec
from manypose.codecs.targets import RULES
from manypose.errors import ModelError, RecipeError
from manypose.metadata import FieldSettings, HeatmapSettings
from manypose.model import Model, load_model
from manypose.skeleton import Limb, Skeleton
from manypose.training.losses import distillation_loss
from manypose.training.task import Task

Array = NDArray[np.float32]
Places = list[int | None]


class Teacher:
    """A model whose maps the network shall learn; channels go by the names of joints and limbs.

    It is opened anew where it is first run: threads of the runtime do not come along into the processes that a run
    forks. Several processes take one thread each on a CPU, if the recipe says no other number.

    Raises `RecipeError` for a model that gives other maps than the network, or that has no joint in common with it.
    """

    def __init__(self, task: Task, file: Path | str, *, weight: float) -> None:
        self.task, self.file, self.weight = task, file, weight
        try:
            model = load_model(str(file), threads=1)
        except ModelError as error:
            raise RecipeError(f"teacher: {error}") from None
        self._check(model)
        theirs, ours = model.skeleton, task.skeleton
        background = _has_background(model.metadata.maps), _has_background(task.codec)
        self.joints = _match_joints(ours, theirs, background=background)
        self.fields, self.signs = _match_fields(ours, theirs) if task.is_bottom_up else ([], [])
        self.shift = 0.0
        if isinstance(model.metadata.maps, FieldSettings):
            offset = RULES[task.recipe.target_rules].offset
            self.shift = (model.metadata.maps.field_offset - offset) / model.metadata.maps.stride
        if not any(place is not None for place in self.joints[: len(ours)]):
            raise RecipeError(f"teacher: {file} has no joint of {ours.name!r}: its are {', '.join(theirs.joints)}")

    def _check(self, model: Model) -> None:
        """Raise `RecipeError` where cells of its maps are not cells of ours."""
        maps, codec = model.metadata.maps, self.task.codec
        if isinstance(codec, SimccCodec):
            raise RecipeError(f"teacher: {self.task.recipe.network} gives no maps that another model's are like")
        wanted = FieldSettings if self.task.is_bottom_up else HeatmapSettings
        if not isinstance(maps, wanted) or maps.stride != codec.stride:
            raise RecipeError(
                f"teacher: {self.file} gives maps of another kind or stride than {self.task.recipe.network}, whose "
                f"stride is {codec.stride}; choose a {'bottom-up' if self.task.is_bottom_up else 'top-down'} model "
                "with the same"
            )
        if isinstance(codec, HeatmapCodec) and (maps.offset, maps.udp) != (codec.offset, codec.udp):  # type: ignore[union-attr]
            raise RecipeError(
                f"teacher: the cells of {self.file} lie elsewhere than those of {self.task.recipe.network} (offset or "
                "udp): choose a model that was trained alike"
            )

    @cached_property
    def model(self) -> Model:
        """The model as this process runs it."""
        recipe = self.task.recipe
        return load_model(str(self.file), threads=recipe.threads or (1 if recipe.processes > 1 else 0))

    def __deepcopy__(self, _: Any) -> Teacher:
        return self  # the averaged copy of a network shares it: nothing of it changes

    def losses(self, stages: tuple[Sequence[Tensor], Sequence[Tensor]], pictures: Tensor) -> dict[str, Tensor]:
        """The weighted losses of the network's last maps for RGB bytes (B, 3, H, W)."""
        outputs = self._run(list(pictures.permute(0, 2, 3, 1).cpu().numpy()))
        heatmaps = _pick(outputs["heatmaps"], self.joints)
        losses = {"teacher_heatmaps": self._loss(stages[0][-1], heatmaps, self.joints)}
        if self.task.is_bottom_up:
            fields = _pick(_move(outputs["fields"], self.shift), self.fields)
            fields *= np.array(self.signs, np.float32)[:, None, None]
            losses["teacher_fields"] = self._loss(stages[1][-1], fields, self.fields)
        return losses

    def _run(self, pictures: list[NDArray[np.uint8]]) -> dict[str, Array]:
        """The model's maps (B, C, h, w) by meaning."""
        batch = self.model.prepare(pictures)
        if self.task.is_bottom_up:
            return self.model.run(batch)
        (maps,) = self.model.infer(batch)["heatmaps"]
        return {"heatmaps": maps.transpose(0, 3, 1, 2) if self.model.metadata.maps.layout == "nhwc" else maps}  # type: ignore[union-attr]

    def _loss(self, maps: Tensor, targets: Array, places: Places) -> Tensor:
        known = torch.tensor([place is not None for place in places], device=maps.device)
        return self.weight * distillation_loss(maps.float(), torch.from_numpy(targets).to(maps.device), known)


def _pick(maps: Array, places: Places) -> Array:
    """The channels of maps (B, C, h, w) by their places; what there is not may be anything."""
    return np.stack([maps[:, place or 0] for place in places], axis=1)


def _has_background(maps: Any) -> bool:
    """Whether the last heatmap is no joint's: always so beside fields."""
    return getattr(maps, "background", True)


def _match_joints(ours: Skeleton, theirs: Skeleton, *, background: tuple[bool, bool]) -> Places:
    """For each of our heatmaps theirs; `background` says whether they and we have one behind the joints'."""
    places = [theirs.joints.index(joint) if joint in theirs.joints else None for joint in ours.joints]
    # What is background depends on all joints: it is the same only where these are.
    of_theirs, of_ours = background
    same = of_theirs and set(ours.joints) == set(theirs.joints)
    return [*places, len(theirs) if same else None] if of_ours else places


def _match_fields(ours: Skeleton, theirs: Skeleton) -> tuple[Places, list[float]]:
    """For each of our channels of fields theirs, and -1 where their limb runs the other way."""
    known = [_names(theirs, limb) for limb in theirs.fields]
    places: Places = []
    signs: list[float] = []
    for limb in ours.fields:
        ends = _names(ours, limb)
        turned = ends[::-1] in known and ends not in known
        ends = ends[::-1] if turned else ends
        place = known.index(ends) if ends in known else None
        places += [None, None] if place is None else [2 * place, 2 * place + 1]
        signs += [-1.0 if turned else 1.0] * 2
    return places, signs


def _names(skeleton: Skeleton, limb: Limb) -> tuple[str, str]:
    return skeleton.joints[limb[0]], skeleton.joints[limb[1]]


def _move(maps: Array, shift: float) -> Array:
    """Maps (B, C, h, w) read `shift` cells further to the right and below, linearly; less than a cell."""
    for axis in (2, 3) if shift else ():
        last = maps.shape[axis] - 1
        nearest = np.clip(np.arange(last + 1) + (1 if shift > 0 else -1), 0, last)
        maps = np.asarray((1 - abs(shift)) * maps + abs(shift) * maps.take(nearest, axis=axis), np.float32)
    return maps
