"""What a training run has logged: the figures of its metrics.csv, joined over the parts of one that was resumed."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from manypose.errors import DataError

METRICS, RECIPE = "metrics.csv", "recipe.yaml"
_PART = re.compile(r"from_step_(\d+)")
_FIELD = 64  # characters of a wrong value that a message shows

Figures = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Series:
    """One figure of a run: how many steps were done (n,), from low to high, and its values (n,); NaN is possible."""

    steps: Figures
    values: Figures

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True)
class RunLog:
    """The figures of one run by their columns in metrics.csv, and the settings of its recipe.yaml (or none)."""

    name: str
    figures: Mapping[str, Series]
    settings: Mapping[str, Any]

    @property
    def stages(self) -> tuple[str, ...]:
        """Columns of the parts of the loss: one for each stage and branch of the network."""
        return tuple(column for column in self.figures if column.startswith("losses/"))

    @property
    def rates(self) -> tuple[str, ...]:
        """Columns of the learning rates: one for each group of parameters."""
        return tuple(column for column in self.figures if column.startswith("lr-"))


def read_run_log(folder: Path) -> RunLog:
    """Read what a run logged to its folder, `out/name` of its recipe.

    A run that was resumed logs to a folder `from_step_N` inside; what an earlier part logged behind step N is left out,
    so that there is one curve. A last line that is not yet whole is left out too: the run may be going on. Raises
    `DataError` where there is no log, or one that is not a log of a run.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: is not a folder; give that of a run, which holds {METRICS}")
    joined: dict[str, dict[int, float]] = {}
    parts = _parts(folder)
    if not parts:
        raise DataError(f"{folder}: there is no {METRICS}: give the folder of a run of `manypose train`")
    for first, file in parts:
        for figures in joined.values():
            for step in [step for step in figures if step >= first]:
                del figures[step]
        for column, figures in _read_metrics(file).items():
            joined.setdefault(column, {}).update(figures)
    series = {column: _series(figures) for column, figures in joined.items() if figures}
    return RunLog(folder.resolve().name, series, _read_settings(folder / RECIPE))


def _parts(folder: Path) -> list[tuple[int, Path]]:
    """The logs of a run and the steps that were done before each, in their order."""
    inner = [(int(found[1]), part) for part in folder.iterdir() if (found := _PART.fullmatch(part.name))]
    return [(first, part / METRICS) for first, part in sorted([(0, folder), *inner]) if (part / METRICS).is_file()]


def _series(figures: Mapping[int, float]) -> Series:
    steps = sorted(figures)
    return Series(np.array([step + 1.0 for step in steps]), np.array([figures[step] for step in steps], np.float64))


def _read_metrics(file: Path) -> dict[str, dict[int, float]]:
    """Step (from 0) -> value for each column of a log."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{file}: is not a log of `manypose train`: it is not text") from None
    whole = text[: text.rfind("\n") + 1]  # what follows the last line's end is still being written
    try:
        rows = list(csv.reader(whole.splitlines()))
    except csv.Error as error:
        raise DataError(f"{file}: is not a log of `manypose train`: {error}") from None
    if len(rows) < 2:
        raise DataError(f"{file}: is empty: the run has not logged anything yet (it does each `log_every` steps)")
    header = rows[0]
    if "step" not in header or len(set(header)) != len(header):
        raise DataError(f"{file}: is not a log of `manypose train`: line 1 names no column `step`, or one twice")
    figures: dict[str, dict[int, float]] = {column: {} for column in header if column not in ("step", "epoch")}
    for line, row in enumerate(rows[1:], start=2):
        _add_row(figures, header, row, f"{file}: line {line}")
    return figures


def _add_row(figures: dict[str, dict[int, float]], header: list[str], row: list[str], where: str) -> None:
    if len(row) != len(header):
        raise DataError(f"{where}: has {len(row)} values, but there are {len(header)} columns; mend or remove it")
    values = dict(zip(header, row, strict=True))
    step = _number(values.pop("step"), f"{where}: step")
    if step < 0 or not step.is_integer():
        raise DataError(f"{where}: step: {step:g} is not a number of steps")
    for column, figures_of_column in figures.items():
        if values[column]:
            figures_of_column[int(step)] = _number(values[column], f"{where}: {column}")


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{where}: {text[:_FIELD]!r} is not a number; mend or remove the line") from None


def _read_settings(file: Path) -> Mapping[str, Any]:
    """The recipe that a run was made by; none where it is not there, since its curves can be drawn without."""
    if not file.is_file():
        return {}
    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise DataError(f"{file}: cannot be read as a recipe: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise DataError(f"{file}: cannot be read as a recipe: it is no list of `key: value` lines")
    return settings
