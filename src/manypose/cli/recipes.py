"""`manypose recipes`: the published recipes, and experiment files of HRNet's programs made into recipes."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manypose.cli.arguments import add_command
from manypose.cli.terminal import complain, console, literal, say, table
from manypose.errors import require

if TYPE_CHECKING:
    from manypose.cli.arguments import Subparsers
    from manypose.training.library import Listed

_DETAILS = """\
list    all recipes: what they train, on which data
show    what a recipe says of itself, and all of its settings, with overrides
copy    a recipe with its comments, to change it (default: NAME.yaml here)
import  makes a recipe of an experiment file of HRNet, Simple Baselines, LPN or
        humanpose.pytorch; what in it had no effect is told on stderr

`manypose train NAME` trains by a recipe. show and import need the extra:
pip install 'manypose[train]'."""


def add_parser(subparsers: Subparsers) -> ArgumentParser:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "recipes",
        summary="List, show and copy the published recipes, or import those of other programs.",
        usage="[list] [--json]\nshow NAME [key=value...]\ncopy NAME [FILE] [--overwrite]\nimport FILE [-o FILE]",
        details=_DETAILS,
        examples=(
            "manypose recipes show hrnet_w32_coco_256x192 batch_size=16",
            "manypose recipes import w32_256x192_adam_lr1e-3.yaml -o mine.yaml",
        ),
        run=run,
    )
    parser.add_argument(
        "action", nargs="?", choices=("list", "show", "copy", "import"), default="list", help="(default: list)"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a recipe's name or YAML file, and what belongs to it")
    parser.add_argument("--json", action="store_true", help="list as JSON")
    parser.add_argument(
        "-o", "--out", type=Path, metavar="FILE", help="where the imported recipe goes (default: stdout)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE when it is there already")
    return parser


def run(arguments: Namespace) -> int:
    """Run the command."""
    action, names = arguments.action, arguments.names
    fits = {"list": not names, "show": bool(names), "copy": len(names) in (1, 2), "import": len(names) == 1}
    if not fits[action]:
        arguments.parser.error("`list` takes no NAME, `show` and `copy` one first, `import` one FILE")
    if arguments.json and action != "list":
        arguments.parser.error("--json is an option of `list`")
    if (arguments.out is not None and action != "import") or (arguments.overwrite and action not in ("copy", "import")):
        arguments.parser.error("-o is an option of `import`, --overwrite one of `copy` and `import`")
    if action == "list":
        _list(as_json=arguments.json)
    elif action == "copy":
        _copy(names[0], Path(names[1]) if len(names) > 1 else None, overwrite=arguments.overwrite)
    else:
        require("torch", extra="train")
        if action == "show":
            _show(names[0], names[1:])
        else:
            _import(Path(names[0]), arguments.out, overwrite=arguments.overwrite)
    return 0


def _list(*, as_json: bool) -> None:
    from manypose.training.library import list_recipes

    described = [_describe(recipe) for recipe in list_recipes()]
    if as_json:
        import json

        print(json.dumps(described, indent=1))
        return
    shown = table("name", "what", "start")
    for row in described:
        shown.add_row(*(literal(row[key]) for key in ("name", "title")), literal(row["init"] or "-"))
    console().print(shown)


def _describe(recipe: Listed) -> dict[str, Any]:
    keys = ("network", "skeleton", "size", "init", "loss", "optimiser", "batch_size", "max_steps", "max_epochs")
    settings = {key: recipe.settings.get(key) for key in keys}
    return {"name": recipe.name, "title": recipe.title, "file": str(recipe.file), **settings}


def _show(name: str, overrides: list[str]) -> None:
    import yaml

    from manypose.training.library import describe_recipe, find_recipe
    from manypose.training.recipe_file import read_recipe

    file = find_recipe(name)
    recipe = read_recipe(file, overrides)
    for line in describe_recipe(file).description:
        say(f"# {line}")
    print(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), end="")


def _copy(name: str, out: Path | None, *, overwrite: bool) -> None:
    from manypose.training.library import copy_recipe, find_recipe

    target = out or Path(find_recipe(name).name)
    copy_recipe(name, target, overwrite=overwrite)
    say(f"{target}: change it, and `manypose train {target}`")


def _import(file: Path, out: Path | None, *, overwrite: bool) -> None:
    from manypose.files import write_bytes
    from manypose.training.experiments import import_experiment

    imported = import_experiment(file)
    for note in imported.notes:
        complain(note)
    if out is None:
        print(imported.text, end="")
        return
    write_bytes(out, imported.text.encode(), overwrite=overwrite)
    say(f"{out}: `manypose train {out}` trains by it")
