"""The training losses that two products published, to be laid beside those of a run by the same recipe.

Both train the network `vgg_paf` with six stages at 368 pixels in batches of 10, and log the sum of twelve Euclidean
losses (two for each stage) over the cells of 46 x 46 maps, divided by twice the batch: our `euclidean`. The losses of a
run at another size are on another scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SIZE, STAGES, FIELDS = 368, 6, 38
_KERAS_EPOCH = 5259  # iterations


@dataclass(frozen=True)
class PublishedCurve:
    """A published loss: iterations and values, and the columns of our log that they are to be compared with.

    `label` names the product for a legend; `source` says which of its figures these are and how they differ from ours.
    """

    label: str
    source: str
    steps: tuple[float, ...]
    columns: Mapping[str, tuple[float, ...]]


def published_curve(settings: Mapping[str, Any]) -> PublishedCurve | None:
    """The published curve of the settings of a run (its `recipe.yaml`); None where no product's recipe is the same.

    The same are network, number of stages, joints, size and loss, without which the figures cannot be compared; whose
    curve it is, is told by `target_rules`. Batch, rate and data may differ: they are what one wants to compare.
    """
    options = settings.get("network_options") or {}
    size = settings.get("size")
    is_theirs = (
        settings.get("network") == "vgg_paf"
        and isinstance(options, Mapping)
        and options.get("stages", STAGES) == STAGES
        and settings.get("width", 1.0) == 1
        and settings.get("loss") == "euclidean"
        and settings.get("skeleton") == "openpose18"  # 19 limbs: 38 fields
        and size in (SIZE, [SIZE, SIZE])
    )
    return PUBLISHED.get(str(settings.get("target_rules"))) if is_theirs else None


# Means over each epoch: the total, and heatmaps and fields of the six stages.
_KERAS_TOTAL = (835.70, 691.08, 648.53, 620.95, 602.32)
_KERAS_FIELDS = (
    (104.42, 92.93, 88.38, 84.97, 82.51),
    (96.34, 80.76, 76.27, 73.45, 71.56),
    (96.38, 80.60, 75.67, 72.46, 70.37),
    (96.32, 80.47, 75.49, 72.13, 69.96),
    (96.22, 80.34, 75.23, 71.75, 69.53),
    (96.35, 80.19, 74.79, 71.10, 68.76),
)
_KERAS_HEATMAPS = (
    (42.99, 35.68, 33.41, 32.12, 31.05),
    (40.33, 31.53, 29.45, 28.30, 27.42),
    (40.21, 31.41, 29.19, 27.86, 26.89),
    (42.54, 31.43, 29.07, 27.66, 26.66),
    (40.39, 31.21, 28.94, 27.52, 26.54),
    (40.36, 31.23, 28.86, 27.40, 26.38),
)

# Iteration, total, and fields and heatmaps of stage 3: the logged values themselves before iteration 500, from there
# on medians of the 200 logged rows around it (500 iterations to either side).
_CMU = (
    (0, 6777, 174.8, 955.0),
    (5, 4109, 176.0, 598.4),
    (10, 3307, 178.4, 369.2),
    (20, 2061, 183.0, 160.0),
    (50, 2139, 251.3, 104.9),
    (100, 1662, 201.2, 75.3),
    (200, 1667, 191.9, 78.4),
    (300, 1156, 139.5, 47.3),
    (500, 1312, 153.5, 61.3),
    (750, 1236, 146.7, 55.5),
    (1000, 1160, 140.3, 52.1),
    (1500, 1125, 135.5, 48.5),
    (2000, 1125, 135.3, 48.3),
    (3000, 1054, 129.5, 42.6),
    (5000, 976, 119.0, 40.2),
    (7500, 895, 107.7, 37.4),
    (10000, 904, 110.4, 35.6),
    (15000, 847, 103.9, 33.9),
    (20000, 798, 96.8, 32.0),
    (25000, 771, 95.0, 30.2),
    (30000, 767, 94.5, 30.2),
    (40000, 732, 89.1, 28.5),
    (50000, 738, 92.4, 28.7),
    (60000, 696, 85.3, 26.7),
    (70000, 689, 85.8, 26.1),
    (80000, 701, 87.5, 26.8),
    (90000, 686, 84.8, 26.4),
    (100000, 658, 82.8, 24.8),
    (110000, 653, 82.2, 24.3),
    (120000, 666, 84.4, 25.2),
    (130000, 635, 78.7, 24.0),
    (136000, 626, 77.2, 24.2),
    (140000, 646, 80.1, 23.2),
    (150000, 594, 73.4, 22.7),
    (160000, 602, 76.1, 22.6),
    (170000, 598, 73.7, 22.3),
    (180000, 605, 76.1, 21.9),
    (190000, 612, 76.2, 22.7),
    (200000, 597, 74.0, 22.6),
    (210000, 600, 74.8, 22.2),
    (216345, 596, 75.8, 22.3),
)

PUBLISHED: Mapping[str, PublishedCurve] = {
    "keras": PublishedCurve(
        label="published by michalfaber/keras_Realtime_Multi-Person_Pose_Estimation (means of epochs)",
        source=f"its sheet of losses: means of each epoch of {_KERAS_EPOCH:,} iterations (drawn at its middle), rate "
        "4e-5; the total holds the decay too, 2.8 in the first epoch and 4.7 in the fifth",
        steps=tuple((epoch + 0.5) * _KERAS_EPOCH for epoch in range(len(_KERAS_TOTAL))),
        columns={
            "loss": _KERAS_TOTAL,
            **{f"losses/heatmaps_{n}": values for n, values in enumerate(_KERAS_HEATMAPS, 1)},
            **{f"losses/fields_{n}": values for n, values in enumerate(_KERAS_FIELDS, 1)},
        },
    ),
    "cmu-2017": PublishedCurve(
        label="published by ZheC/Realtime_Multi-Person_Pose_Estimation (medians of its log)",
        source="its training log: rate 2e-5, from iteration 136,110 on 6.66e-6; medians of 1,000 iterations from "
        "the 500th on; of the stages the log tells the third alone",
        steps=tuple(float(row[0]) for row in _CMU),
        columns={
            "loss": tuple(float(row[1]) for row in _CMU),
            "losses/fields_3": tuple(row[2] for row in _CMU),
            "losses/heatmaps_3": tuple(row[3] for row in _CMU),
        },
    ),
}
