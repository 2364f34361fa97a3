"""The published recipes against the tables of the products' settings, and two steps of each at a small width."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml
from torch.utils.data import default_collate

from manypose.published import PUBLISHED
from manypose.skeleton import load_skeleton
from manypose.training.library import named_recipes
from manypose.training.loaders import make_samples, read_pictures
from manypose.training.losses import make_loss
from manypose.training.module import Training, stages_of
from manypose.training.parameters import hold_frozen
from manypose.training.recipe import DataSource, Recipe
from manypose.training.recipe_file import read_recipe
from manypose.training.schedules import rate_at
from manypose.training.task import Task, make_task

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from tiny_coco import person, write_set

pytestmark = pytest.mark.train
OURS = ("ladder", "custom", "custom_bottom_up")  # no product's


class Crops(NamedTuple):
    """A row of the table of the top-down programs; `entries` are those of the network's state dict."""

    network: str
    entries: int
    size: tuple[int, int]
    joints: int
    batch: int
    augmentation: tuple[float, float, float]  # scale, rotation, half body
    epochs: int
    steps: list[int]
    soft: bool = False


COCO_HRNET, COCO_RESNET, MPII = (0.35, 45, 0.3), (0.3, 40, 0), (0.25, 30, 0)
SMALL, LARGE, SQUARE, LARGE_SQUARE = (192, 256), (288, 384), (256, 256), (384, 384)
LONG, MIDDLE, SHORT = (210, [170, 200]), (150, [90, 120]), (140, [90, 120])
LPN_ENTRIES = {"18": 210, "18h": 210, "34": 370, "34h": 370, "50": 466, "100": 1324, "101": 908, "152": 1350}
RESNET_ENTRIES = {50: 338, 101: 644, 152: 950}
TOP_DOWN = {
    # humanpose.pytorch: 32 x 4 in each of four processes
    "hrnet_w18_small_v1_coco_256x192": Crops("hrnet_w18_small_v1", 404, SMALL, 17, 128, COCO_HRNET, *LONG),
    "hrnet_w18_small_v2_coco_256x192": Crops("hrnet_w18_small_v2", 824, SMALL, 17, 128, COCO_HRNET, *LONG),
    "hrnet_w18_small_v2_softargmax_coco_256x192": Crops(
        "hrnet_w18_small_v2", 824, SMALL, 17, 128, COCO_HRNET, *LONG, True
    ),
    **{
        f"lpn_{kind}_coco_256x192": Crops(f"lpn_{kind}", LPN_ENTRIES[kind], SMALL, 17, 128, COCO_HRNET, *MIDDLE, True)
        for kind in ("18", "18h", "34", "34h", "50", "100")
    },
    # HRNet: 32 in each of four; w48 at the larger size 24
    "hrnet_w32_coco_256x192": Crops("hrnet_w32", 1754, SMALL, 17, 32, COCO_HRNET, *LONG),
    "hrnet_w32_coco_384x288": Crops("hrnet_w32", 1754, LARGE, 17, 32, COCO_HRNET, *LONG),
    "hrnet_w48_coco_256x192": Crops("hrnet_w48", 1754, SMALL, 17, 32, COCO_HRNET, *LONG),
    "hrnet_w48_coco_384x288": Crops("hrnet_w48", 1754, LARGE, 17, 24, COCO_HRNET, *LONG),
    "hrnet_w32_mpii_256x256": Crops("hrnet_w32", 1754, SQUARE, 16, 32, MPII, *LONG),
    "hrnet_w48_mpii_256x256": Crops("hrnet_w48", 1754, SQUARE, 16, 32, MPII, *LONG),
    # LPN's authors: 32 in one process
    "lpn_50_authors_coco_256x192": Crops("lpn_50", 466, SMALL, 17, 32, COCO_RESNET, *MIDDLE, True),
    "lpn_101_coco_256x192": Crops("lpn_101", 908, SMALL, 17, 32, COCO_RESNET, *MIDDLE, True),
    "lpn_152_coco_256x192": Crops("lpn_152", 1350, SMALL, 17, 32, COCO_RESNET, *MIDDLE, True),
    "lpn_50_mpii_256x256": Crops("lpn_50", 466, SQUARE, 16, 32, MPII, *MIDDLE, True),
    **{
        f"pose_resnet_{depth}_{place}": Crops(
            f"pose_resnet_{depth}",
            RESNET_ENTRIES[depth],
            size,
            16 if "mpii" in place else 17,
            24 if (depth, size) == (152, LARGE_SQUARE) else 32,
            MPII if "mpii" in place else COCO_RESNET,
            *SHORT,
        )
        for depth in (50, 101, 152)
        for place, size in (
            ("coco_256x192", SMALL),
            ("coco_384x288", LARGE),
            ("caffe_coco_256x192", SMALL),
            ("mpii_256x256", SQUARE),
            ("mpii_384x384", LARGE_SQUARE),
        )
    },
}
BLUE_FIRST = ("lpn_50_authors_coco_256x192", "lpn_101_coco_256x192", "lpn_152_coco_256x192")


