"""`manypose predict`: what is printed, what is written, and what happens to bad inputs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import pytest
from command_line import Run, make_picture

from manypose.estimators import folder
from manypose.formats import coco, openpose, plain


def written(place: Path) -> list[str]:
    """All files below a folder, as relative paths."""
    files = (file for file in place.rglob("*") if file.is_file() and file.name != ".manifest.json")
    return sorted(file.relative_to(place).as_posix() for file in files)


def test_a_picture_becomes_a_drawn_picture_and_json(predict: Run, photos: Path, tmp_path: Path) -> None:
    ran = predict(photos / "astronaut.jpg", "--out", tmp_path / "found")
    assert (ran.code, ran.err) == (0, "")
    assert written(tmp_path / "found") == ["astronaut.json", "astronaut_people.jpg"]
    (entry,) = plain.read(tmp_path / "found" / "astronaut.json")
    assert entry.people.image_size == (512, 512)
    people = "1 person" if len(entry.people) == 1 else f"{len(entry.people)} people"
    target = tmp_path / "found" / "astronaut_people.jpg"
    assert ran.out == f"{photos / 'astronaut.jpg'}: {people} -> {target}\n"
    assert cv2.imread(str(target)).shape == (512, 512, 3)


def test_results_go_to_the_folder_out_by_default(
    predict: Run, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert predict(picture.name).code == 0
    assert written(tmp_path / "out") == ["noise.json", "noise_people.png"]


def test_two_runs_give_the_same_bytes(predict: Run, photos: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        assert predict(photos / "several.jpg", "--out", tmp_path / name, "--flip").code == 0
    for file in written(tmp_path / "first"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_json_prints_one_document_per_picture_and_nothing_else(predict: Run, picture: Path, tmp_path: Path) -> None:
    other = make_picture(tmp_path / "other.jpg", seed=1)
    ran = predict(picture, tmp_path / "missing.jpg", other, "--json", "-v")
    documents = [plain.loads(line) for line in ran.out.splitlines()]
    assert [document[0].file_name for document in documents] == [str(picture), str(other)]
    assert ran.code == 1
    assert f"manypose: {tmp_path / 'missing.jpg'}: no such file; check the path\n" in ran.err
    assert written(tmp_path) == ["noise.png", "other.jpg"]


def test_json_with_out_prints_and_writes(predict: Run, picture: Path, tmp_path: Path) -> None:
    ran = predict(picture, "--json", "--out", tmp_path / "found")
    assert json.loads(ran.out)["format"] == "manypose people"
    assert written(tmp_path / "found") == ["noise.json", "noise_people.png"]


def test_bad_inputs_are_one_line_each_and_the_others_go_on(predict: Run, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty").mkdir()
    bad = [tmp_path / "text.jpg", tmp_path / "empty", tmp_path / "missing*.jpg", ""]
    ran = predict(*bad, picture, "--out", tmp_path / "found")
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 4
    assert all(line.startswith("manypose: ") for line in ran.err.splitlines())
    assert ran.out.splitlines()[-1].endswith(", 4 failed")
    assert written(tmp_path / "found") == ["noise.json", "noise_people.png"]


def test_without_any_good_input_the_model_is_not_even_loaded(run: Run, tmp_path: Path) -> None:
    ran = run("predict", tmp_path, "--model", "not a model")
    assert ran.code == 1
    assert "no picture in this folder" in ran.err
    assert "not a model" not in ran.err


def test_files_are_overwritten_only_when_asked_for(predict: Run, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    out.mkdir()
    (out / "noise.json").write_text("mine")
    ran = predict(picture, "--out", out)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.endswith("noise.json: the file exists; choose another folder, or allow overwriting (--overwrite)\n")
    assert written(out) == ["noise.json"]
    assert predict(picture, "--out", out, "--overwrite").code == 0
    assert (out / "noise.json").read_text() != "mine"


def test_a_picture_to_be_read_is_never_overwritten(predict: Run, tmp_path: Path) -> None:
    inputs = [make_picture(tmp_path / name) for name in ("a.png", "a_people.png")]
    before = inputs[1].read_bytes()
    ran = predict(*inputs, "--out", tmp_path, "--overwrite")
    assert ran.code == 1
    assert "would be written over a picture that is to be read" in ran.err
    assert inputs[1].read_bytes() == before


def test_a_file_in_the_place_of_the_folder_is_refused(predict: Run, picture: Path) -> None:
    ran = predict(picture, "--out", picture / "deeper")
    assert ran.code == 1
    assert "noise.png: is a file, and the results need a folder" in ran.err


def test_equal_names_from_different_folders_stay_apart(predict: Run, tmp_path: Path) -> None:
    for name in ("in/a/p.png", "in/b/p.png"):
        make_picture(tmp_path / name)
    predict(tmp_path / "in", "--recursive", "--no-picture", "--out", tmp_path / "tree")
    assert written(tmp_path / "tree") == ["a/p.json", "b/p.json"]
    predict(tmp_path / "in/a/p.png", tmp_path / "in/b/p.png", "--no-picture", "--out", tmp_path / "flat")
    assert written(tmp_path / "flat") == ["p.json", "p_2.json"]


def test_coco_writes_one_file_of_results_and_the_list_of_pictures(predict: Run, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    copy = tmp_path / "val_0042.jpg"
    copy.write_bytes((photos / "astronaut.jpg").read_bytes())
    assert predict(copy, "--format", "coco", "--no-picture", "--out", out).code == 0
    assert written(out) == ["coco_images.json", "coco_results.json"]
    images = json.loads((out / "coco_images.json").read_text())["images"]
    assert images == [{"id": 42, "file_name": str(copy), "width": 512, "height": 512}]
    assert set(coco.read(out / "coco_results.json")) <= {42}


def test_ctrl_c_keeps_the_coco_results_so_far(
    predict: Run, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = folder.predict_pictures

    def interrupted(*arguments: object) -> object:
        yield from good(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "predict_pictures", interrupted)
    ran = predict(picture, "--format", "coco", "--no-picture", "--out", tmp_path / "found")
    assert ran.code == 130
    assert written(tmp_path / "found") == ["coco_images.json", "coco_results.json"]


def test_openpose_writes_its_own_names(predict: Run, picture: Path, tmp_path: Path) -> None:
    assert predict(picture, "--format", "openpose", "--out", tmp_path / "found").code == 0
    assert written(tmp_path / "found") == ["noise_keypoints.json", "noise_people.png"]
    openpose.read(tmp_path / "found" / "noise_keypoints.json")


@pytest.mark.parametrize(("format", "kind"), [("coco", list), ("openpose", dict)])
def test_lines_are_of_the_format_asked_for(predict: Run, picture: Path, format: str, kind: type) -> None:
    assert isinstance(json.loads(predict(picture, "--json", "--format", format).out), kind)


@pytest.mark.parametrize(
    "options", [("--show", "heatmaps"), ("--show", "fields", "--joint", "left_wrist"), ("--show", "joints")]
)
def test_every_view_is_drawn(predict: Run, picture: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    assert predict(picture, "--out", tmp_path / "found", *options).code == 0
    assert cv2.imread(str(tmp_path / "found" / "noise_people.png")).shape == (40, 60, 3)


def test_an_unknown_joint_is_refused_with_the_names(predict: Run, picture: Path, tmp_path: Path) -> None:
    ran = predict(picture, "--joint", "wrist", "--out", tmp_path / "found")
    assert ran.code == 1
    assert "has no joint 'wrist'; it has nose, neck" in ran.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--device", "abacus"), "device 'abacus' is not one of auto, cpu, cuda"),
        (("--device", "coreml"), "device 'coreml': the installed ONNX Runtime has only"),
        (("--model", "no such model"), "no such model: no such file, and no shipped model is called that"),
    ],
)
def test_a_device_or_model_that_is_not_there_is_an_error(
    run: Run, picture: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    ran = run("predict", picture, "--out", tmp_path / "found", *options)
    assert ran.code == 1
    assert message in ran.err
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("name", ["a\nb\x1b[31m.png", "a[1]*.png", "x" * 250 + ".png", "[red]é 日.png"])
def test_hostile_names_stay_one_line(predict: Run, tmp_path: Path, name: str) -> None:
    make_picture(tmp_path / "in" / name)
    ran = predict(tmp_path / "in" / name, "--out", tmp_path / "found")
    assert len((ran.out + ran.err).splitlines()) == 1
    assert "\x1b" not in ran.out + ran.err
    # A name that is too long with its ending cannot be written, and says so.
    assert ran.code == (1 if len(name) > 200 else 0)


def test_names_with_a_leading_dash_follow_two_dashes(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_picture(tmp_path / "-rf.png")
    monkeypatch.chdir(tmp_path)
    assert run("predict", "--long-side", "64", "--", "-rf.png").code == 0
    assert written(tmp_path / "out") == ["-rf.json", "-rf_people.png"]


def test_options_may_stand_between_inputs(predict: Run, picture: Path, tmp_path: Path) -> None:
    other = make_picture(tmp_path / "other.png", seed=1)
    assert len(predict(picture, "--json", other).out.splitlines()) == 2


def test_verbose_prints_the_time_of_every_stage(predict: Run, picture: Path, tmp_path: Path) -> None:
    ran = predict(picture, "-v", "--out", tmp_path / "found")
    stages = ran.err.splitlines()[-1]
    assert all(f" {stage} " in stages for stage in ("open", "prepare", "network", "decode", "draw", "write"))


def test_a_threshold_leaves_people_out(predict: Run, photos: Path) -> None:
    ran = predict(photos / "several.jpg", "--json", "--threshold", "2")
    assert json.loads(ran.out)["pictures"][0]["people"] == []


def test_a_detector_of_another_project_draws_boxes_and_writes_them(
    run: Run, photos: Path, tmp_path: Path, shared_data: Path
) -> None:
    detector = shared_data / "teachers" / "detectors" / "rtmdet_nano.onnx"
    options = ("--model", detector, "--device", "cpu", "--threads", "1", "--out", tmp_path)
    ran = run("predict", photos / "astronaut.jpg", *options)
    assert (ran.code, ran.err) == (0, "")
    (entry,) = plain.read(tmp_path / "astronaut.json")
    assert len(entry.people) == 1
    drawn = cv2.imread(str(tmp_path / "astronaut_people.jpg"))
    left = round(float(entry.people.boxes[0, 0]))
    assert drawn[256, left].astype(int).min() > drawn[256, left + 3].astype(int).min()  # the light line of the box
    rows = run("predict", photos / "astronaut.jpg", *options[:-2], "--json", "--format", "coco").out
    assert json.loads(rows)[0]["bbox"][0] == pytest.approx(left, abs=1.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--scales", "1,1.5"), "scales has no effect on a detector model; leave it out"),
        (("--show", "fields"), "--show fields: .* is a detector model and has no such maps"),
        (("--joint", "nose"), "is a detector: it finds boxes and no joints"),
        (("--format", "openpose"), "is a detector: OpenPose's format holds no boxes; use --format json or coco"),
    ],
)
def test_options_that_make_no_sense_for_a_detector(
    run: Run, picture: Path, tmp_path: Path, shared_data: Path, options: tuple[str, str], message: str
) -> None:
    detector = shared_data / "teachers" / "detectors" / "rtmdet_nano.onnx"
    ran = run("predict", picture, "--model", detector, "--device", "cpu", "--out", tmp_path / "out", *options)
    assert ran.code != 0
    assert re.search(message, ran.err)
    assert len(ran.err.splitlines()) == 1


def test_a_network_for_one_person_says_what_it_takes_the_picture_for(run: Run, photos: Path, shared_data: Path) -> None:
    crops = shared_data / "teachers" / "tinypose" / "tinypose_128x96.onnx"
    pictures = (photos / "astronaut.jpg", photos / "photographer.jpg")
    ran = run("predict", *pictures, "--model", crops, "--device", "cpu", "--threads", "1", "--json")
    assert ran.code == 0
    assert ran.err.count("takes each picture as one person") == 1
    assert [len(json.loads(line)["pictures"][0]["people"]) for line in ran.out.splitlines()] == [1, 1]


def teachers_of(shared_data: Path) -> tuple[object, ...]:
    crops, boxes = "tinypose/tinypose_128x96.onnx", "detectors/rtmdet_nano.onnx"
    folder = shared_data / "teachers"
    return ("--model", folder / crops, "--detector", folder / boxes, "--device", "cpu", "--threads", "1")


def test_a_detector_finds_the_people_for_a_top_down_network(
    run: Run, photos: Path, shared_data: Path, tmp_path: Path
) -> None:
    ran = run("predict", photos / "several.jpg", *teachers_of(shared_data), "--out", tmp_path, "-v")
    assert ran.code == 0
    assert "as one person" not in ran.err
    assert re.search(r"several\.jpg: open [\d.]+, detect [\d.]+, prepare [\d.]+, network", ran.err)
    (entry,) = plain.read(tmp_path / "several.json")
    assert len(entry.people) > 2
    mirrored = run("predict", photos / "several.jpg", *teachers_of(shared_data), "--flip", "--json")
    (flipped,) = plain.loads(mirrored.out)
    assert mirrored.err == ""
    assert abs(flipped.people.keypoints[0] - entry.people.keypoints[0]).max() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--detector", "default"), "a bottom-up model needs no detector: leave it out"),
        (("--model", "tinypose/tinypose_128x96.onnx", "--detector", "default"), "a bottom-up model, not a detector"),
        (("--model", "tinypose/tinypose_128x96.onnx", "--detector", "gone.onnx"), r"gone\.onnx: no such file"),
    ],
)
def test_detectors_that_make_no_sense(
    run: Run, picture: Path, tmp_path: Path, shared_data: Path, options: tuple[str, ...], message: str
) -> None:
    given = [shared_data / "teachers" / part if part.startswith("tinypose") else part for part in options]
    ran = run("predict", picture, *given, "--device", "cpu", "--out", tmp_path / "out")
    assert ran.code != 0
    assert re.search(message, ran.err)
    assert len(ran.err.splitlines()) == 1
