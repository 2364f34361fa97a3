"""The folder of one evaluation: what was found, what was measured, and all that is needed to do it again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from manypose.errors import FormatError, OutputError
from manypose.files import write_bytes

RESULTS = "results.json"
METRICS = "metrics.json"
REPORT = "report.html"


@dataclass(frozen=True)
class Run:
    """One evaluation.

    `figures` are what was measured, by name, JSON-ready: None stands for what means nothing there. `manifest` says
    with what (see `manypose.manifest`). `results` are the rows of a COCO results file, those of one picture together.
    """

    figures: Mapping[str, Any]
    manifest: Mapping[str, Any]
    results: Sequence[Mapping[str, Any]]


def read_run(place: Path) -> Run:
    """The run in a folder, which may be given as its `metrics.json` too.

    Raises `FormatError` that names the file and what is wrong in it.
    """
    folder = place.parent if place.name == METRICS else place
    if not folder.is_dir():
        raise FormatError(f"{folder}: no such folder; expected one that `manypose eval --out` has written")
    metrics, results = _load(folder / METRICS), _load(folder / RESULTS)
    for name in ("figures", "manifest"):
        if not isinstance(metrics, dict) or not isinstance(metrics.get(name), dict):
            raise FormatError(f"{folder / METRICS}: no object {name!r}; expected what `manypose eval --out` writes")
    if not isinstance(results, list) or not all(isinstance(row, dict) for row in results):
        raise FormatError(f"{folder / RESULTS}: not a list of objects; expected the rows of COCO results")
    return Run(metrics["figures"], metrics["manifest"], results)


def write_run(folder: Path, run: Run, *, overwrite: bool = False) -> None:
    """Write `results.json` (COCO results) and `metrics.json` (figures and manifest) into a folder, which is made.

    Raises `OutputError` when one of them is there already and may not be overwritten; then neither is written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}") from None
    metrics = {"figures": json_ready(run.figures), "manifest": json_ready(run.manifest)}
    contents = {
        RESULTS: json.dumps(list(run.results), allow_nan=False),
        METRICS: json.dumps(metrics, indent=1, allow_nan=False),
    }
    there = [folder / name for name in contents if (folder / name).exists()]
    if there and not overwrite:  # looked at first, so that no new file stands beside an old one
        raise OutputError(f"{there[0]}: the file exists; choose another folder, or allow overwriting (--overwrite)")
    for name, text in contents.items():
        write_bytes(folder / name, (text + "\n").encode(), overwrite=overwrite)


def json_ready(value: Any) -> Any:
    """The same with plain numbers, lists and texts as keys; None for NaN and infinity, which JSON does not have."""
    if isinstance(value, Mapping):
        return {str(key): json_ready(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        return json_ready(value.tolist())
    if isinstance(value, (list, tuple)):
        return [json_ready(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _load(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{file}: not a JSON file: {error}") from None