class Maps(NamedTuple):
    """A row of the table of the bottom-up programs.

    `groups` are tensors, rate, decay and how many first steps and epochs they are frozen; `frozen` tensors are so for
    good. `rates` are parts of the rate by step; `length` is in steps, or in epochs where it is negative.
    """

    network: str
    size: int
    loss: str
    optimiser: str
    batch: int
    length: int
    groups: set[tuple[Any, ...]]
    rates: dict[int, float]
    frozen: int = 0
    rules: str = "ours"


CMU_RATES = {0: 1, 136_105: 1, 136_106: 0.333, 272_211: 0.333, 272_212: 0.333**2, 544_424: 0.333**4}
BODY25_FALLS = (200_000, 300_000, 360_000, 420_000, 480_000, 540_000, 600_000, 700_000, 800_000, 900_000)
BODY25_RATES = {0: 1, 199_999: 1} | {step: 0.5**n for n, step in enumerate(BODY25_FALLS, 1)}
DANIIL_EPOCH = 121_746 / 80
DANIIL_RATES = {0: 1, 152_182: 1, 152_183: 0.333, 304_364: 0.333, 304_365: 0.333**2, 395_675: 0.333**3}
ADAM = 1e-3


def cmu(rate: float, decay: float, first: int, later: int, more: int = 0) -> set[tuple[Any, ...]]:
    """Layers with weights at 1 (and PReLUs) and biases at 2, and those of the later stages at 4 and 8."""
    rates = ((1, decay, first + more), (2, 0, first), (4, decay, later), (8, 0, later))
    return {(count, factor * rate, decay, 0, 0) for factor, decay, count in rates}


def daniil(refinements: int) -> set[tuple[Any, ...]]:
    counts = (24, 37 + 10 * refinements, 32 + 10 * refinements, 19 * refinements, 19 * refinements)
    parts = ((1, 5e-4), (1, 0), (2, 0), (4, 5e-4), (8, 0))
    return {(count, factor * 4e-5, decay, 0, 0) for count, (factor, decay) in zip(counts, parts, strict=True)}


