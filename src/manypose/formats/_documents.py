"""What all file formats share: reading with a limit, parsing with the place of a fault, rounding, writing."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from manypose import files
from manypose.errors import FormatError

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

    from manypose.people import People

Document = TypeVar("Document")
FilePath = str | PathLike[str]

MAX_BYTES = 256 * 2**20
"""Largest file that is read unless the caller says otherwise: about half a million people with 17 joints."""

PIXEL_DECIMALS = 2
SCORE_DECIMALS = 4


def read_bytes(path: FilePath, *, max_bytes: int) -> bytes:
    """The content of a file; raises `FormatError` when it cannot be read or has more than `max_bytes`."""
    try:
        with open(path, "rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(content) > max_bytes:
        raise FormatError(f"{path}: is larger than {max_bytes} bytes; pass a higher max_bytes if you trust it")
    return content


def write_text(path: FilePath, text: str, *, overwrite: bool) -> None:
    """Write a text file as UTF-8, the same bytes on every system; raises `OutputError` as `files.write_bytes` does."""
    files.write_bytes(path, text.encode("utf-8"), overwrite=overwrite)


def parse_json(adapter: TypeAdapter[Document], content: str | bytes, *, source: str) -> Document:
    """A checked document from JSON; raises `FormatError` with `source` and the path of the fault inside of it."""
    from pydantic import ValidationError

    bare = content.removeprefix("\ufeff") if isinstance(content, str) else content.removeprefix(b"\xef\xbb\xbf")
    try:
        return adapter.validate_json(bare, strict=True)
    except ValidationError as error:
        raise FormatError(_describe(error, source)) from None


def parse_objects(adapter: TypeAdapter[Document], data: Any, *, source: str) -> Document:
    """A checked document from Python objects, as `json.loads` gives them; raises as `parse_json` does."""
    from pydantic import ValidationError

    try:
        return adapter.validate_python(data, strict=True)
    except ValidationError as error:
        raise FormatError(_describe(error, source)) from None


def flat_joints(
    people: People, decimals: int = PIXEL_DECIMALS, score_decimals: int = SCORE_DECIMALS
) -> list[list[float]]:
    """x, y, score of all joints of each person in one flat list, as COCO and OpenPose write them.

    A joint that was not found is 0, 0, 0. One that was found has a score above 0 after rounding too, since that is how
    these formats tell the two apart.
    """
    scores = np.round(np.maximum(people.scores.astype(np.float64), 10.0**-score_decimals), score_decimals)
    places = np.round(people.keypoints.astype(np.float64), decimals)
    joints = np.where(people.visible[..., None], np.concatenate([places, scores[..., None]], axis=2), 0)
    flat: list[list[float]] = (joints.reshape(len(people), 3 * len(people.skeleton)) + 0.0).tolist()
    return flat


def path_text(path: tuple[int | str, ...]) -> str:
    """A path inside a document as people write it: `people[2].keypoints[5]`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".") or "the document"


def rounded(values: NDArray[Any], decimals: int) -> Any:
    """Nested lists of plain floats with so many decimals; never -0.0, so that equal numbers have equal texts."""
    return (np.round(np.asarray(values, np.float64), decimals) + 0.0).tolist()


def _describe(error: ValidationError, source: str) -> str:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    # Steps that name the branch of a union are pydantic's own and stand in angle brackets in our models.
    path = tuple(step for step in faults[0]["loc"] if not str(step).startswith("<"))
    more = f" (and {len(faults) - 1} more faults)" if len(faults) > 1 else ""
    return f"{source}: {path_text(path)}: {faults[0]['msg']}{more}"
