"""The skeletons that come with manypose, against the tables of those who published them."""

from __future__ import annotations

import colorsys
import itertools

import numpy as np
import pytest

from manypose.people import People
from manypose.skeleton import Skeleton, load_skeleton, skeleton_from_dict, skeleton_names

NAMES = [
    "body25",
    "coco17",
    "crowdpose14",
    "face68",
    "face70",
    "hand21",
    "lsp14",
    "mpi15",
    "mpii16",
    "openpose18",
    "wholebody133",
]

ARM_LEG_PAIRS_OF_OPENPOSE = [(2, 5), (3, 6), (4, 7)]
FACE_PAIRS = [
    *[(0, 16), (1, 15), (2, 14), (3, 13), (4, 12), (5, 11), (6, 10), (7, 9)],  # jaw
    *[(17, 26), (18, 25), (19, 24), (20, 23), (21, 22)],  # brows
    *[(31, 35), (32, 34)],  # nose
    *[(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)],  # eyes
    *[(48, 54), (49, 53), (50, 52), (55, 59), (56, 58)],  # outer lip
    *[(60, 64), (61, 63), (65, 67)],  # inner lip
]
SWAP_PAIRS = {
    "coco17": [(1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)],
    "openpose18": [*ARM_LEG_PAIRS_OF_OPENPOSE, (8, 11), (9, 12), (10, 13), (14, 15), (16, 17)],
    "mpi15": [*ARM_LEG_PAIRS_OF_OPENPOSE, (8, 11), (9, 12), (10, 13)],
    "body25": [
        *ARM_LEG_PAIRS_OF_OPENPOSE,
        *[(9, 12), (10, 13), (11, 14), (15, 16), (17, 18), (19, 22), (20, 23), (21, 24)],
    ],
    "mpii16": [(0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)],
    "lsp14": [(0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9)],
    "crowdpose14": [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11)],
    "face68": FACE_PAIRS,
    "face70": [*FACE_PAIRS, (68, 69)],
    "hand21": [],
    "wholebody133": [
        *[(1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)],
        *[(17, 20), (18, 21), (19, 22)],
        *[(a + 23, b + 23) for a, b in FACE_PAIRS],
        *[(k, k + 21) for k in range(91, 112)],
    ],
}

# The joint orders as their publishers write them.
ORDERS = {
    "coco17": "nose l_eye r_eye l_ear r_ear l_shoulder r_shoulder l_elbow r_elbow l_wrist r_wrist l_hip r_hip l_knee "
    "r_knee l_ankle r_ankle",
    "openpose18": "nose neck r_shoulder r_elbow r_wrist l_shoulder l_elbow l_wrist r_hip r_knee r_ankle l_hip l_knee "
    "l_ankle r_eye l_eye r_ear l_ear",
    "mpi15": "head_top neck r_shoulder r_elbow r_wrist l_shoulder l_elbow l_wrist r_hip r_knee r_ankle l_hip l_knee "
    "l_ankle chest",
    "body25": "nose neck r_shoulder r_elbow r_wrist l_shoulder l_elbow l_wrist mid_hip r_hip r_knee r_ankle l_hip "
    "l_knee l_ankle r_eye l_eye r_ear l_ear l_big_toe l_small_toe l_heel r_big_toe r_small_toe r_heel",
    "mpii16": "r_ankle r_knee r_hip l_hip l_knee l_ankle pelvis thorax upper_neck head_top r_wrist r_elbow r_shoulder "
    "l_shoulder l_elbow l_wrist",
    "lsp14": "r_ankle r_knee r_hip l_hip l_knee l_ankle r_wrist r_elbow r_shoulder l_shoulder l_elbow l_wrist neck "
    "head_top",
    "crowdpose14": "l_shoulder r_shoulder l_elbow r_elbow l_wrist r_wrist l_hip r_hip l_knee r_knee l_ankle r_ankle "
    "head_top neck",
}

