"""`manypose eval`: a model and a labelled set in, figures out."""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manypose.cli.arguments import add_command, add_model_options, load_estimator, whole_number
from manypose.cli.terminal import console, literal, one_line, progress_bar, say, table
from manypose.errors import OutputError

if TYPE_CHECKING:
    from manypose.cli.arguments import Subparsers
    from manypose.evaluation.run import Evaluation

FILES = ("results.json", "metrics.json")

_DETAILS = """\
Prints keypoint AP as COCO measures it where the set has the joints of COCO, and
PCK at 0.2 of the torso, each with its 95 % interval over pictures. With --out,
results.json (COCO results) and metrics.json are written.
Needs the extra: pip install 'manypose[eval]'."""

_AP_ROWS = {
    "AP": "AP",
    "AP50": "AP at OKS 0.50",
    "AP75": "AP at OKS 0.75",
    "APm": "AP of medium people",
    "APl": "AP of large people",
    "AR": "AR",
}


def add_parser(subparsers: Subparsers) -> ArgumentParser:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "eval",
        summary="Measure a model on labelled pictures.",
        usage="MODEL --data FILE [options]",
        details=_DETAILS,
        examples=(
            "manypose eval default --data coco/val.json --out measured",
            "manypose eval runs/mine.onnx --data lsp_extended/val.json --flip --scales 1,1.5",
        ),
        run=run,
    )
    parser.add_argument("model", metavar="MODEL", help="a model's name, `default`, or an ONNX file")
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="a COCO-style keypoint file (JSON)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for results.json and metrics.json")
    parser.add_argument("--overwrite", action="store_true", help="replace these files when they are there already")
    parser.add_argument("--beside", metavar="MODEL", help="measure this model too and print it in a second column")
    parser.add_argument("--limit", type=whole_number(1), metavar="N", help="only the first N pictures")
    add_model_options(parser)
    return parser


def run(arguments: Namespace) -> int:
    """Run the command."""
    out: Path | None = arguments.out
    if out is not None and not arguments.overwrite:
        for name in FILES:  # before the work, which takes minutes
            if (out / name).exists():
                raise OutputError(
                    f"{out / name}: the file exists; choose another folder, or allow overwriting (--overwrite)"
                )
    from manypose.evaluation.run import evaluate

    evaluations = []
    for model in (arguments.model, arguments.beside):
        if model is not None:
            estimator = load_estimator(Namespace(**{**vars(arguments), "model": model}))
            with progress_bar("photos") as progress:
                evaluations.append(evaluate(estimator, arguments.data, limit=arguments.limit, progress=progress))
    if out is not None:
        evaluations[0].write(out, overwrite=arguments.overwrite)
    _print(evaluations)
    for name in FILES if out is not None else ():
        say(f"-> {arguments.out / name}")
    return 0


def _print(evaluations: Sequence[Evaluation]) -> None:
    first = evaluations[0].provenance
    name, others = literal(first["model"]), [literal(e.provenance["model"]) for e in evaluations[1:]]
    shown = table("figure", name, "95 % interval", *others, right=(name, *others))
    beside = [{name: value for name, value, _ in rows_of(evaluation.figures)} for evaluation in evaluations[1:]]
    for name, value, interval in rows_of(evaluations[0].figures):
        shown.add_row(literal(name), value, interval, *(other.get(name, "-") for other in beside))
    say(f"{first['model']} on {first['data']}: {first['pictures']} photos, {first['device']}")
    console().print(shown)


def rows_of(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The figures of an evaluation as rows of name, value and interval; those that mean nothing there are "-"."""
    precision = figures.get("average_precision", {})
    for key, name in _AP_ROWS.items():
        if key in precision:
            yield name, _share(precision[key]), _interval(precision, key)
    pck = figures.get("pck", {})
    if pck:
        yield "PCK@0.2", _share(pck["PCK"]), _interval(pck, "PCK")
    for joint, value in pck.get("joints", {}).items():
        yield f"  {one_line(joint)}", _share(value), ""
    counts = {"people labelled": precision.get("people"), "joints labelled": pck.get("labelled")}
    counts |= {"people found": figures.get("people_found")}
    for name, count in counts.items():
        if count is not None:
            yield name, str(count), ""


def _share(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) and value >= 0 else "-"


def _interval(figures: Mapping[str, Any], key: str) -> str:
    low, high = figures.get(f"{key}_low"), figures.get(f"{key}_high")
    return "" if low is None or high is None else f"{_share(low)} to {_share(high)}"
