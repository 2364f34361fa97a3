"""What a model file says about itself: how pictures become its input, and what its outputs mean."""

from __future__ import annotations

import itertools
import re
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from manypose.errors import describe_faults

Task = Literal["bottom-up", "top-down", "face", "hand", "single-stage", "detector"]
Meaning = Literal[
    "heatmaps",
    "fields",
    "heatmaps+fields",  # one output with the channels of both, in this order
    "fields+heatmaps",
    "simcc_x",
    "simcc_y",
    "rows",  # one row for each person or box; `form` of the settings says what stands in it
    "boxes",
    "scores",
    "labels",
    "keypoints",
    "count",
]
Layout = Literal["nchw", "nhwc"]
Decoding = Literal["argmax", "quarter", "dark", "udp-dark", "soft-argmax", "soft-argmax+quarter"]
Share = Annotated[float, Field(ge=0, le=1)]

MOST_FOUND = 1000


def _scale_kind(value: Any) -> str:
    return "<three>" if isinstance(value, (list, tuple)) else "<one>"


_Positive = Annotated[float, Field(gt=0)]
Scale = Annotated[
    Annotated[_Positive, Tag("<one>")] | Annotated[tuple[_Positive, _Positive, _Positive], Tag("<three>")],
    Discriminator(_scale_kind),
]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


# Mean and 1 / deviation of the colours over ImageNet, in levels of 0 to 255, red first: what most networks are fed.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_SCALE = (1 / 58.395, 1 / 57.12, 1 / 57.375)


class InputSettings(_Frozen):
    """How a picture becomes the network's input: (pixel - mean) * scale, in this colour order.

    The input is (B, 3, h, w), or (B, h, w, 3) with the layout "nhwc". Its size is `size` (w, h); where that is None,
    height and width are any multiples of `stride`, and `long_side` is the size, in pixels, at which the model does
    best. `scale` is one number or one for each colour.

    `fit` says how a picture comes to that size:
    "pad"        resized as a whole; `fill` (a grey value) at the right and below
    "letterbox"  the same, with the picture in the middle
    "stretch"    resized to it in both directions
    "crop"       the surroundings of a box (`padding` times the box), turned into the crop of a top-down network

    `resized_by` is the name of a second input that is to be given (h / height, w / width) of the picture, if any.
    """

    name: str = "picture"
    layout: Layout = "nchw"
    dtype: Literal["float32", "uint8", "int32"] = "float32"
    colours: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (128.0, 128.0, 128.0)
    scale: Scale = 1 / 256
    stride: int = Field(32, gt=0, le=1024)
    long_side: int = Field(384, gt=0, le=16384)
    size: tuple[Annotated[int, Field(gt=0, le=16384)], Annotated[int, Field(gt=0, le=16384)]] | None = None
    fit: Literal["pad", "letterbox", "stretch", "crop"] = "pad"
    fill: int = Field(128, ge=0, le=255)
    interpolation: Literal["linear", "cubic"] = "linear"
    padding: float = Field(1.25, gt=0, le=10)
    resized_by: str | None = None

    @property
    def scales(self) -> tuple[float, float, float]:
        """`scale` for each colour."""
        return self.scale if isinstance(self.scale, tuple) else (self.scale,) * 3


class FieldSettings(_Frozen):
    """What the maps of a bottom-up network mean (see `codecs.fields.FieldsCodec`) and how they are decoded.

    `field_offset` says by how many pixels of the input the fields lie to the right of and below the heatmaps.
    """

    kind: Literal["fields"] = "fields"
    stride: int = Field(8, gt=0, le=1024)
    sigma: float = Field(7.0, gt=0)
    limb_width: float = Field(8.0, gt=0)
    field_offset: float = Field(0.0, ge=-1024, le=1024)
    layout: Layout = "nchw"
    decoder: dict[str, float] = Field(default_factory=dict)


class HeatmapSettings(_Frozen):
    """What the heatmaps of one person mean (see `codecs.heatmaps.HeatmapCodec`); `sigma` is in cells, as in recipes.

    Cell k stands for pixel stride * k + `offset` of the input. `kernel` is the width in cells of the blur before DARK,
    None for the one that belongs to sigma. `background` says that the last map is that of the background.
    """

    kind: Literal["heatmaps"] = "heatmaps"
    stride: int = Field(4, gt=0, le=1024)
    sigma: float = Field(2.0, gt=0, le=100)
    offset: float = Field(0.0, ge=-1024, le=1024)
    decoding: Decoding = "dark"
    kernel: int | None = Field(None, gt=0, le=99)
    beta: float = Field(160.0, gt=0, le=10_000)
    udp: bool = False
    background: bool = False
    layout: Layout = "nchw"


