"""`manypose data preview`: a sheet of training samples, as a network will see them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manypose.cli.arguments import add_command, whole_number
from manypose.cli.data.skipping import add_skip, faults_in_own_words, readers_silent, tell_left_out
from manypose.cli.terminal import counted, say
from manypose.errors import require

if TYPE_CHECKING:
    from manypose.cli.arguments import Subparsers
    from manypose.data.faults import Fault
    from manypose.data.pictures import LabelledPicture
    from manypose.data.samples import FieldSamples
    from manypose.skeleton import Skeleton

_DETAILS = """\
WHAT is a recipe (.yaml), the address of a sample server (tcp://HOST:PORT), or a data set or
packed file, whose samples are made as by a recipe that says nothing else.
A line of the sheet shows the picture, the heatmaps and the fields over it, and what does not
count: red nowhere, yellow for some joints. Needs the extra: pip install 'manypose[train]'."""


_SIZE = 256  # pixels of a sample of a data set, as of recipes


def add_parser(subparsers: Subparsers) -> ArgumentParser:
    """Add the command to `manypose data`."""
    parser = add_command(
        subparsers,
        "preview",
        summary="Write a sheet of augmented samples with masks, heatmaps and fields over them.",
        usage="WHAT [key=value...] -o FILE [options]",
        group="data ",
        details=_DETAILS,
        examples=(
            "manypose data preview recipes/ladder.yaml root=DATA -o sheet.png",
            "manypose data preview tcp://127.0.0.1:5555 -o sheet.png --count 24",
        ),
        run=run,
    )
    parser.add_argument("what", metavar="WHAT", help="a recipe, a data set or packed file, or a server's address")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of the recipe")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="the sheet, .png or .jpg")
    parser.add_argument("--count", type=whole_number(1, 200), default=12, metavar="N", help="samples (default: 12)")
    parser.add_argument("--epoch", type=whole_number(0), default=0, metavar="N", help="of a recipe or set (default: 0)")
    add_skip(parser)
    parser.add_argument("--overwrite", action="store_true", help="write over a sheet that is there")
    parser.add_argument(
        "--skeleton", default="openpose18", metavar="NAME", help="joints of a set or a server (default: openpose18)"
    )
    group = parser.add_argument_group("of a server")
    group.add_argument("--mode", choices=("compact", "classic"), default="compact", help="(default: compact)")
    group.add_argument("--key", type=Path, metavar="FILE", help="the key that the server asks for")
    return parser


def run(arguments: Namespace) -> int:
    """Run the command."""
    for module in ("torch", "lightning"):
        require(module, extra="train")
    import cv2

    from manypose.data.preview import draw_samples
    from manypose.errors import OutputError
    from manypose.files import write_bytes

    if arguments.out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise OutputError(f"{arguments.out}: the sheet is written as .png or .jpg; give such a name")
    with faults_in_own_words(skip=arguments.skip):
        samples, skeleton = _served(arguments) if "://" in arguments.what else _made(arguments)
    sheet = draw_samples(samples, skeleton)
    content = cv2.imencode(arguments.out.suffix.lower(), sheet[..., ::-1])[1].tobytes()
    write_bytes(arguments.out, content, overwrite=arguments.overwrite)
    say(f"{arguments.out}: {counted(len(samples), 'sample', 'samples')} of {arguments.what}")
    return 0


def _served(arguments: Namespace) -> tuple[list[Any], Skeleton]:
    """Samples of a server; they do not say which joints they have, only how many."""
    from manypose.data.serving.access import read_key
    from manypose.data.serving.client import ServedSamples
    from manypose.skeleton import load_skeleton

    skeleton = load_skeleton(arguments.skeleton)
    key = read_key(arguments.key) if arguments.key is not None else None
    served = ServedSamples(
        arguments.what, mode=arguments.mode, count=arguments.count, key=key, heatmaps=len(skeleton) + 1
    )
    try:
        return list(islice(served, arguments.count)), skeleton
    finally:
        served.close()


def _made(arguments: Namespace) -> tuple[list[Any], Skeleton]:
    """Samples of a recipe, or of a data set with the augmentation that recipes have by themselves."""
    file = Path(arguments.what)
    is_recipe = file.suffix.lower() in (".yaml", ".yml")
    if arguments.overrides and not is_recipe:
        arguments.parser.error(f"{arguments.overrides[0]}: only a recipe has settings to override")
    samples = _of_recipe(file, arguments) if is_recipe else _of_data_set(file, arguments)
    samples.set_epoch(arguments.epoch)
    return [samples[index] for index in range(arguments.count)], samples.codec.skeleton


def _of_recipe(file: Path, arguments: Namespace) -> FieldSamples:
    from manypose.cli.data.serve import make_samples
    from manypose.training.recipe_file import read_recipe

    recipe = read_recipe(file, arguments.overrides)
    # A dozen samples need no more than their own pictures.
    return make_samples(recipe.model_copy(update={"preload": False}), split="train", skip=arguments.skip)


def _of_data_set(place: Path, arguments: Namespace) -> FieldSamples:
    from manypose.codecs.fields import FieldsCodec
    from manypose.data.augment import Augmentation
    from manypose.data.samples import FieldSamples, Source
    from manypose.skeleton import load_skeleton

    skeleton = load_skeleton(arguments.skeleton)
    pictures = [picture for picture in _read_set(place, skeleton, skip=arguments.skip) if len(picture)]
    source = Source(pictures, Augmentation())
    codec = FieldsCodec(skeleton)
    return FieldSamples([source], codec, size=_SIZE, count=arguments.count, seed=0, skip_broken=arguments.skip)


def _read_set(place: Path, skeleton: Skeleton, *, skip: bool) -> list[LabelledPicture]:
    from manypose.data.datasets import read_dataset

    faults: list[Fault] = []
    with readers_silent():
        pictures = read_dataset(place, skeleton, on_fault="skip" if skip else "stop", faults=faults)
    tell_left_out(faults)
    return pictures
