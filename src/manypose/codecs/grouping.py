"""Heatmaps and part affinity fields -> People: peaks, limbs between them, and limbs joined to people.

All limbs of all sorts stand in one list, the clearest first, and each joins two peaks: to a new person, to the person
that one of them belongs to, or two partial people to one when no joint is there twice (the rules of OpenPose's GPU
build; Z. Cao et al., arXiv 1812.08008, section 3). What is refused leaves its peaks free for the next best limb.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manypose import geometry
from manypose.codecs.assembly import Group, assemble, flatten, order_by_clearness, share_joints
from manypose.codecs.limbs import Connections, connect, typical_lengths
from manypose.codecs.peaks import Peaks, find_peaks
from manypose.errors import ModelError
from manypose.people import People
from manypose.skeleton import Skeleton

Array = NDArray[np.float32]


_BOUNDS = (
    ("peak_threshold", 1e-4, 1),
    ("field_threshold", 0, 1),
    ("field_support", 0, 1),
    ("longest_limb", 0, 1000),
    ("shared_joint", 0, 1000),
    ("min_joints", 2, 1000),
    ("sure_joint", 0, 1),
    ("min_score", 0, 1),
    ("max_peaks", 1, 1024),  # of one joint; pairs grow with the square
    ("min_mean", 0, 100),
    ("limb_heights", 0, 100),
    ("limb_widths", 0, 100),
)


@dataclass(frozen=True)
class DecoderSettings:
    """Thresholds of the decoder; they are stored in the model file.

    peak_threshold   least height of a heatmap at a joint
    field_threshold  least projection of the field on a limb for a place along it to count as lying on it
    field_support    least share of the places along a limb that must lie on it
    longest_limb     a limb may be this many times longer than the other limbs of the person let expect; 0: no limit
    shared_joint     least score of two limbs of different people that end in one joint, for both to keep it (held
                     hands); above 1: a joint never has two owners
    min_joints       least number of sure joints of a person
    sure_joint       least height of a joint that counts for `min_joints`
    min_score        least score of a person
    max_peaks        at most so many peaks of each joint, the highest, bound the time that a map of noise takes
    min_mean         least sum of the scores of a person's joints and limbs, for each joint found; 0: no limit
    limb_heights     a limb longer than so many heights of the map, plus `limb_widths` widths, scores less by its
    limb_widths      share beyond (CMU's program: half a height); both 0: length costs nothing
    """

    peak_threshold: float = 0.05
    field_threshold: float = 0.02
    field_support: float = 0.6
    longest_limb: float = 3.0
    shared_joint: float = 0.6
    min_joints: int = 4
    sure_joint: float = 0.1
    min_score: float = 0.02
    max_peaks: int = 256
    min_mean: float = 0.0
    limb_heights: float = 0.0
    limb_widths: float = 0.0

    def __post_init__(self) -> None:
        for name, low, high in _BOUNDS:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ModelError(f"decoder setting {name} is {value}, expected {low} to {high}")


def decode(
    heatmaps: Array,
    fields: Array,
    *,
    skeleton: Skeleton,
    stride: int,
    settings: DecoderSettings,
    field_offset: float = 0.0,
    image_size: tuple[int, int] | None = None,
) -> People:
    """The people in the maps of one picture, in pixels of the network's input.

    `heatmaps` are (K, h, w), or (K + 1, h, w) with the background last, which is not read; `fields` are (2L, h, w) in
    the order of `skeleton.fields`. Cell i lies at the pixel stride * i + (stride - 1) / 2; the fields lie
    `field_offset` pixels to the right of and below the heatmaps. The score of a joint is the height of its peak. That
    of a person is the sum of the scores of the limbs found, divided by the number of limbs that there are, where a limb
    of n cells counts n / (n + 1): short ones prove less, and the joints of small people are found less exactly. Both
    lie in 0..1. People stand in the order of their scores, the highest first.

    Raises `ModelError` when the maps do not fit the skeleton or are not finite.
    """
    heatmaps, fields = _check(heatmaps, fields, skeleton)
    peaks = find_peaks(heatmaps, threshold=settings.peak_threshold, limit=settings.max_peaks)
    connections = connect(
        _moved(peaks, field_offset / stride, heatmaps.shape[1:]) if field_offset else peaks,
        fields,
        skeleton,
        threshold=settings.field_threshold,
        support=settings.field_support,
        free_length=settings.limb_heights * fields.shape[1] + settings.limb_widths * fields.shape[2],
    )
    connections = order_by_clearness(peaks, connections)
    groups, connections = assemble(
        peaks,
        connections,
        typical_lengths(skeleton),
        longest_limb=settings.longest_limb,
        min_joints=settings.min_joints,
        sure_joint=settings.sure_joint,
    )
    share_joints(groups, peaks, connections, least_score=settings.shared_joint)
    if settings.min_mean:
        groups = [group for group in groups if _mean_score(group, peaks, connections) >= settings.min_mean]
    people = _to_people(groups, peaks, connections, skeleton, stride, image_size)
    return people[people.person_scores >= settings.min_score]


def _moved(peaks: Peaks, cells: float, grid: tuple[int, ...]) -> Peaks:
    """The peaks to the right of and below their places, but within the map (h, w)."""
    x = np.clip(peaks.x + np.float32(cells), 0, grid[1] - 1)
    return dataclasses.replace(peaks, x=x, y=np.clip(peaks.y + np.float32(cells), 0, grid[0] - 1))


def _check(heatmaps: Array, fields: Array, skeleton: Skeleton) -> tuple[Array, Array]:
    """The heatmaps without their background and the fields, both float32; raises `ModelError` when they do not fit."""
    joints, channels = len(skeleton), 2 * len(skeleton.fields)
    if heatmaps.ndim != 3 or heatmaps.shape[0] not in (joints, joints + 1):
        raise ModelError(
            f"heatmaps have shape {heatmaps.shape}, expected ({joints} or {joints + 1}, h, w) for the skeleton "
            f"{skeleton.name!r}; is it the skeleton that the model was trained for?"
        )
    if fields.shape != (channels, *heatmaps.shape[1:]):
        raise ModelError(
            f"fields have shape {fields.shape}, expected {(channels, *heatmaps.shape[1:])}: two channels for each limb "
            f"in the fields of the skeleton {skeleton.name!r}, on the grid of the heatmaps"
        )
    heatmaps = np.ascontiguousarray(heatmaps[:joints], np.float32)
    fields = np.ascontiguousarray(fields, np.float32)
    for name, maps in (("heatmaps", heatmaps), ("fields", fields)):
        if maps.size and not (np.isfinite(maps.min()) and np.isfinite(maps.max())):
            raise ModelError(
                f"the {name} are not finite: the network overflowed; run it in float32, not in half precision"
            )
    return heatmaps, fields


def _mean_score(group: Group, peaks: Peaks, connections: Connections) -> float:
    """The scores of a person's joints and limbs for each joint, which the products of CMU's family filter by."""
    total = peaks.scores[list(group.peaks)].sum() + connections.scores[list(group.limbs)].sum()
    return float(total) / len(group.peaks)


def _to_people(
    groups: list[Group],
    peaks: Peaks,
    connections: Connections,
    skeleton: Skeleton,
    stride: int,
    image_size: tuple[int, int] | None,
) -> People:
    """People of groups of peaks, the highest score first."""
    person, peak = flatten([group.peaks for group in groups])
    keypoints = np.full((len(groups), len(skeleton), 2), np.nan, np.float32)
    scores = np.zeros((len(groups), len(skeleton)), np.float32)
    cells = np.stack([peaks.x[peak], peaks.y[peak]], axis=1)
    keypoints[person, peaks.joints[peak]] = geometry.cell_to_pixel(cells, stride)
    scores[person, peaks.joints[peak]] = peaks.scores[peak]
    owner, limb = flatten([group.limbs for group in groups])
    told = connections.scores * connections.lengths / (connections.lengths + 1)
    person_scores = np.bincount(owner, told[limb], minlength=len(groups)) / max(len(skeleton.fields), 1)
    order = np.argsort(-person_scores, kind="stable")
    return People.build(
        keypoints[order],
        scores[order],
        skeleton=skeleton,
        person_scores=person_scores[order],
        image_size=image_size,
    )