class SimccSettings(_Frozen):
    """What the two vectors of each joint mean (see `codecs.simcc`): `split_ratio` bins for one pixel of the input.

    The score of a joint is the smaller one ("min") or the mean ("mean") of the two maxima.
    """

    kind: Literal["simcc"] = "simcc"
    split_ratio: float = Field(2.0, gt=0, le=100)
    score: Literal["min", "mean"] = "min"


class BoxSettings(_Frozen):
    """What the outputs of a detector mean (see `codecs.boxes`).

    `form` is the layout of the outputs. `person` is the class that counts, boxes that score less than `threshold` are
    left out. `iou` is the overlap from which the weaker of two boxes is dropped, None where the network does it.
    `decoded` says of the form "yolox" that its boxes are in pixels already.
    """

    kind: Literal["boxes"] = "boxes"
    form: Literal["dets", "yolox", "yolo", "yolo-rows", "paddle-rows", "candidates", "picodet"] = "dets"
    person: int = Field(0, ge=0, le=10_000)
    threshold: Share = 0.3
    iou: Share | None = None
    most: int = Field(100, gt=0, le=MOST_FOUND)
    strides: tuple[Annotated[int, Field(gt=0, le=1024)], ...] = (8, 16, 32)
    decoded: bool = False


class PeopleSettings(_Frozen):
    """What the outputs of a single-stage network mean, which finds people with their joints (`codecs.single_stage`).

    `form` is the layout of the outputs; `dims` numbers stand for each joint (x, y, and a score where they are three),
    `classes` is how many there are. The others are as in `BoxSettings`.
    """

    kind: Literal["people"] = "people"
    form: Literal["yolo", "yolo-rows", "rtmo", "movenet", "movenet-multi"] = "yolo"
    person: int = Field(0, ge=0, le=10_000)
    classes: int = Field(1, gt=0, le=10_000)
    dims: Literal[2, 3] = 3
    threshold: Share = 0.3
    iou: Share | None = None
    most: int = Field(100, gt=0, le=MOST_FOUND)


_KINDS: dict[str, str] = {
    "bottom-up": "fields",
    "top-down": "heatmaps",
    "face": "heatmaps",
    "hand": "heatmaps",
    "single-stage": "people",
    "detector": "boxes",
}  # what the outputs of a task are, where the metadata do not say it
_PERSON_MAPS = ("heatmaps", "simcc")
_ALLOWED: dict[str, tuple[str, ...]] = {
    "bottom-up": ("fields",),
    "top-down": _PERSON_MAPS,
    "face": _PERSON_MAPS,
    "hand": _PERSON_MAPS,
    "single-stage": ("people",),
    "detector": ("boxes",),
}


class ScoreCurve(_Frozen):
    """What share of scores is right: straight lines through the knots, `raw` scores and `right` shares, both rising.

    Lower and higher scores than those of the first and the last knot are taken as these.
    """

    raw: tuple[Share, ...] = Field(min_length=2, max_length=64)
    right: tuple[Share, ...] = Field(min_length=2, max_length=64)

    @model_validator(mode="after")
    def _check_knots(self) -> ScoreCurve:
        if len(self.raw) != len(self.right):
            raise ValueError(f"raw has {len(self.raw)} knots, but right {len(self.right)}")
        for name, values in (("raw", self.raw), ("right", self.right)):
            if any(low >= high for low, high in itertools.pairwise(values)):
                raise ValueError(f"{name} must rise from knot to knot")
        return self


class Calibration(_Frozen):
    """How scores become probabilities, as `manypose calibrate` has measured it; the estimators apply it.

    A joint is right when its similarity of OKS is at least `joint_similarity`, or within `joint_distance` times the
    square root of the person's area (one of the two is given); a person when his OKS is at least `person_similarity`.
    Scores without a curve stay as they are. `data`, `data_sha256`, `pictures` and `people_labelled` say on what the
    curves were fitted, `figures` how large the errors were before and after on pictures that had no part in a fit.

    Thresholds in the metadata are about scores as they come from the network, before the curves.
    """

    joints: ScoreCurve | None = None
    people: ScoreCurve | None = None
    joint_similarity: Annotated[float, Field(gt=0, lt=1)] | None = None
    joint_distance: Annotated[float, Field(gt=0, le=10)] | None = None
    person_similarity: Annotated[float, Field(gt=0, lt=1)] = 0.5
    data: str = Field(max_length=1000)
    data_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    pictures: int = Field(ge=0)
    people_labelled: int = Field(ge=0)
    figures: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_right(self) -> Calibration:
        if self.joints is None and self.people is None:
            raise ValueError("neither joints nor people have a curve")
        if (self.joint_similarity is None) == (self.joint_distance is None):
            raise ValueError("one of joint_similarity and joint_distance must say when a joint is right")
        return self