BOTTOM_UP = {
    "openpose_coco": Maps(
        "vgg_paf", 368, "euclidean", "SGD", 10, 600_000, cmu(4e-5, 5e-4, 22, 70), CMU_RATES, rules="cmu-2017"
    ),
    "openpose_mpi": Maps(
        "vgg_paf", 368, "euclidean", "SGD", 10, 600_000, cmu(4e-5, 5e-4, 22, 70), CMU_RATES, rules="cmu-2017"
    ),
    "openpose_body25": Maps(
        "body25", 368, "euclidean", "Adam", 10, 1_000_000, cmu(1e-4, 5e-4, 12, 102, 99), BODY25_RATES, rules="cmu"
    ),
    "openpose_face": Maps("cpm_face", 368, "euclidean", "SGD", 10, 116_000, cmu(4e-5, 5e-4, 17, 35), CMU_RATES),
    "openpose_hand": Maps("cpm_hand", 368, "euclidean", "SGD", 10, 102_000, cmu(4e-5, 5e-4, 17, 35), CMU_RATES),
    "keras_openpose": Maps(  # twice the decay; the rate falls with the epoch of 5,259 steps after step 136,106
        "vgg_paf", 368, "euclidean", "SGD", 10, -200_000, cmu(4e-5, 1e-3, 22, 70),
        {0: 1, 136_106: 1, 26 * 5259 - 1: 1, 26 * 5259: 0.333, 52 * 5259 - 1: 0.333, 52 * 5259: 0.333**2},
        rules="keras",
    ),
    "treb1en_openpose": Maps(
        "vgg_paf", 368, "treb1en", "Adam", 10, 300_000,
        {(20, 0.25e-4, 0, 2000, 0), (4, 0.25e-4, 0, 0, 0), (160, 1e-4, 0, 0, 0)},
        {0: 1, 99_999: 1, 100_000: 0.1, 199_999: 0.1, 200_000: 0.01}, rules="treb1en",
    ),
    "tensorboy_openpose": Maps(  # nine of the ten layers of VGG-19
        "vgg_paf", 368, "mean", "SGD", 72, -75, {(18, 1, 0, 0, 5), (166, 1, 0, 0, 0)}, {0: 1, 50_000: 1},
        rules="tensorboy",
    ),
    "lightweight_openpose_1": Maps(
        "mobilenet_paf", 368, "euclidean", "Adam", 80, 420_000, daniil(1), DANIIL_RATES, rules="daniil"
    ),
    "lightweight_openpose_2": Maps(
        "mobilenet_paf", 368, "euclidean", "Adam", 80, 280_000, daniil(1), DANIIL_RATES, rules="daniil"
    ),
    "lightweight_openpose_3": Maps(
        "mobilenet_paf", 368, "euclidean", "Adam", 80, 370_000, daniil(3), DANIIL_RATES, rules="daniil"
    ),
    "mxnet_vgg_1": Maps(
        "vgg_paf", 368, "gluon", "SGD", 16, -5, {(164, 1, 1e-5, 0, 0)}, {0: 1, 30_000: 1}, 20, rules="mxnet"
    ),
    "mxnet_vgg_2": Maps("vgg_paf", 368, "gluon", "SGD", 16, -5, {(184, 1, 1e-5, 0, 0)}, {0: 1}, rules="mxnet"),
    "mxnet_vgg_norms_1": Maps(
        "vgg_paf", 384, "gluon", "Adam", 16, -5, {(300, ADAM, 0, 0, 0)}, {0: 1}, 20, rules="mxnet"
    ),
    "mxnet_vgg_norms_2": Maps(
        "vgg_paf", 384, "gluon", "Adam", 16, -5, {(320, ADAM / 10, 1e-4, 0, 0)}, {0: 1}, rules="mxnet"
    ),
    "mxnet_resnet18_1": Maps(
        "resnet_paf_18", 384, "gluon", "Adam", 16, -5, {(71, ADAM, 0, 0, 0)}, {0: 1}, rules="mxnet"
    ),
    "mxnet_resnet18_2": Maps(
        "resnet_paf_18", 384, "gluon", "Adam", 16, -5, {(71, ADAM / 10, 0, 0, 0)}, {0: 1}, rules="mxnet"
    ),
}  # fmt: skip
VGG_TRUNK = [
    "conv1_1",
    "conv1_2",
    "conv2_1",
    "conv2_2",
    "conv3_1",
    "conv3_2",
    "conv3_3",
    "conv3_4",
    "conv4_1",
    "conv4_2",
]
HELD = {  # layers that stand still at first, or (mxnet) for good
    "treb1en_openpose": VGG_TRUNK,
    "tensorboy_openpose": VGG_TRUNK[:9],
    "mxnet_vgg_1": VGG_TRUNK,
    "mxnet_vgg_norms_1": VGG_TRUNK,
}
EPOCH_LENGTHS = {"keras_openpose": 5259.0} | {f"lightweight_openpose_{n}": DANIIL_EPOCH for n in (1, 2, 3)}


@functools.cache
def recipe_of(name: str) -> Recipe:
    """A published recipe at the smallest width; all else as it stands."""
    return read_recipe(named_recipes()[name], ["width=0.05"])


@functools.cache
def task_of(name: str) -> Task:
    """Its task."""
    return make_task(recipe_of(name))


def small_task(name: str, folder: Path) -> Task:
    """The task of a recipe on two drawn pictures at 64 x 64."""
    recipe = recipe_of(name)
    skeleton = recipe.skeleton if recipe.skeleton != "data" else "lsp14"
    names = load_skeleton(skeleton).joints
    random = np.random.default_rng(2)
    people = []
    for number in (1, 2):
        places = np.column_stack([random.uniform(40, 90, len(names)), random.uniform(10, 110, len(names))])
        joints = np.column_stack([places.round(1), np.full(len(names), 2)]).ravel().tolist()
        people.append(person(35, 5, 60, 110, image_id=number, keypoints=joints, num_keypoints=len(names)))
    category = {"id": 1, "name": "person", "keypoints": list(names)}
    write_set(folder, people, pictures=2, categories=[category])
    values = {"root": folder, "data": [DataSource(file=Path("set.json"))], "val": [], "val_size": 0.0, "size": 64}
    values |= {"preload": False, "epoch_samples": None}
    return make_task(recipe.model_copy(update=values))


