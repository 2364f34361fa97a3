"""Recipes: every setting of a training run, one flat list of keys, checked before anything starts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from manypose.codecs.heatmaps import Decoding, Drawing
from manypose.codecs.targets import RULES
from manypose.skeleton import skeleton_names

_STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

Option = bool | int | float | str


class DataSource(BaseModel):
    """One data set of a recipe: its labels, named from the recipe's `root`, or sample servers.

    `kind`, `part`, `images` and `masks` are those of `data.datasets.read_dataset`, which reads it; `teacher` are
    labels that a better network made. `weight` says how often one of its pictures is drawn beside one of the others'.
    A share `any_rotation` of its pictures is turned by any angle. `server` are addresses of `manypose data serve`,
    which do all of the work before the network, and stand alone; `server_key` is the file with the key.
    """

    model_config = _STRICT

    file: Path | None = None
    server: tuple[str, ...] = ()
    server_mode: Literal["compact", "classic"] = "compact"
    server_key: Path | None = None
    kind: str | None = None
    part: str | None = None
    images: Path | None = None
    masks: Path | None = None
    teacher: Path | None = None
    weight: float = Field(1.0, gt=0)
    any_rotation: float = Field(0.0, ge=0, le=1)

    @pydantic.field_validator("server", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @pydantic.model_validator(mode="after")
    def _is_one(self) -> DataSource:
        if (self.file is None) == (not self.server):
            raise ValueError("needs either a file of labels (file) or sample servers (server)")
        return self

    @property
    def name(self) -> str:
        """How messages call it."""
        return str(self.file) if self.file is not None else ", ".join(self.server)


class ParameterRule(BaseModel):
    """What the optimiser does with some of the parameters; of all rules that match one, the last word counts.

    `names` is a regular expression for the whole name, `kind` narrows it: weights and biases of convolutions, of
    depthwise ones, or of norms. `rate` and `decay` multiply the learning rate and the weight decay. A rule may freeze
    its parameters: for good, or for the first `frozen_steps` or `frozen_epochs` alone. What is None is not said.
    """

    model_config = _STRICT

    names: str = ".*"
    kind: Literal["any", "weight", "bias", "depthwise", "norm", "norm-weight", "norm-bias", "prelu"] = "any"
    rate: float | None = Field(None, ge=0)
    decay: float | None = Field(None, ge=0)
    frozen: bool | None = None
    frozen_steps: int | None = Field(None, ge=0)
    frozen_epochs: int | None = Field(None, ge=0)

    @pydantic.field_validator("names")
    @classmethod
    def _compiles(cls, text: str) -> str:
        try:
            re.compile(text)
        except re.error as error:
            raise ValueError(f"{text!r} is not a regular expression: {error}") from None
        return text


class Recipe(BaseModel):
    """All settings of a training run; unknown keys and impossible values are refused.

    What a setting means stands in `docs/train.md`. Where None is allowed, it stands for what suits the network.
    """

    model_config = _STRICT

    # The run
    name: str = Field("run", pattern=r"^[A-Za-z0-9._-]+$")
    out: Path = Path("runs")
    seed: int = Field(0, ge=0, lt=2**32)
    init: str | None = None
    resume: Path | None = None

    # The network and the meaning of its outputs
    network: str = "ladder_paf"
    width: float = Field(1.0, gt=0, le=4)
    network_options: dict[str, Option] = {}
    skeleton: str = "data"
    size: int | tuple[int, int] = 256
    colours: Literal["rgb", "bgr"] = "rgb"
    values: Literal["half", "imagenet"] = "half"
    stride: int | None = Field(None, gt=0)
    sigma: float | None = Field(None, gt=0)
    limb_width: float = Field(8.0, gt=0)
    target_rules: str = "ours"
    drawing: Drawing = "exact"
    decoding: Decoding | None = None
    udp: bool = False

    # Data
    root: Path = Path("data")
    data: list[DataSource] = Field(min_length=1)
    val: list[DataSource] = []
    val_size: float = Field(0.0, ge=0)
    skip_broken: bool = False
    preload: bool = False
    longest: int = Field(400, gt=0)

    # Augmentation of all networks
    rotation: float = Field(25.0, ge=0)
    flip: float = Field(0.5, ge=0, le=1)
    shift: float | None = Field(None, ge=0)
    colour: float = Field(0.25, ge=0, lt=1)
    grey: float = Field(0.08, ge=0, le=1)
    blur: float = Field(0.1, ge=0, le=1)
    noise: float = Field(0.0, ge=0, le=1)
    jpeg: float = Field(0.0, ge=0, le=1)
    # ... of bottom-up networks
    person_size: tuple[float, float] = (0.25, 1.15)
    mosaic: float = Field(0.3, ge=0, le=1)
    # ... of top-down networks
    padding: float = Field(1.25, gt=0)
    scale: float = Field(0.35, ge=0, lt=1)
    rotated: float = Field(0.6, ge=0, le=1)
    shifted: float = Field(0.3, ge=0, le=1)
    half_body: float = Field(0.3, ge=0, le=1)
    half_body_joints: int = Field(8, ge=0)
    half_body_upper: float = Field(0.5, ge=0, le=1)
    joint_weights: dict[str, float] = {}

    # Loss
    loss: str | None = None
    teacher: Path | None = None
    teacher_weight: float = Field(1.0, gt=0)

    # Optimiser
    optimiser: Literal["adam", "adamw", "sgd", "muon"] = "adamw"
    learning_rate: float = Field(3e-3, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(0.01, ge=0)
    parameters: list[ParameterRule] = []
    frozen_norms: bool = False
    gradient_norm: float | None = Field(10.0, gt=0)
    average: float = Field(0.998, ge=0, lt=1)

    # Schedule of the learning rate, in steps unless `schedule_unit` says epochs
    schedule: Literal["constant", "linear", "cosine", "milestones", "every", "plateau"] = "linear"
    schedule_unit: Literal["steps", "epochs"] = "steps"
    warmup_steps: int = Field(300, ge=0)
    cooldown_steps: int = Field(5000, ge=0)
    milestones: list[int] = []
    every: int | None = Field(None, gt=0)
    factor: float = Field(0.1, gt=0, lt=1)
    once_per_epoch: bool = False
    plateau_patience: int = Field(5, ge=0)
    plateau_cooldown: int = Field(0, ge=0)

    # Length and batches; `batch_size` is that of each process
    max_steps: int | None = Field(None, gt=0)
    max_epochs: int | None = Field(None, gt=0)
    epoch_samples: int | None = Field(None, gt=0)
    batch_size: int = Field(24, gt=0)
    accumulate: int = Field(1, gt=0)

    # Watching
    val_every: int = Field(1000, gt=0)
    val_batch_size: int = Field(8, gt=0)
    monitor: Literal["metric", "loss"] = "metric"
    patience: int | None = Field(None, gt=0)
    checkpoint_every: int = Field(500, gt=0)
    keep: int = Field(1, ge=-1)
    log_every: int = Field(50, gt=0)
    example_pictures: int = Field(4, ge=0)

    # The machine
    devices: int | tuple[int, ...] = 1
    nodes: int = Field(1, gt=0)
    device: Literal["cpu", "cuda", "auto"] = "auto"
    workers: int = Field(1, ge=0)
    threads: int = Field(0, ge=0)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"

    @pydantic.field_validator("target_rules")
    @classmethod
    def _is_known_rule(cls, name: str) -> str:
        if name not in RULES:
            raise ValueError(f"no target rules are called {name!r}; there are {', '.join(RULES)}")
        return name

    @pydantic.field_validator("skeleton")
    @classmethod
    def _is_known_skeleton(cls, name: str) -> str:
        if name != "data" and not name.endswith((".yaml", ".yml")) and name not in skeleton_names():
            raise ValueError(
                f"no skeleton is called {name!r}; there are {', '.join(skeleton_names())}, `data` for that of the "
                "first data set, or give a YAML file"
            )
        return name

    @pydantic.field_validator("person_size")
    @classmethod
    def _is_ordered(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if not 0 < bounds[0] <= bounds[1]:
            raise ValueError("must be the least and the largest part of the crop, both above 0")
        return bounds

    @pydantic.field_validator("size")
    @classmethod
    def _is_size(cls, size: int | tuple[int, int]) -> int | tuple[int, int]:
        if min((size,) if isinstance(size, int) else size) < 8:
            raise ValueError("must be at least 8 pixels: one number, or width and height")
        return size

    @pydantic.field_validator("devices", mode="before")
    @classmethod
    def _are_devices(cls, value: Any) -> Any:
        """`devices=0,2` chooses devices by number, `devices=2` says how many."""
        if isinstance(value, str) and re.fullmatch(r"\d+(,\d+)*,?", value.strip()):
            return tuple(int(part) for part in value.split(",") if part.strip())
        return value

    @pydantic.field_validator("devices")
    @classmethod
    def _are_some(cls, value: int | tuple[int, ...]) -> int | tuple[int, ...]:
        numbers = value if isinstance(value, tuple) else (value - 1,)
        if not numbers or min(numbers) < 0 or len(set(numbers)) != len(numbers):
            raise ValueError("must be how many devices, or the numbers of different ones: devices=0,2")
        return value

    @property
    def processes(self) -> int:
        """How many processes train together, on all machines."""
        return self.nodes * (self.devices if isinstance(self.devices, int) else len(self.devices))

    @property
    def crop_size(self) -> tuple[int, int]:
        """Width and height of the network's input in training."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    @property
    def samples_per_step(self) -> int:
        """Samples that all processes together see before the weights change."""
        return self.batch_size * self.accumulate * self.processes
