"""`manypose models`: the models that go by name, what a model file says about itself, published weights."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manypose.cli import networks
from manypose.cli.arguments import add_command
from manypose.cli.terminal import complain, console, literal, table
from manypose.errors import ModelError

if TYPE_CHECKING:
    from manypose.cli.arguments import Subparsers
    from manypose.model import Model


def add_parser(subparsers: Subparsers) -> ArgumentParser:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "models",
        summary="List the models, show all that one says about itself, or get published ones.",
        usage="[list | show MODEL|NETWORK | get [NAME]] [options]",
        details="`get` without a NAME lists what is published; to get weights needs the extra: "
        "pip install 'manypose[train]'.",
        examples=("manypose models show default --json", "manypose models get cmu-coco"),
        run=run,
    )
    parser.add_argument("action", nargs="?", choices=("list", "show", "get"), default="list", help="(default: list)")
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="of show: a model's name or ONNX file; of get: published weights' name",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    _add_get_options(parser)
    networks.add_options(parser)
    return parser


def _add_get_options(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("how `get` gets weights")
    group.add_argument(
        "--from", dest="source", metavar="FILE|URL", help="a copy of the published file, or another address of it"
    )
    group.add_argument("--overwrite", action="store_true", help="get them again when they are there already")
    group.add_argument("--keep", action="store_true", help="keep the downloaded file after it is converted")


def run(arguments: Namespace) -> int:
    """Run the command."""
    networks.check(arguments)
    if arguments.action == "get":
        return _run_get(arguments)
    if arguments.source is not None or arguments.overwrite or arguments.keep:
        arguments.parser.error("--from, --overwrite and --keep are options of `get`")
    if networks.is_asked_for(arguments):
        return networks.run(arguments)
    if (arguments.action == "show") != (arguments.model is not None):
        arguments.parser.error("`show` takes one MODEL, and `list` none")
    if arguments.action == "show":
        _show(_describe_one(arguments.model), as_json=arguments.json)
        return 0
    return _list_all(as_json=arguments.json)


def _describe_one(name: str) -> dict[str, Any]:
    from manypose.model import find_model, load_model

    try:
        path = find_model(name)
    except ModelError as error:
        if Path(name).suffix or Path(name).exists():
            raise
        raise ModelError(f"{error}; `manypose models --networks` lists the networks") from None
    return describe(load_model(path, device="cpu"))


def _list_all(*, as_json: bool) -> int:
    """List the models that go by name; one that was fetched and cannot be opened does not hide the others."""
    from manypose.model import load_model, named_models

    described, code = [], 0
    for name in named_models():
        try:
            described.append(describe(load_model(name, device="cpu")))
        except ModelError as error:
            complain(str(error))
            code = 1
    _list(described, as_json=as_json)
    return code


def _run_get(arguments: Namespace) -> int:
    from manypose.cli import models_get

    if arguments.model is None and (arguments.source is not None or arguments.overwrite or arguments.keep):
        arguments.parser.error("`get` with --from, --overwrite or --keep takes a NAME")
    return models_get.run(arguments)


def describe(model: Model) -> dict[str, Any]:
    """All that a model says about itself as plain data, with the file's name, size in MB and sha256."""
    from manypose.model import DEFAULT, named_models

    size = model.path.stat().st_size / 1e6
    name = next((name for name, path in named_models().items() if path == model.path), str(model.path))
    head = {"name": name, "default": name == DEFAULT, "megabytes": round(size, 2), "sha256": model.sha256}
    return head | {key: value for key, value in model.metadata.model_dump(mode="json").items() if key not in head}


def _list(descriptions: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps(descriptions, indent=1))
        return
    shown = table("name", "MB", "skeleton", "licence", "accuracy measured", right=("MB",))
    for model in descriptions:
        name = model["name"] + (" (default)" if model["default"] else "")
        accuracy = ", ".join(f"{key} {value:g}" for key, value in model["figures"].items()) or "not measured"
        cells = (name, f"{model['megabytes']:.1f}", skeleton_name(model), model["licence"], accuracy)
        shown.add_row(*map(literal, cells))
    console().print(shown)


def skeleton_name(description: dict[str, Any]) -> str:
    """The name of a model's skeleton, whether it is one of ours or a definition of its own."""
    given = description["skeleton"]
    return str(given if isinstance(given, str) else given.get("name", "its own"))


def _show(description: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps(description, indent=1))
        return
    shown = table("setting", "value")
    for key, value in _flat({**description, "skeleton": skeleton_name(description)}):
        shown.add_row(literal(key), literal(value))
    console().print(shown)


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as rows of "maps.stride" and their values."""
    rows = []
    for key, value in values.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key}.") or [(prefix + key, "-")]
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            rows.append((prefix + key, text or "-"))
    return rows