# The limb of each pair of field channels, in the order of the channels.
FIELDS = {
    "openpose18": "1-8 8-9 9-10 1-11 11-12 12-13 1-2 2-3 3-4 2-16 1-5 5-6 6-7 5-17 1-0 0-14 0-15 14-16 15-17",
    "mpi15": "0-1 1-2 2-3 3-4 1-5 5-6 6-7 1-14 14-8 8-9 9-10 14-11 11-12 12-13",
    "body25": "1-8 9-10 10-11 8-9 8-12 12-13 13-14 1-2 2-3 3-4 2-17 1-5 5-6 6-7 5-18 1-0 0-15 0-16 15-17 16-18 14-19 "
    "19-20 14-21 11-22 22-23 11-24",
}


def limbs_of(text: str) -> list[tuple[int, int]]:
    return [(int(limb.split("-")[0]), int(limb.split("-")[1])) for limb in text.split()]


def limb_colours(skeleton: Skeleton) -> dict[tuple[str, str], tuple[int, int, int]]:
    joints = skeleton.joints
    return {(joints[a], joints[b]): c for (a, b), c in zip(skeleton.limbs, skeleton.colours, strict=True)}


# What ships


def test_eleven_skeletons_come_with_manypose() -> None:
    assert skeleton_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_skeleton_is_called_as_its_file_and_has_as_many_joints_as_its_name_says(name: str) -> None:
    skeleton = load_skeleton(name)
    assert skeleton.name == name
    assert str(len(skeleton)) == "".join(filter(str.isdigit, name))
    assert skeleton.source


@pytest.mark.parametrize("name", ORDERS)
def test_joints_stand_in_the_published_order(name: str) -> None:
    words = [word.replace("l_", "left_", 1) if word.startswith("l_") else word for word in ORDERS[name].split()]
    words = [word.replace("r_", "right_", 1) if word.startswith("r_") else word for word in words]
    assert list(load_skeleton(name).joints) == words


@pytest.mark.parametrize("name", NAMES)
def test_flip_swaps_the_published_pairs_and_nothing_else(name: str) -> None:
    expected = np.arange(len(load_skeleton(name)))
    for a, b in SWAP_PAIRS[name]:
        expected[[a, b]] = b, a
    assert load_skeleton(name).flip.tolist() == expected.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_flip_twice_changes_nothing(name: str) -> None:
    flip = load_skeleton(name).flip
    assert flip[flip].tolist() == list(range(len(flip)))


@pytest.mark.parametrize("name", NAMES)
def test_fields_are_there_where_a_network_was_published_and_in_the_order_of_its_channels(name: str) -> None:
    assert list(load_skeleton(name).fields) == limbs_of(FIELDS.get(name, ""))


def test_whole_body_is_body_feet_face_left_hand_right_hand() -> None:
    joints = load_skeleton("wholebody133").joints
    hand = load_skeleton("hand21").joints
    feet = ("big_toe", "small_toe", "heel")
    assert joints[:17] == load_skeleton("coco17").joints
    assert joints[17:23] == tuple(f"{side}_{joint}" for side in ("left", "right") for joint in feet)
    assert joints[23:91] == load_skeleton("face68").joints
    assert joints[91:112] == tuple(f"left_hand_{joint}" for joint in hand)
    assert joints[112:] == tuple(f"right_hand_{joint}" for joint in hand)


def test_face70_is_face68_and_both_pupils() -> None:
    assert load_skeleton("face70").joints == (*load_skeleton("face68").joints, "right_pupil", "left_pupil")


def test_left_and_right_of_a_face_are_the_persons_own() -> None:
    # The list begins at the person's right ear, so the left joint of each pair has the place on the other side.
    left = {a for a, _ in load_skeleton("face68").pairs}
    assert {9, 16, 22, 26, 34, 35, 42, 47, 54, 55, 64, 65} <= left


# Sigmas


def test_sigmas_are_there_only_where_they_were_published_for_every_joint() -> None:
    with_sigmas = {name for name in NAMES if load_skeleton(name).sigmas is not None}
    assert with_sigmas == {"coco17", "crowdpose14", "face68", "hand21", "openpose18", "wholebody133"}


