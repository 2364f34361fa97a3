"""`manypose train`: a recipe in, checkpoints and logs out."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from manypose.cli.arguments import add_command
from manypose.cli.terminal import say
from manypose.errors import require

if TYPE_CHECKING:
    from manypose.cli.arguments import Subparsers

_DETAILS = """\
The run is written to the folder out/name of the recipe: recipe.yaml as it was run,
checkpoints, metrics.csv and logs for TensorBoard. Ctrl-C and SIGTERM end it early;
`resume=` goes on from a checkpoint. Needs the extra: pip install 'manypose[train]'."""


def add_parser(subparsers: Subparsers) -> ArgumentParser:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "train",
        summary="Train a network by a recipe.",
        usage="RECIPE [key=value...] [options]",
        details=_DETAILS,
        examples=(
            "manypose train recipes/ladder.yaml",
            "manypose train recipes/ladder.yaml name=second max_steps=2000 device=cpu",
        ),
        run=run,
    )
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="a YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings in place of those in the recipe")
    parser.add_argument("--check", action="store_true", help="check the recipe and print it, but do not train")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def run(arguments: Namespace) -> int:
    """Run the command."""
    from manypose.training.recipe import read_recipe

    recipe = read_recipe(arguments.recipe, arguments.overrides)
    if arguments.check:
        import yaml

        print(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), end="")
        return 0
    for module in ("torch", "lightning", "tensorboard"):
        require(module, extra="train")
    import logging

    from manypose.training.program import train

    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    logging.getLogger("manypose").setLevel(logging.INFO)
    checkpoint = train(recipe, progress=not arguments.quiet and sys.stdout.isatty())
    say(f"{checkpoint}: the last checkpoint; `manypose export {checkpoint} -o model.onnx` makes a model of it")
    return 0
