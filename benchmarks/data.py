"""Training samples a second and core: ours from each kind of source, beside a plain generator.

Both make samples of 368 x 368 pixels out of the same JPEG files and hand them to another process. What counts is CPU
time of all processes that are needed, with one thread each.

    python benchmarks/data.py [--set FILE] [--count N] [--steps] [--memory N]
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
from torch.utils.data import DataLoader

from manypose.codecs.fields import FieldsCodec
from manypose.data import augment
from manypose.data.augment import Augmentation
from manypose.data.coco import read_coco
from manypose.data.packing.program import pack, read_packed
from manypose.data.pictures import LabelledPicture
from manypose.data.samples import FieldSamples, Source
from manypose.skeleton import load_skeleton

SKELETON = load_skeleton("openpose18")
CODEC = FieldsCodec(SKELETON)
SIZE = 368
PHOTOS = Path(__file__).parents[1] / "photos"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, help="a COCO-style file (default: made of this repository's photos)")
    parser.add_argument("--count", type=int, default=300, help="samples of ours (default: 300)")
    parser.add_argument("--plain", type=int, default=24, help="samples of the plain generator (default: 24)")
    parser.add_argument("--rounds", type=int, default=3, help="the median of so many counts (default: 3)")
    parser.add_argument("--only", help="sources with this in their name")
    parser.add_argument("--steps", action="store_true", help="print the share of each step instead")
    parser.add_argument("--memory", type=int, metavar="N", help="print the memory over N samples of 2 workers instead")
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        file = arguments.set or make_set(Path(folder))
        pictures = [picture for picture in read_coco(file, SKELETON) if len(picture)]
        people = statistics.mean(len(picture) for picture in pictures)
        print(f"{len(pictures)} pictures, {people:.1f} people each; {SIZE} x {SIZE} pixels, 19 heatmaps, 38 fields")
        if arguments.steps:
            show_steps(pictures, arguments.count)
        elif arguments.memory:
            watch_memory(pictures, arguments.memory)
        else:
            compare(pictures, Path(folder), arguments)


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


def make_samples(pictures: list[LabelledPicture], count: int) -> FieldSamples:
    """Single pictures, not shrunk beforehand, as the plain generator has them."""
    source = Source(pictures, Augmentation(mosaic=0.0, person_size=(0.4, 1.1)))
    return FieldSamples([source], CODEC, size=SIZE, count=count, seed=0, longest=640)


def loader(samples: Any) -> Iterable[Any]:
    return DataLoader(samples, batch_size=None, num_workers=1, worker_init_fn=_single_thread, prefetch_factor=8)


def _single_thread(_: int) -> None:
    cv2.setNumThreads(0)


def compare(pictures: list[LabelledPicture], folder: Path, arguments: argparse.Namespace) -> None:
    def ours(place: list[LabelledPicture], *, preload: bool = False) -> Callable[[], Iterable[Any]]:
        samples = make_samples(place, arguments.count)
        if preload:
            samples.preload()
        return lambda: loader(samples)

    makers: dict[str, tuple[int, Callable[[], Callable[[], Iterable[Any]]]]] = {
        "plain generator": (arguments.plain, lambda: lambda: plain_samples.piped(pictures, SIZE, arguments.plain)),
        "plain, small maps": (
            8 * arguments.plain,
            lambda: lambda: plain_samples.piped(pictures, SIZE, 8 * arguments.plain, stride=CODEC.stride),
        ),
        "folder": (arguments.count, lambda: ours(pictures)),
        "folder, in memory": (arguments.count, lambda: ours(pictures, preload=True)),
        "HDF5": (arguments.count, lambda: ours(packed(pictures, folder / "packed.h5"))),
        "WebDataset": (arguments.count, lambda: ours(packed(pictures, folder / "packed.tar"))),
        "server": (arguments.count, lambda: lambda: plain_samples.served(make_samples(pictures, arguments.count))),
    }
    print(f"{'source':20} {'samples/s and core':>20} {'ms CPU':>8} {'beside plain':>13}")
    slow = 0.0
    for name, (count, make) in makers.items():
        if arguments.only and arguments.only not in name and name != "plain generator":
            continue
        start = make()
        seconds = statistics.median(cpu_seconds(start) / count for _ in range(arguments.rounds))
        slow = slow or seconds
        print(f"{name:20} {1 / seconds:20.1f} {1000 * seconds:8.1f} {slow / seconds:12.1f}x", flush=True)


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


def show_steps(pictures: list[LabelledPicture], count: int) -> None:
    """CPU time of the steps of a sample, by the same functions that make it."""
    samples = make_samples(pictures, count)
    settings = samples.sources[0].augmentation
    spent: dict[str, float] = {}

    def step(name: str, call: Callable[[], Any]) -> Any:
        before = time.process_time()
        result = call()
        spent[name] = spent.get(name, 0) + time.process_time() - before
        return result

    for index in range(count):
        random = samples.random(index)
        chosen = pictures[int(random.integers(len(pictures)))]
        labels, photo = step("read and decode", lambda p=chosen: p.shrunk(samples.longest))
        crop = step(
            "warp picture and labels",
            lambda a=labels, b=photo, r=random: augment.random_crop(a, b, (SIZE, SIZE), settings, SKELETON, r),
        )
        step("heatmaps and fields", lambda c=crop: CODEC.encode(c.keypoints, (SIZE, SIZE)))
        step("weights (masks)", lambda a=labels, c=crop: samples._weights(a, c, (SIZE, SIZE)))
        step("colours", lambda c=crop, r=random: augment.change_colours(c.picture, settings, r))
    total = sum(spent.values())
    for name, seconds in [*spent.items(), ("all", total)]:
        print(f"{name:24} {1000 * seconds / count:7.2f} ms {seconds / total:5.0%}")


def watch_memory(pictures: list[LabelledPicture], count: int) -> None:
    """Memory of this process and its two workers while an epoch runs."""
    data = DataLoader(
        make_samples(pictures, count), batch_size=16, num_workers=2, worker_init_fn=_single_thread, prefetch_factor=2
    )
    start, every = time.monotonic(), max(count // 16 // 10, 1)
    print(f"{'samples':>9} {'this process':>14} {'workers':>20}   MB; {os.cpu_count()} cores")
    for number, _ in enumerate(data, start=1):
        if number == 2 or number % every == 0:
            workers = [resident(child.pid) for child in multiprocessing.active_children() if child.pid]
            row = " ".join(f"{value:9.0f}" for value in workers)
            print(f"{16 * number:9} {resident(os.getpid()):14.0f} {row:>20}", flush=True)
    seconds = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count / seconds:.0f} samples a second; this process had {peak:.0f} MB at most")


def resident(process: int) -> float:
    """Memory of a process that is its own, in MB (Linux)."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    sizes = {line.split(":")[0]: float(line.split()[1]) for line in lines[1:]}
    return (sizes["Private_Clean"] + sizes["Private_Dirty"]) / 1024


if __name__ == "__main__":
    main()
