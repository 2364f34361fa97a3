"""`manypose data get` and `manypose data check`, each run by its own parser."""

from __future__ import annotations

import argparse
import json
import sys
import zipfile
from pathlib import Path

import pytest
from command_line import Ran

from manypose.cli.data import check, get
from manypose.data.get import NOTES

sys.path.append(str(Path(__file__).parents[1] / "data"))
from tiny_coco import person, write_set


@pytest.fixture
def data(capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Runs a subcommand with some arguments."""

    def call(*arguments: object) -> Ran:
        parser = argparse.ArgumentParser()
        subparsers = parser.add_subparsers(required=True)
        for command in (get, check):
            command.add_parser(subparsers)
        parsed = parser.parse_args([str(argument) for argument in arguments])
        return Ran(parsed.run(parsed), *capsys.readouterr())

    return call


def test_a_clean_set_passes(data, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    file = write_set(tmp_path / "set", [person(10, 10, 40, 90)])
    ran = data("check", file, "--out", tmp_path / "out")
    assert (ran.code, ran.err) == (0, "")
    assert f"written: {tmp_path / 'out' / 'check.json'}" in ran.out


def test_a_set_with_errors_fails_with_reasons_and_its_copy_passes(data, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    file = write_set(tmp_path / "set", [person(10, 10, 0, 90), person(60, 10, 40, 90, area=-1)])
    ran = data("check", file)
    assert ran.code == 1
    assert ran.err == f"manypose: {file}: 1 error: 1 box-empty; see above, or try --fix\n"
    assert f"  {file}: annotations[0] (id 0, 1.png): the box 10, 10, 0, 90 has no size" in ran.out
    ran = data("check", file, "--fix", tmp_path / "fixed")
    assert (ran.code, ran.err) == (0, "")
    assert "changed: " in ran.out
    assert data("check", tmp_path / "fixed" / "set.json").code == 0


def test_the_json_is_all_that_is_printed(data, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    ran = data("check", write_set(tmp_path, [person(10, 10, 0, 90)]), "--json", "--no-pictures")
    assert json.loads(ran.out)["kinds"]["box-empty"] == 1


def test_what_must_be_fetched_by_hand_is_said(data, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    mirror = tmp_path / "mirror" / "mmpose" / "datasets"
    mirror.mkdir(parents=True)
    with zipfile.ZipFile(mirror / "crowdpose_annotations.tar", "w") as made:  # told by its content, not its name
        made.writestr("crowdpose/annotations/mmpose_crowdpose_val.json", "{}")
    command = ("get", "crowdpose", tmp_path / "out", "--mirror", (tmp_path / "mirror").as_uri())
    ran = data(*command)
    assert ran.code == 1
    assert "images.zip: has no direct address; fetch it by hand from https://drive.google.com/" in ran.err
    assert (tmp_path / "out" / "annotations" / "mmpose_crowdpose_val.json").is_file()
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as made:
        made.writestr("images/1.jpg", b"")
    ran = data(*command, "--from", tmp_path / "images.zip")
    assert ran.code == 0
    assert f"next: manypose data check {tmp_path / 'out'}" in ran.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [NOTES, "annotations", "images"]


def test_the_names_of_the_command_are_those_of_the_library() -> None:
    from manypose.data.published_sets import SETS

    assert sorted(get.NAMES) == sorted(SETS)