def test_sigmas_of_the_parts_are_those_of_the_whole_body() -> None:
    whole = load_skeleton("wholebody133").sigmas
    assert whole is not None
    assert whole[:17] == load_skeleton("coco17").sigmas
    assert whole[17:23] == (0.068, 0.066, 0.066, 0.092, 0.094, 0.094)
    assert whole[23:91] == load_skeleton("face68").sigmas
    assert whole[91:112] == whole[112:] == load_skeleton("hand21").sigmas


@pytest.mark.parametrize("name", ["openpose18", "crowdpose14"])
def test_a_joint_of_coco_has_cocos_sigma_and_neck_and_head_that_of_a_shoulder(name: str) -> None:
    coco, other = load_skeleton("coco17"), load_skeleton(name)
    assert coco.sigmas is not None
    assert other.sigmas is not None
    known = dict(zip(coco.joints, coco.sigmas, strict=True)) | {"neck": 0.079, "head_top": 0.079}
    assert list(other.sigmas) == [known[joint] for joint in other.joints]


@pytest.mark.parametrize("name", NAMES)
def test_mirrored_joints_have_nearly_equal_sigmas(name: str) -> None:
    skeleton = load_skeleton(name)
    if skeleton.sigmas is not None:
        sigmas = np.array(skeleton.sigmas)
        assert np.abs(sigmas - sigmas[skeleton.flip]).max() < 0.03  # the feet of COCO-WholeBody differ by .026


# Limbs and colours


def test_a_hand_is_five_fingers_from_the_wrist() -> None:
    chains = [[0, *range(first, first + 4)] for first in (1, 5, 9, 13, 17)]
    expected = [limb for chain in chains for limb in itertools.pairwise(chain)]
    assert list(load_skeleton("hand21").limbs) == expected


def test_a_face_is_lines_along_its_groups_with_eyes_and_lips_closed() -> None:
    lines = [range(17), range(17, 22), range(22, 27), range(27, 31), range(31, 36)]
    loops = [range(36, 42), range(42, 48), range(48, 60), range(60, 68)]
    expected = [(k, k + 1) for group in lines + loops for k in group[:-1]] + [(loop[-1], loop[0]) for loop in loops]
    assert sorted(load_skeleton("face68").limbs) == sorted(expected)
    assert load_skeleton("face70").limbs == load_skeleton("face68").limbs


@pytest.mark.parametrize("name", ["openpose18", "body25", "mpi15"])
def test_openpose_draws_every_field_but_shoulder_to_ear(name: str) -> None:
    skeleton = load_skeleton(name)
    named = [{skeleton.joints[a], skeleton.joints[b]} for a, b in skeleton.fields]
    expected = [limb for limb in named if limb not in ({"left_shoulder", "left_ear"}, {"right_shoulder", "right_ear"})]
    drawn = [{skeleton.joints[a], skeleton.joints[b]} for a, b in skeleton.limbs]
    assert sorted(map(sorted, drawn)) == sorted(map(sorted, expected))


def test_mpii_draws_its_tree() -> None:
    parents = [1, 2, 6, 6, 3, 4, 6, 6, 7, 8, 11, 12, 7, 7, 13, 14]
    tree = {frozenset((k, parent)) for k, parent in enumerate(parents) if k != parent}
    assert {frozenset(limb) for limb in load_skeleton("mpii16").limbs} == tree


@pytest.mark.parametrize("name", NAMES)
def test_limbs_of_the_right_are_warm_and_of_the_left_cool(name: str) -> None:
    for (a, b), (red, green, blue) in limb_colours(load_skeleton(name)).items():
        sides = {side for side in ("left", "right") if side in f"{a} {b}" and "hand" not in f"{a} {b}"}
        if sides == {"right"}:
            assert red > max(green, blue), (a, b)
        elif sides == {"left"}:
            assert red < max(green, blue), (a, b)


def test_a_limb_has_the_same_colour_in_all_skeletons() -> None:
    seen: dict[tuple[str, str], tuple[int, int, int]] = {}
    for name in NAMES:
        for limb, colour in limb_colours(load_skeleton(name)).items():
            assert seen.setdefault(limb, colour) == colour, (name, limb)


