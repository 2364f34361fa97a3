"""Experiment files in the layout of HRNet's programs, as plain data to change."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

TRAIN = {
    "BATCH_SIZE_PER_GPU": 32, "SHUFFLE": True, "BEGIN_EPOCH": 0, "END_EPOCH": 210, "OPTIMIZER": "adam", "LR": 0.001,
    "LR_FACTOR": 0.1, "LR_STEP": [170, 200], "WD": 0.0001, "GAMMA1": 0.99, "GAMMA2": 0.0, "MOMENTUM": 0.9,
    "NESTEROV": False,
}  # fmt: skip
TEST = {
    "BATCH_SIZE_PER_GPU": 32, "COCO_BBOX_FILE": "data/coco/detections.json", "BBOX_THRE": 1.0, "IMAGE_THRE": 0.0,
    "IN_VIS_THRE": 0.2, "MODEL_FILE": "", "NMS_THRE": 1.0, "OKS_THRE": 0.9, "USE_GT_BBOX": True, "FLIP_TEST": True,
    "POST_PROCESS": True, "SHIFT_HEATMAP": True,
}  # fmt: skip


def _stage(modules: int, blocks: int, channels: list[int]) -> dict[str, Any]:
    return {
        "NUM_MODULES": modules, "NUM_BRANCHES": len(channels), "BLOCK": "BASIC", "NUM_BLOCKS": [blocks] * len(channels),
        "NUM_CHANNELS": channels, "FUSE_METHOD": "SUM",
    }  # fmt: skip


def hrnet_extra(base: int, blocks: int, modules: tuple[int, int, int]) -> dict[str, Any]:
    channels = [base * 2**n for n in range(4)]
    stages = {f"STAGE{n}": _stage(modules[n - 2], blocks, channels[:n]) for n in (2, 3, 4)}
    return {"PRETRAINED_LAYERS": ["conv1", "stage4"], "FINAL_CONV_KERNEL": 1, **stages}


def head_extra(layers: int, *, deconvolutions: int, **more: Any) -> dict[str, Any]:
    return {
        "FINAL_CONV_KERNEL": 1, "DECONV_WITH_BIAS": False, "NUM_DECONV_LAYERS": deconvolutions,
        "NUM_DECONV_FILTERS": [256] * deconvolutions, "NUM_DECONV_KERNELS": [4] * deconvolutions, "NUM_LAYERS": layers,
    } | more  # fmt: skip


def w32() -> dict[str, Any]:
    """HRNet's own file for COCO, 256 x 192."""
    return copy.deepcopy({
        "AUTO_RESUME": True, "CUDNN": {"BENCHMARK": True, "DETERMINISTIC": False, "ENABLED": True}, "DATA_DIR": "",
        "GPUS": "(0,1,2,3)", "OUTPUT_DIR": "output", "LOG_DIR": "log", "WORKERS": 24, "PRINT_FREQ": 100,
        "DATASET": {
            "COLOR_RGB": True, "DATASET": "coco", "DATA_FORMAT": "jpg", "FLIP": True, "NUM_JOINTS_HALF_BODY": 8,
            "PROB_HALF_BODY": 0.3, "ROOT": "data/coco/", "ROT_FACTOR": 45, "SCALE_FACTOR": 0.35,
            "TEST_SET": "val2017", "TRAIN_SET": "train2017",
        },
        "MODEL": {
            "INIT_WEIGHTS": True, "NAME": "pose_hrnet", "NUM_JOINTS": 17,
            "PRETRAINED": "models/pytorch/imagenet/hrnet_w32-36af842e.pth", "TARGET_TYPE": "gaussian",
            "IMAGE_SIZE": [192, 256], "HEATMAP_SIZE": [48, 64], "SIGMA": 2, "EXTRA": hrnet_extra(32, 4, (1, 4, 3)),
        },
        "LOSS": {"USE_TARGET_WEIGHT": True}, "TRAIN": TRAIN, "TEST": TEST,
        "DEBUG": {"DEBUG": True, "SAVE_HEATMAPS_GT": True},
    })  # fmt: skip


def write_experiment(file: Path, content: dict[str, Any]) -> Path:
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file
