"""What a network is made of: its layers with shapes and costs, and its blocks with what flows between them.

Nothing is computed: the network runs once on PyTorch's device "meta", where only shapes exist, and each tensor carries
the names of the layers that it comes from.
"""

from __future__ import annotations

import contextlib
import copy
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from manypose.errors import ModelError
from manypose.networks import ENTRIES, Maps, Vectors, build
from manypose.networks.count import count_multiply_adds, count_parameters, multiply_adds_of

PICTURE = "picture"
Shape = tuple[int, ...]

# Layers of flat networks, or of the branches of one, that make up a block: pattern -> name of the block, of its row.
_FAMILIES = tuple(
    (re.compile(pattern), block, row)
    for pattern, block, row in (
        (r"conv5_\d_CPM_L(\d)\w*", r"stage1_L\1", ""),
        (r"conv6_\d_CPM", r"stage1", ""),
        (r"M(?:conv|prelu)\d_stage(\d+)(_L\d)?\w*", r"stage\1\2", ""),
        (r"(?:conv|prelu)(\d)_\d(_CPM)?", r"conv\1\2", ""),
        (r"(?:conv|bn)\d|maxpool", "stem", ""),
        (r"(stage\d+)\.\d+\.(?:branches|fuse_layers)\.(\d+)\..*", r"\1.branches.\2", r"\1"),
    )
)
_UNLISTED = (nn.Identity, nn.ReLU, nn.ReLU6, nn.ELU, nn.Sigmoid, nn.Hardswish, nn.Softmax, nn.Dropout, nn.Dropout2d)
_KINDS = {
    nn.Conv2d: "convolution",
    nn.ConvTranspose2d: "deconvolution",
    nn.BatchNorm2d: "batch norm",
    nn.LayerNorm: "layer norm",
    nn.Linear: "linear",
    nn.PReLU: "PReLU",
    nn.MaxPool2d: "max pool",
    nn.AvgPool2d: "mean pool",
    nn.AdaptiveAvgPool2d: "mean pool",
    nn.Upsample: "enlarging",
    nn.PixelShuffle: "pixel shuffle",
}


@dataclass(frozen=True)
class Layer:
    """One layer. `kernel`, `stride` and `dilation` are (down, across), None where the layer has none; `groups` is 0
    there. `output` is the shape of what it gives, without the batch. A layer that is used several times counts its
    multiply-adds for each."""

    name: str
    kind: str
    kernel: tuple[int, int] | None
    stride: tuple[int, int] | None
    dilation: tuple[int, int] | None
    groups: int
    output: Shape
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Block:
    """Layers that are drawn as one box.

    `inputs` are the names of the blocks whose maps it takes, or `PICTURE`; `outputs` the shapes of the maps that it
    gives to others. Blocks of one `row` (if it has a name) stand side by side though they exchange maps. `joins`: some
    layer takes the sum, or the concatenation, of what several layers of the block give.
    """

    name: str
    row: str
    layers: tuple[Layer, ...]
    inputs: tuple[str, ...]
    outputs: tuple[Shape, ...]
    joins: bool

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        return sum(layer.multiply_adds for layer in self.layers)


@dataclass(frozen=True)
class Result:
    """One tensor that the network gives: what it is, its shape without the batch, and the blocks that it is from."""

    name: str
    shape: Shape
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Description:
    """A network at work on one picture of `size` (width, height), in the order in which its layers work."""

    name: str
    size: tuple[int, int]
    layers: tuple[Layer, ...]
    blocks: tuple[Block, ...]
    results: tuple[Result, ...]
    parameters: int
    multiply_adds: int


def describe_network(name: str, *, size: tuple[int, int] | None = None, **options: Any) -> Description:
    """What the network of that name is made of; `size` (width, height) is that of its entry unless given.

    Raises `ModelError` when there is no such network, or it does not take the options or pictures of that size.
    """
    with torch.device("meta"):
        network = build(name, **options)
    size = size or ENTRIES[name].size
    with _fitting(name, size):
        return _describe(network, size, name, 3)


def count_network(name: str, *, size: tuple[int, int] | None = None, **options: Any) -> tuple[int, int]:
    """Parameters, and multiply-adds for one picture of `size`, of the network of that name; see `networks.count`.

    Raises `ModelError` when there is no such network, or it does not take the options or pictures of that size.
    """
    with torch.device("meta"):
        network = build(name, **options)
    _skip_norms(network)
    size = size or ENTRIES[name].size
    with _fitting(name, size):
        return count_parameters(network), count_multiply_adds(network, size)


@contextlib.contextmanager
def _fitting(name: str, size: tuple[int, int]) -> Iterator[None]:
    """Say so where maps do not fit each other: on "meta", where nothing is computed, only shapes can be at fault."""
    try:
        yield
    except RuntimeError as error:
        raise ModelError(f"{name} takes no input of {size[0]}x{size[1]}; give multiples of 32") from error


