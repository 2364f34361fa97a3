"""`manypose eval`: a model and a labelled set in, figures out."""

from __future__ import annotations

import contextlib
import signal
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manypose.cli.arguments import add_command, add_model_options, number, positive, whole_number
from manypose.cli.data.skipping import faults_in_own_words
from manypose.cli.figures import figure_table, rows_of
from manypose.cli.terminal import console, counted, one_line, progress_bar, say, table
from manypose.errors import OutputError

if TYPE_CHECKING:
    from types import FrameType

    from manypose.cli.arguments import Subparsers
    from manypose.evaluation.replay import Difference
    from manypose.evaluation.run import Plan
    from manypose.evaluation.run_folder import Run
    from manypose.evaluation.truth import Truth

__all__ = ["add_parser", "rows_of", "run"]

DIFFERENT = 1
FILES = ("results.json", "metrics.json", "report.html")
PRESETS = ("treb1en", "keras", "mxnet", "xuexingyu", "hzzone", "tensorboy", "daniil", "openpose", "hrnet", "humanpose")
DECODINGS = ("argmax", "quarter", "dark", "udp-dark", "soft-argmax", "soft-argmax+quarter")
# Options of the estimators by the names of their arguments; what was not given is None.
ESTIMATOR_OPTIONS = (
    *("long_side", "scale", "scales", "short_side", "height", "threshold", "decoding", "suppression", "similarity"),
    *("joint_threshold", "padding", "box_threshold", "most_boxes", "interpolation"),
)

_DETAILS = """\
Prints keypoint AP as COCO measures it where the joints of the set have OKS sigmas,
PCK at 0.2 of the torso, PCKh for MPII, NME for faces, each with its 95 % interval
over pictures. With --out, results.json (COCO results), metrics.json (figures and
all that is needed to get them again) and report.html are written. What is found is
kept as it comes: a run that was stopped goes on with --resume. Of a set without
truth (COCO test-dev, MPII test) comes the file that its server takes. --results
measures people whom some other program has found.
Needs the extra: pip install 'manypose[eval]'."""


def add_parser(subparsers: Subparsers) -> ArgumentParser:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "eval",
        summary="Measure a model on labelled pictures.",
        usage="MODEL --data FILE [options]\n--results FILE --data FILE [options]\n--from DIR",
        details=_DETAILS,
        examples=(
            "manypose eval default --data coco/val.json --out measured",
            "manypose eval hrnet.onnx --data coco/val.json --boxes detections.json --like hrnet",
        ),
        run=run,
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a model's name, `default`, or an ONNX file")
    _add_data_options(parser)
    _add_run_options(parser)
    add_model_options(parser)
    parser.set_defaults(scales=None)  # so that a preset's scales can be replaced by 1
    _add_other_options(parser)
    return parser


def _add_data_options(parser: ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, metavar="FILE", help="a data set's file of labels, or its folder")
    parser.add_argument("--results", type=Path, metavar="FILE", help="measure this COCO results file and run no model")
    parser.add_argument("--kind", metavar="KIND", help="of data set, where its content does not tell it")
    parser.add_argument("--part", metavar="PART", help="train, val or test, where a file or folder has several")
    parser.add_argument("--image-ids", type=Path, metavar="FILE", help="only these pictures: an id on each line")
    parser.add_argument("--limit", type=whole_number(1), metavar="N", help="only the first N pictures")
    parser.add_argument(
        "--boxes", metavar="BOXES", help="for a top-down model: truth, a detector's JSON, or its ONNX file"
    )


