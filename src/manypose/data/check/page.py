"""The report as one HTML page that needs nothing else: tables, and histograms as SVG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

from manypose.data.check.findings import KINDS, Report

MOST_SHOWN = 50  # findings of one kind on the page; check.json has all
_WIDTH, _HEIGHT, _FOOT = 460, 150, 34
_WIDEST = 60  # a bar
_COLOURS = ("#2a6f97", "#f4a259", "#d9d9d9")

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1000px; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 0.5em 0 1.5em; }
th, td { padding: 0.15em 0.8em 0.15em 0; text-align: left; border-bottom: 1px solid #8884; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
th { vertical-align: bottom; }
h1 small { font-size: 0.6em; font-weight: 400; color: #777; }
.charts { display: flex; flex-wrap: wrap; gap: 1em 1.5em; }
.key { display: inline-block; width: 0.7em; height: 0.7em; margin-right: 0.4em; }
figure { margin: 0; } figcaption { font-weight: 600; }
svg text { font: 10px system-ui, sans-serif; fill: currentColor; }
.error { color: #c1121f; } .warning { color: #b3700a; } .note { color: #777; }
li { overflow-wrap: anywhere; }
"""


def make_page(report: Report) -> str:
    """The page's HTML; all texts of the files are escaped."""
    errors = len(report.errors)
    levels = Counter(finding.level for finding in report.findings)
    verdict = f"<span class=error>{errors} errors</span>" if errors else "no errors"
    rest = f" <small>{levels['warning']} warnings, {levels['note']} notes</small>"
    charts = "".join(_chart(title, data) for title, data in report.histograms.items())
    parts = [
        f"<h1>Data check: {verdict}{rest}</h1>",
        _counts(report.counts),
        _kinds(report),
        f"<h2>Histograms</h2><div class=charts>{charts}</div>",
        *(_joints(file, counts["joint_flags"]) for file, counts in report.counts.items() if counts["joint_flags"]),
        _sides(report.counts),
        _findings(report),
    ]
    title = escape(", ".join(str(file) for file in report.files))
    head = f"<meta charset=utf-8><meta name=viewport content='width=device-width'><title>{title}</title>"
    return (
        f"<!doctype html><html lang=en><head>{head}<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table whose numbers stand at the right, below their headers."""
    numbers = [bool(rows) and all(isinstance(row[i], (int, float)) for row in rows) for i in range(len(header))]

    def row(cells: Sequence[Any], tag: str) -> str:
        classes = (" class=n" if number else "" for number in numbers)
        made = (f"<{tag}{name}>{escape(str(cell))}</{tag}>" for cell, name in zip(cells, classes, strict=True))
        return f"<tr>{''.join(made)}</tr>"

    return f"<table>{row(header, 'th')}{''.join(row(cells, 'td') for cells in rows)}</table>"


def _counts(counts: dict[str, dict[str, Any]]) -> str:
    keys = [key for key, value in next(iter(counts.values()), {}).items() if not isinstance(value, dict)]
    rows = [(file, *(own[key] for key in keys)) for file, own in counts.items()]
    return "<h2>Counts</h2>" + _table(("file", *(key.replace("_", " ") for key in keys)), rows)


def _kinds(report: Report) -> str:
    rows = "".join(
        f"<tr><td class={KINDS[kind][0]}>{KINDS[kind][0]}</td><td>{kind}</td><td class=n>{count}</td>"
        f"<td>{escape(KINDS[kind][1])}</td></tr>"
        for kind, count in report.by_kind().items()
    )
    return f"<h2>Findings</h2><table>{rows}</table>" if rows else "<h2>Findings</h2><p>None.</p>"


def _chart(title: str, data: dict[str, Any]) -> str:
    counts, between = data["counts"], "edges" in data
    names = [f"{value:g}" for value in data["edges" if between else "values"]]
    used = [i for i, count in enumerate(counts) if count]
    if between and used:  # without the empty bins at both ends
        counts, names = counts[used[0] : used[-1] + 1], names[used[0] : used[-1] + 2]
    return f"<figure><figcaption>{escape(title)}</figcaption>{_bars(names, counts, between=between)}</figure>"


def _bars(names: Sequence[str], counts: Sequence[int], *, between: bool) -> str:
    """Bars with names below them, or, of bins, with their edges below the gaps."""
    most = max(counts, default=0) or 1
    step = min(_WIDTH / max(len(counts), 1), _WIDEST)
    ground = _HEIGHT + 12
    drawn = [f"<path d='M0 {ground}h{step * len(counts):.1f}' stroke='currentColor' stroke-width=0.5 />"]
    for i, count in enumerate(counts):
        height = _HEIGHT * count / most
        left, top = i * step + 1, _HEIGHT - height + 12
        drawn.append(
            f"<rect x={left:.1f} y={top:.1f} width={max(step - 2, 0.5):.1f} height={height:.1f} fill='{_COLOURS[0]}'>"
            f"<title>{count}</title></rect>"
        )
        if count and step > 22:
            drawn.append(f"<text x={left + step / 2 - 1:.1f} y={top - 2:.1f} text-anchor=middle>{count}</text>")
    every = max(1, round(26 / step))
    for i, name in list(enumerate(names))[::every]:
        middle = i * step + (0 if between else step / 2)
        drawn.append(f"<text x={middle:.1f} y={_HEIGHT + 26} text-anchor=middle>{escape(name)}</text>")
    box = f"-14 0 {_WIDTH + 28} {_HEIGHT + _FOOT}"
    return f"<svg viewBox='{box}' width={_WIDTH} height={_HEIGHT + _FOOT}>{''.join(drawn)}</svg>"


def _joints(file: str, flags: dict[str, dict[str, int]]) -> str:
    """For each joint one bar: visible, hidden, absent."""
    rows = []
    for joint, counts in flags.items():
        total = sum(counts.values()) or 1
        left, drawn = 0.0, []
        for colour, (kind, count) in zip(_COLOURS, counts.items(), strict=True):
            width = 400 * count / total
            drawn.append(
                f"<rect x={left:.1f} y=0 width={width:.1f} height=12 fill='{colour}'>"
                f"<title>{kind} {count}</title></rect>"
            )
            left += width
        numbers = "".join(f"<td class=n>{count}</td>" for count in counts.values())
        rows.append(
            f"<tr><td>{escape(joint)}</td><td><svg width=400 height=12>{''.join(drawn)}</svg></td>{numbers}</tr>"
        )
    keys = zip(_COLOURS, ("visible", "hidden", "absent"), strict=True)
    named = "".join(f"<th class=n><span class=key style='background:{c}'></span>{name}</th>" for c, name in keys)
    header = f"<tr><th>joint</th><th></th>{named}</tr>"
    return f"<h2>Joints of {escape(file)}</h2><table>{header}{''.join(rows)}</table>"


def _sides(counts: dict[str, dict[str, Any]]) -> str:
    rows = [
        (file, rule, sides["judged"], sides["suspected"])
        for file, own in counts.items()
        for rule, sides in own["sides"].items()
    ]
    if not rows:
        return ""
    return "<h2>Left and right</h2>" + _table(("file", "rule", "people judged", "suspected"), rows)


def _findings(report: Report) -> str:
    parts = []
    for kind, count in report.by_kind().items():
        shown = [finding for finding in report.findings if finding.kind == kind][:MOST_SHOWN]
        lines = "".join(f"<li>{escape(str(finding))}</li>" for finding in shown)
        more = f"<p>and {count - MOST_SHOWN} more, in check.json</p>" if count > MOST_SHOWN else ""
        parts.append(f"<h3 class={KINDS[kind][0]}>{kind} ({count})</h3><ul>{lines}</ul>{more}")
    return "".join(parts)
