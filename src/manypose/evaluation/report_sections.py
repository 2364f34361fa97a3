"""The parts of the report page; each takes figures by the names that `manypose eval` gives them.

A part whose figures are not there is None, and left out. Values that mean nothing (None, NaN, pycocotools' -1) show as
a dash.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any
from xml.etree.ElementTree import Element

from manypose.evaluation import charts
from manypose.evaluation.curves import Curves
from manypose.evaluation.html import Child, element, table

NAMES = {
    "AP": "Average precision (AP)",
    "AP50": "AP at OKS 0.50",
    "AP75": "AP at OKS 0.75",
    "APm": "AP of medium people",
    "APl": "AP of large people",
    "AR": "Average recall (AR)",
    "AR50": "AR at OKS 0.50",
    "AR75": "AR at OKS 0.75",
    "ARm": "AR of medium people",
    "ARl": "AR of large people",
    "AP_easy": "AP of easy pictures",
    "AP_medium": "AP of medium pictures",
    "AP_hard": "AP of hard pictures",
    "PCK": "PCK at 0.2 of the torso",
    "NME": "Mean error of faces (NME)",
    "NME_51": "NME without the jaw",
    "failures": "faces with an NME over 0.10",
}
_COUNTS = ("people", "labelled", "pictures", "results", "left_out", "faces", "missed")


def section(identity: str, title: str, *content: Element | None) -> Element:
    """A part of the page under its title, which links find by `identity`."""
    parts = [part for part in content if part is not None]
    heading = element("h2", title, id=f"{identity}-title")
    return element("section", heading, *parts, id=identity, aria_labelledby=f"{identity}-title")


def headline(figures: Mapping[str, Any]) -> Element | None:
    """The figures that one asks for first, large, with their intervals."""
    precision, pck = mapping(figures, "average_precision"), mapping(figures, "pck")
    chosen = [(precision, "AP", "AP"), (precision, "AP50", "AP at 0.50"), (precision, "AP75", "AP at 0.75")]
    chosen += [(precision, "AR", "AR"), (pck, "PCK", "PCK at 0.2"), (mapping(figures, "nme"), "NME", "NME")]
    cards = [_card(name, share(own[key]), interval(own, key)) for own, key, name in chosen if known(own.get(key))]
    for name, own in mapping(figures, "pckh").items():
        if name.startswith("PCKh") and known(mapping({"": own}, "").get("Mean")) is not None:
            cards.append(_card(name, f"{own['Mean']:.2f} %", ""))
    if figures.get("people_found") is not None:
        labelled = precision.get("people")
        cards.append(_card("people found", str(figures["people_found"]), f"{labelled} labelled" if labelled else ""))
    return element("div", *cards, class_="cards") if cards else None


def precision_recall(found: Curves | None) -> Element | None:
    """Precision over recall at each threshold of OKS, as COCO averages them."""
    if found is None:
        return None
    lines, rows = [], []
    for n, (threshold, curve) in enumerate(zip(found.thresholds, found.precision, strict=True)):
        reached = [(float(r), float(p)) for r, p in zip(found.recalls, curve, strict=True) if p > 0]
        colour = f"t{n * 10 // len(found.thresholds)}"
        lines.append(charts.Line(f"OKS {threshold:.2f}, AP {curve.mean():.3f}", reached, colour))
        name = element("span", charts.swatch(colour), f"{threshold:.2f}")
        rows.append((name, share(float(curve.mean())), share(float(found.highest[n]))))
    title = "Precision over recall, a curve for each threshold of object keypoint similarity"
    chart = charts.curves(title, lines, across="recall: share of the labelled people found", up="precision")
    legend = table(("OKS at least", "AP", "highest recall"), rows, numbers=(1, 2))
    words = (
        "A person counts as found when the object keypoint similarity (OKS) of his joints reaches the threshold. "
        "AP is the area under a curve; the AP of all is their mean."
    )
    return section(
        "curves",
        "Precision and recall",
        element("p", words, class_="soft"),
        element("div", chart, legend, class_="side"),
    )


def all_figures(figures: Mapping[str, Any]) -> Element | None:
    """Every figure of a set as a whole, with its interval."""
    rows = []
    for group in ("average_precision", "pck", "nme"):
        for key, value in mapping(figures, group).items():
            if _is_number(value) and not key.endswith(("_low", "_high")) and key not in _COUNTS:
                rows.append(_row(NAMES.get(key, key), mapping(figures, group), key))
    return section("figures", "Figures", _figure_table(rows)) if rows else None


def times(figures: Mapping[str, Any], pictures: int) -> Element | None:
    """Where the time went, by stage."""
    stages = {name: float(value) for name, value in mapping(figures, "times").items() if known(value) is not None}
    total = sum(stages.values())
    if not total:
        return None
    rows: list[Sequence[Child]] = []
    for n, (name, seconds) in enumerate(stages.items()):
        label = element("span", charts.swatch(charts.COLOURS[n % 8]), plain(name))
        rows.append((label, *_times(seconds, pictures, total)))
    rows.append(("together", *_times(total, pictures, total)))
    bar = charts.parts_bar("Time by stage", list(stages.items()))
    words = table(("stage", "seconds", "ms per picture", "share"), rows, numbers=(1, 2, 3))
    return section("speed", "Speed", bar, words)


def _times(seconds: float, pictures: int, total: float) -> tuple[str, str, str]:
    return f"{seconds:.2f}", f"{1000 * seconds / max(pictures, 1):.1f}", f"{100 * seconds / total:.0f} %"


def provenance(manifest: Mapping[str, Any], identity: str = "provenance", name: str | None = None) -> Element:
    """All of the manifest: what is needed to get these figures again; `name` says whose."""
    command = element("code", "manypose repro")
    words = element("p", "All that is needed to get these figures again; ", command, " replays it.", class_="soft")
    title = "Provenance" if name is None else f"Provenance of {name}"
    return section(identity, title, words, _definitions(manifest))


def rest(identity: str, title: str, data: Any) -> Element | None:
    """Figures of any other shape as tables: numbers in rows, mappings of mappings in columns."""
    if not isinstance(data, Mapping) or not data:
        return None
    return section(identity, title, *_tables(data))


def plain(name: Any) -> str:
    """A name of a key as words."""
    return str(name).replace("_", " ")


def share(value: Any) -> str:
    """A figure of 0 to 1 with three decimals, or a dash."""
    number = known(value)
    return "–" if number is None else f"{number:.3f}"


def known(value: Any) -> float | None:
    """The number, or None where it is none, not finite, or pycocotools' -1 for nothing to measure."""
    if not _is_number(value) or not math.isfinite(value) or value < 0:
        return None
    return float(value)


