"""Turns experiment files of HRNet's programs into recipes, and says what in them had no effect.

The files are yacs YAML: of leoxiaobin/deep-high-resolution-net.pytorch, microsoft/human-pose-estimation.pytorch,
zhang943/lpn-pytorch and cavalleria/humanpose.pytorch, which are one line of programs. What they leave out has the
default of these programs. Nothing in a file is evaluated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
import yaml

from manypose.data.top_down import HRNET_JOINT_WEIGHTS
from manypose.errors import RecipeError
from manypose.metadata import crop_sigma
from manypose.training import experiment_networks
from manypose.training.experiment_file import Experiment
from manypose.training.recipe_file import _describe, _place, _read, check_recipe

UPPER = 0.69  # of the half bodies: the programs ask whether a normal deviation is below 0.5
BACKBONES = {"hrnet_w32": "hrnet-w32", "hrnet_w48": "hrnet-w48"} | {
    f"resnet{depth}": f"resnet{depth}" for depth in (18, 34, 50, 101, 152)
}
JOINTS = {"coco": ("coco17", 17), "mpii": ("mpii16", 16)}
CROWDED = "humanpose.pytorch loads {} x {} samples in each of its {} processes; the batch is the one it had"

# What the programs never read, or read without effect. With SGD the last three count.
DEAD = {
    "LOSS.USE_OHKM": "the training never asks for it",
    "LOSS.TOPK": "belongs to USE_OHKM, which nothing asks for",
    "TRAIN.GAMMA1": "no optimiser is given it",
    "TRAIN.GAMMA2": "no optimiser is given it",
    "TEST.NMS_THRE": "OKS_THRE is used",
    "TEST.BBOX_THRE": "nothing reads it",
    "MODEL.TAG_PER_JOINT": "nothing reads it",
    "DATASET.HYBRID_JOINTS_TYPE": "nothing reads it",
    "DATASET.DATA_FORMAT": "how pictures are packed is found out",
}
DEAD_WITH_ADAM = {
    "TRAIN.WD": "the program's Adam gets no decay",
    "TRAIN.MOMENTUM": "of SGD",
    "TRAIN.NESTEROV": "of SGD",
}
ELSEWHERE = {
    "TEST.FLIP_TEST": "`manypose eval --flip`",
    "TEST.SHIFT_HEATMAP": "always done where the maps need it",
    "TEST.USE_GT_BBOX": "an option of `manypose eval`",
    "TEST.COCO_BBOX_FILE": "an option of `manypose eval`",
    "TEST.IMAGE_THRE": "an option of `manypose eval`",
    "TEST.IN_VIS_THRE": "an option of `manypose eval`",
    "TEST.OKS_THRE": "an option of `manypose eval`",
    "TEST.SOFT_NMS": "an option of `manypose eval`",
    "TEST.MODEL_FILE": "the model that `manypose eval` is given",
    "MODEL.EXTRA.PRETRAINED_LAYERS": "init takes every tensor that fits and lists them",
}
SETTINGS_OF_THE_MACHINE = ("CUDNN", "DEBUG", "DIST_BACKEND", "DIST_URL", "MULTIPROCESSING_DISTRIBUTED", "PIN_MEMORY",
                           "PRINT_FREQ", "RANK", "VERBOSE", "LOG_DIR", "OUTPUT_DIR", "DATA_DIR")  # fmt: skip


@dataclass(frozen=True)
class Imported:
    """An experiment as the settings of a recipe, and what is to be said of it, a line each."""

    source: str
    settings: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def text(self) -> str:
        """The recipe's file."""
        head = [f"# Made of {self.source}", *(f"# {note}" for note in self.notes)]
        return "\n".join(head) + "\n" + yaml.safe_dump(self.settings, sort_keys=False)


