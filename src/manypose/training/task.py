"""What a recipe trains: the skeleton, the network, and the codec that says what its maps mean."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from manypose import networks
from manypose.codecs.fields import FieldsCodec
from manypose.codecs.heatmaps import Decoding, Drawing, HeatmapCodec
from manypose.codecs.simcc import SimccCodec
from manypose.data.datasets import dataset_skeleton
from manypose.errors import RecipeError
from manypose.metadata import IMAGENET_MEAN, IMAGENET_SCALE, InputSettings, crop_sigma
from manypose.networks.entry import Kind
from manypose.networks.simcc import MULTIPLE, VectorHead
from manypose.skeleton import Skeleton, load_skeleton, read_skeleton
from manypose.training.recipe import Recipe

FIELDS_SIGMA = 7.0  # pixels; CMU's, on a picture of 368
SMOOTHING = 0.1  # of the loss simcc-smooth: the share of all bins but the right one
SMALL = 0.05  # width of a network that shows the size of its maps; the least number of channels
# What the decoder adds to the nearest cell belongs to how the targets were drawn; see `HeatmapCodec`.
DECODINGS: dict[Drawing, Decoding] = {"rounded": "quarter", "window": "udp-dark", "exact": "dark"}


@dataclass(frozen=True)
class Task:
    """What a recipe trains; `codec` makes the targets and decodes the network's maps, in validation and afterwards."""

    recipe: Recipe
    skeleton: Skeleton
    codec: FieldsCodec | HeatmapCodec | SimccCodec

    @property
    def kind(self) -> Kind:
        """What the network gives."""
        return networks.ENTRIES[self.recipe.network].kind

    @property
    def is_bottom_up(self) -> bool:
        """Whether the network finds all people of a picture at once."""
        return isinstance(self.codec, FieldsCodec)

    @property
    def input(self) -> InputSettings:
        """How a picture becomes the network's input."""
        values = {} if self.recipe.values == "half" else {"mean": IMAGENET_MEAN, "scale": IMAGENET_SCALE}
        settings = InputSettings(colours=self.recipe.colours, **values)
        if self.is_bottom_up:
            return settings
        crop = {"size": self.recipe.crop_size, "fit": "crop", "padding": self.recipe.padding, "fill": 0}
        return settings.model_copy(update=crop)

    def normalise(self, picture: Tensor) -> Tensor:
        """RGB bytes (B, 3, H, W) as the float32 that `input` says, ready for the network."""
        ordered = picture.flip(1) if self.recipe.colours == "bgr" else picture
        values = ordered.to(torch.float32, memory_format=torch.channels_last)
        mean, scale = (steps.to(values.device) for steps in self._steps)
        return values.sub_(mean).mul_(scale)

    @functools.cached_property
    def _steps(self) -> tuple[Tensor, Tensor]:
        mean, scale = (torch.tensor(values, dtype=torch.float32) for values in (self.input.mean, self.input.scale))
        return mean.reshape(-1, 1, 1), scale.reshape(-1, 1, 1)

    def build_network(self) -> nn.Module:
        """The network with random weights."""
        channels = {"joints": len(self.skeleton)}
        if self.is_bottom_up:
            channels["fields"] = 2 * len(self.skeleton.fields)
        return networks.build(self.recipe.network, **channels, **network_options(self.recipe))


def make_task(recipe: Recipe, skeleton: Skeleton | None = None) -> Task:
    """The task of a recipe; `skeleton` is the one that it resolved to before, else it is read as the recipe says.

    Raises `RecipeError` where a bottom-up network has no limbs to put people together by, and for `joint_weights` of
    joints that there are not.
    """
    chosen = skeleton or _find_skeleton(recipe)
    kind = networks.ENTRIES[recipe.network].task
    if kind == "bottom-up":
        if not chosen.fields:  # of somebody's own joints: the limbs are what people are put together by
            chosen = dataclasses.replace(chosen, fields=chosen.limbs)
        if not chosen.fields:
            raise RecipeError(
                f"skeleton: {chosen.name!r} has no limbs, by which {recipe.network} puts joints together; add some "
                "(`skeleton` in the category of the JSON file, or a skeleton's YAML file), or train a top-down network"
            )
        sigma, stride = recipe.sigma or FIELDS_SIGMA, stride_of(recipe)
        return Task(recipe, chosen, FieldsCodec(chosen, stride=stride, sigma=sigma, limb_width=recipe.limb_width))
    unknown = sorted(set(recipe.joint_weights) - set(chosen.joints))
    if unknown:
        raise RecipeError(f"joint_weights: there is no joint {unknown[0]!r}; there are {', '.join(chosen.joints)}")
    if networks.ENTRIES[recipe.network].vectors:
        return Task(recipe, chosen, _simcc_codec(recipe))
    stride = stride_of(recipe)
    is_convolutional_machine = kind in ("face", "hand")  # CMU's: maps at the centres of cells, and a background
    sigma = FIELDS_SIGMA / stride if is_convolutional_machine else crop_sigma(recipe.crop_size)
    codec = HeatmapCodec(
        stride=stride,
        sigma=recipe.sigma / stride if recipe.sigma else sigma,
        offset=(stride - 1) / 2 if is_convolutional_machine else 0.0,
        background=is_convolutional_machine,
        drawing=recipe.drawing,
        decoding=recipe.decoding or ("udp-dark" if recipe.udp else DECODINGS[recipe.drawing]),
        udp=recipe.udp,
    )
    return Task(recipe, chosen, codec)


