"""The published recipes by name, from the folder `recipes` of a checkout or from an installed package."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from manypose.errors import RecipeError
from manypose.files import write_bytes

PACKAGE = Path(__file__).parents[1]
SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Listed:
    """A published recipe: its name and file, what its first lines say, and the settings that stand in it."""

    name: str
    file: Path
    description: tuple[str, ...]
    settings: dict[str, Any]

    @property
    def title(self) -> str:
        """The first line of the description."""
        return self.description[0] if self.description else self.name


def recipes_folder() -> Path:
    """The folder of the published recipes; raises `RecipeError` where the installation has none."""
    for folder in (PACKAGE / "recipes", PACKAGE.parents[1] / "recipes"):
        if (folder / "ladder.yaml").is_file():
            return folder
    raise RecipeError(f"{PACKAGE}: the installation has no recipes; install manypose again")


def named_recipes() -> dict[str, Path]:
    """The published recipes: name -> file, by name."""
    return {file.stem: file for file in sorted(recipes_folder().glob("*.yaml"))}


def find_recipe(recipe: str | Path) -> Path:
    """The file of a recipe by path, or by the name of a published one; a file that is there goes before a name.

    A path that is not there is given as it is: whoever reads it says so. Raises `RecipeError` that lists the names
    nearest to one that nothing is called.
    """
    path = Path(recipe)
    if path.is_file() or path.suffix in SUFFIXES or len(path.parts) > 1:
        return path
    named = named_recipes()
    if path.name in named:
        return named[path.name]
    near = difflib.get_close_matches(path.name, named, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise RecipeError(
        f"no recipe is called {path.name!r}{hint}; `manypose recipes list` lists all, or give the path of a YAML file"
    )


def list_recipes() -> list[Listed]:
    """All published recipes, by name."""
    return [describe_recipe(file) for file in named_recipes().values()]


def describe_recipe(file: Path) -> Listed:
    """What a published recipe's file says; its settings are as they stand there, without defaults."""
    text = file.read_text(encoding="utf-8")
    description = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        description.append(line.removeprefix("#").strip())
    return Listed(file.stem, file, tuple(description), yaml.safe_load(text))


def copy_recipe(recipe: str | Path, out: Path, *, overwrite: bool = False) -> None:
    """Copy a recipe with its comments; raises `RecipeError` as `find_recipe`, `OutputError` as `files.write_bytes`."""
    file = find_recipe(recipe)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise RecipeError(f"{file}: {error.strerror}: give the path of a recipe") from None
    write_bytes(out, content, overwrite=overwrite)
