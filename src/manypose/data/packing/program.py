"""Packs data sets, and reads packed ones, whatever their kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from manypose.data.packing.hdf5 import hdf5_joints, read_hdf5, write_hdf5
from manypose.data.packing.lmdb_file import read_lmdb
from manypose.data.packing.shards import SHARD_SIZE, read_shards, shard_joints, write_shards
from manypose.data.pictures import LabelledPicture
from manypose.errors import DataError, OutputError
from manypose.skeleton import Skeleton, load_skeleton, skeleton_names, skeleton_of_joints

READERS: dict[str, Callable[[Path, Skeleton], list[LabelledPicture]]] = {
    "hdf5": read_hdf5,
    "lmdb": read_lmdb,
    "webdataset": read_shards,
}
HDF5_SUFFIXES = (".h5", ".hdf5")


def packed_kind(place: Path) -> str | None:
    """Which of `READERS` reads a file or folder; None for what is not packed."""
    if place.suffix in HDF5_SUFFIXES:
        return "hdf5"
    if place.suffix == ".mdb" or (place / "data.mdb").is_file():
        return "lmdb"
    if place.suffix == ".tar" or (place.is_dir() and any(place.glob("*.tar"))):
        return "webdataset"
    return None


def read_packed(place: Path, skeleton: Skeleton) -> list[LabelledPicture]:
    """The records of a packed set, its joints mapped by name into `skeleton`; raises `DataError`."""
    kind = packed_kind(place)
    if kind is None:
        raise DataError(f"{place}: not a packed data set; .h5, .hdf5, .tar, .mdb and folders of .tar or .mdb are known")
    return READERS[kind](place, skeleton)


def pack(
    pictures: Sequence[LabelledPicture],
    target: Path,
    skeleton: Skeleton,
    *,
    longest: int | None = None,
    quality: int | None = None,
    shard_size: int = SHARD_SIZE,
    channels: int = 6,
    validation: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    on_fault: Callable[[DataError], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Pack pictures into `target`: .h5 or .hdf5 (`write_hdf5`), .tar or `name-{000..}.tar` (`write_shards`).

    Gives the files. Raises `DataError` for pictures and `OutputError` for files, or a name of another kind.
    """
    if target.suffix in HDF5_SUFFIXES:
        if quality is not None or resume:
            raise OutputError(f"{target}: an HDF5 file holds plain pixels and is written in one piece: leave out "
                              "quality and resume, or pack into .tar")  # fmt: skip
        write_hdf5(
            pictures,
            target,
            skeleton,
            longest=longest,
            channels=5 if channels == 5 else 6,
            validation=validation,
            overwrite=overwrite,
            on_fault=on_fault,
            progress=progress,
        )
        return [target]
    if target.suffix != ".tar":
        raise OutputError(f"{target}: name the file .h5 or .tar, or several name-{{000..}}.tar")
    return write_shards(
        pictures,
        target,
        skeleton,
        longest=longest,
        quality=quality,
        shard_size=shard_size,
        overwrite=overwrite,
        resume=resume,
        on_fault=on_fault,
        progress=progress,
    )


def packed_skeleton(place: Path, *, kind: str | None = None) -> Skeleton:
    """The skeleton of the joints that a packed set holds; raises `DataError`.

    Files of the original programs hold COCO's 17.
    """
    kind = kind or packed_kind(place)
    joints = {"hdf5": hdf5_joints, "webdataset": shard_joints}[kind](place) if kind in ("hdf5", "webdataset") else None
    coco = load_skeleton("coco17")
    if joints is None or joints == coco.joints:
        return coco
    shipped = (load_skeleton(name) for name in skeleton_names())
    return next((skeleton for skeleton in shipped if skeleton.joints == joints), None) or skeleton_of_joints(joints)