def interval(figures: Mapping[str, Any], key: str) -> str:
    """The text "0.410 to 0.470", the 95 % interval of a figure; empty where there is none."""
    low, high = known(figures.get(f"{key}_low")), known(figures.get(f"{key}_high"))
    return "" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def mapping(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """An inner mapping of figures; an empty one where there is none."""
    value = data.get(key)
    return value if isinstance(value, Mapping) else {}


def short_path(path: Any) -> str:
    """The last two parts of a path of either kind of system, since many sets have a val.json."""
    parts = PurePath(str(path).replace("\\", "/")).parts
    return "/".join(part for part in parts[-2:] if part != "/") or str(path)


def _card(name: str, value: str, more: str) -> Element:
    return element(
        "div",
        element("div", name, class_="name"),
        element("div", value, class_="value"),
        element("div", more, class_="more") if more else None,
        class_="card",
    )


def _row(name: Child, figures: Mapping[str, Any], key: str) -> tuple[Child, ...]:
    value, low, high = (known(figures.get(k)) for k in (key, f"{key}_low", f"{key}_high"))
    return name, charts.bar(value, low=low, high=high), share(value), interval(figures, key)


def _figure_table(rows: Sequence[Sequence[Child]]) -> Element:
    """Rows of name, bar, value and interval."""
    header = ["figure", "", "value", "95 % interval"]
    if not any(row[3] for row in rows):
        header, rows = header[:3], [row[:3] for row in rows]
    return table(header, rows, numbers=range(2, len(header)))


def _tables(data: Mapping[str, Any]) -> Iterator[Element]:
    """Numbers in rows; mappings of one kind as the rows of one table, without the ends of intervals."""
    numbers = [(plain(key), _number(value)) for key, value in data.items() if not isinstance(value, (Mapping, list))]
    if numbers:
        yield table(("figure", "value"), numbers, numbers=(1,))
    inner = {key: value for key, value in data.items() if isinstance(value, Mapping) and value}
    if inner and not any(isinstance(one, Mapping) for value in inner.values() for one in value.values()):
        columns = list(dict.fromkeys(name for value in inner.values() for name in value))
        columns = [name for name in columns if not str(name).endswith(("_low", "_high"))]
        rows = [(plain(name), *(_number(value.get(column)) for column in columns)) for name, value in inner.items()]
        yield table(("", *map(plain, columns)), rows, numbers=range(1, len(columns) + 1))
        return
    for key, value in inner.items():
        yield element("h3", plain(key))
        yield from _tables(value)


def _definitions(data: Mapping[str, Any]) -> Element:
    """Nested mappings as one list of definitions, the inner names joined by dots."""
    items: list[Element] = []
    for name, value in _flattened(data, ""):
        long = isinstance(value, str) and len(value) > 40
        items += [element("dt", name), element("dd", _number(value), class_="code" if long else None)]
    return element("dl", *items)


def _flattened(data: Mapping[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from _flattened(value, f"{before}{plain(key)} · ")
        else:
            yield before + plain(key), value


def _number(value: Any) -> str:
    if value is None or value == {} or value == []:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(_number, value)) if isinstance(value, (list, tuple)) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
