"""The analysis of errors against one in plain loops, which follows the authors' program step by step."""

from __future__ import annotations

import contextlib
import copy
import io
from typing import Any

import numpy as np
import pytest
from scored_scenes import BODY, JOINTS, SIGMAS, found, labelled, truth_of

from manypose.evaluation.coco_ap import keypoint_average_precision
from manypose.evaluation.error_types import KINDS, UNLABELLED, analyse_errors, find_joint_errors
from manypose.evaluation.truth import read_truth

pytest.importorskip("pycocotools", reason="needs the extra [eval]")

Rows = list[dict[str, Any]]
Judged = dict[tuple[int, int], tuple[int, float, int]]  # (row, joint): kind, highest similarity, annotation
FLIP = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]


def crowded_scene(seed: int) -> tuple[dict[str, Any], Rows]:
    """Pictures of people so near to each other that all kinds of errors come up."""
    rng = np.random.default_rng(seed)
    people: Rows = []
    results: Rows = []
    for image_id in range(1, 9):
        here = []
        for _ in range(rng.integers(1, 5)):
            places = BODY * rng.uniform(0.2, 0.6) + rng.uniform(0, 60, 2)
            hidden = tuple(rng.choice(JOINTS, rng.integers(5), replace=False))
            here.append(labelled(places, image_id, hidden, area=float(rng.uniform(400, 6000))))
            here[-1]["places"] = places
        for person in here:
            for _ in range(rng.integers(3)):
                places = person["places"] + rng.normal(0, rng.choice([1, 5, 15]), BODY.shape)
                turned, swapped = rng.random(17) < 0.15, rng.random(17) < 0.15
                places[turned] = places[FLIP][turned]
                places[swapped] = here[0]["places"][swapped]
                results.append(found(places, round(float(rng.random()), 6), image_id))
        people += [{key: value for key, value in person.items() if key != "places"} for person in here]
    return truth_of(people, 8), results


def matches(truth: dict[str, Any], results: Rows) -> dict[int, int]:
    """Row of the results -> place of the annotation, by pycocotools at an OKS of 0.1."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        evaluator = COCOeval(coco, coco.loadRes(copy.deepcopy(results)), "keypoints")
        evaluator.params.iouThrs = [0.1]
        evaluator.evaluate()
    pairs = {}
    for image in evaluator.evalImgs[: len(truth["images"])]:
        for row, person in zip(image["dtIds"], image["dtMatches"][0], strict=True) if image else ():
            if person:
                pairs[row - 1] = int(person) - 1
    return pairs


def alike(joint: Any, place: Any, k: int, area: float) -> float:
    squared = (joint[0] - place[0]) ** 2 + (joint[1] - place[1]) ** 2
    return float(np.exp(-squared / (2 * SIGMAS[k]) ** 2 / (area + np.spacing(1)) / 2))


def judge(truth: dict[str, Any], joint: Any, k: int, own: int) -> tuple[int, float]:
    """The kind of one joint, and its highest similarity; candidates in the program's order."""
    people = truth["annotations"]
    if people[own]["keypoints"][3 * k + 2] == 0:
        return UNLABELLED, 0
    others = [n for n, row in enumerate(people) if row["image_id"] == people[own]["image_id"] and n != own]
    candidates = []
    for kind, members, source in (
        ("good", [own], k),
        ("swap", others, k),
        ("inversion", [own], FLIP[k]),
        ("swap", others, FLIP[k]),
    ):
        for n in members:
            x, y, flag = people[n]["keypoints"][3 * source : 3 * source + 3]
            if flag:
                candidates.append((kind, alike(joint, (x, y), k, people[n]["area"])))
    kind, best = max(candidates, key=lambda candidate: candidate[1])  # the first of equals
    if best < 0.5:
        kind = "miss"
    elif kind == "good" and best < 0.85:
        kind = "jitter"
    return KINDS.index(kind), best


def put_right(truth: dict[str, Any], results: Rows, kind: str, judged: Judged) -> None:
    for (row, k), (found_kind, best, own) in judged.items():
        if found_kind != KINDS.index(kind):
            continue
        person = truth["annotations"][own]
        to = {"miss": 0.5, "jitter": 0.85}.get(kind, best)
        distance = np.sqrt(-2 * np.log(to) * person["area"]) * 2 * SIGMAS[k] * (1 - 1e-9)
        results[row]["keypoints"][3 * k] = person["keypoints"][3 * k] + distance
        results[row]["keypoints"][3 * k + 1] = person["keypoints"][3 * k + 1]


def best_scores(truth: dict[str, Any], results: Rows) -> list[float]:
    scores = []
    for row in results:
        joints = np.array(row["keypoints"]).reshape(-1, 3)
        values = [0.0]
        for person in truth["annotations"]:
            if person["image_id"] == row["image_id"]:
                flags = [k for k in range(17) if person["keypoints"][3 * k + 2]]
                places = np.array(person["keypoints"]).reshape(-1, 3)
                values.append(np.mean([alike(joints[k], places[k], k, person["area"]) for k in flags]))
        scores.append(float(max(values)))
    for image_id in {row["image_id"] for row in results}:
        waiting = [n for n, row in enumerate(results) if row["image_id"] == image_id]
        while waiting:
            best = max(waiting, key=lambda n: scores[n])
            waiting.remove(best)
            for n in waiting:
                one, two = (np.array(results[m]["keypoints"]).reshape(-1, 3)[:, :2] for m in (best, n))
                area = (np.prod(np.ptp(one, axis=0)) + np.prod(np.ptp(two, axis=0))) / 2
                oks = np.mean([alike(one[k], two[k], k, area) for k in range(17)])
                scores[n] *= np.exp(-(oks**2) / 0.5)
    return [round(score, 6) for score in scores]


@pytest.mark.parametrize("seed", range(8))
def test_kinds_and_costs_are_those_of_plain_loops(seed: int) -> None:
    truth, results = crowded_scene(seed)
    judged = {
        (row, k): (*judge(truth, results[row]["keypoints"][3 * k : 3 * k + 2], k, own), own)
        for row, own in matches(truth, results).items()
        for k in range(17)
    }
    errors = find_joint_errors(read_truth(truth), results)
    ours = {
        (int(row), k): (int(errors.kinds[m, k]), int(errors.people[m]))
        for m, row in enumerate(errors.rows)
        for k in range(17)
    }
    assert ours == {place: (kind, own) for place, (kind, _, own) in judged.items()}
    assert {KINDS[kind] for kind, _ in ours.values() if kind >= 0} == set(KINDS)

    figures = analyse_errors(read_truth(truth), results)["average_precision"]
    changed = copy.deepcopy(results)
    for kind in ("miss", "swap", "inversion", "jitter"):
        put_right(truth, changed, kind, judged)
        assert figures[kind] == pytest.approx(keypoint_average_precision(truth, changed, resamples=1)["AP"], abs=1e-9)
    for row, score in zip(changed, best_scores(truth, changed), strict=True):
        row["score"] = score
    assert figures["score"] == pytest.approx(keypoint_average_precision(truth, changed, resamples=1)["AP"], abs=1e-9)