def _simcc_codec(recipe: Recipe) -> SimccCodec:
    ratio = split_ratio_of(recipe)
    smoothing = SMOOTHING if recipe.loss == "simcc-smooth" else None
    return SimccCodec(ratio, sigma=recipe.sigma * ratio if recipe.sigma else None, smoothing=smoothing)


def _find_skeleton(recipe: Recipe) -> Skeleton:
    if recipe.skeleton.endswith((".yaml", ".yml")):
        return read_skeleton(recipe.root / recipe.skeleton)
    if recipe.skeleton != "data":
        return load_skeleton(recipe.skeleton)
    first = recipe.data[0]
    assert first.file is not None  # `combinations` saw to it
    return dataset_skeleton(recipe.root / first.file, kind=first.kind, part=first.part)


def network_options(recipe: Recipe) -> dict[str, Any]:
    """The options that the recipe gives its network, beside the numbers of channels."""
    options = {"width": recipe.width, **recipe.network_options}
    if networks.ENTRIES[recipe.network].vectors:
        options |= dict(zip(("input_width", "input_height"), recipe.crop_size, strict=True))
    return options


def stride_of(recipe: Recipe) -> int:
    """Pixels of the input for one cell of the network's maps, found by running it at a small width.

    Raises `ModelError` for options that the network does not take, ValueError for a size that does not fit it.
    """
    return _stride(recipe.network, tuple(sorted(network_options(recipe).items())), recipe.crop_size)


def split_ratio_of(recipe: Recipe) -> float:
    """Bins of the vectors of a network of SimCC for one pixel of its input; raises as `stride_of`."""
    if any(side % MULTIPLE for side in recipe.crop_size):
        raise ValueError(_misfit(recipe.network, recipe.crop_size))
    network = _small_network(recipe.network, tuple(sorted(network_options(recipe).items())))
    head = network.vectors
    assert isinstance(head, VectorHead)
    return head.split_ratio


@functools.lru_cache(maxsize=256)
def _stride(name: str, options: tuple[tuple[str, Any], ...], size: tuple[int, int]) -> int:
    try:
        with torch.no_grad():
            maps = _last(_small_network(name, options)(torch.zeros(1, 3, size[1], size[0])))
    except RuntimeError:  # the branches of the network come to maps of different sizes
        raise ValueError(_misfit(name, size)) from None
    cells = (maps.shape[3], maps.shape[2])
    stride = size[0] // cells[0]
    if (cells[0] * stride, cells[1] * stride) != size:
        raise ValueError(_misfit(name, size))
    return stride


@functools.lru_cache(maxsize=64)
def _small_network(name: str, options: tuple[tuple[str, Any], ...]) -> nn.Module:
    """The network with the fewest channels, once its options are found to be sound."""
    with torch.device("meta"):  # takes no memory for weights, but seconds to run
        networks.build(name, **dict(options))
    with torch.random.fork_rng(devices=[]):
        return networks.build(name, **{**dict(options), "width": SMALL}).eval()


def _misfit(name: str, size: tuple[int, int]) -> str:
    return (
        f"{size[0]} x {size[1]} pixels do not divide into the cells of {name}: a multiple of 32 does for every network"
    )


def _last(outputs: Any) -> Tensor:
    """The last tensor of a network's outputs, which may be stages, or heatmaps and fields."""
    while not isinstance(outputs, Tensor):
        outputs = outputs[-1]
    return outputs
