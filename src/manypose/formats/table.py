"""Tables: pandas, one row for each person and joint. Needs pandas: pip install 'manypose[tables]'.

| column       | type    | what                                                                                |
|--------------|---------|-------------------------------------------------------------------------------------|
| person       | int64   | row of the person in `People`, from 0                                               |
| id           | Int64   | the person's id; missing without ids                                                |
| person_score | float64 | how sure the whole person is                                                        |
| part         | text    | "body" for the people's own joints, else the name of the part (face, left_hand ...) |
| joint        | text    | name of the joint                                                                   |
| x, y         | float64 | pixels of the picture, as manypose's own; NaN where the joint was not found         |
| score        | float64 | 0..1; 0 where the joint was not found                                               |
| state        | UInt8   | 0 absent, 1 measured, 2 filled in, 3 set by a person; missing without states        |

Rows go person by person: the body first, then the parts by name, joints in the order of the skeleton. Nothing is
rounded. Boxes and the scores of parts are facts of persons, not of joints, and are left out: what is read back has the
boxes around its joints, and each part scores the mean of its joints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from manypose.errors import FormatError, require
from manypose.people import People
from manypose.skeleton import Skeleton, load_skeleton

if TYPE_CHECKING:
    import pandas


def to_pandas(people: People) -> pandas.DataFrame:
    """The people as a data frame with the columns of this module; no rows when there is nobody.

    Raises `MissingExtraError` without pandas.
    """
    pd = require("pandas", extra="tables")
    groups = {"body": people} | dict(sorted(people.parts.items()))
    persons = _each(groups, lambda group: np.repeat(np.arange(len(people)), len(group.skeleton)))
    states = _each(groups, lambda group: np.zeros(group.scores.shape) if group.states is None else group.states)
    stateless = _each(groups, lambda group: np.full(group.scores.shape, group.states is None))
    ids = np.zeros(len(people), np.int64) if people.ids is None else people.ids
    columns = {
        "person": persons,
        "id": pd.arrays.IntegerArray(ids[persons], np.full(len(persons), people.ids is None)),
        "person_score": people.person_scores.astype(np.float64)[persons],
        "part": pd.Series(np.repeat(list(groups), [group.scores.size for group in groups.values()]), dtype="str"),
        "joint": pd.Series(_each(groups, lambda group: list(group.skeleton.joints) * len(people)), dtype="str"),
        "x": _each(groups, lambda group: group.keypoints[..., 0].astype(np.float64)),
        "y": _each(groups, lambda group: group.keypoints[..., 1].astype(np.float64)),
        "score": _each(groups, lambda group: group.scores.astype(np.float64)),
        "state": pd.arrays.IntegerArray(states.astype(np.uint8), stateless),
    }
    frame: pandas.DataFrame = pd.DataFrame(columns).sort_values("person", kind="stable", ignore_index=True)
    return frame


def from_pandas(
    frame: pandas.DataFrame,
    *,
    skeleton: Skeleton | str,
    parts: Mapping[str, Skeleton | str] | None = None,
    image_size: tuple[int, int] | None = None,
) -> People:
    """People from a data frame with the columns of this module, in the order in which the persons appear.

    Only `person`, `joint`, `x` and `y` must be there; rows may be missing and stand in any order. `parts` names the
    skeleton of each part in the frame.

    Raises `FormatError` when a needed column is missing or holds no numbers, when a part or joint is not known, when
    two rows are the same joint of one person, and when the rows of a person disagree about his id or score.
    """
    pd = require("pandas", extra="tables")
    missing = [name for name in ("person", "joint", "x", "y") if name not in frame.columns]
    if missing:
        raise FormatError(f"the table has no column {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}")
    rows, persons = pd.factorize(frame["person"])
    if (rows < 0).any():
        raise FormatError("the table has rows without a number in column person")
    skeletons = {"body": skeleton, **(parts or {})}
    names = np.full(len(frame), "body") if "part" not in frame.columns else frame["part"].to_numpy(object)
    unknown = sorted({str(name) for name in names} - set(skeletons))
    if unknown:
        raise FormatError(f"the table has the part {', '.join(unknown)}; say its skeleton with parts=")
    groups = {}
    for name, given in skeletons.items():
        target = load_skeleton(given) if isinstance(given, str) else given
        here = names == name
        groups[name] = _group(frame[here], rows[here], len(persons), target, image_size)
    ids = _of_persons(frame, "id", rows, len(persons))
    scores = _of_persons(frame, "person_score", rows, len(persons))
    people = groups.pop("body")
    return replace(
        people,
        parts=groups,
        ids=None if ids is None else ids.astype(np.int64),
        person_scores=people.person_scores if scores is None else scores.astype(np.float32),
    )


def _each(groups: Mapping[str, People], values: Any) -> NDArray[Any]:
    """The values of all joints of all groups, one after the other."""
    return np.concatenate([np.ravel(values(group)) for group in groups.values()])


def _group(
    frame: pandas.DataFrame, rows: NDArray[np.intp], count: int, skeleton: Skeleton, image_size: tuple[int, int] | None
) -> People:
    """The rows of one part as `count` people; what has no row is absent."""
    index = {joint: k for k, joint in enumerate(skeleton.joints)}
    unknown = sorted(set(map(str, frame["joint"])) - set(index))
    if unknown:
        raise FormatError(f"the table has the joint {', '.join(unknown)}, which {skeleton.name!r} does not have")
    places = rows * len(skeleton) + np.array([index[joint] for joint in frame["joint"]], np.intp)
    twice = np.flatnonzero(np.bincount(places, minlength=1) > 1)
    if twice.size:
        joint = skeleton.joints[twice[0] % len(skeleton)]
        raise FormatError(f"the table has more than one row for the joint {joint!r} of one person")
    shape = (count, len(skeleton))

    def spread(name: str, default: float) -> NDArray[np.float64]:
        values = np.full(shape, default, np.float64)
        values.flat[places] = _numbers(frame, name)
        return values

    states = spread("state", 0) if "state" in frame.columns and frame["state"].notna().all() and len(frame) else None
    return People.build(
        np.stack([spread("x", np.nan), spread("y", np.nan)], axis=2),
        spread("score", 0) if "score" in frame.columns else None,
        skeleton=skeleton,
        states=states,
        image_size=image_size,
    )


def _numbers(frame: pandas.DataFrame, name: str) -> NDArray[np.float64]:
    try:
        return frame[name].to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        raise FormatError(f"the column {name} of the table must hold numbers") from None


def _of_persons(frame: pandas.DataFrame, name: str, rows: NDArray[np.intp], count: int) -> NDArray[Any] | None:
    """One value for each person from a column in which it is repeated; None when it is not there for all of them."""
    if name not in frame.columns or frame[name].isna().any() or not len(frame):
        return None
    values = frame[name].to_numpy()
    _, first = np.unique(rows, return_index=True)
    if (values != values[first][rows]).any():
        raise FormatError(f"the rows of one person have different values in column {name} of the table")
    chosen: NDArray[Any] = values[first]
    return chosen
