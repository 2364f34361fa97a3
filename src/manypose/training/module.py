"""The Lightning module of all training: forward, loss, optimiser, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from manypose.networks.body25 import Body25
from manypose.networks.maps import Maps, Vectors
from manypose.skeleton import skeleton_from_dict
from manypose.training.distillation import Teacher
from manypose.training.losses import make_loss
from manypose.training.optimisers import make_optimiser
from manypose.training.parameters import freeze, freeze_norms, hold_frozen, parameter_groups
from manypose.training.recipe import Recipe
from manypose.training.schedules import RateSchedule, make_schedule
from manypose.training.task import Task, make_task
from manypose.training.validation import Validation

Stages = tuple[Sequence[Tensor], Sequence[Tensor]]
"""Heatmaps of each stage and fields of each stage, the result last; crops have no fields.

Of SimCC they are the vectors along x and those along y.
"""


class Training(lightning.LightningModule):
    """Trains the network of a task by its recipe; `epoch_length` is how many steps see every sample once."""

    def __init__(self, task: Task, *, steps: int, epoch_length: float, validation: Validation | None = None) -> None:
        super().__init__()
        self.task, self.recipe = task, task.recipe
        self.steps, self.epoch_length = steps, epoch_length
        self.validation = validation
        self.provenance: dict[str, Any] = {}
        self.save_hyperparameters({"recipe": self.recipe.model_dump(mode="json"), "skeleton": task.skeleton.to_dict()})
        self.network = task.build_network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Before the network is wrapped for several processes, which wait for the gradient of everything that learns.
        freeze(self.network, self.recipe.parameters)
        if self.recipe.frozen_norms:
            freeze_norms(self.network)
        self.loss = make_loss(self.recipe, task)
        weight = self.recipe.teacher_weight
        self.teacher = None if self.recipe.teacher is None else Teacher(task, self.recipe.teacher, weight=weight)
        self.batch_losses: list[Tensor] = []  # of the batches of this step so far, the mean of all processes each

    def setup(self, stage: str) -> None:
        if self.recipe.threads:  # Lightning has given each of several processes its share of the cores
            torch.set_num_threads(self.recipe.threads)

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        stages = stages_of(self.network, self.task.normalise(batch["picture"]))
        losses = self.loss(stages, batch)
        if self.teacher is not None:
            losses |= self.teacher.losses(stages, batch["picture"])
        values = torch.stack(list(losses.values()))
        self._log_losses(tuple(losses), values.detach(), index)
        return values.sum()

    def _log_losses(self, names: Sequence[str], values: Tensor, index: int) -> None:
        """Log the losses of a whole step, every so many: the mean over its batches and all processes."""
        if index % self.trainer.accumulate_grad_batches == 0:
            self.batch_losses.clear()
        self.batch_losses.append(self.trainer.strategy.reduce(values.float().clone(), reduce_op="mean"))
        if (index + 1) % self.trainer.accumulate_grad_batches or (self.trainer.global_step + 1) % self.recipe.log_every:
            return  # what is logged in vain costs as much as a good part of the optimiser's step
        means = torch.stack(self.batch_losses).mean(dim=0)
        self.log("loss", means.sum(), prog_bar=True)
        self.log_dict({f"losses/{name}": value for name, value in zip(names, means, strict=True)})

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        assert self.validation is not None
        stages = stages_of(self.network, self.task.normalise(batch["picture"]))
        total = torch.stack(list(self.loss(stages, batch).values())).sum()
        self.validation.add(stages, batch, float(total))

    def on_validation_epoch_end(self) -> None:
        assert self.validation is not None
        figures = self.validation.finish(self.trainer)
        schedule = self.lr_schedulers()
        if isinstance(schedule, RateSchedule) and not self.trainer.sanity_checking:
            schedule.observe(figures["loss"])
        # The same in all processes, each of which decides by them about the best checkpoint and an early stop.
        self.log_dict({f"val_{name}": value for name, value in figures.items()}, prog_bar=True, sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["provenance"] = self.provenance

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        decay = {"learning_rate": recipe.learning_rate, "weight_decay": recipe.weight_decay}
        groups = parameter_groups(self.network, recipe.parameters, optimiser=recipe.optimiser, **decay)
        optimiser = make_optimiser(
            recipe.optimiser, groups, **decay, momentum=recipe.momentum, nesterov=recipe.nesterov
        )
        schedule = make_schedule(recipe, optimiser, steps=self.steps, epoch_length=self.epoch_length)
        return {"optimizer": optimiser, "lr_scheduler": schedule}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        step = self.trainer.global_step
        hold_frozen(optimizer, step=step, epoch=int(step / self.epoch_length))


def stages_of(network: nn.Module, pictures: Tensor) -> Stages:
    """What a network gives for normalised pictures (B, 3, H, W), stage by stage."""
    if isinstance(network, Body25):  # has more stages of fields than of heatmaps
        return network.stages(pictures)
    outputs = network(pictures)
    if isinstance(outputs, Tensor):
        return [outputs], []
    if isinstance(outputs, Vectors):
        return [outputs.simcc_x], [outputs.simcc_y]
    if isinstance(outputs[0], Maps):
        return [maps.heatmaps for maps in outputs], [maps.fields for maps in outputs]
    return list(outputs), []


def load_task(checkpoint: dict[str, Any]) -> tuple[Task, nn.Module]:
    """Task and network of a checkpoint, with its averaged weights, ready for use (eval mode)."""
    parameters = checkpoint["hyper_parameters"]
    task = make_task(Recipe(**parameters["recipe"]), skeleton_from_dict(parameters["skeleton"]))
    network = task.build_network()
    network.load_state_dict(
        {
            name.removeprefix("network."): value
            for name, value in checkpoint["state_dict"].items()
            if name.startswith("network.")
        }
    )
    return task, network.eval()