def _kind_of(value: Any) -> str:
    kind = value.get("kind", "") if isinstance(value, dict) else getattr(value, "kind", "")
    return f"<{kind}>"


MapSettings = Annotated[
    Annotated[FieldSettings, Tag("<fields>")]
    | Annotated[HeatmapSettings, Tag("<heatmaps>")]
    | Annotated[SimccSettings, Tag("<simcc>")]
    | Annotated[BoxSettings, Tag("<boxes>")]
    | Annotated[PeopleSettings, Tag("<people>")],
    Discriminator(_kind_of),
]


class Metadata(_Frozen):
    """The JSON under the key `manypose` of a model file, schema version 1; or the YAML beside a file of others.

    `maps` are the settings of the outputs; their `kind` is that of the task where it is not said. `calibration` makes
    probabilities of scores, where it was measured.
    """

    schema_version: Literal[1] = 1
    name: str = Field(min_length=1, max_length=200)
    task: Task
    skeleton: str | dict[str, Any]
    input: InputSettings = InputSettings()
    outputs: dict[str, Meaning]
    maps: MapSettings = FieldSettings()
    licence: str = ""
    origin: dict[str, Any] = Field(default_factory=dict)
    figures: dict[str, float] = Field(default_factory=dict)
    calibration: Calibration | None = None
    manypose_version: str = ""

    @model_validator(mode="before")
    @classmethod
    def _name_the_kind(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("task"), str) or data["task"] not in _KINDS:
            return data
        maps = data.get("maps", {})
        return data | {"maps": {"kind": _KINDS[data["task"]]} | maps} if isinstance(maps, dict) else data

    @model_validator(mode="after")
    def _check_kind(self) -> Metadata:
        if self.maps.kind not in _ALLOWED[self.task]:
            allowed = " or ".join(_ALLOWED[self.task])
            raise ValueError(f"maps.kind is {self.maps.kind!r}, but the task {self.task} has {allowed}")
        expected = _expected_meanings(self.maps)
        if sorted(self.outputs.values()) not in [sorted(choice) for choice in expected]:
            choices = ", or ".join(" and one of ".join(choice) for choice in expected[:3])
            raise ValueError(f"outputs must name one output of {choices}")
        return self


def _expected_meanings(maps: Any) -> list[list[str]]:
    """What the outputs of a network with these settings may mean, each choice a list."""
    if isinstance(maps, FieldSettings):
        return [["heatmaps", "fields"], ["heatmaps+fields"], ["fields+heatmaps"]]
    if isinstance(maps, HeatmapSettings):
        return [["heatmaps"]]
    if isinstance(maps, SimccSettings):
        return [["simcc_x", "simcc_y"]]
    if isinstance(maps, BoxSettings):
        if maps.form == "dets":
            return [["boxes", "labels"], ["boxes"]]
        if maps.form == "candidates":
            return [["boxes", "scores"]]
        if maps.form == "picodet":
            return [["scores"] * n + ["boxes"] * n for n in range(1, 9)]
        return [["rows"], ["rows", "count"]]
    return [["boxes", "keypoints"]] if maps.form == "rtmo" else [["rows"]]


# The skeletons of the published networks that see one person, face or hand at a time, by their numbers of joints.
CROP_SKELETONS: dict[str, dict[int, str]] = {
    "top-down": {14: "crowdpose14", 16: "mpii16", 17: "coco17", 133: "wholebody133"},
    "face": {68: "face68", 70: "face70"},
    "hand": {21: "hand21"},
}


def crop_sigma(size: tuple[int, int]) -> float:
    """Sigma, in cells, with which the published networks of crops of this size (w, h) were trained."""
    return 3.0 if size[1] >= 384 else 2.0


def faults_of(error: Exception) -> str:
    """The faults of metadata in one line: pydantic's with the fields that they belong to, others as they are."""
    if not isinstance(error, pydantic.ValidationError):
        return " ".join(str(error).split())
    text = describe_faults(error, most=5).replace(": value error, ", ": ").removeprefix(": ")
    return re.sub(r"\.<\w+>", "", text)  # which sort of settings was meant; it is no field of the file
