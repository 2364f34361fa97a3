"""Draws what training runs have logged, several side by side: losses, AP and learning rates over the steps."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from manypose.errors import DataError, OutputError, require
from manypose.files import new_file
from manypose.training.published_curves import PublishedCurve, published_curve
from manypose.training.run_log import Figures, RunLog, Series, read_run_log

SIZE = (1600, 900)
# Okabe and Ito's colours, which the colour-blind tell apart; their yellow is too light for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("solid", "dashdot", "dotted")
_PUBLISHED = (("#444444", (0, (5, 2.5))), ("#888888", (0, (2, 1.2))))  # of the first, of the second
_POINTS = 30  # of a curve that is shown as it is; a longer one is smoothed over so many parts
_LONGEST_NAME = 48
_RAW = {"alpha": 0.25, "linewidth": 0.9, "zorder": 2}
_LOOK = {
    "font.size": 12,
    "axes.titlesize": 14,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "legend.frameon": False,
    "legend.fontsize": 11.5,
    "lines.linewidth": 2.0,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.12,
    "figure.constrained_layout.h_pad": 0.1,
}


@dataclass(frozen=True)
class Look:
    """How curves are drawn: the part that smoothing keeps of what was (None: by their length), and the axes."""

    smoothing: float | None = None
    log: bool = False
    size: tuple[int, int] = SIZE


@dataclass(frozen=True)
class _Run:
    """A run, and how it is told from the others."""

    name: str
    log: RunLog
    colour: str
    style: str


def draw_curves(
    folders: Sequence[Path], file: Path, *, metrics: Sequence[str] = (), look: Look = Look(), overwrite: bool = False
) -> list[PublishedCurve]:
    """Draw the curves of one or several runs to a PNG file; gives the published curves that were drawn beside them.

    There is a panel each for the loss, its stages where there are several, AP and the learning rate, or one for each of
    the columns of metrics.csv that `metrics` names. A smoothed line lies over the values themselves. Where a run is by
    the recipe of a product that published its losses, these are drawn dashed. Raises `DataError` for a folder that is
    not a run's and for a figure that none has, `OutputError` for the file, and `MissingExtraError` without matplotlib.
    """
    if file.suffix.lower() != ".png":
        raise OutputError(f"{file}: curves are drawn as PNG; give a name that ends in .png")
    runs = _tell_apart([read_run_log(folder) for folder in folders])
    with picture(file, look.size, overwrite=overwrite) as figure:
        published = _published(runs)
        panels = _chosen_panels(runs, metrics) if metrics else _panels(runs)
        axes = _grid(figure, len(panels))
        _limit_steps(axes, runs, published)
        for place, draw in zip(axes, panels, strict=True):
            draw(place, look, published)
        figure.legend(*_legend(runs, published), loc="outside upper left", ncols=min(4, len(runs)), borderaxespad=0.2)
    return published


@contextlib.contextmanager
def picture(file: Path, size: tuple[int, int], *, overwrite: bool = False) -> Iterator[Any]:
    """An empty figure of matplotlib that is written to a PNG of `size` (w, h) in pixels at the end.

    It needs no display and leaves the settings of matplotlib as they are. Raises `MissingExtraError`, `OutputError`.
    """
    require("matplotlib", extra="plot")
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = size
    dots = max(40.0, 100 * min(width / SIZE[0], height / SIZE[1]))  # letters grow with the picture
    with style.context(["default", _LOOK]), new_file(file, overwrite=overwrite) as temporary:
        # The rest of a pixel is cut off when it is drawn, and must not cost a whole one.
        figure = Figure(figsize=((width + 0.1) / dots, (height + 0.1) / dots), dpi=dots, facecolor="white")
        FigureCanvasAgg(figure)
        yield figure
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"Glyph .* missing from")  # of the name of a folder
            figure.savefig(temporary, format="png", dpi=dots, metadata={"Software": "manypose"})


def smooth(values: Figures, weight: float | None = None) -> Figures:
    """Values (n,) as a running mean that keeps the part `weight` (0 to below 1) of what was; None: by their number.

    The mean begins with the first value, as TensorBoard's does. NaN is passed over.
    """
    if weight is None:
        weight = 1 - 1 / max(1.0, len(values) / _POINTS)
    total = norm = 0.0
    smoothed = np.empty(len(values))
    for n, value in enumerate(values):
        if np.isfinite(value):
            total, norm = weight * total + (1 - weight) * value, weight * norm + 1 - weight
        smoothed[n] = total / norm if norm else np.nan
    return smoothed


Panel = Callable[[Any, Look, Sequence[PublishedCurve]], None]


def _panels(runs: Sequence[_Run]) -> list[Panel]:
    def has(column: str) -> bool:
        return any(column in run.log.figures for run in runs)

    panels: list[Panel] = [lambda axes, look, published: _draw_loss(axes, runs, look, published)]
    if any(len(run.log.stages) > 1 for run in runs):
        panels.append(lambda axes, look, published: _draw_stages(axes, runs, look, published))
    if has("val_metric"):
        panels.append(lambda axes, *_: _draw_metric(axes, runs))
    if any(run.log.rates for run in runs):
        panels.append(lambda axes, look, _: _draw_rates(axes, runs, look))
    return panels


def _chosen_panels(runs: Sequence[_Run], metrics: Sequence[str]) -> list[Panel]:
    known = list(dict.fromkeys(column for run in runs for column in run.log.figures))
    for column in metrics:
        if column not in known:
            raise DataError(f"no run has a figure {column!r}; there are {', '.join(known)}")

    def draw(column: str) -> Panel:
        def panel(axes: Any, look: Look, published: Sequence[PublishedCurve]) -> None:
            axes.set_title(_plain(column))
            for run in runs:
                if column in run.log.figures:
                    _draw_line(axes, run.log.figures[column], look, color=run.colour, linestyle=run.style)
            _draw_published(axes, column, published)
            _scale(axes, look)

        return panel

    return [draw(column) for column in metrics]


def _draw_loss(axes: Any, runs: Sequence[_Run], look: Look, published: Sequence[PublishedCurve]) -> None:
    validated = any("val_loss" in run.log.figures for run in runs)
    axes.set_title("Loss (faint: as logged, circles: validation)" if validated else "Loss (faint: as logged)")
    for run in runs:
        if "loss" in run.log.figures:
            _draw_line(axes, run.log.figures["loss"], look, color=run.colour, linestyle=run.style)
        if "val_loss" in run.log.figures:
            _draw_marked(axes, run.log.figures["val_loss"], color=run.colour, fill="none")
    _draw_published(axes, "loss", published)
    _scale(axes, look)


def _draw_stages(axes: Any, runs: Sequence[_Run], look: Look, published: Sequence[PublishedCurve]) -> None:
    """All stages of one run, told apart by colour; of several runs, which have the colours, the last stage."""
    from matplotlib import colormaps

    branches = list(dict.fromkeys(_branch(column)[0] for run in runs for column in run.log.stages))
    styles = dict(zip(branches, ("solid", "dotted", "dashdot", "solid"), strict=False))
    handles = [_sample(color="#333333", linestyle=styles.get(branch, "solid")) for branch in branches]
    names = list(branches)
    if len(runs) > 1:
        axes.set_title("Loss of the last stage")
        for run in runs:
            for column in _last_stages(run.log.stages):
                style = styles.get(_branch(column)[0], "solid")
                _draw_line(axes, run.log.figures[column], look, color=run.colour, linestyle=style)
        for column in dict.fromkeys(column for run in runs for column in _last_stages(run.log.stages)):
            _draw_published(axes, column, published)
    else:
        axes.set_title(f"Loss of each stage{' (dashed: published)' if published else ''}")
        (run,) = runs
        stages = sorted({_branch(column)[1] for column in run.log.stages})
        colours = dict(zip(stages, colormaps["viridis"](np.linspace(0, 0.85, len(stages))), strict=True))
        for column in run.log.stages:
            branch, stage = _branch(column)
            style = styles.get(branch, "solid")
            _draw_line(axes, run.log.figures[column], look, faint=False, color=colours[stage], linestyle=style)
            _draw_published(axes, column, published, color=colours[stage])
        if len(stages) > 1:
            handles += [_sample(color=colours[stage]) for stage in stages]
            names += [f"stage {stage}" for stage in stages]
    _scale(axes, look)
    axes.legend(handles, [_plain(name) for name in names], ncols=2, loc="upper right", fontsize=10.5)


def _draw_metric(axes: Any, runs: Sequence[_Run]) -> None:
    axes.set_title("AP on the validation pictures (star: the best)")
    highest = 0.0
    for run in runs:
        series = run.log.figures.get("val_metric")
        if series is None or not np.isfinite(series.values).any():
            continue
        _draw_marked(axes, series, color=run.colour, linestyle=run.style)
        best = int(np.nanargmax(series.values))
        place = (series.steps[best], series.values[best])
        highest = max(highest, float(place[1]))
        axes.plot(*place, marker="*", markersize=13, color=run.colour, zorder=5)
        axes.annotate(
            f"{place[1]:.3f}", place, (0, 9), textcoords="offset points", ha="center", color=run.colour, fontsize=11.5
        )
    axes.set_ylim(0, 1.18 * highest or 1.0)


def _draw_rates(axes: Any, runs: Sequence[_Run], look: Look) -> None:
    from matplotlib.ticker import FuncFormatter

    several = False
    for n, run in enumerate(runs):
        width = 1.5 + 2.5 * (len(runs) - 1 - n) / len(runs)  # one that lies behind another is seen beside it
        shown: list[Series] = []
        for column in run.log.rates:
            series = run.log.figures[column]
            if not any(np.array_equal(series.values, other.values) for other in shown):
                axes.plot(series.steps, series.values, color=run.colour, linestyle=run.style, linewidth=width)
                shown.append(series)
        several |= len(shown) > 1
    axes.set_title("Learning rate" + (" of each group of parameters" if several else ""))
    if look.log:
        _set_log(axes)
    else:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
        axes.set_ylim(bottom=0)


def _draw_line(axes: Any, series: Series, look: Look, *, faint: bool = True, **how: Any) -> None:
    """The smoothed values over the faint ones, or these alone where smoothing changes nothing."""
    smoothed = smooth(series.values, look.smoothing)
    if faint and not np.array_equal(smoothed, series.values, equal_nan=True):
        axes.plot(series.steps, series.values, **how | _RAW)
    marker = {"marker": "."} if len(series) == 1 else {}
    axes.plot(series.steps, smoothed, zorder=3, gid="curve", **how, **marker)


def _draw_marked(axes: Any, series: Series, *, fill: str = "full", **how: Any) -> None:
    size = 5 if len(series) <= _POINTS else 2
    axes.plot(
        series.steps, series.values, marker="o", markersize=size, fillstyle=fill, linewidth=1.2, gid="curve", **how
    )


def _draw_published(axes: Any, column: str, published: Sequence[PublishedCurve], *, color: Any = None) -> None:
    for curve, (grey, dashes) in zip(published, _PUBLISHED, strict=False):
        if column in curve.columns:
            how = {"color": grey if color is None else color, "linestyle": dashes, "linewidth": 1.8, "zorder": 4}
            axes.plot(curve.steps, curve.columns[column], gid="published", **how)


def _scale(axes: Any, look: Look) -> None:
    """A logarithmic axis, or a linear one that the steep fall of the first steps does not fill."""
    if look.log:
        _set_log(axes)
        return
    last = axes.get_xlim()[1]
    parts = [np.zeros(0)]
    for line in axes.lines:
        steps, values = (np.asarray(data, np.float64) for data in line.get_data())
        values, steps = values[np.isfinite(values)], steps[np.isfinite(values)]
        later = (steps >= last / 20) & (steps <= last)
        if line.get_gid() is not None:
            parts.append(values[later] if later.any() or line.get_gid() == "published" else values)
    known = np.concatenate(parts)
    if len(known):
        low, high = float(known.min()), float(known.max())
        room = 0.1 * (high - low) or 0.1 * abs(high) or 1.0
        axes.set_ylim(max(0.0, low - room) if low >= 0 else low - room, high + room)


def _set_log(axes: Any) -> None:
    from matplotlib.ticker import LogFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(LogFormatter())
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))


def _limit_steps(axes: Sequence[Any], runs: Sequence[_Run], published: Sequence[PublishedCurve]) -> None:
    """All panels show the steps of the runs, and of a published curve at least its first two points."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    last = max(float(series.steps[-1]) for run in runs for series in run.log.figures.values())
    last = max([last, *(curve.steps[1] for curve in published)])
    for place in axes:
        place.set_xlim(0, 1.02 * last)
        place.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
        place.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
        place.set_xlabel("steps")


