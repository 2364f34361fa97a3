"""The test-time options of other programs, so that their tables can be had again by whoever has their weights.

The decoder is ours in every case. What a program does otherwise than it can is told in docs/evaluate.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from manypose.errors import ManyposeError
from manypose.metadata import Task


@dataclass(frozen=True)
class Preset:
    """The options of one program.

    `estimator` are those of `BottomUpOptions` or `TopDownOptions`, `rows` those of `predictions.RowRules`; `task` is
    the sort of models that it runs. `program` says whose it is.
    """

    program: str
    task: Task
    estimator: Mapping[str, Any]
    rows: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


def _decoder(peak: float, field: float, support: float, joints: int, mean: float, **more: float) -> dict[str, float]:
    """Settings of the decoder: the products know no least score, no held hands and no limit by the other limbs."""
    return {
        "peak_threshold": peak,
        "field_threshold": field,
        "field_support": support,
        "min_joints": joints,
        "min_mean": mean,
        "sure_joint": 0.0,
        "min_score": 0.0,
        "longest_limb": 0.0,
        "shared_joint": 1000.0,
        **more,
    }


# Rescoring with the joints above IN_VIS_THRE, and OKS_THRE of the suppression.
_HRNET = {"rescore": True, "joint_threshold": 0.2, "suppression": "hard", "similarity": 0.9}

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        # Chainer's OpenPose and TreB1eN's copy, "fast": one scale, the shorter side at 368; a limb longer than the map
        # is wide costs. "precise" is the same with --scales 0.5,1,1.5,2.
        "treb1en": Preset(
            "Chainer_Realtime_Multi-Person_Pose_Estimation and TreB1eN's copy of it",
            "bottom-up",
            {"short_side": 368, "scales": (1.0,), "decoder": _decoder(0.05, 0.05, 0.9, 3, 0.2, limb_widths=1.0)},
            {"person_score": "total"},
        ),
        # The Keras programs and their fork with a COCO metric: four scales of 368 rows, cubic, padded with grey; the
        # fork writes whole pixels and 1 - 1 / total.
        "keras": Preset(
            "keras_Realtime_Multi-Person_Pose_Estimation and its fork with a COCO metric",
            "bottom-up",
            {
                "height": 368,
                "scales": (0.5, 1.0, 1.5, 2.0),
                "interpolation": "cubic",
                "fill": 128,
                "decoder": _decoder(0.1, 0.05, 0.9, 4, 0.4, limb_heights=0.5),
            },
            {"person_score": "1 - 1 / total", "whole": True},
        ),
        # The MXNet programs, first and second form: five scales of a shorter side of 368, each mirrored too, padded
        # with black.
        "mxnet": Preset(
            "the MXNet re-implementations",
            "bottom-up",
            {
                "short_side": 368,
                "scales": (0.5, 1.0, 1.5, 2.0, 2.5),
                "flip": True,
                "interpolation": "linear",
                "fill": 0,
                "decoder": _decoder(0.1, 0.05, 0.9, 3, 0.2, limb_heights=0.5),
            },
            {"person_score": "total x joints", "offset": 0.5},
        ),
        # One scale, 0.3 of the picture (its option -scale), and a field threshold of twice the others'.
        "xuexingyu": Preset(
            "xuexingyu's PyTorch program",
            "bottom-up",
            {"scale": 0.3, "scales": (1.0,), "decoder": _decoder(0.1, 0.1, 0.9, 4, 0.4, limb_heights=0.5)},
            {"person_score": "total"},
        ),
        # Its body network runs at half of 368 rows only.
        "hzzone": Preset(
            "Hzzone's pytorch-openpose",
            "bottom-up",
            {
                "height": 368,
                "scales": (0.5,),
                "interpolation": "cubic",
                "fill": 128,
                "decoder": _decoder(0.1, 0.05, 0.9, 4, 0.4, limb_heights=0.5),
            },
            {"person_score": "total"},
        ),
        # The C++ grouping: more than 6 of 10 places along a limb are enough; all people score 1.
        "tensorboy": Preset(
            "tensorboy's pytorch_Realtime_Multi-Person_Pose_Estimation",
            "bottom-up",
            {"short_side": 368, "scales": (1.0,), "decoder": _decoder(0.1, 0.05, 0.7, 4, 0.3, limb_heights=0.5)},
            {"person_score": "one"},
        ),
        # Its val.py: 368 rows, cubic, padded with the mean; --scales 0.5,1,1.5,2 is its --multiscale.
        "daniil": Preset(
            "Daniil Osokin's lightweight-human-pose-estimation.pytorch",
            "bottom-up",
            {
                "height": 368,
                "scales": (1.0,),
                "interpolation": "cubic",
                "fill": 128,
                "decoder": _decoder(0.1, 0.05, 0.9, 3, 0.2),
            },
            {"person_score": "total x (joints - 1)", "offset": 0.5},
        ),
        # Net resolution -1x368, one scale; nearly all places along a limb must agree.
        "openpose": Preset(
            "OpenPose",
            "bottom-up",
            {"height": 368, "scales": (1.0,), "decoder": _decoder(0.05, 0.05, 0.95, 3, 0.4)},
            {"person_score": "total"},
        ),
        # FLIP_TEST and SHIFT_HEATMAP, POST_PROCESS; rescoring with joints above 0.2, OKS-NMS at 0.9.
        "hrnet": Preset(
            "HRNet's deep-high-resolution-net.pytorch, and Simple Baselines with --flip-test",
            "top-down",
            {"flip": True, "flip_shift": True, "decoding": "quarter", **_HRNET},
        ),
        # The recipes of LPN and of w18_v2_softargmax: soft-argmax (beta 160) and the quarter offset on top; its other
        # rows of HRNet are those of "hrnet".
        "humanpose": Preset(
            "humanpose and LPN (SOFT_ARGMAX: true)",
            "top-down",
            {
                "flip": True,
                "flip_shift": True,
                "decoding": "soft-argmax+quarter",
                **_HRNET,
            },
        ),
    }
)


def preset(name: str, task: str) -> Preset:
    """A program's options by name, for a model of a task; raises `ManyposeError` when they do not go together."""
    if name not in PRESETS:
        raise ManyposeError(f"no preset is called {name!r}; there are {', '.join(PRESETS)}")
    found = PRESETS[name]
    if found.task != task:
        fitting = ", ".join(other for other, one in PRESETS.items() if one.task == task) or "none"
        raise ManyposeError(f"--like {name} is for {found.task} models, and this is a {task} one; there are {fitting}")
    return found
