"""Finds a learning rate: it is raised from step to step until the loss goes up, and one where it fell fastest is taken.

Source: L. N. Smith, "Cyclical Learning Rates for Training Neural Networks" (2017), the range test, with an exponential
ramp as fastai has it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch import callbacks
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from manypose.errors import RecipeError, TrainingError
from manypose.training.devices import check_devices
from manypose.training.loaders import (
    epoch_length,
    make_loader,
    make_samples,
    make_served_loader,
    read_pictures,
)
from manypose.training.mishaps import explain_memory
from manypose.training.module import Training
from manypose.training.recipe import Recipe
from manypose.training.start import start_from
from manypose.training.task import Task, make_task

PICTURE = "rates.png"
STEPS = 100
LOWEST, HIGHEST = 1e-3, 1e2  # of the recipe's rate
DIVERGED = 4.0  # times the lowest loss so far
FEWEST = 10  # losses that a suggestion needs
_BANDWIDTH = 0.3  # decades of the rate over which losses are smoothed
_CLEAR = 3.5  # times the middle distance of a loss from the smoothed one: a fall that noise alone does not make
_ROUNDING = 1e-9
_MEMORY = 0.8  # of the running mean that tells when to stop

Figures = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Suggestion:
    """A learning rate, and what it is taken from.

    `rate` is where the smoothed loss falls fastest over the logarithm of the rate; from `low` to `high` it falls at
    least half as fast. `rates` and `losses` (n,) are those of the steps, `smoothed` (m,) the first of them smoothed, up
    to a loss that is no number.
    """

    rate: float
    low: float
    high: float
    rates: Figures
    losses: Figures
    smoothed: Figures

    @property
    def limit(self) -> float:
        """The rate from which on the loss falls no more."""
        return float(self.rates[np.argmin(self.smoothed)])


def suggest_rate(rates: Sequence[float] | Figures, losses: Sequence[float] | Figures) -> Suggestion:
    """The rate at which the loss falls fastest; `rates` (n,) rise, `losses` (n,) are those of the steps with them.

    Only what comes before the lowest smoothed loss counts. Value and slope are those of straight lines fitted with
    Gaussian weights over 0.3 decades. Raises `TrainingError` where there are fewer than 10 losses before the first that
    is no number, and where the loss does not fall by much more than it jumps from step to step.
    """
    rates, losses = np.asarray(rates, np.float64), np.asarray(losses, np.float64)
    finite = np.isfinite(losses)
    count = len(losses) if finite.all() else int(np.argmin(finite))
    if count < FEWEST:
        last = rates[min(count, len(rates) - 1)]
        raise TrainingError(
            f"the loss is no number after {count} steps, at a learning rate of {last:.2g}: begin with a lower "
            "learning_rate, or look for wrong labels (`manypose data check`)"
        )
    places = np.log10(rates[:count])
    smoothed, slopes = _fit_lines(places, losses[:count])
    lowest = int(np.argmin(smoothed))
    jump = float(np.median(np.abs(losses[:count] - smoothed)))
    clear = _CLEAR * jump + _ROUNDING * float(np.abs(smoothed).max())
    best = int(np.argmin(slopes[: lowest + 1]))
    if slopes[best] >= 0 or smoothed[: lowest + 1].max() - smoothed[lowest] <= clear:
        raise TrainingError(
            f"the loss does not fall at any learning rate from {rates[0]:.2g} to {rates[count - 1]:.2g}: try another "
            "learning_rate to begin with, a larger batch_size, or `--overfit 8`, which tells whether labels are wrong"
        )
    falls = slopes <= slopes[best] / 2
    low = best - int(np.argmin(np.append(falls[best::-1], False))) + 1
    high = best + int(np.argmin(np.append(falls[best : lowest + 1], False))) - 1
    return Suggestion(float(rates[best]), float(rates[low]), float(rates[high]), rates, losses, smoothed)


def _fit_lines(x: Figures, y: Figures) -> tuple[Figures, Figures]:
    """Value and slope at each x (n,) of the straight line through y (n,) near it."""
    apart = x[None] - x[:, None]
    weights = np.exp(-((apart / _BANDWIDTH) ** 2) / 2)
    weights /= weights.sum(axis=1, keepdims=True)
    middle, mean = (weights * apart).sum(axis=1), weights @ y
    spread = (weights * (apart - middle[:, None]) ** 2).sum(axis=1)
    slopes = (weights * (apart - middle[:, None]) * (y[None] - mean[:, None])).sum(axis=1) / spread
    return mean - slopes * middle, slopes


def find_rate(recipe: Recipe, *, steps: int = STEPS, progress: bool = False) -> Suggestion:
    """Train for up to `steps` steps with a rate that rises from a thousandth to a hundred times the recipe's.

    Network, data, loss and optimiser are those of the recipe, with each group's own factor of the rate and what is
    frozen at first; one process takes the samples that all would. It ends early where the loss is over four times its
    lowest. The network is thrown away and nothing is written. Raises what `train` and `suggest_rate` raise.
    """
    if recipe.resume is not None:
        raise RecipeError("resume: the rate is sought for the start of a run; leave it out")
    check_devices(recipe)
    lightning.seed_everything(recipe.seed, workers=True, verbose=False)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    alone = _alone(recipe, steps)
    task = make_task(alone)
    loader, count = _open_data(task)
    module = _Ramp(task, steps=steps, epoch_length=epoch_length(alone, count))
    if alone.init:
        start_from(module.network, alone.init)
    trainer = lightning.Trainer(
        accelerator=alone.device,
        devices=list(alone.devices) if isinstance(alone.devices, tuple) else 1,
        max_steps=steps,
        max_epochs=-1,
        precision=alone.precision,
        gradient_clip_val=alone.gradient_norm,
        accumulate_grad_batches=alone.accumulate,
        limit_val_batches=0,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=progress,
        callbacks=[callbacks.RichProgressBar(refresh_rate=10)] if progress else [],
    )
    try:
        trainer.fit(module, loader)
    except RuntimeError as error:
        explained = explain_memory(error, recipe)
        if explained is None:
            raise
        raise explained from None
    return suggest_rate(module.rates[: len(module.losses)], module.losses)


def _alone(recipe: Recipe, steps: int) -> Recipe:
    """The recipe for one process that takes steps of as many samples."""
    devices = recipe.devices[:1] if isinstance(recipe.devices, tuple) else 1
    return recipe.model_copy(
        update={
            "devices": devices,
            "nodes": 1,
            "accumulate": recipe.accumulate * recipe.processes,
            "max_steps": steps,
            "max_epochs": None,
            "schedule": "constant",
            "warmup_steps": 0,
            "example_pictures": 0,
        }
    )


def _open_data(task: Task) -> tuple[Any, int]:
    """The batches of a run from its first step, and the samples of an epoch."""
    recipe = task.recipe
    if recipe.data[0].server:
        return make_served_loader(task), recipe.epoch_samples or recipe.samples_per_step
    samples = make_samples(task, read_pictures(task)[0])
    return make_loader(recipe, samples), len(samples)


class _Ramp(Training):
    """Trains with a rising rate, and keeps the loss of each step."""

    def __init__(self, task: Task, *, steps: int, epoch_length: float) -> None:
        super().__init__(task, steps=steps, epoch_length=epoch_length)
        self.factors = [LOWEST * (HIGHEST / LOWEST) ** (n / max(1, steps - 1)) for n in range(steps)]
        self.rates = [factor * self.recipe.learning_rate for factor in self.factors]
        self.losses: list[float] = []
        self.parts: list[float] = []
        self.mean, self.norm, self.lowest = 0.0, 0.0, math.inf

    def training_step(self, batch: dict[str, Tensor], number: int) -> Tensor:
        total = super().training_step(batch, number)
        self.parts.append(float(total.detach()))
        if len(self.parts) == self.recipe.accumulate or not math.isfinite(self.parts[-1]):
            self._observe(float(np.mean(self.parts)))
            self.parts = []
        return total

    def _observe(self, loss: float) -> None:
        """Keep the loss of a step; the run ends where it is no number, or far above what it was."""
        self.losses.append(loss)
        self.mean, self.norm = _MEMORY * self.mean + (1 - _MEMORY) * loss, _MEMORY * self.norm + 1 - _MEMORY
        mean = self.mean / self.norm
        self.lowest = min(self.lowest, mean)
        # "Not less", since a loss that is no number is neither; that of the first steps jumps.
        if not math.isfinite(loss) or (len(self.losses) > FEWEST and not mean < DIVERGED * self.lowest):
            self.trainer.should_stop = True

    def configure_optimizers(self) -> Any:
        made = super().configure_optimizers()
        factors = self.factors
        ramp = LambdaLR(made["optimizer"], lambda step: factors[min(step, len(factors) - 1)])
        return made | {"lr_scheduler": {"scheduler": ramp, "interval": "step", "frequency": 1}}


def draw_rates(found: Suggestion, file: Path, *, overwrite: bool = False) -> None:
    """Draw the losses over the rate, with the suggestion, to a PNG file.

    Raises `MissingExtraError` without matplotlib, and `OutputError`.
    """
    from manypose.training.curves import COLOURS, picture

    blue, red, green = COLOURS[:3]
    count = len(found.smoothed)
    with picture(file, (1200, 700), overwrite=overwrite) as figure:
        axes = figure.add_subplot()
        axes.set_title("Loss while the learning rate rises")
        axes.set_xscale("log")
        axes.axvspan(found.low, found.high, color=green, alpha=0.13, linewidth=0)
        axes.plot(found.rates[:count], found.losses[:count], color=blue, alpha=0.3, linewidth=0.9, label="as it was")
        axes.plot(found.rates[:count], found.smoothed, color=blue, label="smoothed")
        at = int(np.flatnonzero(found.rates == found.rate)[0])
        axes.plot(found.rate, found.smoothed[at], "o", markersize=10, color=red)
        label = f"falls fastest at {found.rate:.2g}; at least half as fast from {found.low:.2g} to {found.high:.2g}"
        axes.axvline(found.rate, color=red, linestyle="--", linewidth=1.3, label=label)
        low, high = float(found.smoothed.min()), float(np.max(found.smoothed[: at + 1]))
        axes.set_ylim(low - 0.3 * (high - low), high + 1.0 * (high - low))
        axes.set_xlabel("learning rate")
        axes.set_ylabel("loss")
        axes.legend(loc="upper left")
