"""Tables: one row for each person and joint, there and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_people import PARTS, SIZE, people_of

from manypose.errors import FormatError, MissingExtraError
from manypose.formats import table
from manypose.people import People
from manypose.skeleton import Skeleton, load_skeleton

pd = pytest.importorskip("pandas", reason="needs the extra [tables]")

ARM = Skeleton("arm", ("elbow", "wrist"))
TYPES = {
    "person": "int64",
    "id": "Int64",
    "person_score": "float64",
    "part": "str",
    "joint": "str",
    "x": "float64",
    "y": "float64",
    "score": "float64",
    "state": "UInt8",
}


def pair(**changes: Any) -> People:
    """Two people; the wrist of the second was not found."""
    return People.build([[(1, 2), (3, 4)], [(5, 6), (np.nan, np.nan)]], [[1, 0.5], [0.25, 0]], skeleton=ARM, **changes)


@given(people=people_of("coco17", "body25", parts=True, states=True), data=st.data())
@settings(deadline=None, max_examples=25)
def test_people_come_back_as_they_were_in_whatever_order_the_rows_stand(people: People, data: st.DataObject) -> None:
    frame = people.to_pandas()
    shuffled = frame.sample(frac=1, random_state=data.draw(st.integers(0, 99)))
    shuffled = shuffled.sort_values("person", kind="stable")  # persons keep their order, all else is free
    parts = {name: PARTS[name] for name in people.parts}
    back = table.from_pandas(shuffled, skeleton=people.skeleton, parts=parts, image_size=SIZE)
    assert back == people


def test_one_row_for_each_person_and_joint() -> None:
    frame = pair(ids=[7, 9], states=[[1, 2], [3, 0]]).to_pandas()
    expected = [
        [0, 7, 0.75, "body", "elbow", 1, 2, 1, 1],
        [0, 7, 0.75, "body", "wrist", 3, 4, 0.5, 2],
        [1, 9, 0.25, "body", "elbow", 5, 6, 0.25, 3],
        [1, 9, 0.25, "body", "wrist", np.nan, np.nan, 0, 0],
    ]
    pd.testing.assert_frame_equal(frame, pd.DataFrame(expected, columns=list(TYPES)).astype(TYPES))


@pytest.mark.parametrize("people", [pair(), People.empty(ARM)])
def test_columns_have_the_documented_types_also_when_there_is_nobody(people: People) -> None:
    frame = people.to_pandas()
    assert {name: str(kind).replace("object", "str") for name, kind in frame.dtypes.items()} == TYPES
    assert len(frame) == 2 * len(people)
    assert frame["id"].isna().all()
    assert frame["state"].isna().all()


def test_parts_stand_below_the_body_of_each_person() -> None:
    hand = People.build(np.ones((2, 21, 2)), skeleton=load_skeleton("hand21"))
    frame = pair(parts={"left_hand": hand}).to_pandas()
    assert frame["part"].tolist() == (["body"] * 2 + ["left_hand"] * 21) * 2
    assert frame["person"].tolist() == [0] * 23 + [1] * 23


def test_a_hand_made_table_needs_four_columns() -> None:
    frame = pd.DataFrame({"person": [5, 2], "joint": ["wrist", "elbow"], "x": [1, 2], "y": [3, 4]})
    people = table.from_pandas(frame, skeleton=ARM)
    assert people.visible.tolist() == [[False, True], [True, False]]
    assert people.person_scores.tolist() == [1, 1]
    assert (people.ids, people.states) == (None, None)


def test_states_of_a_shortened_table_are_absent_where_rows_are() -> None:
    frame = pair(states=[[1, 2], [3, 0]]).to_pandas().drop(index=1)
    states = table.from_pandas(frame, skeleton=ARM).states
    assert states is not None
    assert states.tolist() == [[1, 0], [3, 0]]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"person": [0, None]}, "rows without a number in column person"),
        ({"joint": ["elbow", "knee"]}, "the table has the joint knee, which 'arm' does not have"),
        ({"joint": ["elbow", "elbow"]}, "more than one row for the joint 'elbow' of one person"),
        ({"part": ["body", "face"]}, "the table has the part face; say its skeleton with parts="),
        ({"x": ["left", "right"]}, "the column x of the table must hold numbers"),
        ({"id": [1, 2]}, "the rows of one person have different values in column id"),
        ({"person_score": [0.5, 0.6]}, "the rows of one person have different values in column person_score"),
    ],
)
def test_tables_that_contradict_themselves_are_refused_by_column(changes: dict[str, Any], reason: str) -> None:
    columns = {"person": [0, 0], "joint": ["elbow", "wrist"], "x": [1, 2], "y": [3, 4]} | changes
    with pytest.raises(FormatError, match=reason):
        table.from_pandas(pd.DataFrame(columns), skeleton=ARM)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(FormatError, match="the table has no column joint, y; it has person, x"):
        table.from_pandas(pd.DataFrame({"person": [], "x": []}), skeleton=ARM)


def test_without_pandas_the_way_to_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"needs pandas, .* pip install 'manypose\[tables\]'"):
        pair().to_pandas()
