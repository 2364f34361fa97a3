"""Recipes: checked as a whole before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from manypose.errors import RecipeError
from manypose.training.recipe import read_recipe

GOOD = "name: tiny\ndata:\n  - {file: a.json}\n"


def write(folder: Path, text: str) -> Path:
    (folder / "recipe.yaml").write_text(text)
    return folder / "recipe.yaml"


def test_settings_come_from_the_file_and_overrides_win(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, GOOD + "size: 128\n"), ["max_steps=7", "size=64", "person_size=[0.5, 1]"])
    assert (recipe.name, recipe.size, recipe.max_steps, recipe.person_size) == ("tiny", 64, 7, (0.5, 1.0))
    assert recipe.data[0].file == Path("a.json")


def test_all_faults_stand_in_one_message(tmp_path: Path) -> None:
    text = GOOD + "size: 100\nbach_size: 3\nlearning_rate: .inf\nskeleton: octopus\n"
    with pytest.raises(RecipeError) as caught:
        read_recipe(write(tmp_path, text), ["optimiser=sgd", "person_size=[1, 0.5]"])
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "recipe.yaml: ",
        "size: input should be a multiple of 32",
        "bach_size: extra inputs are not permitted",
        "learning_rate: input should be a finite number",
        "optimiser: input should be 'adamw' or 'muon'",
        "no skeleton is called 'octopus'",
        "person_size: value error, must be the least and the largest",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("", [], "a recipe is a list of `key: value` lines"),
        ("- 1\n", [], "a recipe is a list of `key: value` lines"),
        ("a: [", [], "not valid YAML"),
        (GOOD, ["size"], "'size': an override has the form key=value"),
        (GOOD, ["size=[1"], r"'size=\[1': its value is not valid YAML"),
        ("name: tiny\n", [], "data: field required"),
        (GOOD + "1: 2\n", [], "recipe.yaml: .*keys should be strings"),
        (GOOD + "name: a/b\n", [], "name: string should match pattern"),
        ("data:\n  - {file: a.json, weight: 0}\n", [], r"data\.0\.weight: input should be greater than 0"),
    ],
)
def test_recipes_at_fault(tmp_path: Path, text: str, overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read_recipe(write(tmp_path, text), overrides)


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.yaml: No such file or directory: give the path of a recipe"):
        read_recipe(tmp_path / "none.yaml")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(RecipeError, match=r"r\.yaml: not valid YAML"):
        read_recipe(tmp_path / "r.yaml")


def test_every_recipe_of_the_repository_is_sound() -> None:
    files = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
    assert files
    for file in files:
        assert read_recipe(file).name == file.stem
