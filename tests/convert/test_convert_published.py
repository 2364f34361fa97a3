"""Published weights converted: name, licence and, for the four-stage network, fewer stages of the same file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import writers

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from manypose import networks  # noqa: E402
from manypose.convert.published import convert_published  # noqa: E402
from manypose.errors import ModelError  # noqa: E402
from manypose.model import load_model  # noqa: E402
from manypose.published import find_published  # noqa: E402

pytestmark = pytest.mark.train


def caffe_file(folder: Path, *, stages: int) -> tuple[Path, torch.nn.Module]:
    torch.manual_seed(0)
    network = networks.build("vgg_paf", joints=15, fields=28, width=0.125, stages=stages).eval()
    file = folder / "pose_iter_160000.caffemodel"
    file.write_bytes(writers.caffe({name: value.numpy() for name, value in network.state_dict().items()}))
    return file, network


@pytest.mark.parametrize(("name", "stage"), [("cmu-mpi", 6), ("cmu-mpi-4", 4)])
def test_the_model_gives_the_maps_of_its_last_stage_and_bears_its_name_and_licence(
    tmp_path: Path, name: str, stage: int
) -> None:
    file, network = caffe_file(tmp_path, stages=6)
    convert_published(file, tmp_path / "model.onnx", find_published(name))
    model = load_model(tmp_path / "model.onnx", device="cpu", threads=1)
    assert (model.metadata.name, model.metadata.skeleton) == (name, "mpi15")
    assert "non-commercial" in model.metadata.licence
    picture = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 3, 48, 64)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(picture))[stage - 1]
    maps = model.run(picture)
    np.testing.assert_allclose(maps["heatmaps"], expected.heatmaps, atol=1e-5)
    np.testing.assert_allclose(maps["fields"], expected.fields, atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "pose_iter_160000.caffemodel"]


def test_a_file_with_too_few_stages_is_refused(tmp_path: Path) -> None:
    file, _ = caffe_file(tmp_path, stages=2)
    with pytest.raises(ModelError, match="4 stages are wanted, and its network has 2"):
        convert_published(file, tmp_path / "model.onnx", find_published("cmu-mpi-4"))
