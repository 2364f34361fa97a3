"""The grammar of OpenPose's JSON files, as pydantic checks it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AliasChoices, BaseModel, ConfigDict, FailFast, Field, TypeAdapter

Number = Annotated[float, Field(ge=-1e7, le=1e7)]
Numbers = Annotated[list[Number], FailFast(), Field(max_length=3000)]
Identity = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
CONFIG = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


def _either(name: str) -> list[float]:
    """A list under today's key, or under that of files from before 2018; empty when there is neither."""
    return Field(default=[], validation_alias=AliasChoices(f"{name}_2d", name))


class PersonEntry(BaseModel):
    """One person; the 3D keys, and keys that other products add, are left alone."""

    model_config = CONFIG

    person_id: Annotated[list[Identity], Field(max_length=1)] = []
    pose_keypoints: Numbers = _either("pose_keypoints")
    face_keypoints: Numbers = _either("face_keypoints")
    hand_left_keypoints: Numbers = _either("hand_left_keypoints")
    hand_right_keypoints: Numbers = _either("hand_right_keypoints")


class OpenPoseFile(BaseModel):
    """The file of one picture."""

    model_config = CONFIG

    version: float | None = None
    people: Annotated[list[PersonEntry], FailFast(), Field(max_length=100_000)]
    part_candidates: Annotated[list[dict[str, Numbers]], Field(max_length=1)] = []


OPENPOSE_FILE = TypeAdapter(OpenPoseFile)
