"""models get: from a published file to a model that the command line knows by name; no test leaves this machine."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import Run

from manypose.cli import models_get
from manypose.errors import MissingExtraError
from manypose.published import PUBLISHED, Published

CONTENT = b"weights"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, a publisher on this disk, and a conversion that only copies."""

    def copy(weights: Path, out: Path, entry: Published) -> None:
        out.write_bytes(weights.read_bytes())

    (tmp_path / "publisher").write_bytes(CONTENT)
    for name in ("cmu-coco", "cmu-hand", "vgg19"):
        here = replace(
            PUBLISHED[name],
            address=(tmp_path / "publisher").as_uri(),
            size=None,
            md5=hashlib.md5(CONTENT).hexdigest(),
            sha256_prefixes=(),
        )
        monkeypatch.setitem(PUBLISHED, name, here)
    monkeypatch.setattr(models_get, "convert_weights", copy)
    monkeypatch.setattr(models_get, "require", lambda module, extra: None)
    monkeypatch.setenv("MANYPOSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_get_says_where_the_model_is_its_licence_and_what_to_type_next(run: Run, cache: Path) -> None:
    ran = run("models", "get", "cmu-coco")
    assert (ran.code, ran.err) == (0, "")
    first, licence, then = ran.out.splitlines()
    assert first == f"{cache / 'cmu-coco.onnx'}: CMU's 18 joints, six stages"
    assert licence.startswith("licence: CMU OpenPose, non-commercial: ")
    assert then == "next: manypose predict photo.jpg --model cmu-coco"
    assert (cache / "cmu-coco.onnx").read_bytes() == CONTENT
    assert list((cache / "downloads").iterdir()) == []


def test_a_backbone_is_for_training_and_a_hand_is_not_predicted_alone(run: Run, cache: Path) -> None:
    last = run("models", "get", "vgg19").out.splitlines()[-1]
    assert last == f"next: a recipe that starts from it: init: {cache / 'vgg19.safetensors'}"
    assert run("models", "get", "cmu-hand").out.splitlines()[-1] == "next: manypose models show cmu-hand"


def test_get_again_says_that_it_is_there(run: Run, tmp_path: Path) -> None:
    run("models", "get", "cmu-coco")
    (tmp_path / "publisher").unlink()
    again = run("models", "get", "cmu-coco")
    assert again.code == 0
    assert "is there already (--overwrite gets it again)" in again.out
    assert run("models", "get", "cmu-coco", "--overwrite").code == 1


def test_keep_keeps_the_download(run: Run, cache: Path) -> None:
    run("models", "get", "cmu-coco", "--keep")
    assert (cache / "downloads" / "pose_iter_440000.caffemodel").read_bytes() == CONTENT


def test_from_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(CONTENT)
    assert run("models", "get", "cmu-coco", "--from", tmp_path / "mine").code == 0
    (tmp_path / "mine").write_bytes(b"other")
    ran = run("models", "get", "cmu-hand", "--from", tmp_path / "mine")
    assert (ran.code, ran.out) == (1, "")
    assert "mine: not the expected file: its MD5 is" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_without_a_name_get_lists_what_there_is(run: Run) -> None:
    run("models", "get", "cmu-coco")
    rows = {line.split()[0]: line for line in run("models", "get").out.splitlines() if line.strip()}
    assert set(PUBLISHED) <= set(rows)
    assert " yes" in rows["cmu-coco"]
    assert " no" in rows["cmu-body25"]
    assert "--from" in rows["hrnet-w32"]


def test_the_list_and_what_was_got_as_json(run: Run, cache: Path) -> None:
    got = json.loads(run("models", "get", "cmu-coco", "--json").out)
    assert (got["name"], got["path"]) == ("cmu-coco", str(cache / "cmu-coco.onnx"))
    listed = {entry["name"]: entry for entry in json.loads(run("models", "get", "--json").out)}
    assert listed["cmu-coco"]["path"] == str(cache / "cmu-coco.onnx")
    assert listed["cmu-mpi-4"]["path"] is None
    assert listed["cmu-mpi-4"]["options"] == {"stages": 4}
    assert listed["resnet18"]["licence"]["name"] == "BSD-3-Clause"


def test_an_unknown_name_gets_the_list(run: Run) -> None:
    ran = run("models", "get", "venus")
    assert ran.code == 1
    assert "no published weights are called 'venus'; there are cmu-body25, cmu-coco" in ran.err


@pytest.mark.parametrize(
    "arguments",
    [("get", "--overwrite"), ("get", "--from", "x"), ("list", "--keep"), ("show", "default", "--from", "x")],
)
def test_options_without_the_name_or_with_another_action_are_wrong_use(run: Run, arguments: tuple[str, ...]) -> None:
    ran = run("models", *arguments)
    assert ran.code == 2
    assert "--from" in ran.err


def test_the_missing_extra_is_said_before_the_download(run: Run, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str, *, extra: str) -> None:
        raise MissingExtraError(f"this needs {module}: pip install 'manypose[{extra}]'")

    monkeypatch.setattr(models_get, "require", missing)
    ran = run("models", "get", "cmu-coco")
    assert ran.code == 1
    assert "pip install 'manypose[train]'" in ran.err
    assert not cache.exists()


def test_on_a_terminal_a_bar_shows_the_bytes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    ran = run("models", "get", "cmu-coco")
    assert ran.code == 0
    assert "7/7 bytes" in ran.err
