"""Losses by name: what each product that we train like makes small, and our own.

All of them take the maps of each stage and a batch, and give one scalar for each stage and branch ("heatmaps_1",
"fields_1", ...), whose sum is what training makes small. Every one is a mean over the samples of the batch, so that
accumulated gradients and those of several processes, which are averaged, are those of one large batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from manypose.networks.entry import Kind
from manypose.networks.maps import Maps

if TYPE_CHECKING:  # the recipe's checks read this module
    from manypose.training.recipe import Recipe
    from manypose.training.task import Task

HEATMAPS_GAIN = 1.5  # of the heatmaps' error beside that of the fields
HEATMAPS_FOCUS = 6.0  # how much more a cell counts where its target is 1; joints cover few cells of their maps
FIELDS_FOCUS = 2.0
SCALE = 100.0  # keeps the figures readable; nothing else depends on it

Stages = Sequence[Tensor]
Batch = Mapping[str, Tensor]
Error = Callable[[Tensor, Tensor, Tensor], Tensor]  # of a prediction, its target and the cells' weights


LossFunction = Callable[[Stages, Stages, Batch], dict[str, Tensor]]
"""Takes the heatmaps and the fields of all stages, the results last, and a batch; gives the loss of each by name.

Heatmaps (B, K + 1, h, w) and fields (B, 2L, h, w), whose stages may be of different numbers, go with the batch's
`heatmaps`, `fields` and `weights` (B, K + 1 + 2L, h, w), 0 where the labels cannot tell. Networks of crops have no
fields and either K or K + 1 heatmaps; their `weights` (B, K) are those of the joints. SimCC has vectors (B, K, bins):
along x in the place of the heatmaps, along y in that of the fields, and `simcc_x`, `simcc_y` and `weights` (B, K).
"""


@dataclass(frozen=True)
class Loss:
    """A loss by name: its function, the kinds of network that it fits, what it is and where it comes from."""

    function: LossFunction
    kinds: tuple[Kind, ...]
    description: str
    source: str


DEFAULTS: dict[Kind, str] = {"bottom-up": "focused", "crops": "joint-mse", "simcc": "simcc"}


def make_loss(recipe: Recipe, task: Task) -> Callable[[tuple[Stages, Stages], Batch], dict[str, Tensor]]:
    """The recipe's loss, that of `DEFAULTS` where it names none, of (heatmaps, fields) and a batch."""
    function = LOSSES[recipe.loss or DEFAULTS[task.kind]].function
    return lambda stages, batch: function(*stages, batch)


