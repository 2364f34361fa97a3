"""Small ONNX files with the inputs and outputs of other projects' exports; their outputs are constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from manypose.estimators.inputs import Estimator
from manypose.model import Model

onnx = pytest.importorskip("onnx", reason="needs the extra [train], to write small model files")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

Array = NDArray[Any]


def write_file(
    file: Path,
    outputs: Mapping[str, Array],
    *,
    picture: tuple[Any, ...] = (1, 3, 64, 64),
    name: str = "input",
    kind: int = TensorProto.FLOAT,
    others: Mapping[str, tuple[int, ...]] | None = None,
    properties: Mapping[str, str] | None = None,
    note: str = "",
) -> Path:
    """A file that gives `outputs` for every picture; `note` is the name of a node."""
    nodes, values = [], []
    for number, (output, array) in enumerate(outputs.items()):
        made = numpy_helper.from_array(np.asarray(array))
        nodes.append(helper.make_node("Constant", [], [output], name=f"{note}{number}", value=made))
        values.append(helper.make_tensor_value_info(output, made.data_type, made.dims))
    inputs = [helper.make_tensor_value_info(name, kind, picture)]
    inputs += [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in (others or {}).items()]
    graph = helper.make_graph(nodes, "small", inputs, values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, dict(properties or {}))
    file.write_bytes(model.SerializeToString())
    return file


def watch_inputs(monkeypatch: pytest.MonkeyPatch) -> Callable[[Estimator, Array], tuple[Array, dict[str, Array]]]:
    """Gives a function that shows an estimator a picture and returns what its network was given."""
    seen: list[tuple[Array, dict[str, Array]]] = []
    infer = Model.infer

    def record(self: Model, batch: Array, **others: Array) -> Any:
        seen.append((batch, others))
        return infer(self, batch, **others)

    monkeypatch.setattr(Model, "infer", record)

    def show(estimator: Estimator, picture: Array) -> tuple[Array, dict[str, Array]]:
        estimator(picture)
        return seen[-1]

    return show
