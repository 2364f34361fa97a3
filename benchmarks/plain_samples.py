"""A plain sample generator, as the programs of 2018 have it, for comparison with ours; and ours behind a server.

A JPEG file is decoded, scaled, turned, cut and mirrored one after another, and with it the mask; 19 heatmaps and 38
fields are drawn person by person and joint by joint, with a cell for each pixel (or for `stride` of them); all of it is
pickled to another process.
"""

from __future__ import annotations

import multiprocessing
import pickle
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from manypose.data.pictures import LabelledPicture, draw_segment
from manypose.data.samples import FieldSamples
from manypose.files import read_member
from manypose.skeleton import load_skeleton

SKELETON = load_skeleton("openpose18")
SIGMA, WIDTH = 7.0, 8.0
Array = NDArray[np.float64]


def piped(pictures: list[LabelledPicture], size: int, count: int, *, stride: int = 1) -> Iterator[Any]:
    """`count` samples out of another process."""
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_send, args=(there, pictures, size, count, stride))
    process.start()
    for _ in range(count):
        yield pickle.loads(here.recv_bytes())  # our own process sends it
    process.join()


def _send(there: Connection, pictures: list[LabelledPicture], size: int, count: int, stride: int) -> None:
    cv2.setNumThreads(0)
    random = np.random.default_rng(0)
    for _ in range(count):
        sample = make_sample(pictures[int(random.integers(len(pictures)))], size, random, stride)
        there.send_bytes(pickle.dumps(sample))


def make_sample(labels: LabelledPicture, size: int, random: np.random.Generator, stride: int) -> tuple[Any, ...]:
    picture = cv2.imdecode(np.frombuffer(read_member(labels.archive, labels.name), np.uint8), cv2.IMREAD_COLOR)
    people = labels.keypoints.astype(np.float64)
    mask = np.zeros(picture.shape[:2], np.uint8)
    for segment in labels.ignore_segments:
        drawn = draw_segment(segment, labels.size)
        if drawn is not None:
            mask |= drawn.astype(np.uint8)

    factor = random.uniform(0.6, 1.2)
    picture = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    mask = cv2.resize(mask, (picture.shape[1], picture.shape[0]), interpolation=cv2.INTER_NEAREST)
    people *= factor

    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), random.normal(0, 13), 1)
    picture = cv2.warpAffine(picture, turn, (width, height), flags=cv2.INTER_CUBIC, borderValue=(127, 127, 127))
    mask = cv2.warpAffine(mask, turn, (width, height), flags=cv2.INTER_NEAREST)
    people = people @ turn[:, :2].T + turn[:, 2]

    x, y = np.nanmean(people[random.integers(len(people))], axis=0) - size / 2
    shift = np.array([[1, 0, -x], [0, 1, -y]])
    picture = cv2.warpAffine(picture, shift, (size, size), flags=cv2.INTER_NEAREST, borderValue=(127, 127, 127))
    mask = cv2.warpAffine(mask, shift, (size, size), flags=cv2.INTER_NEAREST)
    people -= (x, y)

    if random.uniform() < 0.5:
        picture, mask = picture[:, ::-1], mask[:, ::-1]
        people = people[:, SKELETON.flip]
        people[..., 0] = size - 1 - people[..., 0]
    cells = (people - (stride - 1) / 2) / stride
    heatmaps = draw_heatmaps(cells, size // stride, SIGMA / stride)
    fields = draw_fields(cells, size // stride, WIDTH / stride)
    return np.ascontiguousarray(picture), np.ascontiguousarray(mask), heatmaps, fields


def draw_heatmaps(people: Array, size: int, sigma: float) -> NDArray[np.float32]:
    heatmaps = []
    most = np.zeros((size, size))
    for joint in range(len(SKELETON)):
        heatmap = np.zeros((size, size))
        for person in people:
            if not np.isnan(person[joint, 0]):
                columns = np.tile(np.arange(size), (size, 1))
                rows = np.tile(np.arange(size), (size, 1)).T
                distance = (columns - person[joint, 0]) ** 2 + (rows - person[joint, 1]) ** 2
                drawn = np.exp(-0.5 * distance / sigma**2)
                heatmap = np.maximum(heatmap, drawn)
                most = np.maximum(most, drawn)
        heatmaps.append(heatmap)
    return np.array([*heatmaps, 1 - most], np.float32)


def draw_fields(people: Array, size: int, width: float) -> NDArray[np.float32]:
    fields = []
    for first, second in SKELETON.fields:
        field, count = np.zeros((2, size, size)), np.zeros((2, size, size))
        for person in people:
            start, end = person[first], person[second]
            length = np.linalg.norm(end - start)
            if length > 0:  # False for NaN too
                unit = (end - start) / length
                columns = np.tile(np.arange(size), (size, 1))
                rows = np.tile(np.arange(size), (size, 1)).T
                forward = unit[0] * (columns - start[0]) + unit[1] * (rows - start[1])
                sideways = unit[1] * (columns - start[0]) - unit[0] * (rows - start[1])
                inside = (forward >= 0) & (forward <= length) & (np.abs(sideways) <= width)
                field += np.stack([inside, inside]) * unit[:, None, None]
                count += inside
        field[count > 0] /= count[count > 0]
        fields.append(field)
    return np.concatenate(fields).astype(np.float32)


def served(samples: FieldSamples) -> Iterator[Any]:
    """An epoch of samples from a sample server with one worker, in a process of its own."""
    from manypose.data.serving.client import ServedSamples

    with tempfile.TemporaryDirectory() as folder:
        address = f"ipc://{Path(folder) / 'samples'}"
        process = multiprocessing.get_context("fork").Process(target=_serve, args=(samples, address))
        process.start()
        client = ServedSamples(address)
        yield from client
        client.close()
        process.join()


def _serve(samples: FieldSamples, address: str) -> None:
    from manypose.data.serving.compact import Stream
    from manypose.data.serving.server import ByNumber, serve

    cv2.setNumThreads(0)
    stream = Stream(seed=0, length=len(samples), epochs=1, part=1, parts=1, split="train")
    serve(ByNumber(samples, len(samples)), address, stream, workers=0)