def describe_module(network: nn.Module, size: tuple[int, int], *, name: str, channels: int = 3) -> Description:
    """What any network for pictures of `size` (width, height) is made of; it stays as it is."""
    return _describe(copy.deepcopy(network).to("meta"), size, name, channels)


def _describe(shadow: nn.Module, size: tuple[int, int], name: str, channels: int) -> Description:
    _skip_norms(shadow.eval())
    layers = _Run(shadow, size, channels).layers
    grouping = _group(shadow, layers)
    run = _Run(shadow, size, channels, {layer: block for layer, (block, _) in grouping.items()})
    return Description(
        name=name,
        size=size,
        layers=tuple(layers.values()),
        blocks=_blocks(run, grouping),
        results=tuple(_results(run, grouping)),
        parameters=count_parameters(shadow),
        multiply_adds=sum(layer.multiply_adds for layer in layers.values()),
    )


def _skip_norms(network: nn.Module) -> None:
    """Batch norms change no shape, but on "meta" they take more time than all else together."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.forward = torch.empty_like  # type: ignore[method-assign]


class _Run(TorchFunctionMode):
    """One run of a network on "meta": `layers` by name, `sources` of each, and what the network gives.

    `blocks` (layer -> block) tells which modules lie within one block. What such a module adds to its own input (as a
    residual block does) comes from that block alone.
    """

    def __init__(
        self, network: nn.Module, size: tuple[int, int], channels: int, blocks: dict[str, str] | None = None
    ) -> None:
        super().__init__()
        self.layers: dict[str, Layer] = {}
        self.sources: dict[str, frozenset[str]] = {}
        self.joining: set[str] = set()
        self._kept: dict[int, tuple[Tensor, frozenset[str]]] = {}
        hooks = []
        for name, module in network.named_modules():
            if _is_layer(module):
                hooks.append(module.register_forward_hook(self._watch_layer(name)))
            elif blocks is not None and len(inside := _blocks_inside(name, blocks)) == 1:
                hooks.append(module.register_forward_hook(self._watch_part(inside.pop(), blocks)))
        picture = torch.zeros(1, channels, size[1], size[0], device="meta")
        self._mark(picture, frozenset([PICTURE]))
        with torch.no_grad(), self:
            self.output = network(picture)
        for hook in hooks:
            hook.remove()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Whatever PyTorch makes of tensors comes from all that they come from."""
        output = function(*args, **(kwargs or {}))
        made = [tensor for tensor in _tensors(output) if tensor.device.type == "meta"]
        if made:
            sources = self.sources_of((args, kwargs))
            for tensor in made:
                self._mark(tensor, sources)
        return output

    def sources_of(self, value: Any) -> frozenset[str]:
        """The layers that the tensors somewhere in a value come from."""
        return frozenset().union(*(self._kept[id(t)][1] for t in _tensors(value) if id(t) in self._kept))

    def _mark(self, tensor: Tensor, sources: frozenset[str]) -> None:
        self._kept[id(tensor)] = (tensor, sources)  # kept alive, so that no other tensor gets its id

    def _watch_layer(self, name: str) -> Any:
        def watch(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            layer = _layer(name, module, inputs[0], next(_tensors(output)))
            if name in self.layers:
                layer = _used_again(self.layers[name], layer)
            self.layers[name] = layer
            self.sources[name] = self.sources.get(name, frozenset()) | self.sources_of(inputs)
            for tensor in _tensors(output):
                self._mark(tensor, frozenset([name]))

        return watch

    def _watch_part(self, block: str, blocks: dict[str, str]) -> Any:
        def watch(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            for tensor in _tensors(output):
                own = frozenset(name for name in self.sources_of(tensor) if blocks.get(name) == block)
                if own and own != self.sources_of(tensor):
                    self.joining.add(block)
                    self._mark(tensor, own)

        return watch


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _is_layer(module: nn.Module) -> bool:
    if any(True for _ in module.parameters(recurse=False)):
        return True
    return not any(True for _ in module.children()) and not isinstance(
        module, (*_UNLISTED, nn.Sequential, nn.ModuleList)
    )


def _blocks_inside(name: str, blocks: dict[str, str]) -> set[str]:
    return {block for layer, block in blocks.items() if layer.startswith(f"{name}.")} if name else set(blocks.values())


def _layer(name: str, module: nn.Module, inputs: Tensor, output: Tensor) -> Layer:
    counted = isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
    groups = getattr(module, "groups", 0)
    kind = _KINDS.get(type(module), type(module).__name__)
    if isinstance(module, nn.Conv2d) and groups > 1:
        kind = "depthwise convolution" if groups == module.in_channels else "grouped convolution"
    return Layer(
        name=name,
        kind=kind,
        kernel=_pair(getattr(module, "kernel_size", None)),
        stride=_pair(getattr(module, "stride", None)),
        dilation=_pair(getattr(module, "dilation", None)),
        groups=groups,
        output=tuple(output.shape[1:]),
        parameters=sum(parameter.numel() for parameter in module.parameters(recurse=False)),
        multiply_adds=multiply_adds_of(module, inputs, output) if counted else 0,
    )


def _pair(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))


def _used_again(before: Layer, now: Layer) -> Layer:
    return Layer(**{**vars(now), "multiply_adds": before.multiply_adds + now.multiply_adds})


def _group(network: nn.Module, layers: dict[str, Layer]) -> dict[str, tuple[str, str]]:
    """For each layer the name of its block and of its row."""
    grouping = {}
    for name in layers:
        for pattern, block, row in _FAMILIES:
            if match := pattern.fullmatch(name):
                grouping[name] = (match.expand(block), match.expand(row))
                break
    for top, child in network.named_children():
        parts = [f"{top}.{index}" for index, _ in child.named_children()]
        if not isinstance(child, nn.ModuleList):
            parts = [top]
        for part in parts:
            own = [name for name in layers if name not in grouping and (name == part or name.startswith(f"{part}."))]
            grouping |= {name: (block, "") for name, block in _split_by_size(part, own, layers).items()}
    return {name: grouping.get(name, (name, "")) for name in layers}


def _split_by_size(part: str, own: list[str], layers: dict[str, Layer]) -> dict[str, str]:
    """Blocks of one part of a network: one for each size of map that its children give, in their order."""
    last: dict[str, Shape] = {}
    for name in own:
        size = layers[name].output[1:]
        if sum(size) > len(size) or _child(part, name) not in last:  # attention looks at the map as one cell
            last[_child(part, name)] = size
    runs: list[list[str]] = []
    for child, size in last.items():
        if runs and last[runs[-1][-1]] == size:
            runs[-1].append(child)
        else:
            runs.append([child])
    names: dict[str, str] = {}
    for run in runs:
        label = part if len(runs) == 1 else f"{part}.{run[0]}" + (f"-{run[-1]}" if len(run) > 1 else "")
        names |= dict.fromkeys(run, label)
    return {name: names[_child(part, name)] for name in own}


def _child(part: str, name: str) -> str:
    return name.removeprefix(part).removeprefix(".").split(".")[0]


def _blocks(run: _Run, grouping: dict[str, tuple[str, str]]) -> tuple[Block, ...]:
    members: dict[tuple[str, str], list[str]] = {}
    for layer, block in grouping.items():
        members.setdefault(block, []).append(layer)
    results = run.sources_of(_last(run.output))
    order = {name: place for place, name in enumerate([PICTURE, *grouping])}
    blocks = []
    for (name, row), own in members.items():
        inside = set(own)
        inputs = dict.fromkeys(
            grouping[source][0] if source in grouping else source
            for layer in own
            for source in sorted(run.sources[layer], key=order.__getitem__)
            if source not in inside
        )
        taken = results.union(*(run.sources[other] for other in grouping if other not in inside))
        outputs = dict.fromkeys(run.layers[layer].output for layer in own if layer in taken)
        # What attention looked at as one cell is spread over the map again.
        maps = [shape for shape in outputs if sum(shape[1:]) > len(shape[1:])] or list(outputs)
        joins = name in run.joining or any(len(run.sources[layer] & inside) > 1 for layer in own)
        layers = tuple(run.layers[layer] for layer in own)
        blocks.append(Block(name, row, layers, tuple(inputs), tuple(maps), joins))
    return tuple(blocks)


def _results(run: _Run, grouping: dict[str, tuple[str, str]]) -> Iterator[Result]:
    last = _last(run.output)
    names = last._fields if isinstance(last, Maps | Vectors) else ("heatmaps",)
    for name, tensor in zip(names, _tensors(last), strict=False):
        sources = run.sources_of(tensor)
        inputs = dict.fromkeys(grouping[layer][0] for layer in grouping if layer in sources)
        yield Result(name, tuple(tensor.shape[1:]), tuple(inputs))


def _last(output: Any) -> Any:
    """The result: of a tuple of stages the last one."""
    return output[-1] if isinstance(output, list | tuple) and not isinstance(output, Maps | Vectors) else output


def kinds_of(block: Block) -> Counter[tuple[str, tuple[int, int] | None]]:
    """How many layers of which kind and kernel a block has, of those that cost something."""
    return Counter((layer.kind, layer.kernel) for layer in block.layers if layer.multiply_adds)
