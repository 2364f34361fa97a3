"""`manypose models --networks` and `manypose models show NETWORK`: the networks, and what each is made of."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manypose.cli.arguments import picture_size
from manypose.cli.terminal import console, literal, say, table
from manypose.errors import OutputError, require

if TYPE_CHECKING:
    from rich.table import Table

    from manypose.networks.describe import Description

# Those of `networks.ENTRIES`, which cannot be asked without torch.
NAMES = (
    *("ladder_paf", "ladder_paf_small", "mobilenet_paf", "vgg_paf", "body25"),
    *("resnet_paf_18", "resnet_paf_34", "resnet_paf_50", "cpm_face", "cpm_hand"),
    *("hrnet_w18_small_v1", "hrnet_w18_small_v2", "hrnet_w32", "hrnet_w48"),
    *("lpn_18", "lpn_18h", "lpn_34", "lpn_34h", "lpn_50", "lpn_100", "lpn_101", "lpn_152"),
    *("pose_resnet_18", "pose_resnet_34", "pose_resnet_50", "pose_resnet_101", "pose_resnet_152"),
    *("simcc_resnet_18", "simcc_resnet_50", "simcc_hrnet_w32"),
)
WIDE = 190  # columns of a table that goes to a file or a pipe


def add_options(parser: ArgumentParser) -> None:
    """Add what concerns networks to the command `models`."""
    group = parser.add_argument_group("networks (need the extra: pip install 'manypose[train]')")
    group.add_argument(
        "--networks", action="store_true", help="list the networks, their size and costs beside the reference's"
    )
    group.add_argument("--svg", type=Path, metavar="FILE", help="of show NETWORK: draw its blocks")
    group.add_argument(
        "--size", type=picture_size, metavar="WxH", help="of show NETWORK: pixels of its input (default: as published)"
    )
    group.add_argument(
        "--option",
        type=network_option,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of show NETWORK: one of its options, as stages=4; may be repeated",
    )


def is_asked_for(arguments: Namespace) -> bool:
    """Whether the command is about networks: `--networks`, or `show` with the name of one; `NAMES` has the names.

    Models that are shipped or published and files go before. Imports nothing of torch.
    """
    if arguments.networks:
        return True
    if arguments.action != "show" or arguments.model not in NAMES or Path(arguments.model).exists():
        return False
    from manypose.model import shipped_models
    from manypose.published import PUBLISHED

    return arguments.model not in shipped_models() and arguments.model not in PUBLISHED


def check(arguments: Namespace) -> None:
    """Wrong use of the options, for `arguments.parser.error`."""
    about_one = arguments.svg is not None or arguments.size is not None or bool(arguments.option)
    if arguments.networks and (arguments.action != "list" or arguments.model is not None or about_one):
        arguments.parser.error("--networks lists all networks and goes with --json only")
    if about_one and not is_asked_for(arguments):
        arguments.parser.error("--svg, --size and --option are options of `show NETWORK`")


def run(arguments: Namespace) -> int:
    """List the networks, or show one."""
    require("torch", extra="train")
    if arguments.networks:
        _list([_summary(name) for name in _names()], as_json=arguments.json)
    else:
        _show(arguments)
    return 0


def _names() -> list[str]:
    from manypose.networks import ENTRIES

    return list(ENTRIES)


def _summary(name: str) -> dict[str, Any]:
    """A network's task, size and source, and its parameters and multiply-adds, counted and of its reference."""
    from manypose.networks import ENTRIES
    from manypose.networks.describe import count_network

    entry = ENTRIES[name]
    parameters, multiply_adds = count_network(name)
    return {
        "name": name,
        "task": entry.task,
        "size": list(entry.size),
        "parameters": parameters,
        "reference_parameters": entry.parameters,
        "multiply_adds": multiply_adds,
        "reference_multiply_adds": entry.multiply_adds,
        "source": entry.source,
    }


def _list(networks: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(networks, indent=1))
        return
    numbers = ("parameters", "reference", "multiply-adds", "reference ")
    shown = table("name", "task", "input", *numbers, "source", right=("input", *numbers))
    for network in networks:
        counts = (network[f"{kind}{what}"] for what in ("parameters", "multiply_adds") for kind in ("", "reference_"))
        cells = [_number(count) for count in counts]
        size = "x".join(map(str, network["size"]))
        shown.add_row(*map(literal, (network["name"], network["task"], size, *cells, network["source"])))
    _print_wide(shown)


def _show(arguments: Namespace) -> None:
    from manypose.networks.describe import describe_network

    description = describe_network(arguments.model, size=arguments.size, **dict(arguments.option))
    if arguments.json:
        print(json.dumps(as_data(description), indent=1))
    elif arguments.svg is None:
        _print(description)
    if arguments.svg is not None:
        from manypose.networks.diagram import draw_svg

        try:
            arguments.svg.write_text(draw_svg(description), encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{arguments.svg}: cannot be written: {error.strerror}") from None
        if not arguments.json:
            say(f"{arguments.svg}: {description.name}, {len(description.blocks)} blocks")


def as_data(description: Description) -> dict[str, Any]:
    """A description as plain data for JSON; blocks name their layers."""
    return {
        "name": description.name,
        "size": list(description.size),
        "parameters": description.parameters,
        "multiply_adds": description.multiply_adds,
        "layers": [vars(layer) for layer in description.layers],
        "blocks": [
            {
                "name": block.name,
                "inputs": block.inputs,
                "outputs": block.outputs,
                "parameters": block.parameters,
                "multiply_adds": block.multiply_adds,
                "layers": [layer.name for layer in block.layers],
            }
            for block in description.blocks
        ],
        "results": [vars(result) for result in description.results],
    }


def _print(description: Description) -> None:
    columns = ("layer", "kind", "kernel", "stride", "dilation", "groups", "output", "parameters", "multiply-adds")
    shown = table(*columns, right=columns[2:])
    for layer in description.layers:
        pairs = (_pair(pair) for pair in (layer.kernel, layer.stride, layer.dilation))
        output = "x".join(map(str, layer.output))
        counts = (_number(layer.parameters), _number(layer.multiply_adds))
        cells = (layer.name, layer.kind, *pairs, str(layer.groups) if layer.groups else "", output, *counts)
        shown.add_row(*map(literal, cells))
    _print_wide(shown)
    for result in description.results:
        say(f"gives {result.name} {'x'.join(map(str, result.shape))}")
    width, height = description.size
    say(
        f"{description.name}: {len(description.layers)} layers, {description.parameters:,} parameters, "
        f"{description.multiply_adds:,} multiply-adds for {width}x{height} pixels"
    )


def _print_wide(shown: Table) -> None:
    screen = console()
    if not sys.stdout.isatty():
        screen.width = WIDE
    screen.print(shown)


def _pair(pair: tuple[int, int] | None) -> str:
    return "" if pair is None else f"{pair[0]}x{pair[1]}" if pair[0] != pair[1] else str(pair[0])


def _number(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def network_option(text: str) -> tuple[str, Any]:
    """A kind of argument: an option of a network; its value is read as YAML, so 4 is a number and true a truth."""
    import yaml

    key, equals, value = text.partition("=")
    if not (equals and key.isidentifier()):
        raise ArgumentTypeError(f"{text!r} is not of the form key=value")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise ArgumentTypeError(f"the value of {text!r} cannot be read") from None
