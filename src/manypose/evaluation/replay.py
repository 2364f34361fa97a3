"""An evaluation done again, from its manifest, and whether the figures are the same."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manypose.errors import DataError, FormatError
from manypose.evaluation.run import Plan, Progress, run
from manypose.evaluation.run_folder import METRICS, RESULTS, Run
from manypose.manifest import changed_inputs

UNSTEADY = ("times",)  # figures that no machine gives twice


@dataclass(frozen=True)
class Difference:
    """A figure that is not what it was; None stands for one that is not there."""

    name: str
    before: Any
    now: Any


def replay(
    place: Path, *, processes: int | None = None, progress: Progress | None = None
) -> tuple[Run, list[Difference]]:
    """Do the evaluation of a folder, or of its `metrics.json`, again; gives the new run and what differs.

    Raises `FormatError` where there is no manifest of one, and `DataError` that names the hash when the model or the
    data are no longer the same.
    """
    before = read_metrics(place)
    manifest = before.manifest
    if manifest.get("command") != "eval":
        raise FormatError(f"{place}: its manifest is of {manifest.get('command')!r}, not of an evaluation")
    check_unchanged(place, manifest)
    plan = Plan.from_dict(manifest["options"])
    now, _ = run(plan if processes is None else dataclasses.replace(plan, processes=processes), progress=progress)
    pictures = [(one.get("inputs") or {}).get("pictures", {}).get("sha256") for one in (manifest, now.manifest)]
    if pictures[0] != pictures[1]:
        raise DataError(
            f"{place}: the pictures of the set have changed: together they have SHA-256 {pictures[1]}, but the "
            f"manifest says {pictures[0]}"
        )
    return now, compare(before, now)


def read_metrics(place: Path) -> Run:
    """The run of a folder; its `metrics.json` is enough, and then there are no results."""
    file = place / METRICS if place.is_dir() else place
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        rows = file.with_name(RESULTS)
        results = json.loads(rows.read_text(encoding="utf-8")) if file.name == METRICS and rows.is_file() else []
    except OSError as error:
        raise FormatError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{file}: not a JSON file: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("manifest"), dict):
        raise FormatError(f"{file}: no object 'manifest'; expected what `manypose eval --out` writes")
    if not isinstance(content["manifest"].get("options"), dict):
        raise FormatError(f"{file}: its manifest has no options, so it cannot be replayed")
    return Run(content.get("figures") or {}, content["manifest"], results)


def check_unchanged(place: Path, manifest: Mapping[str, Any]) -> None:
    """Raise `DataError` with all hashes that are not those of the manifest."""
    changes = changed_inputs(manifest)
    if changes:
        raise DataError(f"{place}: not the same any more: {'; '.join(changes)}")


def compare(before: Run, now: Run) -> list[Difference]:
    """What differs between two runs: figures, but for times, and rows of the results where both have them."""
    old, new = flatten(before.figures), flatten(now.figures)
    differences = [
        Difference(name, old.get(name), new.get(name))
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]
    if before.results and list(before.results) != list(now.results):
        differences.append(Difference(RESULTS, f"{len(before.results)} rows", _changed_rows(before, now)))
    return differences


def flatten(figures: Any, prefix: str = "") -> dict[str, Any]:
    """The figures with the names of the groups before theirs: "average_precision.AP"."""
    if isinstance(figures, Mapping):
        items: Sequence[tuple[Any, Any]] = list(figures.items())
    elif isinstance(figures, list):
        items = list(enumerate(figures))
    else:
        return {prefix: figures}
    flat: dict[str, Any] = {}
    for name, value in items:
        if prefix or name not in UNSTEADY:
            flat |= flatten(value, f"{prefix}.{name}" if prefix else str(name))
    return flat


def _changed_rows(before: Run, now: Run) -> str:
    if len(before.results) != len(now.results):
        return f"{len(now.results)} rows"
    changed = sum(old != new for old, new in zip(before.results, now.results, strict=True))
    return f"{changed} of them otherwise"
