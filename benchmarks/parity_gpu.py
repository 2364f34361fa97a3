"""Whether a GPU gives what the CPU gives, and how much faster: one model file on both.

    python benchmarks/parity_gpu.py ladder --device cuda --batch 8

Both get the same noise. Outputs are compared as a whole, as a share of the largest value of each, so it works for any
model; recent GPUs may multiply in TensorFloat-32, which has only ten bits after the point. Times are medians and hold
the way to the GPU and back. Where there is no such device, one line says so.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from numpy.typing import NDArray

from manypose.errors import DeviceError
from manypose.model import Model, load_model

WARM_UP = 5  # the first runs choose how a GPU computes each layer
Batch = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="default", help="a model's name or ONNX file (default: default)")
    parser.add_argument("--device", default="cuda", help="cuda or tensorrt, or another (default: cuda)")
    parser.add_argument("--size", metavar="WxH", help="of the input (default: the model's own)")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--runs", type=int, default=51)
    parser.add_argument("--threads", type=int, default=0, help="of the CPU (default: 0, all)")
    options = parser.parse_args()
    try:
        there = load_model(options.model, device=options.device)
    except DeviceError as error:
        print(f"nothing measured: {error}")
        return
    here = load_model(options.model, device="cpu", threads=options.threads)
    batch = make_batch(here, options.size, options.batch)
    shape = " x ".join(map(str, batch.shape))
    print(f"{here.path.name}, input {shape}, {options.threads or 'all'} threads, medians of {options.runs} runs\n")
    print_parity(here, there, batch)
    before, after = (measure(model, batch, options.runs) for model in (here, there))
    print(f"\ncpu {1000 * before:.2f} ms, {there.device} {1000 * after:.2f} ms: {before / after:.1f} times as fast")


def make_batch(model: Model, size: str | None, count: int) -> Batch:
    """Noise as a batch of the network's input."""
    settings = model.metadata.input
    side = -(-settings.long_side // settings.stride) * settings.stride
    width, height = (int(part) for part in size.split("x")) if size else settings.size or (side, side)
    random = np.random.default_rng(0)
    return model.prepare([random.integers(0, 256, (height, width, 3), np.uint8) for _ in range(count)])


def extras(model: Model) -> dict[str, Batch]:
    """The second input of the few networks that have one: how much their pictures were resized."""
    name = model.metadata.input.resized_by
    return {} if name is None else {name: np.ones((1, 2), np.float32)}


def print_parity(here: Model, there: Model, batch: Batch) -> None:
    found = there.infer(batch, **extras(there))
    for meaning, arrays in here.infer(batch, **extras(here)).items():
        for ours, theirs in zip(arrays, found[meaning], strict=True):
            if ours.shape != theirs.shape:  # of boxes and people, one more or less at the threshold
                print(f"{meaning}: shape {ours.shape} on the cpu, {theirs.shape} on {there.device}")
                continue
            largest = np.abs(ours).max(initial=0)
            difference = np.abs(ours.astype(np.float64) - theirs).max(initial=0)
            share = difference / max(largest, 1e-12)
            print(f"{meaning}: greatest difference {difference:.3g}, {share:.1e} of the largest value {largest:.3g}")


def measure(model: Model, batch: Batch, runs: int) -> float:
    """Median of the seconds of one run."""
    seconds = []
    for _ in range(WARM_UP + runs):
        started = time.perf_counter()
        model.infer(batch, **extras(model))
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[WARM_UP:])


if __name__ == "__main__":
    main()