def _add_run_options(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the results, the figures and the report")
    parser.add_argument("--overwrite", action="store_true", help="replace these files, and begin a stopped run anew")
    parser.add_argument("--resume", action="store_true", help="go on with the run that was stopped in --out")
    parser.add_argument("--no-report", action="store_true", help="write no report.html")
    parser.add_argument(
        "--processes", type=whole_number(1, 256), default=1, metavar="N", help="processes that run it (default: 1)"
    )
    parser.add_argument("--beside", metavar="MODEL", help="measure this model too and print it in a second column")
    parser.add_argument(
        "--from", dest="again", type=Path, metavar="DIR", help="do the run of a folder again: are the figures the same?"
    )


def _add_other_options(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("as other programs do it")
    group.add_argument("--like", choices=PRESETS, metavar="NAME", help=f"all options of: {', '.join(PRESETS)}")
    group.add_argument("--short-side", type=whole_number(1), metavar="PIXELS", help="size of the shorter side")
    group.add_argument("--height", type=whole_number(1), metavar="PIXELS", help="height for the network")
    group.add_argument("--interpolation", choices=("auto", "linear", "cubic"), help="of the resizing (default: auto)")
    group.add_argument(
        "--decoder", type=_setting, action="append", metavar="NAME=VALUE", help="a setting of a bottom-up decoder"
    )
    group.add_argument("--decoding", choices=DECODINGS, metavar="HOW", help=f"of heatmaps: {', '.join(DECODINGS)}")
    group.add_argument("--no-flip-shift", action="store_true", help="do not shift the mirrored heatmaps by a cell")
    group.add_argument("--no-rescore", action="store_true", help="a person scores what his box does")
    group.add_argument("--joint-threshold", type=number, metavar="SCORE", help="joints above it count for rescoring")
    group.add_argument("--suppression", choices=("none", "hard", "soft"), help="of people found twice, by OKS")
    group.add_argument("--similarity", type=positive, metavar="OKS", help="from which two people are one")
    group.add_argument("--padding", type=positive, metavar="FACTOR", help="how much larger than a box its crop is")
    group.add_argument("--box-threshold", type=number, metavar="SCORE", help="leave out boxes that score less (0.1)")
    group.add_argument("--most-boxes", type=whole_number(1), metavar="N", help="only the best N boxes of a picture")


def run(arguments: Namespace) -> int:
    """Run the command; 1 when a run that is done again gives other figures."""
    with _terminate_cleanly(), faults_in_own_words(skip=False, option=None):
        if arguments.again is not None:
            return _again(arguments)
        if arguments.data is None or (arguments.model is None) == (arguments.results is None):
            arguments.parser.error("give a MODEL or --results FILE, and --data FILE; or --from DIR")
        if arguments.resume and arguments.out is None:
            arguments.parser.error("--resume goes with --out DIR, where the run was stopped")
        return _evaluate(arguments)


def _evaluate(arguments: Namespace) -> int:
    from manypose.evaluation.run import refuse_files
    from manypose.evaluation.run import run as run_plan

    out: Path | None = arguments.out
    if out is not None and not arguments.overwrite:
        refuse_files(out, FILES)
    plan = make_plan(arguments, arguments.model or "")
    _refuse_idle(arguments, plan)
    fresh = arguments.overwrite and not arguments.resume
    with progress_bar("photos") as progress:
        first, truth = run_plan(plan, out=out, resume=arguments.resume, fresh=fresh, progress=progress)
    if not truth.has_people:
        return _for_server(arguments, first, truth)
    runs = [first]
    if arguments.beside is not None:
        with progress_bar("photos") as progress:
            runs.append(run_plan(make_plan(arguments, arguments.beside), progress=progress)[0])
    written = _write(arguments, first, truth) if out is not None else []
    pictures = counted(len(truth.image_ids), "photo", "photos")
    model = first.manifest["model"] or {"name": str(plan.results), "device": "found before"}
    say(f"{model['name']} on {Path(truth.name).name}: {pictures}, {model['device']}")
    console().print(figure_table(runs))
    for name, reason in (first.figures.get("not_measured") or {}).items():
        say(f"{one_line(name)}: not measured: {reason}")
    for file in written:
        say(f"-> {file}")
    return 0


def make_plan(arguments: Namespace, model: str) -> Plan:
    """The evaluation that the arguments ask for."""
    from manypose.evaluation.run import Plan

    options = {name: getattr(arguments, name) for name in ESTIMATOR_OPTIONS if getattr(arguments, name) is not None}
    switches = {"flip": (arguments.flip, True), "flip_shift": (arguments.no_flip_shift, False)}
    switches["rescore"] = (arguments.no_rescore, False)
    options |= {name: value for name, (given, value) in switches.items() if given}
    if arguments.decoder:
        options["decoder"] = dict(arguments.decoder)
    names = ("kind", "part", "image_ids", "limit", "boxes", "like", "device", "threads", "processes", "results")
    return Plan(model, arguments.data, options=options, **{name: getattr(arguments, name) for name in names})


def _refuse_idle(arguments: Namespace, plan: Plan) -> None:
    """Wrong use: options of a model with --results, where none is run."""
    if plan.results is None:
        return
    given = [f"--{name.replace('_', '-')}" for name in plan.options]
    given += [f"--{name}" for name in ("boxes", "like", "beside", "resume") if getattr(arguments, name)]
    if given:
        arguments.parser.error(f"--results: no model is run, so {', '.join(given)} has no effect; leave it out")


def _write(arguments: Namespace, found: Run, truth: Truth) -> list[Path]:
    from manypose.evaluation.run import forget_journal
    from manypose.evaluation.run_folder import write_run

    out: Path = arguments.out
    write_run(out, found, overwrite=arguments.overwrite)
    forget_journal(out)
    if not arguments.no_report:
        from manypose.evaluation.report import write_report

        write_report(out, found, truth, pictures=truth.read_picture, overwrite=arguments.overwrite)
    return [out / name for name in FILES if name != FILES[2] or not arguments.no_report]


def _for_server(arguments: Namespace, found: Run, truth: Truth) -> int:
    """Write what the server of a test set takes, and no figures, since there is no truth."""
    from manypose.evaluation.run import forget_journal
    from manypose.evaluation.servers import write_server_file
    from manypose.manifest import beside, write_manifest

    if arguments.out is None:
        raise OutputError(f"{truth.name}: has no truth, so there are no figures; give --out DIR for the server's file")
    file = write_server_file(arguments.out, found, truth, overwrite=arguments.overwrite)
    write_manifest(found.manifest, beside(file), overwrite=arguments.overwrite)
    forget_journal(arguments.out)
    people = counted(len(found.results), "person", "people")
    say(f"{truth.name}: has no truth; {people} in {counted(len(truth.image_ids), 'photo', 'photos')}")
    say(f"-> {file}")
    return 0


def _again(arguments: Namespace) -> int:
    from manypose.evaluation.replay import replay

    with progress_bar("photos") as progress:
        now, differences = replay(arguments.again, processes=arguments.processes, progress=progress)
    return report_replay(arguments.again, now, differences)


def report_replay(place: Path, now: Run, differences: list[Difference]) -> int:
    """Say whether an evaluation that was done again gave the same; 1 and a table of differences when it did not."""
    if not differences:
        say(f"{place}: the same figures again")
        return 0
    shown = table("figure", "before", "now", right=("before", "now"))
    for difference in differences:
        shown.add_row(*(_short(value) for value in (difference.name, difference.before, difference.now)))
    console().print(shown)
    from manypose.manifest import changed_versions, find_manifest

    for line in changed_versions(now.manifest, find_manifest(place)[0]):
        say(line)
    say(f"{place}: {counted(len(differences), 'figure is', 'figures are')} not the same")
    return DIFFERENT


def _short(value: Any) -> str:
    from manypose.cli.terminal import literal

    return "-" if value is None else literal(f"{value:.6g}" if isinstance(value, float) else value)


def _setting(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ArgumentTypeError(f"{text!r} is not a setting like peak_threshold=0.1")
    return name, number(value)


@contextlib.contextmanager
def _terminate_cleanly() -> Iterator[None]:
    """SIGTERM ends as Ctrl-C does, so that the processes that run the model end too."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
