"""Scores of pictures: 1 where everybody is in his place, 0 where nobody was found, each person paired once."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pictured_runs import found_rows, write_pictures

from manypose.evaluation.by_picture import picture_hits, picture_similarities, score_pictures
from manypose.evaluation.panels import found_people
from manypose.evaluation.pck import pck
from manypose.evaluation.results_file import tabulate


def test_the_labels_themselves_score_1_and_nobody_scores_0(tmp_path: Path) -> None:
    truth = write_pictures(tmp_path)
    table = tabulate(found_rows(truth, skip=3), truth)
    scores = score_pictures(truth, table, found_people(truth, table))
    assert scores is not None
    assert scores.measure == "mean OKS"
    assert scores.values == {n: 0.0 if n == 3 else 1.0 for n in range(1, 7)}


def test_one_person_found_twice_is_one_person(tmp_path: Path) -> None:
    truth = write_pictures(tmp_path, pictures=1)
    first = found_rows(truth)[0]
    twice = tabulate([first, {**first, "score": 0.2}], truth)
    one, other = picture_similarities(truth, twice)[1]
    assert one == 1
    assert other < 0.1


def test_without_sigmas_joints_near_their_place_count(tmp_path: Path) -> None:
    truth = dataclasses.replace(write_pictures(tmp_path, pictures=2), sigmas=None)
    table = tabulate(found_rows(truth, skip=2), truth)
    scores = score_pictures(truth, table, found_people(truth, table))
    assert scores is not None
    assert (scores.measure, scores.values) == ("PCK at 0.2", {1: 1.0, 2: 0.0})


def test_hits_of_pictures_add_up_to_pck(tmp_path: Path) -> None:
    truth = write_pictures(tmp_path)
    people = found_people(truth, tabulate(found_rows(truth, noise=10), truth))
    hits = picture_hits(truth, people).values()
    figures = pck(truth, people, resamples=2)
    assert sum(labelled for _, labelled in hits) == figures["labelled"]
    share = sum(hit for hit, _ in hits) / figures["labelled"]
    assert share == pytest.approx(figures["PCK"])
    assert 0.2 < share < 0.98


def test_without_areas_there_is_no_oks(tmp_path: Path) -> None:
    truth = write_pictures(tmp_path, pictures=1)
    rows = tuple({key: value for key, value in row.items() if key != "area"} for row in truth.annotations)
    table = tabulate(found_rows(truth), truth)
    scores = score_pictures(dataclasses.replace(truth, annotations=rows), table, found_people(truth, table))
    assert scores is not None
    assert (scores.measure, scores.values) == ("PCK at 0.2", {1: 1.0})
