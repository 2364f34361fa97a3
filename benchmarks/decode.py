"""Decoding of 20 people in noisy maps: the stages, and a plain implementation of the classic decoder beside them.

    python benchmarks/decode.py [CASE] [--runs N]

CASE is one of tests/goldens/decode (default: cmu_20_noise, a grid of 46 x 82 cells). Figures are medians of the CPU time
of this process, on one thread; the last line is their ratio.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))

import classic  # noqa: E402
from manypose.codecs import grouping  # noqa: E402
from manypose.codecs.grouping import DecoderSettings  # noqa: E402
from manypose.codecs.limbs import connect  # noqa: E402
from manypose.codecs.peaks import find_peaks  # noqa: E402
from manypose.skeleton import load_skeleton  # noqa: E402


def milliseconds(work: Callable[[], object], runs: int) -> float:
    """Median CPU time of some runs, after one to warm up."""
    work()
    times = []
    for _ in range(runs):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return 1000 * statistics.median(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="?", default="cmu_20_noise")
    parser.add_argument("--runs", type=int, default=21)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    stored = np.load(ROOT / "tests" / "goldens" / "decode" / f"{arguments.case}.npz")
    heatmaps, fields = stored["heatmaps"].astype(np.float32), stored["pafs"].astype(np.float32)
    skeleton, settings, runs = load_skeleton("openpose18"), DecoderSettings(), arguments.runs

    def peaks() -> grouping.Peaks:
        return find_peaks(heatmaps[:-1], threshold=settings.peak_threshold, limit=settings.max_peaks)

    def limbs() -> object:
        return connect(
            found, fields, skeleton, threshold=settings.field_threshold, support=settings.field_support
        )

    def ours() -> object:
        return grouping.decode(heatmaps, fields, skeleton=skeleton, stride=8, settings=settings)

    def plain() -> object:
        return classic.decode(heatmaps, fields, skeleton.joints, skeleton.fields)

    found = peaks()
    people, theirs = ours(), plain()
    total, in_peaks, in_limbs = milliseconds(ours, runs), milliseconds(peaks, runs), milliseconds(limbs, runs)
    old = milliseconds(plain, max(3, runs // 7))
    print(f"{arguments.case}: {heatmaps.shape[2]} x {heatmaps.shape[1]} cells, one thread, median CPU ms of {runs} runs")
    print(f"  peaks, sub-pixel   {in_peaks:8.2f}   ({len(found)} found)")
    print(f"  line integrals     {in_limbs:8.2f}")
    print(f"  grouping, the rest {total - in_peaks - in_limbs:8.2f}")
    print(f"  decode             {total:8.2f}   ({len(people)} people)")  # type: ignore[arg-type]
    print(f"  classic decoder    {old:8.2f}   ({len(theirs)} people)")  # type: ignore[arg-type]
    print(f"  classic / decode   {old / total:8.1f}")


if __name__ == "__main__":
    main()
