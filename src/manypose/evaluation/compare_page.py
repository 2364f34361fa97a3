"""A comparison as one HTML page that needs no network, and as a contact sheet."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from manypose.drawing.rows import row_sheet
from manypose.errors import DataError
from manypose.evaluation import charts, panels
from manypose.evaluation import report_sections as sections
from manypose.evaluation.compare import Comparison, Difference
from manypose.evaluation.html import Child, element, make_page, table
from manypose.evaluation.report import MOST_BYTES, Pictures, contents, describe_picture, draw_panels, picture_figure
from manypose.people import People

_LONG_SIDE, _WIDTH, _HEIGHT = 480, 1920, 300  # pixels of a picture, of a sheet, and of a row of it


def make_comparison_page(comparison: Comparison, *, pictures: Pictures, most: int = 12) -> bytes:
    """The page, in UTF-8: figures, and the `most` pictures that differ most as first run, second run and labels.

    `pictures` gives the RGB picture (H, W, 3) of an image id; one that it cannot open is named without being shown.
    """
    first, second = comparison.names
    parts = [_differences(comparison), _pictures(comparison, pictures, most)]
    manifests = zip(comparison.names, comparison.manifests, strict=True)
    parts += [sections.provenance(manifest, f"provenance-{n}", name) for n, (name, manifest) in enumerate(manifests)]
    shown = [part for part in parts if part is not None]
    words = f"{first} less {second}, on {len(comparison.truth.image_ids)} pictures of "
    head = element(
        "header",
        element("p", "manypose: comparison", class_="over"),
        element("h1", f"{first} and {second}"),
        element("p", words + sections.short_path(comparison.truth.name) + ".", class_="soft"),
        contents(shown),
    )
    return make_page(f"{first} and {second}", head, element("main", *shown))


def draw_comparison_sheet(comparison: Comparison, *, pictures: Pictures, most: int = 12) -> NDArray[np.uint8]:
    """A contact sheet of the `most` pictures that differ most: first run, second run, labels.

    Raises `DataError` when none differs, or what `pictures` raises for one that it cannot open.
    """
    drawn, captions = [], []
    for image_id, first, second in comparison.most_different(most):
        rgb = pictures(image_id)
        groups = _groups(comparison, image_id)
        drawn.append(panels.side_by_side([panels.panel(rgb, group, long_side=_LONG_SIDE) for group in groups]))
        captions.append(f"{describe_picture(comparison.truth, image_id)}: {first:.2f}, {second:.2f}, labels")
    if not drawn:
        raise DataError(f"{' and '.join(comparison.names)}: no picture differs, so there is nothing to draw")
    return row_sheet(drawn, captions=captions, width=_WIDTH, height=_HEIGHT)


def figure_name(name: str) -> str:
    """A figure's name in words."""
    return sections.NAMES.get(name, name)


def _differences(comparison: Comparison) -> Element:
    first, second = comparison.names
    most = max(max(abs(one.low), abs(one.high), abs(one.difference)) for one in comparison.differences)
    scale = next((limit for limit in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if np.nan_to_num(most) <= limit), 1.0)
    rows = [_difference_row(one, scale) for one in comparison.differences]
    header = ("figure", first, second, f"{-scale:g} to {scale:g}", "difference", "95 % interval")
    words = (
        "The interval is that of the difference: the same pictures are drawn again for both runs. Where it leaves out "
        "0 the difference is set in bold; the others may be chance."
    )
    body = table(header, rows, numbers=(1, 2, 4, 5))
    return sections.section(
        "figures", "Figures", element("p", words, class_="soft"), element("div", body, class_="compared")
    )


def _difference_row(one: Difference, scale: float) -> list[Child]:
    difference = element("span", f"{one.difference:+.3f}", class_="strong" if one.is_clear else None)
    known = np.isfinite([one.low, one.high]).all()
    drawn = charts.difference_bar(one.low, one.difference, one.high, most=scale) if known else None
    interval = f"{one.low:+.3f} to {one.high:+.3f}" if known else "–"
    return [figure_name(one.name), f"{one.first:.3f}", f"{one.second:.3f}", drawn, difference, interval]


def _pictures(comparison: Comparison, pictures: Pictures, most: int) -> Element | None:
    chosen = comparison.most_different(most)
    if not chosen or comparison.scores is None:
        return None
    figures, size = [], 0
    for image_id, first, second in chosen:
        data = draw_panels(_groups(comparison, image_id), image_id, pictures)
        size += sum(map(len, data))
        if size > MOST_BYTES:
            break
        titles = (f"{comparison.names[0]}: {first:.2f}", f"{comparison.names[1]}: {second:.2f}", "labelled")
        caption = f": {first - second:+.2f}"
        figures.append(picture_figure(describe_picture(comparison.truth, image_id), caption, titles, data))
    words = f"The pictures where the {comparison.scores[0].measure} of the labelled people differs most."
    grid = element("div", *figures, class_="pictures many")
    return sections.section("pictures", "Pictures", element("p", words, class_="soft"), grid)


def _groups(comparison: Comparison, image_id: Any) -> tuple[People, People, People]:
    first, second = (panels.best_people(people[image_id], None) for people in comparison.people)
    return first, second, panels.labelled_people(comparison.truth)[image_id]
