"""Distillation: another model's maps of the same pictures, as targets beside the labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from manypose.errors import RecipeError
from manypose.metadata import FieldSettings, HeatmapSettings
from manypose.model import Model, load_model
from manypose.skeleton import Limb, Skeleton
from manypose.training.losses import distillation_loss
from manypose.training.task import Task

Array = NDArray[np.float32]
Places = list[int | None]


class Teacher:
    """A model whose maps the network shall learn; channels go by the names of joints and limbs.

    Raises `RecipeError` for a model that gives other maps than the network, or that has no joint in common with it.
    """

    def __init__(self, task: Task, file: Path | str, *, weight: float) -> None:
        self.task, self.weight = task, weight
        self.model: Model = load_model(file)
        maps = self.model.metadata.maps
        wanted = FieldSettings if task.is_bottom_up else HeatmapSettings
        if not isinstance(maps, wanted) or maps.stride != task.codec.stride:
            raise RecipeError(
                f"distil: {file} gives maps of another kind or stride than {task.recipe.network}, whose stride is "
                f"{task.codec.stride}; choose a {'bottom-up' if task.is_bottom_up else 'top-down'} model with the same"
            )
        self.shift = maps.field_offset / maps.stride if isinstance(maps, FieldSettings) else 0.0
        theirs, ours = self.model.skeleton, task.skeleton
        background = task.is_bottom_up or getattr(task.codec, "background", False)
        self.joints = _match_joints(ours, theirs, background=background)
        self.fields, self.signs = _match_fields(ours, theirs) if task.is_bottom_up else ([], [])
        if not any(place is not None for place in self.joints[: len(ours)]):
            raise RecipeError(f"distil: {file} has no joint of {ours.name!r}: its are {', '.join(theirs.joints)}")

    def __deepcopy__(self, _: Any) -> Teacher:
        return self  # the averaged copy of a network shares it: nothing of it changes

    def losses(self, stages: tuple[Sequence[Tensor], Sequence[Tensor]], pictures: Tensor) -> dict[str, Tensor]:
        """The weighted losses of the network's last maps for RGB bytes (B, 3, H, W)."""
        batch = self.model.prepare(list(pictures.permute(0, 2, 3, 1).cpu().numpy()))
        outputs = self.model.infer(batch)
        heatmaps = _pick(np.asarray(outputs["heatmaps"][-1], np.float32), self.joints)
        losses = {"distil_heatmaps": self._loss(stages[0][-1], heatmaps, self.joints)}
        if self.task.is_bottom_up:
            fields = _pick(_move(np.asarray(outputs["fields"][-1], np.float32), self.shift), self.fields)
            fields *= np.array(self.signs, np.float32)[:, None, None]
            losses["distil_fields"] = self._loss(stages[1][-1], fields, self.fields)
        return losses

    def _loss(self, maps: Tensor, targets: Array, places: Places) -> Tensor:
        known = torch.tensor([place is not None for place in places], device=maps.device)
        return self.weight * distillation_loss(maps.float(), torch.from_numpy(targets).to(maps.device), known)


def _pick(maps: Array, places: Places) -> Array:
    """The channels of maps (B, C, h, w) by their places; what there is not may be anything."""
    return np.stack([maps[:, place or 0] for place in places], axis=1)


def _match_joints(ours: Skeleton, theirs: Skeleton, *, background: bool) -> Places:
    places = [theirs.joints.index(joint) if joint in theirs.joints else None for joint in ours.joints]
    # What is background depends on all joints: it is the same only where these are.
    same = set(ours.joints) == set(theirs.joints)
    return [*places, len(theirs) if same else None] if background else places


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
    """Maps (B, C, h, w) read `shift` cells further to the right and below, linearly."""
    for axis in (2, 3) if shift else ():
        last = maps.shape[axis] - 1
        following = maps.take(np.minimum(np.arange(1, last + 2), last), axis=axis)
        maps = np.asarray((1 - shift) * maps + shift * following, np.float32)
    return maps
