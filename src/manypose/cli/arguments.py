"""What the commands' arguments share: layout of the help, checked kinds of values, the options of a model."""

from __future__ import annotations

from argparse import PARSER, Action, ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from manypose.estimators.inputs import Estimator

    Subparsers = _SubParsersAction[ArgumentParser]

MOST_THREADS = 1024


class HelpLayout(RawDescriptionHelpFormatter):
    """Help with wide left columns, and examples as they are typed."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)

    def add_argument(self, action: Action) -> None:
        super().add_argument(action)
        if action.nargs == PARSER:  # argparse forgets that the names of commands are indented once more
            longest = max(map(len, action.choices or ()), default=0)
            self._action_max_length = max(self._action_max_length, 2 * self._indent_increment + longest)


def add_command(
    subparsers: Subparsers,
    name: str,
    *,
    summary: str,
    usage: str,
    examples: tuple[str, str],
    run: Callable[[Namespace], int],
    details: str = "",
    group: str = "",
) -> ArgumentParser:
    """Add a command whose help ends with two examples; `run` takes the parsed arguments and gives the exit code.

    `group` is the command that it belongs to, such as "data "; lines of `usage` but the first are other ways.
    """
    parser = subparsers.add_parser(
        name,
        usage="\n       ".join(f"manypose {group}{name} {way}" for way in usage.splitlines()),
        help=summary[0].lower() + summary[1:].rstrip("."),
        description=f"{summary}\n\n{details}" if details else summary,
        epilog="examples:\n" + "\n".join(f"  {example}" for example in examples),
        formatter_class=HelpLayout,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, parser=parser)
    return parser


def add_model_options(parser: ArgumentParser) -> None:
    """The options of how a model runs; `load_estimator` reads them."""
    group = parser.add_argument_group("how the network runs")
    size = group.add_mutually_exclusive_group()
    size.add_argument(
        "--long-side",
        type=whole_number(1),
        metavar="PIXELS",
        help="size of the longer side for the network (default: the model's own)",
    )
    size.add_argument(
        "--scale", type=positive, metavar="FACTOR", help="size for the network as a multiple of the picture's own"
    )
    group.add_argument(
        "--scales",
        type=positive_list,
        default=(1.0,),
        metavar="A,B",
        help="several sizes, multiples of the above, averaged: 1,1.5",
    )
    group.add_argument("--flip", action="store_true", help="average with the mirrored picture")
    group.add_argument(
        "--threshold", type=number, metavar="SCORE", help="leave out people who score less (default: the model's own)"
    )
    group.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help="auto, cpu, cuda, ...: `manypose doctor` lists them (default: auto)",
    )
    group.add_argument(
        "--threads",
        type=whole_number(0, MOST_THREADS),
        default=0,
        metavar="N",
        help="threads of the CPU to use (default: 0, all)",
    )


def add_detector_option(parser: ArgumentParser) -> None:
    """The detector before a top-down model; `load_estimator` reads it where a command has it."""
    parser.add_argument(
        "--detector", metavar="MODEL", help="a detector that finds the people for a top-down model: a name or ONNX file"
    )


def load_estimator(arguments: Namespace) -> Estimator:
    """The estimator that `arguments.model` and the options of `add_model_options` ask for."""
    import cv2

    from manypose.api import load

    if arguments.threads:
        cv2.setNumThreads(arguments.threads)
    return load(
        arguments.model,
        detector=getattr(arguments, "detector", None),
        device=arguments.device,
        threads=arguments.threads,
        long_side=arguments.long_side,
        scale=arguments.scale,
        scales=arguments.scales,
        flip=arguments.flip,
        threshold=arguments.threshold,
    )


def number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a number") from None
    if not abs(value) < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not a finite number")
    return value


def positive(text: str) -> float:
    """A finite number above 0."""
    value = number(text)
    if value <= 0:
        raise ArgumentTypeError(f"{text} is not above 0")
    return value


def positive_list(text: str) -> tuple[float, ...]:
    """Numbers above 0 with commas between them."""
    return tuple(positive(part) for part in text.split(","))


def picture_size(text: str) -> tuple[int, int]:
    """A width and height, like 192x256."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and 0 < int(width) <= 16384 and 0 < int(height) <= 16384):
        raise ArgumentTypeError(f"{text!r} is not a width and height like 192x256")
    return int(width), int(height)


def whole_number(least: int, most: int | None = None) -> Callable[[str], Any]:
    """A kind of argument: a whole number from `least` to `most`."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} is not a whole number") from None
        if value < least or (most is not None and value > most):
            limits = f"{least} or more" if most is None else f"{least} to {most}"
            raise ArgumentTypeError(f"{value} is not {limits}")
        return value

    return convert
