"""`manypose repro`: an output with a manifest in, the same command again, and whether its output is the same."""

from __future__ import annotations

import contextlib
import io
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manypose.cli.arguments import add_command, whole_number
from manypose.cli.terminal import console, counted, literal, progress_bar, say, table
from manypose.errors import FormatError, ManyposeError

if TYPE_CHECKING:
    from manypose.cli.arguments import Subparsers
    from manypose.estimators.folder import Failure, Source
    from manypose.estimators.results import ResultWriter
    from manypose.model import Model

DIFFERENT = 1
# What predict's arguments hold that is no option of the command, or that a replay sets itself.
_NOT_OPTIONS = ("run", "parser", "out", "overwrite", "json", "verbose")

_DETAILS = """\
FILE is an output of predict or eval, or its folder. Its manifest (in metrics.json,
in .manifest.json in the folder, or in FILE.manifest.json beside it) says with which
model, options and inputs it was made. When these are still the same, the command is
run again in a folder of its own, and what comes out is compared, byte by byte.
Exit code 1 says that it differs. Nothing is written beside FILE."""


def add_parser(subparsers: Subparsers) -> ArgumentParser:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "repro",
        summary="Make an output again and compare.",
        usage="FILE [options]",
        details=_DETAILS,
        examples=("manypose repro measured/metrics.json", "manypose repro out/beach.json"),
        run=run,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="an output that has a manifest, or its folder")
    parser.add_argument(
        "--processes", type=whole_number(1, 256), default=1, metavar="N", help="processes that run an evaluation"
    )
    return parser


def run(arguments: Namespace) -> int:
    """Run the command; 1 when the output is not the same again."""
    from manypose.evaluation.replay import check_unchanged
    from manypose.manifest import find_manifest

    manifest, file = find_manifest(arguments.file)
    command = manifest["command"]
    if command not in ("eval", "predict"):
        raise FormatError(f"{file}: is of the command {command!r}; only predict and eval can be replayed")
    check_unchanged(arguments.file, manifest)
    if command == "predict":
        return _predict_again(arguments, manifest, file.parent.absolute())
    if file.name.endswith(".manifest.json"):
        return _server_file_again(arguments, manifest, file.with_name(file.name.removesuffix(".manifest.json")))
    from manypose.cli.evaluate import report_replay
    from manypose.evaluation.replay import replay

    with progress_bar("photos") as progress:
        now, differences = replay(file, processes=arguments.processes, progress=progress)
    return report_replay(file, now, differences)


def write_predict_manifest(
    arguments: Namespace, model: Model, sources: Sequence[Source | Failure], writer: ResultWriter
) -> None:
    """Write `.manifest.json` into the folder of what `manypose predict` has written; it keeps those of earlier runs."""
    if not writer.written:
        return
    from manypose.estimators.folder import Source
    from manypose.manifest import FOLDER_FILE, add_earlier, make_manifest, write_manifest

    options = {name: value for name, value in vars(arguments).items() if name not in _NOT_OPTIONS}
    options["folder"] = str(Path.cwd())
    own = [source for source in sources if isinstance(source, Source)]
    inputs = {source.name: source.path for source in own if source.path.is_file()}
    if isinstance(options.get("detector"), (str, Path)) and Path(options["detector"]).is_file():
        inputs["--detector"] = Path(options["detector"])
    outputs = {file.relative_to(writer.folder).as_posix(): file for file in writer.written}
    manifest = make_manifest("predict", options, model=model, inputs=inputs, outputs=outputs)
    write_manifest(add_earlier(manifest, writer.folder), writer.folder / FOLDER_FILE, overwrite=True)


def _predict_again(arguments: Namespace, manifest: Mapping[str, Any], folder: Path) -> int:
    wanted: dict[str, Any] = manifest.get("outputs") or {}
    given = arguments.file.absolute()
    name = given.relative_to(folder).as_posix() if given.is_relative_to(folder) else given.name
    if name in wanted:
        wanted = {name: wanted[name]}
    options = {name: tuple(v) if name == "scales" else v for name, v in manifest["options"].items()}
    home = str(options.pop("folder", "."))
    with tempfile.TemporaryDirectory() as place:
        again = Namespace(**options, out=Path(place) / "out", overwrite=False, json=False, verbose=False)
        again.parser = arguments.parser
        from manypose.cli import predict

        try:
            with contextlib.chdir(home), contextlib.redirect_stdout(io.StringIO()):
                predict.run(again)
        except (AttributeError, FileNotFoundError) as error:
            raise ManyposeError(f"{folder}: its manifest cannot be replayed by this manypose: {error}") from None
        return _report_files(folder, Path(place) / "out", wanted)


def _report_files(folder: Path, again: Path, wanted: Mapping[str, Any]) -> int:
    """Say of every output whether it is the same again, and is still what was written then."""
    from manypose.manifest import fingerprint

    faults = []
    for name, entry in wanted.items():
        now = again / name
        if not now.is_file():
            faults.append((name, "is not written any more"))
        elif fingerprint(now) != entry["sha256"]:
            faults.append((name, "comes out otherwise"))
        elif not (folder / name).is_file() or fingerprint(folder / name) != entry["sha256"]:
            faults.append((name, "comes out the same, but the file has been changed or removed since"))
    if not faults:
        say(f"{folder}: the same again: {counted(len(wanted), 'file', 'files')}")
        return 0
    shown = table("file", "what differs")
    for row in faults:
        shown.add_row(*map(literal, row))
    console().print(shown)
    say(f"{folder}: {len(faults)} of {counted(len(wanted), 'file', 'files')} not the same")
    return DIFFERENT


def _server_file_again(arguments: Namespace, manifest: Mapping[str, Any], file: Path) -> int:
    """The file for a test set's server again."""
    from manypose.evaluation.run import Plan
    from manypose.evaluation.run import run as run_plan
    from manypose.evaluation.servers import write_server_file
    from manypose.manifest import fingerprint

    with progress_bar("photos") as progress, tempfile.TemporaryDirectory() as place:
        found, truth = run_plan(Plan.from_dict(manifest["options"]), progress=progress)
        now = write_server_file(Path(place), found, truth)
        return _report_files(file.parent, now.parent, {file.name: {"sha256": fingerprint(file)}})
