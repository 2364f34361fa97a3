"""A model file computes what its network computes, at any size, and says all that running it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manypose.errors import ModelError, OutputError
from manypose.model import FieldSettings, InputSettings, Metadata, load_model

torch = pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("onnx", reason="needs the extra [train]")

from manypose.convert.export import export_onnx, read_weights, rewrite_metadata, store_small  # noqa: E402
from manypose.networks import build  # noqa: E402

pytestmark = pytest.mark.train

OUTPUTS: dict[str, Any] = {"heatmaps": "heatmaps", "fields": "fields"}


def metadata(**changes: Any) -> Metadata:
    settings: dict[str, Any] = {"name": "tiny", "task": "bottom-up", "skeleton": "openpose18", "outputs": OUTPUTS}
    return Metadata(**settings | changes)


def random_network(name: str) -> Any:
    """A network whose every layer matters, batch norms and last layers too."""
    torch.manual_seed(0)
    network = build(name, width=0.25)
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if key.endswith(("running_var", "weight")) and value.ndim < 2:
                value.uniform_(0.5, 1.5)
            elif key.startswith(("heatmaps", "fields")) or value.ndim == 1:
                value.normal_(0, 0.1)
    return network.eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Path]]:
    folder = tmp_path_factory.mktemp("models")
    made = {}
    for name in ("ladder_paf_small", "mobilenet_paf"):
        network = random_network(name)
        export_onnx(network, metadata(name=name), folder / f"{name}.onnx")
        made[name] = (network, folder / f"{name}.onnx")
    return made


@pytest.mark.parametrize("name", ["ladder_paf_small", "mobilenet_paf"])
def test_the_model_file_computes_what_the_network_computes(exported: Any, name: str) -> None:
    network, file = exported[name]
    opened = load_model(file, threads=1)
    for batch, height, width in [(1, 64, 64), (3, 32, 96), (2, 128, 64)]:
        picture = np.random.default_rng(height).uniform(-0.5, 0.5, (batch, 3, height, width)).astype(np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy(picture))[-1]
        maps = opened.run(picture)
        for meaning in ("heatmaps", "fields"):
            theirs = getattr(expected, meaning).numpy()
            assert theirs.std() > 1e-3
            np.testing.assert_allclose(maps[meaning], theirs, atol=1e-5, rtol=1e-5)


def test_the_metadata_are_inside(exported: Any) -> None:
    assert load_model(exported["ladder_paf_small"][1]).metadata == metadata(name="ladder_paf_small")


def test_outputs_go_by_meaning_whatever_their_names_and_order(tmp_path: Path) -> None:
    told = metadata(outputs={"b": "fields", "a": "heatmaps"}, input=InputSettings(name="image"))
    export_onnx(random_network("ladder_paf_small"), told, tmp_path / "m.onnx")
    maps = load_model(tmp_path / "m.onnx").run(np.zeros((1, 3, 32, 32), np.float32))
    assert (maps["heatmaps"].shape, maps["fields"].shape) == ((1, 19, 4, 4), (1, 38, 4, 4))


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"m\.onnx: the file exists"):
        export_onnx(random_network("ladder_paf_small"), metadata(), tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == b"mine"
    export_onnx(random_network("ladder_paf_small"), metadata(), tmp_path / "m.onnx", overwrite=True)
    assert load_model(tmp_path / "m.onnx").metadata.name == "tiny"


def test_metadata_can_be_replaced_and_the_network_stays(exported: Any, tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(exported["ladder_paf_small"][1].read_bytes())
    before = load_model(file)
    rewrite_metadata(file, before.metadata.model_copy(update={"figures": {"AP": 0.5}}))
    after = load_model(file)
    assert after.metadata.figures == {"AP": 0.5}
    picture = np.ones((1, 3, 64, 32), np.float32) / 4
    np.testing.assert_array_equal(after.run(picture)["fields"], before.run(picture)["fields"])


def test_weights_that_do_not_fit_16_bit_are_refused_and_not_cut_off(tmp_path: Path) -> None:
    network = random_network("ladder_paf_small")
    with torch.no_grad():
        network.fields.bias[0] = 1e5
    with pytest.raises(ModelError, match=r"m\.onnx: weights up to 1e\+05 in .* do not fit 16 bit; leave half out$"):
        export_onnx(network, metadata(), tmp_path / "m.onnx", half=True)
    assert not (tmp_path / "m.onnx").exists()


def test_a_training_does_not_go_on_from_16_bit(tmp_path: Path) -> None:
    export_onnx(random_network("ladder_paf_small"), metadata(), tmp_path / "m.onnx", half=True)
    with pytest.raises(ModelError, match=r"m\.onnx: its weights are in 16 bit; start from the checkpoint"):
        read_weights(tmp_path / "m.onnx")


def test_a_size_whose_maps_do_not_come_out_whole_is_refused(tmp_path: Path) -> None:
    told = metadata(input=InputSettings(stride=30))
    with pytest.raises(
        ModelError,
        match=r"m\.onnx: the network does not turn an input of 60x60 into maps at stride 8; give a size in multiples",
    ):
        export_onnx(random_network("mobilenet_paf"), told, tmp_path / "m.onnx")


def test_a_stride_that_is_not_the_networks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"m\.onnx: the network does not turn an input of 64x64 into maps at stride 4; "
    ):
        export_onnx(random_network("mobilenet_paf"), metadata(maps=FieldSettings(stride=4)), tmp_path / "m.onnx")


def test_weights_stored_small_compute_the_same_at_half_the_size(exported: Any, tmp_path: Path) -> None:
    network, whole = exported["mobilenet_paf"]
    small = tmp_path / "small.onnx"
    small.write_bytes(whole.read_bytes())
    store_small(small)
    assert small.stat().st_size < 0.6 * whole.stat().st_size
    picture = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 3, 64, 96)).astype(np.float32)
    before, after = load_model(whole).run(picture), load_model(small).run(picture)
    for meaning, maps in before.items():
        np.testing.assert_allclose(after[meaning], maps, atol=2e-3 * np.abs(maps).max())
    assert load_model(small).metadata == load_model(whole).metadata
    for name, tensor in read_weights(small).items():
        torch.testing.assert_close(tensor, network.state_dict()[name], atol=1e-6, rtol=1e-3)
