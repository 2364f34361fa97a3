"""`manypose predict`: pictures in; drawn pictures and JSON, or lines of JSON on stdout, out."""

from __future__ import annotations

import contextlib
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from manypose.cli.arguments import add_command, add_detector_option, add_model_options, load_estimator, number
from manypose.cli.terminal import complain, counted, one_line, progress_bar, say
from manypose.errors import ManyposeError

if TYPE_CHECKING:
    from manypose.cli.arguments import Subparsers
    from manypose.estimators.folder import Failure, Prediction, Source
    from manypose.estimators.inputs import Estimator
    from manypose.estimators.results import ResultWriter

OUT = Path("out")
STAGES = ("open", "detect", "prepare", "network", "decode", "draw", "write")

_DETAILS = """\
For photos/beach.jpg it writes out/beach_people.jpg, the drawn picture, and
out/beach.json. With --format openpose the JSON is out/beach_keypoints.json; with
--format coco one out/coco_results.json holds the people of all pictures, and
out/coco_images.json says which image_id is which file (the last digits of the
name, or 1, 2, 3 ... where these would not be unique)."""


def add_parser(subparsers: Subparsers) -> ArgumentParser:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "predict",
        summary="Find the people in photos.",
        usage="INPUT... [options]",
        details=_DETAILS,
        examples=(
            "manypose predict photo.jpg --out found",
            "manypose predict 'holiday/**/*.jpg' --json --threshold 0.3 > people.jsonl",
        ),
        run=run,
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="a picture, a folder, or a pattern such as '*.jpg'")
    parser.add_argument("--model", default="default", help="a model's name or ONNX file (default: default)")
    add_detector_option(parser)
    parser.add_argument("--recursive", action="store_true", help="search the folders inside of folders too")
    parser.add_argument("-v", "--verbose", action="store_true", help="print the time of every stage on stderr")
    _add_output_options(parser)
    add_model_options(parser)
    return parser


