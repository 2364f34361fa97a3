"""`manypose models`: the models that come with manypose, and what a model file says about itself."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from manypose.cli.arguments import add_command
from manypose.cli.terminal import console, literal, table

if TYPE_CHECKING:
    from manypose.cli.arguments import Subparsers
    from manypose.model import Model


def add_parser(subparsers: Subparsers) -> ArgumentParser:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "models",
        summary="List the models, or show all that one says about itself.",
        usage="[list | show MODEL] [--json]",
        examples=("manypose models", "manypose models show default --json"),
        run=run,
    )
    parser.add_argument("action", nargs="?", choices=("list", "show"), default="list", help="(default: list)")
    parser.add_argument("model", nargs="?", metavar="MODEL", help="of show: a model's name or ONNX file")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def run(arguments: Namespace) -> int:
    """Run the command."""
    from manypose.model import load_model, shipped_models

    if (arguments.action == "show") != (arguments.model is not None):
        arguments.parser.error("`show` takes one MODEL, and `list` none")
    if arguments.action == "show":
        _show(describe(load_model(arguments.model, device="cpu")), as_json=arguments.json)
    else:
        _list([describe(load_model(name, device="cpu")) for name in shipped_models()], as_json=arguments.json)
    return 0


def describe(model: Model) -> dict[str, Any]:
    """All that a model says about itself as plain data, with the file's name, size in MB and sha256."""
    from manypose.model import DEFAULT, shipped_models

    size = model.path.stat().st_size / 1e6
    name = next((name for name, path in shipped_models().items() if path == model.path), str(model.path))
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
