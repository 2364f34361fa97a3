"""Recipes: every setting of a training run, read from a flat YAML file and checked before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field

from manypose.errors import RecipeError, describe_faults
from manypose.skeleton import skeleton_names


class DataSource(BaseModel):
    """One data set of a recipe: a COCO-style file and its teacher's labels, both named from the recipe's `root`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    file: Path
    teacher: Path | None = None
    weight: float = Field(1.0, gt=0)
    any_rotation: float = Field(0.0, ge=0, le=1)


class Recipe(BaseModel):
    """All settings of a training run; unknown keys and impossible values are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = Field("run", pattern=r"^[A-Za-z0-9._-]+$")
    network: str = "ladder_paf"
    width: float = Field(1.0, gt=0, le=4)
    skeleton: str = "openpose18"
    stride: Literal[4, 8] = 8  # 4 for the networks resnet_paf_*
    sigma: float = Field(7.0, gt=0)
    limb_width: float = Field(8.0, gt=0)

    root: Path = Path("data")
    data: list[DataSource] = Field(min_length=1)
    size: int = Field(256, gt=0, multiple_of=32)
    person_size: tuple[float, float] = (0.25, 1.15)
    rotation: float = Field(25.0, ge=0)
    mosaic: float = Field(0.3, ge=0, le=1)
    colour: float = Field(0.25, ge=0, lt=1)
    longest: int = Field(400, gt=0)
    preload: bool = True

    optimiser: Literal["adamw", "muon"] = "adamw"
    batch_size: int = Field(24, gt=0)
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup_steps: int = Field(300, ge=0)
    max_steps: int = Field(20000, gt=0)
    cooldown_steps: int = Field(5000, ge=0)
    gradient_norm: float = Field(10.0, gt=0)
    average: float = Field(0.998, ge=0, lt=1)

    seed: int = Field(0, ge=0)
    devices: int = Field(1, gt=0)
    device: Literal["cpu", "cuda", "auto"] = "auto"
    workers: int = Field(1, ge=0)
    threads: int = Field(0, ge=0)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    checkpoint_every: int = Field(500, gt=0)
    log_every: int = Field(50, gt=0)
    out: Path = Path("runs")
    init: Path | None = None
    resume: Path | None = None

    @pydantic.field_validator("skeleton")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in skeleton_names():
            raise ValueError(f"no skeleton is called {name!r}; there are {', '.join(skeleton_names())}")
        return name

    @pydantic.field_validator("person_size")
    @classmethod
    def _is_ordered(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if not 0 < bounds[0] <= bounds[1]:
            raise ValueError("must be the least and the largest part of the crop, both above 0")
        return bounds


def read_recipe(file: Path, overrides: list[str] | tuple[str, ...] = ()) -> Recipe:
    """The recipe of a YAML file with `key=value` overrides, whose values are YAML.

    Raises `RecipeError` that lists every fault.
    """
    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{file}: {error.strerror}: give the path of a recipe") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise RecipeError(f"{file}: a recipe is a list of `key: value` lines")
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise RecipeError(f"{override!r}: an override has the form key=value")
        try:
            settings[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise RecipeError(f"{override!r}: its value is not valid YAML: {' '.join(str(error).split())}") from None
    return check_recipe(settings, str(file))


def check_recipe(settings: dict[str, Any], where: str) -> Recipe:
    """The recipe of plain settings; raises `RecipeError` that lists every fault."""
    try:
        return Recipe.model_validate(settings)
    except pydantic.ValidationError as error:
        raise RecipeError(f"{where}: {describe_faults(error)}") from None
