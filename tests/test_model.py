"""A model file: what it holds, how it is opened, and every way in which it can be at fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from manypose import model as model_module
from manypose import published, sessions
from manypose.errors import DeviceError, ModelError
from manypose.model import (
    InputSettings,
    Metadata,
    available_devices,
    find_model,
    load_model,
    named_models,
    shipped_models,
)
from manypose.skeleton import load_skeleton

onnx = pytest.importorskip("onnx", reason="needs the extra [train], to write small model files")
from onnx import TensorProto, helper  # noqa: E402

METADATA: dict[str, Any] = {
    "schema_version": 1,
    "name": "tiny",
    "task": "bottom-up",
    "skeleton": "openpose18",
    "outputs": {"h": "heatmaps", "f": "fields"},
}


def tiny_graph(shape: tuple[Any, ...] = ("b", 3, "h", "w"), kind: int = TensorProto.FLOAT, heatmaps: int = 19) -> Any:
    """A picture's mean over cells of 8 x 8 pixels, times one number for each channel."""
    random = np.random.default_rng(0)
    weights = [
        helper.make_tensor(name, TensorProto.FLOAT, (count, 3, 1, 1), random.normal(size=count * 3).astype(np.float32))
        for name, count in (("wh", heatmaps), ("wf", 38))
    ]
    nodes = [
        helper.make_node("Cast", ["picture"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("AveragePool", ["float"], ["cells"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Conv", ["cells", "wh"], ["h"]),
        helper.make_node("Conv", ["cells", "wf"], ["f"]),
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ("b", count, "y", "x"))
        for name, count in (("h", heatmaps), ("f", 38))
    ]
    inputs = [helper.make_tensor_value_info("picture", kind, shape)]
    return helper.make_graph(nodes, "tiny", inputs, outputs, weights)


def write_model(folder: Path, metadata: Any = METADATA, **graph: Any) -> Path:
    """A model file; `metadata` as plain data, as text, or None for a file without any."""
    made = helper.make_model(tiny_graph(**graph), opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if metadata is not None:
        text = metadata if isinstance(metadata, str) else json.dumps(metadata)
        helper.set_model_props(made, {"manypose": text})
    file = folder / "tiny.onnx"
    file.write_bytes(made.SerializeToString())
    return file


def test_metadata_come_back_as_they_were_written(tmp_path: Path) -> None:
    metadata = Metadata(
        name="tiny",
        task="bottom-up",
        skeleton="openpose18",
        input=InputSettings(colours="bgr", mean=(1, 2, 3), scale=0.5, long_side=100),
        outputs={"h": "heatmaps", "f": "fields"},
        licence="Apache-2.0",
        origin={"recipe": {"name": "tiny", "steps": 3}},
        figures={"AP": 0.25},
    )
    opened = load_model(write_model(tmp_path, metadata.model_dump_json()), device="cpu")
    assert opened.metadata == metadata
    assert opened.device == "cpu"
    assert opened.skeleton is load_skeleton("openpose18")


def test_a_skeleton_that_is_not_ours_stands_in_the_file(tmp_path: Path) -> None:
    own = load_skeleton("openpose18").to_dict() | {"name": "own"}
    opened = load_model(write_model(tmp_path, METADATA | {"skeleton": own}))
    assert opened.skeleton.name == "own"
    assert opened.skeleton.joints == load_skeleton("openpose18").joints
    assert opened.codec.skeleton == opened.skeleton


def test_the_codec_has_the_settings_of_the_file(tmp_path: Path) -> None:
    maps = {"stride": 4, "sigma": 5, "limb_width": 6, "decoder": {"peak_threshold": 0.25, "min_joints": 7}}
    codec = load_model(write_model(tmp_path, METADATA | {"maps": maps})).codec
    assert (codec.stride, codec.sigma, codec.limb_width) == (4, 5, 6)
    assert codec.decoder.peak_threshold == 0.25
    assert codec.decoder.min_joints == 7
    assert isinstance(codec.decoder.min_joints, int)


@pytest.mark.parametrize(("colours", "expected"), [("rgb", (9, 18, 27)), ("bgr", (29, 18, 7))])
def test_pictures_are_prepared_as_the_metadata_say(
    tmp_path: Path, colours: str, expected: tuple[int, int, int]
) -> None:
    """The mean stands in the order of the colours that the network wants."""
    settings = {"colours": colours, "mean": [1, 2, 3], "scale": 0.5}
    opened = load_model(write_model(tmp_path, METADATA | {"input": settings}))
    picture = np.full((8, 16, 3), (10, 20, 30), np.uint8)
    batch = opened.prepare([picture, picture])
    assert batch.shape == (2, 3, 8, 16)
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(batch[1, :, 0, 0], np.array(expected) / 2)
    assert (picture == (10, 20, 30)).all()


def test_maps_come_by_meaning_whatever_they_are_called(tmp_path: Path) -> None:
    opened = load_model(write_model(tmp_path, METADATA | {"outputs": {"f": "fields", "h": "heatmaps"}}))
    maps = opened.run(opened.prepare([np.zeros((16, 24, 3), np.uint8)]))
    assert {name: value.shape for name, value in maps.items()} == {"heatmaps": (1, 19, 2, 3), "fields": (1, 38, 2, 3)}


def test_a_stride_that_is_not_the_networks_is_refused(tmp_path: Path) -> None:
    model = load_model(write_model(tmp_path, {**METADATA, "maps": {"stride": 16}}))
    with pytest.raises(ModelError, match=r"the heatmaps have shape \(1, 19, 8, 12\), expected \(1, channels, 4, 6\)"):
        model.run(np.zeros((1, 3, 64, 96), np.float32))


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    file = write_model(tmp_path)
    random = np.random.default_rng(1)
    pictures = list(random.integers(0, 256, (3, 64, 96, 3), np.uint8))
    runs = [opened.run(opened.prepare(pictures)) for opened in (load_model(file), load_model(file)) for _ in range(2)]
    assert len({run["heatmaps"].tobytes() + run["fields"].tobytes() for run in runs}) == 1


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    import hashlib

    file = write_model(tmp_path)
    assert load_model(file).sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def missing(folder: Path) -> Path:
    return folder / "none.onnx"


def a_folder(folder: Path) -> Path:
    return folder


def written(content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "bad.onnx").write_bytes(content)
        return folder / "bad.onnx"

    return write


def cut_off(folder: Path) -> Path:
    file = write_model(folder)
    file.write_bytes(file.read_bytes()[:200])
    return file


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (missing, r"none\.onnx: no such file, and no shipped model is called that; the shipped ones are "),
        (a_folder, "is a folder; give the ONNX file in it"),
        (written(b""), r"bad\.onnx: not an ONNX model that can be run"),
        (written(np.random.default_rng(0).bytes(2000)), r"bad\.onnx: not an ONNX model that can be run"),
        (cut_off, r"tiny\.onnx: not an ONNX model that can be run"),
    ],
    ids=["missing", "a folder", "empty", "random bytes", "cut off"],
)
def test_files_that_are_no_model(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load_model(make(tmp_path))
    assert "\n" not in str(caught.value)


OWN = load_skeleton("openpose18").to_dict()


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("{not JSON", "its metadata are faulty: Expecting property name"),
        ("[]", "its metadata are faulty: .*valid dictionary"),
        ({**METADATA, "schema_version": 2}, "its metadata are faulty: schema_version: input should be 1"),
        ({**METADATA, "colour": 1}, "its metadata are faulty: colour: extra inputs are not permitted"),
        ({k: v for k, v in METADATA.items() if k != "name"}, "its metadata are faulty: name: field required"),
        ({**METADATA, "task": "juggling"}, "its metadata are faulty: task: input should be 'bottom-up', 'top-down', "),
        ({**METADATA, "task": "top-down"}, "its metadata are faulty: outputs must name one output of heatmaps"),
        (
            {**METADATA, "task": "detector", "maps": {"kind": "fields"}},
            "its metadata are faulty: maps.kind is 'fields', but the task detector has boxes",
        ),
        ({**METADATA, "maps": {"kind": "stars"}}, "its metadata are faulty: maps: input tag"),
        ({**METADATA, "input": {"scale": 0}}, r"input\.scale: input should be greater than 0"),
        ({**METADATA, "input": {"mean": [0, 0, float("nan")]}}, r"input\.mean\.2: input should be a finite number"),
        ({**METADATA, "maps": {"sigma": float("inf")}}, r"maps\.sigma: input should be a finite number"),
        ({**METADATA, "skeleton": "octopus"}, "its metadata are faulty: no skeleton is called 'octopus'; there are"),
        ({**METADATA, "skeleton": {"name": "x"}}, "its metadata are faulty: skeleton 'x': joints must be a list"),
        ({**METADATA, "skeleton": {**OWN, "pairs": []}}, "its metadata are faulty: skeleton 'openpose18'"),
        (
            {**METADATA, "maps": {"decoder": {"peak_threshold": -2}}},
            r"maps\.decoder: decoder setting peak_threshold is -2\.0, expected 0\.0001 to 1",
        ),
        (
            {**METADATA, "maps": {"decoder": {"peaks": 1}}},
            r"maps\.decoder: unknown setting 'peaks'; there are peak_threshold, ",
        ),
        ({**METADATA, "outputs": {"h": "heatmaps"}}, "must name one output of heatmaps and one of fields"),
        (
            {**METADATA, "outputs": {"h": "heatmaps", "f": "heatmaps"}},
            "must name one output of heatmaps and one of fields",
        ),
        ({**METADATA, "outputs": {"h": "heatmaps", "x": "fields"}}, "name inputs or outputs that the network does not"),
        ({**METADATA, "input": {"name": "image"}}, "name inputs or outputs that the network does not have"),
        ({**METADATA, "outputs": {"h": "fields", "f": "heatmaps"}}, r"h is tensor\(float\) .*, expected .* 38"),
        ({**METADATA, "skeleton": "coco17"}, r"h is tensor\(float\) .*, expected .* 18"),
    ],
)
def test_faulty_metadata(tmp_path: Path, metadata: Any, message: str) -> None:
    with pytest.raises(ModelError, match=rf"tiny\.onnx: .*{message}") as caught:
        load_model(write_model(tmp_path, metadata))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ({"shape": (1, 3, 64, 64)}, r"picture is tensor\(float\) \[1, 3, 64, 64\], expected .*dynamic batch, height"),
        ({"shape": ("b", 1, "h", "w")}, "not an ONNX model that can be run|expected"),
        ({"kind": TensorProto.FLOAT16}, r"picture is tensor\(float16\)"),
        ({"heatmaps": 5}, "h is .*, expected .* 19"),
    ],
    ids=["fixed size", "grey pictures", "half precision", "other channels"],
)
def test_networks_that_do_not_take_pictures_of_any_size(tmp_path: Path, graph: Any, message: str) -> None:
    with pytest.raises(ModelError, match=rf"tiny\.onnx: .*({message})"):
        load_model(write_model(tmp_path, **graph))


