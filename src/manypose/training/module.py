"""The Lightning module of bottom-up training: forward, loss, optimiser, and nothing else."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor, nn

from manypose import networks
from manypose.skeleton import load_skeleton
from manypose.training.losses import focused_map_loss
from manypose.training.muon import Muon
from manypose.training.recipe import Recipe


class BottomUpTraining(lightning.LightningModule):
    """Trains one network by one recipe."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.save_hyperparameters({"recipe": recipe.model_dump(mode="json")})
        skeleton = load_skeleton(recipe.skeleton)
        self.network = networks.build(
            recipe.network, joints=len(skeleton), fields=2 * len(skeleton.fields), width=recipe.width
        ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        stages = self.network(normalise(batch["picture"]))
        losses = [focused_map_loss(stage, batch["heatmaps"], batch["fields"], batch["weights"]) for stage in stages]
        total = torch.stack([torch.stack(loss) for loss in losses]).sum()
        heatmaps, fields = losses[-1]
        self.log_dict({"loss": total, "heatmaps": heatmaps, "fields": fields}, prog_bar=True)
        return total

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        matrices = [p for name, p in self.network.named_parameters() if p.ndim >= 2 and _is_hidden(name)]
        others = [p for name, p in self.network.named_parameters() if p.ndim < 2 or not _is_hidden(name)]
        optimiser: torch.optim.Optimizer
        if recipe.optimiser == "muon":
            optimiser = Muon(matrices, others, learning_rate=recipe.learning_rate, weight_decay=recipe.weight_decay)
        else:
            groups: list[dict[str, Any]] = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
            optimiser = torch.optim.AdamW(
                groups,
                lr=recipe.learning_rate,
                weight_decay=recipe.weight_decay,
            )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self.rate)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def rate(self, step: int) -> float:
        """Part of the learning rate at a step: up over the warm-up, constant, down to 1 % over the cool-down."""
        up = min(1.0, (step + 1) / max(1, self.recipe.warmup_steps))
        down = min(1.0, max(0, self.recipe.max_steps - step) / max(1, self.recipe.cooldown_steps))
        return min(up, max(down, 0.01))


def normalise(picture: Tensor) -> Tensor:
    """RGB bytes (B, 3, H, W) as float32 in -0.5 .. 0.5, as all models of ours are fed."""
    return ((picture.float() - 128) / 256).to(memory_format=torch.channels_last)


def _is_hidden(name: str) -> bool:
    """Whether a parameter lies between the first convolution and the last ones."""
    return not name.startswith(("stem", "heatmaps", "fields"))


def load_network(checkpoint: dict[str, Any]) -> tuple[Recipe, nn.Module]:
    """Recipe and network of a checkpoint, with its averaged weights, ready for use (eval mode)."""
    recipe = Recipe(**checkpoint["hyper_parameters"]["recipe"])
    module = BottomUpTraining(recipe)
    module.load_state_dict(checkpoint["state_dict"])
    return recipe, module.network.eval()
