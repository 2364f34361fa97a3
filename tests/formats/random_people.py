"""People of any kind for the round trips of the formats."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from manypose.people import People
from manypose.skeleton import load_skeleton

PARTS = {"face": "face70", "left_hand": "hand21", "right_hand": "hand21"}
SIZE = (640, 480)

places = st.floats(-500, 4000, width=32)
scores = st.floats(0, 1, width=32)


@st.composite
def people_of(
    draw: st.DrawFn,
    *skeletons: str,
    parts: bool = False,
    states: bool = False,
    ids: bool = True,
    boxes: bool = False,
    at_least: int = 0,
) -> People:
    """Up to four people of one of these skeletons, some joints absent; what is True may be there or not."""
    skeleton = load_skeleton(draw(st.sampled_from(skeletons)))
    n = draw(st.integers(at_least, 4))
    chosen = draw(st.sets(st.sampled_from(sorted(PARTS)))) if parts and n else set()
    given: dict[str, Any] = {"skeleton": skeleton, "image_size": SIZE}
    if ids and n and draw(st.booleans()):
        given["ids"] = draw(st.lists(st.integers(0, 2**40), min_size=n, max_size=n, unique=True))
    if states and n and draw(st.booleans()):
        given["states"] = draw(arrays.arrays(np.uint8, (n, len(skeleton)), elements=st.integers(0, 3)))
    if boxes and n and draw(st.booleans()):
        corners = draw(arrays.arrays(np.float32, (n, 2, 2), elements=places))
        given["boxes"] = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    return People.build(
        *_joints(draw, n, len(skeleton)),
        **given,
        parts={name: _part(draw, n, PARTS[name]) for name in sorted(chosen)},
    )


def _part(draw: st.DrawFn, n: int, skeleton: str) -> People:
    target = load_skeleton(skeleton)
    keypoints, joint_scores = _joints(draw, n, len(target))
    keypoints[draw(arrays.arrays(np.bool_, n))] = np.nan  # people without the part
    keypoints[0, 0] = 5  # but somebody has it: a part that nobody has leaves no trace in some formats
    return People.build(keypoints, joint_scores, skeleton=target, image_size=SIZE)


def _joints(draw: st.DrawFn, n: int, count: int) -> tuple[Any, Any]:
    keypoints = draw(arrays.arrays(np.float32, (n, count, 2), elements=places))
    keypoints[draw(arrays.arrays(np.bool_, (n, count)))] = np.nan
    return keypoints, draw(arrays.arrays(np.float32, (n, count), elements=scores))


def assert_close(found: People, expected: People, *, pixels: float, score: float, ids: bool = True) -> None:
    """The same people within rounding; absent is absent, and the parts too. Boxes and person scores stand apart."""
    assert found.skeleton == expected.skeleton
    assert found.image_size == expected.image_size
    np.testing.assert_allclose(found.keypoints, expected.keypoints, atol=pixels, rtol=1e-6)
    np.testing.assert_allclose(found.scores, expected.scores, atol=score)
    if ids:
        assert (found.ids is None) == (expected.ids is None)
        assert found.ids is None or np.array_equal(found.ids, expected.ids)
    assert sorted(found.parts) == sorted(expected.parts)
    for name, part in expected.parts.items():
        assert_close(found.parts[name], part, pixels=pixels, score=score, ids=False)