def with_weights_at(location: str, model: Path) -> bytes:
    """Let a model keep the weights of one layer in another file; gives what that file has to hold."""
    made = onnx.load(model)
    weights = made.graph.initializer[0]
    raw: bytes = weights.raw_data or np.array(weights.float_data, np.float32).tobytes()
    weights.ClearField("float_data")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    model.write_bytes(made.SerializeToString())
    return raw


needs_confinement = pytest.mark.skipif(
    tuple(map(int, onnxruntime.__version__.split(".")[:2])) < sessions.CONFINES_FILES,
    reason="an older ONNX Runtime, with which weights in other files are refused altogether",
)


@needs_confinement
@pytest.mark.parametrize("location", ["tiny.onnx.data", "below/tiny.data"])
def test_weights_beside_the_model_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str) -> None:
    file = write_model(tmp_path)
    batch = np.random.default_rng(2).random((1, 3, 16, 24), np.float32)
    expected = load_model(file).run(batch)
    weights = with_weights_at(location, file)
    (tmp_path / location).parent.mkdir(exist_ok=True)
    (tmp_path / location).write_bytes(weights)
    monkeypatch.chdir(tmp_path)
    for path in (file, Path("tiny.onnx")):
        np.testing.assert_array_equal(load_model(path).run(batch)["heatmaps"], expected["heatmaps"])


