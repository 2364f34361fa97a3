"""Decoding of 20 people in noisy maps: the stages, and a plain implementation of the classic decoder beside them.

    python benchmarks/decode.py [CASE] [--runs N]

CASE is one of tests/goldens/decode (default: cmu_20_noise, a grid of 46 x 82 cells). Figures are medians of the CPU
time of this process, on one thread; all work is done in turns, so that a busy machine slows all of it down alike. The
last line is the ratio of both decoders.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when NumPy is imported

import cv2
import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))

import classic  # noqa: E402

from manypose.codecs.assembly import assemble, order_by_clearness  # noqa: E402
from manypose.codecs.grouping import DecoderSettings, decode  # noqa: E402
from manypose.codecs.limbs import connect, typical_lengths  # noqa: E402
from manypose.codecs.peaks import find_peaks  # noqa: E402
from manypose.skeleton import load_skeleton  # noqa: E402

CLASSIC_EVERY = 7  # the classic decoder runs once in so many turns


def milliseconds(work: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Median CPU time of each work, after one turn to warm up."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(runs + 1):
        for name, run in work.items():
            if name == "classic" and turn % CLASSIC_EVERY > 1:
                continue
            started = time.process_time()
            run()
            if turn:
                times[name].append(time.process_time() - started)
    return {name: 1000 * statistics.median(each) for name, each in times.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="?", default="cmu_20_noise")
    parser.add_argument("--runs", type=int, default=21)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    stored = np.load(ROOT / "tests" / "goldens" / "decode" / f"{arguments.case}.npz")
    heatmaps, fields = stored["heatmaps"].astype(np.float32), stored["pafs"].astype(np.float32)
    skeleton, settings = load_skeleton("openpose18"), DecoderSettings()

    def integrate() -> object:
        return connect(peaks, fields, skeleton, threshold=settings.field_threshold, support=settings.field_support)

    def join() -> object:
        return assemble(
            peaks,
            ordered,
            typical,
            longest_limb=settings.longest_limb,
            min_joints=settings.min_joints,
            sure_joint=settings.sure_joint,
        )

    peaks = find_peaks(heatmaps[:-1], threshold=settings.peak_threshold, limit=settings.max_peaks)
    connections = connect(peaks, fields, skeleton, threshold=settings.field_threshold, support=settings.field_support)
    ordered, typical = order_by_clearness(peaks, connections), typical_lengths(skeleton)
    work: dict[str, Callable[[], object]] = {
        "peaks": lambda: find_peaks(heatmaps[:-1], threshold=settings.peak_threshold, limit=settings.max_peaks),
        "integrals": integrate,
        "order": lambda: order_by_clearness(peaks, connections),
        "join": join,
        "decode": lambda: decode(heatmaps, fields, skeleton=skeleton, stride=8, settings=settings),
        "classic": lambda: classic.decode(heatmaps, fields, skeleton.joints, skeleton.fields),
    }
    found = decode(heatmaps, fields, skeleton=skeleton, stride=8, settings=settings)
    theirs = classic.decode(heatmaps, fields, skeleton.joints, skeleton.fields)
    took = milliseconds(work, arguments.runs)
    rest = took["decode"] - sum(took[name] for name in ("peaks", "integrals", "order", "join"))

    print(f"{arguments.case}: {heatmaps.shape[2]} x {heatmaps.shape[1]} cells, 1 thread, median CPU ms")
    print(f"  peaks, sub-pixel      {took['peaks']:9.2f}   {len(peaks)} peaks")
    print(f"  line integrals        {took['integrals']:9.2f}   {len(connections)} possible limbs")
    print(f"  order of the limbs    {took['order']:9.2f}   {len(ordered)} worth trying")
    print(f"  joining to people     {took['join']:9.2f}")
    print(f"  checks, People        {rest:9.2f}")
    print(f"  decode, all of it     {took['decode']:9.2f}   {len(found)} people, median of {arguments.runs} runs")
    print(f"  classic decoder       {took['classic']:9.2f}   {len(theirs)} people")
    print(f"  classic / decode      {took['classic'] / took['decode']:9.1f}")


if __name__ == "__main__":
    main()