def two_steps(module: Training, batch: dict[str, torch.Tensor]) -> list[float]:
    """The losses of two steps as the program takes them."""
    configured = module.configure_optimizers()
    optimiser, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    losses = []
    for step in range(2):
        optimiser.zero_grad()
        found = module.loss(stages_of(module.network, module.task.normalise(batch["picture"])), batch)
        total = torch.stack(list(found.values())).sum()
        total.backward()
        hold_frozen(optimiser, step=step, epoch=int(step / module.epoch_length))
        optimiser.step()
        schedule.step()
        losses.append(float(total.detach()))
    return losses


def test_every_recipe_of_the_folder_stands_in_a_table() -> None:
    assert set(named_recipes()) == {*OURS, *TOP_DOWN, *BOTTOM_UP}


@pytest.mark.parametrize("name", sorted({*OURS, *TOP_DOWN, *BOTTOM_UP}))
def test_two_steps_are_taken(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    task = small_task(name, tmp_path)
    samples = make_samples(task, read_pictures(task)[0])
    module = Training(task, steps=10, epoch_length=2)
    module.train()
    before = {name: value.detach().clone() for name, value in module.network.named_parameters()}
    losses = two_steps(module, default_collate([samples[0], samples[1]]))
    assert np.isfinite(losses).all()
    moved = {name for name, value in module.network.named_parameters() if not torch.equal(before[name], value)}
    held = {f"{layer}.{leaf}" for layer in HELD.get(name, ()) for leaf in ("weight", "bias")}
    assert not moved & held
    assert len(moved) > 0.8 * (len(before) - len(held))


@pytest.mark.parametrize("name", TOP_DOWN)
def test_crops_are_trained_on_as_the_table_says(name: str) -> None:
    expected, recipe = TOP_DOWN[name], recipe_of(name)
    task = task_of(name)
    assert recipe.network == expected.network
    assert recipe.network_options.get("caffe", False) == ("caffe" in name)
    module = Training(task, steps=10, epoch_length=1)
    assert len(module.network.state_dict()) == expected.entries
    assert (recipe.crop_size, len(task.skeleton)) == (expected.size, expected.joints)
    assert (task.codec.stride, task.codec.sigma) == (4, 3 if expected.size[1] == 384 else 2)
    assert recipe.drawing == "rounded"
    assert (recipe.values, recipe.colours) == (
        "imagenet",
        "bgr" if name.startswith("pose") or name in BLUE_FIRST else "rgb",
    )
    assert task.codec.decoding == ("soft-argmax+quarter" if expected.soft else "quarter")
    assert (recipe.scale, recipe.rotation, recipe.half_body) == expected.augmentation
    assert (recipe.padding, recipe.rotated, recipe.flip, recipe.half_body_joints) == (1.25, 0.6, 0.5, 8)
    assert recipe.batch_size == expected.batch
    assert (recipe.max_epochs, recipe.max_steps) == (expected.epochs, None)
    first, second = expected.steps
    rates = [rate_at(recipe, epoch * 10, 10) for epoch in (0, first - 1, first, second - 1, second)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    assert rate_at(recipe, first * 10 - 1, 10) == 1
    (group,) = module.configure_optimizers()["optimizer"].param_groups
    assert (group["lr"], group["weight_decay"], group["betas"]) == (1e-3, 0, (0.9, 0.999))
    assert recipe.loss == "joint-mse"


@pytest.mark.parametrize("name", BOTTOM_UP)
def test_maps_are_trained_on_as_the_table_says(name: str) -> None:
    expected, recipe = BOTTOM_UP[name], recipe_of(name)
    assert (recipe.network, recipe.size, recipe.loss) == (expected.network, expected.size, expected.loss)
    assert (recipe.batch_size, recipe.accumulate, recipe.target_rules) == (expected.batch, 1, expected.rules)
    assert (recipe.max_steps or -(recipe.max_epochs or 0)) == expected.length
    task = task_of(name)
    assert task.codec.stride == (4 if "resnet" in name else 8)
    assert task.codec.sigma * (1 if task.is_bottom_up else 8) == 7  # pixels
    epoch = EPOCH_LENGTHS.get(name, 786.0)
    if recipe.epoch_samples and name in EPOCH_LENGTHS:
        assert recipe.epoch_samples / recipe.batch_size == epoch
    module = Training(task, steps=10, epoch_length=epoch)
    optimiser = module.configure_optimizers()["optimizer"]
    assert type(optimiser).__name__ == expected.optimiser
    found = {
        (
            len(group["params"]),
            group["initial_lr"],
            group["weight_decay"],
            group["frozen_steps"],
            group["frozen_epochs"],
        )
        for group in optimiser.param_groups
    }
    assert sorted(found) == [pytest.approx(group) for group in sorted(expected.groups)]
    waiting = [group for group in optimiser.param_groups if group["frozen_steps"] or group["frozen_epochs"]]
    held = {name.rpartition(".")[0] for group in waiting for name in group["names"]}
    frozen = [name for name, value in module.network.named_parameters() if not value.requires_grad]
    assert len(frozen) == expected.frozen
    assert held | {layer.rpartition(".")[0] for layer in frozen} == set(HELD.get(name, ()))
    for step, rate in expected.rates.items():
        assert rate_at(recipe, step, epoch) == pytest.approx(rate), step
    if expected.optimiser == "SGD":
        assert {(group["momentum"], group["nesterov"]) for group in optimiser.param_groups} == {
            (0.9, name == "tensorboy_openpose")
        }


@pytest.mark.parametrize("name", sorted({*TOP_DOWN, *BOTTOM_UP}))
def test_nothing_is_added_that_the_products_do_not_do(name: str) -> None:
    recipe = recipe_of(name)
    assert (recipe.gradient_norm, recipe.average, recipe.warmup_steps, recipe.frozen_norms) == (None, 0, 0, False)
    assert (recipe.mosaic if name in BOTTOM_UP and "face" not in name and "hand" not in name else 0) == 0
    colours = {"treb1en_openpose": (0.12, 0, 0, 0, 0), "tensorboy_openpose": (0.1, 0.01, 0, 0, 0.1)}
    assert (recipe.colour, recipe.grey, recipe.blur, recipe.noise, recipe.jpeg) == colours.get(name, (0, 0, 0, 0, 0))


def test_the_plateau_of_tensorboy_is_the_products() -> None:
    recipe = recipe_of("tensorboy_openpose")
    assert (recipe.schedule, recipe.factor, recipe.plateau_patience, recipe.plateau_cooldown) == ("plateau", 0.8, 5, 3)


# Maps of 1 where the target is 0, K + 1 of 4 x 4 cells, half of which count.
REDUCTIONS = {"euclidean": lambda maps: maps * 8 / 2, "treb1en": lambda _: 0.5, "mean": lambda _: 1.0,
              "gluon": lambda _: 0.25}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in BOTTOM_UP if name not in ("openpose_face", "openpose_hand")])