def _grid(figure: Any, count: int) -> list[Any]:
    if count == 3:  # the first is the one that is looked at most
        return list(figure.subplot_mosaic([[0, 1], [0, 2]], width_ratios=(1.25, 1)).values())
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    return [figure.add_subplot(rows, columns, n + 1) for n in range(count)]


def _legend(runs: Sequence[_Run], published: Sequence[PublishedCurve]) -> tuple[list[Any], list[str]]:
    handles = [_sample(color=run.colour, linestyle=run.style, linewidth=3) for run in runs]
    styles = zip(published, _PUBLISHED, strict=False)
    handles += [_sample(color=grey, linestyle=dashes) for _, (grey, dashes) in styles]
    return handles, [_plain(run.name) for run in runs] + [_plain(curve.label) for curve in published]


def _sample(**how: Any) -> Any:
    """A line for a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], **how)


def _published(runs: Sequence[_Run]) -> list[PublishedCurve]:
    found = [published_curve(run.log.settings) for run in runs]
    return [curve for n, curve in enumerate(found) if curve is not None and curve not in found[:n]]


def _tell_apart(logs: Sequence[RunLog]) -> list[_Run]:
    names = [log.name for log in logs]
    return [
        _Run(
            log.name if names.count(log.name) == 1 else f"{log.name} ({names[: n + 1].count(log.name)})",
            log,
            COLOURS[n % len(COLOURS)],
            _STYLES[n // len(COLOURS) % len(_STYLES)],
        )
        for n, log in enumerate(logs)
    ]


def _branch(column: str) -> tuple[str, int]:
    """ "losses/heatmaps_3" -> ("heatmaps", 3); what has no stages is of stage 1."""
    name, _, stage = column.removeprefix("losses/").rpartition("_")
    return (name, int(stage)) if name and stage.isdecimal() else (column.removeprefix("losses/"), 1)


def _last_stages(columns: Sequence[str]) -> list[str]:
    """The column of the last stage of each branch."""
    last: dict[str, str] = {}
    for column in sorted(columns, key=_branch):
        last[_branch(column)[0]] = column
    return list(last.values())


def _plain(text: str) -> str:
    """A text that matplotlib takes as it is: no formulas, nothing that it hides or cannot print, not too long."""
    text = text if len(text) <= _LONGEST_NAME or "/" in text else f"{text[: _LONGEST_NAME - 1]}…"
    text = "".join(letter if letter.isprintable() else "?" for letter in text).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