def test_each_finger_has_a_hue_of_its_own_in_both_hands_of_a_whole_body_too() -> None:
    hand, whole = limb_colours(load_skeleton("hand21")), limb_colours(load_skeleton("wholebody133"))
    hues: dict[str, list[float]] = {}
    for (a, b), colour in hand.items():
        hues.setdefault(b.split("_")[0], []).append(colorsys.rgb_to_hsv(*colour)[0])
        assert colour == whole[f"left_hand_{a}", f"left_hand_{b}"] == whole[f"right_hand_{a}", f"right_hand_{b}"]
    middles = sorted(float(np.mean(values)) for values in hues.values())
    assert len(middles) == 5
    assert max(np.ptp(values) for values in hues.values()) < 0.03 < min(np.diff(middles))


# Fields in a mirrored picture


def test_fields_of_the_coco_network_flip_as_its_authors_say() -> None:
    permutation, signs = load_skeleton("openpose18").field_flip
    expected = [*range(6, 12), *range(6), *range(20, 28), *range(12, 20), 28, 29, 32, 33, 30, 31, 36, 37, 34, 35]
    assert permutation.tolist() == expected
    assert signs.tolist() == [-1, 1] * 19


# Mapping by name


def numbered(name: str) -> People:
    """One person whose joint k is at (k, 10 k)."""
    count = len(load_skeleton(name))
    return People.build([[[k, 10 * k] for k in range(count)]], skeleton=load_skeleton(name))


NECK = "neck"
MAPPINGS = {
    ("coco17", "openpose18"): [0, NECK, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3],
    ("openpose18", "coco17"): [0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10],
    ("body25", "coco17"): [0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11],
}


@pytest.mark.parametrize(("source", "target"), MAPPINGS)
def test_mapping_by_name_is_the_published_index_list(source: str, target: str) -> None:
    mapped = numbered(source).to(target).keypoints[0, :, 0]
    expected = [5.5 if index == NECK else index for index in MAPPINGS[source, target]]  # joints 5, 6: the shoulders
    assert mapped.tolist() == expected


@pytest.mark.parametrize(
    ("source", "target", "derived"),
    [
        ("coco17", "body25", {"neck": (5, 6), "mid_hip": (11, 12)}),
        ("coco17", "mpi15", {"neck": (5, 6), "chest": (5, 6, 11, 12)}),
        ("coco17", "lsp14", {"neck": (5, 6)}),
        ("coco17", "crowdpose14", {"neck": (5, 6)}),
        ("coco17", "mpii16", {"thorax": (5, 6), "pelvis": (11, 12)}),
        ("wholebody133", "body25", {"neck": (5, 6), "mid_hip": (11, 12)}),
        ("mpi15", "mpii16", {"upper_neck": (1,), "thorax": (2, 5), "pelvis": (8, 11)}),
        ("mpii16", "openpose18", {"neck": (12, 13)}),
    ],
)
def test_joints_that_others_do_not_have_are_derived(
    source: str, target: str, derived: dict[str, tuple[int, ...]]
) -> None:
    people = numbered(source).to(target)
    for joint, indices in derived.items():
        assert people.joint(joint)[0, 0] == np.mean(indices), joint


def test_a_whole_body_has_every_joint_of_body25_and_of_a_face() -> None:
    whole = numbered("wholebody133")
    assert whole.to("body25").visible.all()
    assert whole.to("face68").keypoints[0, :, 0].tolist() == list(range(23, 91))
    assert whole.to("face70").visible[0].tolist() == [True] * 68 + [False] * 2


def test_derived_rules_name_joints_that_some_skeleton_has() -> None:
    every = {joint for name in NAMES for joint in load_skeleton(name).joints}
    for name in NAMES:
        for joint, parts in load_skeleton(name).derived.items():
            assert set(parts) <= every, (name, joint)


# As plain data


@pytest.mark.parametrize("name", NAMES)
def test_plain_data_and_back(name: str) -> None:
    skeleton = load_skeleton(name)
    assert skeleton_from_dict(skeleton.to_dict()) == skeleton
