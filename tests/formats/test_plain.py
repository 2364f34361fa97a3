"""manypose's own JSON: what goes in comes back, and a file that is not what it says is refused with the place."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_people import assert_close, people_of

from manypose.errors import FormatError, OutputError
from manypose.formats import plain
from manypose.people import People
from manypose.skeleton import Skeleton, load_skeleton, skeleton_names

SCHEMA = jsonschema.Draft202012Validator(plain.json_schema())
COCO = load_skeleton("coco17")
OWN = Skeleton(
    "dog",
    ("nose", "left_paw", "right_paw"),
    limbs=((0, 1), (0, 2)),
    colours=((1, 2, 3), (255, 0, 16)),
    pairs=((1, 2),),
    sigmas=(0.1, 0.2, 0.2),
    derived={"nose": ("left_eye", "right_eye")},
)

any_people = people_of("coco17", "body25", "lsp14", parts=True, states=True, boxes=True)


def dog(**changes: Any) -> People:
    return People.build([[(1, 2), (3, 4), (np.nan, np.nan)]], [[0.5, 1, 0]], skeleton=OWN, **changes)


# Round trips


@given(people=any_people)
@settings(deadline=None, max_examples=30)
def test_people_come_back_within_the_stated_rounding(people: People) -> None:
    back = plain.from_json(people.to_json())
    assert_close(back, people, pixels=0.0051, score=0.00006)
    np.testing.assert_allclose(back.boxes, people.boxes, atol=0.0051, rtol=1e-6)
    np.testing.assert_allclose(back.person_scores, people.person_scores, atol=0.00006)
    assert (back.states is None) == (people.states is None)
    assert back.states is None or np.array_equal(back.states, people.states)
    for name, part in people.parts.items():
        np.testing.assert_allclose(back.parts[name].boxes, part.boxes, atol=0.0051, rtol=1e-6)
        np.testing.assert_allclose(back.parts[name].person_scores, part.person_scores, atol=0.00006)


@given(people=any_people)
@settings(deadline=None, max_examples=30)
def test_the_text_is_always_the_same_and_as_the_schema_says(people: People) -> None:
    text = people.to_json()
    assert text == people.to_json() == plain.dumps(plain.loads(text))
    SCHEMA.validate(json.loads(text))


def test_many_pictures_keep_their_order_names_and_sizes(tmp_path: Path) -> None:
    pictures = [
        plain.Picture(People.empty(COCO, (640, 480)), "nobody.jpg"),
        plain.Picture(dog(), 'ünï/"dog".png'),
        plain.Picture(dog(ids=[3], image_size=(10, 20))),
    ]
    plain.write(tmp_path / "people.json", pictures)
    assert plain.read(tmp_path / "people.json") == pictures
    assert plain.loads(plain.dumps([])) == []


def test_the_text_is_this() -> None:
    face = People.build(np.full((1, 68, 2), np.nan), skeleton=load_skeleton("face68"))
    own = dataclasses.replace(OWN, limbs=(), colours=(), pairs=(), sigmas=None, derived={}, joints=("nose", "tail"))
    people = People.build(
        [[(1.234, -0.001), (np.nan, np.nan)]],
        [[0.98768, 0]],
        skeleton=own,
        ids=[7],
        states=[[1, 0]],
        image_size=(64, 48),
        parts={"face": face},
    )
    assert plain.dumps(plain.Picture(people, "a.jpg")) == (
        '{"format": "manypose people", "schema_version": 1, "pictures": [\n'
        '{"file_name": "a.jpg", "image_size": [64, 48], "skeleton": {"name": "dog", "source": "", '
        '"joints": ["nose", "tail"], "limbs": [], "fields": [], "pairs": [], "sigmas": null, "derived": {}}, '
        '"parts": {"face": "face68"}, "people": [\n'
        '{"id": 7, "score": 0.9877, "box": [1.23, 0.0, 1.23, 0.0], "keypoints": [[1.23, 0.0, 0.9877], null], '
        '"states": [1, 0]}\n'
        "]}\n"
        "]}\n"
    )


def test_a_skeleton_that_is_not_ours_travels_in_full() -> None:
    (picture,) = json.loads(dog().to_json())["pictures"]
    assert picture["skeleton"] == OWN.to_dict()
    assert plain.from_json(dog().to_json()).skeleton == OWN


def test_one_that_only_borrows_a_name_of_ours_travels_in_full_too() -> None:
    impostor = dataclasses.replace(OWN, name="coco17")
    people = People.build(np.zeros((1, 3, 2)), skeleton=impostor)
    assert plain.from_json(people.to_json()).skeleton == impostor


def test_a_hand_made_file_needs_little() -> None:
    joints = [[3, 4, 1], None, [7, 1, 0.5]] + [None] * 14
    text = json.dumps(document(people=[{"keypoints": joints}]))
    people = plain.from_json("\ufeff" + text)  # some editors begin a file with a byte order mark
    assert people == plain.from_json(b"\xef\xbb\xbf" + text.encode())
    assert people.boxes.tolist() == [[3, 1, 7, 4]]
    assert people.person_scores.tolist() == [0.75]
    assert (people.ids, people.states, people.image_size) == (None, None, None)


def test_people_without_the_part_of_others_get_an_empty_row() -> None:
    hand = {"keypoints": [[1, 2, 1]] * 21}
    people = [{"keypoints": [None] * 17}, {"keypoints": [None] * 17, "parts": {"left_hand": hand}}]
    found = plain.from_json(json.dumps(document(people=people, parts={"left_hand": "hand21"})))
    assert found.parts["left_hand"].visible.all(axis=1).tolist() == [False, True]
    assert np.isnan(found.boxes).all()


def test_a_file_name_that_is_not_unicode_can_be_written() -> None:
    text = plain.dumps(plain.Picture(dog(), "caf\udce9.jpg"))  # as Python reads a Latin-1 name on Linux
    assert plain.loads(text.encode())[0].file_name == "caf?.jpg"


# What is refused


def document(**changes: Any) -> dict[str, Any]:
    picture = {"skeleton": "coco17", "people": [{"keypoints": [[1, 2, 0.5]] * 17}]} | changes
    return {"format": "manypose people", "schema_version": 1, "pictures": [picture]}


def person(**changes: Any) -> dict[str, Any]:
    return document(people=[{"keypoints": [[1, 2, 0.5]] * 17} | changes])


def definition(**changes: Any) -> dict[str, Any]:
    return document(skeleton={"name": "x", "joints": ["a", "b"]} | changes, people=[])


# Faults that the JSON Schema finds as well as the reader.
FAULTS = {
    "no object": ([], "the document: Input should be an object"),
    "another format": (document() | {"format": "coco"}, "format: Input should be 'manypose people'"),
    "a later version": (document() | {"schema_version": 2}, "schema_version: this manypose reads version 1; a newer"),
    "version as text": (document() | {"schema_version": "1"}, "schema_version: Input should be a valid integer"),
    "no pictures": ({"format": "manypose people", "schema_version": 1}, "pictures: Field required"),
    "unknown key": (document() | {"author": "me"}, "the document: unknown key 'author'"),
    "unknown key of a picture": (document(name="x"), r"pictures\[0\]: unknown key 'name'"),
    "unknown key of a person": (person(age=3), r"pictures\[0\]\.people\[0\]: unknown key 'age'"),
    "no skeleton": ({**document(), "pictures": [{"people": []}]}, r"pictures\[0\]\.skeleton: Field required"),
    "unknown skeleton": (
        document(skeleton="coco"),
        r"pictures\[0\]\.skeleton: no skeleton is called 'coco'; there are",
    ),
    "skeleton of a number": (document(skeleton=17), r"pictures\[0\]\.skeleton: Input should be an object"),
    "joints of numbers": (definition(joints=[1]), r"pictures\[0\]\.skeleton\.joints\[0\]: .* valid string"),
    "skeleton without joints": (definition(joints=[]), r"pictures\[0\]\.skeleton\.joints: .* at least 1 item"),
    "limb without colour": (definition(limbs=[["a", "b"]]), r"skeleton\.limbs\[0\]\[2\]: Field required"),
    "size of text": (document(image_size=["1", "2"]), r"pictures\[0\]\.image_size\[0\]: .* valid integer"),
    "size of nothing": (document(image_size=[0, 3]), r"image_size\[0\]: .* greater than or equal to 1"),
    "size of three": (document(image_size=[1, 2, 3]), r"pictures\[0\]\.image_size: .* at most 2 items"),
    "people of text": (document(people="none"), r"pictures\[0\]\.people: .* valid array"),
    "no keypoints": (document(people=[{}]), r"pictures\[0\]\.people\[0\]\.keypoints: Field required"),
    "joint without score": (person(keypoints=[None, [1, 2]]), r"people\[0\]\.keypoints\[1\]\[2\]: Field required"),
    "joint as zero": (person(keypoints=[0]), r"people\[0\]\.keypoints\[0\]: .* valid array"),
    "score above one": (person(keypoints=[[1, 2, 1.5]]), r"keypoints\[0\]\[2\]: .* less than or equal to 1"),
    "place as text": (person(keypoints=[["1", 2, 1]]), r"keypoints\[0\]\[0\]: .* valid number"),
    "place beyond any picture": (person(keypoints=[[1e9, 2, 1]]), r"keypoints\[0\]\[0\]: .* less than or equal to"),
    "too many joints": (person(keypoints=[None] * 1001), r"people\[0\]\.keypoints: .* at most 1000 items"),
    "half a box": (person(box=[1, 2]), r"people\[0\]\.box\[2\]: Field required"),
    "score of text": (person(score="high"), r"people\[0\]\.score: .* valid number"),
    "id with a fraction": (person(id=1.5), r"people\[0\]\.id: .* valid integer"),
    "id of a truth value": (person(id=True), r"people\[0\]\.id: .* valid integer"),
    "id beyond 64 bits": (person(id=2**63), r"people\[0\]\.id: "),
    "unknown state": (person(states=[4] * 17), r"people\[0\]\.states\[0\]: .* less than or equal to 3"),
    "part of a part": (
        person(parts={"face": {"keypoints": [], "parts": {}}}),
        r"people\[0\]\.parts\.face: unknown key 'parts'",
    ),
}

# Faults that no JSON Schema can say.
CONTRADICTIONS = {
    "too few joints": (person(keypoints=[None]), r"people\[0\]\.keypoints: holds 1 values, expected 17, .* 'coco17'"),
    "too few states": (person(states=[1]), r"people\[0\]\.states: holds 1 values, expected 17"),
    "ids of some": (
        document(people=[{"keypoints": [None] * 17, "id": 1}, {"keypoints": [None] * 17}]),
        r"pictures\[0\]\.people\[1\]\.id: is missing, though other people have one",
    ),
    "states of some": (
        document(people=[{"keypoints": [None] * 17}, {"keypoints": [None] * 17, "states": [1] * 17}]),
        r"pictures\[0\]\.people\[0\]\.states: are missing, though other people have them",
    ),
    "part without skeleton": (
        person(parts={"face": {"keypoints": []}}),
        r"people\[0\]\.parts\.face: its skeleton is missing in .*pictures\[0\]\.parts",
    ),
    "part with too few joints": (
        document(people=[{"keypoints": [None] * 17, "parts": {"face": {"keypoints": []}}}], parts={"face": "face68"}),
        r"people\[0\]\.parts\.face\.keypoints: holds 0 values, expected 68",
    ),
    "left without right": (
        definition(joints=["left_eye"]),
        r"pictures\[0\]\.skeleton: skeleton 'x': joint 'left_eye' must be paired with 'right_eye'",
    ),
    "limb of strangers": (definition(limbs=[["a", "c", "#000000"]]), r"\.skeleton: .*no joint is called 'c'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_file_is_refused_by_the_reader_and_by_the_schema(fault: str) -> None:
    wrong, reason = FAULTS[fault]
    with pytest.raises(FormatError, match=f"^mine.json: .*{reason}"):
        plain.loads(json.dumps(wrong), source="mine.json")
    assert not SCHEMA.is_valid(wrong)


@pytest.mark.parametrize("fault", CONTRADICTIONS)
def test_a_file_that_contradicts_itself_is_refused(fault: str) -> None:
    wrong, reason = CONTRADICTIONS[fault]
    with pytest.raises(FormatError, match=f"^mine.json: .*{reason}"):
        plain.loads(json.dumps(wrong), source="mine.json")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Invalid JSON: EOF while parsing"),
        ("{", "Invalid JSON: EOF while parsing"),
        ('{"format": "manypose people"', "Invalid JSON: EOF while parsing"),
        (b"\xff\xfe{}", "Invalid JSON"),
        ("[" * 100_000, "Invalid JSON: recursion limit exceeded"),
        (json.dumps(person(score=float("nan"))), r"people\[0\]\.score: .* finite number"),
        (json.dumps(person(box=[0, 0, 1, float("inf")])), r"people\[0\]\.box\[3\]: .* finite number"),
    ],
)
def test_what_is_no_json_is_refused(text: str | bytes, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        plain.loads(text)


def test_a_flood_of_faults_is_told_once() -> None:
    flood = document(people=[0] * 50_000)
    with pytest.raises(FormatError, match=r"pictures\[0\]\.people\[0\]: Input should be an object$"):
        plain.loads(json.dumps(flood))
    with pytest.raises(FormatError, match=r"the document: unknown key 'k0'$"):
        plain.loads(json.dumps(document() | {f"k{i}": 0 for i in range(50_000)}))


junk = st.sampled_from([None, True, -1, 0, 1, 0.5, 2**70, "", "coco17", [], [[]], {}, {"a": 1}])


@given(people=any_people, value=junk, data=st.data())
@settings(deadline=None, max_examples=100)
def test_what_the_reader_accepts_the_schema_accepts(people: People, value: Any, data: st.DataObject) -> None:
    spoilt = json.loads(people.to_json())
    spot: Any = spoilt
    for _ in range(data.draw(st.integers(0, 6))):
        inner = spot[key] if (key := draw_key(spot, data)) is not None else None
        if not inner or not isinstance(inner, (dict, list)):
            break
        spot = inner
    if (key := draw_key(spot, data)) is not None:
        spot[key] = value
    try:
        plain.loads(json.dumps(spoilt))
    except FormatError:
        return
    SCHEMA.validate(spoilt)


def draw_key(spot: Any, data: st.DataObject) -> Any:
    keys = list(spot) if isinstance(spot, dict) else list(range(len(spot)))
    return data.draw(st.sampled_from(keys)) if keys else None


def test_parts_of_parts_cannot_be_written() -> None:
    inner = People.build(np.zeros((1, 3, 2)), skeleton=OWN, parts={"ear": dog()})
    with pytest.raises(FormatError, match=r"parts\['head'\] has parts of its own"):
        plain.dumps(dog(parts={"head": inner}))


def test_one_picture_is_asked_for_where_there_are_two() -> None:
    with pytest.raises(FormatError, match=r"holds 2 pictures, expected one; plain\.loads reads any number"):
        plain.from_json(plain.dumps([plain.Picture(dog()), plain.Picture(dog())]))


# Files


def test_a_file_is_not_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "people.json"
    plain.write(path, dog())
    with pytest.raises(OutputError, match=r"people\.json: the file exists"):
        plain.write(path, dog(ids=[1]))
    plain.write(path, dog(ids=[1]), overwrite=True)
    assert plain.read(path)[0].people.ids == [1]


def test_a_missing_file_a_folder_and_one_too_large_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"absent\.json: cannot be read: No such file"):
        plain.read(tmp_path / "absent.json")
    with pytest.raises(FormatError, match="cannot be read: "):
        plain.read(tmp_path)
    plain.write(tmp_path / "people.json", dog())
    with pytest.raises(FormatError, match=r"people\.json: is larger than 100 bytes; pass a higher max_bytes"):
        plain.read(tmp_path / "people.json", max_bytes=100)


# The published schema


def test_the_schema_is_sound_and_knows_our_skeletons() -> None:
    schema = plain.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$defs"]["skeleton"]["oneOf"][0]["enum"] == skeleton_names()


@pytest.mark.parametrize("name", skeleton_names())
def test_the_schema_accepts_the_full_definition_of_every_skeleton(name: str) -> None:
    SCHEMA.validate(document(skeleton=load_skeleton(name).to_dict(), people=[]))


def test_writing_needs_nothing_but_numpy_and_yaml() -> None:
    program = (
        "import sys; from manypose.people import People; from manypose.skeleton import load_skeleton; "
        "People.empty(load_skeleton('coco17')).to_json(); "
        "print(sorted({'pydantic', 'pandas', 'supervision', 'cv2', 'torch', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
