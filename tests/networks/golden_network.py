"""A reference network of tests/goldens/nets: its weights in ours, by their names, and what ours makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_weights import golden_weights
from numpy.typing import NDArray

from manypose import networks
from manypose.convert.layout import load_into, recognise
from manypose.convert.layouts_bottom_up import LAYOUTS
from manypose.networks.count import count_multiply_adds, count_parameters

Outputs = dict[str, NDArray[np.float32]]
SIZES = {"at_golden_size": (128, 96), "at_368x368": (368, 368), "at_256x456": (456, 256)}


class GoldenNetwork:
    """The manifest and arrays of a folder, the layout that fits its names, and the outputs of our network by name.

    `run` gives the outputs, without batch dimension, under the names of the manifest.
    """

    def __init__(self, folder: Path, run: Callable[[torch.nn.Module, torch.Tensor], dict[str, torch.Tensor]]) -> None:
        self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
        self.arrays = dict(np.load(folder / "io.npz"))
        weights = golden_weights((name, shape) for name, shape in self.manifest["state_dict"])
        self.fit = recognise(weights, LAYOUTS, where=folder.name)
        self.network = networks.build(self.fit.layout.network, **self.fit.options).eval()
        load_into(self.network, self.fit.tensors)
        with torch.no_grad():
            outputs = run(self.network, torch.from_numpy(self.arrays["input"].astype(np.float32)))
        self.outputs: Outputs = {name: value[0].numpy() for name, value in outputs.items()}

    def check_size(self) -> None:
        """As many tensors, parameters and multiply-adds as the reference."""
        assert len(self.network.state_dict()) == self.manifest["tensors"] + self.manifest["buffers"]
        assert count_parameters(self.network) == self.manifest["parameters"]
        costs = {key: count_multiply_adds(self.network, size) for key, size in SIZES.items()}
        assert costs == {key: self.manifest["multiply_adds"][key] for key in SIZES}

    def check_stored_outputs(self) -> None:
        """The outputs that are stored as a whole are met everywhere."""
        stored = [output["name"] for output in self.manifest["outputs"] if output["stored"]]
        assert stored
        for name in stored:
            np.testing.assert_allclose(self.outputs[name], self.arrays[name], rtol=0, atol=self.tolerance, err_msg=name)

    def check_probes_and_statistics(self) -> None:
        """All outputs, in the order of the manifest, have its shapes, probes and statistics."""
        assert [output["name"] for output in self.manifest["outputs"]] == list(self.outputs)
        for expected in self.manifest["outputs"]:
            ours = self.outputs[expected["name"]].astype(np.float64)
            assert list(ours.shape) == expected["shape"]
            probes = ours.ravel()[expected["probe_index"]]
            np.testing.assert_allclose(
                probes, expected["probe_value"], rtol=0, atol=self.tolerance, err_msg=expected["name"]
            )
            for statistic in ("mean", "std", "min", "max"):
                value = getattr(ours, statistic)()
                assert value == pytest.approx(expected[statistic], abs=self.tolerance), statistic

    @property
    def tolerance(self) -> float:
        return float(self.manifest["tolerance"]["max_abs"])
