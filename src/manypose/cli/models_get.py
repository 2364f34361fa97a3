"""`manypose models get`: published weights, fetched, checked, converted and from then on known by name."""

from __future__ import annotations

from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manypose.cli.terminal import bars_of_bytes, console, literal, say, table
from manypose.errors import require

if TYPE_CHECKING:
    from manypose.published import Published


def run(arguments: Namespace) -> int:
    """Get the weights that `arguments.model` names, or list what there is to get."""
    if arguments.model is None:
        _list(as_json=arguments.json)
    else:
        _get(arguments)
    return 0


def _get(arguments: Namespace) -> None:
    from manypose.published import cached_weights, find_published, get_published

    entry = find_published(arguments.model)
    already = entry.name in cached_weights() and not arguments.overwrite
    if not already:
        for module in ("torch", "onnx", "safetensors"):  # better now than after the download
            require(module, extra="train")
    with bars_of_bytes() as show:
        show(entry.name, 0, None)
        file = get_published(
            entry.name,
            convert=convert_weights,
            source=arguments.source,
            overwrite=arguments.overwrite,
            keep=arguments.keep,
            progress=partial(show, entry.name),
        )
    if arguments.json:
        import json

        print(json.dumps(describe(entry), indent=1))
        return
    say(f"{file}: {entry.title}{', is there already (--overwrite gets it again)' if already else ''}")
    say(f"licence: {entry.licence.name}: {entry.licence.terms}; {entry.licence.address}")
    say(f"next: {_next_step(entry)}")


def convert_weights(weights: Path, out: Path, entry: Published) -> None:
    """Convert a file of published weights to an ONNX model, or to a checkpoint for a backbone."""
    from manypose.convert.published import convert_published

    convert_published(weights, out, entry)


def describe(entry: Published) -> dict[str, Any]:
    """All that is known of published weights as plain data; `path` is that of the user's copy, or None."""
    import dataclasses

    from manypose.published import cached_weights

    got = cached_weights().get(entry.name)
    return dataclasses.asdict(entry) | {"path": None if got is None else str(got)}


def _list(*, as_json: bool) -> None:
    from manypose.published import PUBLISHED, cached_weights

    if as_json:
        import json

        print(json.dumps([describe(entry) for entry in PUBLISHED.values()], indent=1))
        return
    got = cached_weights()
    shown = table("name", "network", "what", "MB", "licence", "got", right=("MB",))
    for name, entry in PUBLISHED.items():
        network = f"trunk of {entry.network}" if entry.kind == "backbone" else entry.network
        state = "yes" if name in got else "no" if entry.address else "no, needs --from"
        cells = (name, network, entry.title, entry.megabytes, entry.licence.name, state)
        shown.add_row(*map(literal, cells))
    console().print(shown)


def _next_step(entry: Published) -> str:
    if entry.kind == "backbone":
        return f"a recipe that starts from it: init: {entry.file}"
    if entry.kind == "people":
        return f"manypose predict photo.jpg --model {entry.name}"
    return f"manypose models show {entry.name}"
