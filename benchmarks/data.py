"""Training samples a second and core: ours from each kind of source, beside a plain generator.

Both make samples of 368 x 368 pixels out of the same files and hand them to another process: ours in batches of 16,
as training takes them, the plain ones pickled. What counts is CPU time of all processes that are needed, with one
thread each. There are two plain generators: one draws maps with a cell for each pixel, as the reference does, one has
maps of the network's own 46 x 46 cells. The share of each step of our samples stands below the table.

    python benchmarks/data.py [--set FILE] [--count N] [--memory N]
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import plain_samples
import torch
from torch.utils.data import DataLoader

from manypose.codecs.fields import FieldsCodec
from manypose.data import augment
from manypose.data.augment import Augmentation
from manypose.data.coco import read_coco
from manypose.data.packing.program import pack, read_packed
from manypose.data.pictures import LabelledPicture
from manypose.data.samples import FieldSamples, Source, cell_weights, to_planes
from manypose.images import open_image
from manypose.skeleton import load_skeleton

SKELETON = load_skeleton("openpose18")
CODEC = FieldsCodec(SKELETON)
SIZE, BATCH = 368, 16
PLAIN = ("plain generator", "plain, small maps")
Start = Callable[[], Iterable[Any]]
PHOTOS = Path(__file__).parents[1] / "photos"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, help="a COCO-style file (default: made of this repository's photos)")
    parser.add_argument("--size", type=int, default=SIZE, help=f"pixels of the samples' sides (default: {SIZE})")
    parser.add_argument("--count", type=int, default=640, help="samples of ours (default: 640)")
    parser.add_argument("--plain", type=int, default=8, help="samples of the plain generator (default: 8)")
    parser.add_argument("--rounds", type=int, default=3, help="the median of so many counts (default: 3)")
    parser.add_argument("--only", help="sources with this in their name, beside the plain ones")
    parser.add_argument("--memory", type=int, metavar="N", help="print the memory over N samples of 2 workers instead")
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        file = arguments.set or make_set(Path(folder))
        pictures = [picture for picture in read_coco(file, SKELETON) if len(picture)]
        people = statistics.mean(len(picture) for picture in pictures)
        size = arguments.size
        print(f"{len(pictures)} pictures, {people:.1f} people each; {size} x {size} pixels, 19 heatmaps, 38 fields")
        if arguments.memory:
            watch_memory(make_samples(pictures, arguments.memory, size))
        else:
            compare(pictures, Path(folder), arguments)
            show_steps(make_samples(pictures, arguments.count, size))


def make_set(folder: Path) -> Path:
    """The photos with three drawn-up people each: what is in their places does not change the work."""
    random = np.random.default_rng(0)
    images, annotations = [], []
    names = load_skeleton("coco17").joints
    for number, photo in enumerate(sorted(PHOTOS.glob("*.jpg")), start=1):
        picture = cv2.imread(str(photo))
        scale = 640 / max(picture.shape[:2])
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        height, width = small.shape[:2]
        cv2.imwrite(str(folder / photo.name), small, [cv2.IMWRITE_JPEG_QUALITY, 90])
        images.append({"id": number, "file_name": photo.name, "width": width, "height": height})
        for person in range(4):
            x, y, w, h = random.uniform((0, 0, 60, 120), (width - 120, height - 200, 120, 200))
            joints = np.column_stack([random.uniform((x, y), (x + w, y + h), (17, 2)), np.full(17, 2)])
            labelled = person < 3
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": number, "category_id": 1, "iscrowd": 0, "area": w * h / 2,
                    "bbox": [x, y, w, h], "num_keypoints": 17 * labelled,
                    "keypoints": (joints * labelled).ravel().tolist(),
                    "segmentation": [[x, y, x + w, y, x + w, y + h, x + w / 2, y + h / 2, x, y + h]],
                }
            )  # fmt: skip
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "keypoints": names}]}
    (folder / "set.json").write_text(json.dumps(content))
    return folder / "set.json"


def make_samples(pictures: list[LabelledPicture], count: int, size: int) -> FieldSamples:
    """Single pictures, not shrunk beforehand, as the plain generator has them."""
    source = Source(pictures, Augmentation(mosaic=0.0, person_size=(0.4, 1.1)))
    return FieldSamples([source], CODEC, size=size, count=count, seed=0, longest=640)


def loader(samples: Any, *, batch: int | None = BATCH, workers: int = 1) -> Iterable[Any]:
    ahead = 2 if batch else 2 * BATCH
    return DataLoader(
        samples, batch_size=batch, num_workers=workers, worker_init_fn=_single_thread, prefetch_factor=ahead
    )


def _single_thread(_: int) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def compare(pictures: list[LabelledPicture], folder: Path, arguments: argparse.Namespace) -> None:
    size, count, few = arguments.size, arguments.count, arguments.plain

    def ours(place: list[LabelledPicture], *, preload: bool = False, batch: int | None = BATCH) -> Start:
        samples = make_samples(place, count, size)
        if preload:
            samples.preload()
        return lambda: loader(samples, batch=batch)

    stride = CODEC.stride
    starts: dict[str, tuple[int, Start]] = {
        PLAIN[0]: (few, lambda: plain_samples.piped(pictures, size, few)),
        PLAIN[1]: (16 * few, lambda: plain_samples.piped(pictures, size, 16 * few, stride=stride)),
        "folder": (count, ours(pictures)),
        "folder, one by one": (count, ours(pictures, batch=None)),
        "folder, in memory": (count, ours(pictures, preload=True)),
        "HDF5": (count, ours(packed(pictures, folder / "packed.h5"))),
        "WebDataset": (count, ours(packed(pictures, folder / "packed.tar"))),
        "server": (count, lambda: plain_samples.served(make_samples(pictures, count, size))),
    }
    starts = {name: start for name, start in starts.items() if name in PLAIN or (arguments.only or "") in name}
    seconds: dict[str, list[float]] = {name: [] for name in starts}
    for _ in range(arguments.rounds):  # in turns: what else the machine does meets all of them alike
        for name, (number, start) in starts.items():
            seconds[name].append(cpu_seconds(start) / number)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{'source':20} {'samples/s and core':>20} {'ms CPU':>8} {'beside plain':>13} {'and small maps':>15}")
    for name, value in middle.items():
        beside = (f"{middle[plain] / value:.1f}x" for plain in PLAIN)
        print(f"{name:20} {1 / value:20.1f} {1000 * value:8.1f} {next(beside):>13} {next(beside):>15}", flush=True)


def packed(pictures: list[LabelledPicture], target: Path) -> list[LabelledPicture]:
    pack(pictures, target, SKELETON, overwrite=True)
    return read_packed(target, SKELETON)


def cpu_seconds(start: Callable[[], Iterable[Any]]) -> float:
    """CPU time of this process and those that it starts and ends, until all samples are here."""
    before = os.times()
    for _ in start():
        pass
    gc.collect()  # ends the workers
    while multiprocessing.active_children():
        time.sleep(0.01)
    after = os.times()
    return sum(after[:4]) - sum(before[:4])


def show_steps(samples: FieldSamples) -> None:
    """CPU time of the steps of a sample, by the same functions that make it."""
    (source,), size = samples.sources, (samples.size, samples.size)
    settings = source.augmentation
    spent: dict[str, float] = {}

    def step(name: str, call: Callable[[], Any]) -> Any:
        before = time.process_time()
        result = call()
        spent[name] = spent.get(name, 0) + time.process_time() - before
        return result

    for index in range(len(samples)):
        random = samples.random(index)
        chosen = source.pictures[int(random.integers(len(source.pictures)))]
        content = step("read", lambda p=chosen: p.fetch(p.archive, p.name))
        step("decode", lambda c=content: open_image(c))
        labels, photo = chosen.shrunk(samples.longest)
        crop = step(
            "warp picture and labels",
            lambda a=labels, b=photo, r=random: augment.random_crop(a, b, size, settings, SKELETON, r),
        )
        step("heatmaps and fields", lambda c=crop: CODEC.encode(c.keypoints, size))
        step("weights (masks)", lambda a=labels, c=crop: cell_weights(a, c, size, CODEC))
        changed = step("colours", lambda c=crop, r=random: augment.change_colours(c.picture, settings, r))
        step("tensors", lambda p=changed: torch.from_numpy(to_planes(p)))
    total = sum(spent.values())
    for name, seconds in [*spent.items(), ("all", total)]:
        print(f"{name:24} {1000 * seconds / len(samples):7.2f} ms {seconds / total:5.0%}")


def watch_memory(samples: FieldSamples) -> None:
    """Memory of this process and its two workers while an epoch runs."""
    count, data = len(samples), loader(samples, workers=2)
    start, every = time.monotonic(), max(count // BATCH // 20, 1)
    print(f"{'samples':>9} {'this process':>14} {'workers':>20}   MB; {os.cpu_count()} cores")
    for number, _ in enumerate(data, start=1):
        if number == 2 or number % every == 0:
            workers = [resident(child.pid) for child in multiprocessing.active_children() if child.pid]
            row = " ".join(f"{value:9.0f}" for value in workers)
            print(f"{BATCH * number:9} {resident(os.getpid()):14.0f} {row:>20}", flush=True)
    seconds = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count / seconds:.0f} samples a second; this process had {peak:.0f} MB at most")


def resident(process: int) -> float:
    """Memory of a process in MB, its part of what several share included (Linux)."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    main()
