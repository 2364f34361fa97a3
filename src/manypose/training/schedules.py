"""Schedules of the learning rate: what part of its base rate each group of parameters has at each step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from manypose.training.recipe import Recipe

LINEAR_END, COSINE_END = 0.01, 0.02
ROUNDING = 1e-9  # of a step's place in epochs, which is a quotient


def rate_at(recipe: Recipe, step: int, epoch_length: float, *, steps: int | None = None) -> float:
    """The part of the base rate for an optimiser's step (from 0), before any fall at a plateau.

    `epoch_length` is how many steps an epoch takes, a whole number or not; `steps` is the length of the run (None: that
    of the recipe). Everything warms up over `warmup_steps`, linearly, the first step included. Then: "linear" stays at
    1 and falls to 1 % over the last `cooldown_steps`; "cosine" falls to 2 % over the rest of the run; "milestones"
    falls by `factor` with the first step of each; "every" after every so many. Where `schedule_unit` is epochs, these
    count finished epochs; `once_per_epoch` keeps the rate that the first step of an epoch has.
    """
    up = min(1.0, (step + 1) / max(1, recipe.warmup_steps))
    if recipe.schedule in ("linear", "cosine"):
        steps = steps or run_length(recipe, epoch_length)
        return _linear(recipe, step, steps, up) if recipe.schedule == "linear" else up * _cosine(recipe, step, steps)
    return up * recipe.factor ** _falls(recipe, step, epoch_length)


def run_length(recipe: Recipe, epoch_length: float) -> int:
    """How many steps a recipe's run has: `max_steps`, or those of `max_epochs`, rounded up."""
    if recipe.max_steps is not None:
        return recipe.max_steps
    return math.ceil((recipe.max_epochs or 1) * epoch_length - ROUNDING)


def make_schedule(
    recipe: Recipe, optimiser: torch.optim.Optimizer, *, steps: int, epoch_length: float
) -> dict[str, Any]:
    """The recipe's schedule of an optimiser as Lightning takes it: stepped after each step of the optimiser.

    Each group keeps its own base rate. The scheduler is a `RateSchedule`; with "plateau" it wants to be told each loss
    of the validation part.
    """
    return {
        "scheduler": RateSchedule(recipe, optimiser, steps=steps, epoch_length=epoch_length),
        "interval": "step",
        "frequency": 1,
    }


class RateSchedule(LambdaLR):
    """`rate_at` for each step, and with "plateau" a fall by `factor` where the validation loss stops falling.

    It falls after more than `plateau_patience` validations in a row without a loss lower by a ten-thousandth, and then
    not again for `plateau_cooldown` validations: PyTorch's ReduceLROnPlateau. What it has seen is part of its state.
    """

    def __init__(self, recipe: Recipe, optimiser: torch.optim.Optimizer, *, steps: int, epoch_length: float) -> None:
        self._plateau = _plateau(recipe) if recipe.schedule == "plateau" else None
        super().__init__(optimiser, lambda step: rate_at(recipe, step, epoch_length, steps=steps) * self.plateau_factor)

    @property
    def plateau_factor(self) -> float:
        """What the falls at plateaus have left of the rate: 1 at first."""
        return 1.0 if self._plateau is None else float(self._plateau.optimizer.param_groups[0]["lr"])

    def observe(self, loss: float) -> None:
        """Take note of the loss of the validation part, the same in every process; a fall takes effect at once.

        It does nothing for schedules other than "plateau".
        """
        if self._plateau is None:
            return
        self._plateau.step(loss)
        for group, base, rate in zip(self.optimizer.param_groups, self.base_lrs, self.lr_lambdas, strict=True):
            group["lr"] = base * rate(self.last_epoch)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        state = {key: value for key, value in super().state_dict().items() if key != "_plateau"}
        if self._plateau is not None:
            state["plateau"] = {key: getattr(self._plateau, key) for key in _PLATEAU_STATE}
            state["plateau_factor"] = self.plateau_factor
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        state = dict(state_dict)
        plateau, factor = state.pop("plateau", None), state.pop("plateau_factor", 1.0)
        super().load_state_dict(state)
        if self._plateau is not None and plateau is not None:
            self._plateau.__dict__.update(plateau)
            self._plateau.optimizer.param_groups[0]["lr"] = factor


_PLATEAU_STATE = ("best", "cooldown_counter", "num_bad_epochs", "last_epoch")


def _plateau(recipe: Recipe) -> ReduceLROnPlateau:
    """PyTorch's, of a rate of 1 that is nobody's: the real ones warm up as well."""
    nobody = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    return ReduceLROnPlateau(
        nobody, factor=recipe.factor, patience=recipe.plateau_patience, cooldown=recipe.plateau_cooldown, eps=0.0
    )


def _linear(recipe: Recipe, step: int, steps: int, up: float) -> float:
    down = min(1.0, max(0, steps - step) / max(1, recipe.cooldown_steps))
    return min(up, max(down, LINEAR_END))


def _cosine(recipe: Recipe, step: int, steps: int) -> float:
    begin = recipe.warmup_steps
    part = min(1.0, max(0, step - begin) / max(1, steps - begin))
    return COSINE_END + (1 - COSINE_END) * (1 + math.cos(math.pi * part)) / 2


def _falls(recipe: Recipe, step: int, epoch_length: float) -> int:
    """How often the rate has fallen by `factor`."""
    epoch = math.floor(step / epoch_length + ROUNDING)
    if recipe.once_per_epoch:
        step = math.floor(epoch * epoch_length + ROUNDING)
    place = epoch if recipe.schedule_unit == "epochs" else step
    if recipe.schedule == "milestones":
        return sum(place >= milestone for milestone in recipe.milestones)
    return place // recipe.every if recipe.schedule == "every" and recipe.every else 0
