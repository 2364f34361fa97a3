"""The report page: one file that needs nothing else, harmless whatever files are called, with what there is to say."""

from __future__ import annotations

import dataclasses
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pictured_runs import found_rows, make_run, write_pictures

from manypose.errors import DataError, OutputError
from manypose.evaluation.breakdown import breakdown
from manypose.evaluation.calibration import calibration_figures
from manypose.evaluation.error_types import analyse_errors
from manypose.evaluation.report import make_report, write_report
from manypose.evaluation.truth import Truth

EVIL = "</style><script>alert('1')</script><img src=x onerror=alert(2)>"


class Page(HTMLParser):
    """What is in a page: its titles, its elements with their attributes, and whether all that opens is closed."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.titles: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(content.decode("utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)
        if "style" not in self.open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def truth(tmp_path: Path) -> Truth:
    return write_pictures(tmp_path / "set")


def page_of(truth: Truth, rows: list[dict[str, Any]], figures: dict[str, Any] | None = None, **more: Any) -> Page:
    return Page(make_report(make_run(truth, rows, figures=figures), truth, pictures=truth.read_picture, **more))


def test_all_that_was_measured_has_its_part(truth: Truth) -> None:
    rows = found_rows(truth, noise=4, skip=2)
    run = make_run(truth, rows)
    extra = {
        "by": breakdown(truth, rows, resamples=5),
        "error_types": analyse_errors(truth, rows),
        "calibration": calibration_figures(truth, rows, resamples=5),
        "times": {"network": 1.5, "decode": 0.5},
    }
    page = page_of(truth, rows, {**run.figures, **extra})
    assert page.titles == [
        "Figures",
        "Precision and recall",
        "By joint",
        "By size of the person",
        "Visible and hidden joints",
        "By crowding",
        "Kinds of errors",
        "Calibration",
        "Worst pictures",
        "Speed",
        "Provenance",
    ]
    assert not page.open
    assert f"{run.figures['average_precision']['AP']:.3f}" in page.text
    assert "decode0.5083.325 %" in page.text  # seconds, milliseconds for each of 6 pictures, share
    assert "0" * 64 in page.text  # the hash of the model


def test_parts_without_figures_are_left_out(truth: Truth) -> None:
    page = page_of(truth, found_rows(truth), {"people_found": 12})
    assert page.titles == ["Worst pictures", "Provenance"]
    unlabelled = dataclasses.replace(truth, annotations=())
    assert page_of(unlabelled, [], {}).titles == ["Provenance"]


def test_figures_that_mean_nothing_are_dashes(truth: Truth) -> None:
    figures = {"average_precision": {"AP": 0.5, "AP_low": None, "AP_high": None, "APm": -1.0, "APl": None}}
    page = page_of(truth, found_rows(truth), figures)
    assert "AP of medium people–" in page.text
    assert not re.search(r"None|\bnan\b", page.text)


def test_figures_of_other_kinds_are_shown_too(truth: Truth) -> None:
    pckh = {"PCKh@0.5": {"Mean": 88.25, "Mean_low": 87.0, "Mean_high": 89.0, "groups": {"Head": 97.1}}, "people": 4}
    whole = {"face": {"AP": 0.25, "AR": 0.5}, "foot": {"AP": 0.125}}
    page = page_of(truth, [], {"pckh": pckh, "whole_body": whole, "nme": {"NME": 0.0421, "faces": 7}})
    assert {"PCKh", "whole body"} <= set(page.titles)
    assert "88.25 %" in page.text
    assert "87.00 to 89.00" in page.text
    assert "face0.250.5" in page.text
    assert "Mean error of faces (NME)0.042" in page.text


def test_the_page_needs_nothing_from_outside_and_runs_nothing(truth: Truth) -> None:
    content = make_report(make_run(truth, found_rows(truth)), truth, pictures=truth.read_picture)
    page = Page(content)
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "link", "iframe", "object", "form"})
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in page.all("img"))
    assert all(str(link["href"]).startswith("#") for link in page.all("a"))
    assert not re.search(rb"url\(|@import|https?://", content)
    assert any("default-src 'none'" in str(meta.get("content")) for meta in page.all("meta"))


def test_links_find_their_parts_and_pictures_and_charts_are_described(truth: Truth) -> None:
    page = page_of(truth, found_rows(truth))
    known = {attributes.get("id") for _, attributes in page.elements}
    assert {str(link["href"])[1:] for link in page.all("a")} <= known
    assert page.all("html")[0]["lang"] == "en"
    assert all(image["alt"] for image in page.all("img"))
    assert all(chart.get("aria-label") or chart.get("aria-hidden") for chart in page.all("svg"))
    assert all(header.get("scope") in ("col", "row") for header in page.all("th"))


def test_names_do_no_harm(tmp_path: Path) -> None:
    truth = write_pictures(tmp_path / "set", pictures=1)
    image = {"id": 1, "file_name": f"{EVIL}\x00\udcff.png"}
    evil = dataclasses.replace(truth, name=EVIL, images=(image,))
    run = make_run(truth, found_rows(truth))
    run = dataclasses.replace(
        run, manifest={**run.manifest, "model": {"name": EVIL, EVIL: [EVIL]}}, figures={**run.figures, EVIL: {EVIL: 1}}
    )
    page = Page(make_report(run, evil, pictures=lambda _: truth.read_picture(1)))
    assert not page.all("script")
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert page.text.count("alert('1')") > 4
    assert not page.open


def test_the_worst_pictures_come_first_with_labels_beside(truth: Truth) -> None:
    page = page_of(truth, found_rows(truth, noise=2, skip=4), worst=2)
    images = [str(image["alt"]) for image in page.all("img")]
    assert images[:2] == ["4.png: labelled", "4.png: found"]
    assert len(images) == 4
    assert "4.png: mean OKS 0.00, 2 labelled" in page.text


def test_a_picture_that_cannot_be_opened_is_named(truth: Truth) -> None:
    def gone(image_id: Any) -> Any:
        raise DataError("gone")

    page = Page(make_report(make_run(truth, found_rows(truth)), truth, pictures=gone, worst=1))
    assert not page.all("img")
    assert "the picture cannot be opened" in page.text


def test_the_file_is_written_once(truth: Truth, tmp_path: Path) -> None:
    run = make_run(truth, [])
    file = write_report(tmp_path, run, truth, pictures=truth.read_picture)
    assert file == tmp_path / "report.html"
    assert file.read_bytes().startswith(b"<!DOCTYPE html>")
    with pytest.raises(OutputError, match=r"report\.html: the file exists"):
        write_report(tmp_path, run, truth, pictures=truth.read_picture)
    write_report(tmp_path, run, truth, pictures=truth.read_picture, overwrite=True)
