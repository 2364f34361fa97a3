"""HTML pages of one file: elements by xml.etree, which escapes all texts and attributes: no name does harm."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

Child = Element | str | float | None


def element(tag: str, *children: Child, **attributes: str | float | None) -> Element:
    """An element with texts and elements in it; `class_` is the attribute class, `stroke_width` stroke-width.

    Children and attributes that are None are left out.
    """
    made = Element(tag, {_attribute(name): _text(value) for name, value in attributes.items() if value is not None})
    last: Element | None = None
    for child in children:
        if child is None:
            continue
        if isinstance(child, Element):
            made.append(child)
            last = child
        elif last is None:
            made.text = (made.text or "") + _text(child)
        else:
            last.tail = (last.tail or "") + _text(child)
    return made


def table(header: Iterable[Child], rows: Iterable[Iterable[Child]], *, numbers: Iterable[int] = ()) -> Element:
    """A table whose first column names the rows; the columns `numbers`, counted from 0, are set to the right.

    It stands in a box that scrolls where the screen is narrower.
    """
    right = frozenset(numbers)

    def cell(tag: str, n: int, child: Child, scope: str | None = None) -> Element:
        return element(tag, child, class_="n" if n in right else None, scope=scope)

    head = element("tr", *(cell("th", n, name, "col") for n, name in enumerate(header)))
    body = [
        element("tr", *(cell("td" if n else "th", n, child, None if n else "row") for n, child in enumerate(row)))
        for row in rows
    ]
    return element("div", element("table", element("thead", head), element("tbody", *body)), class_="scroll")


def make_page(title: str, *content: Element | None) -> bytes:
    """A whole page that needs nothing from outside, in UTF-8: it loads nothing and runs no script."""
    style = resources.files("manypose.evaluation").joinpath("report.css").read_text(encoding="utf-8")
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", **{"http-equiv": "Content-Security-Policy"}, content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", style),
    )
    page = element("html", head, element("body", *content), lang="en")
    text = "<!DOCTYPE html>\n" + ElementTree.tostring(page, encoding="unicode", method="html") + "\n"
    return text.encode("utf-8", "replace")  # a file's name may hold what is not Unicode


def _attribute(name: str) -> str:
    return name.rstrip("_").replace("_", "-") if name != "viewBox" else name


def _text(value: str | float) -> str:
    if isinstance(value, str):
        return "".join(c if c >= " " or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in value)
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