def _add_output_options(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("what comes out")
    group.add_argument(
        "--out", type=Path, metavar="DIR", help=f"folder of the results (default: {OUT}; none with --json)"
    )
    group.add_argument("--overwrite", action="store_true", help="replace files that are there already")
    group.add_argument(
        "--format", choices=("json", "coco", "openpose"), default="json", help="of the JSON (default: json)"
    )
    group.add_argument("--json", action="store_true", help="print the people on stdout, one line of JSON per picture")
    group.add_argument("--no-picture", action="store_true", help="write no drawn pictures")
    group.add_argument(
        "--show",
        choices=("skeleton", "joints", "heatmaps", "fields"),
        default="skeleton",
        metavar="WHAT",
        help="what is drawn: skeleton, joints, or the network's heatmaps or fields (default: skeleton)",
    )
    group.add_argument("--joint", metavar="NAME", help="draw only this joint, such as left_wrist")
    group.add_argument(
        "--joint-threshold",
        type=number,
        default=0.0,
        metavar="SCORE",
        help="do not draw joints that score less (default: 0)",
    )


def run(arguments: Namespace) -> int:
    """Run the command; 1 when an input gave nothing."""
    from manypose.estimators.folder import Failure, find_pictures
    from manypose.estimators.results import ResultOptions, ResultWriter

    _check(arguments)
    out = arguments.out or (None if arguments.json else OUT)
    sources = find_pictures(arguments.inputs, recursive=arguments.recursive, leave_out=out)
    failures = [source for source in sources if isinstance(source, Failure)]
    if len(failures) == len(sources):
        for source in failures:
            complain(str(source.error))
        return 1
    options = ResultOptions(
        format=arguments.format,
        picture=not arguments.no_picture,
        show=arguments.show,
        joint=arguments.joint,
        joint_threshold=arguments.joint_threshold,
        overwrite=arguments.overwrite,
    )
    # Before the model is loaded, since it refuses to overwrite.
    writer = None if out is None else ResultWriter(out, sources, options)
    estimator = load_estimator(arguments)
    _check_task(arguments, estimator)
    if options.joint is not None:
        estimator.model.skeleton.index(options.joint)
    with writer or contextlib.nullcontext():
        code = _predict_all(arguments, estimator, sources, writer)
    if writer is not None:
        from manypose.cli.repro import write_predict_manifest

        write_predict_manifest(arguments, estimator.model, sources, writer)
    return code


def _check(arguments: Namespace) -> None:
    """Refuse options that would have no effect."""
    draws = arguments.joint is not None or arguments.show != "skeleton" or arguments.joint_threshold != 0
    if arguments.no_picture and draws:
        arguments.parser.error("--no-picture leaves nothing for --show, --joint and --joint-threshold to draw")
    if arguments.json and arguments.out is None and (draws or arguments.no_picture or arguments.overwrite):
        arguments.parser.error("with --json no files are written unless --out DIR says where; add it")
    if arguments.joint_threshold != 0 and arguments.show in ("heatmaps", "fields"):
        arguments.parser.error(f"--joint-threshold has no effect on --show {arguments.show}")


def _check_task(arguments: Namespace, estimator: Estimator) -> None:
    """Raise `ManyposeError` for an option that makes no sense for the model; say what it does without boxes."""
    task, name = estimator.model.metadata.task, arguments.model
    if task != "bottom-up" and arguments.show in ("heatmaps", "fields"):
        raise ManyposeError(f"--show {arguments.show}: {name} is a {task} model and has no such maps; leave it out")
    if task == "detector" and (arguments.show == "joints" or arguments.joint or arguments.joint_threshold):
        raise ManyposeError(f"{name} is a detector: it finds boxes and no joints that --show or --joint could choose")
    if task == "detector" and arguments.format == "openpose":
        raise ManyposeError(f"{name} is a detector: OpenPose's format holds no boxes; use --format json or coco")
    if task in ("top-down", "face", "hand") and arguments.detector is None:
        advice = "; --detector MODEL finds the people in it first" if task == "top-down" else ""
        complain(f"{name} is a {task} model: it takes each picture as one person who fills it{advice}")


def _predict_all(
    arguments: Namespace, estimator: Estimator, sources: list[Source | Failure], writer: ResultWriter | None
) -> int:
    from manypose.estimators.folder import Failure, predict_pictures
    from manypose.estimators.results import image_ids, result_line

    if arguments.verbose:
        model = estimator.model
        name = one_line(model.metadata.name)
        print(f"model {name} on {model.device}, {_threads_text(arguments.threads)}", file=sys.stderr)
    ids = image_ids(sources)
    tally = _Tally()
    hidden = len(sources) < 2 or (arguments.json and sys.stdout.isatty())
    with progress_bar("photos", total=len(sources), hidden=hidden) as progress:
        for done, result in enumerate(predict_pictures(estimator, sources), start=1):
            if isinstance(result, Failure):
                complain(str(result.error))
                tally.failed += 1
            else:
                if arguments.json:
                    image_id = ids[result.source]
                    print(result_line(result, format=arguments.format, image_id=image_id), flush=True)
                _finish(result, writer, arguments, tally)
            progress(done, len(sources))
    tally.report(arguments)
    return 1 if tally.failed else 0


def _finish(result: Prediction, writer: ResultWriter | None, arguments: Namespace, tally: _Tally) -> None:
    """Write the files of one picture and say so; what cannot be written is complained about and counted."""
    seconds = dict(result.seconds)
    if writer is not None:
        try:
            seconds |= writer.write(result)
        except ManyposeError as error:
            complain(str(error))
            tally.failed += 1
            return
    tally.add(len(result.people), seconds)
    if not arguments.json:
        files = writer.files_of(result.source) if writer is not None else []
        target = f" -> {files[0]}" if files else ""
        say(f"{result.source.path}: {counted(len(result.people), 'person', 'people')}{target}")
    if arguments.verbose:
        print(f"{one_line(result.source.path)}: {_times_text(seconds)}", file=sys.stderr)


class _Tally:
    """What a run has done so far; no dataclass, whose import would cost --help a tenth of its time."""

    def __init__(self) -> None:
        self.pictures, self.people, self.failed = 0, 0, 0
        self.seconds: dict[str, float] = {}

    def add(self, people: int, seconds: dict[str, float]) -> None:
        self.pictures += 1
        self.people += people
        for stage, duration in seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + duration

    def report(self, arguments: Namespace) -> None:
        """Print what there was in all, when there was more than one."""
        if self.pictures + self.failed < 2:
            return
        if arguments.verbose and self.pictures:
            mean = {stage: duration / self.pictures for stage, duration in self.seconds.items()}
            print(f"mean of {counted(self.pictures, 'photo', 'photos')}: {_times_text(mean)}", file=sys.stderr)
        if not arguments.json:
            failed = f", {self.failed} failed" if self.failed else ""
            photos = counted(self.pictures, "photo", "photos")
            say(f"{photos}, {counted(self.people, 'person', 'people')}{failed}")


def _times_text(seconds: dict[str, float]) -> str:
    stages = [f"{stage} {1000 * seconds[stage]:.1f}" for stage in STAGES if stage in seconds]
    return ", ".join(stages) + f", all {1000 * sum(seconds.values()):.1f} ms"


def _threads_text(threads: int) -> str:
    return "all threads" if threads == 0 else counted(threads, "thread", "threads")
