"""`manypose calibrate`: a model and a labelled set in, a model whose scores are probabilities out."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from manypose.cli.arguments import MOST_THREADS, add_command, positive, whole_number
from manypose.cli.terminal import console, progress_bar, say, table
from manypose.errors import DataError, require

if TYPE_CHECKING:
    from manypose.cli.arguments import Subparsers
    from manypose.evaluation.calibrating import Fit

_DETAILS = """\
Fits a rising curve for the scores of joints and one for those of people, so that
of those that score 0.8 about four in five are right, and writes the model with
these curves; whoever runs it gets the new scores. Places, and the order of people,
stay as they are. Of a top-down model only the joints' scores are fitted, in the
labelled people's boxes.
The set should be neither the one that the model learned from nor the one that it
is measured on. Needs the extra: pip install 'manypose[eval]'."""


def add_parser(subparsers: Subparsers) -> ArgumentParser:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "calibrate",
        summary="Make probabilities of a model's scores.",
        usage="MODEL --data SET -o FILE [options]",
        details=_DETAILS,
        examples=(
            "manypose calibrate default --data mine/train.json -o calibrated.onnx",
            "manypose calibrate mine.onnx --data crowdpose --distance 0.1 -o calibrated.onnx",
        ),
        run=run,
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="a model's name, `default`, or an ONNX file")
    add("--data", type=Path, required=True, metavar="SET", help="a labelled set: its file of labels, or its folder")
    add("--part", metavar="NAME", help="the part of the set, such as train, where it has several")
    add("-o", "--out", type=Path, required=True, metavar="FILE", help="the new model file, .onnx")
    add("--overwrite", action="store_true", help="replace FILE when it is there already")
    add(
        "--distance",
        type=positive,
        metavar="SHARE",
        help="a joint is right within SHARE x the root of the person's area (default: at an OKS of its own of 0.5)",
    )
    add("--limit", type=whole_number(2), metavar="N", help="only the first N pictures")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, ...: `manypose doctor` lists them")
    add(
        "--threads",
        type=whole_number(0, MOST_THREADS),
        default=0,
        metavar="N",
        help="threads of the CPU to use (default: 0, all)",
    )
    return parser


def run(arguments: Namespace) -> int:
    """Run the command."""
    from manypose.evaluation.calibrating import check_output, find_raw, fit_calibration, write_calibrated

    file: Path = arguments.out
    check_output(file, overwrite=arguments.overwrite)  # before the work, which takes minutes
    for module in ("onnx", "scipy.optimize"):
        require(module, extra="eval")
    if arguments.distance is not None and arguments.distance > 10:
        raise DataError(f"--distance {arguments.distance:g} is more than 10 times the size of a person")

    from manypose.evaluation.truth import read_truth
    from manypose.manifest import fingerprint
    from manypose.model import load_model

    truth = read_truth(arguments.data, part=arguments.part)
    if arguments.limit is not None:
        truth = read_truth(truth, image_ids=truth.image_ids[: arguments.limit])
    labels = truth.file or arguments.data
    model = load_model(arguments.model, device=arguments.device, threads=arguments.threads)
    if model.metadata.calibration is not None:
        say(f"{model.path}: was calibrated on {model.metadata.calibration.data}; fitted anew on the raw scores")
    with progress_bar("photos") as progress:
        results = find_raw(model, truth, progress=progress)
    in_boxes = model.metadata.task == "top-down"
    fit = fit_calibration(
        truth,
        results,
        data=labels.name,
        data_sha256=fingerprint(labels),
        parts=("joints",) if in_boxes else ("joints", "people"),
        in_boxes=in_boxes,
        distance=arguments.distance,
    )
    write_calibrated(model, fit.calibration, file, overwrite=arguments.overwrite)
    _print(fit)
    say(f"-> {file}")
    return 0


def _print(fit: Fit) -> None:
    say(f"fitted on {fit.fitted} pictures, measured on {fit.held_out} others; the file's curves are fitted on all")
    shown = table("ECE of", "before", "95 % interval", "after", "95 % interval", right=("before", "after"))
    for part in fit.before:
        cells = []
        for figures in (fit.before[part], fit.after[part]):
            cells += [f"{figures['ECE']:.3f}", f"{figures['ECE_low']:.3f} to {figures['ECE_high']:.3f}"]
        shown.add_row(part, *cells)
    console().print(shown)
