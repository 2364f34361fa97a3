"""The grammar of manypose's own JSON, as pydantic checks it; `schema/people-1.json` says the same for others.

Strict: no unknown keys, no numbers as text, no NaN, and a limit on every count, since files come from strangers.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    FailFast,
    Field,
    Tag,
    TypeAdapter,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

Name = Annotated[str, Field(min_length=1, max_length=200)]
Pixel = Annotated[float, Field(ge=-1e7, le=1e7)]
Unit = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Identity = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Joint = tuple[Pixel, Pixel, Unit] | None
State = Annotated[int, Field(ge=0, le=3)]
Names = Annotated[list[Name], FailFast(), Field(max_length=1000)]
Pair = tuple[Name, Name]
MeasuredPair = tuple[Name, Name, Annotated[float, Field(gt=0, le=1e6)]]  # with the limb's usual length


class Strict(BaseModel):
    """An object without unknown keys.

    pydantic's own `extra="forbid"` describes every unknown key: gigabytes for a hostile file, where one is enough.
    """

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _refuse_unknown_keys(self) -> Self:
        for key in self.model_extra or ():
            raise PydanticCustomError("unknown_key", "unknown key {key}", {"key": repr(key[:100])})
        return self


class SkeletonDefinition(Strict):
    """A skeleton that does not come with manypose, in full, as `Skeleton.to_dict` gives it."""

    name: Name
    source: Annotated[str, Field(max_length=2000)] = ""
    joints: Annotated[list[Name], FailFast(), Field(min_length=1, max_length=1000)]
    limbs: Annotated[list[tuple[Name, Name, Name]], FailFast(), Field(max_length=10_000)] = []
    fields: Annotated[list[Pair | MeasuredPair], FailFast(), Field(max_length=10_000)] = []
    pairs: Annotated[list[Pair], FailFast(), Field(max_length=1000)] = []
    sigmas: Annotated[list[float], Field(max_length=1000)] | None = None
    derived: Annotated[dict[Name, Names], Field(max_length=1000)] = {}


def _kind(value: Any) -> str:
    return "<name>" if isinstance(value, str) else "<definition>"


AnySkeleton = Annotated[
    Annotated[Name, Tag("<name>")] | Annotated[SkeletonDefinition, Tag("<definition>")], Discriminator(_kind)
]


class Joints(Strict):
    """The joints of a person, or of one part of him, in the order of the skeleton."""

    score: Annotated[float, Field(ge=-1e9, le=1e9)] | None = None
    box: tuple[Pixel, Pixel, Pixel, Pixel] | None = None
    keypoints: Annotated[list[Joint], FailFast(), Field(max_length=1000)]
    states: Annotated[list[State], Field(max_length=1000)] | None = None


class Person(Joints):
    """One person, with those of his parts (face, left_hand, right_hand) that were found."""

    id: Identity | None = None
    parts: Annotated[dict[Name, Joints], Field(max_length=16)] = {}


class PictureEntry(Strict):
    """The people of one picture; `parts` says which skeleton each part has."""

    file_name: Annotated[str, Field(max_length=4096)] | None = None
    image_size: tuple[Count, Count] | None = None
    skeleton: AnySkeleton
    parts: Annotated[dict[Name, AnySkeleton], Field(max_length=16)] = {}
    people: Annotated[list[Person], FailFast(), Field(max_length=100_000)]


class PeopleFile(Strict):
    """A whole file."""

    format: Literal["manypose people"]
    schema_version: int
    pictures: Annotated[list[PictureEntry], FailFast(), Field(max_length=1_000_000)]

    @field_validator("schema_version")
    @classmethod
    def _know_version(cls, version: int) -> int:
        if version != 1:
            raise PydanticCustomError("version", "this manypose reads version 1; a newer one may read this file")
        return version


PEOPLE_FILE = TypeAdapter(PeopleFile)
