"""The grammar of COCO results files, as pydantic checks it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, FailFast, Field, TypeAdapter

Number = Annotated[float, Field(ge=-1e7, le=1e7)]
Numbers = Annotated[list[Number], FailFast(), Field(max_length=3000)]
Box = Annotated[list[Number], Field(min_length=4, max_length=4)]


class Row(BaseModel):
    """One person of one picture; keys that are not named here are left alone, as every product adds its own."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    image_id: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
    keypoints: Numbers
    foot_kpts: Numbers = []
    face_kpts: Numbers = []
    lefthand_kpts: Numbers = []
    righthand_kpts: Numbers = []
    score: Number
    bbox: Box | None = None


ROWS = TypeAdapter(Annotated[list[Row], FailFast(), Field(max_length=10_000_000)])
