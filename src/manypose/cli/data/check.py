"""`manypose data check`: what is wrong with a data set, shown, counted, and on request repaired in a copy."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from manypose.cli.arguments import add_command, whole_number
from manypose.cli.data.skipping import readers_silent
from manypose.cli.terminal import complain, console, counted, literal, progress_bar, say, table

if TYPE_CHECKING:
    from manypose.cli.arguments import Subparsers
    from manypose.data.check import Checked, Report


def add_parser(subparsers: Subparsers) -> ArgumentParser:
    """Add the command to `manypose data`."""
    parser = add_command(
        subparsers,
        "check",
        summary="Check a data set: labels, pictures, doubles across its splits.",
        usage="DATASET [DATASET ...] [options]",
        group="data ",
        details="A DATASET is a COCO-style JSON file, a folder with train.json and val.json, or what `manypose data`\n"
        "reads otherwise. Several files are taken as splits of one set. The exit code is 1 when there are errors;\n"
        "warnings and notes leave it at 0. With --fix it is that of the repaired copy.",
        examples=("manypose data check coco --out checked", "manypose data check train.json val.json --fix repaired"),
        run=run,
    )
    parser.add_argument("datasets", nargs="+", type=Path, metavar="DATASET", help="files or folders")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="write check.json, check.html, sheet.png and suspects.png there"
    )
    parser.add_argument("--fix", type=Path, metavar="FOLDER", help="write a repaired copy there")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="folder or zip file of the pictures")
    parser.add_argument("--kind", metavar="KIND", help="kind of the data set (default: seen from its content)")
    parser.add_argument("--part", metavar="PART", help="only train, val or test (default: all that are there)")
    parser.add_argument(
        "--skeleton", metavar="NAME", help="joints of sets that are not COCO-style (default: the set's own)"
    )
    parser.add_argument("--no-pictures", action="store_true", help="check the labels only; decode nothing")
    parser.add_argument("--samples", type=whole_number(1, 200), default=24, metavar="N", help="pictures a sheet (24)")
    parser.add_argument("--seed", type=whole_number(0), default=0, metavar="N", help="of the random sample (0)")
    parser.add_argument("--most", type=whole_number(0), default=5, metavar="N", help="findings printed of a kind (5)")
    parser.add_argument("--jobs", type=whole_number(1, 64), metavar="N", help="threads that decode (default: up to 4)")
    parser.add_argument("--json", action="store_true", help="print what check.json holds, and nothing else")
    parser.add_argument("--overwrite", action="store_true", help="write over the files of an earlier check")
    return parser


def run(arguments: Namespace) -> int:
    """Run the command; 1 when there are errors."""
    from manypose.data.check import check_dataset, write_report

    with progress_bar("pictures", hidden=arguments.json) as progress, readers_silent():
        checked = check_dataset(
            arguments.datasets,
            images=arguments.images,
            skeleton=arguments.skeleton,
            kind=arguments.kind,
            part=arguments.part,
            pictures=not arguments.no_pictures,
            jobs=arguments.jobs,
            progress=lambda done, total: progress(done, total or 0),
        )
    if arguments.json:
        import json

        print(json.dumps(checked.report.to_dict(), indent=1, allow_nan=False))
    else:
        _show(checked.report, most=arguments.most)
    if arguments.out is not None:
        made = write_report(
            checked, arguments.out, samples=arguments.samples, seed=arguments.seed, overwrite=arguments.overwrite
        )
        for file in made if not arguments.json else ():
            say(f"written: {file}")
    if arguments.fix is not None:
        return _fix(checked, arguments)
    return _verdict(checked.report)


def _show(report: Report, *, most: int) -> None:
    from manypose.data.check.findings import KINDS

    columns = ("pictures", "annotations", "people_with_joints", "boxes_only", "crowds", "joints_per_person")
    shown = table("file", *(column.replace("_", " ") for column in columns), right=columns)
    shown.columns[0].no_wrap = True
    for file, counts in report.counts.items():
        shown.add_row(literal("/".join(Path(file).parts[-2:])), *(literal(counts[column]) for column in columns))
    console().print(shown)
    for kind, count in report.by_kind().items():
        say(f"{KINDS[kind][0]}: {kind} ({count}): {KINDS[kind][1]}")
        for finding in [finding for finding in report.findings if finding.kind == kind][:most]:
            say(f"  {finding}")
        if count > most:
            say(f"  and {count - most} more")


def _fix(checked: Checked, arguments: Namespace) -> int:
    from manypose.data.check import check_dataset
    from manypose.data.check.repair import repair

    copy = repair(checked, arguments.fix, overwrite=arguments.overwrite)
    again = check_dataset(copy.files, pictures=not arguments.no_pictures, jobs=arguments.jobs)
    if not arguments.json:
        for change in copy.changes[: arguments.most * 10]:
            say(f"changed: {change}")
        if len(copy.changes) > arguments.most * 10:
            say(f"  and {len(copy.changes) - arguments.most * 10} more")
        say(f"{counted(len(copy.changes), 'change', 'changes')}, all of them in {copy.note}")
        for file in copy.files:
            say(f"written: {file}")
    return _verdict(again.report)


def _verdict(report: Report) -> int:
    if not report.errors:
        return 0
    kinds = [f"{count} {kind}" for kind, count in report.by_kind().items() if _is_error(kind)]
    files = ", ".join(map(str, report.files))
    complain(f"{files}: {counted(len(report.errors), 'error', 'errors')}: {', '.join(kinds)}; see above, or try --fix")
    return 1


def _is_error(kind: str) -> bool:
    from manypose.data.check.findings import KINDS

    return KINDS[kind][0] == "error"
