"""Which network a file of weights belongs to: every product's names for its tensors, and the one that fits."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from manypose import networks
from manypose.errors import ModelError
from manypose.metadata import Decoding
from manypose.model import InputSettings

Tensors = dict[str, NDArray[Any]]
Shapes = Mapping[str, tuple[int, ...]]

COUNTER = "num_batches_tracked"  # of batch norms; of no use for running, and absent from most formats


@dataclass(frozen=True)
class Layout:
    """The names that one product gives to the tensors of one network.

    `rename` gives the network's own name for a name of the file (in PyTorch's spelling, `<layer>.weight`), or None
    where the file's tensor is not the network's. `options` reads the options of `networks.build` off the shapes of the
    renamed tensors; it may raise KeyError, IndexError or ValueError where they are not such a network's. `spare` tells
    which renamed or unnamed tensors the product stores and the network has no use for (by the file's name). `input` is
    how the product feeds pictures; `field_offset` is by how many pixels its fields lie beside its heatmaps; `decoding`
    is how its program finds the joint of a heatmap, where each shows one person's.

    `head` tells which of the network's tensors (by its own names) the product does not have, because its weights are
    those of a classifier: they are a start for training, and no network that could run.
    """

    name: str
    network: str
    rename: Callable[[str], str | None]
    options: Callable[[Shapes], dict[str, Any]]
    input: InputSettings
    spare: Callable[[str], bool] = lambda name: False
    head: Callable[[str], bool] = lambda name: False
    field_offset: float = 0.0
    decoding: Decoding = "quarter"
    notes: str = ""


@dataclass(frozen=True, eq=False)
class Fit:
    """A layout tried on the tensors of a file; it fits when nothing is missing, left over or of another shape.

    `absent` are the network's tensors that the layout has not by its nature (see `Layout.head`); with any, the weights
    are a start for training only.
    """

    layout: Layout
    options: dict[str, Any]
    tensors: Tensors
    missing: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()
    wrong: tuple[str, ...] = field(default=())
    absent: tuple[str, ...] = ()

    @property
    def faults(self) -> int:
        return len(self.missing) + len(self.left_over) + len(self.wrong)


def recognise(tensors: Tensors, layouts: Sequence[Layout], *, where: str, network: str | None = None) -> Fit:
    """The first of the layouts that the tensors of a file fit exactly; `network` narrows the choice.

    Raises `ModelError` that names every tensor which is missing, left over or of a wrong shape in the layout that
    comes nearest, or what was seen where none is near.
    """
    chosen = [layout for layout in layouts if network in (None, layout.network)]
    if not chosen:
        names = ", ".join(sorted({layout.network for layout in layouts}))
        raise ModelError(f"no weights are known for a network called {network!r}; there are {names}")
    nearest: Fit | None = None
    for layout in chosen:
        fit = try_layout(layout, tensors)
        if fit is None:
            continue
        if not fit.faults:
            return fit
        if nearest is None or fit.faults < nearest.faults:
            nearest = fit
    # A file that shares a few layers of VGG-19 with a network is not that network with faults.
    if nearest is None or len(nearest.tensors) < max(len(nearest.missing), len(nearest.left_over)):
        raise ModelError(f"{where}: the weights of no network that is known here; it holds {_summary(tensors)}")
    raise ModelError(f"{where}: nearly {nearest.layout.network} as {nearest.layout.name} names it, but {_why(nearest)}")


def try_layout(layout: Layout, tensors: Tensors) -> Fit | None:
    """How the tensors of a file fit a layout; None where they have nothing in common."""
    places: dict[str, str] = {}  # names in the file by the network's own
    left_over = []
    for name in tensors:
        if layout.spare(name) or name.endswith(COUNTER):
            continue
        new = layout.rename(name)
        if new is None or new in places:
            left_over.append(name)
        else:
            places[new] = name
    if not places:
        return None
    renamed = {new: tensors[old] for new, old in places.items()}
    try:
        options = layout.options({name: tensor.shape for name, tensor in renamed.items()})
        expected = _expected_shapes(layout.network, tuple(options.items()))
    except (KeyError, IndexError, ValueError, ModelError):
        return None
    absent = tuple(name for name in expected if layout.head(name))
    expected = {name: shape for name, shape in expected.items() if name not in absent}
    left_over += [old for new, old in places.items() if new not in expected]
    return Fit(
        layout=layout,
        options=options,
        tensors={name: renamed[name] for name in expected if name in renamed},
        missing=tuple(name for name in expected if name not in renamed),
        left_over=tuple(left_over),
        wrong=tuple(
            f"{name} is {renamed[name].shape}, expected {shape}"
            for name, shape in expected.items()
            if name in renamed and renamed[name].shape != shape
        ),
        absent=absent,
    )


def load_into(network: torch.nn.Module, tensors: Tensors, *, absent: Collection[str] = ()) -> None:
    """Put tensors, which have the network's names, into it; `absent` and counters of batch norms stay as they are."""
    state = {name: value for name, value in network.state_dict().items() if name in absent or name.endswith(COUNTER)}
    state |= {name: torch.from_numpy(np.array(tensor, np.float32)) for name, tensor in tensors.items()}
    network.load_state_dict(state)


def same_name(name: str) -> str:
    """The name of a file whose names are the network's own."""
    return name


def commonest(shapes: Shapes, pattern: str, *, axis: int = 0) -> int:
    """The length of an axis that most of the tensors have whose names match, so that a single faulty one is found.

    Raises ValueError when there are none.
    """
    compiled = re.compile(pattern)
    matching = [shape for name, shape in shapes.items() if compiled.fullmatch(name)]
    found = Counter(shape[axis] for shape in matching if len(shape) > axis)
    if not found:
        raise ValueError(f"no tensor is called {pattern}")
    return found.most_common(1)[0][0]


@functools.lru_cache(maxsize=64)
def _expected_shapes(network: str, options: tuple[tuple[str, Any], ...]) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        state = networks.build(network, **dict(options)).state_dict()
    return {name: tuple(value.shape) for name, value in state.items() if not name.endswith(COUNTER)}


def _summary(tensors: Tensors, most: int = 6) -> str:
    if not tensors:
        return "no tensors"
    shown = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in list(tensors.items())[:most])
    return f"{len(tensors)} tensors: {shown}{' ...' if len(tensors) > most else ''}"


def _why(fit: Fit, most: int = 20) -> str:
    said = []
    for what, names in (("missing", fit.missing), ("left over", fit.left_over), ("of another shape", fit.wrong)):
        if names:
            more = f" and {len(names) - most} more" if len(names) > most else ""
            said.append(f"{what}: {', '.join(names[:most])}{more}")
    return "; ".join(said)
