"""What the settings of a recipe must be beside each other: faults that no single key can show."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from manypose import networks
from manypose.data.datasets import KINDS
from manypose.errors import ModelError
from manypose.training.losses import LOSSES
from manypose.training.recipe import Recipe
from manypose.training.task import split_ratio_of, stride_of

Fault = tuple[tuple[str | int, ...], str]

# Settings that only networks of one sort heed; another value than the default is a mistake elsewhere.
OF_BOTTOM_UP = ("limb_width", "target_rules", "person_size", "mosaic")
OF_CROPS = (
    "padding",
    "scale",
    "rotated",
    "shifted",
    "half_body",
    "half_body_joints",
    "half_body_upper",
    "joint_weights",
    "drawing",
    "decoding",
    "udp",
)
OF_HEATMAPS = ("drawing", "decoding", "udp", "stride", "teacher")  # what SimCC's vectors have no part in


def find_faults(recipe: Recipe) -> list[Fault]:
    """Each setting that does not go with the others, and why."""
    faults = [*_length_faults(recipe), *_schedule_faults(recipe), *_data_faults(recipe), *_watching_faults(recipe)]
    return faults + list(_network_faults(recipe))


def _length_faults(recipe: Recipe) -> Iterator[Fault]:
    if (recipe.max_steps is None) == (recipe.max_epochs is None):
        yield ("max_steps",), "say how long the run shall be: either max_steps or max_epochs"


def _schedule_faults(recipe: Recipe) -> Iterator[Fault]:
    if recipe.schedule == "milestones":
        steps = recipe.milestones
        if not steps or min(steps) < 1 or any(a >= b for a, b in itertools.pairwise(steps)):
            yield ("milestones",), "schedule=milestones needs some, each above the one before: [100000, 200000]"
    elif recipe.milestones:
        yield ("milestones",), f"has no effect with schedule={recipe.schedule}"
    if (recipe.schedule == "every") != (recipe.every is not None):
        yield ("every",), "goes with schedule=every: after how many steps or epochs the rate falls by `factor`"
    if recipe.schedule == "plateau" and not _has_val(recipe):
        yield ("schedule",), "plateau needs a validation part: val or val_size"
    if recipe.nesterov and (recipe.optimiser != "sgd" or recipe.momentum == 0):
        yield ("nesterov",), "goes with optimiser=sgd and some momentum"


def _data_faults(recipe: Recipe) -> Iterator[Fault]:
    for key in ("data", "val"):
        for n, source in enumerate(getattr(recipe, key)):
            if source.server and len(getattr(recipe, key)) > 1:
                yield (key, n, "server"), "samples of servers cannot be mixed with other sets here; mix them there"
            if source.server and key == "val":
                yield (key, n, "server"), "the validation needs pictures and labels: name a file here"
            if source.kind is not None and source.kind not in KINDS:
                yield (key, n, "kind"), f"{source.kind!r} is none of {', '.join(KINDS)}"
    if recipe.val and recipe.val_size:
        yield ("val_size",), "val names the pictures to validate on already"
    if recipe.val_size and any(source.server for source in recipe.data):
        yield ("val_size",), "a server's samples cannot be split here: name a file of labels in val"
    if recipe.skeleton == "data" and any(source.server for source in recipe.data):
        yield ("skeleton",), "a server does not say what its joints are: name the skeleton"


def _watching_faults(recipe: Recipe) -> Iterator[Fault]:
    if recipe.patience is not None and not _has_val(recipe):
        yield ("patience",), "an early stop needs a validation part: val or val_size"
    if recipe.precision == "16-mixed" and recipe.device == "cpu":
        yield ("precision",), "16-mixed needs a GPU; a CPU takes bf16-mixed"
    if isinstance(recipe.devices, tuple) and recipe.device == "cpu":
        yield ("devices",), "a CPU has no devices to choose from: say how many processes there shall be"


def _has_val(recipe: Recipe) -> bool:
    return bool(recipe.val) or recipe.val_size > 0


def _network_faults(recipe: Recipe) -> Iterator[Fault]:
    entry = networks.ENTRIES.get(recipe.network)
    if entry is None:
        yield ("network",), f"no network is called {recipe.network!r}; there are {', '.join(sorted(networks.ENTRIES))}"
        return
    bottom_up = entry.task == "bottom-up"
    for key in OF_CROPS if bottom_up else OF_BOTTOM_UP:
        if getattr(recipe, key) != Recipe.model_fields[key].default:
            yield (key,), f"has no effect on {recipe.network}, a {entry.task} network"
    if entry.vectors:
        yield from _vector_faults(recipe)
    for key in ("joints", "fields", "width", "input_width", "input_height"):
        if key in recipe.network_options:
            where = {"joints": "skeleton", "fields": "skeleton", "width": "width"}.get(key, "size")
            yield ("network_options", key), f"comes from the setting `{where}`: leave it out here"
            return
    if not bottom_up and recipe.data[0].server:
        yield ("data", 0, "server"), f"servers make samples of bottom-up networks alone, {recipe.network} is none"
    if bottom_up and recipe.crop_size[0] != recipe.crop_size[1]:
        yield ("size",), "a bottom-up network is trained on squares: give one number"
    if recipe.loss is not None and (recipe.loss not in LOSSES or entry.kind not in LOSSES[recipe.loss].kinds):
        fitting = [name for name, loss in LOSSES.items() if entry.kind in loss.kinds]
        yield (
            ("loss",),
            f"{recipe.loss!r} is no loss of a {'SimCC' if entry.vectors else entry.task} network: {', '.join(fitting)}",
        )
    yield from _shape_faults(recipe, vectors=entry.vectors)


def _vector_faults(recipe: Recipe) -> Iterator[Fault]:
    for key in OF_HEATMAPS:
        if getattr(recipe, key) != Recipe.model_fields[key].default:
            yield (
                (key,),
                f"has no effect on {recipe.network}, which gives SimCC's vectors, no heatmaps: leave it out",
            )
    if recipe.sigma is not None and recipe.loss == "simcc-smooth":
        yield ("sigma",), "has no effect with loss=simcc-smooth, whose targets are no Gaussians"


def _shape_faults(recipe: Recipe, *, vectors: bool) -> Iterator[Fault]:
    try:
        stride = recipe.stride if vectors and split_ratio_of(recipe) else stride_of(recipe)
    except ModelError as error:
        key = "network_options" if recipe.network_options else "width" if recipe.width != 1 else "network"
        yield (key,), str(error)
    except ValueError as error:
        yield ("size",), str(error)
    else:
        if recipe.stride not in (None, stride):
            yield ("stride",), f"the maps of {recipe.network} have a stride of {stride}: leave it out"