@needs_confinement
@pytest.mark.parametrize("way", ["up", "absolute", "link"])
def test_a_file_cannot_make_the_runtime_read_outside_its_folder(tmp_path: Path, way: str) -> None:
    folder, secret = tmp_path / "model", tmp_path / "secret.bin"
    folder.mkdir()
    file = write_model(folder)
    secret.write_bytes(with_weights_at({"up": "../secret.bin", "absolute": str(secret), "link": "w.bin"}[way], file))
    if way == "link":
        (folder / "w.bin").symlink_to(secret)
    with pytest.raises(
        ModelError, match=r"outside the model's own folder; put the weights inside: .*=False\)$"
    ) as caught:
        load_model(file)
    assert "secret" not in str(caught.value)


@needs_confinement
def test_weights_beside_the_model_that_are_missing_or_cut_off(tmp_path: Path) -> None:
    file = write_model(tmp_path)
    weights = with_weights_at("tiny.data", file)
    with pytest.raises(ModelError, match=r"tiny\.onnx: its weights lie in another file, which is missing; put it into"):
        load_model(file)
    (tmp_path / "tiny.data").write_bytes(weights[:10])
    with pytest.raises(ModelError, match=r"tiny\.onnx: its weights lie in another file, which is cut off or outside"):
        load_model(file)


