"""`manypose train`: a recipe in, checkpoints and logs out."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from manypose.cli.arguments import add_command, whole_number
from manypose.cli.data.skipping import faults_in_own_words
from manypose.cli.terminal import complain, counted, say
from manypose.errors import MissingExtraError, require

if TYPE_CHECKING:
    from manypose.cli.arguments import Subparsers
    from manypose.training.recipe import Recipe

_DETAILS = """\
The run is written to the folder out/name of the recipe: recipe.yaml as it was run,
checkpoints, metrics.csv and logs for TensorBoard. Ctrl-C and SIGTERM end it early;
`resume=` goes on from a checkpoint. With --overfit nothing is written: it says
whether so many pictures can be learnt by heart (AP over 0.9; exit code 1 if not),
which wrong labels or settings prevent. With --find-rate the learning rate rises for
a hundred steps until the loss goes up; the rate at which it falls fastest is printed
and drawn to rates.png in the run's folder, and nothing else is written.
Needs the extra: pip install 'manypose[train]'."""


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
            "manypose train mine.yaml root=photos --overfit 8",
        ),
        run=run,
    )
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="a YAML file, or a published recipe's name")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings in place of those in the recipe")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--check", action="store_true", help="check the recipe and print it, but do not train")
    instead.add_argument("--find-rate", action="store_true", help="look for a learning rate, but do not train")
    instead.add_argument("--overfit", type=whole_number(1), metavar="N", help="test whether N pictures can be learnt")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def run(arguments: Namespace) -> int:
    """Run the command."""
    for module in ("torch", "lightning", "tensorboard"):
        require(module, extra="train")
    from manypose.training.library import find_recipe
    from manypose.training.recipe_file import read_recipe

    recipe = read_recipe(find_recipe(arguments.recipe), arguments.overrides)
    if arguments.check:
        import yaml

        print(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), end="")
        return 0
    _log_to_stderr()
    progress = not arguments.quiet and sys.stdout.isatty()
    with faults_in_own_words(skip=recipe.skip_broken, option="skip_broken=true"):
        return _run(arguments, recipe, progress)


def _run(arguments: Namespace, recipe: Recipe, progress: bool) -> int:
    if arguments.overfit is not None:
        return _overfit(recipe, arguments.overfit, progress)
    if arguments.find_rate:
        return _find_rate(recipe, progress)
    from manypose.training.program import train

    checkpoint = train(recipe, progress=progress)
    say(f"{checkpoint}: the last checkpoint; `manypose export {checkpoint} -o model.onnx` makes a model of it")
    return 0


def _overfit(recipe: Recipe, count: int, progress: bool) -> int:
    from manypose.training.overfit import GOAL, overfit

    result = overfit(recipe, count, progress=progress)
    pictures = counted(result.pictures, "picture", "pictures")
    say(f"{pictures}, {result.steps} steps: AP {result.average_precision:.3f}, loss {result.loss:.4g}")
    if result.has_learnt:
        say("the pipeline can learn these labels")
        return 0
    complain(
        f"AP stayed at {result.average_precision:.3f}, expected over {GOAL}: look at the labels "
        "(`manypose data preview`), then try another learning_rate or sigma, or a larger size"
    )
    return 1


def _find_rate(recipe: Recipe, progress: bool) -> int:
    from manypose.files import make_folder
    from manypose.training.rate_finder import PICTURE, draw_rates, find_rate

    found = find_rate(recipe, progress=progress)
    say(f"learning_rate={found.rate:.2g}")
    say(
        f"there the loss falls fastest, at least half as fast from {found.low:.2g} to {found.high:.2g}, "
        f"and no more from {found.limit:.2g} on; the recipe has {recipe.learning_rate:g}"
    )
    folder = recipe.out / recipe.name
    make_folder(folder)
    try:
        draw_rates(found, folder / PICTURE, overwrite=True)
    except MissingExtraError as error:
        complain(f"not drawn: {error}")
        return 0
    say(f"-> {folder / PICTURE}")
    return 0


def _log_to_stderr() -> None:
    import logging
    import warnings

    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    logging.getLogger("manypose").setLevel(logging.INFO)
    # Lightning's words are for those who program it: advertisements, its own deprecations, folders that we mean to use.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for text in ("Experiment logs directory", "Checkpoint directory", ".*LeafSpec", ".*does not have many workers"):
        warnings.filterwarnings("ignore", message=text)
