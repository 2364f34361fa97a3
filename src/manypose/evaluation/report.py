"""The report of an evaluation: one HTML page that needs no network and can be sent to anybody."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from manypose.errors import ManyposeError
from manypose.evaluation import panels, report_errors, report_groups
from manypose.evaluation import report_sections as sections
from manypose.evaluation.by_picture import score_pictures
from manypose.evaluation.curves import precision_curves
from manypose.evaluation.html import element, make_page
from manypose.evaluation.results_file import ResultTable, tabulate
from manypose.evaluation.run_folder import REPORT, Run
from manypose.evaluation.truth import Truth
from manypose.files import write_bytes
from manypose.people import People

Pictures = Callable[[Any], NDArray[np.uint8]]

LONG_SIDE = 560  # pixels of a picture on the page
MOST_BYTES = 12_000_000  # of all pictures on a page


def write_report(
    folder: Path, run: Run, truth: Truth, *, pictures: Pictures, worst: int = 12, overwrite: bool = False
) -> Path:
    """Write `report.html` into the folder of a run, and give its path.

    `pictures` gives the RGB picture (H, W, 3) of an image id; the `worst` ones are shown with the labelled people
    beside those that were found. A picture that it cannot open (`DataError`, `ImageError`) is named without being
    shown. Parts of `run.figures` that are not there are left out of the page. Curves of precision over recall are made
    from the results and the truth, where it has sigmas.

    Raises `OutputError` when the report is there and may not be overwritten, or cannot be written, `FormatError` for
    results that do not have the joints of the truth.
    """
    file = folder / REPORT
    write_bytes(file, make_report(run, truth, pictures=pictures, worst=worst), overwrite=overwrite)
    return file


def make_report(run: Run, truth: Truth, *, pictures: Pictures, worst: int = 12) -> bytes:
    """The page of `write_report`, in UTF-8."""
    table = tabulate(run.results, truth)
    figures = run.figures
    has_precision = bool(figures.get("average_precision")) and truth.sigmas is not None and truth.has_people
    curves = precision_curves(truth, table) if has_precision else None
    known = {"average_precision", "pck", "pckh", "nme", "by", "error_types", "calibration", "people_found", "times"}
    others = {name: own for name, own in figures.items() if name not in known}
    parts = [
        sections.all_figures(figures),
        sections.precision_recall(curves),
        report_groups.head_shares(figures),
        *report_groups.groups(figures),
        report_errors.error_types(figures.get("error_types")),
        report_errors.calibration(figures.get("calibration")),
        *(sections.rest(f"more-{name}", sections.plain(name), own) for name, own in others.items()),
        _worst_pictures(truth, table, curves.best_score if curves else None, pictures, worst),
        sections.times(figures, len(truth.image_ids)),
        sections.provenance(run.manifest),
    ]
    shown = [part for part in parts if part is not None]
    title = _title(run, truth)
    head = element(
        "header",
        element("p", "manypose: evaluation", class_="over"),
        element("h1", title),
        element("p", _summary(run, truth), class_="soft"),
        sections.headline(figures),
        contents(shown),
    )
    return make_page(title, head, element("main", *shown))


def contents(parts: Sequence[Element]) -> Element:
    """Links to the parts of a page."""
    links = [element("a", "".join(part[0].itertext()), href=f"#{part.get('id')}") for part in parts]
    return element("nav", *links, aria_label="Contents")


def describe_picture(truth: Truth, image_id: Any) -> str:
    """What a picture is called: its file's name where the truth has one."""
    row = next((row for row in truth.images if row["id"] == image_id), {})
    return str(row.get("file_name", image_id))


def _title(run: Run, truth: Truth) -> str:
    model = run.manifest.get("model")
    name = model.get("name") if isinstance(model, Mapping) else model
    return f"{name or 'results'} on {sections.short_path(truth.name)}"


def _summary(run: Run, truth: Truth) -> str:
    labelled = sum(map(len, panels.labelled_people(truth).values()))
    return (
        f"{len(truth.image_ids)} pictures with {labelled} labelled people; {len(run.results)} were found. Intervals "
        "hold 95 % of what other draws of as many pictures would give: two models within each other's may be equal."
    )


def _worst_pictures(
    truth: Truth, table: ResultTable, threshold: float | None, pictures: Pictures, most: int
) -> Element | None:
    """The pictures whose people were found worst, with what is labelled beside what was found."""
    labelled, found = panels.labelled_people(truth), panels.found_people(truth, table)
    scores = score_pictures(truth, table, found) if truth.has_people and most else None
    if scores is None:
        return None
    order = sorted(scores.values, key=lambda image_id: (scores.values[image_id], -_extent(labelled[image_id])))
    figures, size = [], 0
    for image_id in order[:most]:
        groups = (labelled[image_id], panels.best_people(found[image_id], threshold))
        data = draw_panels(groups, image_id, pictures)
        size += sum(map(len, data))
        if size > MOST_BYTES:
            break
        caption = f": {scores.measure} {scores.values[image_id]:.2f}, {len(labelled[image_id])} labelled"
        figures.append(picture_figure(describe_picture(truth, image_id), caption, ("labelled", "found"), data))
    words = (
        f"The pictures with the lowest {scores.measure} of their labelled people, who stand on the left; on the right "
        "who was found"
    )
    if threshold is not None:
        words += f" with a score of {threshold:.2f} or more, which gives the best F1 at OKS 0.50"
    grid = element("div", *figures, class_="pictures")
    return sections.section("worst", "Worst pictures", element("p", words + ".", class_="soft"), grid)


def picture_figure(name: str, caption: str, titles: Sequence[str], data: Sequence[str]) -> Element:
    """Panels of one picture side by side with their titles and a caption; without data only the caption."""
    images = [
        element("div", element("span", title), element("img", src=source, alt=f"{name}: {title}", loading="lazy"))
        for title, source in zip(titles, data, strict=False)
    ]
    row = element("div", *images, class_="panels") if images else None
    absent = "" if images else "; the picture cannot be opened"
    return element("figure", row, element("figcaption", element("b", name), caption + absent))


def draw_panels(groups: Sequence[People], image_id: Any, pictures: Pictures) -> list[str]:
    """Each group of people drawn on the picture, as addresses of data; none when it cannot be opened."""
    try:
        rgb = pictures(image_id)
    except ManyposeError:
        return []
    return [panels.as_data(panels.panel(rgb, group, long_side=LONG_SIDE)) for group in groups]


def _extent(people: People) -> float:
    """The area of the largest box around labelled joints."""
    sizes = people.boxes[:, 2:] - people.boxes[:, :2]
    return float(np.nan_to_num(sizes.prod(axis=1)).max(initial=0.0))