def import_experiment(file: Path) -> Imported:
    """The recipe of an experiment file; raises `RecipeError` that lists all unknown keys and faults with their lines.

    The settings are checked as those of every recipe, whose files need not be there. Notes say what had no effect in
    the program, what has no counterpart, and where ours does otherwise.
    """
    content, lines = _read(file)
    try:
        experiment = Experiment.model_validate(content)
    except pydantic.ValidationError as error:
        places = dict.fromkeys((_place(fault["loc"], content), fault["msg"]) for fault in error.errors())
        faults = [
            _describe(place, message, lines, frozenset()).partition("; did you mean")[0] for place, message in places
        ]
        raise RecipeError(f"{file}: {'; '.join(faults)}") from None
    present = {".".join(map(str, place)) for place in lines}
    notes: list[str] = []
    try:
        network = experiment_networks.find_network(experiment.MODEL, notes)
        settings = {"name": _name(file), **network, **_start(experiment, notes), **_data(experiment, notes)}
        settings |= _crops(experiment, notes) | _optimiser(experiment) | _length(experiment, notes)
    except ValueError as error:
        key, _, message = str(error).partition(": ")
        line = lines.get(tuple(key.split(".")))
        raise RecipeError(f"{file}: {f'line {line}: ' if line else ''}{key}: {message}") from None
    check_recipe(settings, str(file))
    return Imported(file.name, settings, (*notes, *_without_effect(experiment, present)))


def _name(file: Path) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in file.stem) or "run"


def _start(experiment: Experiment, notes: list[str]) -> dict[str, Any]:
    given = experiment.MODEL.PRETRAINED
    if experiment.AUTO_RESUME or experiment.TRAIN.RESUME or experiment.TRAIN.CHECKPOINT:
        notes.append("AUTO_RESUME, RESUME, CHECKPOINT: a run goes on where it is told to: resume=runs/NAME/last.ckpt")
    if not given or not experiment.MODEL.INIT_WEIGHTS:
        return {}
    name = Path(given).name
    published = re.fullmatch(r"(\w+)-[0-9a-f]{8}\.pth", name)  # a name with the digest that the publishers give
    known = BACKBONES.get(published[1]) if published else None
    if known is None:
        notes.append(f"MODEL.PRETRAINED: {name} goes by no name here: `manypose convert` it and give init=FILE")
        return {}
    return {"init": known}


def _data(experiment: Experiment, notes: list[str]) -> dict[str, Any]:
    dataset, joints = experiment.DATASET, experiment.MODEL.NUM_JOINTS
    kind = "mpii" if dataset.DATASET == "mpii" else "coco"
    skeleton, count = JOINTS[kind]
    if joints != count:
        raise ValueError(f"MODEL.NUM_JOINTS: {joints}, but {dataset.DATASET} has {count}")
    settings: dict[str, Any] = {"skeleton": skeleton}
    settings["root"] = str(Path(experiment.DATA_DIR or ".") / dataset.ROOT)
    settings["data"] = [_source(kind, dataset.TRAIN_SET)]
    if kind == "coco" and dataset.TEST_SET.startswith("test"):
        notes.append(f"DATASET.TEST_SET: {dataset.TEST_SET} has no labels to validate on: left out")
    else:
        settings["val"] = [_source(kind, dataset.TEST_SET)]
    if dataset.SELECT_DATA:
        notes.append("DATASET.SELECT_DATA: no counterpart; people whose joints lie off their box's middle stay")
    # Blue first gets the mean and deviation of red first, as in the programs.
    return settings | {"colours": "rgb" if dataset.COLOR_RGB else "bgr", "values": "imagenet"}


def _source(kind: str, part: str) -> dict[str, Any]:
    if kind == "mpii":
        return {"file": f"annot/{part}.json", "kind": "mpii-json", "images": "images"}
    return {"file": f"annotations/person_keypoints_{part}.json"}


