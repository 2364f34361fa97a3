"""Where the time of `manypose predict` goes: its stages on pictures with 1, 5 and 20 people.

    python benchmarks/predict.py --threads 1 --runs 21

The pictures (640 x 480) are composed of the photos of the repository; a bottom-up network need not find everybody in
them, so what it found is printed. Every stage is that of the command itself, files included; figures are medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import manypose
from manypose.estimators.bottom_up import BottomUp
from manypose.estimators.folder import Failure, Source, find_pictures, predict_pictures
from manypose.estimators.results import ResultOptions, ResultWriter
from manypose.images import fit, open_image

PHOTOS = Path(__file__).parents[1] / "photos"
STAGES = ("open", "prepare", "network", "decode", "draw", "write")
AROUND = ("open", "prepare", "decode")  # all but the network, drawing and writing
WARM_UP = 3
WIDTH, HEIGHT = 640, 480
LAYOUTS = {1: (1, 1), 5: (3, 2), 20: (5, 4)}  # people -> columns, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="default")
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--threads", type=int, default=1, help="threads of the network and of OpenCV")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: on a busy machine, and with one thread only"
    )
    options = parser.parse_args()
    if options.clock == "cpu":
        time.perf_counter = time.process_time  # the stages are timed inside of the library
    cv2.setNumThreads(options.threads)
    estimator = manypose.load(options.model, device="cpu", threads=options.threads)
    size = f"{WIDTH} x {HEIGHT} pixels, long side {estimator.model.metadata.input.long_side} for the network"
    threads = f"{options.threads} of {os.cpu_count()} threads" if options.threads else "all threads"
    print(f"{options.model}, {size}\n{threads}, {options.clock} clock, medians of {options.runs} runs in ms\n")
    print(
        "people found" + "".join(f"{stage:>9}" for stage in (*STAGES, "all")) + "  (open + prepare + decode) / network"
    )
    with tempfile.TemporaryDirectory() as folder:
        for people in LAYOUTS:
            file = Path(folder, f"people_{people}.jpg")
            cv2.imwrite(str(file), cv2.cvtColor(compose(people), cv2.COLOR_RGB2BGR))  # as cameras write JPEG: 4:2:0
            found, medians = measure(estimator, file, options.runs)
            print_row(people, found, medians)


def compose(people: int) -> NDArray[np.uint8]:
    """A picture of photos with one person each, in rows, on grey."""
    photos = [open_image(PHOTOS / name) for name in ("astronaut.jpg", "photographer.jpg")]
    columns, rows = LAYOUTS[people]
    side = min(WIDTH // columns, HEIGHT // rows) - 8
    picture = np.full((HEIGHT, WIDTH, 3), 150, np.uint8)
    for i in range(people):
        small, _ = fit(photos[i % 2], long_side=side)
        left = (2 * (i % columns) + 1) * WIDTH // (2 * columns) - small.shape[1] // 2
        top = (2 * (i // columns) + 1) * HEIGHT // (2 * rows) - small.shape[0] // 2
        picture[top : top + small.shape[0], left : left + small.shape[1]] = small
    return picture


def measure(estimator: BottomUp, file: Path, runs: int) -> tuple[int, dict[str, float]]:
    """People found in the picture of a file, and the medians of the stages in seconds."""
    sources = find_pictures([file])
    found = 0
    seconds = []
    with ResultWriter(file.parent / "out", sources, ResultOptions(overwrite=True)) as writer:
        for _ in range(WARM_UP + runs):
            found, times = predict_once(estimator, sources, writer)
            seconds.append(times)
    return found, {stage: statistics.median(times[stage] for times in seconds[WARM_UP:]) for stage in STAGES}


def predict_once(
    estimator: BottomUp, sources: list[Source | Failure], writer: ResultWriter
) -> tuple[int, dict[str, float]]:
    """People found in one picture, and the seconds of all stages."""
    (prediction,) = predict_pictures(estimator, sources)
    if isinstance(prediction, Failure):
        raise prediction.error
    return len(prediction.people), prediction.seconds | writer.write(prediction)


def print_row(people: int, found: int, medians: dict[str, float]) -> None:
    around = sum(medians[stage] for stage in AROUND)
    figures = [*(medians[stage] for stage in STAGES), sum(medians.values())]
    print(f"{people:>6}{found:>6}" + "".join(f"{1000 * seconds:>9.2f}" for seconds in figures), end="")
    print(f"  {around / medians['network']:.2f}")


if __name__ == "__main__":
    main()
