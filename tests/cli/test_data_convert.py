"""`manypose data convert`: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

from manypose.cli.data import convert
from manypose.data.datasets import KINDS, read_dataset
from manypose.data.writers import FORMATS
from manypose.errors import DataError
from manypose.skeleton import load_skeleton

COCO = load_skeleton("coco17")


def run(*words: str | Path) -> int:
    parser = convert.add_parser(argparse.ArgumentParser().add_subparsers())
    return convert.run(parser.parse_args([str(word) for word in words]))


def write_source(folder: Path, count: int = 10, **more: Any) -> Path:
    """A COCO-style set of pictures with a person each."""
    (folder / "images").mkdir(parents=True)
    places = np.linspace((10, 10), (50, 40), 17)
    images, rows = [], []
    for number in range(1, count + 1):
        cv2.imwrite(str(folder / "images" / f"{number}.png"), np.full((48, 64, 3), 20 * number % 255, np.uint8))
        images.append({"id": number, "file_name": f"{number}.png", "width": 64, "height": 48})
        keypoints = [float(v) for x, y in places for v in (x, y, 2)]
        rows.append(
            {"id": number, "image_id": number, "category_id": 1, "bbox": [5, 5, 50, 40], "keypoints": keypoints}
        )
    rows[0] |= more
    category = {"id": 1, "name": "person", "keypoints": list(COCO.joints)}
    (folder / "train.json").write_text(json.dumps({"images": images, "annotations": rows, "categories": [category]}))
    return folder / "train.json"


def test_the_options_name_what_the_library_has() -> None:
    assert (*convert.KINDS, *convert.PACKED) == KINDS
    assert tuple(FORMATS) == convert.FORMATS


@pytest.mark.parametrize("to", FORMATS)
def test_each_format(tmp_path: Path, to: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_source(tmp_path / "in")
    assert run(source, "-o", tmp_path / "out", "--to", to) == 0
    assert "10 pictures, 10 people with labels" in capsys.readouterr().out
    pictures = read_dataset(tmp_path / "out", COCO)
    assert sum(map(len, pictures)) == 10
    assert pictures[0].read().shape == (48, 64, 3)


def test_a_validation_part_is_split_off_and_written_down(tmp_path: Path) -> None:
    source = write_source(tmp_path / "in")
    run(source, "-o", tmp_path / "a", "--val-size", "0.3", "--seed", "5")
    lists = json.loads((tmp_path / "a" / "split.json").read_text())
    assert (len(lists["train"]), len(lists["val"])) == (7, 3)
    val = read_dataset(tmp_path / "a" / "val.json")
    assert sorted(f"images/{p.name}" for p in val) == sorted(lists["val"])
    run(source, "-o", tmp_path / "b", "--val-size", "3", "--seed", "5")
    assert (tmp_path / "b" / "split.json").read_bytes() == (tmp_path / "a" / "split.json").read_bytes()


def test_joints_of_another_skeleton(tmp_path: Path) -> None:
    run(write_source(tmp_path / "in"), "-o", tmp_path / "out", "--skeleton", "lsp14", "--labels-only")
    content = json.loads((tmp_path / "out" / "train.json").read_text())
    assert content["categories"][0]["keypoints"] == list(load_skeleton("lsp14").joints)
    assert list((tmp_path / "out" / "images").iterdir()) == []


def test_faults_stop_or_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_source(tmp_path / "in", bbox=[5, 5, 0, 40])
    with pytest.raises(DataError, match=r"train\.json: annotation 1 of image 1: bbox .* has no size; .* with --skip$"):
        run(source, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert run(source, "-o", tmp_path / "out", "--skip") == 0
    captured = capsys.readouterr()
    assert "10 pictures, 9 people" in captured.out
    assert "left out:" in captured.err
    assert "annotation 1 of image 1: bbox [5.0, 5.0, 0.0, 40.0] has no size" in captured.err


def test_what_a_format_cannot_hold_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(write_source(tmp_path / "in", keypoints=[0] * 51), "-o", tmp_path / "out", "--to", "mpii-json")
    assert "the format cannot hold 1 people without labels, 1 pictures of nobody" in capsys.readouterr().err


def test_wrong_values_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["a.json"], "the following arguments are required: -o"),
        (["a.json", "-o", "x", "--to", "voc"], "invalid choice: 'voc'"),
        (["a.json", "-o", "x", "--val-size", "0"], "0 is not above 0"),
    ):
        with pytest.raises(SystemExit):
            run(*words)
        assert message in capsys.readouterr().err
