"""Charts as SVG for pages: curves over two axes from 0 to 1, bars with their intervals, parts of a whole.

Colours stand in report.css, so that they follow light and dark; every chart has a title that is read out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from manypose.evaluation.html import element

_WIDTH, _HEIGHT = 460, 330  # of curves, in units of which a page shows some 1.1 to a pixel
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 10, 10, 44
COLOURS = ("c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7")
_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Line:
    """A curve: its name, its points (x, y) and the class of its colour; with marks, a dot at every point."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str
    marks: bool = False


def curves(title: str, lines: Sequence[Line], *, across: str, up: str) -> Element:
    """Curves over two axes from 0 to 1; `across` and `up` are the names of the axes."""
    drawn = [element("title", title), *_axes(across, up)]
    for line in lines:
        points = [(x, y) for x, y in line.points if math.isfinite(x) and math.isfinite(y)]
        path = " ".join(f"{_across(x):.1f},{_up(y):.1f}" for x, y in points)
        drawn.append(element("polyline", element("title", line.name), points=path, class_=f"line {line.colour}"))
        drawn += [_dot(line, x, y) for x, y in points if line.marks]
    return element("svg", *drawn, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", class_="curves", role="img", aria_label=title)


def bar(share: float | None, *, low: float | None = None, high: float | None = None, colour: str = "c0") -> Element:
    """A bar as long as a share of 0 to 1 of its cell, and a line over it from `low` to `high`."""
    drawn = [element("rect", x=0, y=2, width="100%", height=10, class_="track", rx=2)]
    if share is not None:
        drawn.append(element("rect", x=0, y=2, width=_percent(share), height=10, class_=f"fill {colour}", rx=2))
    if low is not None and high is not None:
        drawn.append(element("line", x1=_percent(low), x2=_percent(high), y1=7, y2=7, class_="interval"))
        drawn += [
            element("line", x1=_percent(end), x2=_percent(end), y1=4, y2=10, class_="interval") for end in (low, high)
        ]
    return element("svg", *drawn, class_="bar", aria_hidden="true")


def difference_bar(low: float, value: float, high: float, *, most: float) -> Element:
    """A dot at a difference and a line over its interval, on an axis from -`most` to `most` with 0 in the middle."""

    def place(number: float) -> str:
        return _percent(0.5 + 0.5 * number / most)

    drawn = [
        element("line", x1="0%", x2="100%", y1=7, y2=7, class_="grid"),
        element("line", x1="50%", x2="50%", y1=0, y2=14, class_="axis"),
        element("line", x1=place(low), x2=place(high), y1=7, y2=7, class_="interval wide"),
        element("circle", cx=place(value), cy=7, r=4, class_="fill c0"),
    ]
    return element("svg", *drawn, class_="bar", aria_hidden="true")


def parts_bar(
    title: str, parts: Sequence[tuple[str, float]], colours: Sequence[str] = COLOURS, *, small: bool = False
) -> Element:
    """Parts of a whole side by side, each with its name as its tooltip; a legend is the caller's."""
    total = sum(value for _, value in parts) or 1.0
    height = 10 if small else 26
    drawn, left = [element("title", title)], 0.0
    for n, (name, value) in enumerate(parts):
        portion = value / total
        words = element("title", f"{name}: {100 * portion:.1f} %")
        kind = f"fill {colours[n % len(colours)]}"
        place, width = _percent(left), _percent(portion)
        drawn.append(element("rect", words, x=place, y=2 if small else 0, width=width, height=height, class_=kind))
        left += portion
    return element("svg", *drawn, class_="bar" if small else "parts", role="img", aria_label=title)


def swatch(colour: str) -> Element:
    """A small square in a colour, for legends."""
    drawn = element("rect", width=12, height=12, rx=2, class_=f"fill {colour}")
    return element("svg", drawn, class_="swatch", viewBox="0 0 12 12", aria_hidden="true")


def _axes(across: str, up: str) -> list[Element]:
    drawn = []
    for tick in _TICKS:
        x, y, name = _across(tick), _up(tick), f"{tick:.1f}"
        drawn += [
            element("line", x1=x, x2=x, y1=_up(0), y2=_up(1), class_="grid"),
            element("line", x1=_across(0), x2=_across(1), y1=y, y2=y, class_="grid"),
            element("text", name, x=x, y=_up(0) + 16, text_anchor="middle"),
            element("text", name, x=_LEFT - 7, y=y + 4, text_anchor="end"),
        ]
    middle = _up(0.5)
    return [
        *drawn,
        element("text", across, x=_across(0.5), y=_HEIGHT - 7, text_anchor="middle", class_="label"),
        element(
            "text", up, x=13, y=middle, text_anchor="middle", class_="label", transform=f"rotate(-90 13 {middle:.1f})"
        ),
    ]


def _dot(line: Line, x: float, y: float) -> Element:
    words = element("title", f"{line.name}: {x:.3f}, {y:.3f}")
    return element("circle", words, cx=_across(x), cy=_up(y), r=3.2, class_=f"fill {line.colour}")


def _across(value: float) -> float:
    return _LEFT + min(max(value, 0.0), 1.0) * (_WIDTH - _LEFT - _RIGHT)


def _up(value: float) -> float:
    return _HEIGHT - _BOTTOM - min(max(value, 0.0), 1.0) * (_HEIGHT - _TOP - _BOTTOM)


def _percent(share: float) -> str:
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%"
