"""What may stand in an experiment file of HRNet's programs, with the defaults of these programs."""

from __future__ import annotations

import re
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

Count = int
Size = tuple[int, int]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Switches(_Section):
    """CUDNN and DEBUG."""

    BENCHMARK: bool = True
    DETERMINISTIC: bool = False
    ENABLED: bool = True
    DEBUG: bool = False
    SAVE_BATCH_IMAGES_GT: bool = False
    SAVE_BATCH_IMAGES_PRED: bool = False
    SAVE_HEATMAPS_GT: bool = False
    SAVE_HEATMAPS_PRED: bool = False


class Stage(_Section):
    """A stage of HRNet."""

    NUM_MODULES: int
    NUM_BRANCHES: int
    BLOCK: Literal["BASIC"] = "BASIC"
    NUM_BLOCKS: tuple[int, ...]
    NUM_CHANNELS: tuple[int, ...]
    FUSE_METHOD: Literal["SUM"] = "SUM"


class Extra(_Section):
    """What each network has of its own; in Simple Baselines' files the targets, too."""

    PRETRAINED_LAYERS: tuple[str, ...] = ()
    FINAL_CONV_KERNEL: Literal[1] = 1
    STAGE2: Stage | None = None
    STAGE3: Stage | None = None
    STAGE4: Stage | None = None
    ATTENTION: str = "none"
    DECONV_WITH_BIAS: Literal[False] = False
    NUM_DECONV_LAYERS: int | None = None
    NUM_DECONV_FILTERS: tuple[int, ...] = ()
    NUM_DECONV_KERNELS: tuple[int, ...] = ()
    NUM_LAYERS: int = 50
    TARGET_TYPE: Literal["gaussian"] = "gaussian"
    SIGMA: float | None = Field(None, gt=0)
    HEATMAP_SIZE: Size | None = None


class Model(_Section):
    """The network."""

    NAME: str = "pose_hrnet"
    STYLE: Literal["pytorch", "caffe"] = "pytorch"
    INIT_WEIGHTS: bool = True
    PRETRAINED: str = ""
    NUM_JOINTS: int = 17
    TAG_PER_JOINT: bool = True
    TARGET_TYPE: Literal["gaussian"] = "gaussian"
    IMAGE_SIZE: Size = (256, 256)
    HEATMAP_SIZE: Size | None = None
    SIGMA: float | None = Field(None, gt=0)
    SYNC_BN: bool = False
    EXTRA: Extra = Extra()


class Loss(_Section):
    """The loss."""

    USE_OHKM: bool = False
    TOPK: int = 8
    USE_TARGET_WEIGHT: bool = True
    USE_DIFFERENT_JOINTS_WEIGHT: bool = False


class Dataset(_Section):
    """Data and augmentation."""

    ROOT: str = ""
    DATASET: Literal["coco", "mpii"] = "mpii"
    TRAIN_SET: str = "train"
    TEST_SET: str = "valid"
    DATA_FORMAT: str = "jpg"
    HYBRID_JOINTS_TYPE: str = ""
    SELECT_DATA: bool = False
    FLIP: bool = True
    SCALE_FACTOR: float = Field(0.25, ge=0, lt=1)
    ROT_FACTOR: float = Field(30, ge=0)
    PROB_HALF_BODY: float = 0.0
    NUM_JOINTS_HALF_BODY: int = 8
    COLOR_RGB: bool = False


class Train(_Section):
    """Optimiser, schedule and batches."""

    LR_FACTOR: float = 0.1
    LR_STEP: tuple[int, ...] = (90, 110)
    LR: float = 0.001
    OPTIMIZER: Literal["adam", "sgd"] = "adam"
    MOMENTUM: float = 0.9
    WD: float = 0.0001
    NESTEROV: bool = False
    GAMMA1: float = 0.99
    GAMMA2: float = 0.0
    BEGIN_EPOCH: int = 0
    END_EPOCH: int = 140
    RESUME: bool = False
    CHECKPOINT: str = ""
    BATCH_SIZE_PER_GPU: int | None = Field(None, gt=0)
    BATCH_SIZE: int | None = Field(None, gt=0)
    SHUFFLE: bool = True


class Test(_Section):
    """Evaluation."""

    BATCH_SIZE_PER_GPU: int | None = None
    BATCH_SIZE: int | None = None
    FLIP_TEST: bool = False
    POST_PROCESS: bool = False
    SHIFT_HEATMAP: bool = False
    USE_GT_BBOX: bool = False
    IMAGE_THRE: float = 0.1
    NMS_THRE: float = 0.6
    SOFT_NMS: bool = False
    OKS_THRE: float = 0.5
    IN_VIS_THRE: float = 0.0
    COCO_BBOX_FILE: str = ""
    BBOX_THRE: float = 1.0
    MODEL_FILE: str = ""
    SOFT_ARGMAX: bool = False
    BIAS: float = 0.0


class Experiment(_Section):
    """A whole file."""

    OUTPUT_DIR: str = ""
    LOG_DIR: str = ""
    DATA_DIR: str = ""
    GPUS: tuple[int, ...] | None = None
    WORKERS: int = Field(4, ge=0)
    PRINT_FREQ: int = 20
    AUTO_RESUME: bool = False
    PIN_MEMORY: bool = True
    VERBOSE: bool = True
    RANK: int = 0
    DIST_BACKEND: str = "nccl"
    DIST_URL: str = ""
    MULTIPROCESSING_DISTRIBUTED: bool = True
    CUDNN: Switches = Switches()
    MODEL: Model = Model()
    LOSS: Loss = Loss()
    DATASET: Dataset = Dataset()
    TRAIN: Train = Train()
    TEST: Test = Test()
    DEBUG: Switches = Switches()

    @pydantic.field_validator("GPUS", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        """`(0,1)`, `0,1` and `0`, of which the programs make a tuple by evaluating the text."""
        if isinstance(value, str):
            bare = value.strip().strip("()[]")
            if not re.fullmatch(r"\s*\d+(\s*,\s*\d+)*\s*,?\s*", bare):
                raise ValueError(f"{value!r} are no numbers of GPUs like (0,1)")
            return tuple(int(part) for part in bare.split(",") if part.strip())
        return (value,) if isinstance(value, int) else value

    @property
    def is_humanpose(self) -> bool:
        """Whether it is one of humanpose.pytorch's: it has settings of its own, and its paths begin one level up."""
        own = {"VERBOSE", "DIST_BACKEND", "DIST_URL", "MULTIPROCESSING_DISTRIBUTED"} & self.model_fields_set
        return bool(own) or "SYNC_BN" in self.MODEL.model_fields_set or self.DATASET.ROOT.startswith("../")

    @property
    def devices(self) -> tuple[int, ...]:
        """Numbers of the GPUs."""
        if self.GPUS:
            return self.GPUS
        return (0, 1, 2, 3) if self.is_humanpose else (0,)