def focused_map_loss(maps: Maps, heatmaps: Tensor, fields: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Masked squared errors of heatmaps and fields, each the mean over all cells; cells with people count more.

    `heatmaps` (B, K + 1, h, w) and `fields` (B, 2L, h, w) are the targets, `weights` (B, K + 1 + 2L, h, w) is 0 where
    the labels cannot tell. A cell of a heatmap counts 1 + 6 * target, one of a field 1 + 2 * |target|.
    """
    joints = heatmaps.shape[1]
    of_heatmaps = _focused_heatmaps(maps.heatmaps, heatmaps, weights[:, :joints])
    return of_heatmaps, _focused_fields(maps.fields, fields, weights[:, joints:])


def _focused_heatmaps(maps: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    focus = 1 + HEATMAPS_FOCUS * target
    focus[:, -1] = 1  # the background is 1 nearly everywhere
    return SCALE * HEATMAPS_GAIN * ((maps - target) ** 2 * focus * weights).mean()


def _focused_fields(maps: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    return SCALE * ((maps - target) ** 2 * (1 + FIELDS_FOCUS * target.abs()) * weights).mean()


def focused_loss(heatmap_stages: Stages, field_stages: Stages, batch: Batch) -> dict[str, Tensor]:
    """`focused_map_loss` of each stage."""
    return _of_stages(heatmap_stages, field_stages, batch, _focused_heatmaps, _focused_fields)


def euclidean_loss(
    heatmap_stages: Stages, field_stages: Stages, batch: Batch, *, samples: int | None = None
) -> dict[str, Tensor]:
    """Sum of (w (p - t))^2 over all cells, divided by twice the samples of the batch: Caffe's EuclideanLoss.

    The weights act squared. The Keras product divides by the constant 10 (`samples`) whatever its batch is: the same
    where that is 10.
    """

    def error(maps: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        return (weights * (maps - target)).square().sum() / (2 * (samples or len(maps)))

    return _of_stages(heatmap_stages, field_stages, batch, error, error)


def masked_mean_loss(heatmap_stages: Stages, field_stages: Stages, batch: Batch) -> dict[str, Tensor]:
    """Mean of (p - t)^2 over all cells, in which those that the labels cannot tell count as right."""

    def error(maps: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        return functional.mse_loss(maps, torch.where(weights > 0, target, maps.detach()))

    return _of_stages(heatmap_stages, field_stages, batch, error, error)


def mean_loss(heatmap_stages: Stages, field_stages: Stages, batch: Batch) -> dict[str, Tensor]:
    """Mean of (p - t)^2 over all cells, those that the labels cannot tell included: the weights are not heeded."""

    def error(maps: Tensor, target: Tensor, _: Tensor) -> Tensor:
        return functional.mse_loss(maps, target)

    return _of_stages(heatmap_stages, field_stages, batch, error, error)


def half_mean_loss(heatmap_stages: Stages, field_stages: Stages, batch: Batch) -> dict[str, Tensor]:
    """Half the mean of (w (p - t))^2 over all cells; the weights act squared.

    As the loss of networks of crops it is half the mean over the joints, those of weight 0 included. As Gluon's L2Loss
    it is the mean of each sample, and `step(batch)` then divides the summed gradients by the samples: the same.
    """

    def error(maps: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        return (weights * (maps - target)).square().mean() / 2

    return _of_stages(heatmap_stages, field_stages, batch, error, error)


def hardest_joints_loss(
    heatmap_stages: Stages, field_stages: Stages, batch: Batch, *, hardest: int = 8
) -> dict[str, Tensor]:
    """Half the mean of (w (p - t))^2 over the `hardest` joints of each sample, or all where there are not so many.

    Known as OHKM. The weights act squared; a joint of weight 0 counts as one without error.
    """

    def error(maps: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        of_joints = (weights * (maps - target)).square().mean(dim=(2, 3)) / 2
        return of_joints.topk(min(hardest, of_joints.shape[1]), dim=1).values.mean()

    return _of_stages(heatmap_stages, field_stages, batch, error, error)


def simcc_loss(
    x_stages: Stages, y_stages: Stages, batch: Batch, *, sharpness: float = 10.0, target_sharpness: float | None = 10.0
) -> dict[str, Tensor]:
    """Kullback-Leibler divergence of SimCC's vectors (B, K, bins) from their targets, times the joints' weights.

    Both become shares by a softmax after they were multiplied by `sharpness`: the targets are Gaussians of height 1
    (`SimccCodec.encode`), or, with `target_sharpness` None, shares already. It is the mean over the bins (not their
    sum, as the divergence has), the joints and the samples; RTMPose's program sums over the samples, so that its loss
    is the batch times ours.
    """
    weights = batch["weights"]

    def error(vectors: Tensor, target: Tensor, _: Tensor) -> Tensor:
        if target_sharpness is not None:
            target = (target_sharpness * target).softmax(dim=2)
        logarithms = (sharpness * vectors).log_softmax(dim=2)
        of_joints = functional.kl_div(logarithms, target, reduction="none").mean(dim=2)
        return (of_joints * weights.reshape(of_joints.shape)).mean()

    losses = {f"x_{n}": error(vectors, batch["simcc_x"], weights) for n, vectors in enumerate(x_stages, 1)}
    return losses | {f"y_{n}": error(vectors, batch["simcc_y"], weights) for n, vectors in enumerate(y_stages, 1)}


def smoothed_simcc_loss(x_stages: Stages, y_stages: Stages, batch: Batch) -> dict[str, Tensor]:
    """`simcc_loss` for targets that are shares (`SimccCodec(smoothing=0.1)`), both without sharpening."""
    return simcc_loss(x_stages, y_stages, batch, sharpness=1.0, target_sharpness=None)


def distillation_loss(maps: Tensor, teacher: Tensor, channels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean squared error of our last stage's maps (B, C, h, w) against those of another network, in our order.

    `channels` (C,) is true where the other network has the joint or field; the others of its maps may hold anything.
    `weights` (B, C, h, w), if given, is 0 where it shall not count; such cells stay in the mean. Gives 0 where the
    two have nothing in common.
    """
    ours, theirs = maps[:, channels], teacher[:, channels]
    error = (ours - theirs).square()
    if weights is not None:
        error = error * weights[:, channels]
    return error.sum() / max(error.numel(), 1)


def _of_stages(
    heatmap_stages: Stages, field_stages: Stages, batch: Batch, of_heatmaps: Error, of_fields: Error
) -> dict[str, Tensor]:
    """The errors of each stage and branch by name; the branches may have different numbers of stages."""
    heatmaps = batch["heatmaps"]
    joints = heatmaps.shape[1]
    weights = _spread(batch["weights"], joints)
    losses = {
        f"heatmaps_{n}": of_heatmaps(maps, heatmaps, weights[:, :joints]) for n, maps in enumerate(heatmap_stages, 1)
    }
    for n, maps in enumerate(field_stages, 1):
        losses[f"fields_{n}"] = of_fields(maps, batch["fields"], weights[:, joints:])
    return losses


def _spread(weights: Tensor, channels: int) -> Tensor:
    """Weights of joints (B, K) as those of maps (B, K, 1, 1); a background behind them counts fully."""
    if weights.ndim == 4:
        return weights
    if weights.shape[1] == channels - 1:
        weights = functional.pad(weights, (0, 1), value=1)
    return weights[:, :, None, None]


LOSSES: dict[str, Loss] = {
    "focused": Loss(focused_loss, ("bottom-up",), "masked mean in which cells with people count more", "manypose"),
    "euclidean": Loss(
        euclidean_loss,
        ("bottom-up", "crops"),
        "masked sum over the cells, halved",
        "Caffe's EuclideanLoss: CMU's programs of 2017 and of BODY_25, Lightweight OpenPose, the Keras product",
    ),
    "treb1en": Loss(
        masked_mean_loss,
        ("bottom-up",),
        "mean over the cells; masked ones count as right",
        "Pytorch0.4.1_Openpose and the Chainer program that it follows",
    ),
    "mean": Loss(
        mean_loss,
        ("bottom-up", "crops"),
        "mean over all cells, masked ones included",
        "pytorch_Realtime_Multi-Person_Pose_Estimation",
    ),
    "gluon": Loss(
        half_mean_loss, ("bottom-up",), "masked mean over the cells, halved", "Gluon's L2Loss: MXNet product"
    ),
    "joint-mse": Loss(
        half_mean_loss, ("crops",), "mean over joints and cells, halved; weights act squared", "HRNet, Simple Baselines"
    ),
    "joint-ohkm": Loss(
        hardest_joints_loss, ("crops",), "joint-mse of the eight worst joints of each sample", "HRNet, after CPN"
    ),
    "simcc": Loss(simcc_loss, ("simcc",), "divergence from Gaussians along x and y", "RTMPose (mmpose)"),
    "simcc-smooth": Loss(
        smoothed_simcc_loss, ("simcc",), "divergence from smoothed labels along x and y", "SimCC (mmpose)"
    ),
}
