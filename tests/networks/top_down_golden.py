"""A reference network of tests/goldens/topdown: its weights, drawn as its README says, and what ours makes of them."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from manypose.networks import hrnet, lpn, pose_resnet

NETWORKS = {**hrnet.ENTRIES, **lpn.ENTRIES, **pose_resnet.ENTRIES}
# Golden -> network and options; the goldens that are not here are called as their network.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "hrnet_w18_small_v1_yaml": ("hrnet_w18_small_v1", {"layer1_channels": 64}),
    "hrnet_w18_small_v1_imagenet": ("hrnet_w18_small_v1", {"layer1_blocks": 1}),
    "hrnet_w18_small_v2_imagenet": ("hrnet_w18_small_v2", {"layer1_blocks": 2}),
}
GOLDENS = (
    *("hrnet_w18_small_v1", "hrnet_w18_small_v1_yaml", "hrnet_w18_small_v1_imagenet"),
    *("hrnet_w18_small_v2", "hrnet_w18_small_v2_imagenet", "hrnet_w32", "hrnet_w48"),
    *("lpn_18", "lpn_18h", "lpn_34", "lpn_34h", "lpn_50", "lpn_100", "pose_resnet_50"),
)

Weights = dict[str, NDArray[np.generic]]


def golden_weights(entries: Iterable[tuple[str, Sequence[int]]]) -> Weights:
    """The values of a whole state dict, given as (name, shape)."""
    return {name: _golden_tensor(name, shape) for name, shape in entries}


def _golden_tensor(name: str, shape: Sequence[int]) -> NDArray[np.generic]:
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode("utf-8"))))
    if name.endswith(("running_mean", ".bias")):
        value = 0.1 * rng.standard_normal(shape)
    elif name.endswith("running_var"):
        value = rng.uniform(0.5, 1.5, shape)
    elif len(shape) in (1, 3):
        value = rng.uniform(0.4, 0.8, shape)
    else:
        value = np.sqrt(2 / np.prod(shape[1:])) * rng.standard_normal(shape)
    return value.astype(np.float32)


def weights_hash(weights: Weights) -> str:
    digest = hashlib.sha256()
    for name, value in weights.items():
        if not name.endswith("num_batches_tracked"):
            digest.update(value.astype("<f4").tobytes())
    return digest.hexdigest()


class Golden:
    """The manifest and arrays of a golden, our network with its weights, and what that network gives on the way.

    `seen` has the outputs of the modules that the manifest has probes of, a list for those with several branches.
    """

    def __init__(self, folder: Path) -> None:
        self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
        arrays = np.load(folder / "io.npz")
        self.expected = arrays["output"]
        name, options = VARIANTS.get(folder.name, (folder.name, {}))
        with torch.device("meta"):
            self.network = NETWORKS[name].make(**options).eval()
        self.entries = [[name, list(value.shape)] for name, value in self.network.state_dict().items()]
        self.weights = golden_weights(self.manifest["state_dict"])
        state = {name: torch.from_numpy(value) for name, value in self.weights.items()}
        self.network.load_state_dict(state, assign=True)
        self.seen: dict[str, list[NDArray[np.float64]]] = {}
        parts = list(self.manifest["probes"])
        hooks = [self.network.get_submodule(part).register_forward_hook(self._keep(part)) for part in parts]
        with torch.no_grad():
            self.output = self.network(torch.from_numpy(arrays["input"].astype(np.float32))).numpy()
        for hook in hooks:
            hook.remove()

    def _keep(self, part: str) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            outputs = output if isinstance(output, list) else [output]
            self.seen[part] = [value.numpy().astype(np.float64) for value in outputs]

        return hook