def test_an_old_runtime_is_given_no_model_that_names_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_model(tmp_path)
    monkeypatch.setattr(onnxruntime, "__version__", "1.23.2")
    assert load_model(file).device == "cpu"
    (tmp_path / "tiny.data").write_bytes(with_weights_at("tiny.data", file))
    with pytest.raises(ModelError, match=r"may keep weights in other files, .* pip install 'onnxruntime>=1\.24'"):
        load_model(file)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((f"x{suffix}", b"weights") for suffix in (*sessions.WEIGHTS, ".PTH")),
        ("x.bin", b"PK\x03\x04 and so on"),
        ("x.onnx", b"\x02" + bytes(7) + b"{}"),
    ],
)
def test_weights_are_no_model_and_say_what_makes_one(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        ModelError, match=rf"{name}: weights, not a model file; `manypose convert .* -o NAME\.onnx` makes"
    ):
        load_model(tmp_path / name)


def test_a_suffix_in_capitals_does(tmp_path: Path) -> None:
    assert load_model(write_model(tmp_path).rename(tmp_path / "TINY.ONNX")).device == "cpu"


def test_the_suffixes_of_weights_are_those_that_convert_reads() -> None:
    weights = pytest.importorskip("manypose.convert.weights", reason="needs the extra [train]")
    assert set(sessions.WEIGHTS) == set(weights.SUFFIXES) - {".onnx"}


def test_a_device_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="device 'abacus' is not one of auto, cpu, cuda"):
        load_model(write_model(tmp_path), device="abacus")


def test_a_device_that_is_not_here_is_refused_and_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert available_devices() == ["cpu"]
    with pytest.raises(DeviceError, match=r"device 'cuda': .* has only cpu: pip install 'manypose\[gpu\]'"):
        load_model(write_model(tmp_path), device="cuda")
    with pytest.raises(DeviceError, match=r"device 'coreml': the installed ONNX Runtime has only cpu$"):
        load_model(write_model(tmp_path), device="coreml")


