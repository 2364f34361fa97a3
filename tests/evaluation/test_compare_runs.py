"""Two runs beside each other: differences with paired intervals, and the pictures where they differ most."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import cv2
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pictured_runs import found_rows, make_run, write_pictures, write_two_runs

from manypose.errors import DataError, FormatError
from manypose.evaluation.coco_ap import FIGURES, keypoint_average_precision
from manypose.evaluation.compare import compare_runs
from manypose.evaluation.compare_page import draw_comparison_sheet, make_comparison_page
from manypose.evaluation.run_folder import Run, read_run
from manypose.evaluation.truth import Truth


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Truth, Run, Run]:
    truth, good, bad = write_two_runs(tmp_path)
    return truth, read_run(good), read_run(bad)


def test_differences_are_of_the_figures_that_were_measured(runs: tuple[Truth, Run, Run]) -> None:
    _, good, bad = runs
    by_name = {one.name: one for one in compare_runs(good, bad, resamples=50).differences}
    assert set(by_name) == {*FIGURES, "PCK"} - {"APl", "ARl"}  # nobody is large
    for name, one in by_name.items():
        group = "pck" if name == "PCK" else "average_precision"
        assert one.first == pytest.approx(good.figures[group][name])
        assert one.second == pytest.approx(bad.figures[group][name])
        assert one.difference > 0
        assert one.low <= one.difference <= one.high or one.low == pytest.approx(one.high)
    assert by_name["AP"].is_clear


def test_turned_round_the_differences_change_their_sign(runs: tuple[Truth, Run, Run]) -> None:
    _, good, bad = runs
    there, back = compare_runs(good, bad, resamples=50), compare_runs(bad, good, resamples=50)
    for one, other in zip(there.differences, back.differences, strict=True):
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert there.most_different(1)[0][0] == back.most_different(1)[0][0]


def test_a_run_does_not_differ_from_itself(runs: tuple[Truth, Run, Run]) -> None:
    comparison = compare_runs(runs[1], runs[1], resamples=50)
    assert all((one.difference, one.low, one.high, one.is_clear) == (0, 0, 0, False) for one in comparison.differences)
    assert comparison.most_different(5) == []
    with pytest.raises(DataError, match="no picture differs"):
        draw_comparison_sheet(comparison, pictures=runs[0].read_picture)


def test_against_nobody_found_the_interval_is_that_of_the_figure_itself(runs: tuple[Truth, Run, Run]) -> None:
    """With nothing taken away the paired interval must be the one that the evaluation gives."""
    truth, good, _ = runs
    comparison = compare_runs(good, make_run(truth, []), resamples=50)
    figures = keypoint_average_precision(truth, good.results, resamples=50)
    for one in comparison.differences[:8]:
        assert (one.low, one.high) == pytest.approx((figures[f"{one.name}_low"], figures[f"{one.name}_high"]))


def test_the_picture_where_one_run_found_nobody_differs_most(runs: tuple[Truth, Run, Run]) -> None:
    image_id, first, second = compare_runs(*runs[1:], resamples=2).most_different(2)[0]
    assert (image_id, second) == (3, 0.0)
    assert first > 0.8


def test_runs_of_different_data_are_refused(tmp_path: Path, runs: tuple[Truth, Run, Run]) -> None:
    other = write_pictures(tmp_path / "other", pictures=2)
    with pytest.raises(FormatError, match=r"new and old were measured with different labels \(set\.json, SHA-256"):
        compare_runs(runs[1], make_run(other, found_rows(other)), names=("new", "old"))


def test_runs_of_different_pictures_are_refused(runs: tuple[Truth, Run, Run]) -> None:
    truth, good, _ = runs
    few = make_run(truth, [row for row in found_rows(truth) if row["image_id"] <= 2], limit=2)
    with pytest.raises(FormatError, match=r"measured on different pictures \(6 and 2\)"):
        compare_runs(good, few)
    assert len(compare_runs(few, few, resamples=2).truth.image_ids) == 2


def test_labels_that_have_moved_are_told(tmp_path: Path, runs: tuple[Truth, Run, Run]) -> None:
    truth, good, bad = runs
    assert truth.file is not None
    moved = truth.file.rename(tmp_path / "moved.json")
    with pytest.raises(DataError, match=r"set\.json: the labels are no longer there; say where they are \(--data\)"):
        compare_runs(good, bad)
    assert compare_runs(good, bad, data=moved, resamples=2).truth.file == moved
    moved.write_text(moved.read_text() + " ")
    with pytest.raises(DataError, match=r"moved\.json: these are not the labels that the runs were measured with"):
        compare_runs(good, bad, data=moved)


def test_manifests_and_results_must_be_sound(runs: tuple[Truth, Run, Run]) -> None:
    _, good, bad = runs
    with pytest.raises(FormatError, match="B: its manifest does not say which labels"):
        compare_runs(good, dataclasses.replace(bad, manifest={}))
    broken = [{**bad.results[0], "image_id": 99}, *bad.results[1:]]
    with pytest.raises(FormatError, match=r"B, row 0: .* has no picture with image_id"):
        compare_runs(good, dataclasses.replace(bad, results=broken))


def test_the_page_shows_both_and_the_labels(runs: tuple[Truth, Run, Run]) -> None:
    truth, good, bad = runs
    comparison = compare_runs(good, bad, names=("<new>", "old"), resamples=50)
    page = make_comparison_page(comparison, pictures=truth.read_picture, most=2).decode()
    assert page.count("<img ") == 2 * 3
    assert "<new>" not in page
    assert "Provenance of &lt;new&gt;" in page
    assert 'alt="3.png: old: 0.00"' in page
    assert f"{comparison.differences[0].difference:+.3f}" in page


def test_the_sheet_has_a_cell_for_each_picture(runs: tuple[Truth, Run, Run]) -> None:
    truth, good, bad = runs
    sheet = draw_comparison_sheet(compare_runs(good, bad, resamples=2), pictures=truth.read_picture, most=3)
    assert sheet.shape[1] == 1920
    assert cv2.Laplacian(sheet, cv2.CV_64F).std() > 5  # something is drawn