def test_losses_are_reduced_as_the_product_does(name: str) -> None:
    recipe = recipe_of(name)
    loss = make_loss(recipe, task_of(name))
    weights = torch.ones(2, 11, 4, 4)
    weights[..., 2:] = 0
    targets = {"heatmaps": torch.zeros(2, 5, 4, 4), "fields": torch.zeros(2, 6, 4, 4), "weights": weights}
    stages = [torch.ones(2, 5, 4, 4)], [torch.ones(2, 6, 4, 4)]
    found = loss(stages, targets)
    expected = REDUCTIONS[recipe.loss or ""]
    assert {key: float(value) for key, value in found.items()} == {"heatmaps_1": expected(5), "fields_1": expected(6)}


@pytest.mark.parametrize(
    ("names", "value"),
    [(sorted(TOP_DOWN), 0.5 * 3 / 4), (["openpose_face", "openpose_hand"], 4 * 16 / 2)],
)
def test_losses_of_crops_are_reduced_as_the_product_does(names: list[str], value: float) -> None:
    for name in names:
        loss = make_loss(recipe_of(name), task_of(name))
        maps = torch.ones(2, 5 if "openpose" in name else 4, 4, 4)
        weights = torch.tensor([[0.0, 1, 1, 1]]).repeat(2, 1)
        (found,) = loss(([maps], []), {"heatmaps": torch.zeros_like(maps), "weights": weights}).values()
        assert float(found) == value, name


def test_starts_are_published_weights_or_the_step_before() -> None:
    for name, file in named_recipes().items():
        init = yaml.safe_load(file.read_text()).get("init")
        if init and init.startswith("runs/"):
            assert named_recipes()[Path(init).parent.name].stem[:-1] == name[:-1]
        elif init:
            assert PUBLISHED[init].kind == "backbone", name
