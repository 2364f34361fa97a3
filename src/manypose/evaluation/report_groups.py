"""The parts of the report page that break figures down: by joint, size, visibility, crowding, and PCKh by joints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from manypose.evaluation import charts
from manypose.evaluation.html import Child, element, table
from manypose.evaluation.report_sections import interval, known, mapping, plain, section, share

_TITLES = {
    "joint": "By joint",
    "size": "By size of the person",
    "visibility": "Visible and hidden joints",
    "crowding": "By crowding",
}
_INTRODUCTIONS = {
    "joint": "Each labelled person is compared with the found one most like him. Localised are the joints within one "
    "unit of OKS of their place (2 sigma times the square root of the person's area), placed those found at all; the "
    "distance is the mean of these, in the same units. AP is that of an OKS in which this joint alone counts.",
    "size": "Found are the people with an OKS of 0.50 or more, by their area in pixels.",
    "crowding": "By the part of a person's box that somebody else's covers.",
}
# The figures that a group may have: the first one there is drawn as a bar.
_MAIN = ("found", "localised", "AP", "PCK", "")
_HEADERS = {
    "found": "found",
    "similarity": "mean OKS",
    "localised": "localised",
    "placed": "placed",
    "error": "distance",
    "PCK": "PCK at 0.2",
    "": "value",
}
_COUNTS = ("people", "joints", "labelled", "count", "pictures")
_MOST_OPEN = 40  # rows of a table that is not folded


def groups(figures: Mapping[str, Any]) -> list[Element]:
    """Figures of each joint, and of people by size, visibility and crowding, a part of the page for each kind."""
    by = {kind: entries for kind, entries in mapping(figures, "by").items() if isinstance(entries, Mapping) and entries}
    shares = mapping(mapping(figures, "pck"), "joints")
    if shares:
        joints = dict(by.get("joint") or {name: {} for name in shares})
        by = {**by, "joint": {name: {**_as_mapping(own), "PCK": shares.get(name)} for name, own in joints.items()}}
    made = []
    for kind, entries in sorted(by.items(), key=lambda item: (*_TITLES, item[0]).index(item[0])):
        words = _INTRODUCTIONS.get(kind) if any("localised" in _as_mapping(own) for own in entries.values()) else None
        title = _TITLES.get(kind, f"By {plain(kind)}")
        introduction = element("p", words, class_="soft") if words else None
        made.append(section(f"by-{kind}", title, introduction, _group_table(entries)))
    return made


def head_shares(figures: Mapping[str, Any]) -> Element | None:
    """PCKh of the groups of joints at each threshold, in percent as published."""
    pckh = {n: row for n, row in mapping(figures, "pckh").items() if isinstance(row, Mapping) and row.get("groups")}
    if not pckh:
        return None
    names = list(dict.fromkeys(name for row in pckh.values() for name in row["groups"]))
    meanings = mapping(mapping(figures, "pckh"), "rows")
    rows: list[list[Child]] = []
    for name, row in pckh.items():
        low, high = known(row.get("Mean_low")), known(row.get("Mean_high"))
        limits = "" if low is None or high is None else f"{low:.2f} to {high:.2f}"
        mean = element("b", _percent(row.get("Mean")))
        rows.append([name, *(_percent(row["groups"].get(group)) for group in names), mean, limits])
    body = table(("", *names, "Mean", "95 % interval"), rows, numbers=range(1, len(names) + 3))
    notes = [element("p", f"{name}: {meaning}", class_="soft") for name, meaning in meanings.items() if name in pckh]
    words = "Labelled joints found within a part of the size of the head, in percent."
    return section("pckh", "PCKh", element("p", words, class_="soft"), body, *notes)


def _group_table(entries: Mapping[str, Any]) -> Element:
    """A row for each group: the main figure as a bar with its interval, the others as numbers."""
    rows_of = {name: _as_mapping(own) for name, own in entries.items()}
    keys = list(dict.fromkeys(key for own in rows_of.values() for key in own))
    main = next((key for key in _MAIN if key in keys), keys[0])
    others = [k for k in keys if k not in (main, *_COUNTS) and not k.endswith(("_low", "_high"))]
    counts = [key for key in _COUNTS if key in keys]
    rows: list[Sequence[Child]] = []
    for name, own in rows_of.items():
        value, low, high = (known(own.get(key)) for key in (main, f"{main}_low", f"{main}_high"))
        numbers = [share(own.get(key)) for key in others] + [str(own.get(key, "–")) for key in counts]
        drawn = charts.bar(value, low=low, high=high)
        rows.append([plain(name).replace("^2", "²"), drawn, share(value), interval(own, main) or None, *numbers])
    header = ["", "", _HEADERS.get(main, plain(main)), "95 % interval"]
    header += [_HEADERS.get(key, plain(key)) for key in others] + counts
    if not any(row[3] for row in rows):
        header, rows = header[:3] + header[4:], [[*row[:3], *row[4:]] for row in rows]
    body = element(
        "div", table(header, rows, numbers=range(2, len(header))), class_="grouped" if len(header) > 4 else None
    )
    if len(rows) <= _MOST_OPEN:
        return body
    return element("details", element("summary", f"{len(rows)} rows"), body)


def _as_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {"": value}


def _percent(value: Any) -> str:
    number = known(value)
    return "–" if number is None else f"{number:.2f}"
