"""The published recipes by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from manypose.errors import OutputError, RecipeError
from manypose.training import library
from manypose.training.library import copy_recipe, find_recipe, list_recipes, named_recipes, recipes_folder


def test_recipes_go_by_the_names_of_their_files() -> None:
    named = named_recipes()
    assert {"ladder", "openpose_coco", "hrnet_w32_coco_256x192"} <= set(named)
    assert named["ladder"] == recipes_folder() / "ladder.yaml"


def test_a_recipe_is_found_by_name_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_recipe("ladder") == named_recipes()["ladder"]
    assert find_recipe("none/ladder.yaml") == Path("none/ladder.yaml")  # whoever reads it says that it is not there
    assert find_recipe("mine.yml") == Path("mine.yml")
    monkeypatch.chdir(tmp_path)
    Path("ladder").write_text("name: mine\n")
    assert find_recipe("ladder") == Path("ladder")


def test_a_name_that_nothing_has_gets_the_nearest_ones() -> None:
    with pytest.raises(
        RecipeError, match=r"no recipe is called 'hrnet_w32_coco'; did you mean .*hrnet_w32_coco_256x192"
    ):
        find_recipe("hrnet_w32_coco")
    with pytest.raises(RecipeError, match=r"no recipe is called 'xyz'; `manypose recipes list` lists all"):
        find_recipe("xyz")


def test_an_installed_package_has_the_recipes_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "manypose"
    (package / "recipes").mkdir(parents=True)
    (package / "recipes" / "ladder.yaml").write_text("name: ladder\n")
    monkeypatch.setattr(library, "PACKAGE", package)
    assert named_recipes() == {"ladder": package / "recipes" / "ladder.yaml"}
    (package / "recipes" / "ladder.yaml").unlink()
    with pytest.raises(RecipeError, match=r"the installation has no recipes; install manypose again"):
        named_recipes()


def test_a_recipe_says_what_it_is_in_its_first_lines() -> None:
    for recipe in list_recipes():
        assert recipe.settings["name"] == recipe.name
        assert recipe.title
    listed = {recipe.name: recipe for recipe in list_recipes()}
    assert listed["lpn_18_coco_256x192"].title == "LPN-18 on COCO, 256 x 192, from scratch."
    assert listed["lpn_18_coco_256x192"].description[1].startswith("Published: AP .445")


def test_a_copy_keeps_the_comments_and_overwrites_nothing(tmp_path: Path) -> None:
    copy_recipe("ladder", tmp_path / "mine.yaml")
    assert (tmp_path / "mine.yaml").read_bytes() == named_recipes()["ladder"].read_bytes()
    with pytest.raises(OutputError, match=r"mine\.yaml: the file exists"):
        copy_recipe("ladder", tmp_path / "mine.yaml")
    with pytest.raises(RecipeError, match=r"none\.yaml: No such file or directory"):
        copy_recipe(tmp_path / "none.yaml", tmp_path / "other.yaml")