def only_the_cpu_starts(real: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a GPU's runtime but without a GPU: the runtime puts the CPU in its place, with a word or two."""

    def start(content: bytes, options: Any, *, providers: list[str], **others: Any) -> Any:
        return real(content, options, providers=["CPUExecutionProvider"], **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", start)
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: both)


def test_a_device_that_does_not_start_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_the_cpu_starts(onnxruntime.InferenceSession, monkeypatch)
    with pytest.raises(DeviceError, match="device 'cuda': CUDAExecutionProvider is installed but does not start here"):
        load_model(write_model(tmp_path), device="cuda")


def with_gpu(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A machine whose GPU starts (the CPU does its work); gives the providers that were asked for, in their order."""
    asked: list[list[str]] = []
    real = onnxruntime.InferenceSession

    def start(content: bytes, options: Any, *, providers: list[str], **others: Any) -> Any:
        asked.append(providers)
        session = real(content, options, providers=["CPUExecutionProvider"], **others)
        monkeypatch.setattr(session, "get_providers", lambda: [*providers, "CPUExecutionProvider"])
        return session

    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "InferenceSession", start)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    return asked


@pytest.mark.parametrize(
    ("device", "started", "providers"),
    [
        ("auto", "cuda", ["CUDAExecutionProvider"]),
        ("cuda", "cuda", ["CUDAExecutionProvider"]),
        # What TensorRT does not know runs on the same GPU.
        ("tensorrt", "tensorrt", ["TensorrtExecutionProvider", "CUDAExecutionProvider"]),
        ("cpu", "cpu", ["CPUExecutionProvider"]),
    ],
)
def test_a_gpu_is_used_where_it_is_asked_for_or_nothing_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, started: str, providers: list[str]
) -> None:
    asked = with_gpu(monkeypatch)
    opened = load_model(write_model(tmp_path), device=device)
    assert (opened.device, asked) == (started, [providers])
    assert opened.run(np.zeros((1, 3, 16, 16), np.float32))["heatmaps"].shape == (1, 19, 2, 2)


def test_without_tensorrt_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DeviceError, match=r"device 'tensorrt': .* has only cpu: pip install 'manypose\[gpu\]'"):
        load_model(write_model(tmp_path), device="tensorrt")


def test_the_automatic_choice_takes_the_next_device_that_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    only_the_cpu_starts(onnxruntime.InferenceSession, monkeypatch)
    assert load_model(write_model(tmp_path), device="auto").device == "cpu"
    assert capfd.readouterr().out == ""


def test_threads_do_not_spin_while_they_wait(tmp_path: Path) -> None:
    options = load_model(write_model(tmp_path), threads=2).session.get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.get_session_config_entry("session.inter_op.allow_spinning") == "0"
    assert options.intra_op_num_threads == 2


def test_names_of_shipped_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYPOSE_CACHE", str(tmp_path / "cache"))
    shipped = {"ladder": tmp_path / "ladder.onnx", "other": write_model(tmp_path)}
    monkeypatch.setattr(model_module, "shipped_models", lambda: shipped)
    assert find_model("default") == shipped["ladder"]
    assert load_model("other").path == shipped["other"]
    with pytest.raises(ModelError, match=r"nobody: no such file, .* the shipped ones are ladder, other$"):
        find_model("nobody")


def test_names_of_fetched_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYPOSE_CACHE", str(tmp_path))
    shipped = shipped_models()
    assert named_models() == shipped
    fetched = published.PUBLISHED["cmu-coco"].file
    fetched.parent.mkdir(exist_ok=True)
    write_model(tmp_path).rename(fetched)
    assert named_models() == shipped | {"cmu-coco": fetched}
    assert load_model("cmu-coco").path == fetched
    with pytest.raises(ModelError, match=r"the shipped ones are .*ladder.*, the fetched ones cmu-coco$"):
        find_model("nobody")


def test_every_shipped_model_opens() -> None:
    models = shipped_models()
    assert models
    for name, file in models.items():
        assert file.stat().st_size <= 10e6
        opened = load_model(name)
        assert opened.metadata.name
        assert opened.metadata.licence
        maps = opened.run(opened.prepare([np.zeros((64, 96, 3), np.uint8)]))
        assert maps["heatmaps"].shape == (1, len(opened.skeleton) + 1, 8, 12)
