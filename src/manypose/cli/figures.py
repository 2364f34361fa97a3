"""The figures of evaluations as a table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from manypose.cli.terminal import literal, one_line, table

if TYPE_CHECKING:
    from rich.table import Table

    from manypose.evaluation.run_folder import Run

_AP_ROWS = {
    "AP": "AP",
    "AP50": "AP at OKS 0.50",
    "AP75": "AP at OKS 0.75",
    "APm": "AP of medium people",
    "APl": "AP of large people",
    "AR": "AR",
}
_PLAIN = {
    "nme": {
        "NME": "NME",
        "NME_51": "NME without the jaw",
        "failures": "faces over 0.1",
        "faces": "faces labelled",
        "missed": "faces missed",
        "left_out": "faces left out",
    },
    "box_pck": {
        "PCK": "PCK@0.2 of the box",
        "error": "mean error in boxes",
        "labelled": "joints labelled",
        "left_out": "people left out",
    },
}
_MOST_JOINTS = 30  # in the table; the files have all


def figure_table(runs: Sequence[Run]) -> Table:
    """The figures of a run with their intervals, and those of others beside them."""
    name, *others = (literal((run.manifest.get("model") or {}).get("name", "results")) for run in runs)
    shown = table("figure", name, "95 % interval", *others, right=(name, *others))
    beside = [{name: value for name, value, _ in rows_of(run.figures)} for run in runs[1:]]
    for row, value, interval in rows_of(runs[0].figures):
        shown.add_row(literal(row), value, interval, *(other.get(row, "-") for other in beside))
    return shown


def rows_of(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The figures of an evaluation as rows of name, value and interval; those that mean nothing there are "-"."""
    precision, pck = figures.get("average_precision") or {}, figures.get("pck") or {}
    for key, name in _AP_ROWS.items():
        if key in precision:
            yield name, _share(precision[key]), _interval(precision, key)
    if "PCK" in pck:
        yield "PCK@0.2", _share(pck["PCK"]), _interval(pck, "PCK")
    joints = list((pck.get("joints") or {}).items())
    for joint, value in joints if len(joints) <= _MOST_JOINTS else ():
        yield f"  {one_line(joint)}", _share(value), ""
    yield from _pckh_rows(figures.get("pckh") or {})
    for group, names in _PLAIN.items():
        yield from _plain_rows(names, figures.get(group) or {})
    calibration = figures.get("calibration") or {}
    for name, key in (("people", "ECE of people's scores"), ("joints", "ECE of joints' scores")):
        if isinstance(part := calibration.get(name), dict) and isinstance(part.get("ECE"), float):
            yield key, _share(part["ECE"]), ""
    counts = {"people labelled": precision.get("people"), "joints labelled": pck.get("labelled")}
    counts |= {"people found": figures.get("people_found")}
    for name, count in counts.items():
        if count is not None:
            yield name, str(count), ""
    for name in figures.get("not_measured") or {}:
        yield one_line(name), "-", ""
    for stage, seconds in (figures.get("times") or {}).items():
        yield f"seconds: {one_line(stage)}", f"{seconds:.1f}", ""


def _pckh_rows(pckh: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """PCKh at its three thresholds, 0..100 as published, and the groups of joints at the first."""
    for threshold, figures in pckh.items():
        if not isinstance(figures, Mapping) or "Mean" not in figures:
            continue
        low, high = figures.get("Mean_low"), figures.get("Mean_high")
        interval = "" if low is None or high is None else f"{low:.2f} to {high:.2f}"
        yield one_line(threshold), f"{figures['Mean']:.2f}", interval
        for name, value in (figures.get("groups") or {}).items() if threshold.endswith("@0.5") else ():
            yield f"  {one_line(name)}", f"{value:.2f}", ""


def _plain_rows(names: Mapping[str, str], figures: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The single numbers of a group; lists and groups inside of it are for the report."""
    for key, name in names.items():
        if key in figures:
            value = figures[key]
            yield name, str(value) if isinstance(value, int) else _share(value), _interval(figures, key)


def _share(value: float | None) -> str:
    return f"{value:.3f}" if value is not None and math.isfinite(value) and value >= 0 else "-"


def _interval(figures: Mapping[str, Any], key: str) -> str:
    low, high = figures.get(f"{key}_low"), figures.get(f"{key}_high")
    return "" if low is None or high is None else f"{_share(low)} to {_share(high)}"