def _crops(experiment: Experiment, notes: list[str]) -> dict[str, Any]:
    dataset, model, test = experiment.DATASET, experiment.MODEL, experiment.TEST
    width, height = model.IMAGE_SIZE
    maps = model.HEATMAP_SIZE or model.EXTRA.HEATMAP_SIZE or (64, 64)
    if (4 * maps[0], 4 * maps[1]) != (width, height):
        raise ValueError(f"MODEL.HEATMAP_SIZE: {maps[0]} x {maps[1]} is no quarter of {width} x {height}")
    sigma = model.SIGMA or model.EXTRA.SIGMA or 2.0
    settings: dict[str, Any] = {"size": [width, height]}
    if sigma != crop_sigma((width, height)):
        settings["sigma"] = 4 * sigma
    settings["drawing"] = "rounded"
    if test.SOFT_ARGMAX:
        settings["decoding"] = "soft-argmax+quarter" if test.POST_PROCESS else "soft-argmax"
    elif not test.POST_PROCESS and "POST_PROCESS" in test.model_fields_set:
        settings["decoding"] = "argmax"
    if test.BIAS:
        notes.append(f"TEST.BIAS: no counterpart; the program's decoder takes {test.BIAS:g} off both coordinates")
    half_body = max(0.0, dataset.PROB_HALF_BODY)
    if half_body and dataset.DATASET == "mpii":
        notes.append("DATASET.PROB_HALF_BODY: with MPII the program crashes at it; here it has its effect")
    settings |= {"scale": dataset.SCALE_FACTOR, "rotation": dataset.ROT_FACTOR, "flip": 0.5 if dataset.FLIP else 0.0}
    settings |= {"half_body": half_body, "half_body_joints": dataset.NUM_JOINTS_HALF_BODY}
    settings |= {"half_body_upper": UPPER} if half_body else {}
    if experiment.LOSS.USE_DIFFERENT_JOINTS_WEIGHT:
        settings["joint_weights"] = dict(HRNET_JOINT_WEIGHTS)
    if not experiment.LOSS.USE_TARGET_WEIGHT:
        notes.append("LOSS.USE_TARGET_WEIGHT: no counterpart for false; joints without a label never count here")
    return settings | {"colour": 0.0, "grey": 0.0, "blur": 0.0, "loss": "joint-mse"}


def _optimiser(experiment: Experiment) -> dict[str, Any]:
    train = experiment.TRAIN
    settings = {"optimiser": train.OPTIMIZER, "learning_rate": train.LR, "weight_decay": 0.0}
    if train.OPTIMIZER == "sgd":
        settings |= {"weight_decay": train.WD, "momentum": train.MOMENTUM, "nesterov": train.NESTEROV}
    return settings | {"gradient_norm": None, "average": 0.0}


def _length(experiment: Experiment, notes: list[str]) -> dict[str, Any]:
    train = experiment.TRAIN
    devices = experiment.devices
    batch = train.BATCH_SIZE_PER_GPU or train.BATCH_SIZE or 32
    if experiment.is_humanpose and len(devices) > 1:
        notes.append(f"TRAIN.BATCH_SIZE_PER_GPU: {CROWDED.format(batch, len(devices), len(devices))}")
        batch *= len(devices)
    if train.BEGIN_EPOCH:
        notes.append("TRAIN.BEGIN_EPOCH: no counterpart; a run begins with its first epoch")
    if not train.SHUFFLE:
        notes.append("TRAIN.SHUFFLE: no counterpart for false; every epoch has an order of its own")
    settings: dict[str, Any] = {"schedule": "milestones", "schedule_unit": "epochs", "milestones": list(train.LR_STEP)}
    settings |= {"factor": train.LR_FACTOR, "warmup_steps": 0, "max_epochs": train.END_EPOCH, "batch_size": batch}
    settings["devices"] = len(devices) if devices == tuple(range(len(devices))) else list(devices)
    val_batch = experiment.TEST.BATCH_SIZE_PER_GPU or experiment.TEST.BATCH_SIZE or 32
    return settings | {"val_batch_size": val_batch, "workers": experiment.WORKERS}


def _without_effect(experiment: Experiment, present: set[str]) -> list[str]:
    """A line for each setting of the file that had no effect, or that a recipe does not have."""
    dead = DEAD | (DEAD_WITH_ADAM if experiment.TRAIN.OPTIMIZER == "adam" else {})
    notes = [f"{key}: dead: {why}" for key, why in dead.items() if key in present]
    notes += [f"{key}: no setting of a recipe: {where}" for key, where in ELSEWHERE.items() if key in present]
    machine = [key for key in SETTINGS_OF_THE_MACHINE if key in present]
    if machine:
        notes.append(f"{', '.join(machine)}: of the program and its machine, not taken")
    return notes
