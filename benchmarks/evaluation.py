"""Scoring of the results of 5,000 pictures: manypose beside pycocotools and, where it is installed, faster-coco-eval.

    python benchmarks/evaluation.py [--pictures N] [--results N] [--seed N]

Truth and results are made up: 0 to 14 people of all sizes in a picture, crowds and people without joints among them;
people found well, badly, twice or not at all, and ghosts. All read the same two JSON files. Times are CPU seconds of
this process on one thread, of one run; all ten figures must be the same to the last bit, else it fails. "matching" is
all that follows loading: similarities, matching, accumulating and the ten figures, without intervals over pictures.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when NumPy is imported

import numpy as np

from manypose.evaluation.coco_ap import choose_sigmas, measure
from manypose.evaluation.results_file import check_results, load_rows
from manypose.evaluation.truth import read_truth
from manypose.skeleton import load_skeleton


class Timed(NamedTuple):
    """The ten figures, and the seconds of loading and of the rest."""

    figures: list[float]
    loading: float
    matching: float


def make_scene(pictures: int, results: int, seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A COCO-style truth and results of it, some `results / pictures` in each picture."""
    rng = np.random.default_rng(seed)
    people: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image_id, count in enumerate(rng.multinomial(results, np.full(pictures, 1 / pictures)), start=1):
        poses = [_add_person(rng, people, image_id) for _ in range(min(14, rng.geometric(0.4) - 1))]
        for n in range(count):
            if poses and n < 2 * len(poses):  # everybody twice, the second time worse
                pose, size = poses[n % len(poses)]
                error = float(rng.exponential(0.02)) * (1 + n // len(poses))
                pose = pose + rng.normal(0, size * error, (17, 2))
            else:
                (pose, _), error = _pose(rng), 0.2
            joints = np.column_stack([pose, rng.random(17)]).round(3)
            score = round(float(rng.beta(4, 4 + 100 * error)), 4)
            found.append({"image_id": image_id, "category_id": 1, "keypoints": joints.ravel().tolist(), "score": score})
    category = {"id": 1, "name": "person", "keypoints": list(load_skeleton("coco17").joints)}
    images = [{"id": n, "width": 640, "height": 480, "file_name": f"{n:012d}.jpg"} for n in range(1, pictures + 1)]
    return {"images": images, "annotations": people, "categories": [category]}, found


def _pose(rng: np.random.Generator) -> tuple[Any, float]:
    size = float(np.exp(rng.uniform(np.log(20), np.log(400))))
    return rng.uniform(0, 400, 2) + rng.uniform(0, size, (17, 2)), size


def _add_person(rng: np.random.Generator, people: list[dict[str, Any]], image_id: int) -> tuple[Any, float]:
    pose, size = _pose(rng)
    flags = rng.choice([0, 1, 2], 17, p=[0.3, 0.2, 0.5]) * (rng.random() > 0.1)
    joints = np.where(flags[:, None] > 0, np.column_stack([pose, flags]), 0).round(1)
    box = [*pose.min(axis=0).round(2).tolist(), *np.ptp(pose, axis=0).round(2).tolist()]
    row = {"id": len(people) + 1, "image_id": image_id, "category_id": 1, "iscrowd": int(rng.random() < 0.02)}
    row |= {"keypoints": joints.ravel().tolist(), "num_keypoints": int((flags > 0).sum()), "bbox": box}
    people.append(row | {"area": round(0.5 * box[2] * box[3], 3)})
    return pose, size


def by_pycocotools(truth: Path, results: Path) -> Timed:
    """pycocotools, as its own demo uses it."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    started = time.process_time()
    labelled = COCO(str(truth))
    found = labelled.loadRes(str(results))
    loaded = time.process_time()
    evaluator = COCOeval(labelled, found, "keypoints")
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    return Timed(evaluator.stats.tolist(), loaded - started, time.process_time() - loaded)


def by_faster_coco_eval(truth: Path, results: Path) -> Timed:
    """faster-coco-eval, as its own demo uses it."""
    from faster_coco_eval import COCO, COCOeval_faster

    started = time.process_time()
    labelled = COCO(str(truth))
    found = labelled.loadRes(str(results))
    loaded = time.process_time()
    evaluator = COCOeval_faster(labelled, found, "keypoints")
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    return Timed(list(evaluator.stats[:10]), loaded - started, time.process_time() - loaded)


def by_manypose(truth: Path, results: Path) -> Timed:
    """manypose, with all its checks of both files."""
    started = time.process_time()
    checked = read_truth(truth)
    table = check_results(load_rows(results), checked)
    loaded = time.process_time()
    figures = measure(checked, table, choose_sigmas(checked)).figures()
    return Timed(list(figures.values()), loaded - started, time.process_time() - loaded)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--results", type=int, default=70_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    works: dict[str, Callable[[Path, Path], Timed]] = {"pycocotools": by_pycocotools, "manypose": by_manypose}
    with contextlib.suppress(ModuleNotFoundError):
        import faster_coco_eval  # noqa: F401

        works["faster-coco-eval"] = by_faster_coco_eval
    with tempfile.TemporaryDirectory() as folder:
        truth, results = Path(folder, "truth.json"), Path(folder, "results.json")
        content, rows = make_scene(arguments.pictures, arguments.results, arguments.seed)
        truth.write_text(json.dumps(content))
        results.write_text(json.dumps(rows))
        people = len(content["annotations"])
        print(f"{arguments.pictures} pictures, {people} people labelled, {len(rows)} found; CPU seconds, 1 thread")
        del content, rows
        timed = {}
        for name, work in works.items():
            with contextlib.redirect_stdout(io.StringIO()):
                timed[name] = work(truth, results)
    first = timed["pycocotools"]
    print(f"  {'':18} {'loading':>8} {'matching':>9} {'share':>6} {'both':>8} {'share':>6}   AP, figures")
    for name, one in timed.items():
        both = one.loading + one.matching
        shares = (one.matching / first.matching, both / (first.loading + first.matching))
        same = "the same" if one.figures == first.figures else "OTHERS"
        print(
            f"  {name:18} {one.loading:8.2f} {one.matching:9.2f} {shares[0]:6.3f} {both:8.2f} {shares[1]:6.3f}   "
            f"{one.figures[0]:.6f}, {same}"
        )
    if timed["manypose"].figures != first.figures:
        sys.exit(f"figures differ: {timed['manypose'].figures} and {first.figures}")


if __name__ == "__main__":
    main()
