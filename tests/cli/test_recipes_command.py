"""`manypose recipes`."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest
import yaml

from manypose.cli import recipes
from manypose.cli.terminal import complain
from manypose.errors import ManyposeError
from manypose.training.recipe_file import read_recipe

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from experiment_files import w32, write_experiment


def run(*arguments: object) -> int:
    """The command by itself, whatever else the command line has."""
    parser = recipes.add_parser(ArgumentParser().add_subparsers())
    try:
        return recipes.run(parser.parse_intermixed_args([str(argument) for argument in arguments]))
    except ManyposeError as error:
        complain(str(error))
        return 1
    except SystemExit as exit:
        return int(exit.code or 0)


def test_list_names_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    shown = capsys.readouterr().out
    assert "openpose_coco" in shown
    assert run("list", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["hrnet_w32_coco_256x192"]["network"] == "hrnet_w32"
    assert rows["hrnet_w32_coco_256x192"]["batch_size"] == 32
    assert Path(rows["ladder"]["file"]).is_file()


@pytest.mark.train
def test_show_gives_all_settings_with_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "lpn_18_coco_256x192", "batch_size=7") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("# LPN-18 on COCO")
    settings = yaml.safe_load(shown)
    assert (settings["batch_size"], settings["seed"], settings["max_epochs"]) == (7, 0, 150)


def test_copy_goes_beside_and_overwrites_only_when_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("copy", "ladder") == 0
    assert Path("ladder.yaml").read_text().startswith("# The default model")
    assert run("copy", "ladder") == 1
    assert "ladder.yaml: the file exists" in capsys.readouterr().err
    assert run("copy", "ladder", "--overwrite") == 0
    assert run("copy", "ladder", "mine.yaml") == 0
    assert run("copy", "nothing") == 1
    assert "no recipe is called 'nothing'" in capsys.readouterr().err


@pytest.mark.train
def test_import_prints_or_writes_a_recipe_and_tells_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_experiment(tmp_path / "w32.yaml", w32())
    assert run("import", file) == 0
    printed = capsys.readouterr()
    assert yaml.safe_load(printed.out)["network"] == "hrnet_w32"
    assert "manypose: TRAIN.WD: dead: the program's Adam gets no decay\n" in printed.err
    assert run("import", file, "-o", tmp_path / "mine.yaml") == 0
    assert read_recipe(tmp_path / "mine.yaml").network == "hrnet_w32"
    assert run("import", file, "-o", tmp_path / "mine.yaml") == 1


@pytest.mark.parametrize(
    "arguments", [("list", "x"), ("show",), ("copy", "a", "b", "c"), ("import", "a", "b"), ("show", "ladder", "--json"),
                  ("list", "-o", "x"), ("show", "ladder", "--overwrite"), ("remove",)]
)  # fmt: skip
def test_wrong_use(arguments: tuple[str, ...]) -> None:
    assert run(*arguments) == 2
