"""Skeleton: a named set of joints with its limbs, mirrored pairs, sigmas and colours, read from `skeletons/*.yaml`."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manypose.errors import SkeletonError

Limb = tuple[int, int]
Colour = tuple[int, int, int]

_OTHER_SIDE = {"left": "right", "right": "left"}


@dataclass(frozen=True)
class Skeleton:
    """A set of joints; indices count from 0, left and right are the person's own.

    `limbs` are drawn, each in its colour of `colours` (RGB). `fields` are the limbs that have part affinity fields, in
    the order of the channels (limb k owns channels 2k, x, and 2k + 1, y); empty where no network was published.
    `lengths` are the usual lengths of these limbs beside each other, None where nobody measured one, or empty.
    `pairs` are (left, right). `sigmas` are COCO's OKS sigmas, None where nobody published any. `derived` maps a joint
    name to the names (of any skeleton) whose mean place it is; it is used when people of another skeleton are mapped
    to this one.

    Raises `SkeletonError` when the parts contradict each other.
    """

    name: str
    joints: tuple[str, ...]
    limbs: tuple[Limb, ...] = ()
    colours: tuple[Colour, ...] = ()
    fields: tuple[Limb, ...] = ()
    lengths: tuple[float | None, ...] = ()
    pairs: tuple[Limb, ...] = ()
    sigmas: tuple[float, ...] | None = None
    derived: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    source: str = ""

    def __post_init__(self) -> None:
        fault = _find_fault(self)
        if fault:
            raise SkeletonError(f"skeleton {self.name!r}: {fault}")

    def __len__(self) -> int:
        return len(self.joints)

    def index(self, joint: str) -> int:
        """Index of a joint by name; raises `SkeletonError` that lists the names there are."""
        if joint not in self.joints:
            raise SkeletonError(f"skeleton {self.name!r} has no joint {joint!r}; it has {', '.join(self.joints)}")
        return self.joints.index(joint)

    @functools.cached_property
    def flip(self) -> NDArray[np.intp]:
        """Permutation (K,) of the joints in a mirrored picture: `keypoints[:, skeleton.flip]`."""
        order = np.arange(len(self))
        for left, right in self.pairs:
            order[[left, right]] = right, left
        order.flags.writeable = False
        return order

    @functools.cached_property
    def field_flip(self) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Permutation (2L,) and signs (2L,) of the field channels in a mirrored picture.

        `signs[:, None, None] * fields[permutation, :, ::-1]` are the fields of the mirrored picture.
        Raises `SkeletonError` when a limb has no mirror image among the fields.
        """
        channels, signs = [], []
        for a, b in self.fields:
            mirrored = (int(self.flip[a]), int(self.flip[b]))
            sign = 1.0 if mirrored in self.fields else -1.0
            twin = mirrored if sign > 0 else mirrored[::-1]
            if twin not in self.fields:
                limb = f"{self.joints[a]}-{self.joints[b]}"
                raise SkeletonError(f"skeleton {self.name!r}: the field {limb} has no mirror image among the fields")
            k = self.fields.index(twin)
            channels += [2 * k, 2 * k + 1]
            signs += [-sign, sign]
        permutation, flip_signs = np.array(channels, np.intp), np.array(signs, np.float32)
        permutation.flags.writeable = flip_signs.flags.writeable = False
        return permutation, flip_signs

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with joints by name, as in the YAML files; `skeleton_from_dict` reads it."""

        def names(limb: Limb) -> list[str]:
            return [self.joints[i] for i in limb]

        return {
            "name": self.name,
            "source": self.source,
            "joints": list(self.joints),
            "limbs": [[*names(limb), f"#{bytes(c).hex()}"] for limb, c in zip(self.limbs, self.colours, strict=True)],
            "fields": [
                [*names(limb), length] if length else names(limb)
                for limb, length in zip(self.fields, self.lengths or (None,) * len(self.fields), strict=True)
            ],
            "pairs": [names(pair) for pair in self.pairs],
            "sigmas": None if self.sigmas is None else list(self.sigmas),
            "derived": {name: list(parts) for name, parts in self.derived.items()},
        }


def skeleton_names() -> list[str]:
    """Names of the skeletons that come with manypose."""
    files = resources.files("manypose").joinpath("skeletons").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


@functools.cache
def load_skeleton(name: str) -> Skeleton:
    """One of the skeletons that come with manypose; raises `SkeletonError` that lists them."""
    import yaml

    if name not in skeleton_names():
        raise SkeletonError(f"no skeleton is called {name!r}; there are {', '.join(skeleton_names())}")
    text = resources.files("manypose").joinpath("skeletons").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where PyYAML was built with libyaml
    return skeleton_from_dict(yaml.load(text, Loader=loader))


def read_skeleton(file: Path) -> Skeleton:
    """A skeleton from a YAML file like those of manypose; raises `SkeletonError` that names the file."""
    import yaml

    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        ours = ", ".join(skeleton_names())
        raise SkeletonError(f"{file}: {error.strerror}; give a YAML file or one of {ours}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SkeletonError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None
    try:
        return skeleton_from_dict(data)
    except SkeletonError as error:
        raise SkeletonError(f"{file}: {error}") from None


@functools.cache
def skeleton_of_joints(joints: tuple[str, ...], name: str = "file") -> Skeleton:
    """A skeleton of bare joint names, such as a file gives; pairs are those whose names say left and right."""
    twins = [(joint, joint.replace("left", "right")) for joint in joints if "left" in joint]
    pairs = tuple((joints.index(left), joints.index(right)) for left, right in twins if right in joints)
    return Skeleton(name=name, joints=joints, pairs=pairs)


def skeleton_from_dict(data: Mapping[str, Any]) -> Skeleton:
    """A skeleton from plain data (a YAML file, a model's metadata) with joints by name.

    Raises `SkeletonError` that names the field at fault.
    """
    if not isinstance(data, Mapping):
        raise SkeletonError(f"a skeleton is a mapping with name, joints, limbs ..., not {type(data).__name__}")
    name = str(data.get("name", "without a name"))
    unknown = set(data) - {"name", "source", "joints", "limbs", "fields", "pairs", "sigmas", "derived"}
    if unknown:
        raise SkeletonError(f"skeleton {name!r}: unknown field {', '.join(sorted(map(str, unknown)))}")
    try:
        joints = _names(data.get("joints"), "joints")
        limbs = [(_limb(joints, "limb", limb[:-1]), _colour(limb[-1])) for limb in _rows(data, "limbs", 3)]
        fields = _rows(data, "fields", 2, 3)
        return Skeleton(
            name=name,
            joints=joints,
            limbs=tuple(limb for limb, _ in limbs),
            colours=tuple(colour for _, colour in limbs),
            fields=tuple(_limb(joints, "field", limb[:2]) for limb in fields),
            lengths=tuple(float(limb[2]) if len(limb) == 3 else None for limb in fields),
            pairs=tuple(_limb(joints, "pair", pair) for pair in _rows(data, "pairs", 2)),
            sigmas=None if data.get("sigmas") is None else tuple(float(sigma) for sigma in data["sigmas"]),
            derived={str(k): _names(v, f"derived {k}") for k, v in (data.get("derived") or {}).items()},
            source=str(data.get("source", "")),
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise SkeletonError(f"skeleton {name!r}: {error}") from None


def _names(value: Any, what: str) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{what} must be a list of names, not {value!r}")
    return tuple(str(name) for name in value)


def _rows(data: Mapping[str, Any], key: str, *lengths: int) -> list[list[Any]]:
    rows = data.get(key) or []
    shape = {(2,): "[joint, joint]", (3,): "[joint, joint, colour]", (2, 3): "[joint, joint, length]"}[lengths]
    for row in rows:
        if not isinstance(row, (list, tuple)) or len(row) not in lengths:
            raise ValueError(f"{key} must hold {shape}, not {row!r}")
    return list(rows)


def _limb(joints: tuple[str, ...], what: str, names: list[Any]) -> Limb:
    for joint in names:
        if joint not in joints:
            raise ValueError(f"{what} {list(names)}: no joint is called {joint!r}")
    return joints.index(names[0]), joints.index(names[1])


def _colour(text: Any) -> Colour:
    if not re.fullmatch("#[0-9a-fA-F]{6}", str(text)):
        raise ValueError(f"{text!r} is not a colour like '#ff8000'")
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def _find_fault(skeleton: Skeleton) -> str | None:
    """The first contradiction in the parts of a skeleton, in words; None when it is sound."""
    joints = skeleton.joints
    if not joints:
        return "it has no joints"
    if len(set(joints)) < len(joints):
        return f"joint {next(j for j in joints if joints.count(j) > 1)!r} appears twice"
    for what, limbs in (("limb", skeleton.limbs), ("field", skeleton.fields), ("pair", skeleton.pairs)):
        for a, b in limbs:
            if a == b or not (0 <= a < len(joints) and 0 <= b < len(joints)):
                return f"{what} ({a}, {b}) does not join two of its {len(joints)} joints"
    if len(skeleton.colours) != len(skeleton.limbs):
        return f"{len(skeleton.limbs)} limbs but {len(skeleton.colours)} colours"
    if skeleton.sigmas is not None and not _are_sigmas(skeleton.sigmas, len(joints)):
        return f"sigmas must be {len(joints)} positive numbers, one for each joint"
    if len(set(skeleton.fields)) < len(skeleton.fields):
        return "a field appears twice"
    if skeleton.lengths and len(skeleton.lengths) != len(skeleton.fields):
        return f"{len(skeleton.fields)} fields but {len(skeleton.lengths)} lengths"
    if not all(length is None or 0 < length < float("inf") for length in skeleton.lengths):
        return "the lengths of fields must be positive numbers"
    for joint, parts in skeleton.derived.items():
        if joint not in joints or not parts:
            return f"derived {joint!r} must be one of its joints, followed by the names that it lies between"
    return _find_side_fault(skeleton)


def _are_sigmas(sigmas: tuple[float, ...], count: int) -> bool:
    return len(sigmas) == count and all(0 < sigma < float("inf") for sigma in sigmas)


def _find_side_fault(skeleton: Skeleton) -> str | None:
    """A joint in two pairs, or a name that says left or right without its twin on the other side of `pairs`."""
    paired = [joint for pair in skeleton.pairs for joint in pair]
    if len(set(paired)) < len(paired):
        return "a joint stands in two pairs"
    twins = {skeleton.joints[a]: skeleton.joints[b] for a, b in skeleton.pairs}
    twins |= {b: a for a, b in twins.items()}
    for joint in skeleton.joints:
        words = re.split(r"([\W_]+)", joint)
        if not any(word.lower() in _OTHER_SIDE for word in words):
            continue
        other = "".join(_OTHER_SIDE.get(word.lower(), word) for word in words)
        twin = twins.get(joint)
        if twin is None or twin.lower() != other.lower():
            return f"joint {joint!r} must be paired with {other!r}, but pairs has {twin!r} for it"
    for a, b in skeleton.pairs:
        if "right" in re.split(r"[\W_]+", skeleton.joints[a].lower()):
            return f"pair ({skeleton.joints[a]}, {skeleton.joints[b]}) must be written left first"
    return None
